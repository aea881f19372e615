"""DeLong's covariance by midranks: as the definition over all pairs has it, and right as often as it says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from edgezsad.errors import InputError
from edgezsad.metrics.significance import delong, placements


def naive(label: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs and covariance by looking at every pair (DeLong et al., equations 4 to 6)."""
    won = []
    for score in scores:
        pairs = score[label == 1][:, None] - score[label == 0][None]
        won.append((pairs > 0) + 0.5 * (pairs == 0))
    values = np.array([each.mean() for each in won])
    rows, columns = won[0].shape
    covariance = np.zeros((len(won), len(won)))
    for one, first in enumerate(won):
        for other, second in enumerate(won):
            spread_10 = sum(
                (first[i].mean() - values[one]) * (second[i].mean() - values[other]) for i in range(rows)
            ) / (rows - 1)
            spread_01 = sum(
                (first[:, j].mean() - values[one]) * (second[:, j].mean() - values[other]) for j in range(columns)
            ) / (columns - 1)
            covariance[one, other] = spread_10 / rows + spread_01 / columns
    return values, covariance


# Few distinct scores, so that ties within and between the kinds are common.
image = st.tuples(st.integers(0, 1), st.tuples(*[st.integers(-3, 3)] * 3))


@given(st.lists(image, min_size=4, max_size=25))
def test_as_the_definition_has_it(rows: list[tuple[int, tuple[int, ...]]]) -> None:
    label = np.array([label for label, _ in rows])
    scores = np.array([score for _, score in rows], dtype=float).T
    found = delong(label, scores)
    if min((label == 0).sum(), (label == 1).sum()) < 1:
        assert np.isnan(found.value).all() and np.isnan(found.covariance).all()
        return
    assert found.value == pytest.approx([roc_auc_score(label, score) for score in scores])
    if min((label == 0).sum(), (label == 1).sum()) < 2:
        # One image of a kind: an AUROC, and nobody knows its spread.
        assert np.isnan(found.covariance).all()
        return
    values, covariance = naive(label, scores)
    assert found.value == pytest.approx(values)
    assert found.covariance == pytest.approx(covariance, abs=1e-12)
    change, error = found.contrast([-1, 0.5, 0.5])
    assert change == pytest.approx((values[1] + values[2]) / 2 - values[0], abs=1e-12)
    weight = np.array([-1, 0.5, 0.5])
    assert error**2 == pytest.approx(max(0, weight @ covariance @ weight), abs=1e-12)


def test_placements_are_shares_of_pairs() -> None:
    label = np.array([0, 1, 0, 1, 0, 0])
    score = np.array([0.0, 1, 1, 5, 2, -1])
    defective, normal = placements(label, score)
    # 1 is above 0 and -1 and level with 1; 5 is above all.
    assert defective.tolist() == [2.5 / 4, 1]
    assert normal.tolist() == [1, 0.75, 0.5, 1]
    assert defective.mean() == normal.mean() == roc_auc_score(label, score)


def test_a_change_of_scale_is_no_change() -> None:
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, 60)
    score = generator.normal(size=60) + label
    change, error = delong(label, [score, 3 * score - 7]).contrast([-1, 1])
    assert change == 0
    assert error == pytest.approx(0, abs=1e-8)


def test_intervals_of_a_change_hold_the_truth_about_as_often_as_they_say() -> None:
    # Two noisy readings of the same images, equally good: the true change is zero.
    held = 0
    for seed in range(400):
        generator = np.random.default_rng(seed)
        label = np.repeat([0, 1], [50, 40])
        shown = generator.normal(size=90) + label
        change, error = delong(label, shown + 0.3 * generator.normal(size=(2, 90))).contrast([-1, 1])
        held += abs(change) <= norm.ppf(0.975) * error
    # 95 in 100, give or take three standard deviations of a share of 400.
    assert abs(held / 400 - 0.95) <= 3 * math.sqrt(0.95 * 0.05 / 400)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="3 labels but 2 scores"):
        delong(np.array([0, 1, 1]), [np.zeros(3), np.zeros(2)])
    with pytest.raises(InputError, match="score 1 is not finite"):
        delong(np.array([0, 1, 1]), [np.array([0, np.nan, 1])])
