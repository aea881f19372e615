"""What an image says against itself: cues that hold for parts and surfaces never seen, as nothing in them is learned.

Features of an unseen part are new as a whole, and a head that learns what they should be learns its source by heart.
What carries over are comparisons inside the image:

- symmetry: parts are often symmetric and photographed straight, so that a place is compared with what lies around its
  mirror place, left to right, top to bottom, and through the centre. A missing limb, a bite out of an edge, a bend;
- rarity: how far the features of a place lie from those of all other places of the image (a soft nearest neighbour);
- unevenness: how far the coarsest features lie from their mean over the image.

Each becomes a number of an image, three for the three mirrors, and `CueRanking` adds them with weights that are never
negative: more of a cue never makes an image more normal. All count alike (`edgezsad.training.ranking`): what learns
nothing of its source but five spreads and one scale cannot know it by heart.

Rarity is also a map, which is added to what the spatial head has drawn.

Matrix products, exponentials and sums alone: no TopK, no sorting, nothing dynamic. Numbers stay within FP16.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgezsad.model.turning import turn_places

STRIDES = (8, 16, 32)
MIRRORS = {"left to right": (1, -1), "top to bottom": (-1, 1), "through the centre": (-1, -1)}
NAMES = (*(f"asymmetry {name}" for name in MIRRORS), "rarity", "unevenness")
"""Of the numbers, in their order."""
AROUND, REACH = 1, 1 / 4
"""Places compared with are up to `AROUND` steps from the mirror place; rarity leaves out what is nearer than the share
`REACH` of the image's side: a large defect is like itself."""
SHARP_MIRROR, SHARP_RARE = 20.0, 12.0
"""How strongly the most similar places count."""
SOFTNESS = (8.0, 8.0, 11.0, 11.0)
"""The peak of a map is its mean weighted by its softmax, sharpened by this: 2 over the map's spread in usual images."""
OUTSIDE = -1e4
"""Takes a place out of a soft nearest neighbour; FP16 holds it."""


