"""Score images with PyTorch in FP32 from a checkpoint: the reference for every exported graph."""

import platform
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgezsad.config import Model
from edgezsad.errors import InputError
from edgezsad.files import versions
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import DetectorModule, extract_features, load_detector


class LastFeatures:
    """Features of the last image, shared by seeds with the same frozen backbone."""

    def __init__(self, backbone: Backbone, tta: str = "none"):
        self.backbone, self.tta = backbone, tta
        self._image: np.ndarray | None = None
        self._features: tuple[list[Tensor], list[Tensor] | None] = ([], None)

    def of(self, image: np.ndarray) -> tuple[list[Tensor], list[Tensor] | None]:
        """Return the readout's inputs for (S, S, 3) uint8 `image`; computed only if it is another array."""
        if image is not self._image:
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
            self._features = extract_features(self.backbone, pixels, self.tta)
            self._image = image
        return self._features


class TorchScorer:
    """A detector on the CPU (see `Scorer`)."""

    runtime = "pytorch"
    precision = "fp32"
    timing_method = "wall time of the forward pass, batch 1, after decoding and resizing; no warm-up"

    def __init__(self, detector: DetectorModule, features: LastFeatures | None = None, timed: bool = True):
        """Wrap a detector; `timed` is False if `features` are shared with a scorer that computes them."""
        self.detector, self.size, self.timed = detector, detector.size, timed
        self.detector_sha256 = detector.sha256()
        self._features = features or LastFeatures(detector.backbone, detector.tta)
        self.device = f"CPU {platform.machine()}, {torch.get_num_threads()} thread(s)"
        self.versions = versions("torch", "timm")

    @torch.inference_mode()
    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Score one image (see `Scorer.score`)."""
        size = self.size
        if image.shape != (size, size, 3) or image.dtype != np.uint8:
            raise InputError(f"image: expected ({size}, {size}, 3) uint8, got {image.shape} {image.dtype}")
        output = self.detector.readout(*self._features.of(image))
        return output.score.item(), output.map[0, 0].numpy()


def torch_scorers(checkpoints: list[Path], model: Model, threads: int) -> list[TorchScorer]:
    """Open one scorer for each checkpoint of one configuration; those with a frozen backbone share its features.

    Only the first scorer of a backbone is timed: the others do not run it.
    """
    torch.set_num_threads(threads)
    backbone = Backbone(model.backbone, model.weights, model.strides)
    shared: LastFeatures | None = None
    scorers = []
    for path in checkpoints:
        detector, _ = load_detector(path, backbone, expected=model)
        own = shared is None or (detector.backbone, detector.tta) != (shared.backbone, shared.tta)
        if own:
            shared = LastFeatures(detector.backbone, detector.tta)
        scorers.append(TorchScorer(detector, shared, timed=own))
    return scorers
