"""TinyViT's position biases in a form that stays small in an exported file.

timm looks each bias up by a table of N x N int64 numbers: 8 MB at 512 px, and a gather over two axes that few devices
know. But a bias depends on the distance in rows and in columns alone, so two gathers along one axis each do the same,
with tables of a few kilobytes. Whatever runs the graph expands them once, as it is loaded.
"""

from dataclasses import dataclass

import torch
from timm.models.tiny_vit import Attention
from torch import Tensor, nn


def compact_biases(model: nn.Module) -> int:
    """Change how TinyViT's attention looks up its biases, in place; the biases stay the same to the bit.

    Returns:
        how many attention modules were changed; one that counts its distances in another order is left as it is.
    """
    changed = 0
    for module in model.modules():
        if isinstance(module, Attention):
            compact = CompactBiases(module, *(_distances(length) for length in module.resolution))
            # The biases may all be the same number (zero, before training); these are all different.
            numbers = torch.arange(module.attention_biases.numel()).view_as(module.attention_biases)
            if torch.equal(compact.expanded(numbers)[0], numbers[:, module.attention_bias_idxs]):
                # On the instance: other models of the process keep timm's own.
                module.get_attention_biases = compact
                changed += 1
    return changed


@dataclass(frozen=True, eq=False)
class CompactBiases:
    """What stands in for `Attention.get_attention_biases`.

    Attributes:
        module: whose biases they are.
        rows, columns: (length²,) int64, how far each place of an axis is from each other one.
    """

    module: Attention
    rows: Tensor
    columns: Tensor

    def __call__(self, device: torch.device) -> Tensor:
        """(1, heads, N, N), N the places of a window, row by row."""
        return self.expanded(self.module.attention_biases)

    def expanded(self, biases: Tensor) -> Tensor:
        """(heads, N) biases by distance to (1, heads, N, N) by pair of places."""
        heads, (rows, columns) = len(biases), self.module.resolution
        table = biases.view(heads, rows, columns).index_select(1, self.rows).index_select(2, self.columns)
        table = table.view(heads, rows, rows, columns, columns).permute(0, 1, 3, 2, 4)
        return table.reshape(1, heads, rows * columns, rows * columns)


def _distances(length: int) -> Tensor:
    places = torch.arange(length)
    return (places[:, None] - places).abs().flatten()
