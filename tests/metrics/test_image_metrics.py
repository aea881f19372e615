"""Image metrics against values by hand and against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from edgezsad.errors import InputError
from edgezsad.metrics.image_metrics import auroc, average_precision, best_balanced, best_f1, decisions

# Few distinct values, so that ties are common; some far outside [0, 1], so that no metric may squash them.
SCORES = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e30, 1e30), st.sampled_from([1e-300, -40.0, 40.0]))
PAIRS = st.lists(st.tuples(st.integers(0, 1), SCORES), min_size=2, max_size=30).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


def arrays(rows: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([label for label, _ in rows]), np.array([score for _, score in rows])


def test_by_hand() -> None:
    label = np.array([0, 0, 1, 1, 0, 1])
    score = np.array([-5.0, 0.1, 0.1, 9.0, 0.3, -7.0])
    # Pairs won: 0.1 beats -5 and ties with 0.1; 9 beats all three; -7 beats none. 1.5 + 3 of 9.
    assert auroc(label, score) == pytest.approx(4.5 / 9)
    # Descending: 9 (P=1, R=1/3), 0.3, then 0.1 twice (P=2/4, R=2/3), -5, -7 (P=3/6, R=1).
    assert average_precision(label, score) == pytest.approx(1 / 3 + 1 / 3 * 2 / 4 + 1 / 3 * 3 / 6)
    # At -7 everything is called defective: F1 = 2 * 3 / (6 + 3).
    assert best_f1(label, score) == pytest.approx(2 / 3)


@given(PAIRS)
def test_auroc_and_average_precision_are_those_of_scikit_learn(rows: list[tuple[int, float]]) -> None:
    label, score = arrays(rows)
    assert auroc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert average_precision(label, score) == pytest.approx(average_precision_score(label, score), abs=1e-12)


@given(PAIRS)
def test_best_f1_is_the_maximum_over_thresholds(rows: list[tuple[int, float]]) -> None:
    label, score = arrays(rows)

    def f1(threshold: float) -> float:
        called = score >= threshold
        return 2 * (called & (label == 1)).sum() / (called.sum() + label.sum())

    assert best_f1(label, score) == pytest.approx(max(f1(threshold) for threshold in score), abs=1e-9)


@pytest.mark.parametrize("label", [[0, 0, 0], [1, 1, 1], []])
def test_one_class_gives_nan(label: list[int]) -> None:
    label, score = np.array(label, dtype=int), np.arange(len(label), dtype=float)
    for metric in (auroc, average_precision, best_f1):
        assert math.isnan(metric(label, score))


@pytest.mark.parametrize("metric", [auroc, average_precision, best_f1])
def test_invalid_input(metric: object) -> None:
    label = np.array([0, 1, 1])
    with pytest.raises(InputError, match="3 labels but 2 scores"):
        metric(label, np.zeros(2))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match="score 2 is not finite"):
            metric(label, np.array([0.0, 1.0, bad]))
    with pytest.raises(InputError, match=r"label 1 is 2; expected 0 \(normal\) or 1 \(defective\)"):
        metric([0, 2, 1], [0.0, 1.0, 2.0])


def test_lists_and_tensors() -> None:
    label, score = [0, 1, 0, 1], [0.0, 3.0, 4.0, 5.0]
    assert auroc(label, score) == auroc(torch.tensor(label), torch.tensor(score)) == 0.75
    found = decisions([False, True, False, True], torch.tensor(score), 4)
    assert (found.defective, found.detected, found.missed, found.normal, found.false_alarms) == (2, 1, 1, 2, 1)


def test_the_balanced_threshold_is_between_the_classes_and_not_at_an_end() -> None:
    label = np.array([0, 0, 0, 1, 1, 1])
    assert best_balanced(label, np.array([0.0, 1, 2, 4, 5, 6])) == 3
    # One of each is on the wrong side.
    assert best_balanced(label, np.array([0.0, 1, 9, -1, 5, 6])) == 3
    assert np.isnan(best_balanced(np.zeros(2, dtype=int), np.zeros(2)))
