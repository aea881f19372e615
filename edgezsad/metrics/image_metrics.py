"""Image-level metrics on raw scores: AUROC, average precision, best F1, and decisions at a threshold.

The formulas take counts at distinct scores in ascending order, (..., K), so that images, binned pixels and bootstrap
resamples share them. Scores are never squashed: a sigmoid saturates and creates ties. A metric without both classes is
NaN. Labels are (N,) 0 or 1, scores (N,) finite; other input raises an InputError.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from edgezsad.errors import InputError


@dataclass(frozen=True)
class Decisions:
    """Numbers of images at a threshold: defective ones detected or missed, normal ones called defective."""

    defective: int
    detected: int
    missed: int
    normal: int
    false_alarms: int


def auroc(label: ArrayLike, score: ArrayLike) -> float:
    """Compute the area under the ROC curve in [0, 1], ties counted half."""
    _, normal, defective = _distinct(label, score)
    return float(auroc_from_counts(normal, defective))


def average_precision(label: ArrayLike, score: ArrayLike) -> float:
    """Compute average precision in [0, 1], the step-wise sum without interpolation."""
    _, normal, defective = _distinct(label, score)
    return float(ap_from_counts(normal, defective))


def best_f1(label: ArrayLike, score: ArrayLike) -> float:
    """Compute the largest F1 over all thresholds, in [0, 1]."""
    _, normal, defective = _distinct(label, score)
    return float(f1_from_counts(normal, defective).max()) if len(normal) else float("nan")


def best_balanced(label: ArrayLike, score: ArrayLike) -> float:
    """Find the threshold of the best balanced accuracy, the middle between two scores, the highest of several."""
    distinct, normal, defective = _distinct(label, score)
    if not (normal.any() and defective.any()):
        return float("nan")
    # Above all scores nothing is called defective.
    balance = np.append(_at_or_above(defective) / defective.sum() - _at_or_above(normal) / normal.sum(), 0)
    best = len(distinct) - int(balance[::-1].argmax())
    if best == len(distinct):
        return float(np.nextafter(distinct[-1], np.inf))
    return float((distinct[best] + distinct[best - 1]) / 2 if best else distinct[0])


def decisions(label: ArrayLike, score: ArrayLike, threshold: float) -> Decisions:
    """Count detections, misses and false alarms; a score at or above the threshold is called defective."""
    label, score = checked(label, score)
    called = score >= threshold
    detected, missed = (int((label[rows] == 1).sum()) for rows in (called, ~called))
    alarms = int(called.sum()) - detected
    return Decisions(detected + missed, detected, missed, len(label) - detected - missed, alarms)


def checked(label: ArrayLike, score: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Convert labels and scores to arrays; InputError if lengths differ or a value is invalid."""
    label, score = np.asarray(label), np.asarray(score)
    if len(label) != len(score):
        raise InputError(f"metrics: {len(label)} labels but {len(score)} scores; give one score for each image")
    if not np.isin(label, (0, 1)).all():
        row = int(np.isin(label, (0, 1)).argmin())
        raise InputError(f"metrics: label {row} is {label[row]}; expected 0 (normal) or 1 (defective)")
    if not np.isfinite(score).all():
        raise InputError(f"metrics: score {int(np.isfinite(score).argmin())} is not finite; check that image")
    return label, score


def auroc_from_counts(normal: np.ndarray, defective: np.ndarray) -> np.ndarray:
    """Compute AUROC from counts, the Mann-Whitney statistic (Hanley and McNeil, Radiology 1982)."""
    below = np.cumsum(normal, axis=-1) - normal / 2
    return _divide((defective * below).sum(axis=-1), normal.sum(axis=-1) * defective.sum(axis=-1))


def ap_from_counts(normal: np.ndarray, defective: np.ndarray) -> np.ndarray:
    """Compute average precision from counts: precision at each score, weighted by the recall it adds."""
    detected = _at_or_above(defective)
    precision = _divide(detected, detected + _at_or_above(normal))
    total = np.where(defective > 0, defective * precision, 0).sum(axis=-1)
    return _divide(total, np.where(normal.any(axis=-1), defective.sum(axis=-1), 0))


def f1_from_counts(normal: np.ndarray, defective: np.ndarray) -> np.ndarray:
    """Compute F1 from counts, with each score as threshold, (..., K)."""
    detected = _at_or_above(defective)
    called_and_defective = detected + _at_or_above(normal) + defective.sum(axis=-1, keepdims=True)
    both = normal.any(axis=-1, keepdims=True) & defective.any(axis=-1, keepdims=True)
    return _divide(2 * detected, np.where(both, called_and_defective, 0))


def aupro_from_counts(normal: np.ndarray, overlap: np.ndarray, fpr_limit: float) -> np.ndarray:
    """Compute AUPRO as MVTec AD does (Bergmann et al., IJCV 2021); `overlap`: pixels over the area of their region."""
    steps, rises = (_divide(each[..., ::-1], each.sum(axis=-1, keepdims=True)) for each in (normal, overlap))
    fpr, pro = np.cumsum(steps, axis=-1) - steps, np.cumsum(rises, axis=-1) - rises
    part = np.clip(_divide(fpr_limit - fpr, steps), 0, 1)
    # A score that no normal pixel has adds no area.
    area = np.where(steps == 0, 0 * rises, steps * part * (pro + rises * part / 2))
    return area.sum(axis=-1) / fpr_limit


def _distinct(label: ArrayLike, score: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct scores in ascending order, and how many normal and defective images have each."""
    label, score = checked(label, score)
    distinct, rank = np.unique(score, return_inverse=True)
    normal, defective = (np.bincount(rank[label == kind], minlength=len(distinct)) for kind in (0, 1))
    return distinct, normal, defective


def _at_or_above(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def _divide(dividend: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the divisor is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(divisor == 0, np.nan, dividend / divisor)
