"""The training recipe: losses, schedule, optimiser, and what is fitted without gradient descent.

The paper publishes the number of steps and of runs; every other choice is ours. Each states its reason and the ablation
that tests it, a variant of `benchmarks/ablations.py` with results in notebook 13_recipe. All terms use raw logits:

- ranking: pairwise logistic loss over all pairs of a normal and a defective image of the batch, the smooth form of
  1 - AUROC. Ours: AUROC is what is reported; ablation: variant "no ranking loss". Without a cross-entropy next to it:
  that learns the level of the source's parts, and ranks images of unseen ones worse (book/choices.md).
- global: the same of the global score, so that the global head does not rely on the map. Ours; ablation: variant "no
  global loss".
- map: binary cross-entropy of the cells. Ours: nothing else trains the map; ablation: variant "no map loss".
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgezsad.config import Training
from edgezsad.errors import InputError
from edgezsad.model.edgeglr import GlobalLocalReadout

FULL_FRACTION = 0.25
"""Defective fraction of a fully defective cell. Ours: a scratch fills none; ablation "map target: strict share"."""
FIT_PAIRS, FIT_DECAY, FIT_LARGEST = 400, 0.01, 10.0
"""Fit of the global score: pairs per category, weight of the sum of squares, largest weight."""


@dataclass(frozen=True)
class Loss:
    """Weighted sum, (), and the unweighted terms by name."""

    total: Tensor
    terms: dict[str, Tensor]


def compute_loss(outputs: dict[str, Tensor], label: Tensor, mask_fraction: Tensor, config: Training) -> Loss:
    """Compute the loss of a batch from the `training_outputs` of its readout; NaN in `mask_fraction` is unknown."""
    weights = {"ranking": config.ranking_weight, "global": config.global_weight, "map": config.map_weight}
    terms = {}
    if "score" in outputs:
        terms["ranking"] = ranking_loss(outputs["score"], label)
        terms["global"] = ranking_loss(outputs["global_score"], label)
    terms["map"] = map_loss(outputs["map"].squeeze(1), mask_fraction)
    return Loss(torch.stack([weights[name] * term for name, term in terms.items()]).sum(), terms)


def ranking_loss(score: Tensor, label: Tensor) -> Tensor:
    """Mean of log(1 + exp(normal - defective)) over all pairs; zero if a class is missing."""
    difference = score[label == 0][:, None] - score[label == 1][None, :]
    return functional.softplus(difference).mean() if difference.numel() else score.sum() * 0


def map_loss(logits: Tensor, mask_fraction: Tensor) -> Tensor:
    """Cross-entropy of (B, h, w) logits; defective cells are few, and weigh as much as normal ones (not ablated)."""
    known = ~mask_fraction.isnan()
    target = (mask_fraction.nan_to_num() / FULL_FRACTION).clamp(max=1)
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * known
    defective, normal = target * known, (1 - target) * known
    return sum(((each * part).sum() / part.sum().clamp(min=1) for part in (defective, normal)), each.sum() * 0) / 2


def learning_rate(step: int, config: Training) -> float:
    """Linear warm-up, as AdamW's first estimates are poor, then half a cosine to zero.

    Ours; ablation: variants "constant learning rate", "half the learning rate", "double the learning rate".
    """
    warmup = min(config.warmup, config.steps // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / (config.steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def make_optimiser(readout: nn.Module, stages: list[nn.Module], config: Training) -> torch.optim.Optimizer:
    """Build AdamW over the readout and the learning stages; each group's `share` is its part of the learning rate.

    Ours: AdamW, because readout and backbone need steps of very different size, and the rates of the stages; not
    ablated. Ours: weight decay regularises on a small source; ablation: variant "no weight decay".
    """
    shares = [config.backbone_rate * config.layer_decay**depth for depth in range(len(stages))]
    groups = []
    for part, share in zip([readout, *reversed(stages)], [1.0, *shares], strict=True):
        for decayed in (True, False):
            # Ours: no decay of biases, scales and the gain; not ablated.
            parameters = [one for one in part.parameters() if one.requires_grad and (one.ndim > 1) == decayed]
            if parameters:
                decay = config.weight_decay if decayed else 0.0
                groups.append({"params": parameters, "weight_decay": decay, "share": share})
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """Start an exponential moving average. Ours: it smooths the last batches; ablation: "no moving average"."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))


