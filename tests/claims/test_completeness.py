"""A result that lacks something bears no claim out, however well its number fits."""

from typing import Any

import pytest

from edgezsad.claims import CLAIMS, check
from edgezsad.claims.claim import Verdict
from edgezsad.run import Run

BY_NAME = {claim.name: claim for claim in CLAIMS}
BOARDS = pytest.mark.parametrize(("page", "board"), [("jetson_drift", "Jetson"), ("rb5_drift", "RB5")])
UNDECIDED = {"equivalent": 5, "not equivalent": 0, "undecided": 1}


def only(run: Run, name: str) -> Verdict:
    (verdict,) = check(run, [BY_NAME[name]])
    return verdict


def not_run(run: Run, name: str, reason: str) -> None:
    verdict = only(run, name)
    assert (verdict.status, verdict.ours, verdict.reason) == ("not run", None, reason)


@pytest.mark.parametrize(
    ("same", "reason"),
    [
        ("no: test normal 466 of 467", "incomplete: not the published sets: MVTec-AD (no: test normal 466 of 467)"),
        (None, "incomplete: not the published sets: MVTec-AD (no published numbers)"),
    ],
)
def test_a_set_that_is_not_whole(paper: Any, same: str | None, reason: str) -> None:
    assert only(paper, "MVTec-AD PRO").status == "holds"
    paper.plant("data", "sets", 1, "same as published", value=same)
    not_run(paper, "MVTec-AD PRO", reason)
    assert only(paper, "VisA PRO").status == "holds"
    assert only(paper, "benchmarks").ours == 5 and only(paper, "benchmarks").status == "fails"


def test_a_category_left_out_of_a_mean(paper: Any) -> None:
    paper.plant("benchmarks", "undefined", "VisA", value={"pixel_aupro": ["pcb1"]})
    not_run(paper, "VisA PRO", "incomplete: the mean leaves out pcb1")
    assert only(paper, "VisA image AUROC").status == "holds"


def test_a_seed_that_lacks_a_target(paper: Any) -> None:
    seeds = [{"target": row["target"], "seed": row["seed"]} for row in paper.drift_rows()]
    paper.plant("benchmarks", "seeds", value=[row for row in seeds if row != {"target": "MPDD", "seed": 2}])
    not_run(paper, "VisA image AUROC", "incomplete: 2 of 3 seeds")
    assert (only(paper, "runs").status, only(paper, "runs").ours) == ("fails", 2)


@pytest.mark.parametrize("name", ["MVTec-AD PRO", "Jetson latency", "Jetson drift"])
def test_another_model_than_the_papers(paper: Any, name: str) -> None:
    paper.plant_board("jetson_drift")
    paper.plant("jetson_drift", "board_latency", value={"median_ms": 30.0})
    assert only(paper, name).status == "holds"
    smaller = paper.profile.model.model_copy(update={"size": 256})
    other = type(paper)(paper.profile.model_copy(update={"model": smaller}))
    not_run(other, name, "incomplete: another model: tiny_vit_21m_512 at 256 px, not tiny_vit_21m_512 at 512 px")


def test_seeds_of_different_lengths(paper: Any) -> None:
    paper.seed_folder(1).joinpath("metrics.json").write_text('{"steps": 20}')
    not_run(paper, "steps", "incomplete: seeds of 20, 2000 steps")


def test_a_derived_source_from_a_part_of_real_iad(paper: Any) -> None:
    paper.plant("data", "sets", 0, "same as published", value="no: images 9 of 151,050")
    not_run(paper, "source images", "incomplete: not the published sets: Real-IAD (no: images 9 of 151,050)")


@pytest.mark.parametrize(
    ("page", "name", "column"),
    [
        ("jetson_drift", "host FP16 ranking", "spearman"),
        ("jetson_drift", "host FP16 drift", "points"),
        ("int8", "host INT8 drift", "points"),
    ],
)
def test_a_target_without_a_value(mini: Any, page: str, name: str, column: str) -> None:
    assert only(mini, name).status == "holds"
    mini.plant(page, "rows", 0, column, value=None)
    not_run(mini, name, "incomplete: no value of bolts seed 0")
    mini.plant(page, "rows", value=mini.drift_rows()[:2])
    not_run(mini, name, "incomplete: no value of nuts seed 0, nuts seed 1")


