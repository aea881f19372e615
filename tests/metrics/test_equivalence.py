"""The test of equivalence: three verdicts, never "equivalent" for want of evidence, and wrong as seldom as it says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from edgezsad.metrics.significance import ALPHA, Equivalence, delong, equivalence

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
    assert open_.sentence() == f"undecided, the set is too small: about {open_.needed:,} images would tell"


def test_no_significant_change_is_no_evidence() -> None:
    """A set where nothing is significant shows nothing: the mistake that this test exists to avoid."""
    found = equivalence(change=0.3, error=1.0, margin=0.2, images=16, step=3.7)
    assert found.low < 0 < found.high and found.verdict == "undecided"


def test_where_no_pair_changed_its_order_the_step_decides() -> None:
    # Nothing moved among 20 x 20 images: three more pairs might have, at 5%.
    coarse = equivalence(change=0, error=0, margin=0.2, images=40, step=0.25)
    assert coarse.high == pytest.approx(-math.log(ALPHA) * 0.25)
    assert coarse.verdict == "undecided"
    # Steps shrink with the square of the number of images, and so would the verdict of as many as it says.
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
        # More than there are: a set that decides by itself is not sent for more.
        assert found.needed >= images
    # Neither sign is treated otherwise.
    mirrored = equivalence(-change, error, margin, images, step)
    assert (mirrored.verdict, mirrored.needed) == (found.verdict, found.needed)
    assert mirrored.p_value == found.p_value


@pytest.mark.parametrize("unknown", [{"change": math.nan}, {"error": math.nan}, {"step": math.nan}])
def test_what_is_unknown_decides_nothing(unknown: dict[str, float]) -> None:
    found = equivalence(**({"change": 0.0, "error": 0.0, "margin": 0.2, "images": 10, "step": 0.0} | unknown))
    assert (found.verdict, found.needed) == ("undecided", None)
    assert found.sentence() == "undecided, the set is too small"


def trial(generator: np.random.Generator, shift: float, margin: float) -> Equivalence:
    """A set of images of which the device reads the defective ones lower by `shift`."""
    label = np.repeat([0, 1], [80, 80])
    host = generator.normal(size=160) + label
    device = host + 0.3 * generator.normal(size=160) - shift * label
    change, error = delong(label, [host, device]).contrast([-100, 100])
    return equivalence(change, error, margin, 160, 100 / 80**2)


def test_a_change_of_the_margin_passes_in_five_of_a_hundred_sets() -> None:
    """At the margin itself, the worst case, "equivalent" is wrong as often as ALPHA says."""
    shift = 0.1
    # The true change: normal scores one apart, and one less `shift` apart with more noise.
    truth = 100 * (norm.cdf((1 - shift) / math.sqrt(2 + 0.3**2 * 2)) - norm.cdf(1 / math.sqrt(2)))
    found = [trial(np.random.default_rng(seed), shift, margin=-truth) for seed in range(600)]
    wrong = sum(each.verdict == "equivalent" for each in found) / len(found)
    assert wrong <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / len(found))
    # And it can tell: half of that change passes often.
    assert sum(trial(np.random.default_rng(s), 0, -3 * truth).verdict == "equivalent" for s in range(100)) > 80


def test_as_many_images_as_it_says_would_tell() -> None:
    found = equivalence(change=0.05, error=0.2, **FINE)
    larger = math.sqrt(1000 / found.needed)
    # With errors that much smaller four sets in five pass, those whose change does not come out too large.
    passes = norm.cdf((0.2 - 0.05) / (0.2 * larger) - norm.ppf(1 - ALPHA))
    assert passes == pytest.approx(0.8, abs=0.03)
