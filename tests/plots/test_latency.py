"""The page on the host's latency: the recorded file as tables and a figure, and what a damaged one says."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgezsad import reported
from edgezsad.claims.evaluation import CLAIMS
from edgezsad.errors import InputError
from edgezsad.plots.latency import (
    against_the_field,
    cost_of_models,
    field_table,
    latency_goals,
    latency_machine,
    latency_results,
    latency_table,
    read_latency,
)

RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "latency.json"


@pytest.fixture
def record() -> dict[str, Any]:
    return read_latency(RECORD)


def test_the_record_is_of_the_papers_graph_and_the_tower(record: dict[str, Any]) -> None:
    by_name = {model["name"]: model for model in record["models"]}
    assert by_name["paper"]["gflop"] == pytest.approx(reported.GFLOPS, abs=0.02)
    assert by_name["tower"]["gflop"] == pytest.approx(1014, abs=1)
    assert by_name["tower"]["parameters_millions"] == pytest.approx(304, abs=1)
    assert {row["threads"] for model in record["models"] for row in model["rows"]} == {1, 2}
    assert record["date"] in latency_machine(record)


def test_ratios_are_those_of_the_times(record: dict[str, Any]) -> None:
    """They are medians of ratios within a round, so they lie near the ratio of the medians, not on it."""
    paper, tower = (next(one for one in record["models"] if one["name"] == name) for name in ("paper", "tower"))
    costs = cost_of_models(record).set_index("model")
    ratio = costs.loc[tower["title"], "ms"] / costs.loc[paper["title"], "ms"]
    assert costs.loc[paper["title"], "times as fast as the tower"] == pytest.approx(ratio, rel=0.15)
    speed = next(one["faster"] for one in record["matrix_product_gflop_per_second"] if one["threads"] == 2)
    floor = costs.loc[paper["title"], "ms"] / (1000 * paper["gflop"] / speed)
    assert latency_results(record)["times_the_floor"] == pytest.approx(floor, rel=0.15)


def test_goals_say_what_was_not_reached(record: dict[str, Any]) -> None:
    record["goals"] = {
        "times the floor": {"at most": 1.35, "measured": 1.36},
        "times as fast as the tower": {"at least": 16.0, "measured": 16.0},
    }
    assert list(latency_goals(record)["reached"]) == ["no", "yes"]
    assert latency_results(record) == {
        "recorded": record["date"],
        "times_the_floor": 1.36,
        "times_as_fast_as_the_tower": 16.0,
        "tower_parameters_millions": 304.32,
        "tower_times_the_gflops": pytest.approx(1013.61 / 53.78),
    }


def test_claims_read_the_names_that_the_page_writes(record: dict[str, Any]) -> None:
    paths = {claim.value for claim in CLAIMS.values() if claim.value.startswith("latency.")}
    results = latency_results(record)
    assert {path.removeprefix("latency.") for path in paths} < set(results)


def test_what_was_not_run_says_why(record: dict[str, Any]) -> None:
    rows = record["models"][0]["rows"]
    for key in ("peak_mb", "milliseconds_median", "milliseconds_p95", "times_the_floor", "times_as_fast_as_the_tower"):
        rows[0].pop(key, None)
    rows[0] |= {"status": "not run: needs patience", "file_mb": None}
    table = latency_table(record)
    assert len(table) == sum(len(model["rows"]) for model in record["models"])
    assert table["note"].iloc[0] == "not run: needs patience" and table.isna()["ms"].iloc[0]


def test_every_reported_number_has_its_source(record: dict[str, Any]) -> None:
    table = field_table(record)
    assert len(table) == 12 and table["source"].str.len().min() > 5
    ours = table.iloc[-1]
    assert (ours["MVTec-AD"], ours["VisA"]) == (91.6, 88.2)
    # Who does not go through the tower has no time on this host.
    shown = table.set_index("method")["host ms, at least"]
    assert shown.isna().sum() == 2 and shown["AnomalyVFM":"AnomalyVFM"].isna().all()
    assert shown["AnomalyCLIP"] > 5 * shown["EdgeZSAD"]


def test_the_figure_names_every_method(record: dict[str, Any]) -> None:
    figure = against_the_field(record)
    left, right = figure.axes
    assert left.get_xscale() == right.get_xscale() == "log"
    named = {text.get_text() for text in left.texts}
    assert {"EdgeZSAD", "AnomalyCLIP", "MuSc"} < named and "WinCLIP" not in named
    assert len(named) == 10 and len({text.get_text() for text in right.texts}) == 10


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"models": []})])
def test_a_damaged_record_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"latency\.json.*make bench-latency"):
        read_latency(path)
