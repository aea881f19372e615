"""Score every target of a run by one runtime, for every seed, and write score files."""

import time
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from edgezsad.config import DataSet, Profile, Runtime
from edgezsad.data.images import load
from edgezsad.data.manifest import Manifest
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_file
from edgezsad.progress import progress
from edgezsad.run import Run
from edgezsad.scoring.runtimes import RuntimeUnavailable
from edgezsad.scoring.scorefile import RunRecord, ScoreFile, read_scores, write_not_run, write_scores
from edgezsad.versions import versions

PRECISION = {"pytorch": "fp32", "onnx-fp32": "fp32", "onnx-fp16": "fp16", "qnn-htp-fp16": "fp16"}


class Scorer(Protocol):
    """What a runtime must offer; see `TorchScorer`, `OnnxScorer`, `QnnHtpScorer`."""

    runtime: str
    precision: str
    device: str
    versions: dict[str, str]
    timing_method: str

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """(S, S, 3) uint8 RGB to a score and an (h, w) map, raw logits."""


def score_targets(run: Run, runtime: Runtime, threads: int = 1) -> list[Path]:
    """Score all targets; returns the score files' paths.

    The emulator scores a subset with one seed. A runtime that is not available here leaves records that say so.

    Raises:
        InputError: a checkpoint, an exported graph, a manifest or an image is missing or damaged.
        CheckError: a runtime silently computed elsewhere.
    """
    emulated = runtime == "qnn-htp-fp16"
    seeds = (run.profile.evaluation.emulator.seed,) if emulated else run.profile.seeds
    limit = run.profile.evaluation.emulator.images_per_target if emulated else None
    manifests = {item.name: run.manifest(item).select("test") for item in run.profile.data.targets}
    written = []
    backbone = None
    for seed in seeds:
        model = _model_file(run, runtime, seed)
        scorer: Scorer | RuntimeUnavailable
        if runtime == "pytorch":
            scorer, backbone = _torch_scorer(model, run.profile, backbone, threads)
        else:
            scorer = _onnx_scorer(model, runtime, threads)
        for item in run.profile.data.targets:
            path = run.scores(runtime, seed, item.name)
            manifest = manifests[item.name] if limit is None else subset(manifests[item.name], limit)
            record = _record(run.profile, item, seed, runtime, model, manifest)
            if isinstance(scorer, RuntimeUnavailable):
                not_run = record.model_copy(update={"status": "not run", "reason": str(scorer)})
                written.append(write_not_run(not_run, path))
            else:
                written.append(write_scores(score_set(scorer, manifest, run.profile.model.size, record), path))
    return written


def score_set(scorer: Scorer, manifest: Manifest, size: int, record: RunRecord) -> ScoreFile:
    """Score every image of a manifest, one at a time as a device would.

    Args:
        scorer: the runtime.
        manifest: the images.
        size: input height and width.
        record: how they are made; the scorer's own facts are filled in.
    """
    if not manifest.entries:
        raise InputError(f"{manifest.root}: no test images of {manifest.name}; run notebook 01_data")
    scores, maps, milliseconds = [], [], []
    for entry in progress(manifest.entries, f"{record.runtime} seed {record.seed} {manifest.name}"):
        image = load(manifest.path(entry), size)
        start = time.perf_counter()
        score, anomaly_map = scorer.score(image)
        milliseconds.append(1000 * (time.perf_counter() - start))
        scores.append(score)
        maps.append(anomaly_map)
    facts = {
        "precision": scorer.precision,
        "device": scorer.device,
        "versions": scorer.versions,
        "timing_method": scorer.timing_method,
    }
    return ScoreFile(
        image_id=np.array([entry.id for entry in manifest.entries]),
        category=np.array([entry.category for entry in manifest.entries]),
        label=np.array([entry.label for entry in manifest.entries], dtype=np.int8),
        score=np.array(scores, dtype=np.float32),
        map=np.stack(maps).astype(np.float32),
        milliseconds=np.array(milliseconds, dtype=np.float32),
        record=record.model_copy(update=facts),
    )


def score_table(files: list[Path]) -> pd.DataFrame:
    """One row a score file: target, seed, images, median milliseconds, device, and why there are no scores if so."""
    rows = []
    for path in files:
        scores = read_scores(path)
        record = scores.record
        rows.append(
            {
                "target": record.target,
                "seed": record.seed,
                "images": len(scores),
                "median ms": float(np.median(scores.milliseconds)) if len(scores) else None,
                "status": record.status if record.status == "ok" else f"{record.status}: {record.reason}",
                "device": record.device or None,
            }
        )
    return pd.DataFrame(rows)


def subset(manifest: Manifest, count: int) -> Manifest:
    """About `count` images, evenly spaced within each category and label, so that every category has both labels."""
    strata: dict[tuple[str, int], list[int]] = {}
    for row, entry in enumerate(manifest.entries):
        strata.setdefault((entry.category, entry.label), []).append(row)
    each = max(1, round(count / max(1, len(strata))))
    picked = sorted(
        rows[position]
        for rows in strata.values()
        for position in np.unique(np.linspace(0, len(rows) - 1, min(each, len(rows))).round().astype(int))
    )
    return Manifest(manifest.name, manifest.root, tuple(manifest.entries[row] for row in picked))


def _model_file(run: Run, runtime: Runtime, seed: int) -> Path:
    if runtime == "pytorch":
        return run.checkpoint(seed)
    # The emulator takes the FP32 graph and computes it in FP16 itself, as a board's compiler does.
    return run.onnx(seed, "fp16" if runtime == "onnx-fp16" else "fp32")


def _torch_scorer(model: Path, profile: Profile, backbone: object, threads: int) -> tuple[Scorer, object]:
    # Imported here so that scoring an exported graph never loads PyTorch.
    import torch

    from edgezsad.model.detector import load_detector
    from edgezsad.scoring.torch_scorer import TorchScorer

    torch.set_num_threads(threads)
    detector, _ = load_detector(model, backbone, expected=profile.model)
    return TorchScorer(detector), detector.backbone


def _onnx_scorer(model: Path, runtime: Runtime, threads: int) -> "Scorer | RuntimeUnavailable":
    try:
        if runtime == "qnn-htp-fp16":
            from edgezsad.scoring.qnn_scorer import QnnHtpScorer

            return QnnHtpScorer(model, threads)
        from edgezsad.scoring.onnx_scorer import OnnxScorer

        return OnnxScorer(model, threads, PRECISION[runtime])
    except RuntimeUnavailable as reason:
        return reason


def _record(profile: Profile, item: DataSet, seed: int, runtime: Runtime, model: Path, manifest: Manifest) -> RunRecord:
    notebook = "05_scoring"
    if not model.is_file():
        maker = "03_training" if runtime == "pytorch" else "04_export"
        raise InputError(f"{model}: missing; run notebook {maker} first")
    return RunRecord(
        profile=profile.profile,
        target=item.name,
        seed=seed,
        runtime=runtime,
        precision=PRECISION[runtime],
        device="",
        model_sha256=sha256_of_file(model),
        manifest_sha256=manifest.sha256,
        command=f"papermill notebooks/{notebook}.ipynb OUT.ipynb -p runtime {runtime}",
        versions=versions(),
    )
