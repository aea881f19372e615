"""The FP16 twin of an ONNX graph: weights and compute in FP16, input and outputs in FP32.

Some nodes stay in FP32, because FP16 ends at 65504 and has 11 bits: the input normalisation, whatever sums over many
elements (means, softmax, layer normalisation), and the few numbers behind the pooling, where rounding would tie the
scores of different images. Weights are rounded by `edgezsad.export.fp16_rounding`, which may add a second layer beside
one that rounding would spoil. A tensor that is needed in both precisions is cast once. (ONNX Runtime's own converter
left pairs of opposite casts and nodes out of order in these graphs.)
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgezsad.errors import InputError
from edgezsad.export.fp16_rounding import keeping_sums, nearest, remainder
from edgezsad.export.lint import load_graph, save_graph, set_metadata
from edgezsad.scoring.onnx_scorer import read_metadata

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16

POOLING = {"ReduceMean", "ReduceSum", "ReduceLogSumExp", "ReduceL2", "GlobalAveragePool"}
KEPT = POOLING | {"LayerNormalization", "InstanceNormalization", "Softmax"}
# What may stand between the image and the first weights.
INPUT_SIDE = {"Sub", "Add", "Mul", "Div", "Cast", "Identity", "Reshape", "Transpose"}


@dataclass(frozen=True)
class Rounding:
    """What happened to the weights that became FP16.

    Attributes:
        weights: their number.
        subnormal: now below 6.1e-5, with fewer than 11 bits; some devices take them for zero.
        zeroed: were not zero, are zero now.
        saturated: were beyond 65504, stand at 65504 now.
    """

    weights: int
    subnormal: int
    zeroed: int
    saturated: int


def to_fp16(source: Path | str, target: Path | str) -> Path:
    """Write the FP16 twin of `source` to `target`, atomically; `read_rounding(target)` tells what rounding did.

    Raises:
        InputError: `source` is missing, damaged, or has no FP32 weights.
        CheckError: the result is not valid ONNX.
    """
    model = load_graph(source)
    if not any(tensor.data_type == FLOAT for tensor in model.graph.initializer):
        raise InputError(f"{source}: has no FP32 weights; give the FP32 graph")
    rounding = _convert(model)
    set_metadata(model, {"precision": "fp16"} | {f"fp16_{key}": str(value) for key, value in asdict(rounding).items()})
    return save_graph(model, target)


def read_rounding(path: Path | str) -> Rounding:
    """What rounding to FP16 did to the weights, from the file's metadata.

    Raises:
        InputError: the file is missing, damaged, or not written by `to_fp16`.
    """
    metadata = read_metadata(path)
    try:
        return Rounding(*(int(metadata[f"fp16_{name}"]) for name in Rounding.__dataclass_fields__))
    except (KeyError, ValueError):
        raise InputError(f"{path}: not an FP16 graph of this package; run notebook 04_export") from None


def _convert(model: onnx.ModelProto) -> Rounding:
    """Convert in place."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == FLOAT}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    floats = set(weights)
    for item in (*inferred.input, *inferred.value_info, *inferred.output):
        if item.type.tensor_type.elem_type == FLOAT:
            floats.add(item.name)

    outputs = {item.name for item in graph.output}
    kept = _kept_nodes(graph)
    filters = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    # The name under which each float tensor exists in each precision; graph inputs are FP32.
    names: dict[tuple[str, int], str] = {(item.name, FLOAT): item.name for item in graph.input}
    half_weights: dict[str, None] = {}
    nodes: list[NodeProto] = []

    def needed(name: str, precision: int) -> str:
        if name in weights:
            if precision == FLOAT:
                return name
            half_weights[name] = None
            return f"{name}.fp16"
        if (name, precision) not in names:
            other = names[name, FLOAT if precision == HALF else HALF]
            cast = f"{name}.{'fp16' if precision == HALF else 'fp32'}"
            nodes.append(helper.make_node("Cast", [other], [cast], name=f"cast {cast}", to=precision))
            names[name, precision] = cast
        return names[name, precision]

    for index, node in enumerate(graph.node):
        precision = FLOAT if index in kept else HALF
        for place, name in enumerate(node.input):
            if name in floats:
                node.input[place] = needed(name, precision)
        # Constant nodes keep the type of their value; the exporter lifts them to initialisers, so they are rare.
        made = FLOAT if node.op_type == "Constant" else precision
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == FLOAT:
                attribute.i = made
        nodes.append(node)
        for place, name in enumerate(node.output):
            if name not in floats:
                continue
            if name in outputs and made == HALF:
                # The output keeps its name and type: the node's own result takes another name.
                node.output[place] = f"{name}.fp16"
                nodes.append(helper.make_node("Cast", [node.output[place]], [name], name=f"cast {name}", to=FLOAT))
                names[name, FLOAT] = name
            names[name, made] = node.output[place]

    rounding, halves = _round((weights[name] for name in half_weights), filters)
    nodes, rests = _with_remainders(nodes, weights, {half.name: half for half in halves})
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    rest = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*rest, *halves, *rests])
    # Types between the nodes have changed; whoever needs them infers them again.
    del graph.value_info[:]
    return rounding


