"""Rounding that lets errors cancel: on its steps, never worse than the nearest, and much better for a common mean."""

import numpy as np
import onnx
import pytest

from edgezsad.export.int8_rounding import STEPS, balanced, input_moments


def errors(rows: np.ndarray, rounded: np.ndarray, common: np.ndarray, own: np.ndarray) -> np.ndarray:
    error = rounded - rows
    return (error * common).sum(axis=1) ** 2 + (own * error**2).sum(axis=1)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(50, 9))


def test_on_steps_and_better_than_nearest(rows: np.ndarray) -> None:
    common, own = np.ones((1, 9)), np.full((1, 9), 0.05)
    step = np.abs(rows).max(axis=1, keepdims=True) / STEPS
    rounded = balanced(rows, common, own)
    whole = rounded / step
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-9)
    assert np.abs(whole).max() <= STEPS + 1e-9
    # No weight is moved by more than a step and a half.
    assert (np.abs(rounded - rows) <= 1.5 * step + 1e-12).all()
    nearest = np.round(rows / step) * step
    better, plain = errors(rows, rounded, common, own), errors(rows, nearest, common, own)
    assert (better <= plain + 1e-15).all() and better.sum() < 0.2 * plain.sum()


def test_largest_weight_sets_the_step_and_stays(rows: np.ndarray) -> None:
    rounded = balanced(rows, np.ones((1, 9)), np.zeros((1, 9)))
    index, largest = np.arange(len(rows)), np.abs(rows).argmax(axis=1)
    np.testing.assert_allclose(rounded[index, largest], rows[index, largest])


def test_without_a_common_mean_it_is_the_nearest(rows: np.ndarray) -> None:
    step = np.abs(rows).max(axis=1, keepdims=True) / STEPS
    rounded = balanced(rows, np.zeros((1, 9)), np.ones((1, 9)))
    np.testing.assert_allclose(rounded, np.round(rows / step) * step)
    np.testing.assert_array_equal(balanced(np.zeros((2, 4)), np.ones((1, 4)), np.ones((1, 4))), 0)


def test_best_of_all_roundings() -> None:
    """Against every combination of two neighbouring steps of small filters."""
    generator = np.random.default_rng(3)
    rows, common, own = generator.normal(size=(20, 5)), generator.normal(size=(1, 5)), np.full((1, 5), 0.1)
    step = np.abs(rows).max(axis=1, keepdims=True) / STEPS
    low = np.floor(rows / step)
    choices = np.stack([low + [(number >> bit) & 1 for bit in range(5)] for number in range(32)])
    costs = np.stack([errors(rows, whole * step, common, own) for whole in choices])
    found = errors(rows, balanced(rows, common, own), common, own)
    nearest = errors(rows, np.round(rows / step) * step, common, own)
    best = costs.min(axis=0)
    # Greedy: most of the way from the nearest to the best.
    assert (found - best).sum() < 0.3 * (nearest - best).sum()


def test_moments_are_those_of_the_tensors(exported: onnx.ModelProto) -> None:
    model = onnx.load(exported)
    before = model.SerializeToString()
    generator = np.random.default_rng(2)
    images = [generator.uniform(0, 255, (1, 3, 96, 96)).astype(np.float32) for _ in range(2)]
    moments = input_moments(model, images)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    minus, over = model.graph.node[0], model.graph.node[1]
    stem = np.concatenate([(image - constants[minus.input[1]]) / constants[over.input[1]] for image in images])
    mean, square = moments[over.output[0]]
    np.testing.assert_allclose(mean, stem.mean(axis=(0, 2, 3)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(square, (stem.astype(np.float64) ** 2).mean(axis=(0, 2, 3)), rtol=1e-3)
    assert model.SerializeToString() == before
