"""Heat maps on one fixed colour scale, laid over images, and outlines of masks. Needs NumPy and OpenCV only."""

import cv2
import numpy as np

HEAT_RANGE = (0.0, 8.0)
"""Logits at both ends of the colour scale: up to 0, halfway between normal and defective in training, a map is dark."""

OUTLINE = (230, 159, 0)
"""Orange of the Okabe-Ito palette: differs from greys and greens for every kind of colour vision."""


def heat_colours() -> np.ndarray:
    """Return the colours of heat maps from low to high: (256, 3) uint8 RGB, the inferno scale."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, 0, ::-1])


def heat_map(anomaly_map: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an anomaly map (h, w) of logits bilinearly and colour it: (height, width, 3) uint8 RGB."""
    return heat_colours()[np.round(255 * _levels(anomaly_map, height, width)).astype(np.uint8)]


def overlay(image: np.ndarray, anomaly_map: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Blend the heat colours over an image, (H, W, 3) uint8 RGB, where its map, (h, w) logits, is high.

    `out` may be the image itself, to save memory.
    """
    levels = _levels(anomaly_map, *image.shape[:2])
    blended = np.empty_like(image) if out is None else out
    # In bands of rows: a large image in floating point would take gigabytes.
    for top in range(0, len(image), 256):
        band = slice(top, top + 256)
        alpha = 0.75 * levels[band]
        painted = cv2.applyColorMap(cv2.convertScaleAbs(levels[band], alpha=255), cv2.COLORMAP_INFERNO)
        pixels = np.ascontiguousarray(image[band])
        blended[band] = cv2.blendLinear(pixels, cv2.cvtColor(painted, cv2.COLOR_BGR2RGB), 1 - alpha, alpha)
    return blended


def hot_region(anomaly_map: np.ndarray, height: int, width: int, threshold: float | None, always: bool) -> np.ndarray:
    """Return where a map (h, w), averaged over 2 x 2 cells, reaches the threshold: bool (height, width).

    Without a threshold, or if it is reached nowhere and `always` is set, the highest 1%.
    """
    # Scores rest on groups of cells; single ones exceed the threshold in good images too.
    halved = [max(1, length // 2) for length in anomaly_map.shape[::-1]]
    averaged = cv2.resize(anomaly_map.astype(np.float32), halved, interpolation=cv2.INTER_AREA)
    levels = cv2.resize(averaged, (width, height), interpolation=cv2.INTER_LINEAR)
    if threshold is None or (always and levels.max() < threshold):
        threshold = np.quantile(levels, 0.99)
    return levels >= threshold


def thumbnail(image: np.ndarray, side: int = 240) -> np.ndarray:
    """Resize an image, (H, W, 3) uint8, so that its longer side has `side` pixels."""
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(scale * length)) for length in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def outline(image: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Draw the outline of a mask on a copy of an image, (H, W, 3) uint8 RGB, also around defects below a pixel.

    `coverage` is the fraction of each pixel that the mask covers, (H, W).
    """
    inside = (coverage > min(0.5, float(coverage.max()) / 2)).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    drawn = cv2.drawContours(image.copy(), contours, -1, (0, 0, 0), thickness=3)
    return cv2.drawContours(drawn, contours, -1, OUTLINE, thickness=1)


def _levels(anomaly_map: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a map and scale it to 0..1."""
    large = cv2.resize(anomaly_map.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    low, high = HEAT_RANGE
    # In place: of a large image, each copy would take half a gigabyte.
    large -= low
    large /= high - low
    return np.clip(large, 0, 1, out=large)
