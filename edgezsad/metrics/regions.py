"""From a model's map and a mask to pixels of one size: enlargement, reduction, and the regions of a mask.

All three are part of a pixel metric's definition: the same maps give other numbers at another size or by another rule.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from edgezsad.errors import InputError
from edgezsad.metrics.ranks import as_float

# Masses are whole: a region's pixels share this much, which leaves areas up to 2**20 exact to one part in 2**20.
REGION_MASS = 1 << 40


def enlarge(anomaly_map: np.ndarray, pixels: int, out: np.ndarray | None = None) -> np.ndarray:
    """An anomaly map (h, w) to (pixels, pixels), bilinear with half-pixel centres; into `out` if it fits."""
    # Whole numbers would be rounded after every interpolation.
    return cv2.resize(as_float(anomaly_map), (pixels, pixels), dst=out, interpolation=cv2.INTER_LINEAR)


def reduce_mask(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask (H, W), anything but zero is defective, to (pixels, pixels) uint8 zeros and ones, by nearest neighbour."""
    mask = as_bytes(mask)
    if mask.shape == (pixels, pixels):
        return mask
    return cv2.resize(mask, (pixels, pixels), interpolation=cv2.INTER_NEAREST_EXACT)


def as_bytes(mask: np.ndarray) -> np.ndarray:
    """A mask of booleans, or of numbers where anything but zero is defective, as (H, W) uint8 zeros and ones."""
    if mask.ndim != 2:
        raise InputError(f"metrics: a mask of shape {mask.shape}; give height x width")
    if mask.dtype != np.bool_:
        mask = mask != 0
    return np.ascontiguousarray(mask).view(np.uint8)


@dataclass(frozen=True)
class Regions:
    """The 8-connected regions of a mask.

    Attributes:
        rows, columns: the rectangle around all of them; most defects are small, so only it is looked at.
        label: (h, w) int32 of that rectangle: 0 for normal pixels, 1 to R for those of each region.
        area: (R,) pixels of each.
    """

    rows: slice
    columns: slice
    label: np.ndarray
    area: np.ndarray


def find_regions(mask: np.ndarray) -> Regions | None:
    """The regions of a mask (H, W) of uint8 zeros and ones; None if it has none."""
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return None
    rows, columns = slice(y, y + height), slice(x, x + width)
    count, label = cv2.connectedComponents(mask[rows, columns], connectivity=8, ltype=cv2.CV_32S)
    return Regions(rows, columns, label, np.bincount(label.ravel(), minlength=count)[1:])
