"""Claims: each statement that a number can bear out, its reported value, ours, and whether it holds.

Three kinds stand in one table and are never mixed: what the paper states, what follows from published numbers alone,
and what this package promises of itself. The paper's accuracy and its boards need the paper profile or a board; a mini
number never stands in for a paper number, and an incomplete result never bears a claim out.
"""

from edgezsad.claims.claim import NOTHING, Claim, Verdict, judge
from edgezsad.claims.glance import glance
from edgezsad.claims.judging import CLAIMS, check, require
from edgezsad.claims.tables import claims_table, lines, of, page_table

__all__ = [
    "CLAIMS",
    "NOTHING",
    "Claim",
    "Verdict",
    "check",
    "claims_table",
    "glance",
    "judge",
    "lines",
    "of",
    "page_table",
    "require",
]
