"""Is a change small enough? Two one-sided tests, which ask for evidence of smallness instead of taking its absence.

That a change does not differ significantly from zero says little of a small set, where nothing does. The claim "below
0.2 points" is therefore tested the other way round: the change must be significantly above -0.2 and significantly below
+0.2, each at 5% (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987). It is the same to ask that the
whole 90% interval lie inside.

    verdict = equivalence(change=0.03, error=0.05, margin=0.2, images=120, step=0.06)
    print(verdict.verdict, verdict.needed)
"""

import math
from dataclasses import dataclass
from typing import Literal

from scipy.stats import norm

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
