"""What learns: the readout, and the last stages of the backbone where the profile says so.

Nothing in it is random but the noise on the readout's features, and that depends on the seed, the step and the place
in the batch alone. So a run may be cut off and continued, or divided among devices, and ends with the same weights.
"""

from collections.abc import Callable

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgezsad.model.backbone import Backbone
from edgezsad.model.readout import EdgeGLR

FIXED = (_BatchNorm, nn.Dropout, DropPath)
"""Kept as in use while training: statistics of small batches of few categories are worse than ImageNet's, they would
differ from device to device, and what should be random is the images."""


class Learner(nn.Module):
    """The readout, behind a backbone that learns, or alone.

    Attributes:
        readout: what always learns.
        backbone: what reads images; None where the inputs are its features already.
        stages: the backbone's stages that learn, from the image on.
    """

    def __init__(self, readout: EdgeGLR, backbone: Backbone | None = None, tuned_stages: int = 0):
        super().__init__()
        self.readout, self.backbone = readout, backbone
        self.stages: list[nn.Module] = []
        if backbone is not None:
            self.stages = backbone.stages()[-tuned_stages:]
            backbone.requires_grad_(False)
            for stage in self.stages:
                stage.requires_grad_(True)

    def forward(self, inputs: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The fields of the readout's `Output`: distribution and precision wrappers take tuples apart, not classes."""
        output = self.readout(inputs if self.backbone is None else self.backbone(inputs[0]))
        return output.score, output.map, output.ranking, output.correction

    def train(self, mode: bool = True) -> "Learner":
        """As every module's, but for parts that stay as in use."""
        super().train(mode)
        if mode and self.backbone is not None:
            learning = {id(part) for stage in self.stages for part in stage.modules()}
            for part in self.backbone.modules():
                if id(part) not in learning or isinstance(part, FIXED):
                    part.training = False
        return self

    def tuned(self) -> dict[str, Tensor]:
        """The backbone's weights that learned, by their names in the backbone; none where it is frozen."""
        if self.backbone is None:
            return {}
        return {name: value for name, value in self.backbone.named_parameters() if value.requires_grad}


class Noise:
    """Normal numbers that depend on the seed, the step and the place in the batch alone.

    Every rank draws the whole batch's and takes its own, as it takes its own images; on the processor, since a GPU's
    generator gives other numbers.
    """

    def __init__(self, seed: int, rank: int, ranks: int):
        self.seed, self.rank, self.ranks = seed, rank, ranks
        self._generator = torch.Generator()

    def at(self, step: int) -> Callable[[Tensor], Tensor]:
        """What gives noise like a (B, ...) tensor in this step."""
        # Two numbers as one: no run has as many steps.
        self._generator.manual_seed(self.seed * 2**32 + step)
        return self._like

    def _like(self, tensor: Tensor) -> Tensor:
        shape = (len(tensor) * self.ranks, *tensor.shape[1:])
        drawn = torch.randn(shape, generator=self._generator)
        return drawn[self.rank :: self.ranks].to(tensor.device, tensor.dtype)
