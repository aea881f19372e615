"""Which images the gallery shows, and on which scale."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edgezsad.data.manifest import Entry, Manifest
from edgezsad.plots.gallery import gallery, pick
from edgezsad.plots.overlay import HEAT, HEAT_RANGE
from edgezsad.scoring.score_file import ScoreFile


def test_hits_misses_and_false_alarms(make_scores: Callable[..., ScoreFile]) -> None:
    scores = make_scores([3.0, -1.0, 2.0, 0.5, 9.0], [1, 1, 0, 0, 1])
    picked = {name: rows.tolist() for name, rows in pick(scores, 2).items()}
    assert picked == {"hit": [4, 0], "miss": [1, 0], "false alarm": [2, 3]}
    assert {name: len(rows) for name, rows in pick(scores, 10).items()} == {"hit": 3, "miss": 3, "false alarm": 2}
    assert np.array_equal(pick(make_scores([1.0], [0]), 3)["hit"], [])


def test_every_map_is_on_the_one_stated_scale(make_scores: Callable[..., ScoreFile], tmp_path: Path) -> None:
    entries = []
    for row, label in enumerate((1, 0)):
        name, mask = f"{row:03d}.png", f"{row:03d}_mask.png" if label else ""
        cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), 60, np.uint8))
        cv2.imwrite(str(tmp_path / f"{row:03d}_mask.png"), np.full((8, 8), 255, np.uint8))
        entries.append(Entry(name, "bolt", "test", label, "dent" if label else "good", mask, 8, 8, "a" * 64, ""))
    # Maps far beyond the scale, and far within it.
    maps = np.stack([np.full((4, 4), 40.0), np.full((4, 4), 0.01)]).astype(np.float32)
    scores = make_scores([3.0, 2.0], [1, 0], map=maps)
    figure = gallery(scores, Manifest("bolts", tmp_path, tuple(entries)), count=1)
    shown = {axes.get_title(loc="left"): axes.images[0] for axes in figure.axes if axes.images}
    assert {"hit: dent", "score +3.0", "mask", "miss: dent", "false alarm: good", "score +2.0"} == set(shown)
    heat = [image for title, image in shown.items() if title.startswith("score")]
    assert {(image.get_clim(), image.get_cmap().name) for image in heat} == {(HEAT_RANGE, HEAT)}
    (bar,) = [axes for axes in figure.axes if "logit" in axes.get_ylabel()]
    assert bar.get_ylim() == HEAT_RANGE
