"""Confidence intervals by a seeded, stratified bootstrap over images (Efron, Annals of Statistics 1979).

Normal and defective images are resampled separately. Resamples depend on the labels and the seed alone: models scored
on the same images share them, so the difference of two models has an interval too. Pixel metrics resample images too:
pixels of one image are not independent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from edgezsad.metrics.image_metrics import ap_from_counts, aupro_from_counts, auroc_from_counts, checked, f1_from_counts
from edgezsad.metrics.pixel_metrics import FPR_LIMIT, Bins, count_images

REPLICATES = 1000
LEVEL = 0.95
_CHUNK = 100
_BINS = 1024  # bins between two quantiles: few enough to count every image by itself


@dataclass(frozen=True)
class Replicates:
    """Image AUROC, average precision and largest F1 of B resamples, (B,) each; NaN when a class is missing."""

    auroc: np.ndarray
    ap: np.ndarray
    f1max: np.ndarray


def interval(values: np.ndarray) -> tuple[float, float]:
    """Compute the `LEVEL` percentile interval (low, high) of replicates, (B,); NaN if none is defined."""
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def bootstrap(label: ArrayLike, score: ArrayLike, replicates: int = REPLICATES, seed: int = 0) -> Replicates:
    """Compute image metrics of resampled images; arguments are checked as for the metrics themselves."""
    label, score = checked(label, score)
    values = np.full((3, replicates), np.nan)
    if len(np.unique(label)) == 2:
        distinct, rank = np.unique(score, return_inverse=True)
        for rows, *kinds in _resamples(label, replicates, seed):
            normal, defective = (_count_rows(rank[chosen], len(distinct)) for chosen in kinds)
            values[0, rows] = auroc_from_counts(normal, defective)
            values[1, rows] = ap_from_counts(normal, defective)
            values[2, rows] = f1_from_counts(normal, defective).max(axis=-1)
    return Replicates(*values)


def multiplicities(label: ArrayLike, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """Count how often each image is in each resample of `bootstrap`: (B, N) float32."""
    label = np.asarray(label)
    times = np.zeros((replicates, len(label)), dtype=np.float32)
    for rows, *kinds in _resamples(label, replicates, seed):
        for chosen in kinds:
            times[rows] += _count_rows(chosen, len(label))
    return times


def bootstrap_pixels(
    models: Sequence[np.ndarray], masks: Sequence[np.ndarray | None], pixels: int, times: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute pixel metrics of K models, each with (N, h, w) maps, in the same resamples; masks as in `pixel_metrics`.

    `times`, (B, N), says how often each image is in each resample; a row of ones gives the metric itself. "pixel_auroc"
    and "pixel_aupro" are (K, B), in [0, 1]; NaN when a class is missing.
    """
    values = np.full((2, len(models), len(times)), np.nan)
    for model, maps in enumerate(models):
        bins = Bins(maps, _BINS)
        counts = np.zeros((3, len(maps), bins.count), dtype=np.float32)
        for image, each in enumerate(count_images(maps, masks, pixels, bins)):
            counts[:, image] = each
        for first in range(0, len(times), _CHUNK):
            rows = slice(first, first + _CHUNK)
            normal, defective, overlap = times[rows].astype(np.float32) @ counts
            values[0, model, rows] = auroc_from_counts(normal.astype(float), defective.astype(float))
            values[1, model, rows] = aupro_from_counts(normal, overlap, FPR_LIMIT)
    return {"pixel_auroc": values[0], "pixel_aupro": values[1]}


def _resamples(label: np.ndarray, replicates: int, seed: int) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield rows of resamples, and indices of the normal and of the defective images in each of them."""
    generator = np.random.default_rng(seed)
    kinds = [np.flatnonzero(label == kind) for kind in (0, 1)]
    for first in range(0, replicates, _CHUNK):
        rows = slice(first, min(first + _CHUNK, replicates))
        yield rows, *(kind[generator.integers(len(kind), size=(rows.stop - first, len(kind)))] for kind in kinds)


def _count_rows(numbers: np.ndarray, size: int) -> np.ndarray:
    """Count the numbers of each row, (B, M) integers below `size`: (B, size)."""
    offset = numbers + size * np.arange(len(numbers))[:, None]
    return np.bincount(offset.ravel(), minlength=size * len(numbers)).reshape(len(numbers), size)
