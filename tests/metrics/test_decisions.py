"""Decisions at a threshold, counted by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgezsad.config import Profile
from edgezsad.errors import InputError
from edgezsad.files import write_json
from edgezsad.metrics.benchmark_tables import COLUMNS, decision_table, decisions, threshold_of
from edgezsad.run import Run
from edgezsad.scoring.score_file import ScoreFile, write_scores


def test_by_hand(make_scores: Callable[..., ScoreFile]) -> None:
    # At the threshold itself an image is called defective.
    first = make_scores([-1.0, 0.5, 0.49, 2.0, 0.5], [0, 0, 1, 1, 1])
    second = make_scores([0.0, 9.0], [1, 0], target="nuts")
    table = decisions([first, second], 0.5).set_index("target")
    assert table.loc["bolts", list(COLUMNS)].tolist() == [3, 2, 1, 2, 1]
    assert table.loc["nuts", list(COLUMNS)].tolist() == [1, 0, 1, 1, 1]
    assert table.loc["together", list(COLUMNS)].tolist() == [4, 2, 2, 3, 2]
    assert table.dtypes.eq("int64").all()


def test_of_a_run(make_profile: Callable[..., Profile], make_scores: Callable[..., ScoreFile], tmp_path: Path) -> None:
    run = Run(make_profile(tmp_path))
    for name in ("bolts", "nuts"):
        write_scores(make_scores([0.0, 1.0], [0, 1], target=name, seed=1), run.scores("pytorch", 1, name))
    with pytest.raises(InputError, match=r"metrics\.json: missing; run notebook 03_training for this seed"):
        decision_table(run, 1)
    write_json(run.seed_folder(1) / "metrics.json", {"steps": 3})
    with pytest.raises(InputError, match=r"no threshold in it; run notebook 03_training"):
        threshold_of(run, 1)
    write_json(run.seed_folder(1) / "metrics.json", {"threshold": 0.5})
    table = decision_table(run, 1).set_index("target")
    assert list(table.index) == ["bolts", "nuts", "together"]
    assert table.loc["together", ["found", "false alarms"]].tolist() == [2, 0]
