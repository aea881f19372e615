"""Pixel-level metrics, exact by one sort: AUROC and AUPRO of anomaly maps.

AUPRO follows the MVTec definition: 8-connected regions, every region of equal weight, the curve of mean region overlap
over false-positive rate interpolated at the limit (0.3), the area divided by the limit. Many zero-shot repositories
report another quantity under the same name (200 thresholds, no interpolation); this is not it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from edgezsad.errors import InputError

FPR_LIMIT = 0.3
EIGHT_CONNECTED = np.ones((3, 3), dtype=int)


@dataclass(frozen=True)
class PixelMetrics:
    """Both in [0, 1]; NaN when there is no defective or no normal pixel."""

    auroc: float
    aupro: float


def pixel_metrics(maps: np.ndarray, masks: np.ndarray, fpr_limit: float = FPR_LIMIT) -> PixelMetrics:
    """AUROC and AUPRO over all pixels of a category.

    Args:
        maps: (N, H, W) any real numbers, higher is more anomalous.
        masks: (N, H, W) bool, the same size as the maps.
        fpr_limit: the false-positive rate up to which AUPRO integrates.

    Raises:
        InputError: the shapes differ, or a map holds a value that is not finite (its index is named).
    """
    if maps.shape != masks.shape or maps.ndim != 3:
        raise InputError(f"metrics: maps {maps.shape} and masks {masks.shape} differ; enlarge the maps first")
    bad = ~np.isfinite(maps).all(axis=(1, 2))
    if bad.any():
        raise InputError(f"metrics: map {int(bad.argmax())} is not finite; look at that image")
    if not masks.any() or masks.all():
        return PixelMetrics(float("nan"), float("nan"))
    # Each defective pixel weighs one over its region's area, so that every region counts once however large it is.
    weight = np.zeros(masks.shape)
    regions = 0
    for index in np.flatnonzero(masks.any(axis=(1, 2))):
        labelled, count = ndimage.label(masks[index], structure=EIGHT_CONNECTED)
        area = np.bincount(labelled.ravel(), minlength=count + 1).astype(float)
        area[0] = np.inf
        weight[index] = 1 / area[labelled]
        regions += count
    # Sorted upwards and read backwards: a minus sign would wrap around in maps of unsigned integers.
    order = np.argsort(maps, axis=None, kind="stable")[::-1]
    sorted_scores = maps.ravel()[order]
    defective = masks.ravel()[order]
    # Pixels of equal score enter together: keep the curve only where the score changes, and at the end.
    last = np.append(np.flatnonzero(sorted_scores[1:] != sorted_scores[:-1]), len(order) - 1)
    false_positives = np.cumsum(~defective)[last]
    true_positives = np.cumsum(defective)[last]
    overlap = np.cumsum(weight.ravel()[order])[last]
    fpr = np.concatenate([[0.0], false_positives / false_positives[-1]])
    tpr = np.concatenate([[0.0], true_positives / true_positives[-1]])
    pro = np.concatenate([[0.0], overlap / regions])
    return PixelMetrics(float(np.trapezoid(tpr, fpr)), _area_up_to(fpr, pro, fpr_limit) / fpr_limit)


def enlarge(maps: np.ndarray, pixels: int) -> np.ndarray:
    """(N, h, w) maps to (N, pixels, pixels), bilinear with half-pixel centres."""
    return np.stack([cv2.resize(each, (pixels, pixels), interpolation=cv2.INTER_LINEAR) for each in maps])


def reduce_mask(mask: np.ndarray, pixels: int) -> np.ndarray:
    """(H, W) bool to (pixels, pixels), by nearest neighbour, as the field does."""
    return cv2.resize(mask.astype(np.uint8), (pixels, pixels), interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)


def _area_up_to(x: np.ndarray, y: np.ndarray, limit: float) -> float:
    """Trapezoidal area under y(x) for x up to `limit`, the last piece interpolated."""
    inside = x <= limit
    x_cut = np.append(x[inside], limit)
    # Where x repeats at the limit, the curve's upper value is the right one; otherwise interpolate to the next point.
    y_limit = y[inside][-1]
    if x[inside][-1] < limit:
        y_limit = np.interp(limit, x, y)
    return float(np.trapezoid(np.append(y[inside], y_limit), x_cut))
