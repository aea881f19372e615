"""AUPRO by 200 even thresholds against the loop of the repositories that report it, from its description."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgezsad.errors import InputError
from edgezsad.metrics.aupro_steps import AuproSteps, aupro_steps
from edgezsad.metrics.pixel_metrics import exact_pixel_metrics

Regions = Callable[[np.ndarray], list[list[tuple[int, int]]]]

# Whole numbers lie on thresholds themselves, where "above" and "at or above" differ.
VALUES = st.one_of(st.integers(-2, 4).map(float), st.floats(-1e6, 1e6, width=32), st.sampled_from([0.5, -0.0, 1e-30]))


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=5))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return draw(arrays(dtype, shape, elements=VALUES)), draw(arrays(bool, shape))


def naive(maps: np.ndarray, masks: np.ndarray, regions_of: Regions, steps: int = 200, limit: float = 0.3) -> float:
    regions = [(index, region) for index, mask in enumerate(masks) for region in regions_of(mask)]
    if not regions or masks.all():
        return math.nan
    low, high = float(maps.min()), float(maps.max())
    rates, overlaps = [], []
    for step in range(steps):
        called = maps > np.float64(low + (high - low) / steps * step)
        overlaps.append(np.mean([np.mean([called[index][pixel] for pixel in region]) for index, region in regions]))
        rates.append((called & ~masks).sum() / (~masks).sum())
    points = sorted((rate, overlap) for rate, overlap in zip(rates, overlaps, strict=True) if rate < limit)
    if not points or points[0][0] == points[-1][0]:
        return math.nan
    rates, overlaps = np.array(points).T
    rates = (rates - rates.min()) / (rates.max() - rates.min())
    return float(((rates[1:] - rates[:-1]) * (overlaps[1:] + overlaps[:-1]) / 2).sum())


@given(picture=pictures(), steps=st.sampled_from([200, 1, 2, 7]), limit=st.sampled_from([0.3, 0.05, 1.0]))
def test_against_the_loop(
    regions_of: Regions, picture: tuple[np.ndarray, np.ndarray], steps: int, limit: float
) -> None:
    maps, masks = picture
    expected = naive(maps, masks, regions_of, steps, limit)
    assert aupro_steps(maps, masks, steps, limit) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(picture=pictures())
def test_images_one_by_one_are_the_images_together(picture: tuple[np.ndarray, np.ndarray]) -> None:
    maps, masks = picture
    evaluator = AuproSteps(float(maps.min()), float(maps.max()))
    for anomaly_map, mask in zip(maps[::-1], masks[::-1], strict=True):
        evaluator.update(anomaly_map, mask if mask.any() else None)
    whole = aupro_steps(maps, masks.astype(np.uint8) * 255)
    assert evaluator.result() == pytest.approx(whole, abs=1e-12, nan_ok=True)


def test_maps_that_an_independent_loop_has_seen(regions_of: Regions) -> None:
    generator = np.random.default_rng(0)
    masks = np.zeros((6, 24, 24), dtype=bool)
    masks[0, 3:9, 4:7] = masks[2, 10:12, 10:20] = masks[2, 20, 20] = masks[5, :3] = True
    for dtype in (np.float32, np.float64):
        maps = (generator.normal(size=masks.shape) + 2 * masks).astype(dtype)
        assert aupro_steps(maps, masks) == pytest.approx(naive(maps, masks, regions_of), abs=1e-12)


def test_by_hand() -> None:
    # Four thresholds: 0, 1, 2, 3. Above 3: the first defective pixel; above 2: the second too, with a tenth of the
    # normal ones; above 1: two tenths; above 0: five tenths, which the limit leaves out.
    maps = np.array([[[4, 3, 3, 2, 1, 1, 1, 0, 0, 0, 0, 0]]])
    masks = np.array([[[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]])
    # Rates 0, 0.1, 0.2 stretched to 0, 1/2, 1; overlaps 1/2, 1, 1.
    expected = 0.5 * 0.75 + 0.5 * 1
    assert aupro_steps(maps, masks, steps=4) == pytest.approx(expected)
    # A point at the limit itself does not count; beyond it one does, and all are stretched anew.
    assert aupro_steps(maps, masks, steps=4, fpr_limit=0.5) == pytest.approx(expected)
    assert aupro_steps(maps, masks, steps=4, fpr_limit=0.51) == pytest.approx((0.1 * 0.75 + 0.4 * 1) / 0.5)


def test_it_is_not_mvtecs_quantity() -> None:
    # One far pixel stretches the thresholds, so that hardly any fall where the others are.
    generator = np.random.default_rng(0)
    masks = np.zeros((2, 40, 40), dtype=bool)
    masks[0, 5:15, 5:15] = True
    maps = generator.normal(size=masks.shape) + 1.5 * masks
    before = exact_pixel_metrics(maps, masks).aupro, aupro_steps(maps, masks)
    maps[1, 0, 0] = 1000
    after = exact_pixel_metrics(maps, masks).aupro, aupro_steps(maps, masks)
    assert after[0] == pytest.approx(before[0], abs=0.001)
    assert after[1] != pytest.approx(before[1], abs=0.1)


def test_constant_maps_and_missing_regions_give_nan_and_no_made_up_number() -> None:
    masks = np.zeros((2, 4, 4), dtype=bool)
    maps = np.random.default_rng(0).normal(size=masks.shape)
    assert math.isnan(aupro_steps(maps, masks))
    assert math.isnan(aupro_steps(maps, [None, None]))
    assert math.isnan(aupro_steps(maps, ~masks))
    masks[0, 0, 0] = True
    assert math.isnan(aupro_steps(np.full(masks.shape, 3.0), masks))
    assert math.isnan(AuproSteps(0, 1).result())


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"map \(2, 3\) and mask \(3, 2\) differ in size; enlarge the map"):
        AuproSteps(0, 1).update(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        aupro_steps(np.zeros((2, 2, 2)), [None])
