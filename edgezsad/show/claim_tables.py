"""The claims of a run as a page's tables, as text for the command line and as rows of a results file."""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

import pandas as pd
from pandas.io.formats.style import Styler

from edgezsad.claims.evaluation import GROUPS, STATUSES, Claim, ClaimVerdict
from edgezsad.show.tables import table


def claim_rows(verdicts: Iterable[ClaimVerdict]) -> list[dict[str, str]]:
    """Return the texts of each claim: statement, status, our number, bound, tolerance, profile, notebook."""
    return [
        {
            "claim": v.claim.statement,
            "status": f"{v.status}: {v.reason}" if v.reason else v.status,
            "ours": "-" if v.ours is None else _digits(v.ours),
            "bound": _bound(v.claim),
            "tolerance": _tolerance(v.claim),
            "profile": v.profile if v.ours is not None else ", ".join(v.claim.profiles) or "none",
            "page": v.claim.page,
        }
        for v in verdicts
    ]


def claims_table(verdicts: Sequence[ClaimVerdict], group: str, caption: str) -> Styler:
    """Format the claims of a group for a page, each with a link to the page that computed it."""
    frame = pd.DataFrame(claim_rows(v for v in verdicts if v.claim.group == group))
    links = [f'{escape(row.claim)}<br><a href="{row.page}.html">{row.page}</a>' for row in frame.itertuples()]
    frame = frame.assign(claim=links).drop(columns="page")
    styler = table(frame, caption=caption).format(subset=["claim"])
    return styler.set_properties(subset=["claim", "status"], **{"min-width": "10rem", "max-width": "15rem"})


def claim_lines(verdicts: Sequence[ClaimVerdict]) -> list[str]:
    """Return one line of text for each claim, then the counts; for the command line."""
    lines = [
        f"{v.status:8} {v.claim.name}: ours {row['ours']}, {row['bound']}, tolerance {row['tolerance']} "
        f"({v.claim.group}; profile {row['profile']}; {row['page']})" + (f": {v.reason}" if v.reason else "")
        for v, row in zip(verdicts, claim_rows(verdicts), strict=True)
    ]
    found = Counter(v.status for v in verdicts)
    return [*lines, ", ".join(f"{status} {found[status]}" for status in STATUSES)]


def claims_summary(verdicts: Sequence[ClaimVerdict]) -> pd.DataFrame:
    """Count the claims of each group by status, with the sum in the last row."""
    counts = {title: Counter(v.status for v in verdicts if v.claim.group == group) for group, title in GROUPS.items()}
    rows = [{"claims": title} | {status: count[status] for status in STATUSES} for title, count in counts.items()]
    total = {"claims": "together"} | {status: sum(row[status] for row in rows) for status in STATUSES}
    return pd.DataFrame([*rows, total])


def claim_records(verdicts: Iterable[ClaimVerdict]) -> list[dict[str, object]]:
    """Return the claims for a results file."""
    keys = ("name", "group", "bound", "comparison", "tolerance", "unit", "page")
    return [
        {key: getattr(v.claim, key) for key in keys} | {key: getattr(v, key) for key in ("ours", "status", "reason")}
        for v in verdicts
    ]


def _bound(claim: Claim) -> str:
    value = f"{_digits(claim.bound)} {claim.unit}".replace(" %", "%")
    return value if claim.comparison == "equals" else f"{claim.comparison} {value}"


def _tolerance(claim: Claim) -> str:
    sign = {"equals": "±", "at most": "+", "at least": "-"}[claim.comparison]
    return f"{sign} {claim.tolerance:.3g}" if claim.tolerance else "none"


def _digits(value: float) -> str:
    """Return five significant digits, with commas between thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.5g}"
