"""Drift: what changes when the same images are scored elsewhere. Both sides are score files, measured by one code.

Metrics of the host are computed on the very images that the other side scored, so a subset is compared with itself.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from edgezsad.errors import CheckError, InputError
from edgezsad.metrics.image_metrics import auroc
from edgezsad.scoring.score_file import RunRecord, ScoreFile


@dataclass(frozen=True)
class Drift:
    """How far a device's scores lie from the host's on the same images.

    Attributes:
        target, seed: of both score files.
        images: compared.
        host_auroc, device_auroc: image AUROC in percent, mean over categories.
        points: device minus host, in points.
        step: what one swapped pair of images changes at most, in points: finer than this a subset cannot resolve.
        spearman, kendall: rank agreement of the scores; Kendall's is tau-b, the share of pairs in the same order minus
            that in the other.
        largest: largest absolute change of a score (logit).
        largest_spreads: the same in units of the standard deviation of the host's scores.
        threshold: the host's, at or above which an image is called defective; NaN if unknown.
        newly_defective, newly_normal: images that the device calls so and the host does not; None if it is unknown.
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
    kendall: float
    largest: float
    largest_spreads: float
    threshold: float
    newly_defective: int | None
    newly_normal: int | None
    map_correlation: float
    suspicious: bool


def drift(host: ScoreFile, device: ScoreFile, threshold: float = math.nan) -> Drift:
    """Compare a device's score file with the host's.

    Args:
        host: its scores of a seed and target.
        device: the same, of these images or some of them.
        threshold: the host's.

    Raises:
        InputError: the device's images are not among the host's; target, seed, labels or map sizes differ; or either
            did not run.
    """
    same = counterpart(host, device)
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
        kendall=float(stats.kendalltau(same.score, device.score).statistic),
        largest=(largest := float(np.abs(same.score - device.score).max())),
        largest_spreads=largest / spread if (spread := float(same.score.std())) else math.nan,
        threshold=threshold,
        newly_defective=newly(same.score, device.score, threshold),
        newly_normal=newly(device.score, same.score, threshold),
        map_correlation=float(np.corrcoef(same.map.ravel(), device.map.ravel())[0, 1]),
        suspicious=bool((same.score == device.score).all() and device.record.precision != host.record.precision),
    )


def counterpart(host: ScoreFile, device: ScoreFile) -> ScoreFile:
    """The host's scores of the images that the device scored, in its order.

    Raises:
        InputError: as `drift`.
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
    return same


def newly(before: np.ndarray, after: np.ndarray, threshold: float) -> int | None:
    """Images that reach the threshold after and did not before; None without a threshold."""
    return None if math.isnan(threshold) else int(((after >= threshold) & (before < threshold)).sum())


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


def drift_table(
    pairs: list[tuple[ScoreFile, ScoreFile]], thresholds: dict[int, float] | None = None, strict: bool = True
) -> pd.DataFrame:
    """One row for each (host, device) pair.

    Args:
        pairs: of score files.
        thresholds: the host's, by seed; what is missing is unknown.
        strict: a silent fallback is an error; else its row says that it is suspicious.

    Raises:
        CheckError: a device of another precision gave the host's scores to the last bit, a silent fallback.
    """
    thresholds = thresholds or {}
    rows = [drift(host, device, thresholds.get(host.record.seed, math.nan)) for host, device in pairs]
    for row in rows:
        if row.suspicious and strict:
            raise CheckError(f"{row.target} seed {row.seed}: drift of exactly zero; the runtime fell back to the host")
    return pd.DataFrame([vars(row) for row in rows])


def not_run(records: list[RunRecord]) -> str:
    """Why these runs have no scores; empty when all ran."""
    reasons = sorted({record.reason for record in records if record.status != "ok"})
    return "; ".join(reasons)
