"""The recipe: every loss term by hand, batches in balance, a schedule that ends."""

import math

import numpy as np
import pytest
import torch

from edgezsad.config import Training
from edgezsad.model.readout import Output
from edgezsad.training.recipe import FULL_COVERAGE, averaged, learning_rate, loss, map_loss, plan, ranking_loss


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_ranking_loss_is_the_mean_over_pairs() -> None:
    score = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0])
    label = torch.tensor([0, 0, 1, 1, 1])
    pairs = [softplus(normal - defective) for normal in (0.5, -1.0) for defective in (2.0, 0.0, 1.0)]
    assert ranking_loss(score, label).item() == pytest.approx(sum(pairs) / 6, rel=1e-6)


@pytest.mark.parametrize("value", [0, 1])
def test_ranking_loss_of_one_class_is_nothing(value: int) -> None:
    score = torch.tensor([0.5, -1.0], requires_grad=True)
    term = ranking_loss(score, torch.tensor([value, value]))
    assert term.item() == 0
    term.backward()
    assert score.grad.tolist() == [0, 0]


def test_map_loss_by_hand() -> None:
    # Coverage a, b, half of "full", none: the third is half defective and half normal.
    logits = torch.tensor([[[2.0, -1.0], [0.5, -3.0]]])
    coverage = torch.tensor([[[1.0, FULL_COVERAGE], [FULL_COVERAGE / 2, 0.0]]])
    cells = [softplus(-2.0), softplus(1.0), 0.5 * softplus(-0.5) + 0.5 * softplus(0.5), softplus(-3.0)]
    defective = (cells[0] + cells[1] + 0.5 * cells[2]) / 2.5
    normal = (0.5 * cells[2] + cells[3]) / 1.5
    assert map_loss(logits, coverage).item() == pytest.approx((defective + normal) / 2, rel=1e-6)


def test_map_loss_is_balanced() -> None:
    # Two defective cells, many normal ones, the same logit everywhere: a plain mean would follow the many.
    coverage = torch.zeros(1, 10, 10)
    coverage[0, 0, :2] = 1
    logits = torch.zeros(1, 10, 10, requires_grad=True)
    map_loss(logits, coverage).backward()
    assert logits.grad[0, 0, :2].sum().item() == pytest.approx(-0.25)
    assert logits.grad.sum().item() == pytest.approx(0, abs=1e-6)


def test_unknown_masks_contribute_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 4, generator=generator)
    coverage = torch.rand(3, 4, 4, generator=generator)
    coverage[1] = math.nan
    logits.requires_grad_()
    term = map_loss(logits, coverage)
    known = torch.tensor([0, 2])
    assert term.item() == pytest.approx(map_loss(logits[known], coverage[known]).item(), rel=1e-6)
    term.backward()
    assert (logits.grad[1] == 0).all()
    assert logits.grad[0].abs().sum() > 0


def test_a_batch_without_any_mask_gives_a_finite_nothing() -> None:
    logits = torch.randn(2, 3, 3, requires_grad=True)
    term = map_loss(logits, torch.full((2, 3, 3), math.nan))
    assert term.item() == 0
    term.backward()
    assert (logits.grad == 0).all()


def test_loss_weighs_its_terms() -> None:
    score, ranking = torch.tensor([0.3, -0.2]), torch.tensor([1.0, -1.5])
    label, coverage = torch.tensor([0, 1]), torch.tensor([[[0.0]], [[1.0]]])
    anomaly_map = torch.tensor([[[[0.7]]], [[[-0.4]]]])
    value = loss(
        Output(score, anomaly_map, ranking, score - ranking),
        label,
        coverage,
        Training(ranking_weight=3, map_weight=5, global_weight=7),
    )
    terms = {
        "image": (softplus(0.3) + softplus(0.2)) / 2,
        "ranking": softplus(0.5),
        "global": (softplus(1.0) + softplus(1.5)) / 2,
        "map": (softplus(0.7) + softplus(0.4)) / 2,
    }
    assert {name: term.item() for name, term in value.terms.items()} == pytest.approx(terms, rel=1e-6)
    total = terms["image"] + 3 * terms["ranking"] + 7 * terms["global"] + 5 * terms["map"]
    assert value.total.item() == pytest.approx(total, rel=1e-6)


def test_learning_rate_rises_and_ends_near_nothing() -> None:
    config = Training(steps=100, warmup=10, learning_rate=0.5)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == pytest.approx(0.5)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.25)
    assert 0 < rates[-1] < 0.001 * 0.5
    assert learning_rate(0, Training(warmup=0)) == Training().learning_rate


LABEL = np.array([0] * 40 + [1] * 3 + [0] * 2 + [1] * 20 + [0] * 5)
GROUP = np.array(["a"] * 43 + ["b"] * 22 + ["c"] * 5)


def test_batches_are_half_defective_and_groups_are_equally_likely() -> None:
    order = plan(LABEL, GROUP, np.arange(len(LABEL)), Training(batch=16), 0)
    picked = [order.rows(step) for step in range(200)]
    assert all(len(rows) == 16 and LABEL[rows].sum() == 8 for rows in picked)
    rows = np.concatenate(picked)
    # 1600 draws of each label: normal from a, b and c, defective from a and b; five standard deviations.
    for wanted, names in ((0, "abc"), (1, "ab")):
        for name in names:
            share = ((LABEL[rows] == wanted) & (GROUP[rows] == name)).sum() / 1600
            assert abs(share - 1 / len(names)) < 5 * math.sqrt(0.25 / 1600)
    # No image is left out.
    assert set(rows) == set(range(len(LABEL)))


def test_what_is_held_out_is_never_taken() -> None:
    fitted = np.arange(0, len(LABEL), 2)
    order = plan(LABEL, GROUP, fitted, Training(batch=16), 0)
    assert set(np.concatenate([order.rows(step) for step in range(100)])) == set(fitted)


def test_batches_are_a_function_of_the_seed_and_the_step_alone() -> None:
    def rows(seed: int, steps: range) -> np.ndarray:
        order = plan(LABEL, GROUP, np.arange(len(LABEL)), Training(batch=8), seed)
        return np.stack([order.rows(step) for step in steps])

    first = rows(3, range(5))
    np.random.seed(7)
    torch.manual_seed(7)
    assert np.array_equal(first, rows(3, range(5)))
    assert np.array_equal(first[3:], rows(3, range(3, 5)))
    assert not np.array_equal(first, rows(4, range(5)))


def test_the_average_follows_the_weights() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    average = averaged(model, Training(ema=0.75))
    for value in (4.0, 8.0, 0.0):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update_parameters(model)
    # The first is taken as it is, then a quarter of each new one.
    assert average.module.weight.item() == pytest.approx(0.75 * (0.75 * 4 + 0.25 * 8))
    nothing = averaged(model, Training(ema=0))
    with torch.no_grad():
        model.weight.fill_(3)
    nothing.update_parameters(model)
    assert nothing.module.weight.item() == 3
