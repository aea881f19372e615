"""Pixel metrics against scikit-learn and against AUPRO written down from its definition, one threshold at a time."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.metrics import roc_auc_score

from edgezsad.errors import InputError
from edgezsad.metrics.pixel import enlarge, pixel_metrics, reduce_mask

VALUES = st.one_of(
    st.integers(-2, 2).map(float),
    st.floats(-1e38, 1e38, width=64),
    st.sampled_from([0.0, -0.0, 1e-300, -1e-300, 1e38, 5.0]),
)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=5))
    masks = draw(arrays(bool, shape))
    masks.flat[draw(st.integers(0, masks.size - 1))] = True
    return draw(arrays(np.float64, shape, elements=VALUES)), masks


def regions_of(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """8-connected regions by walking from pixel to pixel."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    regions = []
    while left:
        region, edge = [], [left.pop()]
        while edge:
            y, x = edge.pop()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        regions.append(region)
    return regions


def naive_aupro(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    regions = [(index, region) for index, mask in enumerate(masks) for region in regions_of(mask)]
    curve = [(0.0, 0.0)]
    for threshold in sorted({float(value) for value in maps.ravel()}, reverse=True):
        called = maps >= threshold
        false_positive_rate = (called & ~masks).sum() / (~masks).sum()
        overlaps = [np.mean([called[index][pixel] for pixel in region]) for index, region in regions]
        curve.append((float(false_positive_rate), float(np.mean(overlaps))))
    area = 0.0
    for (x, y), (next_x, next_y) in itertools.pairwise(curve):
        if x >= limit:
            break
        if next_x > limit:
            next_x, next_y = limit, y + (next_y - y) * (limit - x) / (next_x - x)
        area += (next_x - x) * (y + next_y) / 2
    return area / limit


@given(pictures(), st.sampled_from([0.3, 0.05, 0.5, 1.0]))
def test_against_the_definitions(picture: tuple[np.ndarray, np.ndarray], limit: float) -> None:
    maps, masks = picture
    result = pixel_metrics(maps, masks, limit)
    if masks.all():
        assert math.isnan(result.auroc)
        assert math.isnan(result.aupro)
        return
    assert result.auroc == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-9)
    assert result.aupro == pytest.approx(naive_aupro(maps, masks, limit), abs=1e-9)
    assert 0 <= result.aupro <= 1 + 1e-12


def test_by_hand() -> None:
    # One row of ten normal pixels and two regions: a pixel with the highest score, and a pair with one half found.
    maps = np.array([[[9, 0, 8, 7, 0, 6, 5, 4, 3, 2, 1, 0.5, 0.4]]])
    masks = np.array([[[1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]]], dtype=bool)
    perfect = pixel_metrics(maps, masks)
    assert (perfect.auroc, perfect.aupro) == (1, 1)
    maps[0, 0, 3] = -1
    # All pixels of the second region are found only when every normal one is: the overlap stays at (1 + 1/2) / 2.
    part = pixel_metrics(maps, masks)
    assert part.auroc == pytest.approx(2 / 3)
    assert part.aupro == pytest.approx(0.75)


def test_regions_count_equally_and_diagonal_neighbours_are_one() -> None:
    masks = np.zeros((1, 8, 8), dtype=bool)
    masks[0, :4, :4] = True
    masks[0, 6, 6] = masks[0, 7, 7] = True
    # The large region found first, the small one never: half of the overlap, though 16 of 18 pixels.
    maps = np.zeros((1, 8, 8))
    maps[0, :4, :4] = 1
    maps[0, 6, 6] = maps[0, 7, 7] = -1
    assert pixel_metrics(maps, masks).aupro == pytest.approx(0.5)
    # One of the two diagonal pixels found: a third region would have made this (1 + 1 + 0) / 3.
    maps[0, 6, 6] = 1
    assert pixel_metrics(maps, masks).aupro == pytest.approx(0.75)


