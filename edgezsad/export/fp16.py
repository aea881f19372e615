"""Convert an ONNX graph to FP16 with ONNX Runtime's converter; input and outputs stay FP32.

FP16 ends at 65504 and has 11 bits, so some nodes stay FP32: the input normalisation, operators that sum many elements
(means, softmax, layer normalisation), and the few nodes after the pooling, where rounding would tie image scores.
"""

import contextlib
from pathlib import Path

import onnx
from onnx import TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from edgezsad.errors import InputError
from edgezsad.export.lint import load_graph, metadata_of, save_graph, set_metadata, unpack_weights

POOLING = {"ReduceMax", "ReduceMean", "ReduceSum", "ReduceLogSumExp", "ReduceL2", "GlobalAveragePool"}
FP32_OPERATORS = {"LayerNormalization", "InstanceNormalization", "Softmax"}
INPUT_OPERATORS = {"Sub", "Add", "Mul", "Div", "Cast", "Identity", "Reshape", "Transpose"}
"""What may stand between the image and the first layer."""


def to_fp16(source: Path | str, target: Path | str) -> Path:
    """Write the FP16 version of the FP32 graph `source` to `target`, atomically; returns `target`."""
    model = load_graph(source)
    if metadata_of(model).get("precision", "fp32") != "fp32":
        raise InputError(f"{source}: not an FP32 graph; give the FP32 graph")
    unpack_weights(model.graph)
    names = fp32_nodes(model.graph)
    _copy_shared_weights(model.graph, set(names))
    converted = OnnxModel(convert_float_to_float16(model, keep_io_types=True, op_block_list=[], node_block_list=names))
    # The converter leaves pairs of opposite casts, nodes out of order and outdated types.
    del converted.model.graph.value_info[:]
    converted.remove_cascaded_cast_nodes()
    with contextlib.redirect_stdout(None):  # says so where it cannot infer a shape and removes nothing
        converted.remove_useless_cast_nodes()
    converted.prune_graph()
    converted.topological_sort()
    set_metadata(converted.model, {"precision": "fp16"})
    return save_graph(converted.model, target)


def fp32_nodes(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that stay FP32; see the module's text."""
    weights = {tensor.name for tensor in graph.initializer}
    from_image = {item.name for item in graph.input}
    from_pooling: set[str] = set()
    names = []
    for node in graph.node:
        data = {name for name in node.input if name and name not in weights}
        if data and data <= from_image and node.op_type in INPUT_OPERATORS:
            from_image.update(node.output)
        elif node.op_type in POOLING or (data and data <= from_pooling):
            from_pooling.update(node.output)
        elif node.op_type not in FP32_OPERATORS:
            continue
        names.append(node.name)
    return names


def _copy_shared_weights(graph: onnx.GraphProto, names: set[str]) -> None:
    """Give the FP32 nodes copies of their weights; the converter would cast shared ones in every run."""
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    copies = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            if node.name in names and name in weights:
                copies[name] = node.input[index] = f"{name}.fp32"
    for name, copy in copies.items():
        graph.initializer.add().CopyFrom(weights[name])
        graph.initializer[-1].name = copy
