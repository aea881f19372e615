"""What the recipe is fed with: cached features of a frozen backbone, or images for a backbone that learns.

Both give the same kind of examples by the same plan, so that the loop does not know which it has.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgezsad.data.loading import BatchLoader, BatchPlan, Sample, in_order, resize_mask
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_bytes, versions
from edgezsad.model.backbone import Backbone
from edgezsad.run import Run
from edgezsad.source.render import rotate_and_mirror
from edgezsad.source.source_images import SourceImages, source_images
from edgezsad.training.features import Features, read_features

PIECE = 64
"""Cached rows read at a time; as many as a common batch."""
IMAGES_PIECE = 8
"""Images read at a time outside of a step: a backbone at 512 pixels takes gigabytes for more."""

DATA = Path(__file__).resolve().parents[1] / "data"
READING = ("images", "loading", "opening", "sources")


@dataclass(frozen=True, eq=False)
class Example:
    """Some images as the learner takes them.

    Attributes:
        rows: (B,) which images.
        inputs: features, one (B, C, h, w) for each stride; or pixels, one (B, 3, S, S), 0..255.
        label: (B,) int64.
        coverage: (B, h, w) float32 at the finest stride, the defective share of each cell; NaN throughout an image
            whose mask is unknown.
    """

    rows: np.ndarray
    inputs: list[Tensor]
    label: Tensor
    coverage: Tensor


class Inputs(Protocol):
    """Labelled examples of a source.

    Attributes:
        label, group, parent: as in `edgezsad.source.source_images.SourceImages`.
        source_sha256, backbone_sha256: what they come from.
        content_sha256: of what is read, beyond what these two say.
        backbone: the one that learns; None for features of a frozen one.
        most_held_out: how many held-out images are looked at, at most.
    """

    label: np.ndarray
    group: np.ndarray
    parent: np.ndarray
    source_sha256: str
    backbone_sha256: str
    content_sha256: str
    backbone: Backbone | None
    most_held_out: int

    def steps(self, plan: BatchPlan, steps: Iterable[int], rank: int, ranks: int) -> Iterator[Example]:
        """One rank's part of every step, in order."""

    def read(self, rows: np.ndarray) -> Iterator[Example]:
        """These rows, in order and unchanged, some at a time."""

    def name(self, row: int) -> str:
        """What to call an image in an error."""


