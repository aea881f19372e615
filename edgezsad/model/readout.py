"""EdgeGLR, the asymmetric global-local readout: the global head ranks images, the spatial head draws the map.

The two are not equals. The global head looks at the features where the map points and at how uneven the image is, and
ranks. The image score is its ranking, plus a correction pooled from the map that is bounded and whose learned gain
starts at zero: training begins with a pure image ranking and lets the map in as far as it helps. The paper publishes no
formula; this is our reading of its one-line description. `Readout.ranking` "cues" lets comparisons inside the image
rank in place of features, with a gain that is set (on photographs of sets never seen features rank worse, see
`edgezsad.model.cues`); rarity is then also added to what the spatial head has drawn, and the ranking to the map as a
whole. `Readout.ranking_limit` turns the two round: the map's peak ranks, and the global head corrects it or is left
out.

Everything here exports to plain operators: no Resize, no TopK, nothing dynamic. Coarser strides reach the finest one
by a learned depth-to-space, not by interpolation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgezsad.config import Readout
from edgezsad.model.context import ContextHead
from edgezsad.model.cues import STRIDES as CUE_STRIDES
from edgezsad.model.cues import CueRanking, Cues, enlarged
from edgezsad.model.similarity import CHANNELS as UNLIKE
from edgezsad.model.similarity import Unlikeness
from edgezsad.model.turning import turn


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


class Difference(nn.Module):
    """How far each place lies from its own image's mean, each channel in units of its spread over the source.

    An unseen part's features are new as a whole; what differs within its own image is what carries over.
    """

    def __init__(self, channels: int, noise: float = 0.0):
        super().__init__()
        self.noise = noise
        # Set by training alone: what gives noise like a tensor.
        self.draw: Callable[[Tensor], Tensor] | None = None
        self.register_buffer("scale", torch.ones(1, channels, 1, 1))

    def fit(self, std: Tensor) -> None:
        """Set the scale from the source's (C,) standard deviations, once, before training; dead channels keep 1."""
        self.scale.copy_(torch.where(std > 1e-4, 1 / std.clamp(min=1e-4), torch.ones_like(std)).view_as(self.scale))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        difference = self.plain(features)
        if self.training and self.noise and self.draw is not None:
            difference = difference + self.noise * self.draw(difference)
        return difference

    def plain(self, features: Tensor) -> Tensor:
        """The same without noise."""
        return (features - features.mean(dim=(2, 3), keepdim=True)) * self.scale


class SpatialBranch(nn.Module):
    """One stride's share of the map, from how each place differs from the rest of its own image, and by how much."""

    def __init__(self, channels: int, hidden: int, factor: int):
        super().__init__()
        self.difference = nn.Conv2d(channels, hidden, 1)
        self.amount = nn.Conv2d(channels, hidden, 1, bias=False)
        self.out = nn.Conv2d(hidden, factor**2, 1)
        self.enlarge = nn.PixelShuffle(factor) if factor > 1 else nn.Identity()

    def forward(self, difference: Tensor, amount: Tensor) -> Tensor:
        """Two (B, C, h, w) to (B, 1, h * factor, w * factor)."""
        return self.enlarge(self.out(functional.relu(self.difference(difference) + self.amount(amount))))


