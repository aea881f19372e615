"""Tables of the book's pages: readable column names, fixed digits, missing values in words; and the claims as text."""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

import pandas as pd
from pandas.io.formats.style import Styler
from pydantic import BaseModel

from edgezsad.claims.evaluation import GROUPS, STATUSES, ClaimVerdict
from edgezsad.metrics.benchmark_tables import METRIC_TEXT

LABELS = {
    "host_auroc": "host AUROC",
    "device_auroc": "device AUROC",
    "points": "drift (points)",
    "spearman": "Spearman",
    "largest": "largest score change",
    "words": "below the bound?",
    "test_low": "90% low",
    "test_high": "90% high",
    "low": "95% low",
    "high": "95% high",
    "test_p": "beyond the bound: p",
    "newly_defective": "newly called defective",
    "newly_normal": "newly called normal",
    "validation_auroc_score": "AUROC, score",
    "validation_auroc_global_score": "AUROC, global head",
    "validation_auroc_correction": "AUROC, correction",
    "megabytes": "MB",
    "parameters": "parameters (M)",
    "weights": "weights (thousands)",
    "kept_fp32": "stays in FP32",
}
"""Column names that are more than their words; see `label`."""

SYMBOLS = {"holds": "✔", "fails": "✘", "not run": "○"}  # of a claim's status


def label(name: str) -> str:
    """Return the words of a column name: "pixel_aupro200" becomes "pixel AUPRO-200"."""
    return LABELS.get(name) or " ".join(METRIC_TEXT.get(word, word) for word in str(name).split("_"))


def table(frame: pd.DataFrame, digits: int = 1, missing: str = "undefined", caption: str = "") -> Styler:
    """Format a table for a page, without its index: labelled columns, `digits` decimals, `missing` for NaN and None.

    HTML in cells, headers and caption is shown as text.
    """
    # Adding zero turns -0.0 into 0.0.
    frame = frame.assign(**{name: frame[name].round(digits) + 0.0 for name in frame.select_dtypes("float")})
    styler = frame.rename(columns=label).style.hide(axis="index").format_index(escape="html", axis=1)
    styler = styler.format(precision=digits, na_rep=missing, escape="html")
    return styler.set_caption(escape(caption, quote=False)) if caption else styler


def settings(*parts: BaseModel) -> pd.DataFrame:
    """Return parts of the configuration as rows of name and value."""
    rows = [(name, "none" if value in (None, ()) else str(value)) for part in parts for name, value in part]
    return pd.DataFrame(rows, columns=["setting", "value"])


def claim_rows(verdicts: Iterable[ClaimVerdict]) -> list[dict[str, str]]:
    """Return the texts of each claim: statement, status, our number, bound, tolerance, profile, notebook."""
    rows = []
    for v in verdicts:
        bound = f"{_digits(v.claim.bound)} {v.claim.unit}".replace(" %", "%")
        sign = {"equals": "±", "at most": "+", "at least": "-"}[v.claim.comparison]
        row = {"claim": v.claim.statement, "status": f"{v.status}: {v.reason}" if v.reason else v.status}
        row["ours"] = "-" if v.ours is None else _digits(v.ours)
        row["bound"] = bound if v.claim.comparison == "equals" else f"{v.claim.comparison} {bound}"
        row["tolerance"] = f"{sign} {v.claim.tolerance:.3g}" if v.claim.tolerance else "none"
        row["profile"] = v.profile if v.ours is not None else ", ".join(v.claim.profiles) or "none"
        rows.append({**row, "page": v.claim.page})
    return rows


def _digits(value: float) -> str:
    """Return five significant digits, with commas between thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.5g}"


def claims_table(verdicts: Sequence[ClaimVerdict], group: str, caption: str) -> Styler:
    """Format and count the claims of a group for a page, each with a link to the page that computed it."""
    mine = [v for v in verdicts if v.claim.group == group]
    counted = Counter(v.status for v in mine)
    caption += f": {counted['holds']} hold, {counted['fails']} fail, {counted['not run']} not run"
    frame = pd.DataFrame(claim_rows(mine))
    frame["status"] = [f"{SYMBOLS[v.status]} {text}" for v, text in zip(mine, frame["status"], strict=True)]
    links = [f'{escape(row.claim)}<br><a href="{row.page}.html">{row.page}</a>' for row in frame.itertuples()]
    styler = table(frame.assign(claim=links).drop(columns="page"), caption=caption).format(subset=["claim"])
    return styler.set_properties(subset=["claim", "status"], **{"min-width": "10rem", "max-width": "26rem"})


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
    counts = pd.crosstab([v.claim.group for v in verdicts], [v.status for v in verdicts])
    counts = counts.reindex(index=list(GROUPS), columns=list(STATUSES), fill_value=0).rename(GROUPS)
    counts.loc["together"] = counts.sum()
    return counts.rename_axis(columns=None).rename_axis("claims").reset_index()
