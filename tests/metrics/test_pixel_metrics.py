"""Pixel metrics against a sort of all pixels, against values by hand, and on input that users give."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgezsad.errors import InputError
from edgezsad.metrics.pixel_metrics import enlarge, pixel_metrics, reduce_mask

EXACT = {"auroc": 1e-5, "ap": 1e-4, "f1max": 1e-4, "aupro": 1e-4}
SHAPE = (8, 192, 192)


@st.composite
def images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A few maps of few distinct values, and masks with defective and normal pixels."""
    shape = draw(array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=5))
    masks = draw(arrays(bool, shape))
    masks.flat[0], masks.flat[-1] = True, False
    dtype = draw(st.sampled_from([np.float64, np.float32, np.float16, np.uint8, np.int16]))
    return draw(arrays(dtype, shape, elements=st.integers(0, 9))), masks


@settings(max_examples=40)
@given(image=images())
def test_few_distinct_values_are_exact(exact: Callable, image: tuple[np.ndarray, np.ndarray]) -> None:
    maps, masks = image
    found, expected = pixel_metrics(maps, masks), exact(maps, masks)
    for name in EXACT:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-9), name


def defects(random: np.random.Generator) -> np.ndarray:
    """Rectangles of up to 12 x 12 in two of three images, about 2% of all pixels."""
    masks = np.zeros(SHAPE, dtype=bool)
    for mask in (each for index, each in enumerate(masks) if index % 3 < 2):
        for _ in range(30):
            (y, x), (height, width) = random.integers(0, SHAPE[1] - 12, 2), random.integers(1, 12, 2)
            mask[y : y + height, x : x + width] = True
    return masks


