"""Where the defects lie, coarsely but exactly: defective pixels counted in the cells of a grid over each mask.

Every crop's edges lie on the grid, so that a crop's defective pixels are counted without opening its mask again. Masks
are read once, by several threads; the counts are kept in a file and known again by the hash of the mask.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import cv2
import numpy as np

from edgezsad.data.images import decode_mask
from edgezsad.data.loading import in_order
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.files import read_arrays, written_beside

CELLS = 64
"""Cells along each side; an image with fewer pixels has one cell a pixel."""


@dataclass(frozen=True)
class Box:
    """A rectangle: its left and top edges lie inside, its right and bottom edges outside."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, eq=False)
class Grid:
    """Defective pixels of one mask, counted in cells.

    Attributes:
        height, width: of the mask, in pixels.
        cells: (n,) int, the cells with defective pixels, row by row, ascending.
        counts: (n,) int, how many each has.
    """

    height: int
    width: int
    cells: np.ndarray
    counts: np.ndarray

    @property
    def rows(self) -> int:
        """Cells from top to bottom."""
        return min(CELLS, self.height)

    @property
    def columns(self) -> int:
        """Cells from left to right."""
        return min(CELLS, self.width)

    @cached_property
    def sums(self) -> np.ndarray:
        """(n,) defective pixels up to and including each cell."""
        return np.cumsum(self.counts, dtype=np.int64)

    @property
    def total(self) -> int:
        """Defective pixels of the mask."""
        return int(self.sums[-1]) if len(self.sums) else 0

    def cell(self, number: int) -> tuple[int, int]:
        """(row, column) of the cell that holds the defective pixel with this number, 0 to total - 1."""
        row, column = divmod(int(self.cells[np.searchsorted(self.sums, number, side="right")]), self.columns)
        return row, column

    def held(self, cells: Box) -> int:
        """Defective pixels in a box of cells."""
        row, column = np.divmod(self.cells, self.columns)
        inside = (cells.top <= row) & (row < cells.bottom) & (cells.left <= column) & (column < cells.right)
        return int(self.counts[inside].sum(dtype=np.int64))

    def pixels(self, cells: Box) -> Box:
        """A box of cells as a box of pixels."""
        rows, columns = _edges(self.height), _edges(self.width)
        return Box(*(int(n) for n in (columns[cells.left], rows[cells.top], columns[cells.right], rows[cells.bottom])))


def grid_of(mask: np.ndarray) -> Grid:
    """Count a mask, (height, width) bool."""
    # The integral image at the cells' corners gives every cell's count.
    corners = cv2.integral(mask.astype(np.uint8))[np.ix_(_edges(mask.shape[0]), _edges(mask.shape[1]))]
    counts = np.diff(np.diff(corners, axis=0), axis=1)
    cells = np.flatnonzero(counts)
    return Grid(*mask.shape, cells.astype(np.int32), counts.ravel()[cells].astype(np.int32))


def empty_grid(height: int, width: int) -> Grid:
    """The grid of an image without a defect."""
    return Grid(height, width, np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32))


def read_grids(
    manifest: Manifest, cache: Path | str, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> dict[str, Grid]:
    """Count every mask of a data set.

    Args:
        manifest: the data set.
        cache: a file that keeps the counts: masks that it knows are not read again.
        workers: number of threads that read masks.
        progress: called as (masks done, masks in all).

    Returns:
        Grids by the SHA-256 of the mask.

    Raises:
        InputError: a mask is missing or damaged, or has another size than its image.
    """
    cache = Path(cache)
    wanted = {entry.mask_sha256: entry for entry in manifest.entries if entry.mask}
    known = {name: grid for name, grid in _read_cache(cache).items() if name in wanted}
    unread = [entry for name, entry in wanted.items() if name not in known]
    for done, (name, grid) in enumerate(in_order(partial(_read, manifest), unread, workers), start=1):
        known[name] = grid
        if progress is not None:
            progress(done, len(unread))
    if unread:
        _write_cache(known, cache)
    return known


def _read(manifest: Manifest, entry: Entry) -> tuple[str, Grid]:
    return entry.mask_sha256, grid_of(decode_mask(manifest.root / entry.mask, (entry.height, entry.width)))


def _edges(length: int) -> np.ndarray:
    """Where the cells along a side of `length` pixels begin, and where the last one ends."""
    cells = min(CELLS, length)
    return np.arange(cells + 1) * length // cells


_CACHED = {"sha256": ("U", ()), "size": ("i4", (2,)), "ends": ("i8", ()), "cells": ("i4", ()), "counts": ("i4", ())}
"""The arrays of the cache, as `read_arrays` wants them said."""


def _write_cache(grids: Mapping[str, Grid], path: Path) -> None:
    values = list(grids.values())
    with written_beside(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(
            stream,
            sha256=np.array(list(grids), dtype="U64"),
            size=np.array([(grid.height, grid.width) for grid in values], dtype=np.int32).reshape(-1, 2),
            ends=np.cumsum([len(grid.cells) for grid in values], dtype=np.int64),
            cells=np.concatenate([grid.cells for grid in values]),
            counts=np.concatenate([grid.counts for grid in values]),
        )


def _read_cache(path: Path) -> dict[str, Grid]:
    """The counts in `path`; none when it is missing or damaged, as they can be made again."""
    stored = read_arrays(path, _CACHED)
    if stored is None:
        return {}
    cells, counts, ends = stored["cells"], stored["counts"], [0, *stored["ends"].tolist()]
    places = list(itertools.pairwise(ends))
    if len({len(stored["sha256"]), len(stored["size"]), len(places)}) > 1 or len(cells) != len(counts):
        return {}
    if ends != sorted(ends) or ends[-1] != len(cells):
        return {}
    return {
        str(name): Grid(*size, cells[start:end], counts[start:end])
        for name, size, (start, end) in zip(stored["sha256"], stored["size"].tolist(), places, strict=True)
    }
