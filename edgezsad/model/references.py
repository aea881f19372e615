"""Compare the patches of an image with patches of reference images of good parts, in one graph with the detector.

After PatchCore (Roth et al., 2022): the distance of each patch to the nearest reference patch. Three things are ours:
features are averaged over the image and its rotation by 180 degrees, which the detector computes anyway; the detector's
own map, which needs no references, is part of the distance; and so is the distance to the nearest patch of the same
image, since what occurs only once in a part is more often a defect.

The reference patches are the weights of a 1 x 1 convolution, so that a part's detector is one graph of plain operators.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgezsad.model import DETAIL_SHARE, DETAIL_WEIGHT, MAP_WEIGHT, OWN_WEIGHT, PEAK_CELLS, SMALLEST, STRIDE_WEIGHTS
from edgezsad.model.detector import DetectorModule, extract_features
from edgezsad.model.edgeglr import rotate180

OWN_REACH = 1 / 4  # share of the side within which a patch of the same image does not count
NEAR = 1e4  # added to the squared distance of patches that are not compared; FP16 can represent it
REPLACED = ("bank", "offset", "scale", "shift")
DESCRIPTION = ("patches", "detector_map", "own_distance")
"""Tensors of the shipped graph that describe an image: (1, C, g, g), (1, 1, g, g) and (1, 1, g, g)."""


class ReferenceDetector(nn.Module):
    """A detector whose score and map are distances to reference patches.

    The buffers `REPLACED` are missing in the shipped graph; `edgezsad.references` adds them. `bank` (M, C, 1, 1) is
    twice the reference patches, `offset` (M,) is `MAP_WEIGHT` times the detector's map there less the patches' squared
    lengths. Scores and maps are multiplied by `scale`, and `shift` is added.
    """

    def __init__(self, detector: DetectorModule):
        super().__init__()
        self.detector, self.size = detector, detector.size
        self.side = detector.size // detector.backbone.strides[1]
        step = torch.arange(self.side)
        near = ((step[:, None] - step).abs() <= OWN_REACH * self.side).float()
        self.register_buffer("near", NEAR * torch.kron(near, near))
        self.register_buffer("enlarge", _enlarging(self.side // 2))
        self.register_buffer("enlarge_map", _enlarging(self.side))
        channels = sum(detector.backbone.channels)
        self.register_buffer("bank", torch.zeros(1, channels, 1, 1))
        self.register_buffer("offset", torch.ones(1))
        self.register_buffer("scale", torch.full((1, 1, 1, 1), 2.0))
        self.register_buffer("shift", torch.full((1, 1, 1, 1), 3.0))
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Score (1, 3, S, S) pixels 0..255: score (1,), map (1, 1, h, w), and the tensors of `DESCRIPTION`."""
        patches, local_map = self.describe(image)
        coarse_map = functional.avg_pool2d(local_map, 2)
        length = patches.square().sum(dim=1, keepdim=True) + MAP_WEIGHT * coarse_map
        similarity = functional.conv2d(patches, self.bank, self.offset).amax(dim=1, keepdim=True)
        own = self.own_distance(patches, coarse_map)
        distance = (length - similarity).clamp(min=SMALLEST).sqrt() + OWN_WEIGHT * own
        # The finer detector's map adds the detail within a patch.
        enlarged, enlarged_map = (_enlarge(one, self.enlarge_map) for one in (distance, coarse_map))
        squared = enlarged.square() + DETAIL_WEIGHT * (local_map - enlarged_map)
        fine = squared.clamp(min=SMALLEST).sqrt() + DETAIL_SHARE * local_map
        score = mean_of_highest(distance.flatten(1)).view(1, 1, 1, 1)
        return (score * self.scale + self.shift).view(1), fine * self.scale + self.shift, patches, coarse_map, own

    def describe(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the patches (1, C, g, g), each stride of its length in `STRIDE_WEIGHTS`, and the detector's map."""
        views = extract_features(self.detector.backbone, image, "rot180")
        local_map = self.detector.readout(*(views if self.detector.tta == "rot180" else (views[0], None))).map
        fine, middle, coarse = ((one + rotate180(other)) / 2 for one, other in zip(*views, strict=True))
        joint = zip(
            (functional.avg_pool2d(fine, 2), middle, _enlarge(coarse, self.enlarge)), STRIDE_WEIGHTS, strict=True
        )
        parts = [weight * one / (one.square().sum(dim=1, keepdim=True).sqrt() + 1e-6) for one, weight in joint]
        return torch.cat(parts, dim=1), local_map

    def own_distance(self, patches: Tensor, coarse_map: Tensor) -> Tensor:
        """Compute the distance of each patch to the nearest patch of the same image that is far enough away."""
        flat, own = patches.flatten(2), MAP_WEIGHT * coarse_map.flatten(2)
        length = flat.square().sum(dim=1, keepdim=True)
        others = 2 * torch.matmul(flat.transpose(1, 2), flat) - (length - own) - self.near
        squared = (length + own).transpose(1, 2) - others.amax(dim=2, keepdim=True)
        return squared.clamp(min=SMALLEST).sqrt().transpose(1, 2).view_as(coarse_map)


def mean_of_highest(values: Tensor, count: int = PEAK_CELLS) -> Tensor:
    """Average the `count` highest of (B, N) values: one maximum after the other, since boards have no TopK."""
    highest = []
    for _ in range(count):
        top = values.amax(dim=1, keepdim=True)
        highest.append(top)
        # One at the maximum and what is within 1 / NEAR of it, zero elsewhere.
        values = values - NEAR * functional.relu((values - top) * NEAR + 1)
    return torch.cat(highest, dim=1).mean(dim=1)


def _enlarging(side: int) -> Tensor:
    """Return the (2 side, side) matrix of bilinear interpolation: few boards support Resize."""
    rows = functional.interpolate(torch.eye(side)[None], size=2 * side, mode="linear", align_corners=False)
    return rows[0].T.contiguous()


def _enlarge(maps: Tensor, matrix: Tensor) -> Tensor:
    return torch.matmul(torch.matmul(matrix, maps), matrix.T)