def _with_remainders(
    nodes: list[NodeProto], weights: dict[str, TensorProto], halves: dict[str, TensorProto]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """The nodes, a second convolution beside each one whose rounded weights need it, and the weights of these."""
    result, rests = [], {}
    for node in nodes:
        result.append(node)
        half = halves.get(node.input[1]) if node.op_type == "Conv" else None
        if half is None:
            continue
        weight = numpy_helper.to_array(weights[half.name.removesuffix(".fp16")])
        rest = remainder(weight, numpy_helper.to_array(half))
        if rest is None:
            continue
        name, whole = f"{half.name}.rest", node.output[0]
        rests[name] = numpy_helper.from_array(rest, name)
        second = NodeProto()
        second.CopyFrom(node)
        second.name = f"{node.name} rest"
        # The bias stays with the first.
        del second.input[:], second.output[:]
        second.input.extend([node.input[0], name])
        second.output.append(f"{whole}.rest")
        node.output[0] = f"{whole}.rounded"
        total = helper.make_node("Add", [node.output[0], second.output[0]], [whole], name=f"{node.name} whole")
        result += [second, total]
    return result, list(rests.values())


def _kept_nodes(graph: onnx.GraphProto) -> set[int]:
    """Indices of the nodes that stay in FP32."""
    weights = {tensor.name for tensor in graph.initializer}
    before = {item.name for item in graph.input}
    behind: set[str] = set()
    kept = set()
    for index, node in enumerate(graph.node):
        data = {name for name in node.input if name and name not in weights}
        if data and data <= before and node.op_type in INPUT_SIDE:
            before.update(node.output)
            kept.add(index)
        elif node.op_type in POOLING or (data and data <= behind):
            behind.update(node.output)
            kept.add(index)
        elif node.op_type in KEPT:
            kept.add(index)
    return kept


def _round(tensors: Iterable[TensorProto], filters: set[str]) -> tuple[Rounding, list[TensorProto]]:
    """FP16 copies, named `NAME.fp16`, and what rounding did to them; `filters` are convolutions' weights."""
    limits = np.finfo(np.float16)
    total = subnormal = zeroed = saturated = 0
    halves = []
    for tensor in tensors:
        values = numpy_helper.to_array(tensor)
        rounded = keeping_sums(values) if tensor.name in filters else nearest(values)
        total += values.size
        saturated += int((np.isfinite(values) & (np.abs(values) > limits.max)).sum())
        zeroed += int(((rounded == 0) & (values != 0)).sum())
        subnormal += int(((rounded != 0) & (np.abs(rounded) < limits.tiny)).sum())
        halves.append(numpy_helper.from_array(rounded, f"{tensor.name}.fp16"))
    return Rounding(total, subnormal, zeroed, saturated), halves
