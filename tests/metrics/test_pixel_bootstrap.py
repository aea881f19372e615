"""Resampled pixel metrics: those of the images that each resample holds, and of their difference."""

import numpy as np
import pytest

from edgezsad.errors import InputError
from edgezsad.metrics.intervals import multiplicities
from edgezsad.metrics.pixel_bootstrap import resampled_pixels
from edgezsad.metrics.pixel_metrics import exact_pixel_metrics

PIXELS = 32


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, list[np.ndarray | None], np.ndarray]:
    """Maps of 12 images, their masks (half of them without, one with two regions) and labels."""
    generator = np.random.default_rng(0)
    maps = generator.normal(size=(12, 8, 8)).astype(np.float32)
    masks: list[np.ndarray | None] = [None] * 6
    for row in range(6, 12):
        mask = np.zeros((PIXELS, PIXELS), dtype=np.uint8)
        top, left = generator.integers(0, 20, size=2)
        mask[top : top + 8, left : left + 5] = 1
        if row == 7:
            mask[30:, 30:] = 1
        maps[row, top // 4 : top // 4 + 2, left // 4 : left // 4 + 2] += 1.5
        masks.append(mask)
    return maps, masks, np.repeat([0, 1], 6)


def test_each_resample_has_the_exact_metrics_of_its_images(images: tuple) -> None:
    maps, masks, label = images
    other = maps + np.random.default_rng(1).normal(size=maps.shape).astype(np.float32) * 0.02
    times = np.vstack([np.ones((1, 12), dtype=np.float32), multiplicities(label, replicates=130, seed=3)])
    found = resampled_pixels([maps, other], masks, PIXELS, times)
    assert found.auroc.shape == found.aupro.shape == (2, 131)
    for row in (0, 1, 57, 130):
        drawn = np.repeat(np.arange(12), times[row].astype(int))
        exact = [exact_pixel_metrics(each[drawn], [masks[k] for k in drawn], PIXELS) for each in (maps, other)]
        assert found.auroc[:, row] == pytest.approx([each.auroc for each in exact], abs=2e-5)
        assert found.aupro[:, row] == pytest.approx([each.aupro for each in exact], abs=2e-4)
        # Changes are far smaller than values; 0.002 points is what their last shown digit may be wrong by.
        assert np.diff(found.auroc[:, row])[0] == pytest.approx(exact[1].auroc - exact[0].auroc, abs=2e-5)


def test_equal_maps_do_not_change(images: tuple) -> None:
    maps, masks, label = images
    found = resampled_pixels([maps, maps.copy()], masks, PIXELS, multiplicities(label, replicates=20))
    assert (found.auroc[0] == found.auroc[1]).all() and (found.aupro[0] == found.aupro[1]).all()


def test_extremes(images: tuple) -> None:
    _, masks, label = images
    # A map that is the mask itself, at its own size, and its opposite.
    perfect = np.stack([np.zeros((PIXELS, PIXELS)) if mask is None else mask for mask in masks]).astype(np.float32)
    found = resampled_pixels([perfect, -perfect], masks, PIXELS, multiplicities(label, replicates=8))
    assert found.auroc[0] == pytest.approx(1) and found.auroc[1] == pytest.approx(0)
    assert found.aupro[0] == pytest.approx(1) and found.aupro[1] == pytest.approx(0)
    # One value everywhere orders nothing.
    flat = resampled_pixels([np.full_like(perfect, 0.3)], masks, PIXELS, multiplicities(label, replicates=8))
    assert flat.auroc == pytest.approx(0.5)


def test_nothing_defective_is_undefined(images: tuple) -> None:
    maps, _, label = images
    found = resampled_pixels([maps], [None] * 12, PIXELS, multiplicities(label, replicates=5))
    assert np.isnan(found.auroc).all() and np.isnan(found.aupro).all()
    nothing = resampled_pixels([maps[:0]], [], PIXELS, np.zeros((5, 0)))
    assert nothing.auroc.shape == (1, 5) and np.isnan(nothing.auroc).all()


def test_not_as_many_masks(images: tuple) -> None:
    maps, masks, label = images
    with pytest.raises(InputError, match=r"11 masks for \[12\] maps"):
        resampled_pixels([maps], masks[1:], PIXELS, multiplicities(label[1:], replicates=5))
