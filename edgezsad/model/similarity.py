"""How unlike the rest of its own image each place is: what a part shows once, among things that it shows often.

A normal surface repeats itself, so that a place which has no like in the whole image is suspicious, whatever the part
is. Every place is compared with every other one of the same image, as in self-attention, but nothing is learned here:
what carries over to parts never seen is the comparison itself. (MuSc, Li et al., 2024, compares places of many images
in this way; one image alone is what a zero-shot detector has.)

Matrix products, exponentials and sums alone: no TopK, no sorting, nothing dynamic.
"""

import torch
from torch import Tensor, nn

SHARPNESS = (3.0, 6.0, 20.0)
"""How strongly the most similar places count: a low value asks how much of the image is alike, a high one whether
anything is."""
FLOOR = 1e-4
"""Added before the logarithm; FP16 still holds it."""
CHANNELS = 2 * len(SHARPNESS)


class Unlikeness(nn.Module):
    """Unlikeness of each place, in absolute terms and in units of its image's own spread.

    Args:
        side: height and width of the feature map.
        reach: places at most so many steps away are left out: a defect that is larger than a place is like itself.
    """

    def __init__(self, side: int, reach: int):
        super().__init__()
        near = torch.ones(side, side).triu(-reach).tril(reach)
        far = 1 - torch.kron(near, near)
        if not (far.sum(dim=1) > 0).all():
            raise ValueError(f"a map of {side} x {side} has places with nothing more than {reach} steps away")
        # The places' weights in each row's mean; a constant of the graph.
        self.register_buffer("weight", far / far.sum(dim=1, keepdim=True), persistent=False)

    def forward(self, difference: Tensor) -> Tensor:
        """(B, C, h, w) to (B, CHANNELS, h, w)."""
        batch, channels, height, width = difference.shape
        places = difference.flatten(2)
        length = places.square().mean(dim=1, keepdim=True).sqrt() + 1e-3
        direction = places / length
        # The cosine of every two places, less one: -2 to 0, so that no exponential is large.
        below = torch.matmul(direction.transpose(1, 2), direction / channels) - 1
        unlike = [-((sharp * below).exp() * self.weight).sum(dim=2).add(FLOOR).log() / sharp for sharp in SHARPNESS]
        raw = torch.stack(unlike, dim=1).view(batch, len(SHARPNESS), height, width)
        centred = raw - raw.mean(dim=(2, 3), keepdim=True)
        spread = centred.square().mean(dim=(2, 3), keepdim=True).sqrt() + 1e-2
        return torch.cat([raw - 1, centred / spread], dim=1)
