"""Load batches for training: several threads, a bounded number of images in memory, a reproducible order.

`BatchPlan` decides which images a step takes, from the seed and the step alone: training can continue from any step, on
any number of devices, with any number of threads, without saved loader state.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

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
    """An image as training sees it.

    Attributes:
        pixels: uint8 (size, size, 3), RGB.
        mask: bool (height, width), True where defective, at any size; None if unknown.
    """

    pixels: np.ndarray
    mask: np.ndarray | None


class Images(Protocol):
    """What a loader reads from (see `edgezsad.source.render`)."""

    label: np.ndarray
    group: np.ndarray

    def read(self, row: int, size: int) -> Sample:
        """Return the image of a row at `size` x `size` pixels."""


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """Which images each step takes: half normal, half defective, with replacement.

    Every group is equally likely, or, if data sets have shares, a data set is as likely as its share and its groups
    equally.

    Attributes:
        label: (N,) 0 or 1; any other value leaves an image out, for instance in validation.
        group: (N,) str, "DATA SET/CATEGORY".
        batch: images of a step, over all processes.
        seed: of the order.
        share: of a batch, by the name of the data set, in any unit; None if all groups are equally likely.
    """

    label: np.ndarray
    group: np.ndarray
    batch: int
    seed: int
    share: Mapping[str, float] | None = None

    @cached_property
    def pools(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Rows of the normal and of the defective images, group by group."""
        groups = [self.group == name for name in np.unique(self.group)]
        normal, defective = (
            [rows for group in groups if len(rows := np.flatnonzero(group & (self.label == value)))] for value in (0, 1)
        )
        if not normal or not defective:
            raise InputError("data.source: needs normal and defective images; add a folder that has both")
        return normal, defective

    @cached_property
    def _upper_ends(self) -> list[np.ndarray]:
        """For the normal and the defective pools, the upper ends of their intervals in 0..1."""
        ends = []
        for pools in self.pools:
            sets = [str(self.group[pool[0]]).split("/", 1)[0] for pool in pools]
            counts = Counter(sets)
            weights = np.array([self.share[name] / counts[name] for name in sets])
            ends.append(np.cumsum(weights) / weights.sum())
        return ends

    def rows(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Return the images of a step for one process: every `world_size`-th row of the whole batch.

        Returns:
            (batch / world_size,) rows, normal images first.

        Raises:
            InputError: the batch cannot be divided evenly among the processes.
        """
        if not 0 <= rank < world_size or self.batch % world_size:
            raise InputError(
                f"rank {rank} of {world_size}: cannot divide a batch of {self.batch}; set training.batch to a multiple"
            )
        # All random numbers of a step are made at once, so that a row depends only on its position in the batch.
        numbers = np.random.default_rng([self.seed, 2, step]).random((self.batch, 2))
        picked = []
        for position, (group, member) in enumerate(numbers):
            label = int(2 * position >= self.batch)
            pools = self.pools[label]
            if self.share is None:
                pool = pools[int(group * len(pools))]
            else:
                # The last end may round to just below 1.
                index = int(np.searchsorted(self._upper_ends[label], group, side="right"))
                pool = pools[min(index, len(pools) - 1)]
            picked.append(pool[int(member * len(pool))])
        return np.array(picked)[rank::world_size]


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's images, or one process's part of them.

    Attributes:
        rows: (B,) int, which images.
        pixels: (B, 3, size, size) float32, RGB, 0 to 255; the backbone normalises.
        label: (B,) int64.
        mask: (B, size, size) bool; all False if unknown.
        known: (B,) bool, whether the mask is known.
    """

    step: int
    rows: np.ndarray
    pixels: Tensor
    label: Tensor
    mask: Tensor
    known: Tensor


@dataclass(frozen=True, eq=False)
class BatchLoader:
    """Batches of a plan, step by step.

    Attributes:
        images: what to read from.
        plan: which images each step takes.
        size: height and width of the images.
        workers: threads that read images.
        ahead: images that may be read ahead or wait in memory; a whole batch if left out.
        change: augmentation; its generator depends only on the seed, the step and the position in the batch.
        rank, world_size: which part of every batch.
    """

    images: Images
    plan: BatchPlan
    size: int
    workers: int = 2
    ahead: int | None = None
    change: Callable[[Sample, np.random.Generator], Sample] | None = None
    rank: int = 0
    world_size: int = 1

    def batches(self, steps: Iterable[int]) -> Iterator[Batch]:
        """Yield the batches of these steps, in order.

        Raises:
            InputError: an image cannot be read.
        """
        share = self.plan.batch // self.world_size
        positions = (
            (step, self.rank + number * self.world_size, int(row))
            for step in steps
            for number, row in enumerate(self.plan.rows(step, self.rank, self.world_size))
        )
        part: list[tuple] = []
        for one in in_order(self._read, positions, self.workers, self.ahead or max(share, 2 * self.workers)):
            part.append(one)
            if len(part) == share:
                yield self._batch(part)
                part = []

    def _read(self, position: tuple[int, int, int]) -> tuple[int, int, Tensor, np.ndarray | None]:
        step, number, row = position
        sample = self.images.read(row, self.size)
        if self.change is not None:
            sample = self.change(sample, np.random.default_rng([self.plan.seed, 3, step, number]))
        mask = None if sample.mask is None else resize_mask(sample.mask, self.size, self.size)
        # Contiguous while it is still one byte a value: four times less to move.
        return step, row, torch.from_numpy(sample.pixels).permute(2, 0, 1).contiguous().float(), mask

    def _batch(self, part: list[tuple]) -> Batch:
        steps, rows, pixels, masks = zip(*part, strict=True)
        blank = np.zeros((self.size, self.size), dtype=bool)
        return Batch(
            step=steps[0],
            rows=np.array(rows),
            pixels=torch.stack(pixels),
            label=torch.from_numpy(np.asarray(self.images.label)[list(rows)].astype(np.int64)),
            mask=torch.from_numpy(np.stack([blank if mask is None else mask for mask in masks])),
            known=torch.tensor([mask is not None for mask in masks]),
        )


def split_source(
    label: np.ndarray, group: np.ndarray, parent: np.ndarray, validation_fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Split source images into training and validation rows, stratified by group and label.

    The split is the same for every seed. Crops of one image stay on the same side: validation images are unseen.

    Args:
        label: (N,) 0 or 1.
        group: (N,) str, data set and category.
        parent: (N,) str, the image file that a row comes from.
        validation_fraction: share of each stratum to hold out, 0 to 1.

    Returns:
        Training rows and validation rows.
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
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int = 1, ahead: int | None = None
) -> Iterator[Result]:
    """Apply `work` to every item in several threads and yield the results in order.

    Args:
        work: called in a thread; an exception is raised when its result is due.
        items: may be endless; read as needed.
        workers: number of threads.
        ahead: items that may be in progress or wait to be taken; twice the workers if left out.
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
            for future in waiting:
                future.cancel()


def load_fast(path: Path | str, size: int) -> np.ndarray:
    """Read an image like `edgezsad.data.images.load`, but decode a JPEG of at least twice the size at reduced scale.

    For training only. The difference is a level or two in smooth regions and larger at sharp edges
    (`benchmarks/loading.py`).

    Returns:
        uint8 (size, size, 3), RGB.

    Raises:
        InputError: the file cannot be read.
    """
    with open_image(path) as image:
        common = image.format == "JPEG" and image.mode in ("RGB", "L")
        if common and min(image.size) >= 2 * size and orientation(image) == 1:
            image.draft(image.mode, (size, size))
            return np.array(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    return load(path, size)


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a mask; a result pixel is defective if it overlaps any defective pixel, so that no scratch is lost."""
    if mask.shape == (height, width):
        return mask
    top, bottom = _spans(mask.shape[0], height)
    left, right = _spans(mask.shape[1], width)
    # Row r and column c of the integral image sum up the mask above r and left of c.
    rows = np.diff(cv2.integral(mask.astype(np.uint8))[np.stack([top, bottom])], axis=0)[0]
    return rows[:, right] > rows[:, left]


def _spans(length: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of each of `pixels` along a side of `length`, rounded outwards."""
    edges = np.arange(pixels + 1) * length
    return edges[:-1] // pixels, -(-edges[1:] // pixels)
