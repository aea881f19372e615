"""DeLong's covariance against its definition over all pairs; the test of equivalence and its error rate."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from edgezsad.metrics.significance import ALPHA, Equivalence, contrast, delong, equivalence


def naive(label: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs and covariance from every pair (DeLong et al., equations 4 to 6)."""
    difference = scores[:, label == 1, None] - scores[:, None, label == 0]
    won = (difference > 0) + 0.5 * (difference == 0)
    covariance = np.cov(won.mean(axis=2)) / won.shape[1] + np.cov(won.mean(axis=1)) / won.shape[2]
    return won.mean(axis=(1, 2)), covariance


# Few distinct scores, so that ties within and between the kinds are common.
image = st.tuples(st.integers(0, 1), st.tuples(*[st.integers(-3, 3)] * 3))


@given(st.lists(image, min_size=4, max_size=25))
def test_delong_agrees_with_its_definition(rows: list[tuple[int, tuple[int, ...]]]) -> None:
    label = np.array([label for label, _ in rows])
    scores = np.array([score for _, score in rows], dtype=float).T
    found = delong(label, scores)
    value, deviation = found
    if min((label == 0).sum(), (label == 1).sum()) < 1:
        assert np.isnan(value).all() and np.isnan(deviation).all()
        return
    if min((label == 0).sum(), (label == 1).sum()) < 2:
        # One image of a kind: an AUROC without a variance.
        assert np.isnan(deviation).all()
        return
    values, covariance = naive(label, scores)
    assert value == pytest.approx(values)
    assert deviation == pytest.approx(covariance, abs=1e-12)
    weight = np.array([-1, 0.5, 0.5])
    change, error = contrast(weight, *found)
    assert change == pytest.approx(weight @ values, abs=1e-12)
    assert error**2 == pytest.approx(max(0, weight @ covariance @ weight), abs=1e-12)


def test_coverage_of_the_intervals_of_a_change() -> None:
    # Two noisy readings of the same images, equally good: the true change is zero.
    held = 0
    for seed in range(400):
        generator = np.random.default_rng(seed)
        label = np.repeat([0, 1], [50, 40])
        shown = generator.normal(size=90) + label
        change, error = contrast([-1, 1], *delong(label, shown + 0.3 * generator.normal(size=(2, 90))))
        held += abs(change) <= norm.ppf(0.975) * error
    # 95 in 100, give or take three standard deviations of a share of 400.
    assert abs(held / 400 - 0.95) <= 3 * math.sqrt(0.95 * 0.05 / 400)


FINE = {"margin": 0.2, "images": 1000, "step": 1e-4}


def test_three_verdicts() -> None:
    inside = equivalence(change=0.05, error=0.05, **FINE)
    assert (inside.verdict, inside.needed, inside.sentence()) == ("equivalent", None, "equivalent")
    assert (inside.low, inside.high) == pytest.approx((0.05 - 1.6449 * 0.05, 0.05 + 1.6449 * 0.05), abs=1e-4)
    outside = equivalence(change=-0.5, error=0.05, **FINE)
    assert (outside.verdict, outside.needed) == ("not equivalent", None)
    # The change itself reaches the margin: the claim fails, although the interval reaches inside.
    beyond = equivalence(change=0.21, error=0.05, **FINE)
    assert beyond.verdict == "not equivalent" and beyond.low < 0.2
    open_ = equivalence(change=0.1, error=0.1, **FINE)
    assert open_.verdict == "undecided"
    assert open_.sentence() == f"undecided, the data set is too small: about {open_.needed:,} images are needed"


def test_where_no_pair_changed_its_order_the_step_decides() -> None:
    # Nothing moved among 20 x 20 images: three more pairs might have, at 5%.
    coarse = equivalence(change=0, error=0, margin=0.2, images=40, step=0.25)
    assert coarse.high == pytest.approx(-math.log(ALPHA) * 0.25)
    assert coarse.verdict == "undecided"
    # The step shrinks with the square of the number of images.
    enough = equivalence(change=0, error=0, margin=0.2, images=coarse.needed, step=0.25 * (40 / coarse.needed) ** 2)
    assert enough.verdict == "equivalent"
    assert enough.p_value < ALPHA


@given(st.floats(-2, 2), st.floats(0, 1), st.floats(1e-3, 1), st.integers(10, 5000), st.floats(1e-4, 5))
def test_interval_p_value_and_verdict_say_the_same(
    change: float, error: float, margin: float, images: int, step: float
) -> None:
    found = equivalence(change, error, margin, images, step)
    inside = -margin < found.low and found.high < margin
    assert (found.verdict == "equivalent") == inside
    # At the very edge rounding may let them differ.
    if abs(found.p_value - ALPHA) > 1e-6:
        assert (found.p_value < ALPHA) == inside
    assert found.high - found.low >= 2 * 1.64 * error * (1 - 1e-9)
    if found.verdict == "not equivalent":
        assert abs(change) >= margin
    if found.verdict == "undecided" and found.needed is not None:
        assert found.needed >= images
    # Both signs are treated equally.
    mirrored = equivalence(-change, error, margin, images, step)
    assert (mirrored.verdict, mirrored.needed) == (found.verdict, found.needed)
    assert mirrored.p_value == found.p_value


@pytest.mark.parametrize("unknown", ["change", "error", "step"])
def test_nan_is_undecided(unknown: str) -> None:
    found = equivalence(
        **({"change": 0.0, "error": 0.0, "margin": 0.2, "images": 10, "step": 0.0} | {unknown: math.nan})
    )
    assert (found.verdict, found.needed) == ("undecided", None)
    assert found.sentence() == "undecided, the data set is too small"


def trial(generator: np.random.Generator, shift: float, margin: float) -> Equivalence:
    label = np.repeat([0, 1], [80, 80])
    host = generator.normal(size=160) + label
    device = host + 0.3 * generator.normal(size=160) - shift * label
    change, error = contrast([-100, 100], *delong(label, [host, device]))
    return equivalence(change, error, margin, 160, 100 / 80**2)


def test_a_change_of_the_margin_passes_in_five_of_a_hundred_sets() -> None:
    shift = 0.1
    # The true change: normal scores one apart, and one less `shift` apart with more noise.
    truth = 100 * (norm.cdf((1 - shift) / math.sqrt(2 + 0.3**2 * 2)) - norm.cdf(1 / math.sqrt(2)))
    found = [trial(np.random.default_rng(seed), shift, margin=-truth) for seed in range(600)]
    wrong = sum(each.verdict == "equivalent" for each in found) / len(found)
    assert wrong <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / len(found))
    # Power: half of that change passes often.
    assert sum(trial(np.random.default_rng(s), 0, -3 * truth).verdict == "equivalent" for s in range(100)) > 80


def test_the_needed_number_of_images_has_a_power_of_80_percent() -> None:
    found = equivalence(change=0.05, error=0.2, **FINE)
    larger = math.sqrt(1000 / found.needed)
    # With errors that much smaller four sets in five pass, those whose change does not come out too large.
    passes = norm.cdf((0.2 - 0.05) / (0.2 * larger) - norm.ppf(1 - ALPHA))
    assert passes == pytest.approx(0.8, abs=0.03)
