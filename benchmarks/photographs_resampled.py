"""AUROC of images and of cells with their resamples, and paired differences from them.

Images are drawn again with replacement within category and label, alike for all seeds and variants. Pixels are those of
a coarse grid, the map's own cells: a cell is defective where its mask covers any of it. For them an image is drawn with
all its cells, whose logits are counted in bins, so that a thousand resamples cost no more than a product of matrices.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from photographs import LEVEL, drawn_again, fast_auroc

COVERED = 1e-6
"""Share of a cell that counts as covered: sums of areas miss zero by a rounding error."""
BINS = 1024
"""Of a category's cells, equally filled; cells of one bin count as tied."""

Row = dict[str, Any]
"""Of one left-out set and seed: `whole` and `again` by measure and category, a share and its resamples."""


def of_images(label: np.ndarray, score: np.ndarray, category: str) -> tuple[float, list[float]]:
    """AUROC of a category's images and its resamples."""
    drawn = drawn_again(label, category)
    return float(fast_auroc(label, score)), np.round(fast_auroc(label[drawn], score[drawn]), 5).tolist()


def of_cells(
    label: np.ndarray, maps: np.ndarray, coverage: np.ndarray, category: str
) -> tuple[float, list[float | None]] | None:
    """AUROC of a category's cells and its resamples; None where no mask has a defective cell.

    Args:
        label: (N,) of the images.
        maps: (N, h, w) logits.
        coverage: (N, h, w) defective share of each cell; NaN throughout an image whose mask is unknown.
        category: decides what is drawn.
    """
    flat, share = maps.reshape(len(maps), -1), coverage.reshape(len(maps), -1)
    known = ~np.isnan(share)
    defective = known & (np.nan_to_num(share) > COVERED)
    if not defective.any():
        return None
    edges = np.quantile(flat[known], np.linspace(0, 1, BINS + 1)[1:-1])
    place = np.searchsorted(edges, flat) + BINS * np.arange(len(flat))[:, None]
    counts = [
        np.bincount(place[part], minlength=BINS * len(flat)).reshape(len(flat), BINS)
        for part in (defective, known & ~defective)
    ]
    times = np.stack([np.bincount(part, minlength=len(flat)) for part in drawn_again(label, category)])
    whole, *again = _binned(np.vstack([np.ones(len(flat), int), times]).astype(float), *counts)
    return float(whole), [None if np.isnan(one) else round(float(one), 5) for one in again]


def _binned(times: np.ndarray, defective: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """AUROC where images count so many times: (R, N) and twice (N, BINS) to (R,)."""
    above, below = times @ defective, times @ normal
    pairs = (above * (below.cumsum(axis=1) - below / 2)).sum(axis=1)
    every = above.sum(axis=1) * below.sum(axis=1)
    # Where few masks are known, a resample may hold none of them.
    return np.divide(pairs, every, out=np.full(len(pairs), np.nan), where=every > 0)


def mean_of(rows: Sequence[Row], part: str, measure: str) -> np.ndarray:
    """Mean over seeds and categories of each set, then over sets: (), or (R,) of resamples."""
    by_set: dict[str, list[np.ndarray]] = {}
    for row in rows:
        for value in row[part].get(measure, {}).values():
            by_set.setdefault(row["set"], []).append(np.asarray(value, dtype=float))
    return np.mean([np.mean(values, axis=0) for values in by_set.values()], axis=0)


def compared(rows: Sequence[Row], against: Sequence[Row], measure: str, other: str = "") -> dict[str, float]:
    """A variant's mean in percent, its paired difference from another in points, with interval, and each seed's own.

    Args:
        rows: of the variant.
        against: of the same sets and seeds.
        measure: of the variant.
        other: measure of what it is compared with; the same when left out.

    Raises:
        ValueError: the two were measured on other sets or seeds.
    """
    other = other or measure
    if {(row["set"], row["seed"]) for row in rows} != {(row["set"], row["seed"]) for row in against}:
        raise ValueError("compared on other sets or seeds")
    apart = 100 * (mean_of(rows, "again", measure) - mean_of(against, "again", other))
    # A resample without any cell to compare lacks it in both of the pair.
    low, high = np.nanpercentile(apart, [50 - LEVEL / 2, 50 + LEVEL / 2])
    mean = 100 * mean_of(rows, "whole", measure)
    seeds = [
        100 * float(mean_of(_of_seed(rows, seed), "whole", measure) - mean_of(_of_seed(against, seed), "whole", other))
        for seed in sorted({row["seed"] for row in rows})
    ]
    found = {"mean": mean, "difference": mean - 100 * mean_of(against, "whole", other), "low": low, "high": high}
    result = {name: round(float(value), 2) for name, value in found.items()}
    return result | {"difference_by_seed": [round(value, 2) for value in seeds]}


def _of_seed(rows: Sequence[Row], seed: int) -> list[Row]:
    return [row for row in rows if row["seed"] == seed]
