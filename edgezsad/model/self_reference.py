"""Self-reference anomaly scores: compare the patches of one image with each other.

These scores have no learned weights, so they transfer to unseen parts:

- asymmetry: distance of each patch to the patches around its mirror position (horizontal, vertical, point mirror);
- own distance: distance of each patch to the nearest patch farther away than a quarter of the image;
- dispersion: mean absolute deviation of the coarsest features.

The map gains rarity, a softer own distance of centred features, which shows where a defect is better than it ranks
images. Exports to plain operators, without TopK or sorting, and stays within FP16 range.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgezsad.config import ReadoutConfig, SelfReferenceConfig
from edgezsad.model import PEAK_CELLS, SMALLEST, STRIDE_WEIGHTS
from edgezsad.model.edgeglr import GlobalLocalReadout, Output, rotate180, softmax_peak

MIRRORS = {"left to right": (1, -1), "top to bottom": (-1, 1), "through the centre": (-1, -1)}
NAMES = (*(f"asymmetry {name}" for name in MIRRORS), "own distance", "dispersion")
COUNTS = (1, 1, 1, 3, 1)  # how often each counts in the global score; chosen by leaving sets out
MIRROR_REACH, OWN_REACH = 1, 1 / 4
"""Patches around the mirror position; share of the side within which a patch resembles itself."""
MIRROR_SHARPNESS, RARITY_SHARPNESS = 20.0, 12.0  # of the soft nearest neighbour
PEAK_SHARPNESS = (8.0, 8.0, 11.0)
"""Sharpness of each asymmetry map's smooth maximum: 2 over the standard deviation of the map in usual images."""
EXCLUDED, NEAR = -1e4, 1e4
"""Logarithmic weight, and added squared distance, of a pair that is not compared; FP16 can represent both."""
SIMILARITY_SHARPNESS = (3.0, 6.0, 20.0)  # low: how much of the image is similar; high: whether any patch is
SIMILARITY_FLOOR = 1e-4
CONTEXT_WINDOW = 5  # side of the window of a context block, in cells of the finest stride


class SelfSimilarity(nn.Module):
    """Dissimilarity of each patch to those more than `reach` steps away, absolute and in standard deviations."""

    channels = 2 * len(SIMILARITY_SHARPNESS)

    def __init__(self, side: int, reach: int):
        super().__init__()
        near = torch.ones(side, side).triu(-reach).tril(reach)
        far = 1 - torch.kron(near, near)
        if not (far.sum(dim=1) > 0).all():
            raise ValueError(f"a map of {side} x {side} has patches with nothing more than {reach} steps away")
        self.register_buffer("weight", far / far.sum(dim=1, keepdim=True), persistent=False)

    def forward(self, centred: Tensor) -> Tensor:
        """Compute `channels` maps, (B, channels, h, w), from centred features (B, C, h, w)."""
        batch, channels, height, width = centred.shape
        patches = centred.flatten(2)
        direction = patches / (patches.square().mean(dim=1, keepdim=True).sqrt() + 1e-3)
        # Cosine minus one, in [-2, 0], so that no exponential is large.
        cosine = torch.matmul(direction.transpose(1, 2), direction / channels) - 1
        distances = [
            -((sharpness * cosine).exp() * self.weight).sum(dim=2).add(SIMILARITY_FLOOR).log() / sharpness
            for sharpness in SIMILARITY_SHARPNESS
        ]
        raw = torch.stack(distances, dim=1).view(batch, len(distances), height, width)
        deviation = raw - raw.mean(dim=(2, 3), keepdim=True)
        std = deviation.square().mean(dim=(2, 3), keepdim=True).sqrt() + 1e-2
        return torch.cat([raw - 1, deviation / std], dim=1)


