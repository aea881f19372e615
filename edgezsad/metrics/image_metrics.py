"""Image-level metrics on raw scores, by scikit-learn: AUROC, average precision, best F1.

No transformation is applied to scores (a sigmoid inside a metric has falsified published numbers before), and a class
that is missing gives NaN rather than a made-up number.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from edgezsad.errors import InputError


@dataclass(frozen=True)
class BestF1:
    """The largest F1 over all thresholds, in [0, 1], and the score at or above which an image is called defective."""

    f1: float
    threshold: float


def auroc(label: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve in [0, 1], ties counted half; NaN when only one class is present.

    Args:
        label: (N,) 0 or 1.
        score: (N,) any real numbers.
    """
    check(label, score)
    return float(roc_auc_score(label, score)) if _both(label) else float("nan")


def average_precision(label: np.ndarray, score: np.ndarray) -> float:
    """Average precision in [0, 1] (the step-wise sum, no interpolation); NaN when only one class is present."""
    check(label, score)
    return float(average_precision_score(label, score)) if _both(label) else float("nan")


def best_f1(label: np.ndarray, score: np.ndarray) -> BestF1:
    """Largest F1 and its threshold; NaN when only one class is present."""
    check(label, score)
    if not _both(label):
        return BestF1(float("nan"), float("nan"))
    precision, recall, thresholds = precision_recall_curve(label, score)
    # The last point of the curve has no threshold.
    f1 = 2 * precision[:-1] * recall[:-1] / np.maximum(precision[:-1] + recall[:-1], 1e-12)
    best = int(f1.argmax())
    return BestF1(float(f1[best]), float(thresholds[best]))


def best_balanced(label: np.ndarray, score: np.ndarray) -> float:
    """The score from which on to call an image defective for the largest mean of both classes' accuracies.

    The middle between two scores; NaN when only one class is present.
    """
    check(label, score)
    if not _both(label):
        return float("nan")
    false, true, thresholds = roc_curve(label, score, drop_intermediate=False)
    best = int((true - false).argmax())
    # The curve begins with a threshold of infinity, at which nothing is defective.
    if not np.isfinite(thresholds[best]):
        return float(np.nextafter(score.max(), np.inf))
    below = score[score < thresholds[best]]
    return float((thresholds[best] + below.max()) / 2) if below.size else float(thresholds[best])


def _both(label: np.ndarray) -> bool:
    return bool((label == 0).any() and (label == 1).any())


def check(label: np.ndarray, score: np.ndarray) -> None:
    """Raise unless there is one finite score for each label.

    Raises:
        InputError: saying which score is wrong.
    """
    if len(label) != len(score):
        raise InputError(f"metrics: {len(label)} labels but {len(score)} scores; give one score for each image")
    if not np.isfinite(score).all():
        raise InputError(f"metrics: score {int((~np.isfinite(score)).argmax())} is not finite; look at that image")