def test_the_curve_is_interpolated_at_the_limit() -> None:
    # Of four normal pixels one scores above the defect, so the curve jumps from (0, 0) by way of (1/4, 0) ...
    masks = np.array([[[1, 0, 0, 0, 0]]], dtype=bool)
    assert pixel_metrics(np.array([[[5.0, 9, 1, 1, 1]]]), masks).aupro == pytest.approx((0.3 - 0.25) / 0.3)
    # ... and where all scores are equal it is the diagonal: overlap 0.3 at the limit, mean height 0.15.
    constant = pixel_metrics(np.full((1, 1, 5), 3.0), masks)
    assert (constant.auroc, constant.aupro) == (pytest.approx(0.5), pytest.approx(0.15))


def test_one_region_of_one_pixel_among_many_images() -> None:
    generator = np.random.default_rng(0)
    maps = generator.normal(size=(6, 7, 5)).astype(np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    masks[4, 6, 4] = True
    result = pixel_metrics(maps, masks)
    above = (maps[~masks] > maps[4, 6, 4]).mean()
    assert result.auroc == pytest.approx(1 - above)
    assert result.aupro == pytest.approx(max(0, 0.3 - above) / 0.3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32])
def test_any_real_numbers(dtype: type) -> None:
    maps = np.array([[[200, 3, 2, 0, 0]]]).clip(max=np.iinfo(dtype).max if dtype == np.int16 else None).astype(dtype)
    masks = np.array([[[1, 1, 0, 0, 0]]], dtype=bool)
    result = pixel_metrics(maps, masks)
    assert (result.auroc, result.aupro) == (1, 1)


@pytest.mark.parametrize("value", [False, True])
def test_no_defective_or_no_normal_pixel(value: bool) -> None:
    result = pixel_metrics(np.random.default_rng(0).normal(size=(2, 3, 3)), np.full((2, 3, 3), value))
    assert math.isnan(result.auroc)
    assert math.isnan(result.aupro)


@pytest.mark.parametrize(
    ("maps", "masks"), [((2, 3, 4), (2, 4, 3)), ((2, 3, 4), (3, 4)), ((3, 4), (3, 4)), ((2, 1, 3, 4), (2, 1, 3, 4))]
)
def test_shapes_that_do_not_fit(maps: tuple[int, ...], masks: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="enlarge the maps first"):
        pixel_metrics(np.zeros(maps), np.zeros(masks, dtype=bool))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_named(bad: float) -> None:
    maps = np.zeros((4, 3, 3))
    maps[2, 1, 0] = bad
    with pytest.raises(InputError, match="map 2 is not finite"):
        pixel_metrics(maps, np.ones((4, 3, 3), dtype=bool))


def test_enlarge() -> None:
    maps = np.array([[[0, 1], [0, 1]], [[2, 2], [4, 4]]], dtype=np.float32)
    large = enlarge(maps, 4)
    assert large.shape == (2, 4, 4)
    # Half-pixel centres: aligned corners would give thirds.
    assert large[0, 0].tolist() == [0, 0.25, 0.75, 1]
    assert large[1, :, 2].tolist() == [2, 2.5, 3.5, 4]
    assert np.array_equal(enlarge(maps, 2), maps)
    assert enlarge(np.full((1, 3, 5), -7.5, dtype=np.float32), 8).tolist() == np.full((1, 8, 8), -7.5).tolist()


def test_reduce_mask() -> None:
    mask = np.zeros((6, 9), dtype=bool)
    mask[:3, 6:] = True
    small = reduce_mask(mask, 3)
    assert small.dtype == bool
    # The middle of each 2 x 3 cell is row 1, 3 or 5; the corner instead would be row 0, 2 or 4.
    assert small.tolist() == [[False, False, True], [False, False, False], [False, False, False]]
    square = np.random.default_rng(0).random((5, 5)) > 0.5
    assert np.array_equal(reduce_mask(square, 5), square)
    assert np.array_equal(reduce_mask(square, 10), square.repeat(2, 0).repeat(2, 1))
