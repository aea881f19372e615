"""Rounding to FP16: no weight leaves its two neighbours, and filters keep their sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgezsad.export.rounding import LARGEST, keeping_sums, nearest, remainder

weights = arrays(
    np.float32,
    array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=4),
    elements=st.floats(-1e5, 1e5, width=32),
)


@given(weights)
def test_every_weight_is_a_neighbour_and_sums_are_no_worse(weight: np.ndarray) -> None:
    before = weight.copy()
    near, kept = nearest(weight), keeping_sums(weight)
    assert (weight == before).all()
    assert kept.dtype == np.float16 and kept.shape == weight.shape and np.isfinite(kept).all()
    inside = np.abs(weight) <= LARGEST
    # Between the two FP16 numbers around it; exact ones stay.
    with np.errstate(over="ignore"):
        low = np.nextafter(near, np.float16(-np.inf)).astype(float)
        high = np.nextafter(near, np.float16(np.inf)).astype(float)
    assert ((kept.astype(float) >= low) & (kept.astype(float) <= high))[inside].all()
    exact = near.astype(np.float32) == weight
    assert (kept[exact] == near[exact]).all()
    assert (kept[~inside] == np.copysign(LARGEST, weight[~inside])).all()
    between = (kept.astype(float) - weight) * (near.astype(float) - weight) <= 0
    assert (between | (kept == near))[inside].all()

    def error(rounded: np.ndarray) -> np.ndarray:
        return np.abs((rounded.astype(float) - weight).sum(axis=(2, 3)))

    assert (error(kept) <= error(near)).all()


def test_an_edge_filter_stays_blind_to_brightness() -> None:
    """Large weights that cancel: each rounded alone leaves a sum that is nearly all noise."""
    generator = np.random.default_rng(0)
    weight = (10 * generator.normal(size=(64, 1, 3, 3))).astype(np.float32)
    weight[:, :, 1, 1] -= weight.sum(axis=(2, 3))
    alone, kept = (
        np.abs(rounded.astype(float).sum(axis=(2, 3))) for rounded in (nearest(weight), keeping_sums(weight))
    )
    assert kept.mean() < 0.15 * alone.mean()
    assert np.abs(kept).max() < np.median(alone)


def test_one_place_is_the_nearest() -> None:
    weight = np.random.default_rng(1).normal(size=(8, 5, 1, 1)).astype(np.float32)
    assert (keeping_sums(weight) == weight.astype(np.float16)).all()


def test_beyond_the_range() -> None:
    assert nearest(np.array([1e6, -1e6, 65504, 65519, 1e-9], dtype=np.float32)).tolist() == [
        65504,
        -65504,
        65504,
        65504,
        0,
    ]
    # The largest number has no second choice above it.
    weight = np.array([[[[65504, 1e6], [-7e4, 0.1]]]], dtype=np.float32)
    assert keeping_sums(weight).ravel()[:3].tolist() == [65504, 65504, -65504]


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (4, 1, 5), (2, 2, 3, 3, 3)])
def test_any_number_of_places(shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    places = tuple(range(2, len(shape)))
    kept, near = (np.abs((r.astype(float) - weight).sum(axis=places)) for r in (keeping_sums(weight), nearest(weight)))
    assert kept.sum() < 0.5 * near.sum()


def test_the_remainder_makes_it_whole() -> None:
    weight = np.random.default_rng(3).normal(size=(6, 1, 3, 3)).astype(np.float32)
    assert remainder(weight, nearest(weight)) is None
    weight[2, 0, 1, 1] = 17.68
    kept = keeping_sums(weight)
    rest = remainder(weight, kept)
    assert rest is not None and rest.dtype == np.float16
    error = np.abs(kept.astype(float) + rest.astype(float) - weight)
    # Twice the digits, as far as FP16's smallest numbers reach.
    assert (error <= np.abs(weight) * 2.0**-21 + 2.0**-25).all()
    # A layer that sums over its inputs, or has no places, or is beyond FP16, is left alone.
    assert remainder(np.repeat(weight, 2, axis=1), np.repeat(kept, 2, axis=1)) is None
    assert remainder(weight[:, :, 0, 0], kept[:, :, 0, 0]) is None
    weight[0, 0, 0, 0] = 1e6
    assert remainder(weight, keeping_sums(weight)) is None
