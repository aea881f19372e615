"""Recorded benchmarks as the notebooks show them: the numbers behind tables and charts."""

from pathlib import Path

import pytest

from benchmarks import page_speed
from benchmarks.recorded import difference_figure, difference_text, read_recorded, verdict
from edgezsad.errors import InputError


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


def test_the_cost_of_training_by_hand() -> None:
    row = {"shape": "paper", "device": "a GPU", "date": "2026-01-02", "mode": "eager", "batch": 64, "status": "ok"}
    found = {"rows": [row | {"images_per_second": 320.0}], "cost": {"seeds": 3, "steps": 2000}}
    # 3 x 2,000 steps of 64 images at 320 a second: 1,200 seconds.
    assert page_speed.cost_table(found)["GPU-hours"].tolist() == ["0.33"]
