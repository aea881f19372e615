"""Claims: judged rightly, never by a missing or a made-up number, and one that fails fails the run."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgezsad.claims import CLAIMS, Claim, check, judge, require
from edgezsad.claims.published import PUBLISHED
from edgezsad.config import Profile
from edgezsad.errors import CheckError, InputError
from edgezsad.run import Run

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
BY_NAME = {claim.name: claim for claim in CLAIMS}


def claim(comparison: str, bound: float, tolerance: float) -> Claim:
    return replace(CLAIMS[0], comparison=comparison, reported=bound, tolerance=tolerance)


@pytest.mark.parametrize(
    ("comparison", "ours", "holds"),
    [
        ("equals", 9.5, True),
        ("equals", 10.5, True),
        ("equals", 9.49, False),
        ("equals", 10.51, False),
        ("at most", 10.5, True),
        ("at most", -1e9, True),
        ("at most", 10.51, False),
        ("at least", 9.5, True),
        ("at least", 1e9, True),
        ("at least", 9.49, False),
    ],
)
def test_judge(comparison: str, ours: float, holds: bool) -> None:
    assert judge(claim(comparison, 10, 0.5), ours) is holds


@pytest.mark.parametrize("comparison", ["equals", "at most", "at least"])
def test_nothing_is_borne_out_by_no_number(comparison: str) -> None:
    assert not judge(claim(comparison, 10, 0.5), math.nan)
    assert not judge(claim(comparison, 10, 0.5), None)
    assert not judge(claim("equals", 10, 0.5), math.inf)


@pytest.mark.parametrize(("comparison", "ours"), [("at most", -math.inf), ("at least", math.inf)])
def test_infinity_bears_nothing_out(comparison: str, ours: float) -> None:
    assert not judge(claim(comparison, 10, 0.5), ours)


def test_a_good_mini_run(mini: Any) -> None:
    verdicts = {verdict.claim.name: verdict for verdict in check(mini)}
    assert list(verdicts) == [claim.name for claim in CLAIMS]
    require(list(verdicts.values()))
    holds = {name for name, verdict in verdicts.items() if verdict.status == "holds"}
    assert holds == {
        "GFLOPs", "GFLOPs with readout", "parameters", "ViT-L parameters", "readout cost", "no Resize",
        "host parity", "host FP16 ranking",
        "host FP16 drift", "operator lists", "FP32 ONNX size", "FP16 ONNX size", "one QNN partition", "FP16 DLC size",
        "host INT8 drift", "host latency, floor", "host latency, tower", "compute beside ViT-L", "no leak",
        *(claim.name for claim in PUBLISHED),
    }  # fmt: skip
    assert verdicts["host parity"].ours == 2e-5
    # A number of the mini run never stands in for one of the paper's, however well it fits.
    for name in ("MVTec-AD image AUROC", "VisA PRO", "Jetson latency", "RB5 drift"):
        assert (verdicts[name].status, verdicts[name].ours) == ("not run", None)
        assert verdicts[name].reason == f"needs {verdicts[name].claim.needs}"
    assert verdicts["QNN emulator ranking"].status == "not run"


def test_the_paper_profile_checks_the_papers_numbers(paper: Any) -> None:
    verdicts = {verdict.claim.name: verdict for verdict in check(paper)}
    for name in ("MVTec-AD image AUROC", "MVTec-AD pixel AUROC", "MVTec-AD PRO", "VisA image AUROC", "VisA PRO"):
        assert verdicts[name].status == "holds"
    assert {verdicts[name].ours for name in ("benchmarks", "runs", "steps", "source images")} == {6, 3, 2000, 216_917}
    assert verdicts["VisA pixel AUROC"].ours == 93.0
    paper.plant("benchmarks", "by_benchmark", "VisA", "image_auroc", "mean", value=86.0)
    with pytest.raises(CheckError, match=r"VisA image AUROC: 86 %, equals 88\.2"):
        require(check(paper))


def test_a_set_too_coarse_for_the_bound_does_not_fail_the_host(mini: Any) -> None:
    mini.plant("jetson_drift", "largest_drift_points_of_the_mean", value=0.5)
    mini.plant("jetson_drift", "verdicts", value={"not equivalent": 0, "undecided": 2})
    (verdict,) = check(mini, [BY_NAME["host FP16 drift"]])
    assert (verdict.status, verdict.ours) == ("not run", None)
    assert verdict.reason.startswith("undecided")
    mini.plant("jetson_drift", "verdicts", value={"not equivalent": 1, "undecided": 1})
    assert check(mini, [BY_NAME["host FP16 drift"]])[0].status == "fails"


@pytest.mark.parametrize(
    ("name", "keys", "value", "words"),
    [
        ("efficiency", ("paper_graph", "backbone_gflops"), 55.0, "GFLOPs: 55 GFLOPs, equals 53.77"),
        ("efficiency", ("paper_graph", "readout_mflops"), 9.001, "readout cost: 9.001 MFLOPs, at most 9"),
        ("efficiency", ("paper_graph", "lint_findings"), 1, "no Resize: 1 findings, at most 0"),
        ("efficiency", ("paper_graph", "backend_findings"), 4, "operator lists: 4 findings, at most 0"),
        ("efficiency", ("paper_graph", "dlc_partitions"), 2, "one QNN partition: 2 partitions, equals 1"),
        ("efficiency", ("paper_graph", "fp16_dlc_megabytes"), 189, "FP16 DLC size: 189 MB, at most 60"),
        ("export", ("largest_score_difference",), 1e-3, "host parity: 0.001 logit"),
        ("export", ("largest_score_difference",), math.nan, "host parity: nan logit"),
        ("jetson_drift", ("smallest_spearman",), 0.9, "host FP16 ranking: 0.9 Spearman, at least 0.999"),
        ("rb5_drift", ("smallest_spearman",), 0.98, "QNN emulator ranking: 0.98 Spearman, at least 0.99"),
        ("data", ("overlaps",), 1, "no leak: 1 images"),
    ],
)
def test_a_planted_wrong_number_fails_the_run(
    mini: Any, name: str, keys: tuple[str, ...], value: float, words: str
) -> None:
    mini.plant(name, *keys, value=value)
    with pytest.raises(CheckError) as caught:
        require(check(mini))
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith("1 claim(s) fail: ")
    assert words in str(caught.value)


def test_every_failure_is_named(mini: Any) -> None:
    mini.plant("data", "overlaps", value=2)
    mini.plant("export", "largest_score_difference", value=1)
    with pytest.raises(CheckError, match=r"2 claim\(s\) fail: host parity.*; no leak"):
        require(check(mini))


@pytest.mark.parametrize(
    ("name", "notebook"),
    [
        ("data", "01_data"),
        ("export", "04_export"),
        ("efficiency", "07_efficiency"),
        ("jetson_drift", "08_jetson_drift"),
        ("rb5_drift", "09_rb5_drift"),
    ],
)
def test_a_missing_results_file_names_its_notebook(mini: Any, name: str, notebook: str) -> None:
    mini.result_path(name).unlink()
    with pytest.raises(InputError, match=rf"{name}\.json: missing; run notebook {notebook} first") as caught:
        check(mini)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("value", ["0", True, [0], {"x": 0}])
def test_a_result_that_is_no_number(mini: Any, value: Any) -> None:
    mini.plant("data", "overlaps", value=value)
    with pytest.raises(InputError, match=r"data\.json: overlaps is not a number; run notebook 01_data again"):
        check(mini)


def test_a_result_without_the_key(mini: Any) -> None:
    mini.write_result("efficiency", {"paper_graph": None})
    with pytest.raises(InputError, match=r"efficiency\.json: no paper_graph\.backbone_gflops in it; run notebook 07_"):
        check(mini)


def test_results_of_another_profile_are_refused(mini: Any, make_profile: Callable[..., Profile]) -> None:
    # The folder of a mini run, opened by the paper profile.
    with pytest.raises(InputError, match=r"benchmarks\.json: made by profile mini, not paper; run notebook 06_"):
        check(Run(make_profile(mini.folder, profile="paper")))


@pytest.mark.parametrize("each", CLAIMS, ids=lambda each: each.name)
def test_every_claim_says_what_it_needs_and_where_it_is_computed(each: Claim) -> None:
    assert each.needs.strip()
    assert each.statement.strip()
    assert each.unit
    assert each.tolerance >= 0
    assert math.isfinite(each.reported)
    assert (NOTEBOOKS / f"{each.page}.ipynb").is_file()
    assert set(each.profiles) <= {"mini", "folder", "paper"}


def test_claims_are_named_once_and_cover_what_the_paper_publishes() -> None:
    assert len(BY_NAME) == len(CLAIMS)
    assert BY_NAME["MVTec-AD image AUROC"].reported == 91.6
    assert BY_NAME["VisA PRO"].reported == 74.2
    assert BY_NAME["Jetson latency"].reported == 32.83
    assert BY_NAME["RB5 latency"].reported == 139.97
    assert (BY_NAME["source images"].reported, BY_NAME["steps"].reported) == (216_917, 2_000)
    assert (BY_NAME["runs"].reported, BY_NAME["benchmarks"].reported) == (3, 6)
