"""Quantise an ONNX graph to INT8 with ONNX Runtime's static quantiser; input and outputs stay FP32.

Convolutions and matrix products read INT8 activations (one scale per tensor) and INT8 weights (one scale per channel).
Their outputs, all other operators, the readout, and the layers that a sweep finds too costly stay FP32.

Activation ranges come from source images, never from a target: the file names the source, and a graph that was trained
on another source is rejected.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from edgezsad.errors import InputError
from edgezsad.export.lint import load_graph, metadata_of, save_graph, set_metadata, unpack_weights
from edgezsad.export.onnx_export import silence
from edgezsad.files import progress
from edgezsad.model.references import DESCRIPTION
from edgezsad.scoring.onnx_scorer import OnnxScorer, as_tensor

SHARE = 0.2
"""Layers with the most squared error per weight stay FP32, up to this share of all weights. Rule and share were chosen
after looking at the drift of the `mini` targets."""


class Layer(NamedTuple):
    """A layer with weights: readable name ("blocks.0.0.conv_dw"), name of its node, and number of weights."""

    name: str
    node: str
    weights: int


class Quantiser:
    """Quantises one FP32 graph with fixed activation ranges; `layers` are those that can become INT8."""

    def __init__(self, graph: Path | str, images: Sequence[np.ndarray], folder: Path, source_sha256: str = ""):
        """Measure the activation ranges on (S, S, 3) uint8 RGB images of the source.

        `folder` is empty and used as long as this object. `source_sha256` is the source's hash; "" for an untrained
        graph. An InputError if the graph is not FP32 or trained on another source.
        """
        model = load_graph(graph)
        unpack_weights(model.graph)
        self._metadata, self.layers = metadata_of(model), quantisable_layers(model.graph)
        trained_on = self._metadata.get("source_sha256", "")
        if trained_on != source_sha256:
            raise InputError(
                f"{graph}: trained on source {trained_on[:12] or 'unknown'}, calibration images are of "
                f"{source_sha256[:12] or 'unknown'}; calibrate on the source alone, never on a target"
            )
        if self._metadata.get("precision", "fp32") != "fp32" or not self.layers:
            raise InputError(f"{graph}: no FP32 layers to quantise; give a detector's FP32 graph")
        # The quantiser writes next to what it reads.
        self._folder, self._graph = folder, save_graph(model, folder / "fp32.onnx")
        size = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
        self._metadata |= {"calibration_images": str(len(images)), "calibration_sha256": source_sha256}
        # Ranges do not depend on what is quantised, so one layer is enough to measure and store them all.
        feeds = iter([{"image": as_tensor(image, size)} for image in images])
        self._quantise(self.layers[:1], SimpleNamespace(get_next=lambda: next(feeds, None)))

    def write(self, target: Path | str, exclude: Collection[str] = ()) -> Path:
        """Write the graph with all layers but `exclude` in INT8, atomically; returns `target`."""
        chosen = [layer for layer in self.layers if layer.name not in exclude]
        model = onnx.load(self._quantise(chosen))
        # The quantiser adds metadata and outdated types.
        del model.metadata_props[:], model.graph.value_info[:]
        facts = {"precision": "int8", "calibration_method": "smallest and largest value"}
        facts["int8_layers"] = str(len(chosen))
        facts["int8_left_out"] = ", ".join(layer.name for layer in self.layers if layer.name in exclude)
        set_metadata(model, self._metadata | facts)
        return save_graph(model, target)

    def outputs(self, layers: Sequence[Layer], images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Run the graph with only `layers` in INT8; returns scores (N,) and maps (N, h, w)."""
        graph = self._quantise(layers) if layers else self._graph
        scorer = OnnxScorer(graph, threads=2, warm_up=False)
        scores, maps = zip(*map(scorer.score, images), strict=True)
        return np.array(scores, dtype=np.float32), np.stack(maps)

    def _quantise(self, layers: Sequence[Layer], reader: SimpleNamespace | None = None) -> Path:
        target = self._folder / "int8.onnx"
        with silence():
            quantize_static(
                self._graph,
                target,
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "MatMul"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=[layer.node for layer in layers],
                calibrate_method=CalibrationMethod.MinMax,
                calibration_cache_path=self._folder / "ranges.json",
                extra_options={"QuantizeBias": False, "OpTypesToExcludeOutputQuantization": ["Conv", "MatMul"]},
            )
        return target