class ContextBlock(nn.Module):
    """Depthwise window, then all channels of a cell; residual."""

    def __init__(self, hidden: int):
        super().__init__()
        self.around = nn.Conv2d(hidden, hidden, CONTEXT_WINDOW, padding=CONTEXT_WINDOW // 2, groups=hidden)
        self.across = nn.Conv2d(hidden, hidden, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + functional.relu(self.across(self.around(hidden)))


class ContextHead(nn.Module):
    """Spatial head: a (B, 1, h, w) map from all strides, self-similarity and the surroundings of each location."""

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], config: ReadoutConfig, size: int):
        super().__init__()
        factors = [stride // strides[0] for stride in strides]
        hidden, self.similarity = config.local_channels, nn.ModuleDict()
        for stride in config.self_similarity:
            side = size // stride
            self.similarity[str(strides.index(stride))] = SelfSimilarity(side, reach=2 if side > 10 else 1)
        extra = [SelfSimilarity.channels if stride in config.self_similarity else 0 for stride in strides]
        self.read = nn.ModuleList(
            nn.Conv2d(2 * count + more, hidden * factor**2, 1)
            for count, more, factor in zip(channels, extra, factors, strict=True)
        )
        self.enlarge = nn.ModuleList(nn.PixelShuffle(factor) if factor > 1 else nn.Identity() for factor in factors)
        self.blocks = nn.Sequential(*(ContextBlock(hidden) for _ in range(config.context)))
        self.out = nn.Conv2d(hidden, 1, 1)

    def forward(self, centred: list[Tensor]) -> Tensor:
        hidden: Tensor | float = 0.0
        for index, one in enumerate(centred):
            similarity = [self.similarity[str(index)](one)] if str(index) in self.similarity else []
            parts = torch.cat([one, one.abs(), *similarity], dim=1)
            enlarged = self.enlarge[index](self.read[index](parts))
            hidden = enlarged if index == 0 else hidden + enlarged
        return self.out(self.blocks(functional.relu(hidden)))


class JointPatches(nn.Module):
    """Patches at stride 16 from features that are not centred: mean of both views, each stride of a fixed length."""

    def __init__(self, side: int):
        super().__init__()
        self.register_buffer("enlarge", enlarging(side // 2), persistent=False)

    def forward(self, features: list[Tensor], rotated: list[Tensor] | None = None) -> Tensor:
        """Compute (B, C, side, side) from the features at strides 8, 16 and 32, of lengths `STRIDE_WEIGHTS`."""
        if rotated is not None:
            features = [(one + rotate180(other)) / 2 for one, other in zip(features, rotated, strict=True)]
        fine, middle, coarse = features
        joint = functional.avg_pool2d(fine, 2), middle, enlarged(coarse, self.enlarge)
        lengths = [one.square().sum(dim=1, keepdim=True).sqrt() + 1e-6 for one in joint]
        parts = zip(STRIDE_WEIGHTS, joint, lengths, strict=True)
        return torch.cat([weight * one / length for weight, one, length in parts], dim=1)


class SelfReferenceScores(nn.Module):
    """Scores and rarity map of images of `size` pixels, from features at 3 strides.

    Channels of centred features are limited to `clip`: single channels of unseen parts would dominate all distances.
    """

    def __init__(self, size: int, clip: float | None = None):
        super().__init__()
        self.clip, self.side = clip, size // 16
        if self.side < 2:
            raise ValueError(f"an image of {size} pixels has too few patches to compare")
        pairs, weights = zip(*(_mirror_pairs(self.side, *signs) for signs in MIRRORS.values()), strict=True)
        near = near_patches(self.side)
        # Constants of the graph: the compared pairs of each mirror, and the logarithms of the pairs' weights.
        self.register_buffer("pairs", torch.stack(pairs), persistent=False)
        self.register_buffer("around", torch.stack(weights), persistent=False)
        self.register_buffer("near", NEAR * near, persistent=False)
        far = (1 - near) / (1 - near).sum(dim=1, keepdim=True)
        self.register_buffer("far", far.log().clamp(min=EXCLUDED), persistent=False)
        self.joint = JointPatches(self.side)

    def forward(
        self,
        centred: list[Tensor],
        features: list[Tensor],
        rotated: tuple[list[Tensor], list[Tensor]] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute (B, len(NAMES)) scores, and the (B, 1, h, w) rarity map at stride 16.

        Args:
            centred: centred features.
            features: the same before centring, which own distances compare.
            rotated: both of the rotated images: a patch is rare only if neither view has a similar one, and own
                distances compare the mean of the views. Asymmetry and dispersion are those of the first view.
        """
        dispersion = centred[-1].abs().mean(dim=(1, 2, 3))
        direction, length = self._patches(centred)
        cosine = _cosine(direction, direction)
        mirrored = cosine.flatten(1)[:, self.pairs]
        # Distances, not angles: patches of different images must be comparable.
        rarity = _soft_nearest(-_distance(cosine, length, length), RARITY_SHARPNESS, self.far)
        maps = _soft_nearest(mirrored, MIRROR_SHARPNESS, self.around).unbind(dim=1)
        peaks = [softmax_peak(one, sharpness)[1] for one, sharpness in zip(maps, PEAK_SHARPNESS, strict=True)]
        own = own_distance(self.joint(features, None if rotated is None else rotated[1]), self.near)
        scores = torch.stack([*peaks, mean_of_highest(own.flatten(1)), dispersion], dim=1)
        if rotated is not None:
            other, other_length = (rotate180(one, axes=(2,)) for one in self._patches(rotated[0]))
            distance = _distance(_cosine(direction, other), length, other_length)
            both = torch.stack([-rarity, -_soft_nearest(-distance, RARITY_SHARPNESS, self.far)], dim=2)
            rarity = _soft_nearest(both, RARITY_SHARPNESS, -math.log(2))
        return scores, rarity.view(-1, 1, self.side, self.side)

    def _patches(self, centred: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Direction (B, C, N) and length (B, 1, N) of all strides' features at each patch of stride 16."""
        if self.clip is not None:
            centred = [one.clamp(-self.clip, self.clip) for one in centred]
        fine, middle, coarse = centred
        joint = [functional.avg_pool2d(fine, 2), middle, _repeated(coarse, 2)]
        # Every stride has the same weight, whatever its number of channels.
        patches = torch.cat([part / part.shape[1] ** 0.5 for part in joint], dim=1).flatten(2)
        scale = patches.square().mean(dim=1, keepdim=True).sqrt() + 1e-4
        return patches / scale, scale * patches.shape[1] ** 0.5


class WeightedScores(nn.Module):
    """Global score: a sum of the self-reference scores with weights that are not negative, fitted to the source."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.full((len(NAMES),), 1 / len(NAMES)))
        self.register_buffer("bias", torch.zeros(()))

    def forward(self, scores: Tensor) -> Tensor:
        return (scores * self.weight).sum(dim=1) + self.bias


class SelfReferenceReadout(GlobalLocalReadout):
    """Readout with a fitted global score; only its spatial head is trained by gradient descent."""

    def __init__(self, channels: tuple[int, ...], context: nn.Module, config: SelfReferenceConfig, size: int):
        super().__init__(channels, config)
        self.map_rarity, self.map_ranking = config.map_rarity, config.map_ranking
        self.context, self.scores = context, SelfReferenceScores(size, config.clip)
        # Rarity halfway between normal and defective patches of the source.
        self.register_buffer("rarity_middle", torch.zeros(()))
        self.ranking = WeightedScores()

    def predict_map(self, centred: list[Tensor]) -> Tensor:
        return self.context(centred)

    def self_reference(self, features: list[Tensor], rotated: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Compute scores and rarity map from features that are not centred yet (see `SelfReferenceScores`)."""
        both = None if rotated is None else (self.centre(rotated), rotated)
        return self.scores(self.centre(features), features, both)

    def forward(self, features: list[Tensor], rotated: list[Tensor] | None = None) -> Output:
        """Read feature maps as `EdgeGLR.forward` does."""
        anomaly_map = self.local_map(features, rotated)
        scores, rarity = self.self_reference(features, rotated)
        global_score = self.ranking(scores)
        correction = self.correction(softmax_peak(anomaly_map.flatten(1))[1])
        # A logit of zero stays an even chance of a defect. The average hides the squares of the coarser stride.
        rarity = _repeated(rarity - self.rarity_middle, anomaly_map.shape[-1] // rarity.shape[-1])
        rarity = functional.avg_pool2d(rarity, 3, stride=1, padding=1, count_include_pad=False)
        anomaly_map = anomaly_map + self.map_rarity * rarity + self.map_ranking * global_score[:, None, None, None]
        return Output(global_score + correction, anomaly_map, global_score, correction)

    def training_outputs(self, features: list[Tensor]) -> dict[str, Tensor]:
        # Without rarity, or the head would learn where the source's is misleading.
        return {"map": self.local_map(features)}


def _mirror_pairs(side: int, down: int, right: int) -> tuple[Tensor, Tensor]:
    """Pair each patch with those around its mirror position: (N, K) indices patch * N + other, and log weights."""
    patches = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    mirror = torch.where(torch.tensor([down, right]) > 0, patches, side - 1 - patches)
    steps = torch.arange(-MIRROR_REACH, MIRROR_REACH + 1)
    others = mirror[:, None] + torch.cartesian_prod(steps, steps)
    inside = ((others >= 0) & (others < side)).all(dim=2)
    row, column = others.clamp(0, side - 1).unbind(dim=2)
    pairs = torch.arange(side**2)[:, None] * side**2 + row * side + column
    return pairs, (inside / inside.sum(dim=1, keepdim=True)).log().clamp(min=EXCLUDED)


def _repeated(features: Tensor, factor: int) -> Tensor:
    """Repeat each location `factor` times: (B, C, h, w) to (B, C, factor * h, factor * w)."""
    batch, channels, height, width = features.shape
    repeated = features[:, :, :, None, :, None].expand(-1, -1, -1, factor, -1, factor)
    return repeated.reshape(batch, channels, factor * height, factor * width)


def enlarging(side: int) -> Tensor:
    """Return the (2 side, side) matrix of bilinear interpolation: few boards support Resize."""
    rows = functional.interpolate(torch.eye(side)[None], size=2 * side, mode="linear", align_corners=False)
    return rows[0].T.contiguous()


def enlarged(maps: Tensor, matrix: Tensor) -> Tensor:
    """Interpolate (B, C, side, side) maps by the matrix of `enlarging`, along both axes."""
    return torch.matmul(torch.matmul(matrix, maps), matrix.T)


def near_patches(side: int) -> Tensor:
    """Return (N, N), one for pairs of patches of a grid that are within `OWN_REACH` of the side, else zero."""
    step = torch.arange(side)
    near = ((step[:, None] - step).abs() <= OWN_REACH * side).float()
    return torch.kron(near, near)


def own_distance(patches: Tensor, near: Tensor, weight: Tensor | float = 0.0) -> Tensor:
    """Compute the distance of each patch to the nearest far patch of its own image: (B, C, h, w) to (B, 1, h, w).

    `near`, (N, N), is `NEAR` for pairs that are not compared. A patch's `weight`, (B, 1, h, w), is added to its squared
    distances, and that of the other patch subtracted.
    """
    flat, (height, width) = patches.flatten(2), patches.shape[2:]
    length = flat.square().sum(dim=1, keepdim=True)
    own = weight.flatten(2) if isinstance(weight, Tensor) else weight
    others = 2 * torch.matmul(flat.transpose(1, 2), flat) - (length - own) - near
    squared = (length + own).transpose(1, 2) - others.amax(dim=2, keepdim=True)
    return squared.clamp(min=SMALLEST).sqrt().transpose(1, 2).unflatten(2, (height, width))


def mean_of_highest(values: Tensor, count: int = PEAK_CELLS) -> Tensor:
    """Average the `count` highest of (B, N) values, exactly and without TopK, which boards lack.

    The minimum over t of t + sum(max(x - t, 0)) / count (Rockafellar and Uryasev, 2000) is reached at the value of
    that rank.
    """
    above = functional.relu(values[:, None] - values[:, :, None]).sum(dim=2)
    return (values + above / count).amin(dim=1)


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    """Cosine minus one of every two patches, so that no exponential is large: (B, C, N) each to (B, N, N)."""
    return torch.matmul(one.transpose(1, 2), other / other.shape[1]) - 1


def _distance(cosine: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Distance of every two patches from their cosine minus one and their lengths, (B, 1, N) each: (B, N, N)."""
    one = one.transpose(1, 2)
    # Rounding can make a cosine larger than one.
    return ((one - other).square() - 2 * one * other * cosine).clamp(min=1e-4).sqrt()


def _soft_nearest(similarity: Tensor, sharpness: float, log_weight: Tensor | float) -> Tensor:
    """Soft distance of each patch to its nearest neighbour: (..., N, K) to (..., N)."""
    raised = sharpness * similarity + log_weight
    top = raised.amax(dim=-1, keepdim=True)
    return -((raised - top).exp().sum(dim=-1).log() + top.squeeze(-1)) / sharpness
