"""The weights of an image's cues (`edgezsad.model.cues`), fitted to the source at once.

Only images of one category are compared: how large a cue is differs from part to part by more than a defect adds, and
across parts there is nothing to learn from it. The logistic loss of such pairs is convex in the few weights, so that
there is one answer, whatever the seed.
"""

import numpy as np
import torch
from scipy.optimize import minimize

from edgezsad.errors import InputError

PAIRS = 400
"""Of a category, drawn with replacement."""
DECAY = 0.01
"""Weight of the sum of squares; in units of the cues' spread within a category."""


def fit_ranking(
    cues: np.ndarray, label: np.ndarray, group: np.ndarray, signed: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights, none negative, and the bias that puts the middle between normal and defective images at zero.

    Args:
        cues: (N, K) of the source's images.
        label: (N,) 0 or 1.
        group: (N,) data set and category, with a slash between; sets count alike, and categories within a set.
        signed: let weights be negative, to measure what that costs.

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

    def cost(weight: np.ndarray) -> tuple[float, np.ndarray]:
        margin = pairs @ weight
        slope = -1 / (1 + np.exp(np.clip(margin, -50, 50)))
        value = (share[:, None] * np.logaddexp(0, -margin)).sum() / PAIRS + DECAY * (weight**2).sum()
        return value, np.einsum("g,gp,gpk->k", share, slope, pairs) / PAIRS + 2 * DECAY * weight

    start = np.full(cues.shape[1], 0.1)
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=[(None if signed else 0, None)] * cues.shape[1])
    bias = -float(share @ (np.stack(middles) @ found.x))
    return torch.tensor(found.x / spread, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32)
