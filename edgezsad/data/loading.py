"""Loading images fast enough for training: several threads, a bounded number of images in memory, a reproducible order.

The order is the plan's (`edgezsad.data.plan`), whatever the number of threads. Threads do, because Pillow lets go of
the interpreter as it decodes.

`load_fast` is for training only. A score is always made from `edgezsad.data.images.load`, which decodes every pixel.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edgezsad.data.images import load
from edgezsad.data.opening import FORMATS, check_header, check_kind_of_file, orientation, told
from edgezsad.data.plan import Plan, rows_for

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as training sees it.

    Attributes:
        pixels: uint8 (size, size, 3), RGB.
        mask: bool (height, width), True where defective, at any size; None where it is unknown.
    """

    pixels: np.ndarray
    mask: np.ndarray | None


Change = Callable[[Picture, np.random.Generator], Picture]


class Images(Protocol):
    """What a loader reads from (see `edgezsad.source.source_images`)."""

    label: np.ndarray
    group: np.ndarray

    def read(self, row: int, size: int) -> Picture:
        """The image of a row, at `size` x `size` pixels."""


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's images, or one rank's part of them.

    Attributes:
        step: the step.
        rows: (B,) int, which images.
        pixels: (B, 3, size, size) float32, normalised.
        label: (B,) int64.
        mask: (B, size, size) bool; all False where it is unknown.
        known: (B,) bool, whether the mask is known.
    """

    step: int
    rows: np.ndarray
    pixels: Tensor
    label: Tensor
    mask: Tensor
    known: Tensor


def load_fast(path: Path | str, size: int) -> np.ndarray:
    """As `edgezsad.data.images.load`, but a JPEG of at least twice the size is decoded at a half, quarter or eighth.

    The decoder then averages blocks of pixels, where `load` weighs them by a triangle: the difference is a level or two
    in smooth places and larger at sharp edges (measured by `benchmarks/loading.py`). Other files go through `load`.

    Returns:
        uint8 (size, size, 3), RGB.

    Raises:
        InputError: as for `load`.
    """
    with told(path):
        length = check_kind_of_file(path)
        with Image.open(path, formats=FORMATS) as image:
            check_header(path, image, length)
            if _may_be_reduced(image, size):
                image.draft(image.mode, (size, size))
                # As `prepare` does it, without a copy to an array and back.
                return np.array(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    return load(path, size)


def _may_be_reduced(image: Image.Image, size: int) -> bool:
    """Whether an image, opened but not read, is a common upright JPEG that is large enough."""
    common = image.format == "JPEG" and image.mode in ("RGB", "L")
    return common and min(image.size) >= 2 * size and orientation(image) == 1


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int = 1, ahead: int | None = None
) -> Iterator[Result]:
    """`work` of every item, by several threads, in the order of the items.

    Args:
        work: called in a thread; what it raises ends the iteration at its turn.
        items: read as they are needed: there may be endlessly many.
        workers: number of threads.
        ahead: how many items may be at work or waiting to be taken; twice the workers when left out.
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


@dataclass(frozen=True, eq=False)
class BatchLoader:
    """Batches of a plan, step by step.

    Attributes:
        images: what to read from.
        plan: which images each step takes.
        size: height and width of the images.
        mean, std: of each channel, in levels of 255: what the backbone was trained with.
        workers: threads that read images.
        ahead: images that may be at work or in memory beside the batch that is handed out; a whole batch at most
            when left out.
        change: augmentation; its generator depends on the seed, the step and the place in the batch alone.
        rank, ranks: which part of every batch.
    """

    images: Images
    plan: Plan
    size: int
    mean: Sequence[float] = (0.0, 0.0, 0.0)
    std: Sequence[float] = (1.0, 1.0, 1.0)
    workers: int = 2
    ahead: int | None = None
    change: Change | None = None
    rank: int = 0
    ranks: int = 1

    def batches(self, steps: Iterable[int]) -> Iterator[Batch]:
        """The batches of these steps, in their order.

        Raises:
            InputError: an image cannot be read; the line names it.
        """
        share = self.plan.batch // self.ranks
        places = (
            (step, self.rank + number * self.ranks, int(row))
            for step in steps
            for number, row in enumerate(rows_for(self.plan, step, self.rank, self.ranks))
        )
        read = in_order(self._read, places, self.workers, self.ahead or max(share, 2 * self.workers))
        part: list[tuple] = []
        for one in read:
            part.append(one)
            if len(part) == share:
                yield self._batch(part)
                part = []

    def _read(self, place: tuple[int, int, int]) -> tuple[int, int, Tensor, np.ndarray | None]:
        step, position, row = place
        picture = self.images.read(row, self.size)
        if self.change is not None:
            picture = self.change(picture, np.random.default_rng([self.plan.seed, 3, step, position]))
        mask = None if picture.mask is None else resize_mask(picture.mask, self.size, self.size)
        return step, row, normalise(picture.pixels, self.mean, self.std), mask

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


def normalise(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(H, W, 3) uint8 as (3, H, W) float32, less `mean`, over `std`, each in levels of 255."""
    # Contiguous while it is still one byte a value: four times less to move.
    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float()
    return planes.sub_(torch.tensor(mean)[:, None, None]).div_(torch.tensor(std)[:, None, None])


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask at another size: defective is what overlaps any defective pixel, so that no scratch is lost."""
    if mask.shape == (height, width):
        return mask
    top, bottom = _covered(mask.shape[0], height)
    left, right = _covered(mask.shape[1], width)
    # Row r and column c of the integral image sum up the mask above r and left of c.
    rows = np.diff(cv2.integral(mask.astype(np.uint8))[np.stack([top, bottom])], axis=0)[0]
    return rows[:, right] > rows[:, left]


def _covered(length: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of `pixels` begins and ends along a side of `length`, rounded outwards."""
    place = np.arange(pixels + 1) * length
    return place[:-1] // pixels, -(-place[1:] // pixels)
