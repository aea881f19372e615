"""Scores from an exported graph and nothing else: without PyTorch the first score is there after a second or two."""

import math
import os
from pathlib import Path

import numpy as np

from edgezsad.errors import InputError
from edgezsad.scoring.runtimes import THRESHOLD, as_tensor, cpu_session, input_size


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class GraphScorer:
    """A graph on ONNX Runtime's CPU provider, on all cores.

    Attributes:
        size: input height and width in pixels.
        threshold: that the graph carries; None where it carries none.
    """

    def __init__(self, path: Path | str):
        """Open a graph.

        Raises:
            InputError: the file is missing, damaged, or not ours.
        """
        self._session = cpu_session(path, cores())
        self.threshold = _threshold(self._session.get_modelmeta().custom_metadata_map, path)
        self.size = input_size(self._session, path)

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """(size, size, 3) uint8 RGB to the score and the (h, w) float32 map, raw logits."""
        score, anomaly_map = self._session.run(["score", "map"], {"image": as_tensor(image, self.size)})
        return float(score[0]), anomaly_map[0, 0]


def _threshold(metadata: dict[str, str], path: Path | str) -> float | None:
    text = metadata.get(THRESHOLD)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}: its threshold is {text!a}, not a number; export it again")
    return value