def fit_scale(readout: GlobalLocalReadout, pieces: Iterable[list[Tensor]]) -> None:
    """Set the scale of the readout's channels from features of source images, one (B, C, h, w) per stride."""
    totals, squares, counts = ([0.0] * len(readout.difference) for _ in range(3))
    for piece in pieces:
        for number, features in enumerate(piece):
            values = features.double()
            totals[number] = totals[number] + values.sum(dim=(0, 2, 3))
            squares[number] = squares[number] + (values**2).sum(dim=(0, 2, 3))
            counts[number] += values.numel() / values.shape[1]
    for module, total, square, count in zip(readout.difference, totals, squares, counts, strict=True):
        module.fit((square / count - (total / count) ** 2).clamp(min=0).sqrt().float())


def fit_global_score(
    scores: np.ndarray, label: np.ndarray, group: np.ndarray, counts: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """Fit positive (K,) weights of (N, K) self-reference scores, and a bias, by the convex pairwise logistic loss.

    All scores get one common weight, times their (K,) `counts`, in units of their standard deviation within a category:
    separate weights fit their source better and unseen sets worse (measured). Only images of one category are compared,
    because the level of the scores differs between parts by more than a defect adds. The (N,) groups are
    "set/category"; sets have equal weight, and categories within a set. The bias puts the middle between normal and
    defective images at zero.
    """
    both = [one for one in np.unique(group) if len(np.unique(label[group == one])) == 2]
    if not both:
        raise InputError("data.source: no category has both normal and defective images; add a category that has both")
    sets = np.array([one.partition("/")[0] for one in both])
    share = np.array([1 / (len(np.unique(sets)) * (sets == one).sum()) for one in sets])
    std = np.maximum(np.mean([scores[group == one].std(axis=0) for one in both], axis=0), 1e-6)
    std = std if counts is None else std / counts
    generator = np.random.default_rng(0)
    differences, middles = [], []
    for one in both:
        normal, defective = (scores[(group == one) & (label == value)] / std for value in (0, 1))
        differences.append(generator.choice(defective, FIT_PAIRS) - generator.choice(normal, FIT_PAIRS))
        middles.append((normal.mean(axis=0) + defective.mean(axis=0)) / 2)
    # One weight, of the sum of the scores.
    pairs = np.stack(differences).sum(axis=2, keepdims=True)

    def cost(weight: np.ndarray) -> tuple[float, np.ndarray]:
        margin = pairs @ weight
        slope = -1 / (1 + np.exp(np.clip(margin, -50, 50)))
        value = (share[:, None] * np.logaddexp(0, -margin)).sum() / FIT_PAIRS + FIT_DECAY * (weight**2).sum()
        return value, np.einsum("g,gp,gpk->k", share, slope, pairs) / FIT_PAIRS + 2 * FIT_DECAY * weight

    # If defects lower the scores of a source, a small weight keeps at least the order of its images.
    found = minimize(cost, np.full(1, 0.1), jac=True, method="L-BFGS-B", bounds=[(1e-3, FIT_LARGEST)])
    weight = np.broadcast_to(found.x, scores.shape[1:])
    bias = -float(share @ (np.stack(middles) @ weight))
    return torch.tensor(weight / std, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32)


def rarity_midpoint(rarity: Tensor, mask_fraction: Tensor) -> float:
    """Rarity halfway between normal images and defective patches, weighting images equally; zero if one is missing."""
    fraction = functional.adaptive_avg_pool2d(mask_fraction[:, None], rarity.shape[-2:])
    known = ~fraction.isnan().flatten(1).any(dim=1)
    rarity, fraction = rarity[known], fraction[known]
    area = fraction.sum(dim=(1, 2, 3))
    if not ((area > 0).any() and (area == 0).any()):
        return 0.0
    defective = (rarity * fraction).sum(dim=(1, 2, 3))[area > 0] / area[area > 0]
    return float(rarity[area == 0].mean(dim=(1, 2, 3)).mean() + defective.mean()) / 2
