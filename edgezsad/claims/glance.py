"""All claims at a glance: one mark each, with counts, as HTML for the claims page and for the book's start page."""

from collections.abc import Iterable
from html import escape

from edgezsad.claims.claim import BY, Status, Verdict
from edgezsad.claims.tables import STATUSES, of, tally

# Shape as well as colour, for readers in grey.
MARKS: dict[Status, str] = {"holds": "■", "fails": "✕", "not run": "□"}

# Colours follow the book's theme, light or dark; without it, the reader's own.
_STYLE = """<style>
table.claims-glance, .bd-article .cell_output table.claims-glance { border-collapse: collapse; width: 100%;
  font-size: 0.9rem; }
.bd-article .cell_output table.claims-glance th { max-width: none; }
.claims-glance th, .claims-glance td { padding: 0.3rem 0.5rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--pst-color-border, currentColor); font-variant-numeric: tabular-nums; }
.claims-glance th:first-child { text-align: left; font-weight: normal; }
.claims-glance thead th { font-weight: 600; white-space: nowrap; }
.claims-glance .marks { display: block; letter-spacing: 0.15em; line-height: 1.4; overflow-wrap: anywhere; }
.claims-glance .holds { color: var(--pst-color-success, currentColor); }
.claims-glance .fails { color: var(--pst-color-danger, currentColor); font-weight: 700; }
.claims-glance .not-run { color: var(--pst-color-text-muted, currentColor); }
</style>"""


def glance(verdicts: Iterable[Verdict]) -> str:
    """A table of who claims, with a mark for each claim, and how many hold, fail and were not run.

    The marks are for the eye; the numbers beside them say the same to a screen reader.
    """
    verdicts = list(verdicts)
    head = "".join(
        f'<th scope="col"><span class="{_name(status)}" aria-hidden="true">{MARKS[status]}</span> {status}</th>'
        for status in STATUSES
    )
    lines = []
    for by, title in BY.items():
        own = of(verdicts, by)
        marks = "".join(
            f'<span class="{_name(v.status)}" title="{escape(f"{v.claim.name}: {v.status}")}">{MARKS[v.status]}</span>'
            for v in sorted(own, key=lambda v: STATUSES.index(v.status))
        )
        counts = "".join(f"<td>{number}</td>" for number in tally(own).values())
        lines.append(
            f'<tr><th scope="row">{title}<span class="marks" aria-hidden="true">{marks}</span></th>{counts}</tr>'
        )
    total = "".join(f"<td>{number}</td>" for number in tally(verdicts).values())
    together = f'<tbody><tr><th scope="row">together</th>{total}</tr></tbody>'
    # In one line: a blank or an indented one would end HTML inside Markdown.
    rows = "".join(lines)
    # The sum has a body of its own: this table is laid out by hand, and not to be sorted.
    table = f'<thead><tr><th scope="col">claims</th>{head}</tr></thead><tbody>{rows}</tbody>{together}'
    return f'{_STYLE}<table class="claims-glance">{table}</table>'.replace("\n", " ")


def _name(status: Status) -> str:
    return status.replace(" ", "-")
