"""Claims: judged rightly, never by a missing or a made-up number, and one that fails fails the run."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from edgezsad import reported
from edgezsad.claims import CLAIMS, Claim, check, claims_table, judge, require
from edgezsad.config import Profile
from edgezsad.devices.pages import latency_result
from edgezsad.devices.run import RuntimeDrift
from edgezsad.errors import CheckError, InputError
from edgezsad.run import Run

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
BY_NAME = {claim.name: claim for claim in CLAIMS}
NO_BOARD = {
    "board": RuntimeDrift("tensorrt-fp16", pd.DataFrame(), [], "no result of the board").result(),
    "board_latency": latency_result(None),
}
RESULTS: dict[str, dict[str, Any]] = {
    "data": {"overlaps": 0, "derived_images": 216_917},
    "export": {"largest_score_difference": 2e-5},
    "efficiency": {
        "paper_graph": {
            "backbone_gflops": 53.77,
            "readout_mflops": 8.9,
            "lint_findings": 0,
            "backend_findings": 0,
            "fp16_onnx_megabytes": 41.9,
            "fp16_dlc_megabytes": 43.0,
            "dlc_partitions": 1,
        }
    },
    "int8": {"largest_drift_points_of_the_mean": 0.1},
    "latency": {"times_the_floor": 1.2, "times_as_fast_as_the_tower": 17.0},
    # As the pages write it where there is no board, and the emulator is not to be had.
    "jetson_drift": {"smallest_spearman": 0.9995, "largest_drift_points_of_the_mean": 0.1, "verdicts": {}} | NO_BOARD,
    "rb5_drift": {"smallest_spearman": None} | NO_BOARD,
    "benchmarks": {
        "by_benchmark": {
            "MVTec-AD": {"image_auroc": {"mean": 91.0}, "pixel_auroc": {"mean": 79.0}, "pixel_aupro": {"mean": 67.0}},
            "VisA": {"image_auroc": {"mean": 88.0}, "pixel_auroc": {"mean": 93.0}, "pixel_aupro": {"mean": 75.0}},
        }
    },
}


@pytest.fixture
def run(make_profile: Callable[..., Profile], tmp_path: Path) -> Run:
    run = Run(make_profile(tmp_path))
    for name, value in RESULTS.items():
        run.write_result(name, value)
    return run


def plant(run: Run, name: str, *keys: str, value: Any) -> None:
    """Overwrite one number of a results file, as a wrong run or a wrong hand would."""
    whole = part = json.loads(run.result_path(name).read_text())
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    run.result_path(name).write_text(json.dumps(whole))


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


def test_a_good_mini_run(run: Run) -> None:
    verdicts = {verdict.claim.name: verdict for verdict in check(run)}
    assert list(verdicts) == [claim.name for claim in CLAIMS]
    require(list(verdicts.values()))
    holds = {name for name, verdict in verdicts.items() if verdict.status == "holds"}
    assert holds == {
        "GFLOPs", "readout cost", "no Resize", "frames a second", "host parity", "host FP16 ranking", "no leak",
        "host FP16 drift", "operator lists", "FP16 ONNX size", "one QNN partition", "FP16 DLC size",
        "host INT8 drift", "host latency, floor", "host latency, tower",
    }  # fmt: skip
    assert verdicts["host parity"].ours == 2e-5
    # A number of the mini run never stands in for one of the paper's, however well it fits.
    for name in ("MVTec-AD image AUROC", "VisA PRO", "Jetson latency", "RB5 drift"):
        assert (verdicts[name].status, verdicts[name].ours) == ("not run", None)
        assert verdicts[name].reason == f"needs {verdicts[name].claim.needs}"
    assert verdicts["QNN emulator ranking"].status == "not run"


def test_the_paper_profile_checks_the_papers_numbers(run: Run, make_profile: Callable[..., Profile]) -> None:
    paper = Run(make_profile(run.folder, profile="paper"))
    for name, value in RESULTS.items():
        paper.write_result(name, value)
    verdicts = {verdict.claim.name: verdict for verdict in check(paper)}
    for name in ("MVTec-AD image AUROC", "MVTec-AD pixel AUROC", "MVTec-AD PRO", "VisA image AUROC", "VisA PRO"):
        assert verdicts[name].status == "holds"
    assert verdicts["VisA pixel AUROC"].ours == 93.0
    plant(paper, "benchmarks", "by_benchmark", "VisA", "image_auroc", "mean", value=86.0)
    with pytest.raises(CheckError, match=r"VisA image AUROC: 86 %, equals 88\.2"):
        require(check(paper))


BOARD = {
    "status": "ok",
    "missing": [],
    "drift_points_below": 0.11,
    "verdicts": {"equivalent": 6, "not equivalent": 0, "undecided": 0},
    "images_needed": 0,
}
UNDECIDED = {"equivalent": 5, "not equivalent": 0, "undecided": 1}


@pytest.mark.parametrize(
    ("board", "status", "ours", "reason"),
    [
        ({}, "holds", 0.11, ""),
        ({"drift_points_below": 0.31, "verdicts": UNDECIDED | {"not equivalent": 1}}, "fails", 0.31, ""),
        # Too few images bear the claim neither out nor down.
        ({"drift_points_below": 0.31, "verdicts": UNDECIDED, "images_needed": 900}, "not run", None,
         "undecided, sets are too small: needs about 900 images of a set"),
        ({"drift_points_below": None, "verdicts": UNDECIDED}, "not run", None, "undecided, sets are too small"),
        ({"missing": ["BTAD"]}, "not run", None, "incomplete: needs the board's scores of BTAD"),
        ({"status": "suspicious", "drift_points_below": 0.0}, "not run", None,
         "suspicious: a drift of exactly zero, as a silent fallback to the host gives; run the board again"),
        ({"status": "not run", "drift_points_below": None}, "not run", None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("page", "name"), [("jetson_drift", "Jetson drift"), ("rb5_drift", "RB5 drift")])
def test_drift_on_a_board(
    run: Run,
    make_profile: Callable[..., Profile],
    page: str,
    name: str,
    board: dict[str, Any],
    status: str,
    ours: float | None,
    reason: str | None,
) -> None:
    paper = Run(make_profile(run.folder, profile="paper"))
    paper.write_result(page, RESULTS[page] | {"board": BOARD | board})
    (verdict,) = check(paper, [BY_NAME[name]])
    assert (verdict.status, verdict.ours) == (status, ours)
    assert verdict.reason == (f"needs {BY_NAME[name].needs}" if reason is None else reason)
    # The same board result of a mini model says nothing of the paper's claim.
    run.write_result(page, RESULTS[page] | {"board": BOARD | board})
    assert check(run, [BY_NAME[name]])[0].status == "not run"


@pytest.mark.parametrize(
    ("milliseconds", "status"), [(30.0, "holds"), (34.4, "holds"), (34.6, "fails"), (None, "not run")]
)
def test_latency_on_a_board(
    run: Run, make_profile: Callable[..., Profile], milliseconds: float | None, status: str
) -> None:
    paper = Run(make_profile(run.folder, profile="paper"))
    paper.write_result("jetson_drift", RESULTS["jetson_drift"] | {"board_latency": {"median_ms": milliseconds}})
    (verdict,) = check(paper, [BY_NAME["Jetson latency"]])
    assert (verdict.status, verdict.ours) == (status, milliseconds)


def test_a_set_too_coarse_for_the_bound_does_not_fail_the_host(run: Run) -> None:
    plant(run, "jetson_drift", "largest_drift_points_of_the_mean", value=0.5)
    plant(run, "jetson_drift", "verdicts", value={"not equivalent": 0, "undecided": 2})
    (verdict,) = check(run, [BY_NAME["host FP16 drift"]])
    assert (verdict.status, verdict.ours) == ("not run", None)
    assert verdict.reason.startswith("undecided")
    plant(run, "jetson_drift", "verdicts", value={"not equivalent": 1, "undecided": 1})
    assert check(run, [BY_NAME["host FP16 drift"]])[0].status == "fails"


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
    run: Run, name: str, keys: tuple[str, ...], value: float, words: str
) -> None:
    plant(run, name, *keys, value=value)
    with pytest.raises(CheckError) as caught:
        require(check(run))
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith("1 claim(s) fail: ")
    assert words in str(caught.value)


def test_every_failure_is_named(run: Run) -> None:
    plant(run, "data", "overlaps", value=2)
    plant(run, "export", "largest_score_difference", value=1)
    with pytest.raises(CheckError, match=r"2 claim\(s\) fail: host parity.*; no leak"):
        require(check(run))


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
def test_a_missing_results_file_names_its_notebook(run: Run, name: str, notebook: str) -> None:
    run.result_path(name).unlink()
    with pytest.raises(InputError, match=rf"{name}\.json: missing; run notebook {notebook} first") as caught:
        check(run)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("value", ["0", True, [0], {"x": 0}])
def test_a_result_that_is_no_number(run: Run, value: Any) -> None:
    plant(run, "data", "overlaps", value=value)
    with pytest.raises(InputError, match=r"data\.json: overlaps is not a number; run notebook 01_data again"):
        check(run)


def test_a_result_without_the_key(run: Run) -> None:
    run.write_result("efficiency", {"paper_graph": None})
    with pytest.raises(InputError, match=r"efficiency\.json: no paper_graph\.backbone_gflops in it; run notebook 07_"):
        check(run)


def test_results_of_another_profile_are_refused(run: Run, make_profile: Callable[..., Profile]) -> None:
    # The folder of a mini run, opened by the paper profile.
    with pytest.raises(InputError, match=r"benchmarks\.json: made by profile mini, not paper; run notebook 06_"):
        check(Run(make_profile(run.folder, profile="paper")))


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
    assert BY_NAME["frames a second"].reported == pytest.approx(1000 / reported.JETSON.milliseconds, abs=0.005)


def test_table_and_json(run: Run) -> None:
    plant(run, "data", "overlaps", value=1)
    verdicts = check(run)
    table = claims_table(verdicts)
    assert len(table) == len(CLAIMS)
    rows = {row["name"]: row for row in (verdict.as_json() for verdict in verdicts)}
    assert (rows["no leak"]["status"], rows["no leak"]["ours"]) == ("fails", 1)
    assert rows["RB5 latency"]["ours"] is None
    json.dumps(list(rows.values()), allow_nan=False)
    status = dict(zip([claim.name for claim in CLAIMS], table["status"], strict=True))
    assert (status["GFLOPs"], status["no leak"]) == ("holds", "fails")
    assert status["RB5 latency"].startswith("not run: needs an RB5 Gen2 board")
