"""The claims as people read them: a table for the book, and the same rows as lines of text."""

from collections.abc import Iterable
from html import escape

import pandas as pd
from pandas.io.formats.style import Styler

from edgezsad.claims.claim import NOTHING, By, Claim, Status, Verdict
from edgezsad.show.tables import table

STATUSES: tuple[Status, ...] = ("holds", "fails", "not run")

_COLUMNS = ("claim", "says", "reported", "tolerance", "ours", "profile", "status", "computed by")


def rows(verdicts: Iterable[Verdict]) -> list[dict[str, str]]:
    """One row a claim, everything as text; what both the book and the command line show."""
    return [
        {
            "claim": verdict.claim.statement,
            "says": verdict.claim.by,
            "reported": _reported(verdict.claim),
            "tolerance": _tolerance(verdict.claim),
            "ours": "-" if verdict.ours is None else _digits(verdict.ours),
            "profile": _profile(verdict),
            "status": verdict.status + (f": {verdict.reason}" if verdict.reason else ""),
            "computed by": verdict.claim.page,
        }
        for verdict in verdicts
    ]


def claims_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """The claims as a table, one row each, in this order."""
    return pd.DataFrame(rows(verdicts), columns=list(_COLUMNS))


def page_table(verdicts: list[Verdict], caption: str) -> Styler:
    """The claims of one kind as a page shows them, each with a link to the page that computed it.

    Args:
        verdicts: all of one kind, which the caption names.
        caption: one sentence.
    """
    shown = claims_table(verdicts)
    # Below its statement the page takes no column of its own, which a sentence then has.
    linked = zip(shown["claim"], shown["computed by"], strict=True)
    shown["claim"] = [f'{escape(claim)}<br><a href="{page}.html">{page}</a>' for claim, page in linked]
    # A reason may quote whatever a file says.
    shown["status"] = [escape(status) for status in shown["status"]]
    # What a reader looks for stands where a narrow screen shows it.
    shown = shown[["claim", "status", "ours", "reported", "tolerance", "profile"]]
    if any(verdict.claim.by != "paper" for verdict in verdicts):
        # Nobody has reported a bound that we set.
        shown = shown.rename(columns={"reported": "bound"})
    styler = table(shown, caption=caption)
    for column, least, most in (("claim", "12rem", "15rem"), ("status", "8rem", "11rem")):
        styler = styler.set_properties(subset=[column], **{"min-width": least, "max-width": most})
    return styler


def lines(verdicts: Iterable[Verdict]) -> list[str]:
    """The same rows as text, one line each, and the counts; for the command line."""
    verdicts = list(verdicts)
    shown = [
        f"{verdict.status:8} {verdict.claim.name}: ours {row['ours']}, reported {row['reported']}, "
        f"tolerance {row['tolerance']} ({row['says']}; profile {row['profile']}; {row['computed by']})"
        + (f": {verdict.reason}" if verdict.reason else "")
        for verdict, row in zip(verdicts, rows(verdicts), strict=True)
    ]
    return [*shown, ", ".join(f"{status} {number}" for status, number in tally(verdicts).items())]


def of(verdicts: Iterable[Verdict], by: By) -> list[Verdict]:
    """The verdicts of one kind of claim."""
    return [verdict for verdict in verdicts if verdict.claim.by == by]


def tally(verdicts: Iterable[Verdict]) -> dict[Status, int]:
    """How many claims have each status."""
    found = [verdict.status for verdict in verdicts]
    return {status: found.count(status) for status in STATUSES}


def _reported(claim: Claim) -> str:
    value = f"{_digits(claim.reported)} {claim.unit}".replace(" %", "%")
    return value if claim.comparison == "equals" else f"{claim.comparison} {value}"


def _tolerance(claim: Claim) -> str:
    if not claim.tolerance:
        return "none"
    return {"equals": "±", "at most": "+", "at least": "-"}[claim.comparison] + f" {claim.tolerance:.3g}"


def _profile(verdict: Verdict) -> str:
    """The profile that our number came from, or those that could give one."""
    if verdict.claim.needs == NOTHING:
        return "any"
    return verdict.profile if verdict.ours is not None else ", ".join(verdict.claim.profiles) or "none"


def _digits(value: float) -> str:
    """Five significant digits; commas between thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.5g}"
