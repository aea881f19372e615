"""Confidence intervals of image-level metrics: a seeded, stratified bootstrap.

Normal and defective images are drawn with replacement among their own kind, so that every resample has as many of each
as the data. Resamples depend on the labels and the generator's seed alone: two models scored on the same images are
resampled alike, so that their difference, or the mean over seeds, has an interval too.

    replicates = bootstrap(label, score)
    low, high = interval(replicates.auroc)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit

from edgezsad.metrics import curves
from edgezsad.metrics.image_metrics import check

REPLICATES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Replicates:
    """Each metric of every resample, (B,), in [0, 1]; NaN throughout when a class is missing."""

    auroc: np.ndarray
    average_precision: np.ndarray
    f1_max: np.ndarray


def bootstrap(label: np.ndarray, score: np.ndarray, replicates: int = REPLICATES, seed: int = 0) -> Replicates:
    """Metrics of resampled images (Efron, Annals of Statistics 1979).

    Args:
        label: (N,) 0 or 1.
        score: (N,) any finite numbers.
        replicates: how many resamples, B.
        seed: of the draws.

    Raises:
        InputError: lengths differ, or a score is not finite.
    """
    label, score = np.asarray(label), np.asarray(score)
    check(label, score)
    values = np.full((3, replicates), np.nan)
    if (label == 0).any() and (label == 1).any():
        # Tied scores are one place.
        distinct, place = np.unique(score, return_inverse=True)
        place = place.astype(np.int64)
        # Which image is drawn is drawn here; what it is worth is counted in compiled code.
        for rows, normal, defective in _draws(label, replicates, seed):
            _count(place[normal], place[defective], len(distinct), values[:, rows])
    return Replicates(*values)


def multiplicities(label: np.ndarray, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """How often each image is in each of the resamples of `bootstrap`, (B, N) float32; for metrics that are sums.

    Args:
        label: (N,) 0 or 1.
        replicates: how many resamples, B.
        seed: of the draws.
    """
    label = np.asarray(label)
    times = np.zeros((replicates, len(label)), dtype=np.float32)
    for rows, *kinds in _draws(label, replicates, seed):
        for drawn in kinds:
            np.add.at(times[rows], (np.arange(len(drawn))[:, None], drawn), 1)
    return times


def _draws(label: np.ndarray, replicates: int, seed: int) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Rows of the resamples made at a time, and which normal and which defective images are in each of them."""
    generator = np.random.default_rng(seed)
    kinds = [np.flatnonzero(label == kind) for kind in (0, 1)]
    for first in range(0, replicates, _CHUNK):
        rows = slice(first, min(first + _CHUNK, replicates))
        yield rows, *(kind[generator.integers(len(kind), size=(rows.stop - first, len(kind)))] for kind in kinds)


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of replicates, (B,): (low, high); NaN if none is defined."""
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


_CHUNK = 100


@njit(cache=True, nogil=True)
def _count(normal, defective, places, values):
    for row in range(len(normal)):
        normals, defectives = np.zeros(places), np.zeros(places)
        for place in normal[row]:
            normals[place] += 1
        for place in defective[row]:
            defectives[place] += 1
        values[0, row] = curves.auroc(normals, defectives)
        values[1, row] = curves.average_precision(normals, defectives)
        values[2, row] = curves.f1_max(normals, defectives)[0]
