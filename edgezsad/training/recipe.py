"""The source-side recipe: what is minimised and on what schedule. The paper publishes neither; every choice is ours.

Four terms, all on raw logits:

- image: does the score say defective or normal (binary cross-entropy);
- ranking: does every defective image of the batch score above every normal one (pairwise logistic, the smooth form of
  1 - AUROC, which is what is reported);
- global: the image term on the global head alone, so that it learns to rank without leaning on the map;
- map: where the defect is (binary cross-entropy with both classes at equal weight, since defects cover a few cells).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgezsad.config import Training
from edgezsad.model.readout import Output

# A cell counts as fully defective from this share on: a scratch never fills a cell.
FULL_COVERAGE = 0.25


@dataclass(frozen=True)
class Loss:
    """The weighted sum, (), and its unweighted terms by name."""

    total: Tensor
    terms: dict[str, Tensor]


def loss(output: Output, label: Tensor, coverage: Tensor, config: Training) -> Loss:
    """What a step minimises.

    Args:
        output: of the readout for B images.
        label: (B,) 0 or 1.
        coverage: (B, h, w) defective share of each cell, NaN throughout an image whose mask is unknown.
        config: the terms' weights.
    """
    target = label.float()
    terms = {
        "image": functional.binary_cross_entropy_with_logits(output.score, target),
        "ranking": ranking_loss(output.score, label),
        "global": functional.binary_cross_entropy_with_logits(output.ranking, target),
        "map": map_loss(output.map.squeeze(1), coverage),
    }
    weights = {
        "image": 1.0,
        "ranking": config.ranking_weight,
        "global": config.global_weight,
        "map": config.map_weight,
    }
    return Loss(torch.stack([weights[name] * term for name, term in terms.items()]).sum(), terms)


def ranking_loss(score: Tensor, label: Tensor) -> Tensor:
    """Mean of log(1 + exp(normal - defective)) over all pairs; zero when a class is absent."""
    difference = score[label == 0][:, None] - score[label == 1][None, :]
    return functional.softplus(difference).mean() if difference.numel() else score.sum() * 0


def map_loss(logits: Tensor, coverage: Tensor) -> Tensor:
    """Cross-entropy of (B, h, w) logits against covered cells, defective and normal cells at equal total weight."""
    known = ~coverage.isnan()
    target = (coverage.nan_to_num() / FULL_COVERAGE).clamp(max=1)
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * known
    defective, normal = target * known, (1 - target) * known
    return sum(((each * part).sum() / part.sum().clamp(min=1) for part in (defective, normal)), each.sum() * 0) / 2


def learning_rate(step: int, config: Training) -> float:
    """Linear warm-up, then half a cosine to zero."""
    warmup = min(config.warmup, config.steps // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / (config.steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def batches(label: np.ndarray, group: np.ndarray, config: Training, seed: int) -> Iterator[np.ndarray]:
    """Rows of each step's images: half normal, half defective, every group equally likely.

    Without this a large category would decide what a defect is. Sampling is with replacement, and a pure function of
    the seed.
    """
    generator = np.random.default_rng([seed, 1])
    pools = {
        wanted: [
            rows for name in sorted(set(group)) if len(rows := np.flatnonzero((group == name) & (label == wanted)))
        ]
        for wanted in (0, 1)
    }
    half = max(1, config.batch // 2)
    for _ in range(config.steps):
        picked = [
            generator.choice(pools[wanted][pool])
            for wanted in (0, 1)
            for pool in generator.integers(len(pools[wanted]), size=half)
        ]
        yield np.array(picked)
