"""Paired comparisons of AUROCs on the same images: DeLong's covariance, and a test of equivalence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata

from edgezsad.metrics.image_metrics import checked

ALPHA = 0.05  # level of each one-sided test; the interval that must lie inside the margin has a level of 1 - 2 ALPHA
POWER = 0.8  # probability of a verdict with `Equivalence.needed` images
Verdict = Literal["equivalent", "not equivalent", "undecided"]


def contrast(weight: Sequence[float], value: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """Compute a (K,) weighted sum of K AUROCs, for instance (-1, 1) for a change, and its standard error."""
    weights = np.asarray(weight, dtype=float)
    variance = float(weights @ covariance @ weights)
    # Rounding may leave a variance of zero just below it; NaN stays NaN.
    return float(weights @ value), math.sqrt(variance if not variance < 0 else 0.0)


def delong(label: ArrayLike, scores: Sequence[ArrayLike]) -> tuple[np.ndarray, np.ndarray]:
    """Compute AUROCs of K models on N images, and their covariance (DeLong et al., Biometrics 1988), (K,) and (K, K).

    AUROCs are in [0, 1], NaN when a class is missing; the covariance is NaN when a class has fewer than two images.
    Raises InputError if lengths differ, a (N,) label is not 0 or 1, or one of the (K, N) scores is not finite.
    """
    pairs = [checked(label, score) for score in scores]
    label, count = np.asarray(label), len(pairs)
    defective, normal = int((label == 1).sum()), int((label == 0).sum())
    if not defective or not normal:
        return np.full(count, np.nan), np.full((count, count), np.nan)
    of_defective, of_normal = (np.stack(each) for each in zip(*(placements(*pair) for pair in pairs), strict=True))
    value = of_defective.mean(axis=1)
    if defective < 2 or normal < 2:
        return value, np.full((count, count), np.nan)
    covariance = np.cov(of_defective) / defective + np.cov(of_normal) / normal
    return value, np.atleast_2d(covariance)


def placements(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute each image's share of pairs with the other class in correct order, ties counted half, by midranks.

    Returns (m,) of defective and (n,) of normal images (Sun and Xu, IEEE Signal Processing Letters 2014).
    """
    defective, normal = score[label == 1], score[label == 0]
    among_all = rankdata(score)
    above_normal = (among_all[label == 1] - rankdata(defective)) / len(normal)
    below_defective = 1 - (among_all[label == 0] - rankdata(normal)) / len(defective)
    return above_normal, below_defective


@dataclass(frozen=True)
class Equivalence:
    """Outcome of a test of equivalence.

    "equivalent": the interval is inside the margin; "not equivalent": the change itself reaches the margin;
    "undecided": the data set is too small.
    """

    change: float  # measured, in points
    low: float  # end of the 90% interval
    high: float
    p_value: float  # the larger of the two tests'; below 5% when the interval is inside the margin
    verdict: Verdict
    needed: int | None  # about how many images a verdict needs; None when there is one, or no number would give one

    def sentence(self) -> str:
        if self.verdict != "undecided":
            return self.verdict
        how_many = f": about {self.needed:,} images are needed" if self.needed else ""
        return f"undecided, the data set is too small{how_many}"


def equivalence(change: float, error: float, margin: float, images: int, step: float) -> Equivalence:
    """Test whether a change is within ±margin, by two one-sided tests.

    The change must be significantly above -margin and significantly below +margin (Schuirmann, Journal of
    Pharmacokinetics and Biopharmaceutics 1987). If no pair of images changed its order, the estimated error is zero
    although up to -log(5%) = 3 pairs may have (rule of three: Hanley and Lippman-Hand, JAMA 1983), so the interval
    reaches at least that many steps to either side.

    All in points: `change`, device minus host; `error`, its standard error (NaN: unknown); `margin`, what counts as
    small; `step`, the change when one pair of images swaps its order. `images` is their number in the data set.
    """
    if not (math.isfinite(change) and math.isfinite(error) and math.isfinite(step)):
        return Equivalence(change, math.nan, math.nan, math.nan, "undecided", None)
    quantile = float(norm.ppf(1 - ALPHA))
    half = max(quantile * error, -math.log(ALPHA) * step)
    # The error that such an interval belongs to, so that test and interval always agree.
    effective = half / quantile
    p_value = float(norm.sf((margin - abs(change)) / effective)) if effective else float(abs(change) >= margin)
    if half < margin - abs(change):
        verdict: Verdict = "equivalent"
    # If one swapped pair exceeds the margin, only a much larger change is conclusive.
    elif abs(change) >= margin and (step < margin or abs(change) - half >= margin):
        verdict = "not equivalent"
    else:
        verdict = "undecided"
    needed = _needed(change, error, margin, images, step) if verdict == "undecided" else None
    return Equivalence(change, change - half, change + half, p_value, verdict, needed)


def _needed(change: float, error: float, margin: float, images: int, step: float) -> int | None:
    """Estimate how many images give a verdict, were they like these; None if the change is the margin itself."""
    room = abs(margin - abs(change))
    if not room:
        return None
    # Errors shrink with the root of the number of images, steps with its square.
    by_error = (float(norm.ppf(1 - ALPHA) + norm.ppf(POWER)) * error / room) ** 2
    by_step = math.sqrt(-math.log(ALPHA) * step / room)
    exact = images * max(by_error, by_step)
    # Rounded up to two digits.
    digits = 10 ** max(0, math.floor(math.log10(exact)) - 1)
    return math.ceil(exact / digits) * digits
