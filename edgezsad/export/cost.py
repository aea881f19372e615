"""What a network costs: parameters and floating point operations, counted the way the paper counts them."""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

GIGA = 1e9
MEGA = 1e6


@dataclass(frozen=True)
class Cost:
    """Cost of one image.

    Attributes:
        parameters: in millions.
        gflops: 10^9 floating point operations; a multiply-add is two. Convolutions and matrix products only, as
            `FlopCounterMode` counts them.
        by_operator: `gflops` by PyTorch operator, for instance {"convolution": 9.12, "addmm": 33.07}.
    """

    parameters: float
    gflops: float
    by_operator: dict[str, float]


def count(module: nn.Module, size: int) -> Cost:
    """Count a network's cost at (1, 3, size, size), without computing anything.

    The forward pass runs on the meta device, which has shapes and no values: 0.2 s for a network that takes 3.5 s.

    Args:
        module: takes an image; whatever it returns is ignored. It is not changed.
        size: input height and width in pixels.
    """
    # As in the exporter: entering train mode empties TinyViT's cached attention biases, which stay on their device.
    shell = copy.deepcopy(module).to("meta").train().eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        shell(torch.zeros(1, 3, size, size, device="meta"))
    total = counter.get_flop_counts()["Global"]
    by_operator = {str(operator).rpartition(".")[2]: flops / GIGA for operator, flops in total.items()}
    return Cost(sum(p.numel() for p in module.parameters()) / MEGA, counter.get_total_flops() / GIGA, by_operator)
