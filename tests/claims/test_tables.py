"""The claims as people read them: the same rows in the book, on the command line and in the results file."""

import json
import re
from dataclasses import replace
from html import escape
from typing import Any

import pytest
from typer.testing import CliRunner

from edgezsad.claims import CLAIMS, check, claims_table, glance, lines, of, page_table
from edgezsad.claims.claim import BY
from edgezsad.cli import app
from edgezsad.config import save_profile


def test_table_and_json(mini: Any) -> None:
    mini.plant("data", "overlaps", value=1)
    verdicts = check(mini)
    table = claims_table(verdicts)
    assert len(table) == len(CLAIMS)
    assert (table != "").all(axis=None)
    rows = {row["name"]: row for row in (verdict.as_json() for verdict in verdicts)}
    assert (rows["no leak"]["status"], rows["no leak"]["ours"]) == ("fails", 1)
    assert (rows["RB5 latency"]["ours"], rows["RB5 latency"]["profile"]) == (None, None)
    json.dumps(list(rows.values()), allow_nan=False)
    named = table.set_index([[claim.name for claim in CLAIMS]])
    assert (named.loc["GFLOPs", "status"], named.loc["no leak", "status"]) == ("holds", "fails")
    assert named.loc["RB5 latency", "status"].startswith("not run: needs an RB5 Gen2 board")
    assert (named.loc["GFLOPs", "profile"], named.loc["RB5 latency", "profile"]) == ("mini", "paper")


@pytest.mark.parametrize(
    ("name", "reported", "tolerance", "ours"),
    [
        ("GFLOPs", "53.77 GFLOPs", "± 0.01", "53.77"),
        ("readout cost", "at most 9 MFLOPs", "none", "8.9"),
        ("compute beside ViT-L", "at least 18 times", "none", "18.8"),
        ("MVTec-AD image AUROC", "91.6%", "± 1", "-"),
        ("Jetson latency", "at most 32.83 ms", "+ 1.64", "-"),
        ("source images", "216,917 images", "none", "-"),
    ],
)
def test_how_values_are_written(mini: Any, name: str, reported: str, tolerance: str, ours: str) -> None:
    table = claims_table(check(mini, [claim for claim in CLAIMS if claim.name == name]))
    assert table.iloc[0][["reported", "tolerance", "ours"]].tolist() == [reported, tolerance, ours]


def test_a_row_links_to_the_page_that_computed_it(mini: Any) -> None:
    verdicts = check(mini)
    html = page_table(verdicts, "all").to_html()
    for page in {claim.page for claim in CLAIMS}:
        count = sum(claim.page == page for claim in CLAIMS)
        assert html.count(f'<a href="{page}.html">{page}</a>') == count
    assert "<caption>all</caption>" in html
    assert ">bound</th>" in page_table(of(verdicts, "package"), "ours").to_html()
    assert ">reported</th>" in page_table(of(verdicts, "paper"), "the paper's").to_html()
    odd = replace(verdicts[0], reason="the file says <b>")
    assert "says &lt;b&gt;" in page_table([odd], "one").to_html()


def test_at_a_glance(mini: Any) -> None:
    mini.plant("data", "overlaps", value=1)
    verdicts = check(mini)
    html = glance(verdicts)
    # Markdown ends raw HTML at a blank line.
    assert "\n" not in html
    assert [html.count(f'title="{escape(v.claim.name)}: {v.status}"') for v in verdicts] == [1] * len(CLAIMS)
    assert html.count(">✕<") == 2 and 'title="no leak: fails"' in html
    rows = re.findall(r'<th scope="row">(.*?)(?:<span.*?)?</th><td>(\d+)</td><td>(\d+)</td><td>(\d+)</td>', html)
    assert [title for title, *_ in rows] == [*BY.values(), "together"]
    counts = [[int(number) for number in numbers] for _, *numbers in rows]
    assert counts[-1] == [sum(column) for column in zip(*counts[:-1], strict=True)]
    assert sum(counts[-1]) == len(CLAIMS) and counts[-1][1] == counts[2][1] == 1
    # Nothing of the paper's accuracy, boards and recipe is run by a mini profile, and all arithmetic is.
    assert counts[0][2] >= 10 and counts[1][1:] == [0, 0]


def test_the_command_line_prints_the_rows_of_the_book_and_fails_with_a_claim(
    mini: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mini.folder)
    config = save_profile(mini.profile, mini.folder / "config.yaml")

    def printed() -> tuple[int, list[str]]:
        done = CliRunner().invoke(app, ["claims", "check", "--config", str(config)])
        return (1 if done.exception else 0), done.stdout.splitlines()

    code, shown = printed()
    verdicts = check(mini)
    assert (code, shown) == (0, lines(verdicts))
    for verdict, line, row in zip(verdicts, shown, claims_table(verdicts).to_dict("records"), strict=False):
        assert line.startswith(verdict.status)
        assert all(row[part] in line for part in ("reported", "tolerance", "ours", "profile", "computed by"))
    assert shown[-1] == f"holds {sum(v.status == 'holds' for v in verdicts)}, fails 0, " + shown[-1].rpartition(", ")[2]
    mini.plant("efficiency", "paper_graph", "backbone_gflops", value=55.0)
    code, shown = printed()
    assert code == 1
    assert any(line.startswith("fails") and "GFLOPs: ours 55, reported 53.77 GFLOPs" in line for line in shown)