def to_int8(
    graph: Path | str, target: Path | str, images: Sequence[np.ndarray], exclude: Collection[str] = (), sha256: str = ""
) -> Path:
    """Write the INT8 version of the FP32 graph `graph` to `target`; see `Quantiser` for arguments and errors."""
    with tempfile.TemporaryDirectory(prefix="edgezsad-int8-") as folder:
        return Quantiser(graph, images, Path(folder), sha256).write(target, exclude)


def quantisable_layers(graph: onnx.GraphProto) -> list[Layer]:
    """List convolutions and matrix products with FP32 weights in graph order, without readout and references."""
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    layers = []
    for node in graph.node:
        if DESCRIPTION[0] in node.output:
            break  # the comparison with references follows
        if node.op_type not in ("Conv", "MatMul") or node.input[1] not in weights or node.input[0] in weights:
            continue
        # The exporter renames transposed weights; the bias, added next, keeps the layer's name.
        names = [node.input[1], *(name for reader in readers.get(node.output[0], []) for name in reader.input)]
        name = next((name for name in names if name.endswith((".weight", ".bias"))), f"{node.name}.")
        name = re.sub(r"^(detector\.)?(backbone\.)?(features\.)?", "", name.rpartition(".")[0])
        if name.partition(".")[0] != "readout":
            layers.append(Layer(name, node.name, int(np.prod(weights[node.input[1]].dims))))
    # Equal tensors are stored once, under one name, so that untrained layers can share it.
    counts = Counter(layer.name for layer in layers)
    return [
        layer._replace(name=f"{layer.name} ({layer.node})") if counts[layer.name] > 1 else layer for layer in layers
    ]


def sweep(quantiser: Quantiser, images: Sequence[np.ndarray], most: int | None = None) -> dict[str, Any]:
    """Quantise one layer at a time, measure the error, and choose the layers that stay FP32.

    Errors are root mean square changes, in standard deviations of FP32's.

    Args:
        quantiser: of the graph.
        images: (S, S, 3) uint8 RGB, of the source, but not those of the ranges.
        most: limits the number of layers.

    Returns:
        "table" has one row per layer, costliest first: layer, weights (thousands), score_error, map_error, kept_fp32.
        "all_int8" are the errors of score and map with all layers in INT8, "exported" with "kept_fp32" in FP32.
        "layers" and "images" are counts, "share" is `SHARE`.
    """
    fp32 = quantiser.outputs([], images)

    def errors(layers: Sequence[Layer]) -> tuple[float, ...]:
        pairs = zip(quantiser.outputs(layers, images), fp32, strict=True)
        # An untrained readout can give the same score to every image.
        return tuple(float(np.sqrt(np.mean((new - old) ** 2))) / (float(old.std()) or 1.0) for new, old in pairs)

    tried = progress(quantiser.layers[:most], "INT8 sweep", unit="layer")
    rows = [(layer.name, layer.weights / 1000, *errors([layer])) for layer in tried]
    table = pd.DataFrame(rows, columns=["layer", "weights", "score_error", "map_error"])
    cost = table[["score_error", "map_error"]].max(axis=1)
    # Errors of layers add up as squares.
    order = (cost**2 / table["weights"]).sort_values(ascending=False, kind="stable").index
    most_weights = SHARE * sum(layer.weights for layer in quantiser.layers) / 1000
    table["kept_fp32"] = table.loc[order, "weights"].cumsum() <= most_weights
    table = table.loc[cost.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)
    kept = tuple(table.loc[table["kept_fp32"], "layer"])
    rest = [layer for layer in quantiser.layers if layer.name not in kept]
    found = {"table": table.to_dict("records"), "kept_fp32": kept, "share": SHARE}
    found |= {"layers": len(quantiser.layers), "images": len(images)}
    return found | {"all_int8": errors(quantiser.layers), "exported": errors(rest)}
