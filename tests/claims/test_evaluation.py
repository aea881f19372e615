"""Claims are evaluated correctly, and an incomplete result confirms none, however well its number fits."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from edgezsad.claims.evaluation import CLAIMS, GROUPS, ClaimVerdict, check_claims, require_claims
from edgezsad.cli import app
from edgezsad.config import Profile, save_profile
from edgezsad.errors import CheckError, InputError
from edgezsad.run import Run
from edgezsad.show.tables import claim_lines, claims_summary, claims_table

UNDECIDED = {"equivalent": 5, "not equivalent": 0, "undecided": 1}
BOARD = {"status": "ok", "missing": [], "images_needed": 0, "drift_points_below": 0.11, "verdicts": {"equivalent": 6}}


def only(run: Run, name: str) -> ClaimVerdict:
    return check_claims(run, [CLAIMS[name]])[0]


def incomplete(run: Run, name: str, reason: str) -> None:
    verdict = only(run, name)
    assert (verdict.status, verdict.ours, verdict.reason) == ("not run", None, f"incomplete: {reason}")


def test_a_number_within_the_tolerance_confirms() -> None:
    for comparison, holding, failing in (
        ("equals", (9.5, 10.5), (9.49, 10.51, math.inf, math.nan)),
        ("at most", (10.5, -1e9), (10.51, -math.inf)),
        ("at least", (9.5, 1e9), (9.49, math.inf)),
    ):
        claim = replace(CLAIMS["GFLOPs"], comparison=comparison, bound=10.0, tolerance=0.5)
        assert all(map(claim.holds, holding)) and not any(map(claim.holds, failing))


def test_bounds_are_the_published_numbers_and_promises_have_no_tolerance() -> None:
    published = {
        "MVTec-AD image AUROC": 91.6, "VisA PRO": 74.2, "Jetson latency": 32.83, "RB5 latency": 139.97, "runs": 3,
        "source images": 216_917, "steps": 2_000, "benchmarks": 6, "GFLOPs": 53.77, "RB5 drift": 0.2,
    }  # fmt: skip
    assert {name: CLAIMS[name].bound for name in published} == published and len(CLAIMS) == 47
    assert CLAIMS["RB5 latency"].tolerance == pytest.approx(0.05 * 139.97)
    assert {claim.tolerance for claim in CLAIMS.values() if claim.group == "package"} == {0}


def test_a_mini_run_confirms_no_number_of_the_paper(mini: Any) -> None:
    verdicts = {verdict.claim.name: verdict for verdict in check_claims(mini)}
    require_claims(verdicts.values())
    missing = {name for name, verdict in verdicts.items() if verdict.status == "not run"}
    assert missing == {"QNN emulator ranking", *(name for name, each in CLAIMS.items() if "mini" not in each.profiles)}
    assert verdicts["VisA PRO"].reason == f"needs {CLAIMS['VisA PRO'].needs}" and verdicts["host parity"].ours == 2e-5


def test_a_paper_run_checks_the_papers_numbers(paper: Any) -> None:
    verdicts = {verdict.claim.name: verdict for verdict in check_claims(paper)}
    assert all(verdicts[name].status == "holds" for name in CLAIMS if name.startswith(("MVTec-AD", "VisA")))
    assert [verdicts[name].ours for name in ("benchmarks", "runs", "steps", "source images")] == [6, 3, 2000, 216_917]
    paper.plant("benchmarks", "by_benchmark", "VisA", "image_auroc", "mean", value=86.0)
    with pytest.raises(CheckError, match=r"VisA image AUROC: 86 %, equals 88\.2"):
        require_claims(check_claims(paper))


def test_wrong_numbers_fail_the_check(mini: Any) -> None:
    mini.plant("export", "largest_score_difference", value=math.nan)
    mini.plant("jetson_drift", "smallest_spearman", value=0.9)
    words = "2 claim(s) fail: host parity: nan logit, at most 0.0001; host FP16 ranking: 0.9 Spearman, at least 0.999;"
    with pytest.raises(CheckError, match=re.escape(words)):
        require_claims(check_claims(mini))


def test_arithmetic_on_published_numbers_by_hand(mini: Any) -> None:
    expected = {
        "frames a second": 30.460,
        "ranking, VisA": 88.2 - 86.8,
        "ranking, MVTec-AD": 91.6 - (92.0 + 92.2) / 2,
        "localisation, MVTec-AD PRO": (64.6 + 81.4) / 2 - 67.8,
        "localisation, VisA pixel AUROC": 95.1 - 92.9,
        "parameters, ratio": (427.9 + 0.6) / 21,
    }
    found = {name: only(mini, name) for name in expected}
    assert {each.status for each in found.values()} == {"holds"}
    assert {name: each.ours for name, each in found.items()} == pytest.approx(expected, abs=1e-3)


def test_files_that_are_missing_or_wrong_are_one_line(mini: Any, make_profile: Callable[..., Profile]) -> None:
    mini.plant("data", "overlaps", value="0")
    with pytest.raises(InputError, match=r"data\.json: overlaps is not a number; run notebook 01_data again"):
        check_claims(mini)
    mini.write_result("efficiency", {"paper_graph": None})
    with pytest.raises(InputError, match=r"efficiency\.json: missing paper_graph\.backbone_gflops; run notebook 07_"):
        check_claims(mini)
    with pytest.raises(InputError, match=r"benchmarks\.json: made by profile mini, not paper; run notebook 06_"):
        check_claims(Run(make_profile(mini.folder, profile="paper")))


def test_sets_categories_seeds_and_model_must_be_those_of_the_paper(paper: Any) -> None:
    paper.plant("benchmarks", "by_benchmark", "VisA", "pixel_aupro", "left_out", value=["pcb1"])
    incomplete(paper, "VisA PRO", "benchmarks.by_benchmark.VisA.pixel_aupro.left_out is 1, expected at most 0")
    paper.plant("data", "sets", 1, "same as published", value="no: test normal 466 of 467")
    for name in ("MVTec-AD PRO", "benchmarks"):
        incomplete(paper, name, "not the published sets: MVTec-AD (no: test normal 466 of 467)")
    assert only(paper, "VisA image AUROC").status == "holds"
    paper.plant("data", "sets", 0, "same as published", value=None)
    incomplete(paper, "source images", "not the published sets: Real-IAD (no published numbers)")
    paper.plant("benchmarks", "runs", value=2)
    incomplete(paper, "VisA image AUROC", "benchmarks.runs is 2, expected at least 3")
    smaller = paper.profile.model.model_copy(update={"size": 256})
    other = type(paper)(paper.profile.model_copy(update={"model": smaller}))
    incomplete(other, "VisA PRO", "another model: tiny_vit_21m_512 at 256 px, not tiny_vit_21m_512 at 512 px")


def test_a_part_may_fail_but_not_confirm(mini: Any) -> None:
    mini.plant("jetson_drift", "rows", 0, "spearman", value=None)
    incomplete(mini, "host FP16 ranking", "missing spearman of bolts seed 0")
    mini.plant("jetson_drift", "smallest_spearman", value=0.9)
    assert (only(mini, "host FP16 ranking").status, only(mini, "host FP16 ranking").ours) == ("fails", 0.9)


def test_a_search_of_nothing_confirms_nothing(mini: Any) -> None:
    mini.plant("efficiency", "paper_graph", "backends", value=[])
    incomplete(mini, "operator lists", "efficiency.paper_graph.backends is 0, expected at least 6")
    mini.plant("data", "no_leak", "unproven_images", value=1200)
    incomplete(mini, "no leak", "data.no_leak.unproven_images is 1,200, expected at most 0")
    mini.plant("data", "overlaps", value=1)
    assert only(mini, "no leak").status == "fails"


@pytest.mark.parametrize(
    ("changes", "ours", "reason"),
    [
        ({}, 0.11, ""),
        ({"drift_points_below": 0.31, "verdicts": UNDECIDED | {"not equivalent": 1}}, 0.31, ""),
        ({"drift_points_below": 0.31, "verdicts": UNDECIDED, "images_needed": 900}, None, "needs about 900 images"),
        ({"missing": ["BTAD"]}, None, "incomplete: missing images of BTAD"),
        ({"rows": [{"target": "BTAD", "seed": 1, "images": 12}]}, None, "incomplete: missing images of BTAD seed 1"),
        ({"status": "suspicious", "drift_points_below": 0.0}, None, "a drift of exactly zero"),
        ({"status": "not run", "drift_points_below": None, "verdicts": {}}, None, "and the paper's data sets"),
    ],
)  # fmt: skip
def test_drift_on_a_board(paper: Any, changes: dict, ours: float | None, reason: str) -> None:
    paper.plant("rb5_drift", "board", value=BOARD | {"rows": paper.drift_rows()} | changes)
    verdict = only(paper, "RB5 drift")
    assert verdict.ours == ours and reason in verdict.reason
    assert verdict.status == ("not run" if ours is None else "holds" if ours < 0.2 else "fails")


def test_latency_on_a_board_has_five_percent_of_tolerance(paper: Any) -> None:
    for milliseconds, status in ((34.4, "holds"), (34.6, "fails"), (None, "not run")):
        paper.plant("jetson_drift", "board_latency", "median_ms", value=milliseconds)
        assert (only(paper, "Jetson latency").status, only(paper, "Jetson latency").ours) == (status, milliseconds)


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
