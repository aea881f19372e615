"""The drift figures: what is drawn where, and which images are picked."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgezsad.data.manifest import Entry, Manifest
from edgezsad.devices.changes import MEAN, image_changes
from edgezsad.plots.drift import drift_scatter, forest, moved_most, worst
from edgezsad.plots.overlay import HEAT_RANGE
from edgezsad.scoring.score_file import ScoreFile

FP16 = {"runtime": "onnx-fp16", "precision": "fp16"}
LABEL = np.repeat([0, 1], 6)
HOST = np.arange(12.0)
Pair = tuple[ScoreFile, ScoreFile]


@pytest.fixture
def pairs(make_scores: Callable[..., ScoreFile]) -> list[Pair]:
    """Two seeds; image 3 moves by 0.5 in one and 0.7 in the other, image 10 by -0.6 in one, all others by 0.1."""
    made = []
    for seed, moved in ((0, {3: 0.5, 10: -0.6}), (1, {3: 0.7})):
        device = HOST + [moved.get(row, 0.1) for row in range(12)]
        made.append((make_scores(HOST, LABEL, seed=seed), make_scores(device, LABEL, seed=seed, **FP16)))
    return made


def test_every_image_once_by_falling_change(pairs: list[Pair]) -> None:
    # (pair, row): image 3 by the seed that moved it most.
    assert worst(pairs, 2) == [(1, 3), (0, 10)]
    assert len(worst(pairs, 99)) == 12
    # A subset in another order: rows are the device's.
    host, device = pairs[0]
    assert worst([(host, device.take(device.image_id[[10, 3, 0]]))], 2) == [(0, 0), (0, 1)]


def test_scatter_and_limits_of_agreement(pairs: list[Pair]) -> None:
    left, right = drift_scatter(pairs, ("FP32", "FP16")).axes
    assert (left.get_xlabel(), left.get_ylabel()) == ("score, FP32", "score, FP16")
    difference = np.concatenate([device.score.astype(float) - host.score for host, device in pairs])
    reach = 1.96 * difference.std()
    # Zero, the mean and the limits.
    heights = sorted(line.get_ydata()[0] for line in right.lines)
    assert heights == pytest.approx(
        sorted([0, difference.mean(), difference.mean() + reach, difference.mean() - reach])
    )
    drawn = np.concatenate([points.get_offsets().data for points in right.collections])
    expected = {
        (round(float(h + d) / 2, 4), round(float(d - h), 4))
        for pair in pairs
        for h, d in zip(pair[0].score.astype(float), pair[1].score.astype(float), strict=True)
    }
    assert {(round(float(x), 4), round(float(y), 4)) for x, y in drawn} == expected


def test_forest_draws_intervals_against_the_band(pairs: list[Pair]) -> None:
    changes = image_changes(pairs)
    (axes,) = forest(changes).axes
    (mean,) = [each for each in changes if each.seed == MEAN and each.metric == "image_auroc"]
    spans = [tuple(line.get_xdata()) for line in axes.lines]
    assert (mean.delong_low, mean.delong_high) in spans
    assert (mean.test.low, mean.test.high) in spans
    # Both edges of the band.
    assert (-0.2, -0.2) in spans and (0.2, 0.2) in spans
    assert [text.get_text() for text in axes.get_yticklabels()] == ["bolts"]
    # One tick a seed.
    assert sum(line.get_marker() == "|" for line in axes.lines) == 2


def test_what_is_undefined_is_drawn_as_nothing(make_scores: Callable[..., ScoreFile]) -> None:
    pair = make_scores([0, 1], [1, 1]), make_scores([0.5, 1], [1, 1], **FP16)
    assert forest(image_changes([pair])).axes


def test_the_images_that_moved_most(pairs: list[Pair], tmp_path: Path) -> None:
    entries = []
    for row in range(12):
        cv2.imwrite(str(tmp_path / f"{row:03d}.png"), np.full((8, 8, 3), 20 * row, dtype=np.uint8))
        entries.append(Entry(f"{row:03d}.png", "bolt", "test", 0, f"kind {row}", "", 8, 8, "a" * 64, ""))
    manifest = Manifest("bolts", tmp_path, tuple(entries))
    # The device's rows need not be the host's.
    host, device = pairs[0]
    shuffled = [(host, device.take(device.image_id[::-1])), pairs[1]]
    figure = moved_most(shuffled, {"bolts": manifest}.__getitem__, count=3)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:6] == [
        "bolts\nkind 3",
        "host +3.000",
        "device +3.700",
        "bolts\nkind 10",
        "host +10.000",
        "device +9.400",
    ]
    photographs = [axes.images[0].get_array() for axes in figure.axes[0:6:3]]
    assert [int(each.mean()) for each in photographs] == [60, 200]
    maps = [axes.images[0] for axes in (figure.axes[1], figure.axes[2], figure.axes[4], figure.axes[5])]
    # One scale, whatever the maps hold.
    assert {each.get_clim() for each in maps} == {HEAT_RANGE}


def test_maps_are_those_of_the_image(pairs: list[Pair], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "003.png"), np.zeros((8, 8, 3), dtype=np.uint8))
    manifest = Manifest("bolts", tmp_path, (Entry("003.png", "b", "test", 0, "x", "", 8, 8, "a" * 64, ""),))
    host, device = pairs[1]
    marked = device.map.copy()
    marked[3] = 5
    figure = moved_most([(host, replace(device, map=marked))], lambda name: manifest, count=1)
    assert (figure.axes[2].images[0].get_array() == 5).all()
    assert not (figure.axes[1].images[0].get_array() == 5).any()
