"""The source-side recipe: what is minimised and on what schedule.

The paper publishes the number of steps and of runs; every other choice is ours. Each says so where it is made, with its
reason and the ablation that tests it: a variant of `benchmarks/ablations.py`, whose results notebook 13_recipe shows.

Four terms, all on raw logits:

- image: does the score say defective or normal (binary cross-entropy).
  Ours: the plainest loss of a label; ablation: none, without it nothing sets the score's zero;
- ranking: does every defective image of the batch score above every normal one (pairwise logistic, the smooth form of
  1 - AUROC, which is what is reported).
  Ours: it asks for what is reported; ablation: see benchmarks/ablations.py, variant "no ranking loss";
- global: the image term on the global head alone, so that it learns to rank without leaning on the map.
  Ours: for that reason; ablation: see benchmarks/ablations.py, variant "no global loss";
- map: where the defect is (binary cross-entropy with both classes at equal weight, since defects cover a few cells).
  Ours: nothing else teaches the map, and the ranking looks where it points; ablation: see benchmarks/ablations.py,
  variant "no map loss". The equal weight of the classes is not ablated.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgezsad.config import Training
from edgezsad.data.loading import BatchPlan
from edgezsad.model.readout import Output

# A cell counts as fully defective from this share on.
# Ours: a scratch never fills a cell; ablation: see benchmarks/ablations.py, variant "map target: strict share".
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
    # Ours: AdamW's first estimates are poor, and the end should not depend on the last batches; ablation: see
    # benchmarks/ablations.py, variants "constant learning rate", "half the learning rate", "double the learning rate".
    warmup = min(config.warmup, config.steps // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / (config.steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def plan(
    label: np.ndarray,
    group: np.ndarray,
    fitted: np.ndarray,
    config: Training,
    seed: int,
    share: Mapping[str, float] | None = None,
) -> BatchPlan:
    """Which images each step takes: half defective, every group (set and category) equally likely, or sets by share.

    Ours: without this a large category would decide what a defect is; ablation: see benchmarks/ablations.py, variant
    "uneven source, images equally likely" (and "images equally likely", where the categories are equally large). That
    half is defective is not ablated.

    Args:
        label: (N,) 0 or 1.
        group: (N,) str.
        fitted: the rows that may be taken.
        config: the batch.
        seed: of the order.
        share: of each set, by its name; None where groups are equally likely.
    """
    allowed = np.full(len(label), -1)
    allowed[fitted] = label[fitted]
    return BatchPlan(allowed, group, config.batch, seed, share)


def optimiser(readout: nn.Module, stages: Sequence[nn.Module], config: Training) -> torch.optim.Optimizer:
    """AdamW over the readout and the backbone's stages that learn; each group's `share` is its part of the rate.

    Args:
        readout: learns at the full rate.
        stages: of the backbone, from the image on. The last one learns at `backbone_rate`, each one before at
            `layer_decay` of the next: what sits nearer to the image is more general, and is changed less.
        config: rates and decay.

    Ours, AdamW: a readout from scratch and a backbone that learns need steps of very different size; not ablated.
    Ours, the decay: it holds the weights of a small source back; ablation: see benchmarks/ablations.py, variant
    "no weight decay".
    Ours, the rates of the stages: early stages are general; ablation: none, the mini profile's backbone is frozen.
    """
    shares = [config.backbone_rate * config.layer_decay**depth for depth in range(len(stages))]
    groups = []
    for part, share in zip([readout, *reversed(stages)], [1.0, *shares], strict=True):
        for decayed in (True, False):
            # Ours: biases, scales and the gain are not pulled towards zero, as they do not grow with the source's
            # noise; not ablated.
            parameters = [one for one in part.parameters() if one.requires_grad and (one.ndim > 1) == decayed]
            if parameters:
                decay = config.weight_decay if decayed else 0.0
                groups.append({"params": parameters, "weight_decay": decay, "share": share})
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def set_rates(chosen: torch.optim.Optimizer, step: int, config: Training) -> None:
    """The learning rate of every group at a step."""
    for group in chosen.param_groups:
        group["lr"] = group["share"] * learning_rate(step, config)


def averaged(model: nn.Module, config: Training) -> AveragedModel:
    """The exponential moving average of a model's weights, still at its first ones.

    Ours: it smooths the noise of the last batches; ablation: see benchmarks/ablations.py, variants "no moving average"
    and "moving average ...", at other shares.
    """
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
