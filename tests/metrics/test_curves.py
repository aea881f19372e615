"""The formulas on weights against scikit-learn's, which weighs each score by itself."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from edgezsad.metrics import curves

# Counts, fractions where a place was shared out, and places that hold nothing of one kind.
WEIGHTS = st.one_of(st.integers(0, 5).map(float), st.floats(0.125, 8), st.just(0.0))


@st.composite
def masses(draw: st.DrawFn, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Normal and defective mass at each score in ascending order; both have some."""
    size = draw(st.integers(least, 12))
    normal, defective = (draw(arrays(np.float64, size, elements=WEIGHTS)) for _ in range(2))
    for each in (normal, defective):
        each[draw(st.integers(0, size - 1))] += 1
    return normal, defective


def weighted(normal: np.ndarray, defective: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label, score and weight as scikit-learn takes them."""
    score = np.arange(len(normal))
    label = np.repeat([0, 1], len(normal))
    score, weight = np.concatenate([score, score]), np.concatenate([normal, defective])
    return label[weight > 0], score[weight > 0], weight[weight > 0]


@given(masses())
def test_auroc(mass: tuple[np.ndarray, np.ndarray]) -> None:
    label, score, weight = weighted(*mass)
    assert curves.auroc(*mass) == pytest.approx(roc_auc_score(label, score, sample_weight=weight), abs=1e-12)


@given(masses())
def test_average_precision(mass: tuple[np.ndarray, np.ndarray]) -> None:
    label, score, weight = weighted(*mass)
    expected = average_precision_score(label, score, sample_weight=weight)
    assert curves.average_precision(*mass) == pytest.approx(expected, abs=1e-12)


@given(masses())
def test_f1_max_and_its_place(mass: tuple[np.ndarray, np.ndarray]) -> None:
    normal, defective = mass
    label, score, weight = weighted(normal, defective)
    precision, recall, _ = precision_recall_curve(label, score, sample_weight=weight)
    best, place = curves.f1_max(normal, defective)
    with np.errstate(invalid="ignore"):
        assert best == pytest.approx(np.nanmax(2 * precision * recall / (precision + recall)), abs=1e-12)
    found, false = defective[place:].sum(), normal[place:].sum()
    assert best == pytest.approx(2 * found / (found + false + defective.sum()), abs=1e-12)


@given(masses(), st.floats(0.01, 1))
def test_aupro_is_the_area_under_the_roc_curve_where_every_pixel_is_a_region(
    mass: tuple[np.ndarray, np.ndarray], limit: float
) -> None:
    label, score, weight = weighted(*mass)
    rate, found, _ = roc_curve(label, score, sample_weight=weight, drop_intermediate=False)
    # Cut at the limit, on the straight line between the last point before it and the first that reaches it.
    reached = int(np.argmax(rate >= min(limit, rate[-1])))
    rate, found = rate[: reached + 1].copy(), found[: reached + 1].copy()
    found[-1] -= (found[-1] - found[-2]) * (rate[-1] - limit) / (rate[-1] - rate[-2])
    rate[-1] = limit
    assert curves.aupro(*mass, limit) == pytest.approx(np.trapezoid(found, rate) / limit, abs=1e-9)


@given(masses())
def test_only_the_ratio_of_weights_counts(mass: tuple[np.ndarray, np.ndarray]) -> None:
    normal, defective = mass
    for formula in (curves.auroc, lambda *each: curves.aupro(*each, 0.3)):
        # Each kind is a share of its own ...
        assert formula(8 * normal, 3 * defective) == pytest.approx(formula(normal, defective), abs=1e-12)
    for formula in (curves.average_precision, lambda *each: curves.f1_max(*each)[0]):
        # ... while precision compares the two.
        assert formula(8 * normal, 8 * defective) == pytest.approx(formula(normal, defective), abs=1e-12)


@given(masses(least=2), st.integers(0, 11))
def test_places_that_hold_nothing_change_nothing(mass: tuple[np.ndarray, np.ndarray], where: int) -> None:
    wider = [np.insert(each, min(where, len(each)), 0.0) for each in mass]
    assert curves.auroc(*wider) == curves.auroc(*mass)
    assert curves.average_precision(*wider) == curves.average_precision(*mass)
    assert curves.f1_max(*wider)[0] == curves.f1_max(*mass)[0]
    assert curves.aupro(*wider, 0.3) == pytest.approx(curves.aupro(*mass, 0.3), abs=1e-12)


def test_by_hand() -> None:
    normal, defective = np.array([2.0, 1, 0, 1]), np.array([0.0, 1, 2, 1])
    # Pairs: the defective at 1 wins 2 and ties 1; the two at 2 win 3 each; the one at 3 wins 3 and ties 1.
    assert curves.auroc(normal, defective) == (2.5 + 2 * 3 + 3.5) / 16
    # Descending: precision 1/2, 3/4, 4/6.
    assert curves.average_precision(normal, defective) == pytest.approx((1 / 2 + 2 * 3 / 4 + 4 / 6) / 4)
    assert curves.f1_max(normal, defective) == (pytest.approx(2 * 4 / (6 + 4)), 1)
    # From (0, 0) to (1/4, 1/4), up to (1/4, 3/4), on to (1/2, 1): at 0.3 a fifth of the last step is left.
    area = 1 / 4 * 1 / 8 + 0.05 * (3 / 4 + 0.05 / 2)
    assert curves.aupro(normal, defective, 0.3) == pytest.approx(area / 0.3)


def test_of_two_thresholds_with_one_f1_the_one_that_calls_less() -> None:
    # 2 * 1 / (1 + 2) at the top and 2 * 2 / (4 + 2) at the bottom.
    assert curves.f1_max(np.array([1.0, 1, 0]), np.array([1.0, 0, 1])) == (pytest.approx(2 / 3), 2)


@pytest.mark.parametrize(("normal", "defective"), [([0.0, 0], [1.0, 2]), ([1.0, 2], [0.0, 0]), ([], [])])
def test_one_kind_alone_gives_nan(normal: list[float], defective: list[float]) -> None:
    mass = np.array(normal, dtype=float), np.array(defective, dtype=float)
    assert math.isnan(curves.auroc(*mass))
    assert math.isnan(curves.average_precision(*mass))
    assert math.isnan(curves.aupro(*mass, 0.3))
    best, place = curves.f1_max(*mass)
    assert math.isnan(best)
    assert place == -1
