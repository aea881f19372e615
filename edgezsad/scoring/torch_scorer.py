"""Score images with PyTorch in FP32 from a checkpoint: the reference for every exported graph."""

import platform
from pathlib import Path

import numpy as np
import torch

from edgezsad.config import Model
from edgezsad.errors import InputError
from edgezsad.files import versions
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import DetectorModule, extract_features, load_detector


class TorchScorer:
    """A detector on the CPU (see `Scorer`)."""

    runtime = "pytorch"
    precision = "fp32"

    def __init__(self, detector: DetectorModule, first: "TorchScorer | None" = None):
        """Wrap a detector; `first`, of the same frozen backbone, scores every image before, and its features are used.

        Only a scorer that runs the backbone itself is timed.
        """
        self.detector, self.size, self.timed = detector, detector.size, first is None
        self.detector_sha256 = detector.sha256()
        self._first = first
        own = "wall time of the forward pass, batch 1, after decoding and resizing; no warm-up"
        self.timing_method = own if self.timed else "not timed: shares the backbone's pass"
        self.device = f"CPU {platform.machine()}, {torch.get_num_threads()} thread(s)"
        self.versions = versions("torch", "timm")

    @torch.inference_mode()
    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Score one image (see `Scorer.score`)."""
        size = self.size
        if image.shape != (size, size, 3) or image.dtype != np.uint8:
            raise InputError(f"image: expected ({size}, {size}, 3) uint8, got {image.shape} {image.dtype}")
        if self._first is None:
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
            self.image, self.features = image, extract_features(self.detector.backbone, pixels, self.detector.tta)
        source = self._first or self
        assert source.image is image
        output = self.detector.readout(*source.features)
        return output.score.item(), output.map[0, 0].numpy()


def torch_scorers(checkpoints: list[Path], model: Model) -> list[TorchScorer]:
    """Open one scorer of one thread for each checkpoint of a configuration; a frozen backbone runs once for all."""
    torch.set_num_threads(1)
    backbone = Backbone(model.backbone, model.weights, model.strides)
    scorers: list[TorchScorer] = []
    for path in checkpoints:
        detector, _ = load_detector(path, backbone, expected=model)
        shared = bool(scorers) and detector.backbone is scorers[0].detector.backbone
        scorers.append(TorchScorer(detector, scorers[0] if shared else None))
    return scorers
