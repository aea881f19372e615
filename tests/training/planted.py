"""A source small enough to train on in a second; `python planted.py FOLDER STEPS` trains in a process of its own."""

import copy
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgezsad.config import Data, DataSet, Model, Profile, Training
from edgezsad.data.loading import Sample
from edgezsad.model.backbone import sha256_of_tensors
from edgezsad.training.features import CacheInfo, Features
from edgezsad.training.inputs import CachedInputs
from edgezsad.training.trainer import train

IMAGES = 120


class SmallBackbone(nn.Module):
    """The interface of `Backbone` at strides 8 and 16: average pooling and two fixed projections."""

    name, weights, strides, channels = "small", "random", (8, 16), (5, 6)

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.project = nn.ParameterList(torch.randn(count, 3, 1, 1, generator=generator) for count in self.channels)
        self.eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        return [
            functional.conv2d(functional.avg_pool2d(image / 255, stride), weight)
            for stride, weight in zip(self.strides, self.project, strict=True)
        ]

    def sha256(self) -> str:
        return sha256_of_tensors(self.state_dict())


def planted(backbone: SmallBackbone) -> Features:
    """Noise; in every defective image one cell at the finest stride stands out; one mask is unknown."""
    generator = np.random.default_rng(0)
    label = (np.arange(IMAGES) % 3 == 0).astype(np.int64)
    maps = [
        generator.normal(size=(IMAGES, channels, 64 // stride, 64 // stride)).astype(np.float16)
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]
    mask_fraction = np.zeros((IMAGES, 8, 8), dtype=np.float32)
    for row in np.flatnonzero(label):
        y, x = generator.integers(0, 8, 2)
        maps[0][row, 2, y, x] += 12
        mask_fraction[row, y, x] = 1
    mask_fraction[0] = np.nan
    info = CacheInfo(
        backbone="small",
        backbone_sha256=backbone.sha256(),
        size=64,
        strides=(8, 16),
        source_sha256="s",
        images=IMAGES,
        recipe=1,
        features_sha256="f",
    )
    parent = np.array([f"{row}.png" for row in range(IMAGES)])
    return Features(maps, mask_fraction, label, np.array(["a", "b"])[np.arange(IMAGES) % 2], parent, info)


class Images:
    """Noise images of two categories at 64 pixels; a defect is a bright square, and the mask of row 1 is unknown."""

    sha256 = "made"

    def __init__(self, count: int) -> None:
        generator = np.random.default_rng(0)
        self.pixels = generator.integers(60, 160, (count, 64, 64, 3), dtype=np.uint8)
        self.label = (np.arange(count) % 2).astype(np.int64)
        self.masks = np.zeros((count, 64, 64), dtype=bool)
        for row in np.flatnonzero(self.label):
            top, left = generator.integers(0, 44, 2)
            self.masks[row, top : top + 20, left : left + 20] = True
        self.pixels[self.masks] = 255
        self.group = np.array(["s/a", "s/b"])[np.arange(count) // 2 % 2]
        self.parent = np.array([f"{row}.png" for row in range(count)])
        self.names = self.parent

    def __len__(self) -> int:
        return len(self.label)

    def read(self, row: int, size: int) -> Sample:
        return Sample(self.pixels[row], None if row == 1 else self.masks[row])


def stopping(inputs: CachedInputs, at: int, error: type[BaseException] | None = KeyboardInterrupt) -> CachedInputs:
    """A copy of the inputs that stops at a step; without an error it yields NaN features there."""
    copied = copy.copy(inputs)

    def steps(plan, steps, rank, world_size):
        for number, example in zip(steps, inputs.steps(plan, steps, rank, world_size), strict=True):
            if number == at and error:
                raise error
            if number == at:
                example.inputs[0][3] = torch.nan
            yield example

    copied.steps = steps
    return copied


def small_profile(folder: Path, **training: object) -> Profile:
    source, target = (DataSet(name=name, layout="mvtec", root=name) for name in ("s", "t"))
    return Profile(
        profile="mini",
        title="test",
        run=folder,
        data=Data(root=folder, source=[source], targets=[target]),
        model=Model(backbone="small", weights="random", size=64, strides=(8, 16)),
        training=Training(**({"batch": 16, "warmup": 5, "learning_rate": 1e-2, "device": "cpu"} | training)),
    )


def run(folder: Path, steps: int) -> None:
    torch.set_num_threads(1)
    backbone = SmallBackbone()
    profile = small_profile(folder, steps=steps, save_every=7)
    train(profile, CachedInputs(planted(backbone)), backbone, 0, folder)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