def test_the_emulator_must_score_every_target(mini: Any) -> None:
    mini.plant("rb5_drift", "smallest_spearman", value=0.995)
    rows = [row for row in mini.drift_rows() if row["seed"] == mini.profile.evaluation.emulator.seed]
    mini.plant("rb5_drift", "rows", value=rows)
    assert only(mini, "QNN emulator ranking").status == "holds"
    mini.plant("rb5_drift", "rows", value=rows[1:])
    not_run(mini, "QNN emulator ranking", "incomplete: no value of bolts seed 0")


@pytest.mark.parametrize(
    ("page", "keys", "value", "name"),
    [
        ("jetson_drift", ("smallest_spearman",), 0.9, "host FP16 ranking"),
        ("int8", ("largest_drift_points_of_the_mean",), 3.0, "host INT8 drift"),
        ("efficiency", ("paper_graph", "backend_findings"), 2, "operator lists"),
    ],
)
def test_a_bad_number_fails_all_the_same(mini: Any, page: str, keys: tuple[str, ...], value: float, name: str) -> None:
    whole = ("efficiency", "paper_graph", "backends") if page == "efficiency" else (page, "rows")
    mini.plant(*whole, value=[])
    assert only(mini, name).status == "not run"
    mini.plant(page, *keys, value=value)
    assert (only(mini, name).status, only(mini, name).ours) == ("fails", value)


def test_operator_lists_that_were_not_read_find_nothing(mini: Any) -> None:
    mini.plant("efficiency", "paper_graph", "backends", value=[])
    not_run(mini, "operator lists", "incomplete: 0 of 6 comparisons")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("unproven_images", 1200, "undecided: 1,200 images too faint or small to compare"),
        ("source_images", 0, "incomplete: nothing to compare"),
    ],
)
def test_a_search_for_leaks_that_cannot_tell(mini: Any, key: str, value: int, reason: str) -> None:
    mini.plant("data", "no_leak", key, value=value)
    not_run(mini, "no leak", reason)
    # What was found counts all the same.
    mini.plant("data", "overlaps", value=1)
    assert only(mini, "no leak").status == "fails"


@BOARDS
@pytest.mark.parametrize(
    ("changes", "status", "ours", "reason"),
    [
        ({}, "holds", 0.11, ""),
        ({"drift_points_below": 0.31, "verdicts": UNDECIDED | {"not equivalent": 1}}, "fails", 0.31, ""),
        # Too few images bear the claim neither out nor down.
        ({"drift_points_below": 0.31, "verdicts": UNDECIDED, "images_needed": 900}, "not run", None,
         "undecided, sets are too small: needs about 900 images of a set"),
        ({"drift_points_below": None, "verdicts": UNDECIDED}, "not run", None, "undecided, sets are too small"),
        ({"missing": ["BTAD"]}, "not run", None, "incomplete: needs the board's scores of BTAD"),
        ({"rows": [{"target": "BTAD", "images": 12}]}, "not run", None,
         "incomplete: the board scored only some images of BTAD"),
        ({"status": "suspicious", "drift_points_below": 0.0}, "not run", None,
         "suspicious: a drift of exactly zero, as a silent fallback to the host gives; run the board again"),
        ({"status": "not run", "drift_points_below": None}, "not run", None, None),
    ],
)  # fmt: skip
def test_drift_on_a_board(
    paper: Any, page: str, board: str, changes: dict[str, Any], status: str, ours: float | None, reason: str | None
) -> None:
    paper.plant_board(page, **changes)
    verdict = only(paper, f"{board} drift")
    assert (verdict.status, verdict.ours) == (status, ours)
    assert verdict.reason == (f"needs {verdict.claim.needs}" if reason is None else reason)


@BOARDS
def test_a_board_on_sets_that_are_not_whole(paper: Any, page: str, board: str) -> None:
    paper.plant_board(page)
    paper.plant("data", "sets", 6, "same as published", value="no: test normal 1 of 2")
    not_run(
        paper,
        f"{board} drift",
        "incomplete: not the published sets: DTD-Synthetic (no: test normal 1 of 2)",
    )


@BOARDS
def test_a_board_with_a_mini_model_says_nothing_of_the_paper(mini: Any, page: str, board: str) -> None:
    mini.plant_board(page)
    assert only(mini, f"{board} drift").status == "not run"


@pytest.mark.parametrize(
    ("milliseconds", "status"), [(30.0, "holds"), (34.4, "holds"), (34.6, "fails"), (None, "not run")]
)
def test_latency_on_a_board(paper: Any, milliseconds: float | None, status: str) -> None:
    paper.plant("jetson_drift", "board_latency", value={"median_ms": milliseconds})
    verdict = only(paper, "Jetson latency")
    assert (verdict.status, verdict.ours) == (status, milliseconds)
