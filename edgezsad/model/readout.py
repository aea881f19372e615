"""EdgeGLR, the asymmetric global-local readout: the global head ranks images, the spatial head draws the map.

The two are not equals. The image score is the global head's, plus a correction pooled from the map that is bounded
and whose learned gain starts at zero: training begins with a pure image ranking and lets the map in as far as it
helps. The paper publishes no formula; this is our reading of its one-line description.

Everything here exports to plain operators: no Resize, no TopK, nothing dynamic. Coarser strides reach the finest one
by a learned depth-to-space, not by interpolation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgezsad.config import Readout


@dataclass(frozen=True)
class Output:
    """What the readout gives, all raw logits.

    Attributes:
        score: (B,) image score.
        map: (B, 1, h, w) anomaly map at the finest stride.
        ranking: (B,) the global head's share of the score.
        correction: (B,) the spatial head's share of the score.
    """

    score: Tensor
    map: Tensor
    ranking: Tensor
    correction: Tensor


class Standardise(nn.Module):
    """Each channel to zero mean and unit variance on the source; statistics are set once, before training."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("scale", torch.ones(1, channels, 1, 1))

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Set the statistics from (C,) mean and standard deviation; dead channels are left unscaled."""
        self.mean.copy_(mean.view_as(self.mean))
        self.scale.copy_(torch.where(std > 1e-4, 1 / std.clamp(min=1e-4), torch.ones_like(std)).view_as(self.scale))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        return (features - self.mean) * self.scale


class SpatialBranch(nn.Module):
    """One stride's share of the map: what each place is, and how far it lies from the rest of its own image."""

    def __init__(self, channels: int, hidden: int, factor: int):
        super().__init__()
        self.value = nn.Conv2d(channels, hidden, 1)
        self.deviation = nn.Conv2d(channels, hidden, 1, bias=False)
        self.out = nn.Conv2d(hidden, factor**2, 1)
        self.enlarge = nn.PixelShuffle(factor) if factor > 1 else nn.Identity()

    def forward(self, value: Tensor, deviation: Tensor) -> Tensor:
        """Two (B, C, h, w) to (B, 1, h * factor, w * factor)."""
        return self.enlarge(self.out(functional.relu(self.value(value) + self.deviation(deviation))))


class EdgeGLR(nn.Module):
    """The readout.

    Args:
        channels: of the feature maps.
        strides: of the feature maps, ascending.
        config: sizes and limits.
    """

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], config: Readout):
        super().__init__()
        self.limit = config.correction_limit
        self.standardise = nn.ModuleList(Standardise(count) for count in channels)
        self.spatial = nn.ModuleList(
            SpatialBranch(count, config.local_channels, stride // strides[0])
            for count, stride in zip(channels, strides, strict=True)
        )
        # Every stride gives its mean and its mean deviation: what the image shows, and how even it is.
        self.ranking = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(2 * sum(channels), config.global_channels),
            nn.ReLU(),
            nn.Linear(config.global_channels, 1),
        )
        self.gain = nn.Parameter(torch.zeros(()))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, features: list[Tensor]) -> Output:
        """Read feature maps, one (B, C, h, w) for each stride, finest first."""
        anomaly_map: Tensor | None = None
        pooled: list[Tensor] = []
        for raw, standardise, branch in zip(features, self.standardise, self.spatial, strict=True):
            value = standardise(raw)
            mean = value.mean(dim=(2, 3), keepdim=True)
            deviation = (value - mean).abs()
            share = branch(value, deviation)
            anomaly_map = share if anomaly_map is None else anomaly_map + share
            pooled += [mean.flatten(1), deviation.mean(dim=(2, 3))]
        assert anomaly_map is not None
        ranking = self.ranking(torch.cat(pooled, dim=1)).squeeze(1)
        # The map's mean, weighted by its own softmax: a smooth maximum without TopK that stays finite in FP16.
        flat = anomaly_map.flatten(1)
        peak = (flat.softmax(dim=1) * flat).sum(dim=1)
        correction = self.limit * torch.tanh(self.gain * (peak + self.offset))
        return Output(ranking + correction, anomaly_map, ranking, correction)