class EdgeGLR(nn.Module):
    """The readout.

    Args:
        channels: of the feature maps.
        strides: of the feature maps, ascending.
        config: sizes and limits.
        size: height and width of the images in pixels; needed for self-similarity and cues alone.
    """

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], config: Readout, size: int | None = None):
        super().__init__()
        self.limit, self.ranking_limit = config.correction_limit, config.ranking_limit
        self.map_rarity, self.map_ranking = config.map_rarity, config.map_ranking
        self.difference = nn.ModuleList(Difference(count, config.noise) for count in channels)
        self.unlikeness = nn.ModuleDict()
        for stride in config.self_similarity:
            if stride not in strides or size is None:
                raise ValueError(f"self-similarity at stride {stride} of {size} pixels, where strides are {strides}")
            self.unlikeness[str(stride)] = Unlikeness(size // stride, reach=2 if size // stride > 10 else 1)
        self.strides = strides
        if config.context:
            read = [2 * count + self._unlike(stride) for count, stride in zip(channels, strides, strict=True)]
            self.context = ContextHead(read, strides, config.local_channels, config.context)
        else:
            self.spatial = nn.ModuleList(
                SpatialBranch(count, config.local_channels, stride // strides[0])
                for count, stride in zip(channels, strides, strict=True)
            )
        if config.ranking == "cues":
            if strides != CUE_STRIDES or size is None:
                raise ValueError(f"cues of {size} pixels at strides {strides}; they are read at {CUE_STRIDES}")
            self.cues = Cues(size, config.clip)
            # Between normal and defective places; set by the source.
            self.register_buffer("rarity_middle", torch.zeros(()))
            self.ranking: nn.Module = CueRanking()
        else:
            # Every stride gives what the most suspicious place shows, and how uneven the image is.
            self.ranking = nn.Sequential(
                nn.Linear(2 * sum(channels) + 2 * sum(map(self._unlike, strides)), config.global_channels),
                nn.ReLU(),
                nn.Linear(config.global_channels, 1),
            )
        learns = config.correction_gain is None
        self.gain = nn.Parameter(torch.tensor(0.0 if learns else config.correction_gain), requires_grad=learns)
        self.offset = nn.Parameter(torch.zeros(()), requires_grad=learns)

    def draw_noise(self, draw: Callable[[Tensor], Tensor]) -> None:
        """Let training add noise to the features; `draw` gives normal numbers like a tensor."""
        for module in self.difference:
            module.draw = draw

    def read_cues(self, features: list[Tensor], turned: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """(B, K) cues and the (B, 1, h, w) rarity of images by their feature maps, without noise.

        Only where the ranking takes cues. `turned` is as in `forward`.
        """
        looks = [features] if turned is None else [features, turned]
        return self.cues(
            *([measure.plain(raw) for raw, measure in zip(look, self.difference, strict=True)] for look in looks)
        )

    def _unlike(self, stride: int) -> int:
        """Channels that self-similarity gives at a stride."""
        return UNLIKE if str(stride) in self.unlikeness else 0

    def drawn(self, features: list[Tensor], turned: list[Tensor] | None = None) -> Tensor:
        """The spatial head's own map, (B, 1, h, w), without what cues add to it; arguments as in `forward`."""
        differences = [measure(raw) for raw, measure in zip(features, self.difference, strict=True)]
        return self._of_both(self._drawn(differences, self._unlikeness(differences)), turned)

    def _of_both(self, drawn: Tensor, turned: list[Tensor] | None) -> Tensor:
        """The mean of what is drawn of the image and of the image turned; the former alone without the latter."""
        return drawn if turned is None else (drawn + turn(self.drawn(turned))) / 2

    def _unlikeness(self, differences: list[Tensor]) -> dict[str, Tensor]:
        return {
            stride: module(differences[self.strides.index(int(stride))]) for stride, module in self.unlikeness.items()
        }

    def _drawn(self, differences: list[Tensor], unlike: dict[str, Tensor]) -> Tensor:
        magnitudes = [difference.abs() for difference in differences]
        if hasattr(self, "context"):
            read = [
                torch.cat([difference, magnitude] + ([unlike[str(stride)]] if str(stride) in unlike else []), dim=1)
                for difference, magnitude, stride in zip(differences, magnitudes, self.strides, strict=True)
            ]
            return self.context(read)
        shares = [branch(*both) for branch, *both in zip(self.spatial, differences, magnitudes, strict=True)]
        drawn = shares[0]
        for share in shares[1:]:
            drawn = drawn + share
        return drawn

    def forward(self, features: list[Tensor], turned: list[Tensor] | None = None) -> Output:
        """Read feature maps.

        Args:
            features: one (B, C, h, w) for each stride, finest first.
            turned: the same of the images turned by 180 degrees, as the backbone gave them; not in training.
        """
        differences = [measure(raw) for raw, measure in zip(features, self.difference, strict=True)]
        unlike = self._unlikeness(differences)
        drawn = self._of_both(self._drawn(differences, unlike), turned)
        if hasattr(self, "cues"):
            return self._with_cues(features, turned, drawn)
        attention, peak = _peak(drawn)
        # The ranking looks where the map points but does not move it: the map is trained by its own loss.
        place = attention.detach().view_as(drawn)
        looked_at = [_at(difference, place) for difference in differences]
        amounts = [difference.abs().mean(dim=(2, 3)) for difference in differences]
        for found in unlike.values():
            # How uneven the image is in this respect, and its most unlike place.
            amounts += [found.abs().mean(dim=(2, 3)), found.amax(dim=(2, 3))]
        ranking = self.ranking(torch.cat(looked_at + amounts, dim=1)).squeeze(1)
        if self.ranking_limit is None:
            correction = self._correction(peak)
            return Output(ranking + correction, drawn, ranking, correction)
        correction = (1 + self.gain) * (peak + self.offset)
        if not self.ranking_limit:
            return Output(correction, drawn, ranking, correction)
        ranking = self.ranking_limit * torch.tanh(ranking / self.ranking_limit)
        return Output(ranking + correction, drawn, ranking, correction)

    def _with_cues(self, features: list[Tensor], turned: list[Tensor] | None, drawn: Tensor) -> Output:
        if self.training:
            # Cues are fitted, and the gain is given: only the map learns by descent, and by its own loss. It learns
            # without rarity beneath it, since what it would learn then is where the source's rare places are normal.
            nothing = drawn.new_zeros(len(drawn))
            return Output(nothing, drawn, nothing, nothing)
        cues, rare = self.read_cues(features, turned)
        ranking = self.ranking(cues)
        correction = self._correction(_peak(drawn)[1])
        # Zero stays an even chance of a defect. And smooth, or the map would show the coarser stride's squares.
        rare = functional.avg_pool2d(
            enlarged(rare - self.rarity_middle, drawn.shape[-1] // rare.shape[-1]),
            3,
            stride=1,
            padding=1,
            count_include_pad=False,
        )
        shown = drawn + self.map_rarity * rare + self.map_ranking * ranking[:, None, None, None]
        return Output(ranking + correction, shown, ranking, correction)

    def _correction(self, peak: Tensor) -> Tensor:
        return self.limit * torch.tanh(self.gain * (peak + self.offset))


def _peak(anomaly_map: Tensor) -> tuple[Tensor, Tensor]:
    """The map's softmax over places, (B, h w), and its mean weighted by that, (B,).

    A smooth maximum without TopK that stays finite in FP16.
    """
    flat = anomaly_map.flatten(1)
    attention = flat.softmax(dim=1)
    return attention, (attention * flat).sum(dim=1)


def _at(features: Tensor, place: Tensor) -> Tensor:
    """Features averaged with the weights of `place`: (B, C, h, w) and (B, 1, H, W), which sums to one, to (B, C)."""
    factor = place.shape[-1] // features.shape[-1]
    if factor > 1:
        # Coarser strides get the summed weight of the cells they cover.
        place = functional.avg_pool2d(place, factor) * factor**2
    return (features * place).sum(dim=(2, 3))
