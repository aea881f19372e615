"""EdgeGLR, the paper's asymmetric global-local readout.

The global head ranks images, the spatial head predicts the anomaly map, and the fusion is asymmetric: the image
score is the global score plus a bounded correction pooled from the map. The gain of the correction starts at zero, so
training begins with the global score alone. Both compare the hot part of the map with the rest of the same image, as
levels differ between parts. The paper publishes no formula; this is our reading of its description.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgezsad.config import EdgeGLRConfig, ReadoutConfig

HOT_SHARPNESS = 0.5  # of the softmax over the map: low, so that it weighs the whole hot part


@dataclass(frozen=True)
class Output:
    """Outputs of a readout for B images, raw logits: (B,), and the map (B, 1, h, w) at the finest stride."""

    score: Tensor
    map: Tensor
    global_score: Tensor
    correction: Tensor


class CentredFeatures(nn.Module):
    """Subtract the image's own mean from each channel and divide by the source's standard deviation."""

    def __init__(self, channels: int, noise: float = 0.0):
        super().__init__()
        self.noise = noise
        # Set by the trainer: returns Gaussian noise of a tensor's shape.
        self.sample_noise: Callable[[Tensor], Tensor] | None = None
        self.register_buffer("scale", torch.ones(1, channels, 1, 1))

    def fit(self, std: Tensor) -> None:
        """Set the scale from the source's (C,) standard deviations; channels without variance keep 1."""
        self.scale.copy_(torch.where(std > 1e-4, 1 / std.clamp(min=1e-4), torch.ones_like(std)).view_as(self.scale))

    def forward(self, features: Tensor) -> Tensor:
        """Centre (B, C, h, w) features; in training with noise."""
        centred = (features - features.mean(dim=(2, 3), keepdim=True)) * self.scale
        if self.training and self.noise and self.sample_noise is not None:
            centred = centred + self.noise * self.sample_noise(centred)
        return centred


class GlobalLocalReadout(nn.Module):
    """Base of both readouts: centred features, the average of two views, the bounded correction."""

    def __init__(self, channels: tuple[int, ...], config: ReadoutConfig):
        super().__init__()
        # Names of modules are part of stored checkpoints: `difference` holds the centred features.
        self.difference = nn.ModuleList(CentredFeatures(count, config.noise) for count in channels)
        self.limit = config.correction_limit
        learned = config.correction_gain is None
        self.gain = nn.Parameter(torch.tensor(0.0 if learned else config.correction_gain), requires_grad=learned)
        self.offset = nn.Parameter(torch.zeros(()), requires_grad=learned)

    @abstractmethod
    def predict_map(self, centred: list[Tensor]) -> Tensor:
        """Predict the (B, 1, h, w) map of one view from centred features."""

    @abstractmethod
    def training_outputs(self, features: list[Tensor]) -> dict[str, Tensor]:
        """Compute the fields of `Output` that gradient descent trains."""

    def centre(self, features: list[Tensor]) -> list[Tensor]:
        return [module(one) for module, one in zip(self.difference, features, strict=True)]

    def local_map(self, features: list[Tensor], rotated: list[Tensor] | None = None) -> Tensor:
        """Predict the (B, 1, h, w) map of the spatial head alone; arguments as in `EdgeGLR.forward`."""
        return self.average_views(self.predict_map(self.centre(features)), rotated)

    def average_views(self, anomaly_map: Tensor, rotated: list[Tensor] | None) -> Tensor:
        return anomaly_map if rotated is None else (anomaly_map + rotate180(self.local_map(rotated))) / 2

    def correction(self, peak: Tensor) -> Tensor:
        """Bounded contribution of the map's (B,) peak to the image score."""
        return self.limit * torch.tanh(self.gain * (peak + self.offset))

    def set_noise(self, sample_noise: Callable[[Tensor], Tensor]) -> None:
        for module in self.difference:
            module.sample_noise = sample_noise


class SpatialBranch(nn.Module):
    """Contribution of one stride to the map, from the signed and the absolute centred features of each location."""

    def __init__(self, channels: int, hidden: int, factor: int):
        super().__init__()
        self.signed = nn.Conv2d(channels, hidden, 1)
        self.magnitude = nn.Conv2d(channels, hidden, 1, bias=False)
        self.out = nn.Conv2d(hidden, factor**2, 1)
        self.enlarge = nn.PixelShuffle(factor) if factor > 1 else nn.Identity()

    def hidden(self, centred: Tensor) -> Tensor:
        return functional.relu(self.signed(centred) + self.magnitude(centred.abs()))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.enlarge(self.out(hidden))


