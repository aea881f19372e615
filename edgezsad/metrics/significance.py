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
from typing import Literal

import numpy as np
from scipy.stats import norm, rankdata

from edgezsad.metrics.image_metrics import check


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


ALPHA = 0.05
"""Of each of the two tests; the interval that must lie inside then has a level of 1 - 2 ALPHA."""

POWER = 0.8
"""How likely the set of `Equivalence.needed` images shows what the present one suggests."""

Verdict = Literal["equivalent", "not equivalent", "undecided"]


@dataclass(frozen=True)
class Equivalence:
    """Outcome of the test.

    Attributes:
        change: what was measured.
        low, high: ends of the 90% interval.
        p_value: the larger of the two tests'; below 5% when the interval lies inside.
        verdict: "equivalent": the interval lies inside the margin; "not equivalent": the change itself reaches it;
            "undecided": the set is too small to tell.
        needed: about how many images would tell; None when this set does, or none would.
    """

    change: float
    low: float
    high: float
    p_value: float
    verdict: Verdict
    needed: int | None

    def sentence(self) -> str:
        """The verdict in words."""
        if self.verdict != "undecided":
            return self.verdict
        how_many = f": about {self.needed:,} images would tell" if self.needed else ""
        return f"undecided, the set is too small{how_many}"


def equivalence(change: float, error: float, margin: float, images: int, step: float) -> Equivalence:
    """Test whether a change lies inside ±margin.

    Where no pair of images changes its order, the error is zero, and yet the set can not have shown a change smaller
    than one pair. Of something not seen once, there may be -log(5%) = 3 at 5% (the rule of three: Hanley and
    Lippman-Hand, JAMA 1983), so the interval reaches at least as many steps to either side.

    Args:
        change: device minus host, in points.
        error: its standard error, in points; NaN if unknown.
        margin: what counts as small, in points.
        images: of the set.
        step: what one pair of images in another order changes, in points.
    """
    if not (math.isfinite(change) and math.isfinite(error) and math.isfinite(step)):
        return Equivalence(change, math.nan, math.nan, math.nan, "undecided", None)
    quantile = float(norm.ppf(1 - ALPHA))
    half = max(quantile * error, -math.log(ALPHA) * step)
    # The error that such an interval belongs to, so that test and interval always agree.
    spread = half / quantile
    p_value = float(norm.sf((margin - abs(change)) / spread)) if spread else float(abs(change) >= margin)
    if half < margin - abs(change):
        verdict: Verdict = "equivalent"
    # A set whose every step is beyond the margin can not measure it, unless what it shows lies far beyond.
    elif abs(change) >= margin and (step < margin or abs(change) - half >= margin):
        verdict = "not equivalent"
    else:
        verdict = "undecided"
    needed = _needed(change, error, margin, images, step) if verdict == "undecided" else None
    return Equivalence(change, change - half, change + half, p_value, verdict, needed)


def _needed(change: float, error: float, margin: float, images: int, step: float) -> int | None:
    """About how many images would give a verdict, were they like these; None if the change is the margin itself."""
    room = abs(margin - abs(change))
    if not room:
        return None
    # Errors shrink with the root of the number of images, steps with its square.
    by_error = (float(norm.ppf(1 - ALPHA) + norm.ppf(POWER)) * error / room) ** 2
    by_step = math.sqrt(-math.log(ALPHA) * step / room)
    exact = images * max(by_error, by_step)
    # Two digits: no more is known.
    digits = 10 ** max(0, math.floor(math.log10(exact)) - 1)
    return math.ceil(exact / digits) * digits
