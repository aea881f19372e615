"""Scores by PyTorch in FP32, straight from a checkpoint: what every exported graph is compared with."""

import platform
from pathlib import Path

import numpy as np
import torch

from edgezsad.config import Model
from edgezsad.errors import InputError
from edgezsad.files import versions
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import Detector, extract_features, load_detector


class LastFeatures:
    """Features of the last image, shared by seeds with the same frozen backbone.

    Attributes:
        backbone: computes the features.
        tta: test-time augmentation of the detectors.
    """

    def __init__(self, backbone: Backbone, tta: str = "none"):
        self.backbone, self.tta = backbone, tta
        self._image: np.ndarray | None = None
        self._features: tuple[list[torch.Tensor], list[torch.Tensor] | None] = ([], None)

    def of(self, image: np.ndarray) -> tuple[list[torch.Tensor], list[torch.Tensor] | None]:
        """Return the readout's inputs for (S, S, 3) uint8 `image`; computed only if it is another array."""
        if image is not self._image:
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
            self._features = extract_features(self.backbone, pixels, self.tta)
            self._image = image
        return self._features


def torch_scorers(checkpoints: list[Path], model: Model, threads: int) -> "list[TorchScorer]":
    """One scorer for each checkpoint of one configuration, all reading the same backbone's features.

    Only the first is timed: the others do not run the backbone, unless they tuned it.

    Raises:
        InputError: a checkpoint is missing, damaged or belongs to another model.
    """
    torch.set_num_threads(threads)
    backbone = Backbone(model.backbone, model.weights, model.strides)
    shared = None
    scorers: list[TorchScorer] = []
    for path in checkpoints:
        detector, _ = load_detector(path, backbone, expected=model)
        # A seed that tuned the backbone has one of its own.
        if shared is None or (detector.backbone, detector.tta) != (shared.backbone, shared.tta):
            shared = LastFeatures(detector.backbone, detector.tta)
            scorers.append(TorchScorer(detector, shared, timed=True))
        else:
            scorers.append(TorchScorer(detector, shared, timed=False))
    return scorers


class TorchScorer:
    """A detector as a scorer, FP32 on the CPU.

    Attributes:
        runtime, precision, device, versions, timing_method: what the run record says.
        size: input height and width in pixels.
        timed: whether a call runs the backbone too, so that its time is an image's.
    """

    runtime = "pytorch"
    precision = "fp32"
    timing_method = "wall time of the forward pass, batch 1, after decoding and resizing; no warm-up"

    def __init__(self, detector: Detector, features: LastFeatures | None = None, timed: bool = True):
        self.detector, self.size = detector, detector.size
        self.timed = timed
        self.detector_sha256 = detector.sha256()
        self._features = features or LastFeatures(detector.backbone, detector.tta)
        self.device = f"CPU {platform.machine()}, {torch.get_num_threads()} thread(s)"
        self.versions = versions("torch", "timm")

    @torch.inference_mode()
    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Score one prepared image.

        Args:
            image: (S, S, 3) uint8 RGB, S the detector's input size.

        Returns:
            The score and the (h, w) float32 map, raw logits.
        """
        size = self.detector.size
        if image.shape != (size, size, 3) or image.dtype != np.uint8:
            raise InputError(
                f"image: expected ({size}, {size}, 3) uint8, got {image.shape} {image.dtype}; resize it first"
            )
        output = self.detector.readout(*self._features.of(image))
        return output.score.item(), output.map[0, 0].numpy()