@dataclass(frozen=True, eq=False)
class CachedInputs:
    """Features that the frozen backbone gave once.

    Attributes:
        features: the cache.
    """

    features: Features
    backbone: None = None
    most_held_out: int = 1_000_000

    @property
    def label(self) -> np.ndarray:
        """(N,) int64."""
        return self.features.label

    @property
    def group(self) -> np.ndarray:
        """(N,) str."""
        return self.features.group

    @property
    def parent(self) -> np.ndarray:
        """(N,) str."""
        return self.features.parent

    @property
    def source_sha256(self) -> str:
        """Of the images behind the features."""
        return self.features.info.source_sha256

    @property
    def backbone_sha256(self) -> str:
        """Of the backbone that gave them."""
        return self.features.info.backbone_sha256

    @property
    def content_sha256(self) -> str:
        """Of the features."""
        return self.features.info.features_sha256

    def steps(self, plan: BatchPlan, steps: Iterable[int], rank: int, ranks: int) -> Iterator[Example]:
        """One rank's part of every step."""
        return (self._rows(plan.rows(step, rank, ranks)) for step in steps)

    def read(self, rows: np.ndarray) -> Iterator[Example]:
        """These rows, in pieces: all features together may not fit into memory."""
        return (self._rows(rows[start : start + PIECE]) for start in range(0, len(rows), PIECE))

    def name(self, row: int) -> str:
        """The image's set and path."""
        return str(self.features.parent[row])

    def _rows(self, rows: np.ndarray) -> Example:
        return Example(
            rows,
            [torch.from_numpy(np.asarray(stored[rows], dtype=np.float32)) for stored in self.features.maps],
            torch.from_numpy(self.features.label[rows]),
            torch.from_numpy(self.features.coverage[rows]),
        )


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """Images, read as they are needed, for a backbone that learns; each is turned or mirrored at random in training.

    Attributes:
        images: of the source.
        backbone: reads them.
        size: height and width.
        workers: threads that read.
    """

    images: SourceImages
    backbone: Backbone
    size: int
    workers: int
    most_held_out: int = 4096

    @property
    def label(self) -> np.ndarray:
        """(N,) int64."""
        return self.images.label

    @property
    def group(self) -> np.ndarray:
        """(N,) str."""
        return self.images.group

    @property
    def parent(self) -> np.ndarray:
        """(N,) str."""
        return self.images.parent

    @property
    def source_sha256(self) -> str:
        """Of the images."""
        return self.images.sha256

    @property
    def backbone_sha256(self) -> str:
        """Of the backbone before it learns."""
        return self.backbone.sha256()

    @property
    def content_sha256(self) -> str:
        """Of the code that reads, derives and randomises images, and the versions of what decodes and resizes them."""
        code = [*(DATA / f"{name}.py" for name in READING), *sorted((DATA / "derived").glob("*.py"))]
        packages = versions("numpy", "opencv-python-headless", "pillow")
        return sha256_of_bytes(b"".join(path.read_bytes() for path in code) + repr(sorted(packages.items())).encode())

    def steps(self, plan: BatchPlan, steps: Iterable[int], rank: int, ranks: int) -> Iterator[Example]:
        """One rank's part of every step; the next images are read meanwhile."""
        loader = BatchLoader(
            self.images, plan, self.size, workers=self.workers, change=_turned_at_random, rank=rank, world_size=ranks
        )
        for batch in loader.batches(steps):
            yield Example(batch.rows, [batch.pixels], batch.label, self._coverage(batch.mask, batch.known))

    def read(self, rows: np.ndarray) -> Iterator[Example]:
        """These rows, a few at a time, as they are on disk."""
        pictures = in_order(lambda row: self.images.read(int(row), self.size), rows, self.workers)
        for start in range(0, len(rows), IMAGES_PIECE):
            piece = rows[start : start + IMAGES_PIECE]
            read = [next(pictures) for _ in piece]
            known = torch.tensor([one.mask is not None for one in read])
            masks = [np.zeros((1, 1), dtype=bool) if one.mask is None else one.mask for one in read]
            yield Example(
                piece,
                [torch.from_numpy(np.stack([one.pixels for one in read])).permute(0, 3, 1, 2).float()],
                torch.from_numpy(self.label[piece]),
                self._coverage(
                    torch.from_numpy(np.stack([resize_mask(mask, self.size, self.size) for mask in masks])), known
                ),
            )

    def name(self, row: int) -> str:
        """The image's path."""
        return self.images.name(row)

    def _coverage(self, mask: Tensor, known: Tensor) -> Tensor:
        """(B, S, S) masks as the defective share of each cell at the finest stride."""
        share = functional.avg_pool2d(mask[:, None].float(), self.backbone.strides[0])[:, 0]
        share[~known] = torch.nan
        return share


def _turned_at_random(sample: Sample, generator: np.random.Generator) -> Sample:
    return rotate_and_mirror(sample, int(generator.integers(8)))


def training_inputs(run: Run, backbone: Backbone) -> CachedInputs | ImageInputs:
    """What a run trains on: images where its backbone learns, or else the cached features.

    Raises:
        InputError: the cache is missing or damaged, or was made by another backbone, size or strides; or a manifest is.
    """
    config, model = run.profile.training, run.profile.model
    if config.tuned_stages:
        if config.tuned_stages > (count := len(backbone.stages())):
            raise InputError(f"training.tuned_stages: {backbone.name} has {count}; set it to as many at most")
        return ImageInputs(source_images(run, fast=True), backbone, model.size, config.workers)
    features = read_features(run.features, source_images(run))
    made_by = (features.info.backbone_sha256, features.info.size, features.info.strides)
    if made_by != (backbone.sha256(), model.size, backbone.strides):
        raise InputError(f"{run.features}: made by another backbone, size or strides; run notebook 02_features again")
    return CachedInputs(features)
