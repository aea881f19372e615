"""From maps and masks to pixels of one size, and regions, against walking and interpolating pixel by pixel."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgezsad.errors import InputError
from edgezsad.metrics.regions import REGION_MASS, as_bytes, enlarge, find_regions, reduce_mask

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))
VALUES = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, width=32))
MAPS = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=VALUES)


def bilinear(small: np.ndarray, pixels: int) -> np.ndarray:
    """Half-pixel centres; the outermost pixels are extended."""
    large = np.empty((pixels, pixels))
    for y, x in np.ndindex(large.shape):
        place = [(at + 0.5) * size / pixels - 0.5 for at, size in zip((y, x), small.shape, strict=True)]
        low = [int(np.floor(at)) for at in place]
        part = [at - start for at, start in zip(place, low, strict=True)]
        near = [
            [min(max(start + step, 0), size - 1) for step in (0, 1)]
            for start, size in zip(low, small.shape, strict=True)
        ]
        large[y, x] = sum(
            small[near[0][down], near[1][right]]
            * (part[0] if down else 1 - part[0])
            * (part[1] if right else 1 - part[1])
            for down in (0, 1)
            for right in (0, 1)
        )
    return large


@given(MAPS, st.integers(1, 12), st.sampled_from([np.float32, np.float64]))
def test_enlarge_is_bilinear_with_half_pixel_centres(small: np.ndarray, pixels: int, dtype: type) -> None:
    small = small.astype(dtype)
    large = enlarge(small, pixels)
    assert (large.dtype, large.shape) == (dtype, (pixels, pixels))
    # OpenCV keeps the weights of float64 as float32.
    scale = max(1, float(np.abs(small).max()))
    assert large == pytest.approx(bilinear(small, pixels), rel=0, abs=2e-6 * scale)


def test_enlarge_by_hand() -> None:
    large = enlarge(np.array([[0, 1], [0, 1]], dtype=np.float32), 4)
    # Aligned corners would give thirds.
    assert large[0].tolist() == [0, 0.25, 0.75, 1]
    large = enlarge(np.array([[2, 2], [4, 4]], dtype=np.float32), 4)
    assert large[:, 2].tolist() == [2, 2.5, 3.5, 4]
    assert enlarge(np.full((3, 5), -7.5, dtype=np.float32), 8).tolist() == np.full((8, 8), -7.5).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_size_is_the_same_map(dtype: type) -> None:
    small = np.random.default_rng(0).normal(size=(7, 7)).astype(dtype)
    large = enlarge(small, 7)
    assert np.array_equal(large, small)
    assert not np.shares_memory(large, small)


@pytest.mark.parametrize(
    ("dtype", "held"),
    [
        (np.bool_, np.float32),
        (np.uint8, np.float32),
        (np.int8, np.float32),
        (np.uint16, np.float32),
        (np.int16, np.float32),
        (np.float16, np.float32),
        (np.int32, np.float64),
        (np.uint32, np.float64),
        (np.int64, np.float64),
        (">f4", np.float64),
    ],
)
def test_other_numbers_are_enlarged_as_the_float_that_holds_them(dtype: type, held: type) -> None:
    # Rounded to whole numbers, a quarter and three quarters would be lost.
    large = enlarge(np.array([[0, 1], [0, 1]]).astype(dtype), 4)
    assert large.dtype == held
    assert large[0].tolist() == [0, 0.25, 0.75, 1]


def test_enlarge_fills_an_earlier_answer_if_it_fits() -> None:
    small = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    expected = enlarge(small, 6)
    out = np.full((6, 6), np.nan, dtype=np.float32)
    assert enlarge(small, 6, out) is out
    assert np.array_equal(out, expected)
    for other in (np.zeros((5, 6), dtype=np.float32), np.zeros((6, 6))):
        assert np.array_equal(enlarge(small, 6, other), expected)
        assert not other.any()


def test_reduce_mask_takes_the_middle_of_each_cell() -> None:
    mask = np.zeros((6, 9), dtype=bool)
    mask[:3, 6:] = True
    small = reduce_mask(mask, 3)
    assert small.dtype == np.uint8
    # The middle of each 2 x 3 cell is row 1, 3 or 5; the corner instead would be row 0, 2 or 4.
    assert small.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


@given(MASKS, st.integers(1, 9))
def test_reduce_mask_is_the_nearest_pixel(mask: np.ndarray, pixels: int) -> None:
    small = reduce_mask(mask, pixels)
    assert small.shape == (pixels, pixels)

    def nearest(at: int, size: int) -> list[int]:
        """Both neighbours where the middle lies between them."""
        whole, rest = divmod((2 * at + 1) * size, 2 * pixels)
        return [whole] if rest else [whole - 1, whole]

    for y, x in np.ndindex(small.shape):
        assert small[y, x] in mask[np.ix_(nearest(y, mask.shape[0]), nearest(x, mask.shape[1]))]


@pytest.mark.parametrize("times", [2, 3, 4, 6])
def test_a_middle_between_two_pixels_is_the_later_one(times: int) -> None:
    # As when masks of 1024 or 3072 pixels are reduced to 512: one rule for all of the image.
    mask = np.random.default_rng(times).random((16 * times, 16 * times)) > 0.5
    assert np.array_equal(reduce_mask(mask, 16), mask[times // 2 :: times, times // 2 :: times])


@given(MASKS)
def test_masks_as_zeros_and_ones(mask: np.ndarray) -> None:
    expected = mask.astype(np.uint8).tolist()
    for other in (mask, mask * 255, mask * -0.5, np.asfortranarray(mask), mask.astype(np.uint16) << 8):
        found = as_bytes(other)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
        assert found.tolist() == expected


@pytest.mark.parametrize("shape", [(3,), (3, 3, 1), ()])
def test_a_mask_has_height_and_width(shape: tuple[int, ...]) -> None:
    for call in (as_bytes, lambda mask: reduce_mask(mask, 4)):
        with pytest.raises(InputError, match=r"a mask of shape .*; give height x width"):
            call(np.zeros(shape))


@given(MASKS)
def test_regions_are_those_of_walking_from_pixel_to_pixel(
    regions_of: Callable[[np.ndarray], list[list[tuple[int, int]]]], mask: np.ndarray
) -> None:
    expected = regions_of(mask)
    found = find_regions(as_bytes(mask))
    if not expected:
        assert found is None
        return
    # The rectangle is the smallest that holds all of them.
    where = np.argwhere(mask)
    assert (found.rows, found.columns) == tuple(
        slice(low, high + 1) for low, high in zip(where.min(0), where.max(0), strict=True)
    )
    label = np.zeros(mask.shape, dtype=int)
    label[found.rows, found.columns] = found.label
    assert np.array_equal(label > 0, mask)
    assert sorted(
        sorted(map(tuple, np.argwhere(label == each).tolist())) for each in range(1, label.max() + 1)
    ) == sorted(sorted(region) for region in expected)
    assert found.area.tolist() == [int((label == each).sum()) for each in range(1, label.max() + 1)]


def test_diagonal_neighbours_are_one_region_and_a_gap_is_not() -> None:
    mask = np.array([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1]], dtype=np.uint8)
    found = find_regions(mask)
    assert found.area.tolist() == [2, 2]
    assert find_regions(mask[:, :3]).area.tolist() == [2]


@given(st.integers(1, 1 << 20))
def test_whole_masses_of_a_region_add_up_to_one_in_a_million(area: int) -> None:
    assert round(REGION_MASS / area) * area == pytest.approx(REGION_MASS, rel=2**-20)
