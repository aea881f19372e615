"""Claims in the book and on the command line: the same rows."""

from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from edgezsad.claims.evaluation import CLAIMS, GROUPS, check_claims
from edgezsad.cli import app
from edgezsad.config import save_profile
from edgezsad.show.tables import claim_lines, claim_rows, claims_summary, claims_table


def test_how_values_are_written(mini: Any) -> None:
    for name, *texts in (
        ("GFLOPs", "53.77 GFLOPs", "± 0.01", "53.77"),
        ("MVTec-AD image AUROC", "91.6%", "± 1", "-"),
        ("Jetson latency", "at most 32.83 ms", "+ 1.64", "-"),
    ):
        (row,) = claim_rows(check_claims(mini, [CLAIMS[name]]))
        assert [row["bound"], row["tolerance"], row["ours"]] == texts


def test_a_page_links_each_claim_to_its_notebook_and_shows_html_as_text(mini: Any) -> None:
    verdicts = check_claims(mini)
    html = "".join(claims_table(verdicts, group, "all of them").to_html() for group in GROUPS)
    for page in {claim.page for claim in CLAIMS.values()}:
        assert html.count(f'<a href="{page}.html">{page}</a>') == sum(each.page == page for each in CLAIMS.values())
    odd = replace(verdicts[0], reason="the file says <b>")
    assert "says &lt;b&gt;" in claims_table([odd], "paper", "one").to_html()


def test_the_summary_counts_every_claim(mini: Any) -> None:
    mini.plant("data", "overlaps", value=1)
    table = claims_summary(check_claims(mini)).set_index("claims")
    assert list(table.index) == [*GROUPS.values(), "together"]
    assert table.loc["together"].sum() == len(CLAIMS) and table["fails"].tolist() == [0, 0, 1, 1]


def test_the_command_prints_every_claim_and_fails_with_one(mini: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mini.folder)
    command = ["claims", "check", "--config", str(save_profile(mini.profile, mini.folder / "config.yaml"))]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and done.stdout.splitlines() == claim_lines(check_claims(mini))
    mini.plant("efficiency", "paper_graph", "backbone_gflops", value=55.0)
    done = CliRunner().invoke(app, command)
    assert done.exception and "fails    GFLOPs: ours 55, 53.77 GFLOPs" in done.stdout
