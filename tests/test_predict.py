"""Heat maps and the choice of photographs; scoring itself is tested end to end."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgezsad.errors import InputError
from edgezsad.plots.overlay import HEAT_RANGE, overlay
from edgezsad.predict import check_photographs


def photograph(path: Path) -> Path:
    Image.fromarray(np.full((8, 9, 3), 100, np.uint8)).save(path)
    return path


def test_overlay_leaves_what_is_surely_normal_and_paints_what_is_not() -> None:
    # Taller than a band of rows, so that a band's edge would show.
    image = np.random.default_rng(0).integers(0, 255, (600, 40, 3), dtype=np.uint8)
    low, high = HEAT_RANGE
    assert np.array_equal(overlay(image, np.full((4, 4), low - 5)), image)
    painted = overlay(np.zeros_like(image), np.full((4, 4), high + 5))
    assert len(np.unique(painted.reshape(-1, 3), axis=0)) == 1
    assert painted[0, 0].min() > 50
    half = np.full((2, 2), low)
    half[1] = high
    changed = (overlay(image, half) != image).any(axis=2).mean(axis=1)
    assert changed[:100].max() < 0.2
    assert changed[-100:].min() > 0.8


def test_earlier_heat_maps_are_left_out(tmp_path: Path) -> None:
    good = photograph(tmp_path / "a.png")
    earlier = photograph(tmp_path / "a.png.heatmap.png")
    assert check_photographs([good, earlier], heatmap=True) == [good]
    with pytest.raises(InputError, match="heat map of an earlier call"):
        check_photographs([earlier], heatmap=False)


def test_a_missing_photograph_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.png"):
        check_photographs([photograph(tmp_path / "a.png"), tmp_path / "nowhere.png"], heatmap=False)