class Cues(nn.Module):
    """Cue maps and numbers of an image from its differences (`edgezsad.model.readout.Difference`).

    Args:
        size: height and width of the image in pixels.
        clip: where places are compared, no channel differs by more than this either way; None for no limit. Unseen
            parts drive single channels far beyond what the source shows, and one of them would decide what is near.
    """

    def __init__(self, size: int, clip: float | None = None):
        super().__init__()
        self.clip = clip
        self.side = size // STRIDES[1]
        step = torch.arange(self.side)
        near = ((step[:, None] - step).abs() <= REACH * self.side).float()
        far = 1 - torch.kron(near, near)
        if self.side < 2:
            raise ValueError(f"an image of {size} pixels has too few places to compare")
        # Constants of the graph: for each mirror, which pairs of places are compared, and the logarithm of each pair's
        # weight in the mean over a row; and the latter for rarity, which compares all pairs.
        pairs, weights = zip(*(_around_mirror(self.side, down, right) for down, right in MIRRORS.values()), strict=True)
        self.register_buffer("pairs", torch.stack(pairs), persistent=False)
        self.register_buffer("around", torch.stack(weights), persistent=False)
        self.register_buffer("far", (far / far.sum(dim=1, keepdim=True)).log().clamp(min=OUTSIDE), persistent=False)

    def forward(self, differences: list[Tensor], turned: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Compare the places of images.

        Args:
            differences: one (B, C, h, w) for each of `STRIDES`.
            turned: the same of the images turned by 180 degrees. In the map a place is then rare only where neither
                look shows its like; the numbers are of the first look alone, as their spreads over the source were.

        Returns:
            The (B, len(NAMES)) numbers, and rarity's (B, 1, h, w) map at the middle stride, in units of the features'
            spread over the source.
        """
        uneven = differences[-1].abs().mean(dim=(1, 2, 3))
        direction, length = self._places(differences)
        below = _cosines(direction, direction)
        # (B, mirrors, places, places around)
        mirrored = below.flatten(1)[:, self.pairs]
        # Distances, not angles: places of different images have to be told apart by it.
        rare = _unlike(-_distances(below, length, length), SHARP_RARE, self.far)
        maps = [*_unlike(mirrored, SHARP_MIRROR, self.around).unbind(dim=1), rare]
        peaks = [_peak(one, softness) for one, softness in zip(maps, SOFTNESS, strict=True)]
        numbers = torch.cat([*peaks, uneven[:, None]], dim=1)
        if turned is not None:
            other, its_length = (turn_places(one) for one in self._places(turned))
            apart = _distances(_cosines(direction, other), length, its_length)
            both = torch.stack([-rare, -_unlike(-apart, SHARP_RARE, self.far)], dim=2)
            rare = _unlike(both, SHARP_RARE, -math.log(2))
        return numbers, rare.view(-1, 1, self.side, self.side)

    def _places(self, differences: list[Tensor]) -> tuple[Tensor, Tensor]:
        """All strides' differences at each place of the middle one: direction, (B, C, N), and length, (B, 1, N)."""
        if self.clip is not None:
            differences = [one.clamp(-self.clip, self.clip) for one in differences]
        fine, middle, coarse = differences
        joint = [functional.avg_pool2d(fine, 2), middle, enlarged(coarse, 2)]
        # Every stride counts alike, however many channels it has.
        places = torch.cat([part / part.shape[1] ** 0.5 for part in joint], dim=1).flatten(2)
        spread = places.square().mean(dim=1, keepdim=True).sqrt() + 1e-4
        return places / spread, spread * places.shape[1] ** 0.5


class CueRanking(nn.Module):
    """The ranking of images: a sum of their cues with weights that are not negative, set by the source once."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.full((len(NAMES),), 1 / len(NAMES)))
        self.register_buffer("bias", torch.zeros(()))

    def set(self, weight: Tensor, bias: Tensor) -> None:
        """Take (len(NAMES),) weights and a bias.

        Raises:
            ValueError: a weight is negative or not finite.
        """
        if not (weight.isfinite().all() and (weight >= 0).all() and bias.isfinite()):
            raise ValueError(f"weights {weight.tolist()} and bias {bias.item()}: finite ones that are not negative")
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def forward(self, cues: Tensor) -> Tensor:
        """(B, len(NAMES)) to (B,)."""
        return (cues * self.weight).sum(dim=1) + self.bias


def _around_mirror(side: int, down: int, right: int) -> tuple[Tensor, Tensor]:
    """What each place is compared with: its mirror place and those around it.

    Args:
        side: of the map, in places.
        down: -1 where top and bottom are mirrored, 1 where they are not.
        right: the same of left and right.

    Returns:
        (N, K) numbers of pairs, place * N + other, and the (N, K) logarithms of their weights; places beyond the edge
        have none.
    """
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    mirror = torch.where(torch.tensor([down, right]) > 0, places, side - 1 - places)
    steps = torch.arange(-AROUND, AROUND + 1)
    others = mirror[:, None] + torch.cartesian_prod(steps, steps)
    inside = ((others >= 0) & (others < side)).all(dim=2)
    row, column = others.clamp(0, side - 1).unbind(dim=2)
    pairs = torch.arange(side**2)[:, None] * side**2 + row * side + column
    weight = inside / inside.sum(dim=1, keepdim=True)
    return pairs, weight.log().clamp(min=OUTSIDE)


def enlarged(features: Tensor, factor: int) -> Tensor:
    """Each place `factor` times in height and width, without interpolation: (B, C, h, w) to (B, C, f h, f w)."""
    batch, channels, height, width = features.shape
    spread = features[:, :, :, None, :, None].expand(-1, -1, -1, factor, -1, factor)
    return spread.reshape(batch, channels, factor * height, factor * width)


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    """Of every two places, less one, so that no exponential is large: directions, (B, C, N) each, to (B, N, N)."""
    return torch.matmul(one.transpose(1, 2), other / other.shape[1]) - 1


def _distances(below: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Of every two places, from their cosines less one and their lengths, (B, 1, N) each: (B, N, N)."""
    one = one.transpose(1, 2)
    # Rounding may take a cosine beyond one.
    return ((one - other).square() - 2 * one * other * below).clamp(min=1e-4).sqrt()


def _unlike(below: Tensor, sharp: float, weight: Tensor | float) -> Tensor:
    """The soft distance of each place to the others, by the logarithms of their weights: (..., N, K) to (..., N)."""
    raised = sharp * below + weight
    top = raised.amax(dim=-1, keepdim=True)
    return -((raised - top).exp().sum(dim=-1).log() + top.squeeze(-1)) / sharp


def _peak(one: Tensor, softness: float) -> Tensor:
    """A smooth maximum over places: (B, N) to (B, 1)."""
    return ((softness * one).softmax(dim=1) * one).sum(dim=1, keepdim=True)
