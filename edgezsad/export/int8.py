"""The INT8 twin of an ONNX graph: layers between QuantizeLinear and DequantizeLinear, input and outputs in FP32.

ONNX Runtime's quantiser places them (static, per-channel weights); here is decided where. A layer takes its input in
INT8, as TensorRT advises, and its output becomes INT8 where another layer or the sum of a residual takes it. Everything
else reads FP32: the input normalisation, the other side of such a sum, the pooling and the readout, and the layers that
cost too much (see `edgezsad.export.sensitivity`). So a layer's result is rounded once, however many sums it goes
through. Biases stay FP32: whoever fuses a layer rounds them to its own steps.

Ranges are taken from images of the source, never of a target: which source it was stands in the file, and a graph that
was trained on another is refused. Weights are rounded by `edgezsad.export.int8_rounding`.
"""

import contextlib
import difflib
import logging
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from edgezsad.errors import InputError
from edgezsad.export.int8_rounding import input_moments, rounded_weights
from edgezsad.export.layers import Layer, layers
from edgezsad.export.lint import load_graph, metadata_of, save_graph, set_metadata
from edgezsad.scoring.onnx_scorer import as_tensor

OPERATORS = ["Conv", "MatMul", "Add"]
# Smallest and largest value seen. Percentiles (99.99, 99.999) were about as good on the mini profile, and they keep
# every value of every image in memory.
METHOD = CalibrationMethod.MinMax
MOMENT_IMAGES = 16
"""Images whose means guide the rounding of weights: means need fewer than extremes."""


@dataclass(frozen=True)
class Prepared:
    """An FP32 graph with what quantising it needs.

    Attributes:
        graph: the graph.
        layers: that may become INT8.
        weights: of these on their INT8 steps, by the name of the initialiser.
        ranges: of every tensor, in the quantiser's own JSON.
        images: behind the ranges.
        source_sha256: of the source that they belong to; empty for a graph that was not trained.
    """

    graph: Path
    layers: list[Layer]
    weights: dict[str, np.ndarray]
    ranges: Path
    images: int
    source_sha256: str


def to_int8(
    source: Path | str,
    target: Path | str,
    images: Iterable[np.ndarray],
    exclude: Collection[str] = (),
    source_sha256: str = "",
    symmetric: bool = False,
) -> Path:
    """Write the INT8 twin of `source` to `target`, atomically.

    Args:
        source: an FP32 graph of this package.
        target: the file to write.
        images: (S, S, 3) uint8 RGB, as the graph takes them; of the source.
        exclude: layers that stay in FP32, by the names of `edgezsad.export.layers`.
        source_sha256: of the source that the images belong to; the graph must have been trained on it.
        symmetric: activations in signed INT8 around zero, as TensorRT asks for, at half the resolution behind a ReLU;
            else in unsigned INT8 with a zero point, which ONNX Runtime and QNN's HTP take.

    Returns:
        `target`.

    Raises:
        InputError: `source` is missing, damaged or not FP32; the images are not of its source, of another size or none;
            a name is unknown, or no layer is left.
        CheckError: the result is not valid ONNX.
    """
    with tempfile.TemporaryDirectory(prefix="edgezsad-int8-") as folder:
        return write_int8(prepare(source, images, Path(folder), source_sha256), target, exclude, symmetric)


def prepare(source: Path | str, images: Iterable[np.ndarray], folder: Path, source_sha256: str = "") -> Prepared:
    """Round the weights of an FP32 graph and measure the ranges of its activations.

    Args:
        source: the graph.
        images: (S, S, 3) uint8 RGB.
        folder: receives the ranges; it must outlive what is returned.
        source_sha256: see `to_int8`.
    """
    model = load_graph(source)
    trained_on = metadata_of(model).get("source_sha256", "")
    if trained_on != source_sha256:
        raise InputError(
            f"{source}: trained on source {trained_on[:12] or 'unknown'}, calibration images are of "
            f"{source_sha256[:12] or 'unknown'}; calibrate on the source alone, never on a target"
        )
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    if TensorProto.FLOAT16 in kinds or any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise InputError(f"{source}: not an FP32 graph; give the FP32 graph")
    found = layers(model.graph)
    if not found:
        raise InputError(f"{source}: has no layer that INT8 is for; give a detector's FP32 graph")
    size = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    tensors = [as_tensor(image, size) for image in images]
    if not tensors:
        raise InputError(f"{source}: no images to calibrate with; give some of the source")
    few = np.unique(np.linspace(0, len(tensors) - 1, MOMENT_IMAGES).astype(int))
    weights = rounded_weights(model, input_moments(model, (tensors[place] for place in few)))
    prepared = Prepared(Path(source), found, weights, folder / "ranges.json", len(tensors), source_sha256)
    # Ranges do not depend on what is quantised, so one layer is enough to have them measured and kept.
    _run_quantiser(model, prepared.ranges, [found[0].node], False, _Reader(model.graph.input[0].name, tensors))
    return prepared


