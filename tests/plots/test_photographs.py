"""The page of photographs: its tables are as by hand, and a wrong file is refused with what to do."""

from pathlib import Path

import pytest

from edgezsad.errors import InputError
from edgezsad.files import write_json
from edgezsad.plots.photographs import (
    cue_figure,
    cue_table,
    heads_table,
    left_out_table,
    read_cues,
    read_photographs,
    variant_table,
)

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def results() -> dict:
    rows = [
        {"set": "PIPED", "seed": 0, "categories": {"PA_1": {"image_auroc": 90.0}, "PA_2": {"image_auroc": 100.0}}},
        {"set": "PIPED", "seed": 1, "categories": {"PA_1": {"image_auroc": 96.0}, "PA_2": {"image_auroc": 98.0}}},
        {"set": "AWS", "seed": 0, "categories": {"cookie": {"image_auroc": 70.0, "pixel_auroc": 80.0}}},
    ]
    mean = {"image_auroc": 83.0, "ranking_auroc": 1.0, "correction_auroc": 2.0, "pixel_auroc": 80.0, "aupro": 3.0}
    heads = [{"way": "score", "image_auroc": 83.0, "difference": 0.0, "low": 0.0, "high": 0.0}]
    return {"variants": {"recipe": {"rows": rows, "mean_over_sets": mean, "heads": heads, "date": "2026-01-01"}}}


def test_twelve_papers_are_one_row_and_seeds_have_a_spread() -> None:
    table = left_out_table(results()).set_index("left out")
    # 95 and 97: the mean of the papers, seed by seed.
    assert table.loc["PIPED", "image AUROC"] == "96.0 ± 1.4"
    assert table.loc["PIPED", "pixel AUROC"] == "no masks"
    assert table.loc["PIPED", "wanted"] == "95"
    assert table.loc["cookie", "image AUROC"] == "70.0"
    assert variant_table(results())["seeds"].tolist() == [2]
    assert heads_table(results())["95% interval"].tolist() == ["+0.0 to +0.0"]


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "other.json", {"rows": []})
    with pytest.raises(InputError, match="benchmarks/photographs"):
        read_photographs(tmp_path / "other.json")
    with pytest.raises(InputError, match="benchmarks/cues"):
        read_cues(tmp_path / "other.json")


def test_the_recorded_runs_are_shown() -> None:
    table = left_out_table(read_photographs(RESULTS / "photographs.json"))
    assert {"PIPED", "solar_cell", "cookie", "alien_figure", "ball_screw"} == set(table["left out"])
    ranking = read_cues(RESULTS / "cues.json")
    assert cue_table(ranking)["variant"][0] == "recipe"
    # The recipe itself is the line that the others are compared with.
    assert len(cue_figure(ranking).axes[0].get_yticks()) == len(ranking["rows"]) - 1
