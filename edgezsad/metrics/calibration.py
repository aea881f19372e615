"""Threshold from the scores of good images, with a bound on the share of good images that it flags.

The bound is that of a one-sided tolerance limit (Wilks, 1941): if m scores of good images are exchangeable with those
of future ones, a future good image exceeds the r-th largest of them more often than a share `a` with probability
P(Binomial(m, a) < r), whatever the distribution of the scores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
USUAL_DEVIATION, PRIOR_SCORES = 0.07, 6  # of log scores of good images, and how many scores that knowledge is worth
TIGHTER = 0.912  # times the normal quantile: on photographs, 10% of good parts instead of 8%, and 20% of defects missed


@dataclass(frozen=True)
class Calibration:
    """A threshold; with `CONFIDENCE`, at most the share `false_alarms` of good images is at or above it."""

    threshold: float
    images: int
    false_alarms: float
    asked: float  # the share that was asked for; smaller than `false_alarms` if there are too few images
    flagged: int  # of these images

    def as_text(self) -> str:
        """State the guarantee, and how many images the wanted one needs."""
        text = f"at most {percent(self.false_alarms)} of good parts flagged, with {CONFIDENCE:.0%} confidence"
        text += f" (from {self.images} good image{'s' if self.images > 1 else ''})"
        if self.false_alarms > self.asked:
            text += f"; {percent(self.asked)} needs {images_needed(self.asked)}"
        return text


def calibrate(scores: Sequence[float] | np.ndarray, false_alarms: float = 0.05) -> Calibration:
    """Choose the lowest threshold that keeps the wanted share of false alarms, or the highest score if none can.

    Args:
        scores: (m,) of good images that the detector has not seen, higher is more anomalous.
        false_alarms: largest share of good images that may be at or above the threshold, between 0 and 1.

    Raises:
        ValueError: there is no score, or the share is not between 0 and 1.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float32))[::-1]
    if not len(ordered) or not 0 < false_alarms < 1:
        raise ValueError("expected at least one score, and a share of false alarms between 0 and 1")
    count, rank = len(ordered), 1
    while rank < count and _risk(count, rank + 1, false_alarms) <= 1 - CONFIDENCE:
        rank += 1
    bound = false_alarms
    if _risk(count, rank, false_alarms) > 1 - CONFIDENCE:
        bound = 1 - (1 - CONFIDENCE) ** (1 / count)
    # An image is defective from the threshold on, so it must be above the score itself.
    threshold = float(np.nextafter(ordered[rank - 1], np.float32(np.inf)))
    return Calibration(threshold, count, bound, false_alarms, int((ordered >= threshold).sum()))


def estimate(scores: Sequence[float] | np.ndarray, false_alarms: float = 0.05) -> float:
    """Estimate a threshold from few positive scores, each of an image compared with the others; without a guarantee.

    Logarithms of scores are taken for normal; their standard deviation is shrunk towards `USUAL_DEVIATION`, as if
    `PRIOR_SCORES` more had been seen.
    """
    logs = np.log(np.asarray(scores, dtype=float))
    squared = np.square(logs - logs.mean()).sum() + PRIOR_SCORES * USUAL_DEVIATION**2
    deviation = math.sqrt(squared / (len(logs) - 1 + PRIOR_SCORES))
    return float(np.exp(logs.mean() + TIGHTER * NormalDist().inv_cdf(1 - false_alarms) * deviation))


def estimate_text(count: int, false_alarms: float) -> str:
    """State what an estimated threshold is worth."""
    return (
        f"an estimate from {count} references, each compared with the others: between {percent(false_alarms)} and "
        f"{percent(2 * false_alarms)} of good parts flagged on the parts it was tried on, no guarantee; "
        f"{percent(false_alarms)} with {CONFIDENCE:.0%} confidence needs {images_needed(false_alarms)} more good images"
    )


def images_needed(false_alarms: float) -> int:
    """Return the number of good images whose highest score keeps a share of false alarms: 59 for 5%."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(1 - false_alarms) - 1e-9)


def percent(share: float) -> str:
    """Format a share with two significant digits at most: 5%, 0.5%, 26%."""
    return f"{100 * share:.2g}%"


def _risk(count: int, rank: int, share: float) -> float:
    """Probability that more than `share` of good images exceed the score of this rank, the largest being 1."""
    return sum(math.comb(count, flagged) * share**flagged * (1 - share) ** (count - flagged) for flagged in range(rank))
