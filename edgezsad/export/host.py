"""What ONNX Runtime's CPU provider computes faster than plain ONNX can say: attention as one of its own operators.

The exported file stays standard ONNX; this is done to its copy in memory, when a session on the host opens it. In plain
operators an attention block writes its matrix of scores to memory four times (48 MB each at 512 px), after copies of
queries, keys and values. ONNX Runtime's `Attention` takes the block's input and the joint projection's weights, and
goes head by head. Nothing is approximated; sums are in another order, so results agree to within rounding.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgezsad.export.graphfile import load_graph

DOMAIN = "com.microsoft"
MOVES = {"Reshape", "Squeeze", "Unsqueeze", "Transpose", "Split", "Slice"}


def host_graph(path: Path | str) -> str | bytes:
    """What a session on the host is to open: the file itself, or the graph in it with attention fused.

    Raises:
        InputError: the file is missing or damaged.
    """
    model = load_graph(path)
    return model.SerializeToString() if fuse_attention(model) else str(path)


def fuse_attention(model: onnx.ModelProto) -> int:
    """Replace every attention block that is understood by ONNX Runtime's own operator, in place.

    Understood is: x W + b, from which queries, keys and values are taken in whatever layout; then
    softmax(scale * q k + biases) v, with or without biases; then heads side by side again. Anything else is left as
    it is.

    Returns:
        how many were replaced.
    """
    graph = _Graph(model)
    blocks = [block for node in model.graph.node if (block := _match(graph, node)) is not None]
    fused = {}
    for block in blocks:
        weight, bias = f"{block.output} weight", f"{block.output} bias"
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(block.weight), weight))
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(block.bias), bias))
        fused[block.output] = helper.make_node(
            "Attention",
            [block.input, weight, bias, "", "", block.biases] if block.biases else [block.input, weight, bias],
            [block.output],
            name=f"{block.output} attention",
            domain=DOMAIN,
            num_heads=block.heads,
            scale=block.scale,
        )
    if fused:
        _replace(model, fused)
        if all(opset.domain != DOMAIN for opset in model.opset_import):
            model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return len(fused)


@dataclass(frozen=True)
class _Block:
    """One attention block.

    Attributes:
        input: name of x, (B, N, C).
        output: name of the heads' results side by side, (B, N, heads * D).
        biases: name of what is added to the scores, (1 or B, heads, N, N); empty if nothing is.
        weight, bias: (C, 3 * heads * D) and (3 * heads * D,): queries, keys, values, in each one head after the other.
        heads, scale: of the scores.
    """

    input: str
    output: str
    biases: str
    weight: np.ndarray
    bias: np.ndarray
    heads: int
    scale: float


class _Graph:
    """Who makes and who reads each tensor, its shape, and the values of constants."""

    def __init__(self, model: onnx.ModelProto):
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.outputs = {item.name for item in model.graph.output}
        self.constants = {item.name: item for item in model.graph.initializer}
        self.shapes = {name: tuple(item.dims) for name, item in self.constants.items()}
        self.floats = {name for name, item in self.constants.items() if item.data_type == TensorProto.FLOAT}
        for item in (*inferred.input, *inferred.value_info, *inferred.output):
            self.shapes[item.name] = tuple(axis.dim_value for axis in item.type.tensor_type.shape.dim)
            if item.type.tensor_type.elem_type == TensorProto.FLOAT:
                self.floats.add(item.name)

    def maker(self, name: str, operator: str) -> NodeProto | None:
        """The node that makes a tensor, if it is of this kind."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type == operator else None

    def value(self, name: str) -> np.ndarray | None:
        """Of a constant."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def reader(self, name: str) -> NodeProto | None:
        """The only node that reads a tensor."""
        found = self.readers.get(name, [])
        return found[0] if len(found) == 1 and name not in self.outputs else None


def _match(graph: _Graph, softmax: NodeProto) -> _Block | None:
    """The block around a softmax."""
    if softmax.op_type != "Softmax" or softmax.input[0] not in graph.floats:
        return None
    total, mixed = softmax.input[0], graph.reader(softmax.output[0])
    if len(graph.shapes.get(total, ())) != 4 or _attribute(softmax, "axis", -1) not in (-1, 3):
        return None
    if mixed is None or mixed.op_type != "MatMul" or mixed.input[0] != softmax.output[0]:
        return None
    sums = graph.maker(total, "Add")
    for scores, biases in (sums.input, sums.input[::-1]) if sums is not None else ((total, ""),):
        product = graph.maker(scores, "MatMul")
        if product is not None:
            return _block(graph, product, biases, mixed)
    return None


def _block(graph: _Graph, product: NodeProto, biases: str, mixed: NodeProto) -> _Block | None:
    """The block whose scores are `product` plus `biases` and whose result is `mixed`."""
    queries, keys, values = (_trace(graph, name) for name in (product.input[0], product.input[1], mixed.input[1]))
    if queries is None or keys is None or values is None or values.scale != 1:
        return None
    if not queries.source == keys.source == values.source:
        return None
    batch, heads, places, depth = queries.index.shape
    joint = _linear(graph, queries.source)
    if joint is None or (biases and graph.shapes.get(biases, ())[1:] != (heads, places, places)):
        return None
    source, weight, bias = joint
    if graph.shapes.get(source) != (batch, places, len(weight)):
        return None
    columns = []
    for index in (queries.index, keys.index.transpose(0, 1, 3, 2), values.index):
        found = _columns(index, weight.shape[1]) if index.shape == queries.index.shape else None
        if found is None:
            return None
        columns.append(found)
    output = _side_by_side(graph, mixed.output[0], (batch, heads, places, depth))
    if output is None:
        return None
    order = np.concatenate(columns)
    return _Block(source, output, biases, weight[:, order], bias[order], heads, queries.scale * keys.scale)


def _linear(graph: _Graph, name: str) -> tuple[str, np.ndarray, np.ndarray] | None:
    """Of x W + b: the name of x, W (C, width) and b (width,)."""
    total = graph.maker(name, "Add")
    for product, added in (total.input, total.input[::-1]) if total is not None else ():
        linear, bias = graph.maker(product, "MatMul"), graph.value(added)
        weight = None if linear is None else graph.value(linear.input[1])
        if weight is not None and weight.ndim == 2 and bias is not None and bias.shape == weight.shape[1:]:
            return linear.input[0], weight, bias
    return None


@dataclass(frozen=True)
class _Traced:
    """Where a tensor's numbers come from: which places of `source`, times `scale`; `index` has the tensor's shape."""

    source: str
    index: np.ndarray
    scale: float


def _trace(graph: _Graph, name: str) -> _Traced | None:
    """Follow a tensor back through what only moves or scales numbers, to what computed them.

    The moves are then done to the numbers 0, 1, 2, ... instead: whatever way an exporter writes them, what arrives
    where is what counts.
    """
    steps: list[tuple[NodeProto, str]] = []
    scale = 1.0
    while (node := graph.makers.get(name)) is not None:
        if node.op_type == "Mul":
            factors = [(one, graph.value(other)) for one, other in (node.input, node.input[::-1])]
            scalar = next(((one, value) for one, value in factors if value is not None and value.size == 1), None)
            if scalar is None:
                return None
            name, scale = scalar[0], scale * float(scalar[1].reshape(()))
        elif node.op_type in MOVES:
            steps.append((node, name))
            name = node.input[0]
        else:
            break
    if not graph.shapes.get(name):
        return None
    index = np.arange(np.prod(graph.shapes[name])).reshape(graph.shapes[name])
    for node, output in reversed(steps):
        index = _moved(graph, node, output, index)
        if index is None:
            return None
    return _Traced(name, index, scale) if index.ndim == 4 else None


def _moved(graph: _Graph, node: NodeProto, output: str, index: np.ndarray) -> np.ndarray | None:
    """What a node that only moves numbers makes of `index`; None where it depends on what is not known."""
    if node.op_type in ("Reshape", "Squeeze", "Unsqueeze"):
        return index.reshape(graph.shapes[output])
    if node.op_type == "Transpose":
        return index.transpose(_attribute(node, "perm", tuple(reversed(range(index.ndim)))))
    if node.op_type == "Split":
        axis, place = _attribute(node, "axis", 0), list(node.output).index(output)
        lengths = [graph.shapes[name][axis] for name in node.output]
        return index.take(range(sum(lengths[:place]), sum(lengths[: place + 1])), axis)
    bounds = [graph.value(name) for name in node.input[1:]]
    if len(bounds) < 3 or any(bound is None for bound in bounds):
        return None
    starts, ends, axes, *steps = bounds
    cut = [slice(None)] * index.ndim
    for start, end, axis, step in zip(starts, ends, axes, *(steps or [np.ones_like(starts)]), strict=True):
        cut[axis] = slice(int(start), int(end), int(step))
    return index[tuple(cut)]


def _columns(index: np.ndarray, width: int) -> np.ndarray | None:
    """Which columns of (B, N, width) a (B, heads, N, D) tensor is made of, head by head; None if of anything else."""
    batch, _, places, _ = index.shape
    columns = index[0, :, 0, :]
    rows = np.arange(batch * places).reshape(batch, 1, places, 1) * width
    return columns.flatten() if np.array_equal(index, rows + columns[None, :, None, :]) else None


def _side_by_side(graph: _Graph, name: str, shape: tuple[int, ...]) -> str | None:
    """The tensor behind `name` that has the heads side by side, (B, N, heads * D)."""
    index = np.arange(np.prod(shape)).reshape(shape)
    batch, heads, places, depth = shape
    wanted = index.transpose(0, 2, 1, 3).reshape(batch, places, heads * depth)
    while (node := graph.reader(name)) is not None and node.op_type in ("Reshape", "Transpose"):
        name = node.output[0]
        index = _moved(graph, node, name, index)
        if np.array_equal(index, wanted):
            return name
    return None


def _replace(model: onnx.ModelProto, fused: dict[str, NodeProto]) -> None:
    """Put the new nodes where their outputs were made, and drop what nobody reads any more."""
    nodes = [fused.get(node.output[0], node) for node in model.graph.node]
    used = {item.name for item in model.graph.output}
    left: list[NodeProto] = []
    for node in reversed(nodes):
        if used.intersection(node.output):
            used.update(node.input)
            left.append(node)
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(reversed(left))
    model.graph.initializer.extend(tensors)


def _attribute(node: NodeProto, name: str, default: object) -> object:
    found = next((item for item in node.attribute if item.name == name), None)
    return default if found is None else helper.get_attribute_value(found)
