"""Pixel metrics, streaming and exact, against scikit-learn, and against F1 and AUPRO one threshold at a time."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from edgezsad.errors import InputError
from edgezsad.metrics.pixel_metrics import PixelMetrics, exact_pixel_metrics, pixel_metrics

Metrics = Callable[..., PixelMetrics]
Regions = Callable[[np.ndarray], list[list[tuple[int, int]]]]

both = pytest.mark.parametrize("metrics", [pixel_metrics, exact_pixel_metrics])

# Ties, both zeros, denormals, neighbours in float64 that are one number in float32, and the largest numbers there are.
AWKWARD = {
    np.float64: [0.0, -0.0, 5e-324, -5e-324, 1.0, 1 + 2**-52, 1 - 2**-53, 1 + 1e-9, 1.7e308, -1.7e308, 1e30],
    np.float32: [0.0, -0.0, 1e-45, -1e-45, 1.0, 1 + 2**-23, 1 - 2**-24, 3e38, -3e38],
    np.float16: [0.0, -0.0, 6e-8, -6e-8, 1.0, 1 + 2**-10, 65504.0, -65504.0],
    np.uint8: [0, 1, 254, 255],
    np.int16: [0, -1, -32768, 32767],
    np.int32: [0, 1 << 24, (1 << 24) + 1, -(1 << 31), (1 << 31) - 1],
    np.bool_: [False, True],
}


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A few maps of one kind of number, and masks with at least one defective pixel."""
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=5))
    masks = draw(arrays(bool, shape))
    masks.flat[draw(st.integers(0, masks.size - 1))] = True
    dtype = draw(st.sampled_from(list(AWKWARD)))
    values = st.sampled_from(np.array(AWKWARD[dtype]).astype(dtype).tolist())
    if np.issubdtype(dtype, np.floating):
        few = st.integers(-2, 2).map(float)
        width = np.dtype(dtype).itemsize * 8
        values = st.one_of(few, values, st.floats(allow_nan=False, allow_infinity=False, width=width))
    elif dtype != np.bool_:
        values = st.one_of(st.integers(0, 3), values)
    return draw(arrays(dtype, shape, elements=values)), masks


def naive_f1(maps: np.ndarray, masks: np.ndarray, threshold: float) -> float:
    called = maps >= np.float64(threshold)
    return 2 * (called & masks).sum() / (called.sum() + masks.sum())


def naive_aupro(maps: np.ndarray, masks: np.ndarray, limit: float, regions_of: Regions) -> float:
    regions = [(index, region) for index, mask in enumerate(masks) for region in regions_of(mask)]
    curve = [(0.0, 0.0)]
    for threshold in sorted({float(value) for value in maps.ravel()}, reverse=True):
        called = maps >= np.float64(threshold)
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


def values(result: PixelMetrics) -> list[float]:
    return [result.auroc, result.average_precision, result.f1_max, result.aupro]


@both
@given(picture=pictures(), limit=st.sampled_from([0.3, 0.05, 0.5, 1.0]))
def test_against_the_definitions(
    metrics: Metrics, regions_of: Regions, picture: tuple[np.ndarray, np.ndarray], limit: float
) -> None:
    maps, masks = picture
    result = metrics(maps, masks, fpr_limit=limit)
    assert (result.images, result.regions) == (len(maps), sum(len(regions_of(mask)) for mask in masks))
    if masks.all():
        assert all(math.isnan(value) for value in (*values(result), result.threshold))
        return
    # Ranks instead of the scores themselves, whose differences may overflow within scikit-learn.
    label, score = masks.ravel(), np.unique(maps.ravel(), return_inverse=True)[1]
    assert result.auroc == pytest.approx(roc_auc_score(label, score), abs=1e-9)
    assert result.average_precision == pytest.approx(average_precision_score(label, score), abs=1e-9)
    best = max(naive_f1(maps, masks, threshold) for threshold in maps.astype(float).ravel())
    assert result.f1_max == pytest.approx(best, abs=1e-9)
    assert naive_f1(maps, masks, result.threshold) == pytest.approx(best, abs=1e-9)
    assert result.aupro == pytest.approx(naive_aupro(maps, masks, limit, regions_of), abs=1e-9)
    assert 0 <= result.aupro <= 1 + 1e-12


@given(picture=pictures(), pixels=st.integers(1, 7))
def test_maps_are_enlarged_as_the_floats_that_hold_them(picture: tuple[np.ndarray, np.ndarray], pixels: int) -> None:
    # Whole numbers would be rounded after every interpolation, and OpenCV refuses half of the kinds there are.
    maps, masks = picture
    if np.issubdtype(maps.dtype, np.floating):
        # OpenCV interpolates by differences, and that of the two largest numbers of opposite signs overflows.
        maps = maps / 4
    as_float = maps.astype(np.float32 if maps.dtype.itemsize <= 2 or maps.dtype == np.float32 else np.float64)
    result = exact_pixel_metrics(maps, masks, pixels)
    assert values(pixel_metrics(maps, masks, pixels)) == pytest.approx(values(result), nan_ok=True, abs=1e-9)
    assert values(exact_pixel_metrics(as_float, masks, pixels)) == pytest.approx(values(result), nan_ok=True, abs=0)
    if pixels == maps.shape[1] == maps.shape[2]:
        assert values(exact_pixel_metrics(maps, masks)) == pytest.approx(values(result), nan_ok=True, abs=0)


