"""A detector as one ONNX file: opset 18, static shapes, batch 1, normalisation inside, weights inside.

Input `image` is (1, 3, S, S) float32, RGB, 0..255; outputs are `score` (1,) and `map` (1, 1, h, w), raw logits.
Equal detectors give equal bytes: the exporter's notes on where each node came from, which hold paths of the machine
that exported, are removed.
"""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from torch import nn

from edgezsad.errors import CheckError, one_line
from edgezsad.export.attention import compact_biases
from edgezsad.export.lint import save_graph, set_metadata
from edgezsad.export.ranks import merge_axes

OPSET = 18
INPUT = "image"
OUTPUTS = ("score", "map")


def export_onnx(detector: nn.Module, path: Path | str, size: int, metadata: dict[str, str] | None = None) -> Path:
    """Export a detector.

    Args:
        detector: takes (B, 3, size, size) float32 and returns score (B,) and map (B, 1, h, w). It is not changed.
        path: the file to write; an older one stays as it was if anything goes wrong.
        size: input height and width in pixels.
        metadata: written to the file's `metadata_props`.

    Returns:
        `path`.

    Raises:
        CheckError: the exporter cannot express the detector, or the graph is not of the promised form.
    """
    module = _fresh_copy(detector)
    example = torch.zeros(1, 3, size, size)
    try:
        with _silence(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise CheckError(f"{path}: PyTorch cannot export this detector ({one_line(error)}); simplify it") from None
    model = _tidy(program.model)
    _check_signature(model, size, path)
    set_metadata(model, metadata or {})
    return save_graph(model, path)


def _fresh_copy(detector: nn.Module) -> nn.Module:
    """A copy on the CPU in eval mode with no cached attention biases.

    timm's TinyViT keeps attention biases from its first eval forward, also when other weights are loaded later, and
    the exporter would both bake the old ones in and leave tracing tensors behind. Entering train mode empties the
    cache; the copy keeps the caller's detector out of it.
    """
    fresh = copy.deepcopy(detector).to("cpu").train().eval()
    compact_biases(fresh)
    for module in list(fresh.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GELU) and child.approximate == "none":
                setattr(module, name, OrderedGelu())
    return fresh


class OrderedGelu(nn.Module):
    """GELU with its factors in the order that ONNX Runtime computes as one operator; equal to `nn.GELU` but rounding.

    The exporter's own order costs TinyViT a fifth more time.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute (0.5 x) (1 + erf(x / sqrt 2)) of a tensor of any shape."""
        return (0.5 * x) * (1 + torch.erf(x / 2**0.5))


def _tidy(model: ir.Model) -> onnx.ModelProto:
    """Share equal tensors and equal nodes, drop the exporter's notes, and use as few axes as will do."""
    # Each TinyViT block brings its own copy of the same tables of distances.
    for step in (
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(size_limit=2**31),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.ClearMetadataAndDocStringPass(),
    ):
        step(model)
    plain = ir.to_proto(model)
    merge_axes(plain)
    return plain


def _check_signature(model: onnx.ModelProto, size: int, path: Path | str) -> None:
    shapes = {
        item.name: tuple(axis.dim_value for axis in item.type.tensor_type.shape.dim)
        for item in (*model.graph.input, *model.graph.output)
    }
    good = list(shapes) == [INPUT, *OUTPUTS] and shapes[INPUT] == (1, 3, size, size) and shapes["score"] == (1,)
    if not (good and len(shapes["map"]) == 4 and shapes["map"][:2] == (1, 1)):
        raise CheckError(f"{path}: inputs and outputs are {shapes}, not image, score (1,), map (1, 1, h, w)")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter talks through warnings, loggers and the standard streams; errors still rise as exceptions."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
