"""Drift: what changes when the same images are scored elsewhere. Both sides are score files, re-scored by one code.

Metrics of the host are computed on the very images that the other side scored, so a subset is compared with itself.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from edgezsad.errors import CheckError, InputError
from edgezsad.metrics.image import auroc
from edgezsad.scoring.scorefile import RunRecord, ScoreFile


@dataclass(frozen=True)
class Drift:
    """How far a device's scores lie from the host's on the same images.

    Attributes:
        target, seed: of both score files.
        images: compared.
        host_auroc, device_auroc: image AUROC in percent, mean over categories.
        points: device minus host, in points.
        step: what one swapped pair of images changes at most, in points: finer than this a subset cannot resolve.
        spearman: rank agreement of the scores.
        largest: largest absolute change of a score (logit).
        map_correlation: Pearson, all map values together.
        suspicious: scores are bit-identical, which no lower precision gives: the device fell back to the host.
    """

    target: str
    seed: int
    images: int
    host_auroc: float
    device_auroc: float
    points: float
    step: float
    spearman: float
    largest: float
    map_correlation: float
    suspicious: bool


def drift(host: ScoreFile, device: ScoreFile) -> Drift:
    """Compare a device's score file with the host's.

    Raises:
        InputError: the device's images are not among the host's; target, seed, labels or map sizes differ; or either
            did not run.
    """
    for scores in (host, device):
        if scores.record.status != "ok":
            raise InputError(f"{scores.record.runtime}: not run ({scores.record.reason}); there is nothing to compare")
    ours, theirs = ((scores.record.target, scores.record.seed) for scores in (host, device))
    if ours != theirs:
        raise InputError(
            f"drift: the host scored {ours[0]} seed {ours[1]}, the device {theirs[0]} seed {theirs[1]}; "
            "compare like with like"
        )
    models = {scores.record.detector_sha256 for scores in (host, device)} - {""}
    if len(models) > 1:
        raise InputError(
            f"{device.record.target} seed {theirs[1]}: host and device scored different models; run notebooks "
            "04_export and 05_scoring again"
        )
    same = host.take(device.image_id)
    if (same.label != device.label).any():
        raise InputError(f"{device.record.target}: labels differ between host and device; score both again")
    if same.map.shape != device.map.shape:
        raise InputError(f"{device.record.target}: maps differ in size between host and device; export the model again")
    host_auroc, device_auroc = mean_auroc(same), mean_auroc(device)
    return Drift(
        target=device.record.target,
        seed=device.record.seed,
        images=len(device),
        host_auroc=host_auroc,
        device_auroc=device_auroc,
        points=device_auroc - host_auroc,
        step=resolution(same),
        spearman=float(stats.spearmanr(same.score, device.score).statistic),
        largest=float(np.abs(same.score - device.score).max()),
        map_correlation=float(np.corrcoef(same.map.ravel(), device.map.ravel())[0, 1]),
        suspicious=bool((same.score == device.score).all() and device.record.precision != host.record.precision),
    )


def mean_auroc(scores: ScoreFile) -> float:
    """Image AUROC in percent, mean over the categories that have both labels; NaN when none has."""
    values = []
    for category in sorted(set(scores.category)):
        rows = scores.category == category
        values.append(auroc(scores.label[rows], scores.score[rows]))
    defined = [value for value in values if np.isfinite(value)]
    return float(100 * np.mean(defined)) if defined else float("nan")


def resolution(scores: ScoreFile) -> float:
    """Points of mean AUROC that one swapped pair changes at most: 100 / (normal x defective) / categories."""
    steps = []
    for category in sorted(set(scores.category)):
        label = scores.label[scores.category == category]
        pairs = int((label == 0).sum()) * int((label == 1).sum())
        if pairs:
            steps.append(100 / pairs)
    return max(steps) / len(steps) if steps else float("nan")


def drift_table(pairs: list[tuple[ScoreFile, ScoreFile]]) -> pd.DataFrame:
    """One row for each (host, device) pair.

    Raises:
        CheckError: a device of another precision gave the host's scores to the last bit, a silent fallback.
    """
    rows = [drift(host, device) for host, device in pairs]
    for row in rows:
        if row.suspicious:
            raise CheckError(f"{row.target} seed {row.seed}: drift of exactly zero; the runtime fell back to the host")
    return pd.DataFrame([vars(row) for row in rows])


def not_run(records: list[RunRecord]) -> str:
    """Why these runs have no scores; empty when all ran."""
    reasons = sorted({record.reason for record in records if record.status != "ok"})
    return "; ".join(reasons)
