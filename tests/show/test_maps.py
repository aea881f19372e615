"""Heat maps: one fixed scale, blended over the image, in a light install."""

import numpy as np
from matplotlib import colormaps

from edgezsad.show.maps import HEAT_RANGE, OUTLINE, heat_colours, outline, overlay


def test_colours_are_those_of_inferno() -> None:
    assert np.array_equal(heat_colours(), np.round(255 * colormaps["inferno"](np.arange(256))[:, :3]))


def test_overlay_keeps_low_parts_and_paints_high_parts() -> None:
    # Taller than a band of rows: a band's edge would show.
    image = np.random.default_rng(0).integers(0, 255, (600, 40, 3), dtype=np.uint8)
    low, high = HEAT_RANGE
    assert np.array_equal(overlay(image, np.full((4, 4), low - 5)), image)
    painted = overlay(np.zeros_like(image), np.full((4, 4), high + 5))
    assert np.array_equal(painted, np.broadcast_to(np.round(0.75 * heat_colours()[255]), image.shape))
    half = np.full((2, 2), low)
    half[1] = high
    changed = (overlay(image, half) != image).any(axis=2).mean(axis=1)
    assert changed[:100].max() < 0.2 and changed[-100:].min() > 0.8


def test_an_outline_surrounds_the_mask_and_thin_defects_have_one() -> None:
    image = np.full((40, 50, 3), 128, np.uint8)
    coverage = np.zeros((40, 50), np.float32)
    coverage[10:30, 10:40] = 1
    drawn = outline(image, coverage)
    assert (drawn[10, 20] == OUTLINE).all() and (drawn[20, 20] == 128).all() and (drawn[0, 0] == 128).all()
    thin = np.zeros((40, 50), np.float32)
    thin[20] = 0.1
    assert (outline(image, thin)[20, 5] == OUTLINE).all()
    assert np.array_equal(outline(image, np.zeros((40, 50), np.float32)), image)
