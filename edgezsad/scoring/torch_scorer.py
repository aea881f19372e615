"""Scores by PyTorch, straight from a checkpoint: what every exported graph is compared with."""

import platform

import numpy as np
import torch

from edgezsad.errors import InputError
from edgezsad.model.detector import Detector
from edgezsad.versions import versions


class TorchScorer:
    """A detector as a scorer, FP32 on the CPU.

    Attributes:
        runtime, precision, device, versions, timing_method: what the run record says.
    """

    runtime = "pytorch"
    precision = "fp32"
    timing_method = "wall time of the forward pass, batch 1, after decoding and resizing; no warm-up"

    def __init__(self, detector: Detector):
        self.detector = detector
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
            raise InputError(f"image {image.shape} {image.dtype}: the detector takes ({size}, {size}, 3) uint8")
        score, anomaly_map = self.detector(torch.from_numpy(image).permute(2, 0, 1)[None].float())
        return score.item(), anomaly_map[0, 0].numpy()
