"""Score the targets of a run on one runtime, for every seed, and write score files."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from edgezsad.config import Runtime
from edgezsad.data.images import load
from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.errors import InputError, RuntimeUnavailable
from edgezsad.files import progress, sha256_of_file, versions
from edgezsad.run import Run
from edgezsad.scoring import score_file
from edgezsad.scoring.score_file import RunRecord, ScoreFile, Scorer

if TYPE_CHECKING:
    import pandas as pd

# Names of runtimes end with their precision.
PRECISION = {name: name.rpartition("-")[2] for name in get_args(Runtime)} | {"pytorch": "fp32"}


def score_targets(run: Run, runtime: Runtime) -> list[Path]:
    """Score all targets of a run on one thread, on the emulator a subset with one seed; returns the score files' paths.

    A runtime that this machine lacks leaves empty score files with the reason. An InputError if a model is missing, or
    the runtime is unknown.
    """
    if runtime not in PRECISION:
        raise InputError(f"{runtime}: unknown runtime; expected one of {', '.join(PRECISION)}")
    emulator = run.profile.evaluation.emulator if runtime == "qnn-htp-fp16" else None
    seeds = (emulator.seed,) if emulator else run.profile.seeds
    manifests = [read_run_manifest(run, item).select("test") for item in run.profile.data.targets]
    models = [_model_file(run, runtime, seed) for seed in seeds]
    try:
        scorers, not_run = _scorers(run, runtime, models), {}
    except RuntimeUnavailable as error:
        scorers, not_run = [], {"status": "not run", "reason": str(error)}
    written = []
    for manifest in manifests:
        if emulator:
            manifest = subset(manifest, emulator.images_per_target)
        paths = [run.scores(runtime, seed, manifest.name) for seed in seeds]
        records = [_record(run, runtime, *pair, manifest, not_run) for pair in zip(seeds, models, strict=True)]
        if not_run:
            written += map(score_file.write_not_run, records, paths)
        else:
            written += map(score_file.write_scores, score_seeds(scorers, manifest, records), paths)
    return written


def score_seeds(scorers: list[Scorer], manifest: Manifest, records: list[RunRecord]) -> list[ScoreFile]:
    """Score a manifest image by image with the scorers of all seeds; each scorer completes its record."""
    if not manifest.entries:
        raise InputError(f"{manifest.root}: no test images of {manifest.name}; run notebook 01_data")
    rows: list[list[tuple[float, np.ndarray, float]]] = [[] for _ in scorers]
    for entry in progress(manifest.entries, f"{records[0].runtime} {manifest.name}"):
        image = load(manifest.path(entry), scorers[0].size)
        for row, scorer in zip(rows, scorers, strict=True):
            start = time.perf_counter()
            score, anomaly_map = scorer.score(image)
            elapsed = 1000 * (time.perf_counter() - start) if scorer.timed else np.nan
            row.append((score, anomaly_map, elapsed))
    found = []
    for row, scorer, record in zip(rows, scorers, records, strict=True):
        fields = ("precision", "device", "versions", "detector_sha256", "timing_method")
        facts = {name: getattr(scorer, name) for name in fields}
        completed = record.model_copy(update=facts)
        found.append(score_file.collect_scores(manifest.entries, *zip(*row, strict=True), completed))
    return found


def score_table(files: list[Path]) -> "pd.DataFrame":
    """Return one row for each score file: target, seed, images, median milliseconds, status and device."""
    import pandas as pd

    rows = []
    for path in files:
        scores = score_file.read_scores(path)
        record, timed = scores.record, np.isfinite(scores.milliseconds).any()
        median = float(np.median(scores.milliseconds)) if timed else None
        status = f"{record.status}: {record.reason}" if record.reason else record.status
        rows.append((record.target, record.seed, len(scores), median, status, record.device or None))
    return pd.DataFrame(rows, columns=("target", "seed", "images", "median ms", "status", "device"))


def subset(manifest: Manifest, count: int) -> Manifest:
    """Return about `count` images, evenly spaced within each category and label."""
    strata: dict[tuple[str, int], list[int]] = {}
    for row, entry in enumerate(manifest.entries):
        strata.setdefault((entry.category, entry.label), []).append(row)
    each = max(1, round(count / max(1, len(strata))))
    chosen: set[int] = set()
    for rows in strata.values():
        positions = np.linspace(0, len(rows) - 1, min(each, len(rows))).round().astype(int)
        chosen |= {rows[position] for position in positions}
    return Manifest(manifest.name, manifest.root, tuple(manifest.entries[row] for row in sorted(chosen)))


def _model_file(run: Run, runtime: Runtime, seed: int) -> Path:
    """Return the checkpoint or graph that a runtime scores with."""
    path, maker = run.onnx(seed, PRECISION[runtime]), "04_export"
    if runtime == "pytorch":
        path, maker = run.checkpoint(seed), "03_training"
    if not path.is_file():
        raise InputError(f"{path}: missing; run notebook {maker} first")
    return path


def _scorers(run: Run, runtime: Runtime, models: list[Path]) -> list[Scorer]:
    """Open one scorer for each seed; only the runtime's own packages are imported."""
    if runtime == "pytorch":
        from edgezsad.scoring.torch_scorer import torch_scorers

        return list(torch_scorers(models, run.profile.model))
    if runtime == "qnn-htp-fp16":
        from edgezsad.scoring.qnn_scorer import QnnHtpScorer

        return [QnnHtpScorer(model) for model in models]
    from edgezsad.scoring.onnx_scorer import OnnxScorer

    return [OnnxScorer(model, precision=PRECISION[runtime]) for model in models]


def _record(run: Run, runtime: Runtime, seed: int, model: Path, manifest: Manifest, more: dict) -> RunRecord:
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
        **more,
    )
