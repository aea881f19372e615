"""The spatial head with context: all strides are read together, and each place together with what lies around it.

Without it (`Readout.context` 0, as in the paper variant) each stride draws a share of the map by itself and the shares
are added. A defect's edge, a texture that ends, a spot among spots: what they are is seen in their surroundings only.
"""

from torch import Tensor, nn
from torch.nn import functional

WINDOW = 5
"""Height and width of a block's window, in places of the finest stride."""


class Block(nn.Module):
    """Each channel over its surroundings, then all channels of a place; added to what was there."""

    def __init__(self, hidden: int):
        super().__init__()
        self.around = nn.Conv2d(hidden, hidden, WINDOW, padding=WINDOW // 2, groups=hidden)
        self.across = nn.Conv2d(hidden, hidden, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, H, h, w) to the same shape."""
        return hidden + functional.relu(self.across(self.around(hidden)))


class ContextHead(nn.Module):
    """The map from all strides together.

    Args:
        channels: of what is read at each stride, finest first.
        strides: ascending.
        hidden: channels at the finest stride.
        blocks: how many times each place looks around.
    """

    def __init__(self, channels: list[int], strides: tuple[int, ...], hidden: int, blocks: int):
        super().__init__()
        factors = [stride // strides[0] for stride in strides]
        self.read = nn.ModuleList(
            nn.Conv2d(count, hidden * factor**2, 1) for count, factor in zip(channels, factors, strict=True)
        )
        # A learned depth-to-space, as in the other head: nothing is interpolated.
        self.enlarge = nn.ModuleList(nn.PixelShuffle(factor) if factor > 1 else nn.Identity() for factor in factors)
        self.blocks = nn.Sequential(*(Block(hidden) for _ in range(blocks)))
        self.out = nn.Conv2d(hidden, 1, 1)

    def forward(self, read: list[Tensor]) -> Tensor:
        """One (B, C, h, w) for each stride to (B, 1, h, w) at the finest."""
        hidden = None
        for part, conv, enlarge in zip(read, self.read, self.enlarge, strict=True):
            share = enlarge(conv(part))
            hidden = share if hidden is None else hidden + share
        return self.out(self.blocks(functional.relu(hidden)))
