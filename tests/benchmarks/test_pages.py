"""Recorded benchmarks as the notebooks show them: the numbers behind tables and charts."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import page_latency, page_speed
from benchmarks.recorded import difference_figure, difference_text, read_recorded, verdict
from edgezsad.errors import InputError
from edgezsad.files import reported

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def read(name: str, *keys: str) -> dict[str, Any]:
    return read_recorded(RESULTS / f"{name}.json", *keys)


def test_invalid_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: missing; .*`make bench`"):
        read_recorded(tmp_path / "none.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match=r"other\.json: not the results of this benchmark"):
        read_recorded(tmp_path / "other.json", "rows")


def test_differences_and_their_chart() -> None:
    rows = [{"difference": middle, "low": middle - 1, "high": middle + 1} for middle in (-2, 0, 2)]
    assert [verdict(row) for row in rows] == ["worse", "no", "better"]
    assert difference_text({"difference": -0.04, "low": -1, "high": 1}) == "+0.0 (-1.0 to +1.0)"
    figure = difference_figure(["a", "b", "c"], {"points": rows, "other": [None, rows[1], None]})
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() for dot in dots] == ["black", "white", "black"]


def test_training_step_page() -> None:
    found = read("training_step", "cost", "flops")
    for table in (page_speed.step_table, page_speed.cost_table, page_speed.goal_table, page_speed.profile_table):
        assert len(table(found)) and not table(found).isna().any(axis=None)
    row = {"shape": "paper", "device": "a GPU", "date": "2026-01-02", "mode": "eager", "batch": 64, "status": "ok"}
    found["rows"] = [row | {"images_per_second": 320.0, "mfu": 0.5, "peak_gib": 3.0}]
    found["cost"] = {"seeds": 3, "steps": 2000}
    # 3 x 2,000 steps of 64 images at 320 a second: 1,200 seconds.
    assert page_speed.cost_table(found)["GPU-hours"].tolist() == ["0.33"]


def test_latency_page() -> None:
    found = read("latency", "models", "goals", "date")
    paper = next(model for model in found["models"] if model["name"] == "paper")
    assert paper["gflop"] == pytest.approx(reported()["paper"]["gflops"], abs=0.02)
    times = page_latency.field_table(found).set_index("method")["host ms, at least"]
    assert times["AnomalyCLIP"] > 5 * times["EdgeZSAD"]
    found["goals"]["times the floor"]["measured"] = 1.41
    assert page_latency.latency_goals(found)["reached"][0] == "no"
