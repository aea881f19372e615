"""Pixel metrics of anomaly maps: AUROC, average precision, F1-max and AUPRO, in one pass over binned pixels.

Maps are enlarged bilinearly and masks reduced by nearest neighbour to `pixels`. Values are counted in about 45,000
bins: 4,096 equal ones between each two of twelve quantiles of the low-resolution maps, whose range bilinear
interpolation never leaves. On real maps at 512 x 512 AUROC differs from that of a full sort by less than 1e-5, the
others by less than 1e-4; at 128 x 128, with fewer pixels, F1-max may differ by up to 2e-4.

Two quantities are called AUPRO. `aupro` follows MVTec's definition: 8-connected regions of equal weight, and a curve
interpolated at the limit. `aupro200` is that of many zero-shot repositories: 200 evenly spaced thresholds, no
interpolation. It depends on the extreme values of the maps and is reported for comparison only.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from edgezsad.errors import InputError
from edgezsad.metrics.image_metrics import ap_from_counts, aupro_from_counts, auroc_from_counts, f1_from_counts

FPR_LIMIT = 0.3
STEPS = 200
_LEVELS = (0, 0.01, 0.1, 0.5, 0.75, 0.9, 0.95, 0.98, 0.995, 0.999, 0.9999, 1)
_BINS = 4096
_SAMPLED = 1 << 21
_THREADS = 2
_BATCH = 16


@dataclass(frozen=True)
class PixelMetrics:
    """AUROC, average precision, largest F1 and both AUPROs in [0, 1]; NaN without defective or normal pixels."""

    auroc: float
    ap: float
    f1max: float
    aupro: float
    aupro200: float


def pixel_metrics(
    maps: Sequence[ArrayLike] | np.ndarray, masks: Iterable[ArrayLike | None], pixels: int | None = None
) -> PixelMetrics:
    """Compute pixel metrics of N (h, w) maps, higher is more anomalous; InputError if a map is not finite.

    Of the N (H, W) masks, anything but zero is defective, and None is a normal image. Pixels are compared at `pixels`
    height and width; None: maps and masks have the same size.
    """
    bins = Bins(maps)
    total = np.zeros((3, bins.count))
    for counts in count_images(maps, masks, pixels, bins):
        total += counts
    normal, defective, overlap = total
    return PixelMetrics(
        auroc=float(auroc_from_counts(normal, defective)),
        ap=float(ap_from_counts(normal, defective)),
        f1max=float(f1_from_counts(normal, defective).max()),
        aupro=float(aupro_from_counts(normal, overlap, FPR_LIMIT)),
        aupro200=_aupro_by_steps(normal, overlap, bins),
    )


class Bins:
    """A monotone function from the values of (h, w) maps to bin numbers, with `size` equal bins between quantiles."""

    def __init__(self, maps: Sequence[ArrayLike] | np.ndarray, size: int = _BINS):
        arrays = [np.asarray(each) for each in maps]
        for row, each in enumerate(arrays):
            if each.ndim != 2 or not each.size:
                raise InputError(f"metrics: map {row} has shape {each.shape}; expected height x width")
            if not np.isfinite(each).all():
                raise InputError(f"metrics: map {row} has a value that is not finite; check that image")
        # An odd step, or an even width would be sampled in few columns.
        step = sum(each.size for each in arrays) // _SAMPLED | 1
        ends = [end for each in arrays for end in (each.min(), each.max())]
        sample = np.concatenate([*(each.ravel()[::step] for each in arrays), ends or [0]]).astype(np.float64)
        # Values are centred and scaled before they are enlarged, where float64 costs little.
        self._centre = np.median(sample)
        self._scale = np.abs(sample - self._centre).max() or 1.0
        knots = np.unique(np.quantile((sample - self._centre) / self._scale, _LEVELS).astype(np.float32))
        # Slopes stay within float32.
        self._knots = knots[np.append(True, np.diff(knots) > 1e-30)]
        self._size = size
        self.count = size * (len(self._knots) - 1) + 1

    def normalise(self, anomaly_map: ArrayLike) -> np.ndarray:
        """Centre and scale a map: float32 in [-1, 1]."""
        return ((np.asarray(anomaly_map) - self._centre) / self._scale).astype(np.float32)

    def number(self, values: np.ndarray) -> np.ndarray:
        """Compute the bin numbers of normalised values (H, W), uint16."""
        # A value that many pixels share may be a knot: half a bin keeps it away from an edge, where rounding decides.
        position = np.full(values.shape, 0.5, dtype=np.float32)
        within = np.empty_like(position)
        for low, high in itertools.pairwise(self._knots):
            np.clip(values, low, high, out=within)
            np.subtract(within, low, out=within)
            cv2.scaleAdd(within, self._size / float(high - low), position, position)
        return position.astype(np.uint16)

    def value(self, number: np.ndarray) -> np.ndarray:
        """Compute the normalised values in the middle of bins."""
        return np.interp(number, self._size * np.arange(len(self._knots)), self._knots)


def count_images(
    maps: Sequence[ArrayLike] | np.ndarray, masks: Iterable[ArrayLike | None], pixels: int | None, bins: Bins
) -> Iterator[np.ndarray]:
    """Count the pixels of each image in bins, (3, bins) float64; arguments as for `pixel_metrics`.

    The rows are normal pixels, defective pixels, and these weighted by one over the area of their region.
    """
    pairs = zip(maps, masks, strict=True)
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(itertools.islice(pairs, _BATCH)):
            yield from pool.map(lambda pair: _count(*pair, pixels, bins), batch)


def _count(anomaly_map: ArrayLike, mask: ArrayLike | None, pixels: int | None, bins: Bins) -> np.ndarray:
    values = bins.normalise(anomaly_map)
    if pixels is not None:
        values = enlarge(values, pixels)
    mask = None if mask is None else reduce_mask(mask, pixels)
    if mask is not None and mask.shape != values.shape:
        raise InputError(f"metrics: map {values.shape} and mask {mask.shape} differ in size; give `pixels`")
    number = bins.number(values)
    counts = np.zeros((3, bins.count))
    counts[0] = np.bincount(number.ravel(), minlength=bins.count)
    if mask is not None and mask.any():
        # Most defects are small: regions are found in their bounding box.
        x, y, width, height = cv2.boundingRect(mask)
        box = slice(y, y + height), slice(x, x + width)
        _, label = cv2.connectedComponents(mask[box], connectivity=8, ltype=cv2.CV_32S)
        inside = label > 0
        number, label = number[box][inside], label[inside]
        counts[1] = np.bincount(number, minlength=bins.count)
        counts[2] = np.bincount(number, 1 / np.bincount(label)[label], bins.count)
        counts[0] -= counts[1]
    return counts


def _aupro_by_steps(normal: np.ndarray, overlap: np.ndarray, bins: Bins) -> float:
    """AUPRO by evenly spaced thresholds; rates below the limit are stretched to [0, 1]. NaN with too few points."""
    if not (normal.any() and overlap.any()):
        return float("nan")
    low, high = bins.value(np.flatnonzero(normal + overlap)[[0, -1]])
    thresholds = low + (high - low) / STEPS * np.arange(STEPS, dtype=np.float32)[None, ::-1]
    # A pixel is above a threshold if its bin is.
    number = bins.number(thresholds.astype(np.float32))[0]
    fpr, pro = (1 - np.cumsum(counts)[number] / counts.sum() for counts in (normal, overlap))
    kept = fpr < FPR_LIMIT
    fpr, pro = fpr[kept], pro[kept]
    if len(fpr) < 2 or fpr[0] == fpr[-1]:
        return float("nan")
    return float(np.trapezoid(pro, (fpr - fpr[0]) / (fpr[-1] - fpr[0])))


def enlarge(anomaly_map: ArrayLike, pixels: int) -> np.ndarray:
    """Enlarge an anomaly map (h, w) to (pixels, pixels) float32, bilinear with half-pixel centres."""
    # OpenCV would round integers after the interpolation.
    return cv2.resize(np.asarray(anomaly_map, dtype=np.float32), (pixels, pixels), interpolation=cv2.INTER_LINEAR)


def reduce_mask(mask: ArrayLike, pixels: int | None) -> np.ndarray:
    """Reduce a mask (H, W), anything but zero is defective, to (pixels, pixels) uint8 0 or 1, by nearest neighbour."""
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise InputError(f"metrics: mask of shape {mask.shape}; expected height x width")
    mask = np.ascontiguousarray(mask != 0).view(np.uint8)
    if pixels is None or mask.shape == (pixels, pixels):
        return mask
    return cv2.resize(mask, (pixels, pixels), interpolation=cv2.INTER_NEAREST_EXACT)
