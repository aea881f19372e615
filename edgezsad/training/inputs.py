"""Training inputs: cached features for a frozen backbone, or images for a backbone that learns, in the same order."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgezsad.config import Training
from edgezsad.data.loading import BatchPlan, Sample, in_order, read_batches, resize_mask
from edgezsad.errors import InputError
from edgezsad.files import versions
from edgezsad.model.backbone import Backbone
from edgezsad.run import Run
from edgezsad.source.render import SourceImages, rotate_and_mirror, source_images
from edgezsad.training.features import Features, read_features

AUGMENTATION_RECIPE = 1  # increase it if a change of the code changes how images are read and augmented
FEATURES_PIECE, IMAGES_PIECE = 64, 8  # rows read at a time outside of a step
UNKNOWN = np.zeros((1, 1), dtype=bool)


@dataclass(frozen=True, eq=False)
class Example:
    """Some images of the source, with (B,) rows and labels."""

    rows: np.ndarray
    inputs: list[Tensor]  # features, one (B, C, h, w) per stride, or pixels, one (B, 3, S, S), 0..255
    label: Tensor
    mask_fraction: Tensor  # as in `Features`


class CachedInputs:
    """Cached features of a frozen backbone, and the images if pixels are read; `backbone` is None: none learns."""

    backbone = None
    most_validated = 1_000_000

    def __init__(self, features: Features, images: SourceImages | None = None):
        self.features, self.images = features, images
        self.label, self.group, self.parent = features.label, features.group, features.parent
        self.source_sha256, self.backbone_sha256 = features.info.source_sha256, features.info.backbone_sha256
        self.content_sha256 = features.info.features_sha256

    def steps(self, plan: BatchPlan, steps: Iterable[int], rank: int, world_size: int) -> Iterator[Example]:
        """Yield each step's batch, or the part of process `rank` of `world_size`."""
        return (self._example(plan.rows(step, rank, world_size)) for step in steps)

    def read(self, rows: np.ndarray) -> Iterator[Example]:
        """Yield these rows in pieces: all together may not fit into memory."""
        return (self._example(rows[start : start + FEATURES_PIECE]) for start in range(0, len(rows), FEATURES_PIECE))

    def read_pixels(self, rows: np.ndarray) -> Iterator[Tensor]:
        """Yield the (B, 3, S, S) pixels of these rows in pieces."""
        return (pixels for _, pixels, _ in _read_pieces(self.images, rows, self.features.info.size, 2))

    def _example(self, rows: np.ndarray) -> Example:
        maps = [torch.from_numpy(np.asarray(stored[rows], dtype=np.float32)) for stored in self.features.maps]
        fraction = torch.from_numpy(self.features.mask_fraction[rows])
        return Example(rows, maps, torch.from_numpy(self.label[rows]), fraction)


class ImageInputs:
    """Images for the `backbone` that learns, each rotated or mirrored at random in training; methods as above."""

    most_validated = 4096

    def __init__(self, images: SourceImages, backbone: Backbone, size: int, workers: int):
        self.images, self.backbone, self.size, self.workers = images, backbone, size, workers
        self.label, self.group, self.parent = images.label, images.group, images.parent
        self.source_sha256, self.backbone_sha256 = images.sha256, backbone.sha256()
        packages = versions("numpy", "opencv-python-headless", "pillow")
        self.content_sha256 = f"recipe {AUGMENTATION_RECIPE}, {packages}"

    def steps(self, plan: BatchPlan, steps: Iterable[int], rank: int, world_size: int) -> Iterator[Example]:
        for batch in read_batches(self.images, plan, self.size, steps, self.workers, _augment, rank, world_size):
            yield Example(batch.rows, [batch.pixels], batch.label, self._fraction(batch.mask, batch.known))

    def read(self, rows: np.ndarray) -> Iterator[Example]:
        for piece, pixels, masks in _read_pieces(self.images, rows, self.size, self.workers):
            known = torch.tensor([mask is not None for mask in masks])
            sized = [resize_mask(UNKNOWN if mask is None else mask, self.size, self.size) for mask in masks]
            fraction = self._fraction(torch.from_numpy(np.stack(sized)), known)
            yield Example(piece, [pixels], torch.from_numpy(self.label[piece]), fraction)

    def read_pixels(self, rows: np.ndarray) -> Iterator[Tensor]:
        return (example.inputs[0] for example in self.read(rows))

    def _fraction(self, mask: Tensor, known: Tensor) -> Tensor:
        fraction = functional.avg_pool2d(mask[:, None].float(), self.backbone.strides[0])[:, 0]
        fraction[~known] = torch.nan
        return fraction


Inputs = CachedInputs | ImageInputs


def _read_pieces(
    images: SourceImages, rows: np.ndarray, size: int, workers: int
) -> Iterator[tuple[np.ndarray, Tensor, list]]:
    """Yield a few rows at a time, with their (B, 3, S, S) pixels and their masks, without augmentation."""
    samples = in_order(lambda row: images.read(int(row), size), rows, workers)
    for start in range(0, len(rows), IMAGES_PIECE):
        piece = rows[start : start + IMAGES_PIECE]
        read = [next(samples) for _ in piece]
        pixels = torch.stack([torch.from_numpy(one.pixels).permute(2, 0, 1).float() for one in read])
        yield piece, pixels, [one.mask for one in read]


def _augment(sample: Sample, generator: np.random.Generator) -> Sample:
    return rotate_and_mirror(sample, int(generator.integers(8)))


def training_plan(
    inputs: Inputs, fitted: np.ndarray, config: Training, seed: int, share: Mapping[str, float] | None = None
) -> BatchPlan:
    """Plan batches of the fitted rows: half defective, every group equally likely, or sets by their share.

    Ours: otherwise a large category would dominate; ablation: variant "uneven source, images equally likely".
    """
    allowed = np.full(len(inputs.label), -1)
    allowed[fitted] = inputs.label[fitted]
    return BatchPlan(allowed, inputs.group, config.batch, seed, share)


def training_inputs(run: Run, backbone: Backbone) -> Inputs:
    """Open what a run trains on: images if its backbone learns, otherwise the cached features."""
    config, model = run.profile.training, run.profile.model
    if config.tuned_stages:
        if config.tuned_stages > (count := len(backbone.stages())):
            raise InputError(f"training.tuned_stages: {backbone.name} has {count}; set it to as many at most")
        return ImageInputs(source_images(run, fast=True), backbone, model.size, config.workers)
    images = source_images(run)
    features = read_features(run.features, images)
    made_by = (features.info.backbone_sha256, features.info.size, features.info.strides)
    if made_by != (backbone.sha256(), model.size, backbone.strides):
        raise InputError(f"{run.features}: made by another backbone, size or strides; run notebook 02_features again")
    return CachedInputs(features, images)
