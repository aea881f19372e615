"""Score every target of a run by one runtime, for every seed, and write score files."""

import time
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from edgezsad.config import DataSet, Profile, Runtime
from edgezsad.data.images import load
from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_file, versions
from edgezsad.progress import progress
from edgezsad.run import Run
from edgezsad.scoring.runtimes import RuntimeUnavailable
from edgezsad.scoring.score_file import RunRecord, ScoreFile, read_scores, write_not_run, write_scores

PRECISION = {
    "pytorch": "fp32",
    "onnx-fp32": "fp32",
    "onnx-fp16": "fp16",
    "onnx-int8": "int8",
    "qnn-htp-fp16": "fp16",
    "tensorrt-fp16": "fp16",
}


class Scorer(Protocol):
    """What a runtime must offer; see `TorchScorer`, `OnnxScorer`, `QnnHtpScorer`, `TensorRTScorer`.

    One that measures its time by a clock of its own has it in `milliseconds` after each call.
    """

    runtime: str
    precision: str
    device: str
    versions: dict[str, str]
    timing_method: str
    detector_sha256: str
    timed: bool
    """Whether the time of a call is the whole of an image's work."""

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
    manifests = {item.name: read_run_manifest(run, item).select("test") for item in run.profile.data.targets}
    written = []
    scorers = _scorers(run, runtime, seeds, threads)
    for item in run.profile.data.targets:
        manifest = manifests[item.name] if limit is None else subset(manifests[item.name], limit)
        paths = [run.scores(runtime, seed, item.name) for seed in seeds]
        records = [
            _record(run.profile, item, seed, runtime, _model_file(run, runtime, seed), manifest) for seed in seeds
        ]
        if isinstance(scorers, RuntimeUnavailable):
            for record, path in zip(records, paths, strict=True):
                not_run = record.model_copy(update={"status": "not run", "reason": str(scorers)})
                written.append(write_not_run(not_run, path))
            continue
        scored = score_seeds(scorers, manifest, run.profile.model.size, records)
        written += [write_scores(scores, path) for scores, path in zip(scored, paths, strict=True)]
    return written


def score_set(scorer: Scorer, manifest: Manifest, size: int, record: RunRecord) -> ScoreFile:
    """Score every image of a manifest, one at a time as a device would.

    Args:
        scorer: the runtime.
        manifest: the images.
        size: input height and width.
        record: how they are made; the scorer's own facts are filled in.
    """
    return score_seeds([scorer], manifest, size, [record])[0]


def score_seeds(scorers: list[Scorer], manifest: Manifest, size: int, records: list[RunRecord]) -> list[ScoreFile]:
    """Score a manifest by several scorers in one pass, so that each image is decoded once.

    Args:
        scorers: one for each seed.
        manifest: the images.
        size: input height and width.
        records: one for each scorer.
    """
    if not manifest.entries:
        raise InputError(f"{manifest.root}: no test images of {manifest.name}; run notebook 01_data")
    rows: list[list[tuple[float, np.ndarray, float]]] = [[] for _ in scorers]
    for entry in progress(manifest.entries, f"{records[0].runtime} {manifest.name}"):
        image = load(manifest.path(entry), size)
        for row, scorer in zip(rows, scorers, strict=True):
            start = time.perf_counter()
            score, anomaly_map = scorer.score(image)
            elapsed = getattr(scorer, "milliseconds", 1000 * (time.perf_counter() - start))
            row.append((score, anomaly_map, elapsed if scorer.timed else np.nan))
    return [_score_file(manifest, *each) for each in zip(rows, scorers, records, strict=True)]


def _score_file(
    manifest: Manifest, rows: list[tuple[float, np.ndarray, float]], scorer: Scorer, record: RunRecord
) -> ScoreFile:
    scores, maps, milliseconds = zip(*rows, strict=True)
    facts = {
        "precision": scorer.precision,
        "device": scorer.device,
        "versions": scorer.versions,
        "detector_sha256": scorer.detector_sha256,
        "timing_method": scorer.timing_method if scorer.timed else "not timed: shares the backbone's pass",
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
                "median ms": float(np.median(scores.milliseconds)) if np.isfinite(scores.milliseconds).any() else None,
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
    if runtime == "tensorrt-fp16":
        return run.onnx(seed, tensorrt_graph())
    # The emulator would round all of an FP32 graph; the FP16 graph names the layers that stay in FP32.
    return run.onnx(seed, PRECISION[runtime])


def tensorrt_graph() -> str:
    """The precision of the graph that this machine's TensorRT is given; without one it does not matter."""
    from edgezsad.scoring.tensorrt_scorer import graph_precision, tensorrt_package, tensorrt_version

    try:
        return graph_precision(tensorrt_version(tensorrt_package().__version__))
    except RuntimeUnavailable:
        return "fp32"


def _scorers(run: Run, runtime: Runtime, seeds: tuple[int, ...], threads: int) -> "list[Scorer] | RuntimeUnavailable":
    """One scorer for each seed, or why there is none."""
    models = [_model_file(run, runtime, seed) for seed in seeds]
    for model in models:
        if not model.is_file():
            maker = "03_training" if runtime == "pytorch" else "04_export"
            raise InputError(f"{model}: missing; run notebook {maker} first")
    if runtime == "pytorch":
        # Imported here so that scoring an exported graph never loads PyTorch.
        from edgezsad.scoring.torch_scorer import torch_scorers

        return list(torch_scorers(models, run.profile.model, threads))
    try:
        if runtime == "qnn-htp-fp16":
            from edgezsad.scoring.qnn_scorer import QnnHtpScorer

            return [QnnHtpScorer(model, threads) for model in models]
        if runtime == "tensorrt-fp16":
            from edgezsad.scoring.tensorrt_scorer import tensorrt_scorers

            return list(tensorrt_scorers(models, [run.engine(seed) for seed in seeds]))
        from edgezsad.scoring.onnx_scorer import OnnxScorer

        return [OnnxScorer(model, threads, PRECISION[runtime]) for model in models]
    except RuntimeUnavailable as reason:
        return reason


def _record(profile: Profile, item: DataSet, seed: int, runtime: Runtime, model: Path, manifest: Manifest) -> RunRecord:
    config = (profile.run / "config.yaml").as_posix()
    return RunRecord(
        profile=profile.profile,
        target=item.name,
        seed=seed,
        runtime=runtime,
        precision=PRECISION[runtime],
        device="",
        model_sha256=sha256_of_file(model),
        manifest_sha256=manifest.sha256,
        command=f"papermill notebooks/05_scoring.ipynb OUT.ipynb -p config {config} -p runtime {runtime}",
        versions=versions(),
    )
