"""The claims as people read them: the same rows in the book, on the command line and in the results file."""

import re
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from edgezsad.claims.evaluation import CLAIMS, GROUPS, check_claims
from edgezsad.cli import app
from edgezsad.config import save_profile
from edgezsad.show.claim_tables import claim_lines, claim_rows, claims_summary, claims_table


@pytest.mark.parametrize(
    ("name", "bound", "tolerance", "ours"),
    [
        ("GFLOPs", "53.77 GFLOPs", "± 0.01", "53.77"),
        ("readout cost", "at most 9 MFLOPs", "none", "8.9"),
        ("operations, ratio", "at least 18 times", "none", "18.8"),
        ("MVTec-AD image AUROC", "91.6%", "± 1", "-"),
        ("Jetson latency", "at most 32.83 ms", "+ 1.64", "-"),
        ("source images", "216,917 images", "none", "-"),
    ],
)
def test_how_values_are_written(mini: Any, name: str, bound: str, tolerance: str, ours: str) -> None:
    (row,) = claim_rows(check_claims(mini, [CLAIMS[name]]))
    assert (row["bound"], row["tolerance"], row["ours"]) == (bound, tolerance, ours)


def test_a_page_links_each_claim_to_its_notebook_and_shows_html_as_text(mini: Any) -> None:
    verdicts = check_claims(mini)
    for group in GROUPS:
        html = claims_table(verdicts, group, "all of them").to_html()
        for page in {claim.page for claim in CLAIMS.values()}:
            count = sum(claim.page == page and claim.group == group for claim in CLAIMS.values())
            assert html.count(f'<a href="{page}.html">{page}</a>') == count
        assert "<caption>all of them</caption>" in html
    odd = replace(verdicts[0], reason="the file says <b>")
    assert "says &lt;b&gt;" in claims_table([odd], "paper", "one").to_html()


def test_the_summary_counts_every_claim(mini: Any) -> None:
    mini.plant("data", "overlaps", value=1)
    table = claims_summary(check_claims(mini)).set_index("claims")
    assert list(table.index) == [*GROUPS.values(), "together"]
    assert table.iloc[:-1].sum().tolist() == table.loc["together"].tolist()
    assert table.loc["together"].sum() == len(CLAIMS)
    assert table["fails"].tolist() == [0, 0, 1, 1] and table.loc[GROUPS["published"], "not run"] == 0


def test_the_command_prints_every_claim_and_fails_with_one(mini: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mini.folder)
    config = save_profile(mini.profile, mini.folder / "config.yaml")

    def printed() -> tuple[int, list[str]]:
        done = CliRunner().invoke(app, ["claims", "check", "--config", str(config)])
        return (1 if done.exception else 0), done.stdout.splitlines()

    assert printed() == (0, claim_lines(check_claims(mini)))
    assert re.fullmatch(r"holds \d+, fails 0, not run \d+", printed()[1][-1])
    mini.plant("efficiency", "paper_graph", "backbone_gflops", value=55.0)
    code, shown = printed()
    assert code == 1
    assert any(line.startswith("fails") and "GFLOPs: ours 55, 53.77 GFLOPs" in line for line in shown)
