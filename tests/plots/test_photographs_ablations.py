"""The ablations on photographs: numbers as recorded, and whatever is missing is said to be."""

from pathlib import Path

import pytest

from edgezsad.errors import InputError
from edgezsad.files import write_json
from edgezsad.model import CHECKPOINT
from edgezsad.model.detector import read_checkpoint
from edgezsad.plots.photographs_ablations import (
    NOT_MEASURED,
    ablation_figure,
    ablation_table,
    conditions,
    missing,
    read_ablations,
    recipe_since,
)


def results() -> dict:
    def entry(name: str, difference: float) -> dict:
        numbers = {"mean": 80 + difference, "difference": difference, "low": difference - 1, "high": difference + 1}
        return {"variant": name, "against": "recipe", "equal_cost": True, "image_auroc": numbers}

    how = {
        "date": "2026-01-02",
        "cpu": "x",
        "steps": 60,
        "measured_on": 512,
        "seeds": [0],
        "sets": ["a"],
        "interval": "95%",
    }
    return how | {"wanted": ["recipe", "noise 0", "noise 1"], "rows": [entry("recipe", 0.0), entry("noise 0", -3.0)]}


def test_numbers_are_shown_and_what_is_missing_is_said() -> None:
    table = ablation_table(results()).set_index("variant")
    assert table.loc["noise 0", "image AUROC"] == "77.0 (-3.0; -4.0 to -2.0)"
    assert table.loc["recipe", "image AUROC"] == "80.0"
    assert table.loc["noise 0", "cell AUROC"] == "-"
    assert table.index.tolist() == ["recipe", "noise 0"]
    none = results()
    none["rows"][1]["image_auroc"]["difference"] = -0.04
    assert "(+0.0; " in ablation_table(none)["image AUROC"][1]
    assert missing(results()) == f"{NOT_MEASURED}: noise 1"
    other = results()
    other["rows"][1]["against"] = "noise 1"
    assert "noise 0, against noise 1" in ablation_table(other)["variant"].tolist()
    assert missing(results() | {"wanted": ["recipe"]}) == "all variants are measured"
    figure = ablation_figure(results())
    assert [one.get_text() for one in figure.axes[0].get_yticklabels()] == ["noise 0"]
    # The interval and the dot of images, and none of cells, which were not measured.
    assert [one.get_xdata().tolist() for one in figure.axes[0].lines[:2]] == [[-4.0, -2.0], [-3.0]]
    assert len(figure.axes[1].lines) == 1
    assert "60 steps, scales from 512 rows" in conditions(results())


def test_an_earlier_recipe_is_told_from_the_committed_one() -> None:
    now = read_checkpoint(CHECKPOINT).info.model.readout.model_dump(mode="json")
    assert recipe_since(results() | {"readout": now}) == ""
    told = recipe_since(results() | {"readout": now | {"noise": 0.25, "self_similarity": []}})
    assert f"noise 0.25 (now {now['noise']})" in told
    assert "self_similarity none (now 16)" in told
    assert "clip" not in told
    # A setting that was not there yet is as it is when left out.
    without = {name: value for name, value in now.items() if name != "clip"}
    assert "clip none (now 1.0)" in recipe_since(results() | {"readout": without})
    assert recipe_since(None) == ""
    with pytest.raises(InputError, match="of which readout"):
        recipe_since(results())


def test_nothing_measured_is_no_error_and_a_wrong_file_is(tmp_path: Path) -> None:
    assert read_ablations(tmp_path / "none.json") is None
    assert ablation_table(None)["variant"].tolist() == [NOT_MEASURED]
    assert missing(None) == f"{NOT_MEASURED}: all"
    assert [one.get_text() for one in ablation_figure(None).axes[0].texts] == [NOT_MEASURED]
    assert NOT_MEASURED in conditions(None)
    write_json(tmp_path / "other.json", {"rows": []})
    with pytest.raises(InputError, match="benchmarks/photographs_ablations"):
        read_ablations(tmp_path / "other.json")