DISTRIBUTIONS = {
    "logits": lambda values: values.astype(np.float32),
    "float64": lambda values: values,
    "skewed": lambda values: np.exp(2 * values).astype(np.float32),
    "probabilities near zero": lambda values: (1 / (1 + np.exp(6 - 2 * values))).astype(np.float32),
    "probabilities near one": lambda values: (1 / (1 + np.exp(-12 - 3 * values))).astype(np.float32),
    "crowded far from zero": lambda values: 1000 + 1e-6 * values,
    "a background of zeros": lambda values: np.maximum(values - 1, 0).astype(np.float32),
    "8 bits": lambda values: np.clip(30 * values + 100, 0, 255).astype(np.uint8),
    "another offset for each image": lambda values: 0.1 * values + np.linspace(0, 20, len(values))[:, None, None],
    "constant": lambda values: np.full(values.shape, 0.7, dtype=np.float32),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_bounds_on_distributions_of_anomaly_maps(exact: Callable, name: str) -> None:
    random = np.random.default_rng(0)
    masks = defects(random)
    maps = DISTRIBUTIONS[name](random.normal(size=SHAPE) + 2 * masks)
    found, expected = pixel_metrics(maps, masks), exact(maps, masks)
    for metric, bound in EXACT.items():
        # Written so that NaN fails too.
        assert abs(getattr(found, metric) - getattr(expected, metric)) <= bound, metric
    assert found.aupro200 == pytest.approx(expected.aupro200, abs=1e-3, nan_ok=True)


def test_by_hand() -> None:
    # One row of ten normal pixels and two regions: a pixel with the highest score, and a pair with one half found.
    maps = np.array([[[9, 0, 8, 7, 0, 6, 5, 4, 3, 2, 1, 0.5, 0.4]]])
    masks = np.array([[[1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]]], dtype=bool)
    perfect = pixel_metrics(maps, masks)
    assert (perfect.auroc, perfect.ap, perfect.f1max, perfect.aupro) == pytest.approx((1, 1, 1, 1))
    maps[0, 0, 3] = -1
    part = pixel_metrics(maps, masks)
    assert part.auroc == pytest.approx(2 / 3)
    # Descending: 9 and 8 with precision 1, then every normal pixel before the third.
    assert part.ap == pytest.approx((1 + 1 + 3 / 13) / 3)
    assert part.f1max == pytest.approx(2 * 2 / (2 + 3))
    # All pixels of the second region are found only when every normal one is: the overlap stays at (1 + 1/2) / 2.
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


def test_aupro_is_interpolated_at_the_limit() -> None:
    # Of four normal pixels one scores above the defect: the curve goes from (0, 0) by way of (1/4, 0).
    masks = np.array([[[1, 0, 0, 0, 0]]], dtype=bool)
    assert pixel_metrics(np.array([[[5.0, 9, 1, 1, 1]]]), masks).aupro == pytest.approx((0.3 - 0.25) / 0.3)
    # Where all scores are equal it is the diagonal: overlap 0.3 at the limit, mean height 0.15.
    constant = pixel_metrics(np.full((1, 1, 5), 3.0), masks)
    assert (constant.auroc, constant.aupro) == (pytest.approx(0.5), pytest.approx(0.15))


@pytest.mark.parametrize("value", [False, True])
def test_one_kind_of_pixels_gives_nan(value: bool) -> None:
    found = pixel_metrics(np.random.default_rng(0).normal(size=(2, 3, 3)), np.full((2, 3, 3), value))
    assert all(math.isnan(each) for each in vars(found).values())
    assert all(math.isnan(each) for each in vars(pixel_metrics([], [])).values())


def test_lists_tensors_and_generators() -> None:
    random = np.random.default_rng(1)
    maps = random.normal(size=(40, 6, 5)).astype(np.float32)
    masks = random.random(maps.shape) > 0.8
    masks[::3] = False
    expected = pixel_metrics(maps, masks)

    def one_by_one() -> Iterator[np.ndarray | None]:
        yield from (mask if mask.any() else None for mask in masks)

    assert pixel_metrics(maps.tolist(), (masks * 255).tolist()) == expected
    assert pixel_metrics(torch.from_numpy(maps), torch.from_numpy(masks)) == expected
    assert pixel_metrics(list(maps), one_by_one()) == expected


def test_images_may_differ_in_size() -> None:
    random = np.random.default_rng(1)
    shapes = [(5, 9), (40, 30), (1, 1), (64, 2)]
    maps = [random.normal(size=shape) for shape in shapes]
    masks = [random.random(shape) > 0.5 for shape in shapes]
    large = [enlarge(each, 16) for each in maps], [reduce_mask(each, 16) for each in masks]
    assert vars(pixel_metrics(maps, masks, 16)) == pytest.approx(vars(pixel_metrics(*large)), abs=1e-3)
    assert 0 <= pixel_metrics(maps, masks).auroc <= 1


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (np.zeros((1, 3, 3)), [np.zeros((3, 4))], r"map \(3, 3\) and mask \(3, 4\) differ in size; give `pixels`"),
        (np.zeros((2, 3)), [None, None], r"map 0 has shape \(3,\); expected height x width"),
        (np.array([[[0.0]], [[np.nan]]]), [None, None], "map 1 has a value that is not finite"),
    ],
)
def test_invalid_input(maps: np.ndarray, masks: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pixel_metrics(maps, masks)


def test_enlarge_is_bilinear_with_half_pixel_centres_and_stays_in_the_range() -> None:
    # Aligned corners would give thirds; integers would be rounded.
    for dtype in (np.float32, np.float64, np.uint8, np.int64, np.bool_):
        assert enlarge(np.array([[0, 1], [0, 1]], dtype=dtype), 4)[0].tolist() == [0, 0.25, 0.75, 1]
    small = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32)
    large = enlarge(small, 64)
    assert small.min() <= large.min() and large.max() <= small.max()


@pytest.mark.parametrize("times", [2, 3, 4, 6])
def test_reduce_mask_takes_the_middle_of_each_cell(times: int) -> None:
    mask = np.random.default_rng(times).random((16 * times, 16 * times)) > 0.5
    small = reduce_mask(mask * 255, 16)
    assert small.dtype == np.uint8
    assert np.array_equal(small, mask[times // 2 :: times, times // 2 :: times])
