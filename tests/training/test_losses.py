"""Losses and the fit of the global score: every term by hand, a schedule that ends."""

import math

import numpy as np
import pytest
import torch

from edgezsad.config import Training
from edgezsad.training.losses import (
    FULL_FRACTION,
    compute_loss,
    fit_global_score,
    learning_rate,
    map_loss,
    ranking_loss,
    rarity_midpoint,
)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_ranking_loss_is_the_mean_over_pairs() -> None:
    score = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0])
    label = torch.tensor([0, 0, 1, 1, 1])
    pairs = [softplus(normal - defective) for normal in (0.5, -1.0) for defective in (2.0, 0.0, 1.0)]
    assert ranking_loss(score, label).item() == pytest.approx(sum(pairs) / 6, rel=1e-6)


def test_map_loss_by_hand() -> None:
    # Fully covered twice, half of "full", none: the third cell is half defective and half normal.
    logits = torch.tensor([[[2.0, -1.0], [0.5, -3.0]]])
    fraction = torch.tensor([[[1.0, FULL_FRACTION], [FULL_FRACTION / 2, 0.0]]])
    cells = [softplus(-2.0), softplus(1.0), 0.5 * softplus(-0.5) + 0.5 * softplus(0.5), softplus(-3.0)]
    defective = (cells[0] + cells[1] + 0.5 * cells[2]) / 2.5
    normal = (0.5 * cells[2] + cells[3]) / 1.5
    assert map_loss(logits, fraction).item() == pytest.approx((defective + normal) / 2, rel=1e-6)


def test_unknown_masks_contribute_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 4, generator=generator)
    fraction = torch.rand(3, 4, 4, generator=generator)
    fraction[1] = math.nan
    logits.requires_grad_()
    term = map_loss(logits, fraction)
    known = torch.tensor([0, 2])
    assert term.item() == pytest.approx(map_loss(logits[known], fraction[known]).item(), rel=1e-6)
    term.backward()
    assert (logits.grad[1] == 0).all()
    assert map_loss(logits, torch.full((3, 4, 4), math.nan)).item() == 0


def test_loss_weighs_its_terms_and_leaves_out_what_is_not_trained() -> None:
    score, global_score = torch.tensor([0.3, -0.2]), torch.tensor([1.0, -1.5])
    label, fraction = torch.tensor([0, 1]), torch.tensor([[[0.0]], [[1.0]]])
    anomaly_map = torch.tensor([[[[0.7]]], [[[-0.4]]]])
    config = Training(ranking_weight=3, map_weight=5, global_weight=7)
    outputs = {"score": score, "global_score": global_score, "map": anomaly_map}
    value = compute_loss(outputs, label, fraction, config)
    terms = {
        "ranking": softplus(0.5),
        "global": softplus(2.5),
        "map": (softplus(0.7) + softplus(0.4)) / 2,
    }
    assert {name: term.item() for name, term in value.terms.items()} == pytest.approx(terms, rel=1e-6)
    total = 3 * terms["ranking"] + 7 * terms["global"] + 5 * terms["map"]
    assert value.total.item() == pytest.approx(total, rel=1e-6)
    fitted = compute_loss({"map": anomaly_map}, label, fraction, config)
    assert set(fitted.terms) == {"map"}
    assert fitted.total.item() == pytest.approx(5 * terms["map"], rel=1e-6)


def test_learning_rate_rises_and_ends_near_zero() -> None:
    config = Training(steps=100, warmup=10, learning_rate=0.5)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.25)
    assert 0 < rates[-1] < 0.001 * 0.5


def some_source(generator: np.random.Generator, informative: list[bool]):
    """Scores of 4 categories of 2 sets whose levels differ; a defect adds to the informative ones."""
    label = np.tile([0, 1], 80)
    group = np.repeat(["a/x", "a/y", "b/x", "b/y"], 40)
    level = {one: generator.normal(scale=5, size=len(informative)) for one in np.unique(group)}
    scores = np.stack([level[one] for one in group]) + generator.normal(size=(160, len(informative)))
    return scores + 1.5 * label[:, None] * np.array(informative), label, group


def test_scores_have_equal_weight_in_units_of_their_deviation_and_zero_lies_in_the_middle() -> None:
    scores, label, group = some_source(np.random.default_rng(0), [True, False, True])
    weight, bias = fit_global_score(scores, label, group)
    std = np.mean([scores[group == one].std(axis=0) for one in np.unique(group)], axis=0)
    counts = weight.numpy() * std
    assert counts.min() == pytest.approx(counts.max(), rel=1e-5)
    assert counts[0] > 0.2
    counted = fit_global_score(scores, label, group, (1, 1, 3))[0].numpy() * std
    assert counted / counted[0] == pytest.approx([1, 1, 3], rel=1e-5)
    fused = scores @ weight.numpy() + bias.item()
    assert abs(np.mean([fused[group == one].mean() for one in np.unique(group)])) < 0.2


def test_the_rarity_midpoint_lies_between_normal_images_and_defective_patches() -> None:
    rarity = torch.ones(3, 1, 2, 2)
    rarity[1, 0, 0, 1], rarity[2] = 5.0, 100.0
    fraction = torch.zeros(3, 4, 4)
    # A quarter of one patch; the third image's mask is unknown.
    fraction[1, 0, 2] = 0.25
    fraction[2] = torch.nan
    assert rarity_midpoint(rarity, fraction) == pytest.approx((1 + 5) / 2)
    assert rarity_midpoint(rarity[:1], fraction[:1]) == 0
