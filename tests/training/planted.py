"""A source small enough to train on in a second, for tests and for the processes that tests start and kill.

    python planted.py train FOLDER [STEPS]       one run; under torchrun, one of several processes
    python planted.py serve                      a process that forks a run for every folder on its standard input

The second starts a run in milliseconds, since everything is imported already: a test can afford to kill twenty.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgezsad.config import Data, DataSet, Model, Profile, Training
from edgezsad.model.backbone import sha256_of_tensors
from edgezsad.training.features import CacheInfo, Features
from edgezsad.training.inputs import CachedInputs
from edgezsad.training.trainer import train

IMAGES = 120


class SmallBackbone(nn.Module):
    """What `Backbone` offers, at strides 8 and 16, from average pooling and two fixed projections."""

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
    """Noise; in every defective image one cell at the finest stride stands out, and its mask says where."""
    generator = np.random.default_rng(0)
    label = (np.arange(IMAGES) % 3 == 0).astype(np.int64)
    maps = [
        generator.normal(size=(IMAGES, channels, 64 // stride, 64 // stride)).astype(np.float16)
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]
    mask_fraction = np.zeros((IMAGES, 8, 8), dtype=np.float32)
    for row in np.flatnonzero(label):
        place = generator.integers(0, 8, 2)
        maps[0][row, 2, place[0], place[1]] += 12
        mask_fraction[row, place[0], place[1]] = 1
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


def small_profile(folder: Path, **training: object) -> Profile:
    """A profile for the small backbone."""
    item = {"layout": "mvtec", "root": "x"}
    return Profile(
        profile="mini",
        title="test",
        run=folder,
        data=Data(root=folder, source=[DataSet(name="s", **item)], targets=[DataSet(name="t", **item)]),
        model=Model(backbone="small", weights="random", size=64, strides=(8, 16)),
        training=Training(**({"batch": 16, "warmup": 5, "learning_rate": 1e-2, "device": "cpu"} | training)),
    )


def run(folder: Path, steps: int) -> None:
    """Train into `folder`, saving a state every few steps."""
    torch.set_num_threads(1)
    backbone = SmallBackbone()
    profile = small_profile(folder, steps=steps, save_every=7)
    train(profile, CachedInputs(planted(backbone)), backbone, 0, folder)


def serve() -> None:
    """Fork a run for every line "FOLDER STEPS" read, print its process id, and then how it ended."""
    # Whatever has started threads by now would be broken in the forked processes.
    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        folder, steps = line.rsplit(" ", 1)
        child = os.fork()
        if not child:
            # The reports of a run would go where the process ids go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            run(Path(folder), int(steps))
            os._exit(0)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        run(Path(sys.argv[2]), int(sys.argv[3]))
