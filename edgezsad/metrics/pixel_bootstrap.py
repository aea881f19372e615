"""Confidence intervals of pixel metrics: images are resampled, since pixels of an image are no independent evidence.

Sorting all pixels anew for each of a thousand resamples would take hours. Each image's pixels are counted once instead,
in a few thousand bins whose edges are quantiles of the normal and of the defective pixels; a resample is then a sum of
its images' counts, whatever the model. Pixels of one bin are ties, which moves an AUROC by some 1e-5, that is 0.001
points, and AUPRO by some 1e-4 on a few images, less on many (tested).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from edgezsad.errors import InputError
from edgezsad.metrics import curves
from edgezsad.metrics.pixel_metrics import FPR_LIMIT
from edgezsad.metrics.regions import Regions, enlarge, find_regions

BINS = 4096
SAMPLED = 1024
"""Pixels of an image that say where the edges lie."""
_CHUNK = 100


@dataclass(frozen=True)
class PixelReplicates:
    """Metrics of K models in B resamples of the same images, in [0, 1]; NaN without normal or defective pixels.

    Attributes:
        auroc: (K, B).
        aupro: (K, B), by MVTec's definition.
    """

    auroc: np.ndarray
    aupro: np.ndarray


def resampled_pixels(
    models: Sequence[np.ndarray], masks: Sequence[np.ndarray | None], pixels: int, times: np.ndarray
) -> PixelReplicates:
    """Pixel metrics of several models in resamples of the same images.

    Args:
        models: (N, h, w) maps of each of K models, finite numbers.
        masks: N of (pixels, pixels) uint8 zeros and ones; None for an image without defects.
        pixels: maps are enlarged to this height and width.
        times: (B, N) how often each image is in each resample; a row of ones gives the metric itself.

    Raises:
        InputError: there are not as many masks as maps.
    """
    if any(len(maps) != len(masks) for maps in models) or times.shape[1] != len(masks):
        raise InputError(f"metrics: {len(masks)} masks for {[len(maps) for maps in models]} maps; give one for each")
    values = np.full((2, len(models), len(times)), np.nan)
    found = [None if mask is None else find_regions(mask) for mask in masks]
    if len(masks) and any(found):
        edges = _edges(models, found, pixels)
        for model, maps in enumerate(models):
            counts = _count(maps, found, pixels, edges)
            for first in range(0, len(times), _CHUNK):
                rows = slice(first, first + _CHUNK)
                _measure(*(times[rows].astype(np.float32) @ each for each in counts), values[:, model, rows])
    return PixelReplicates(*values)


def _edges(models: Sequence[np.ndarray], found: Sequence[Regions | None], pixels: int) -> np.ndarray:
    """Ascending edges, half of them quantiles of some normal pixels, half of some defective ones, of all models."""
    kinds: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for maps in models:
        for anomaly_map, regions in zip(maps, found, strict=True):
            large = enlarge(anomaly_map, pixels)
            parts = (
                [large.ravel()] if regions is None else [large[~_inside(regions, pixels)], _defective(large, regions)]
            )
            for kind, part in zip(kinds, parts, strict=False):
                # An odd number, or an even width would be sampled in the same few columns.
                kind.append(part[:: len(part) // SAMPLED | 1])
    levels = np.linspace(0, 1, BINS // 2)
    return np.unique([np.quantile(np.concatenate(kind), levels) for kind in kinds if sum(map(len, kind))])


def _count(
    maps: np.ndarray, found: Sequence[Regions | None], pixels: int, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each image and bin, (N, K) each: normal pixels, defective ones, and these weighing one over their region."""
    # Single precision holds these counts, and sums of them, well enough, and halves the time of a sum.
    normal, defective, overlap = (np.zeros((len(maps), len(edges) + 1), dtype=np.float32) for _ in range(3))
    for row, (anomaly_map, regions) in enumerate(zip(maps, found, strict=True)):
        large = enlarge(anomaly_map, pixels)
        others = large.ravel() if regions is None else large[~_inside(regions, pixels)]
        # Looking a few thousand edges up among sorted pixels is ten times faster than the other way round.
        normal[row] = np.diff(np.searchsorted(np.sort(others), edges), prepend=0, append=len(others))
        if regions is not None:
            place = np.searchsorted(edges, _defective(large, regions), side="right")
            label = regions.label[regions.label > 0] - 1
            defective[row] = np.bincount(place, minlength=len(edges) + 1)
            overlap[row] = np.bincount(place, 1 / regions.area[label], len(edges) + 1)
    return normal, defective, overlap


def _inside(regions: Regions, pixels: int) -> np.ndarray:
    """(pixels, pixels) bool: the defective pixels."""
    inside = np.zeros((pixels, pixels), dtype=bool)
    inside[regions.rows, regions.columns] = regions.label > 0
    return inside


def _defective(values: np.ndarray, regions: Regions) -> np.ndarray:
    """The values of (H, W) at defective pixels."""
    return values[regions.rows, regions.columns][regions.label > 0]


@njit(cache=True, nogil=True)
def _measure(normal, defective, overlap, values):
    for row in range(len(normal)):
        values[0, row] = curves.auroc(normal[row], defective[row])
        values[1, row] = curves.aupro(normal[row], overlap[row], FPR_LIMIT)
