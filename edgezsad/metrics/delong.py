"""The spread of AUROCs that were measured on the same images, and of their differences: DeLong's method by midranks.

AUROC is the share of pairs, one normal and one defective image, that a model orders rightly. An image's *placement* is
its own share of rightly ordered pairs; from the spread of placements follows the AUROC's variance, and from how the
placements of two models go together follows their covariance (DeLong, DeLong and Clarke-Pearson, Biometrics 1988).
Placements come from ranks, without looking at pairs (Sun and Xu, IEEE Signal Processing Letters 2014).

    found = delong(label, [host_score, device_score])
    change, error = found.contrast([-1, 1])
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from edgezsad.metrics.image import check


@dataclass(frozen=True)
class Aurocs:
    """AUROCs of K models on the same images.

    Attributes:
        value: (K,) in [0, 1]; NaN when a class is missing.
        covariance: (K, K); NaN when a class has fewer than two images, whose spread nobody can know.
    """

    value: np.ndarray
    covariance: np.ndarray

    def contrast(self, weight: Sequence[float]) -> tuple[float, float]:
        """A weighted sum of the AUROCs and its standard error: (-1, 1) is the second's change against the first.

        Args:
            weight: (K,) of each model.
        """
        weights = np.asarray(weight, dtype=float)
        variance = float(weights @ self.covariance @ weights)
        # Rounding may leave a variance of zero just below it; NaN stays NaN.
        return float(weights @ self.value), math.sqrt(variance if not variance < 0 else 0.0)


def placements(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each image, the share of rightly ordered pairs that it is in, ties counted half.

    Args:
        label: (N,) 0 or 1, both there.
        score: (N,) any finite numbers.

    Returns:
        (m,) of the defective images and (n,) of the normal ones, each in the order of `score`; the mean of either is
        the AUROC.
    """
    defective, normal = score[label == 1], score[label == 0]
    among_all = rankdata(score)
    # A midrank counts who is below among all; the midrank among one's own kind takes those of the own kind away.
    above_normal = (among_all[label == 1] - rankdata(defective)) / len(normal)
    below_defective = 1 - (among_all[label == 0] - rankdata(normal)) / len(defective)
    return above_normal, below_defective


def delong(label: np.ndarray, scores: Sequence[np.ndarray] | np.ndarray) -> Aurocs:
    """AUROCs of several models on the same images, and their covariance.

    Args:
        label: (N,) 0 or 1.
        scores: (K, N), of each model.

    Raises:
        InputError: lengths differ, or a score is not finite.
    """
    label = np.asarray(label)
    scores = [np.asarray(score) for score in scores]
    for score in scores:
        check(label, score)
    count = len(scores)
    defective, normal = int((label == 1).sum()), int((label == 0).sum())
    if not defective or not normal:
        return Aurocs(np.full(count, np.nan), np.full((count, count), np.nan))
    of_defective, of_normal = (np.stack(each) for each in zip(*(placements(label, s) for s in scores), strict=True))
    value = of_defective.mean(axis=1)
    if defective < 2 or normal < 2:
        return Aurocs(value, np.full((count, count), np.nan))
    covariance = np.cov(of_defective) / defective + np.cov(of_normal) / normal
    return Aurocs(value, np.atleast_2d(covariance))
