"""What a claim is, and when a number bears it out."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgezsad.run import Run

Status = Literal["holds", "fails", "not run"]
By = Literal["paper", "arithmetic", "package"]

BY: dict[By, str] = {
    "paper": "stated by the paper",
    "arithmetic": "follows from published numbers alone",
    "package": "promised by this package",
}

ANY = ("mini", "folder", "paper")
"""Profiles of a claim that any run can bear out."""

NOTHING = "nothing"
"""What arithmetic on published numbers needs."""

CPU = "nothing but a CPU"


@dataclass(frozen=True)
class Part:
    """The worst of what is there, where a result lacks something: enough to fail a claim, not to bear it out."""

    worst: float
    missing: str


Found = float | str | Part | None
"""What a claim reads: its number, why there is none, the worst of a part, or None where it was not run."""


@dataclass(frozen=True)
class Claim:
    """One row of the claims table.

    Attributes:
        name: short, unique.
        statement: what is claimed.
        by: who says so, see `BY`.
        reported: the reported value or bound.
        comparison: "equals" (within tolerance), "at most" or "at least" (beyond the bound by at most the tolerance).
        tolerance: in the value's unit.
        unit: of the values.
        profiles: those that can bear it out.
        value: reads our number from a run's results, see `Found`.
        needs: what it takes when the profile at hand cannot check it.
        page: the notebook that computes it.
    """

    name: str
    statement: str
    by: By
    reported: float
    comparison: Literal["equals", "at most", "at least"]
    tolerance: float
    unit: str
    profiles: tuple[str, ...]
    value: Callable[[Run], Found]
    needs: str
    page: str


@dataclass(frozen=True)
class Verdict:
    """A claim with our number and its status.

    Attributes:
        claim: what was judged.
        ours: our number; None where there is none.
        status: "holds", "fails" or "not run".
        reason: what a claim that was not run needs; else empty.
        profile: of the run that was judged.
    """

    claim: Claim
    ours: float | None
    status: Status
    reason: str
    profile: str

    def as_json(self) -> dict[str, object]:
        """For the results file."""
        claim = self.claim
        return {
            "name": claim.name,
            "by": claim.by,
            "reported": claim.reported,
            "ours": self.ours,
            "unit": claim.unit,
            "comparison": claim.comparison,
            "tolerance": claim.tolerance,
            "profile": self.profile if self.ours is not None else None,
            "status": self.status,
            "reason": self.reason,
            "page": claim.page,
        }


def judge(claim: Claim, ours: float | None) -> bool:
    """Whether a number bears the claim out; a number that is not finite bears out nothing."""
    if ours is None or not math.isfinite(ours):
        return False
    difference = ours - claim.reported
    if claim.comparison == "equals":
        return abs(difference) <= claim.tolerance
    return (difference if claim.comparison == "at most" else -difference) <= claim.tolerance
