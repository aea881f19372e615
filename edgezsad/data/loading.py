"""Load batches for training: several threads, a bounded number of images in memory, a reproducible order.

`BatchPlan` chooses the images of a step by the seed and the step alone, so that training can continue from any step.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edgezsad.data.images import load, open_image, orientation
from edgezsad.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Sample:
    """An image as training sees it."""

    pixels: np.ndarray  # uint8 (size, size, 3), RGB
    mask: np.ndarray | None  # bool (height, width), True where defective, at any size; None if unknown


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """Which images each step takes: half normal, half defective, with replacement.

    Every group is equally likely; if data sets have shares, in any unit, a data set is as likely as its share.
    """

    label: np.ndarray  # (N,) 0 or 1; any other value leaves an image out, for instance in validation
    group: np.ndarray  # (N,) str, "DATA SET/CATEGORY"
    batch: int  # images of a step, over all processes
    seed: int
    share: Mapping[str, float] | None = None

    @cached_property
    def _pools(self) -> list[tuple[list[np.ndarray], np.ndarray]]:
        """For normal and for defective images: the rows of each group, and the upper ends of its interval in 0..1."""
        pools = []
        for value in (0, 1):
            names = np.unique(self.group[self.label == value])
            if not len(names):
                raise InputError("data.source: needs normal and defective images; add a folder that has both")
            sets = [str(name).split("/", 1)[0] for name in names]
            weights = [1 if self.share is None else self.share[name] / sets.count(name) for name in sets]
            rows = [np.flatnonzero((self.group == name) & (self.label == value)) for name in names]
            pools.append((rows, np.cumsum(weights) / np.sum(weights)))
        return pools

    def rows(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Return the images of a step for one process: every `world_size`-th row of the batch, normal images first."""
        if self.batch % world_size:
            raise InputError(f"training.batch: {self.batch} images for {world_size} processes; set it to a multiple")
        # All random numbers of a step are made at once, so that a row depends only on its position in the batch.
        numbers = np.random.default_rng([self.seed, 2, step]).random((self.batch, 2))
        picked = []
        for position, (group, member) in enumerate(numbers):
            pools, ends = self._pools[int(2 * position >= self.batch)]
            # The last end may round to just below 1.
            pool = pools[min(int(np.searchsorted(ends, group, side="right")), len(pools) - 1)]
            picked.append(pool[int(member * len(pool))])
        return np.array(picked)[rank::world_size]


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's images, or one process's part of them: B images of S x S pixels."""

    step: int
    rows: np.ndarray  # (B,) int, which images
    pixels: Tensor  # (B, 3, S, S) float32, RGB, 0 to 255; the backbone normalises
    label: Tensor  # (B,) int64
    mask: Tensor  # (B, S, S) bool; all False if unknown
    known: Tensor  # (B,) bool, whether the mask is known


def read_batches(
    images: Any,
    plan: BatchPlan,
    size: int,
    steps: Iterable[int],
    workers: int = 2,
    change: Callable[[Sample, np.random.Generator], Sample] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """Yield the batches of these steps in order, or the part of process `rank`; at most a batch is read ahead.

    `images` have `label`, (N,), and `read(row, size)`, a `Sample`. `change` is the augmentation: its generator depends
    only on the seed, the step and the position in the batch.
    """
    share = plan.batch // world_size

    def read(position: tuple[int, int, int]) -> tuple[int, int, Tensor, Tensor, bool]:
        step, number, row = position
        sample = images.read(row, size)
        if change is not None:
            sample = change(sample, np.random.default_rng([plan.seed, 3, step, number]))
        known = sample.mask is not None
        mask = resize_mask(sample.mask, size, size) if known else np.zeros((size, size), dtype=bool)
        # Contiguous while it is still one byte a value: four times less to move.
        pixels = torch.from_numpy(sample.pixels).permute(2, 0, 1).contiguous().float()
        return step, row, pixels, torch.from_numpy(mask), known

    positions = (
        (step, rank + number * world_size, int(row))
        for step in steps
        for number, row in enumerate(plan.rows(step, rank, world_size))
    )
    samples = in_order(read, positions, workers, max(share, 2 * workers))
    while part := list(itertools.islice(samples, share)):
        numbers, rows, pixels, masks, known = zip(*part, strict=True)
        label = torch.from_numpy(np.asarray(images.label)[list(rows)].astype(np.int64))
        yield Batch(numbers[0], np.array(rows), torch.stack(pixels), label, torch.stack(masks), torch.tensor(known))


def split_source(
    label: np.ndarray, group: np.ndarray, parent: np.ndarray, validation_fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return training rows and validation rows of source images, stratified by group and label.

    The split is the same for every seed. Rows with one `parent`, for instance crops of one image file, stay on the same
    side: validation images are unseen.
    """
    generator = np.random.default_rng(0)
    held = np.zeros(len(label), dtype=bool)
    for name in np.unique(group):
        for value in (0, 1):
            rows = np.flatnonzero((group == name) & (label == value))
            _, first = np.unique(parent[rows], return_index=True)
            first = rows[np.sort(first)]
            picked = parent[generator.permutation(first)[: int(len(first) * validation_fraction)]]
            held |= np.isin(parent, picked)
    return np.flatnonzero(~held), np.flatnonzero(held)


def subsample_evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """Select at most `most` rows, evenly spaced."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int = 1, ahead: int | None = None
) -> Iterator[Result]:
    """Apply `work` to every item in several threads and yield the results, or raise the first error, in order.

    Items are taken as needed: at most `ahead` are in progress or wait to be taken; twice the workers if left out.
    """
    ahead = max(1, 2 * workers if ahead is None else ahead)
    waiting: deque = deque()
    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def load_fast(path: Path | str, size: int) -> np.ndarray:
    """Read an image like `edgezsad.data.images.load`, but decode a JPEG of at least twice the size at reduced scale.

    For training only: pixels differ by a level or two in smooth regions and by more at sharp edges.
    """
    with open_image(path) as image:
        common = image.format == "JPEG" and image.mode in ("RGB", "L")
        if common and min(image.size) >= 2 * size and orientation(image) == 1:
            image.draft(image.mode, (size, size))
            return np.array(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    return load(path, size)


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a bool mask to (height, width); a pixel that overlaps a defective one is defective: no scratch is lost."""
    top, bottom = _spans(mask.shape[0], height)
    left, right = _spans(mask.shape[1], width)
    # Row r and column c of the integral image sum up the mask above r and left of c.
    rows = np.diff(cv2.integral(mask.astype(np.uint8))[np.stack([top, bottom])], axis=0)[0]
    return rows[:, right] > rows[:, left]


def _spans(length: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of each of `pixels` along a side of `length`, rounded outwards."""
    edges = np.arange(pixels + 1) * length
    return edges[:-1] // pixels, -(-edges[1:] // pixels)