@both
def test_by_hand(metrics: Metrics) -> None:
    # One row of ten normal pixels and two regions: a pixel with the highest score, and a pair with one half found.
    maps = np.array([[[9, 0, 8, 7, 0, 6, 5, 4, 3, 2, 1, 0.5, 0.4]]])
    masks = np.array([[[1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]]], dtype=bool)
    assert metrics(maps, masks) == PixelMetrics(1, 1, 1, 7, 1, images=1, regions=2)
    maps[0, 0, 3] = -1
    part = metrics(maps, masks)
    assert part.auroc == pytest.approx(2 / 3)
    # Descending: 9 and 8 with precision 1, then every normal pixel before the third.
    assert part.average_precision == pytest.approx((1 + 1 + 3 / 13) / 3)
    assert (part.f1_max, part.threshold) == (pytest.approx(2 * 2 / (2 + 3)), 8)
    # All pixels of the second region are found only when every normal one is: the overlap stays at (1 + 1/2) / 2.
    assert part.aupro == pytest.approx(0.75)


@both
def test_regions_count_equally_and_diagonal_neighbours_are_one(metrics: Metrics) -> None:
    masks = np.zeros((1, 8, 8), dtype=bool)
    masks[0, :4, :4] = True
    masks[0, 6, 6] = masks[0, 7, 7] = True
    # The large region found first, the small one never: half of the overlap, though 16 of 18 pixels.
    maps = np.zeros((1, 8, 8))
    maps[0, :4, :4] = 1
    maps[0, 6, 6] = maps[0, 7, 7] = -1
    assert metrics(maps, masks).aupro == pytest.approx(0.5)
    # One of the two diagonal pixels found: a third region would have made this (1 + 1 + 0) / 3.
    maps[0, 6, 6] = 1
    assert metrics(maps, masks).aupro == pytest.approx(0.75)


@both
def test_the_curve_is_interpolated_at_the_limit(metrics: Metrics) -> None:
    # Of four normal pixels one scores above the defect, so the curve jumps from (0, 0) by way of (1/4, 0) ...
    masks = np.array([[[1, 0, 0, 0, 0]]], dtype=bool)
    assert metrics(np.array([[[5.0, 9, 1, 1, 1]]]), masks).aupro == pytest.approx((0.3 - 0.25) / 0.3)
    # ... and where all scores are equal it is the diagonal: overlap 0.3 at the limit, mean height 0.15.
    constant = metrics(np.full((1, 1, 5), 3.0), masks)
    assert (constant.auroc, constant.aupro) == (pytest.approx(0.5), pytest.approx(0.15))
    assert (constant.average_precision, constant.f1_max, constant.threshold) == (pytest.approx(0.2), 2 / 6, 3)


@both
def test_both_zeros_tie_and_no_other_neighbours_do(metrics: Metrics) -> None:
    masks = np.array([[[1, 0]]], dtype=bool)
    assert metrics(np.array([[[0.0, -0.0]]]), masks).auroc == 0.5
    assert metrics(np.array([[[-0.0, 0.0]]]), masks).auroc == 0.5
    assert metrics(np.array([[[5e-324, 0.0]]]), masks).auroc == 1
    # One number in float32, two in float64.
    assert metrics(np.array([[[1 + 1e-12, 1.0]]]), masks).auroc == 1
    assert metrics(np.array([[[1 + 1e-12, 1.0]]], dtype=np.float32), masks).auroc == 0.5