class SpatialHead(nn.Module):
    """Predict the (B, 1, h, w) map location by location, as the sum of one branch per stride."""

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], hidden: int):
        super().__init__()
        pairs = zip(channels, strides, strict=True)
        self.branches = nn.ModuleList(SpatialBranch(count, hidden, stride // strides[0]) for count, stride in pairs)

    def hidden(self, centred: list[Tensor]) -> list[Tensor]:
        """Compute the hidden channels of each stride, from which `read` predicts the map."""
        return [branch.hidden(one) for branch, one in zip(self.branches, centred, strict=True)]

    def read(self, hidden: list[Tensor]) -> Tensor:
        first, *others = (branch(one) for branch, one in zip(self.branches, hidden, strict=True))
        return sum(others, first)

    def forward(self, centred: list[Tensor]) -> Tensor:
        return self.read(self.hidden(centred))


class EdgeGLR(GlobalLocalReadout):
    """The paper's readout; the global head reads how the hot part of the map differs from the rest of the image.

    It reads the hidden channels of the spatial head, which know of defects; a context head's it cannot reach, and reads
    the centred features instead.
    """

    def __init__(self, channels: tuple[int, ...], spatial_head: nn.Module, config: EdgeGLRConfig):
        super().__init__(channels, config)
        self.spatial_head, self.reads_hidden = spatial_head, isinstance(spatial_head, SpatialHead)
        width = len(channels) * config.local_channels if self.reads_hidden else sum(channels)
        # A ranking loss gives a bias no gradient but rounding errors.
        self.global_head = nn.Linear(width, 1, bias=False)

    def predict_map(self, centred: list[Tensor]) -> Tensor:
        return self.spatial_head(centred)

    def forward(self, features: list[Tensor], rotated: list[Tensor] | None = None) -> Output:
        """Read feature maps, one (B, C, h, w) per stride, and with test-time augmentation those of rotated images."""
        read = self.centre(features)
        if self.reads_hidden:
            read = self.spatial_head.hidden(read)
        first = self.spatial_head.read(read) if self.reads_hidden else self.predict_map(read)
        anomaly_map = self.average_views(first, rotated)
        # The score sends map and hidden channels no gradient: with the map loss alone they rank unseen parts better.
        cells, read = anomaly_map.detach().flatten(1), [one.detach() for one in read]
        cells = cells - cells.mean(dim=1, keepdim=True)
        level = 1 + cells.abs().mean(dim=1)
        attention, hot = softmax_peak(cells, HOT_SHARPNESS)
        attention = attention.view_as(anomaly_map)
        contrast = [attention_pool(one, attention) - one.mean(dim=(2, 3)) for one in read]
        global_score = self.global_head(torch.cat(contrast, dim=1) / level[:, None]).squeeze(1)
        correction = self.correction(hot / level)
        return Output(global_score + correction, anomaly_map, global_score, correction)

    def training_outputs(self, features: list[Tensor]) -> dict[str, Tensor]:
        output = self(features)
        return {"score": output.score, "global_score": output.global_score, "map": output.map}


def softmax_peak(values: Tensor, sharpness: float = 1.0) -> tuple[Tensor, Tensor]:
    """Softmax over (B, N) locations, and the (B,) mean with these weights: a smooth maximum, finite in FP16."""
    attention = (values if sharpness == 1 else sharpness * values).softmax(dim=1)
    return attention, (attention * values).sum(dim=1)


def attention_pool(features: Tensor, attention: Tensor) -> Tensor:
    """Average (B, C, h, w) features with (B, 1, H, W) weights that sum to one, H a multiple of h, to (B, C)."""
    if (factor := attention.shape[-1] // features.shape[-1]) > 1:
        # A location of a coarser stride gets the summed weight of the cells that it covers.
        attention = functional.avg_pool2d(attention, factor) * factor**2
    return (features * attention).sum(dim=(2, 3))


def rotate180(maps: Tensor, axes: tuple[int, ...] = (2, 3)) -> Tensor:
    """Rotate (B, C, h, w) by 180 degrees, by gathering: not every device supports slices with a negative step."""
    for axis in axes:
        maps = maps.index_select(axis, torch.arange(maps.shape[axis] - 1, -1, -1, device=maps.device))
    return maps
