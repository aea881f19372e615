"""Which images the gallery shows."""

from collections.abc import Callable

import numpy as np

from edgezsad.plots.gallery import pick
from edgezsad.scoring.scorefile import ScoreFile


def test_hits_misses_and_false_alarms(make_scores: Callable[..., ScoreFile]) -> None:
    scores = make_scores([3.0, -1.0, 2.0, 0.5, 9.0], [1, 1, 0, 0, 1])
    picked = {name: rows.tolist() for name, rows in pick(scores, 2).items()}
    assert picked == {"hit": [4, 0], "miss": [1, 0], "false alarm": [2, 3]}
    assert {name: len(rows) for name, rows in pick(scores, 10).items()} == {"hit": 3, "miss": 3, "false alarm": 2}
    assert np.array_equal(pick(make_scores([1.0], [0]), 3)["hit"], [])
