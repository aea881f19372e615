"""Which operators a graph uses, with how many axes and of which types, in the words of a backend's list.

TensorRT's list speaks of ONNX operators. QNN's speak of QNN's operations, so ONNX operators are looked up by what ONNX
Runtime's provider makes of them (`benchmarks/qnn_operators.py` asked it, one by one). The five operators of a GELU
become one operation, Gelu; an Erf by itself is refused.
"""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from edgezsad.errors import CheckError
from edgezsad.export.graphfile import load_graph, one_line

FOLDER = Path(__file__).with_name("operators")

TYPES = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.DOUBLE: "FP64",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
}
# No backend ever sees these: ONNX Runtime and TensorRT's parser take them out.
REMOVED = {"Identity", "Constant", "Dropout"}


@dataclass(frozen=True)
class Use:
    """An operator as a graph uses it.

    Attributes:
        where: the node's name, for messages.
        operator: as in the list.
        ranks: of its inputs and outputs, weights left out.
        types: of its outputs.
        broken: restrictions in the list's words that the node does not keep.
    """

    where: str
    operator: str
    ranks: frozenset[int]
    types: frozenset[str]
    broken: tuple[str, ...] = ()


@functools.cache
def qnn_operations() -> dict[str, tuple[str, ...]]:
    """The QNN operations that ONNX Runtime's provider makes of an ONNX operator; empty if it leaves it to the CPU."""
    with open(FOLDER / "onnx_to_qnn.csv", newline="", encoding="utf-8") as stream:
        return {row["operator"]: tuple(row["operations"].split()) for row in csv.DictReader(stream)}


def uses_of(path: Path | str, backend: str) -> list[Use]:
    """The operators of an ONNX file as `backend` gets them.

    Raises:
        InputError: the file is missing or damaged.
        CheckError: its shapes cannot be inferred.
    """
    model = load_graph(path)
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise CheckError(f"{path}: shapes cannot be inferred ({one_line(error)}); mend the model") from None
    kinds = {item.name: item.type.tensor_type for item in (*graph.input, *graph.value_info, *graph.output)}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    gelus = _in_gelu(graph, constants)
    uses = []
    for index, node in enumerate(graph.node):
        name = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
        if name in REMOVED:
            continue
        tensors = [text for text in (*node.input, *node.output) if text and text not in constants]
        ranks = frozenset(len(kinds[text].shape.dim) for text in tensors if text in kinds)
        types = frozenset(TYPES.get(kinds[text].elem_type, "other") for text in node.output if text in kinds)
        operators: tuple[str, ...] = (name,)
        if backend != "tensorrt":
            operators = ("Gelu",) if index in gelus else qnn_operations().get(name, ()) or (name,)
            # ONNX Runtime gives QNN its numbers of axes and places as INT32.
            types = frozenset("INT32" if kind == "INT64" else kind for kind in types)
            if name == "MatMul":
                operators = ("FullyConnected",) if node.input[1] in constants else ("MatMul",)
            elif name == "Conv":
                operators = ("DepthWiseConv2d",) if _is_depthwise(node, constants) else ("Conv2d",)
        broken = _broken(node, kinds, constants) if backend == "qnn-gpu" else ()
        uses += [Use(node.name or node.output[0], operator, ranks, types, broken) for operator in operators]
    return uses


def _in_gelu(graph: onnx.GraphProto, constants: dict[str, TensorProto]) -> set[int]:
    """Indices of the nodes of each GELU written out: x / sqrt(2), Erf, + 1, times x and times 1/2 in either order."""
    readers: dict[str, list[int]] = {}
    maker: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in node.input:
            readers.setdefault(name, []).append(index)
        maker.update(dict.fromkeys(node.output, index))

    def only_reader(index: int, operator: str) -> int | None:
        found = readers.get(graph.node[index].output[0], [])
        return found[0] if len(found) == 1 and graph.node[found[0]].op_type == operator else None

    def scaled(index: int | None) -> str | None:
        """The name that a Mul or Div by a constant reads."""
        if index is None or graph.node[index].op_type not in ("Mul", "Div"):
            return None
        data = [name for name in graph.node[index].input if name not in constants]
        return data[0] if len(data) == 1 else None

    found: set[int] = set()
    for erf, node in enumerate(graph.node):
        if node.op_type != "Erf":
            continue
        scale = maker.get(node.input[0])
        x = scaled(scale)
        plus = only_reader(erf, "Add")
        times = None if plus is None else only_reader(plus, "Mul")
        if x is None or scale is None or plus is None or times is None:
            continue
        factor = _other(graph.node[times], graph.node[plus].output[0])
        # x and the half may be multiplied with one after the other, in either order, or with each other first.
        last = maker.get(factor) if factor not in (x, *constants) else only_reader(times, "Mul")
        if last is None:
            continue
        product = graph.node[times].output[0]
        rest = _other(graph.node[last], product) if factor in (x, *constants) else scaled(last)
        if rest in constants if factor == x else rest == x:
            found |= {scale, erf, plus, times, last}
    return found


def _other(node: NodeProto, name: str) -> str:
    """The factor of a product that is not `name`."""
    return node.input[1] if node.input[0] == name else node.input[0]


def _is_depthwise(node: NodeProto, constants: dict[str, TensorProto]) -> bool:
    """Whether each channel is folded by itself: as many groups as there are channels."""
    group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    weight = constants.get(node.input[1])
    return weight is not None and group > 1 and weight.dims[1] == 1


def _broken(
    node: NodeProto, kinds: dict[str, onnx.TypeProto.Tensor], constants: dict[str, TensorProto]
) -> tuple[str, ...]:
    """Restrictions of the QNN GPU list that a number of axes does not tell."""
    rank = len(kinds[node.output[0]].shape.dim) if node.output[0] in kinds else 0
    attributes = {attribute.name: attribute for attribute in node.attribute}
    axis = attributes["axis"].i % rank if "axis" in attributes and rank else None
    if node.op_type in ("Softmax", "LogSoftmax") and axis not in (None, rank - 1):
        return ("along another axis than the last",)
    if node.op_type == "LayerNormalization" and any(
        len(constants[x].dims) != 1 for x in node.input[1:] if x in constants
    ):
        return ("with a scale of more than one axis",)
    if node.op_type == "Gather" and node.input[1] in constants and not 1 <= len(constants[node.input[1]].dims) <= 3:
        return ("with indices of no axis or more than three",)
    if node.op_type == "Split" and rank > 4 and axis is not None and axis <= rank - 4:
        return ("along another axis than the last three",)
    if node.op_type == "Concat" and rank == 5 and axis == 0:
        return ("of five axes along the first",)
    if node.op_type.startswith("Reduce") and len(node.input) > 1 and node.input[1] in constants:
        inner = len(kinds[node.input[0]].shape.dim) if node.input[0] in kinds else 0
        axes = {int(value) % max(inner, 1) for value in numpy_helper.to_array(constants[node.input[1]])}
        if 0 in axes and len(axes) > 1:
            return ("across the first axis and others at once",)
    return ()
