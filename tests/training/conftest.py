"""A backbone of two layers, small enough to train on in a second."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgezsad.model.backbone import sha256_of_tensors


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


@pytest.fixture(scope="session")
def backbone() -> SmallBackbone:
    return SmallBackbone()