def write_int8(prepared: Prepared, target: Path | str, exclude: Collection[str], symmetric: bool = False) -> Path:
    """Write the graph with all layers but `exclude` in INT8; see `to_int8`."""
    known = [layer.name for layer in prepared.layers]
    for name in exclude:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise InputError(f"exclude: no layer {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    chosen = [layer for layer in prepared.layers if layer.name not in set(exclude)]
    if not chosen:
        raise InputError(f"{target}: no layer is left for INT8; exclude fewer")
    model = quantised(prepared, chosen, symmetric)
    facts = {
        "precision": "int8",
        "calibration_images": str(prepared.images),
        "calibration_method": METHOD.name,
        "calibration_sha256": prepared.source_sha256,
        "int8_activations": "int8, symmetric" if symmetric else "uint8, with zero point",
        "int8_layers": str(len(chosen)),
        "int8_left_out": ", ".join(layer.name for layer in prepared.layers if layer.name in set(exclude)),
    }
    set_metadata(model, facts)
    return save_graph(model, target)


def quantised(prepared: Prepared, chosen: Collection[Layer], symmetric: bool = False) -> onnx.ModelProto:
    """The graph with only `chosen` in INT8."""
    original = load_graph(prepared.graph)
    stored = {tensor.name: tensor for tensor in original.graph.initializer}
    for name in {layer.weights for layer in chosen}:
        stored[name].CopyFrom(numpy_helper.from_array(prepared.weights[name], name))
    names = {layer.node for layer in chosen}
    sums = _residual_sums(original.graph, names)
    model = _run_quantiser(original, prepared.ranges, sorted(names | sums), symmetric)
    _read_fp32(model.graph, names, sums)
    # The quantiser adds notes of its own.
    del model.metadata_props[:]
    model.metadata_props.extend(original.metadata_props)
    # Types between the nodes are inferred again by whoever needs them.
    del model.graph.value_info[:]
    return model


class _Reader(CalibrationDataReader):
    """Images as the quantiser asks for them."""

    def __init__(self, name: str, tensors: Iterable[np.ndarray]):
        self._feeds = ({name: tensor} for tensor in tensors)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _run_quantiser(
    model: onnx.ModelProto, ranges: Path, nodes: list[str], symmetric: bool, reader: _Reader | None = None
) -> onnx.ModelProto:
    """The graph with some nodes in INT8. Ranges are read from their file, or measured where there is none yet."""
    with tempfile.TemporaryDirectory(dir=ranges.parent) as folder, _silence():
        # A file of its own: the quantiser writes beside what it reads.
        full, result = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        full.write_bytes(model.SerializeToString())
        quantize_static(
            full,
            result,
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=OPERATORS,
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=nodes,
            calibrate_method=METHOD,
            calibration_cache_path=ranges,
            extra_options={
                "ActivationSymmetric": symmetric,
                "QuantizeBias": False,
                # What reads a layer's output asks for INT8 itself, behind the ReLU.
                "OpTypesToExcludeOutputQuantization": ["Conv", "MatMul"],
                # It would widen the steps of weights that are rounded to them already, for biases that stay FP32.
                "QDQDisableWeightAdjustForInt32Bias": True,
            },
        )
        return onnx.load(result)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The quantiser advises preparations that this package's export has done already."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


def _residual_sums(graph: onnx.GraphProto, chosen: set[str]) -> set[str]:
    """Additions of what INT8 layers give, and of such additions, that an INT8 layer reads, directly or not."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    made = {name for node in graph.node if node.name in chosen for name in node.output}
    sums: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Add" and set(node.input) <= made:
            sums.append(node)
            made.update(node.output)
    found: set[str] = set()
    for node in reversed(sums):
        if any(reader.name in chosen | found for reader in readers.get(node.output[0], [])):
            found.add(node.name)
    return found


def _read_fp32(graph: onnx.GraphProto, chosen: set[str], sums: set[str]) -> None:
    """Let every node that is not in INT8 read what was there before it was quantised, in place.

    A sum reads a layer's result in INT8, so that the layer can be fused with its rounding, and another sum's in FP32.

    It costs nothing, is nearer to FP32, and keeps a runtime from taking a layer that was left out for one in INT8: ONNX
    Runtime quantises the weights of whatever stands between two of these pairs, and with one step for all channels.
    """
    makers = {name: node for node in graph.node for name in node.output}
    before = {}
    for node in graph.node:
        maker = makers.get(node.input[0])
        if node.op_type == "DequantizeLinear" and maker is not None and maker.op_type == "QuantizeLinear":
            before[node.output[0]] = maker.input[0]
    for node in graph.node:
        if node.name in chosen or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for place, name in enumerate(node.input):
            full = before.get(name, name)
            if not (node.name in sums and full in makers and makers[full].name in chosen):
                node.input[place] = full
