"""Generated test images for metrics.py: smooth anomaly maps and masks of round defects, reproducible.

Sizes and shares follow MVTec-AD's test set (1,725 images, 1,258 of them defective); maps look like the logits of a
detector at 64 x 64. Each image takes its map from a small pool, with its own gain and offset: scores hardly repeat, and
the data costs neither time nor memory that would count as a competitor's.
"""

from collections.abc import Iterator

import cv2
import numpy as np

MVTEC_AD = 1725
PIXELS = 512
LOW = 64
POOL = 40
DEFECTIVE = 1258 / 1725


class Made:
    """A test set of `count` images; iterating yields (map, mask or None)."""

    def __init__(self, count: int):
        self.count = count
        self.pool = [_image(np.random.default_rng((7, number)), number) for number in range(POOL)]
        changes = np.random.default_rng(11).normal((1, 0), (0.03, 0.1), size=(count, 2))
        self.changes = changes.astype(np.float32)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for number in range(self.count):
            anomaly_map, mask = self.pool[number % POOL]
            gain, offset = self.changes[number]
            yield anomaly_map * gain + offset, mask


def _image(random: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a map (64, 64) float32 and its mask (512, 512) uint8, 0 or 1; None for a normal image."""
    ground = cv2.GaussianBlur(random.normal(size=(LOW, LOW)), (0, 0), 3)
    anomaly_map = -4 + 1.2 * ground / ground.std() + 0.15 * random.normal(size=(LOW, LOW))
    # Defective images are spaced evenly.
    if int((number + 1) * DEFECTIVE) == int(number * DEFECTIVE):
        return anomaly_map.astype(np.float32), None
    mask = np.zeros((PIXELS, PIXELS), dtype=np.uint8)
    for _ in range(random.integers(1, 4)):
        defect = _defect(random)
        mask |= defect
        # A detector responds to defects with different strength, and without sharp edges.
        seen = cv2.GaussianBlur(cv2.resize(defect.astype(float), (LOW, LOW), interpolation=cv2.INTER_AREA), (0, 0), 2)
        anomaly_map += random.uniform(1.5, 9) * seen
    return anomaly_map.astype(np.float32), mask


def _defect(random: np.random.Generator) -> np.ndarray:
    """Return the mask of a circle with a varying radius."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    waves = sum(random.normal(0, 0.12) * np.cos(k * angle + random.uniform(0, 2 * np.pi)) for k in (1, 2, 3, 4))
    # Most are small, a few cover a tenth of the image.
    radius = np.exp(random.normal(np.log(30), 0.6)) * np.clip(1 + waves, 0.3, 2)
    centre = random.uniform(60, PIXELS - 60, size=2)
    outline = centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mask = np.zeros((PIXELS, PIXELS), dtype=np.uint8)
    return cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1)
