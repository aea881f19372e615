"""The weights of an image's cues (`edgezsad.model.cues`), and where rarity is as likely a defect, set by the source.

Every cue counts alike, in units of its spread among images of one category; only how much they all count together is
fitted, and where zero lies. Fitted weights know their source better and sets left out worse (`benchmarks/cues.py`): a
few sets are too few to say which cue tells defects in the next one.

Only images of one category are compared: how large a cue is differs from part to part by more than a defect adds, and
across parts there is nothing to learn from it.
"""

import numpy as np
import torch
from scipy.optimize import minimize
from torch.nn import functional

from edgezsad.errors import InputError

PAIRS = 400
"""Of a category, drawn with replacement."""
DECAY = 0.01
"""Weight of the sum of squares; in units of the cues' spread within a category."""
LARGEST = 10.0
"""Of a weight, in the same units; cues that tell all apart would have no finite one."""


def fit_ranking(
    cues: np.ndarray, label: np.ndarray, group: np.ndarray, alike: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights, none negative, and the bias that puts the middle between normal and defective images at zero.

    Args:
        cues: (N, K) of the source's images.
        label: (N,) 0 or 1.
        group: (N,) data set and category, with a slash between; sets count alike, and categories within a set.
        alike: let every cue count alike; otherwise each weight is fitted, by the logistic loss of pairs of a normal and
            a defective image, which is convex, so that there is one answer.

    Returns:
        (K,) and () float32.

    Raises:
        InputError: no category has both normal and defective images.
    """
    both = [one for one in np.unique(group) if len(np.unique(label[group == one])) == 2]
    if not both:
        raise InputError("data.source: no category has both normal and defective images; cues cannot be weighed")
    sets = np.array([one.partition("/")[0] for one in both])
    share = np.array([1 / (len(np.unique(sets)) * (sets == one).sum()) for one in sets])
    spread = np.maximum(np.mean([cues[group == one].std(axis=0) for one in both], axis=0), 1e-6)
    generator = np.random.default_rng(0)
    differences, middles = [], []
    for one in both:
        normal, defective = (cues[(group == one) & (label == wanted)] / spread for wanted in (0, 1))
        differences.append(generator.choice(defective, PAIRS) - generator.choice(normal, PAIRS))
        middles.append((normal.mean(axis=0) + defective.mean(axis=0)) / 2)
    pairs = np.stack(differences)
    if alike:
        # One weight, of their sum.
        pairs = pairs.sum(axis=2, keepdims=True)

    def cost(weight: np.ndarray) -> tuple[float, np.ndarray]:
        margin = pairs @ weight
        slope = -1 / (1 + np.exp(np.clip(margin, -50, 50)))
        value = (share[:, None] * np.logaddexp(0, -margin)).sum() / PAIRS + DECAY * (weight**2).sum()
        return value, np.einsum("g,gp,gpk->k", share, slope, pairs) / PAIRS + 2 * DECAY * weight

    count = pairs.shape[2]
    # A source in which defects lower the cues leaves a small weight: the order of its images is all there is then.
    lowest = 1e-3 if alike else 0.0
    found = minimize(cost, np.full(count, 0.1), jac=True, method="L-BFGS-B", bounds=[(lowest, LARGEST)] * count)
    weight = np.broadcast_to(found.x, cues.shape[1:])
    bias = -float(share @ (np.stack(middles) @ weight))
    return torch.tensor(weight / spread, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32)


class Middle:
    """The rarity halfway between what normal images show and what defective places show."""

    def __init__(self) -> None:
        self._normal: list[torch.Tensor] = []
        self._defective: list[torch.Tensor] = []

    def add(self, rare: torch.Tensor, coverage: torch.Tensor) -> None:
        """Take some images.

        Args:
            rare: (B, 1, h, w).
            coverage: (B, H, W) defective share of each cell, H a multiple of h; NaN throughout where it is unknown.
        """
        share = functional.adaptive_avg_pool2d(coverage[:, None], rare.shape[-2:])
        known = ~share.isnan().flatten(1).any(dim=1)
        for one, part in zip(rare[known], share[known], strict=True):
            if (total := part.sum()) > 0:
                self._defective.append((one * part).sum() / total)
            else:
                self._normal.append(one.mean())

    def value(self) -> float:
        """The mean over images; zero where either kind has none.

        Images count alike, whatever the size of their defect.
        """
        if not self._normal or not self._defective:
            return 0.0
        return float(torch.stack(self._normal).mean() + torch.stack(self._defective).mean()) / 2
