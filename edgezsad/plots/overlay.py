"""Heat maps: the one colour scale of the package, and the picture laid over a photograph."""

import cv2
import numpy as np
from matplotlib import colormaps

HEAT = "inferno"
# In logits: an even chance of a defect lies in the middle.
HEAT_RANGE = (-6.0, 6.0)


def heat(anomaly_map: np.ndarray, size: int) -> np.ndarray:
    """(h, w) map to (size, size), bilinear, still in logits."""
    return cv2.resize(anomaly_map, (size, size), interpolation=cv2.INTER_LINEAR)


def overlay(image: np.ndarray, anomaly_map: np.ndarray) -> np.ndarray:
    """A heat map over its photograph.

    Args:
        image: (H, W, 3) uint8 RGB.
        anomaly_map: (h, w) logits.

    Returns:
        (H, W, 3) uint8: the photograph where the map is low, the heat colours where it is high, on `HEAT_RANGE`.
    """
    height, width = image.shape[:2]
    colours = np.round(255 * colormaps[HEAT](np.arange(256))[:, :3]).astype(np.float32)
    large = cv2.resize(anomaly_map.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    blended = np.empty_like(image)
    # By bands of rows: a large photograph in floating point at once would take gigabytes.
    for top in range(0, height, 256):
        band = slice(top, top + 256)
        level = np.clip((large[band] - HEAT_RANGE[0]) / (HEAT_RANGE[1] - HEAT_RANGE[0]), 0, 1)
        alpha = 0.75 * level[..., None]
        painted = colours[np.round(255 * level).astype(np.uint8)]
        blended[band] = np.round(image[band] * (1 - alpha) + painted * alpha)
    return blended
