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

from edgezsad.model import DETAIL_SHARE, DETAIL_WEIGHT, MAP_WEIGHT, OWN_WEIGHT, SMALLEST
from edgezsad.model.detector import DetectorModule, extract_features
from edgezsad.model.self_reference import (
    NEAR,
    JointPatches,
    enlarged,
    enlarging,
    mean_of_highest,
    near_patches,
    own_distance,
)

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
        self.joint = JointPatches(self.side)
        self.register_buffer("near", NEAR * near_patches(self.side))
        self.register_buffer("enlarge_map", enlarging(self.side))
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
        own = own_distance(patches, self.near, MAP_WEIGHT * coarse_map)
        distance = (length - similarity).clamp(min=SMALLEST).sqrt() + OWN_WEIGHT * own
        # The finer detector's map adds the detail within a patch.
        coarse, smooth = (enlarged(one, self.enlarge_map) for one in (distance, coarse_map))
        squared = coarse.square() + DETAIL_WEIGHT * (local_map - smooth)
        fine = squared.clamp(min=SMALLEST).sqrt() + DETAIL_SHARE * local_map
        score = mean_of_highest(distance.flatten(1)).view(1, 1, 1, 1)
        return (score * self.scale + self.shift).view(1), fine * self.scale + self.shift, patches, coarse_map, own

    def describe(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the patches (1, C, g, g), each stride of its length in `STRIDE_WEIGHTS`, and the detector's map."""
        views = extract_features(self.detector.backbone, image, "rot180")
        local_map = self.detector.readout(*(views if self.detector.tta == "rot180" else (views[0], None))).map
        return self.joint(*views), local_map
