"""Export a detector to one ONNX file: opset 18, static shapes, batch 1, normalisation and weights inside.

Input `image` is (1, 3, S, S) float32, RGB, 0..255; outputs are `score` (1,) and `map` (1, 1, h, w), raw logits. Equal
detectors give equal bytes: the exporter's notes, which hold paths of the exporting machine, are removed.
"""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules.common import reshape_reshape_rule
from timm.models.tiny_vit import Attention
from torch import Tensor, nn

from edgezsad.errors import CheckError, one_line
from edgezsad.export.lint import OPSET, save_graph, set_metadata

MOST_AXES = 4  # of a transposition; QNN's GPU transposes at most five


def export_onnx(
    detector: nn.Module,
    path: Path | str,
    size: int,
    metadata: dict[str, str] | None = None,
    more_outputs: Sequence[str] = (),
) -> Path:
    """Export a detector to `path`, atomically, with `metadata` as `metadata_props`; returns `path`.

    The detector takes (B, 3, size, size) float32, returns score (B,), map (B, 1, h, w) and `more_outputs`, and is not
    changed. A CheckError if the exporter cannot express it, or the graph has other inputs or outputs.
    """
    module = _portable_copy(detector)
    try:
        with silence(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (torch.zeros(1, 3, size, size),),
                dynamo=True,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["score", "map", *more_outputs],
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise CheckError(f"{path}: PyTorch cannot export this detector ({one_line(error)}); simplify it") from None
    model = _tidy(program.model)
    set_metadata(model, metadata or {})
    return save_graph(model, path)


class OrderedGelu(nn.Module):
    """GELU with its factors in the order that ONNX Runtime computes as one operator; a fifth faster for TinyViT."""

    def forward(self, x: Tensor) -> Tensor:
        return (0.5 * x) * (1 + torch.erf(x / 2**0.5))


def compact_biases(module: Attention) -> Callable[[torch.device], Tensor]:
    """Return a function that computes TinyViT's position biases from two small tables, instead of N x N values.

    It replaces `Attention.get_attention_biases`: (1, heads, N, N), N the locations of a window, by row and column
    distance. Few devices support a lookup over two axes; the table of timm takes 8 MB at 512 pixels.
    """
    rows, columns = module.resolution
    by_row, by_column = ((torch.arange(n)[:, None] - torch.arange(n)).abs().flatten() for n in (rows, columns))

    def biases(device: torch.device) -> Tensor:
        table = module.attention_biases.view(-1, rows, columns).index_select(1, by_row).index_select(2, by_column)
        table = table.view(-1, rows, rows, columns, columns).permute(0, 1, 3, 2, 4)
        return table.reshape(1, -1, rows * columns, rows * columns)

    return biases


def _portable_copy(detector: nn.Module) -> nn.Module:
    """Copy a detector to the CPU, in eval mode, with the rewritten modules."""
    # Entering train mode empties TinyViT's cache of biases, which would otherwise be exported instead of the weights.
    module = copy.deepcopy(detector).to("cpu").train().eval()
    for parent in list(module.modules()):
        if isinstance(parent, Attention):
            parent.get_attention_biases = compact_biases(parent)
        for name, child in parent.named_children():
            if isinstance(child, nn.GELU) and child.approximate == "none":
                setattr(parent, name, OrderedGelu())
    return module


def _tidy(model: ir.Model) -> onnx.ModelProto:
    """Merge axes, share equal tensors and equal nodes, and drop the exporter's notes."""
    merge_axes(model)
    rewrite(model, [reshape_reshape_rule])
    for step in (
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(size_limit=2**31),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.ClearMetadataAndDocStringPass(),
    ):
        step(model)
    return ir.to_proto(model)


def merge_axes(model: ir.Model) -> None:
    """Rewrite each Transpose of more than `MOST_AXES` axes as Reshape, Transpose, Reshape with fewer, in place."""
    for node in list(model.graph):
        source, target = (node.inputs[0], node.outputs[0]) if node.op_type == "Transpose" else (None, None)
        if source is None or source.shape is None or len(source.shape) <= MOST_AXES or not source.shape.is_static():
            continue
        shape, order = source.shape.numpy(), tuple(node.attributes["perm"].as_ints())
        merged_shape, merged_order = merged_axes(shape, order)
        if len(merged_shape) == len(shape):
            continue
        tape = ir.tape.Tape(model.graph)
        lengths = {"merged": merged_shape, "split": tuple(shape[axis] for axis in order)}
        low, high = (
            tape.initializer(ir.tensor(np.array(axes, dtype=np.int64), name=f"{target.name}_{name}"))
            for name, axes in lengths.items()
        )
        moved = tape.op("Transpose", [tape.op("Reshape", [source, low])], {"perm": merged_order})
        split = tape.op("Reshape", [moved, high])
        ir.convenience.replace_nodes_and_values(model.graph, node, [node], tape.nodes, [target], [split])


def merged_axes(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return input shape and order of a transposition with the fewest axes that moves the same elements."""
    runs: list[list[int]] = []
    for axis in order:
        if shape[axis] == 1:
            continue
        # An axis joins the one before it if only axes of length one lie between them in the input.
        if runs and runs[-1][-1] < axis and prod(shape[runs[-1][-1] + 1 : axis]) == 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    if not runs:
        return (1,), (0,)
    runs_in_input = sorted(runs)
    lengths = tuple(prod(shape[axis] for axis in run) for run in runs_in_input)
    return lengths, tuple(runs_in_input.index(run) for run in runs)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Silence the exporter's warnings, loggers and standard streams; errors are still raised."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