@both
def test_one_region_of_one_pixel_among_many_images(metrics: Metrics) -> None:
    generator = np.random.default_rng(0)
    maps = generator.normal(size=(6, 7, 5)).astype(np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    masks[4, 6, 4] = True
    result = metrics(maps, masks)
    above = (maps[~masks] > maps[4, 6, 4]).mean()
    assert result.auroc == pytest.approx(1 - above)
    assert result.average_precision == pytest.approx(1 / (1 + (maps[~masks] > maps[4, 6, 4]).sum()))
    assert result.aupro == pytest.approx(max(0, 0.3 - above) / 0.3)
    assert (result.images, result.regions) == (6, 1)


@both
@pytest.mark.parametrize("value", [False, True])
def test_no_defective_or_no_normal_pixel_gives_nan_and_no_made_up_number(metrics: Metrics, value: bool) -> None:
    result = metrics(np.random.default_rng(0).normal(size=(2, 3, 3)), np.full((2, 3, 3), value))
    assert all(math.isnan(each) for each in (*values(result), result.threshold))
    assert (result.images, result.regions) == (2, 2 if value else 0)


@both
def test_normal_images_alone_and_no_image_at_all(metrics: Metrics) -> None:
    result = metrics(np.zeros((2, 3, 3)), [None, None])
    assert all(math.isnan(each) for each in values(result))
    assert (result.images, result.regions) == (2, 0)
    result = metrics([], [])
    assert all(math.isnan(each) for each in values(result))
    assert (result.images, result.regions) == (0, 0)


@both
def test_no_mask_means_that_all_pixels_are_normal(metrics: Metrics) -> None:
    maps = np.random.default_rng(1).normal(size=(3, 4, 4))
    masks = np.zeros((3, 4, 4), dtype=np.uint8)
    masks[1, :2, 1] = 1
    assert metrics(maps, [None, masks[1], None]) == metrics(maps, masks)


@both
@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 1), (np.uint8, 255), (np.int64, -3), (np.float32, 0.5)])
def test_anything_but_zero_is_defective(metrics: Metrics, dtype: type, value: float) -> None:
    generator = np.random.default_rng(2)
    maps, masks = generator.normal(size=(3, 6, 6)), generator.random((3, 6, 6)) > 0.7
    marked = masks.astype(dtype) * dtype(value)
    assert metrics(maps, marked) == metrics(maps, masks)
    assert metrics(maps, marked, pixels=4) == metrics(maps, masks, pixels=4)


@both
def test_a_mask_of_another_size_is_reduced(metrics: Metrics) -> None:
    generator = np.random.default_rng(3)
    maps = generator.normal(size=(2, 4, 4)).astype(np.float32)
    small = generator.random((2, 4, 4)) > 0.6
    large = small.repeat(5, 1).repeat(3, 2)
    assert metrics(maps, large, pixels=4) == metrics(maps, small)
    # Masks of several sizes, as images have.
    assert metrics(maps, [small[0], large[1]], pixels=4) == metrics(maps, small)


@both
@pytest.mark.parametrize("pixels", [None, 5])
def test_arrays_in_any_order_of_memory_and_read_only_ones(metrics: Metrics, pixels: int | None) -> None:
    generator = np.random.default_rng(4)
    maps, masks = generator.normal(size=(3, 6, 5)), generator.random((3, 6, 5)) > 0.7
    expected = metrics(maps, masks, pixels)
    spread = np.zeros((3, 12, 15)), np.zeros((3, 12, 15), dtype=bool)
    for whole, part in zip(spread, (maps, masks), strict=True):
        whole[:, ::2, ::3] = part
    turned = [np.asfortranarray(each) for each in maps], [np.asfortranarray(each) for each in masks]
    backwards = maps[:, ::-1].copy()[:, ::-1], masks[:, ::-1].copy()[:, ::-1]
    for other in ((spread[0][:, ::2, ::3], spread[1][:, ::2, ::3]), turned, backwards):
        assert metrics(*other, pixels) == expected
    swapped = maps.astype(">f8")
    assert metrics(swapped, masks, pixels) == expected
    for each in (maps, masks):
        each.setflags(write=False)
    assert metrics(maps, masks, pixels) == expected


@both
def test_the_maps_and_masks_given_stay_as_they_are(metrics: Metrics) -> None:
    maps, masks = np.random.default_rng(5).normal(size=(3, 4, 4)), np.eye(4, dtype=np.uint8)[None].repeat(3, 0) * 255
    before = maps.copy(), masks.copy()
    for pixels in (None, 4, 6):
        metrics(maps, masks, pixels)
    assert np.array_equal(maps, before[0])
    assert np.array_equal(masks, before[1])


@both
@pytest.mark.parametrize(("maps", "masks"), [((2, 3, 4), (2, 4, 3)), ((2, 3, 4), (2, 3, 4, 1))])
def test_sizes_that_do_not_fit(metrics: Metrics, maps: tuple[int, ...], masks: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"image 0: map \(3, 4\) and mask .* differ in size; give `pixels`"):
        metrics(np.zeros(maps), np.zeros(masks, dtype=bool))


@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 3, 1)])
def test_a_map_has_height_and_width(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"image 0: a map of shape .*; give height x width"):
        pixel_metrics(np.zeros(shape), [None, None, None])


@both
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("pixels", [None, 4])
def test_a_map_that_is_not_finite_is_named(metrics: Metrics, bad: float, dtype: type, pixels: int | None) -> None:
    maps = np.zeros((4, 3, 3), dtype=dtype)
    maps[2, 1, 0] = bad
    with pytest.raises(InputError, match="image 2: a value of its map is not finite"):
        metrics(maps, np.ones((4, 3, 3), dtype=bool), pixels)


@both
@pytest.mark.parametrize(("maps", "masks"), [(3, 2), (2, 3), (0, 1)])
def test_there_is_a_mask_for_each_map(metrics: Metrics, maps: int, masks: int) -> None:
    with pytest.raises(ValueError, match=r"argument 2 is|not as many masks as maps"):
        metrics(np.zeros((maps, 2, 2)), np.ones((masks, 2, 2), dtype=bool))
