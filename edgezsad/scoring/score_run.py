"""Score the targets of a run on one runtime, for every seed, and write score files."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgezsad.config import Runtime
from edgezsad.data.images import load
from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.errors import InputError, RuntimeUnavailable
from edgezsad.files import progress, sha256_of_file, versions
from edgezsad.run import Run
from edgezsad.scoring.score_file import RunRecord, ScoreFile, Scorer, read_scores, write_not_run, write_scores

if TYPE_CHECKING:
    import pandas as pd

PRECISION = {
    "pytorch": "fp32",
    "onnx-fp32": "fp32",
    "onnx-fp16": "fp16",
    "onnx-int8": "int8",
    "qnn-htp-fp16": "fp16",
    "tensorrt-fp16": "fp16",
}


def score_targets(run: Run, runtime: Runtime, threads: int = 1) -> list[Path]:
    """Score all targets of a run; returns the paths of the score files.

    The emulator scores a subset with one seed. A runtime that is not available leaves records that say so.

    Raises:
        InputError: a checkpoint, graph, manifest or image is missing or damaged.
        CheckError: a runtime silently computed elsewhere.
    """
    emulator = run.profile.evaluation.emulator if runtime == "qnn-htp-fp16" else None
    seeds = (emulator.seed,) if emulator else run.profile.seeds
    manifests = [read_run_manifest(run, item).select("test") for item in run.profile.data.targets]
    models = [_model_file(run, runtime, seed) for seed in seeds]
    unavailable, scorers = "", []
    try:
        scorers = _scorers(run, runtime, models, seeds, threads)
    except RuntimeUnavailable as error:
        unavailable = str(error)
    written = []
    for manifest in manifests:
        if emulator:
            manifest = subset(manifest, emulator.images_per_target)
        records = [_record(run, runtime, seed, model, manifest) for seed, model in zip(seeds, models, strict=True)]
        paths = [run.scores(runtime, seed, manifest.name) for seed in seeds]
        if unavailable:
            for record, path in zip(records, paths, strict=True):
                not_run = record.model_copy(update={"status": "not run", "reason": unavailable})
                written.append(write_not_run(not_run, path))
            continue
        scored = score_seeds(scorers, manifest, records)
        written += [write_scores(scores, path) for scores, path in zip(scored, paths, strict=True)]
    return written


def score_seeds(scorers: list[Scorer], manifest: Manifest, records: list[RunRecord]) -> list[ScoreFile]:
    """Score a manifest with several scorers in one pass, one image at a time as on a device.

    Args:
        scorers: one for each seed, of one input size.
        manifest: the images.
        records: one for each scorer, to be completed with the scorer's own facts.

    Raises:
        InputError: the manifest is empty, or an image cannot be read.
    """
    if not manifest.entries:
        raise InputError(f"{manifest.root}: no test images of {manifest.name}; run notebook 01_data")
    rows: list[list[tuple[float, np.ndarray, float]]] = [[] for _ in scorers]
    for entry in progress(manifest.entries, f"{records[0].runtime} {manifest.name}"):
        image = load(manifest.path(entry), scorers[0].size)
        for row, scorer in zip(rows, scorers, strict=True):
            start = time.perf_counter()
            score, anomaly_map = scorer.score(image)
            elapsed = getattr(scorer, "milliseconds", 1000 * (time.perf_counter() - start))
            row.append((score, anomaly_map, elapsed if scorer.timed else np.nan))
    return [_score_file(manifest, *each) for each in zip(rows, scorers, records, strict=True)]


def _score_file(
    manifest: Manifest, rows: list[tuple[float, np.ndarray, float]], scorer: Scorer, record: RunRecord
) -> ScoreFile:
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
        score=np.array([score for score, _, _ in rows], dtype=np.float32),
        map=np.stack([anomaly_map for _, anomaly_map, _ in rows]).astype(np.float32),
        milliseconds=np.array([elapsed for _, _, elapsed in rows], dtype=np.float32),
        record=record.model_copy(update=facts),
    )


def score_table(files: list[Path]) -> "pd.DataFrame":
    """Return one row for each score file: target, seed, images, median milliseconds, status and device."""
    import pandas as pd

    rows = []
    for path in files:
        scores = read_scores(path)
        record = scores.record
        timed = np.isfinite(scores.milliseconds).any()
        rows.append(
            {
                "target": record.target,
                "seed": record.seed,
                "images": len(scores),
                "median ms": float(np.median(scores.milliseconds)) if timed else None,
                "status": record.status if record.status == "ok" else f"{record.status}: {record.reason}",
                "device": record.device or None,
            }
        )
    return pd.DataFrame(rows)


def subset(manifest: Manifest, count: int) -> Manifest:
    """Return about `count` images, evenly spaced within each category and label."""
    strata: dict[tuple[str, int], list[int]] = {}
    for row, entry in enumerate(manifest.entries):
        strata.setdefault((entry.category, entry.label), []).append(row)
    each = max(1, round(count / max(1, len(strata))))
    chosen = sorted(
        rows[position]
        for rows in strata.values()
        for position in np.unique(np.linspace(0, len(rows) - 1, min(each, len(rows))).round().astype(int))
    )
    return Manifest(manifest.name, manifest.root, tuple(manifest.entries[row] for row in chosen))


def _model_file(run: Run, runtime: Runtime, seed: int) -> Path:
    """Return the checkpoint or graph that a runtime scores with.

    Raises:
        InputError: it is missing.
    """
    precision, maker = PRECISION[runtime], "04_export"
    if runtime == "tensorrt-fp16":
        from edgezsad.scoring.tensorrt_scorer import installed_graph_precision

        precision = installed_graph_precision()
    path = run.onnx(seed, precision)
    if runtime == "pytorch":
        path, maker = run.checkpoint(seed), "03_training"
    if not path.is_file():
        raise InputError(f"{path}: missing; run notebook {maker} first")
    return path


def _scorers(run: Run, runtime: Runtime, models: list[Path], seeds: tuple[int, ...], threads: int) -> list[Scorer]:
    """Open one scorer for each seed; only the runtime's own packages are imported.

    Raises:
        RuntimeUnavailable: the runtime cannot be used on this machine.
    """
    if runtime == "pytorch":
        from edgezsad.scoring.torch_scorer import torch_scorers

        return list(torch_scorers(models, run.profile.model, threads))
    if runtime == "qnn-htp-fp16":
        from edgezsad.scoring.qnn_scorer import QnnHtpScorer

        return [QnnHtpScorer(model, threads) for model in models]
    if runtime == "tensorrt-fp16":
        from edgezsad.scoring.tensorrt_scorer import TensorRTScorer

        return [TensorRTScorer(run.engine(seed), model) for seed, model in zip(seeds, models, strict=True)]
    from edgezsad.scoring.onnx_scorer import OnnxScorer

    return [OnnxScorer(model, threads, PRECISION[runtime]) for model in models]


def _record(run: Run, runtime: Runtime, seed: int, model: Path, manifest: Manifest) -> RunRecord:
    config = (run.folder / "config.yaml").as_posix()
    return RunRecord(
        profile=run.profile.profile,
        target=manifest.name,
        seed=seed,
        runtime=runtime,
        precision=PRECISION[runtime],
        device="",
        model_sha256=sha256_of_file(model),
        manifest_sha256=manifest.sha256,
        command=f"papermill notebooks/05_scoring.ipynb OUT.ipynb -p config {config} -p runtime {runtime}",
        versions=versions(),
    )
