"""Read, check and save ONNX graphs, and compare their operators with what devices support.

`lint` compares a graph with one allow-list: the operators that the backbones and readouts need and that TensorRT, QNN's
HTP and ONNX Runtime all support; static shapes, opset 18, one file, no float64.

`findings_of` compares it with the operator lists of TensorRT, QNN GPU and QNN HTP in `operators/`: types and tensor
ranks; an empty cell means "not documented". QNN's lists name QNN operations, so ONNX operators are translated to what
ONNX Runtime's provider makes of them (`onnx_to_qnn.csv`).
"""

import csv
import functools
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pandas as pd
from google.protobuf.message import DecodeError, EncodeError
from onnx import TensorProto, numpy_helper

from edgezsad.errors import CheckError, InputError, one_line
from edgezsad.files import written_beside
from edgezsad.scoring.onnx_scorer import RUN_EXPORT

OPSET = 18
BACKENDS = ("tensorrt", "qnn-gpu", "qnn-htp")
FLOATS, INT8 = (TensorProto.FLOAT, TensorProto.FLOAT16), TensorProto.INT8
FOLDER = Path(__file__).with_name("operators")

# fmt: off
ALLOWED = frozenset(
    {
        "Conv", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization", "InstanceNormalization",
        "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Sqrt", "Pow", "Exp", "Log", "Reciprocal", "Min", "Max",
        "Clip", "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Erf", "Softmax",
        "AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool",
        "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceLogSumExp", "ReduceL2",
        "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Concat", "Split", "Slice", "Expand",
        "Gather", "GatherND", "DepthToSpace", "SpaceToDepth",
        "Cast", "Identity", "QuantizeLinear", "DequantizeLinear",
    }
)
# fmt: on
# The operator lists' names of ONNX's types; all others are equal.
TYPES = {"FLOAT": "FP32", "FLOAT16": "FP16", "BFLOAT16": "BF16", "DOUBLE": "FP64"}


def load_graph(path: Path | str) -> onnx.ModelProto:
    """Read an ONNX file, without external data; an InputError if it is missing or not an ONNX graph."""
    try:
        model = onnx.load(path, load_external_data=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such ONNX file; {RUN_EXPORT} to write it") from None
    except (DecodeError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable ONNX file ({one_line(error)}); {RUN_EXPORT} again") from None
    # An empty file, and some truncated ones, are valid protobuf messages without content.
    if not model.graph.node or not model.opset_import:
        raise InputError(f"{path}: not a readable ONNX file (no graph in it); {RUN_EXPORT} again")
    return model


def save_graph(model: onnx.ModelProto, path: Path | str) -> Path:
    """Write a graph atomically as one file; a CheckError if it is invalid, with full shape inference, or over 2 GiB."""
    try:
        onnx.checker.check_model(model, full_check=True)
        data = model.SerializeToString()
    # These exceptions of the checker and of shape inference have no common base.
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, EncodeError, ValueError) as error:
        raise CheckError(f"{path}: the graph is invalid ONNX ({one_line(error)}); report it with the model") from None
    with written_beside(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def unpack_weights(graph: onnx.GraphProto) -> None:
    """Store FP16 weights that a Cast turns to FP32 on load, as in the shipped graphs, in FP32 again."""
    packed = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] in packed]
    for node in casts:
        tensor = packed[node.input[0]]
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), node.output[0]))
        graph.node.remove(node)


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """Return the `metadata_props` of a graph."""
    return {item.key: item.value for item in model.metadata_props}


def set_metadata(model: onnx.ModelProto, metadata: dict[str, str]) -> None:
    """Add to `metadata_props`, replacing equal keys, in sorted order so that equal exports are equal bytes."""
    merged = metadata_of(model) | metadata
    del model.metadata_props[:]
    for key in sorted(merged):
        model.metadata_props.add(key=key, value=merged[key])


def describe(path: Path | str) -> dict[str, Any]:
    """Summarise a graph: nodes, operators (counts, most frequent first), parameters (millions), megabytes."""
    graph = load_graph(path).graph
    # Zero points are INT8 too, with one axis at most.
    weights = [t for t in graph.initializer if t.data_type in FLOATS or (t.data_type == INT8 and len(t.dims) > 1)]
    return {
        "nodes": len(graph.node),
        "operators": dict(Counter(sorted(map(_operator, graph.node))).most_common()),
        "parameters": sum(int(np.prod(tensor.dims)) for tensor in weights) / 1e6,
        "megabytes": Path(path).stat().st_size / 1e6,
    }


def lint(path: Path | str) -> list[str]:
    """Return everything that makes a graph unfit for devices, one line for each problem."""
    model = load_graph(path)
    problems = [
        f"node {node.name or node.output[0]}: operator {_operator(node)} is not on the allow-list"
        for node in model.graph.node
        if _operator(node) not in ALLOWED
    ]
    versions = {opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")}
    problems += [f"opset {version}, expected {OPSET}" for version in versions - {OPSET}]
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            problems.append(f"tensor {tensor.name}: stored in external data, not in the file")
        if tensor.data_type == TensorProto.DOUBLE:
            problems.append(f"tensor {tensor.name}: float64")
    try:
        kinds = _tensor_types(model, path)
    except CheckError as error:
        return [*problems, str(error)]
    for name, kind in kinds.items():
        if kind.elem_type == TensorProto.DOUBLE:
            problems.append(f"tensor {name}: float64")
        axes = [axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in kind.shape.dim]
        if not kind.HasField("shape") or not all(isinstance(axis, int) for axis in axes):
            problems.append(f"tensor {name}: dynamic shape ({', '.join(map(str, axes))})")
    unknown = {name for node in model.graph.node for name in node.output if name} - set(kinds)
    return problems + [f"tensor {name}: unknown shape" for name in sorted(unknown)]


def check_lint(path: Path | str) -> None:
    """Raise a CheckError with the first problems and their number if `lint` finds any."""
    if problems := lint(path):
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckError(f"{path}: unfit for devices: {'; '.join(problems[:3])}{more}; change the model, export again")


class Rule(NamedTuple):
    """One row of an operator list: "yes", "no" or "not documented"; types ("FP32"); smallest and largest rank."""

    supported: str
    types: frozenset[str]
    ranks: tuple[int, float]


class OperatorUse(NamedTuple):
    """A node as a backend receives it: its name, operator, ranks of inputs and outputs but weights, output types."""

    node: str
    operator: str
    ranks: frozenset[int]
    types: frozenset[str]


def read_backend(name: str) -> tuple[str, str, dict[str, Rule]]:
    """Read an operator list: name for tables, document with the day it was read, and rules by operator."""
    source = json.loads((FOLDER / "sources.json").read_text(encoding="utf-8"))[name]
    rules = {}
    for row in _read_csv(f"{name.replace('-', '_')}.csv"):
        ranks = (int(row["min_rank"] or 0), float(row["max_rank"] or source["max_rank"] or "inf"))
        rules[row["operator"]] = Rule(row["supported"], frozenset(row["types"].split()), ranks)
    return source["title"], f"{source['list']}; read {source['read']}", rules


def operator_uses(path: Path | str, backend: str) -> list[OperatorUse]:
    """List the operators of an ONNX file as a backend receives them; a CheckError if shapes cannot be inferred."""
    model = load_graph(path)
    kinds = _tensor_types(model, path)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    uses = []
    for node in model.graph.node:
        if node.op_type == "Identity":  # ONNX Runtime and TensorRT's parser remove it
            continue
        tensors = [name for name in (*node.input, *node.output) if name in kinds and name not in weights]
        ranks = frozenset(len(kinds[name].shape.dim) for name in tensors)
        names = [TensorProto.DataType.Name(kinds[name].elem_type) for name in node.output if name in kinds]
        types = frozenset(TYPES.get(name, name) for name in names)
        operators: tuple[str, ...] = (_operator(node),)
        if backend != "tensorrt":
            # QNN's provider fuses the operators of a GELU, which scales the input of Erf.
            scale = makers.get(node.input[0]) if node.op_type == "Erf" else None
            is_gelu = scale is not None and scale.op_type in ("Div", "Mul")
            operators = ("Gelu",) if is_gelu else _qnn_operations(node, weights)
            # ONNX Runtime passes indices to QNN as INT32.
            types = frozenset("INT32" if kind == "INT64" else kind for kind in types)
        uses += [OperatorUse(node.name or node.output[0], operator, ranks, types) for operator in operators]
    return uses


def findings_of(uses: list[OperatorUse], backend: str) -> list[str]:
    """Compare operators with a backend's list; one line for each problem."""
    _, _, rules = read_backend(backend)
    problems = []
    for use in uses:
        rule = rules.get(use.operator, Rule("no", frozenset(), (0, 0)))
        if rule.supported != "yes":
            reason = "not supported" if rule.supported == "no" else rule.supported
            problems.append(f"node {use.node}: {use.operator} is {reason}")
            continue
        if rule.types and use.types - rule.types:
            types = ", ".join(sorted(use.types - rule.types))
            problems.append(f"node {use.node}: {use.operator} does not support {types}")
        low, high = rule.ranks
        problems += [
            f"node {use.node}: {use.operator} supports rank {low} to {high:g}, not {rank}"
            for rank in sorted(use.ranks)
            if not low <= rank <= high
        ]
    return problems


def windowed_attentions(path: Path | str) -> int:
    """Count softmax nodes over several windows of one image: (windows, heads, n, n)."""
    model = load_graph(path)
    kinds, names = _tensor_types(model, path), (node.input[0] for node in model.graph.node if node.op_type == "Softmax")
    shapes = [[axis.dim_value for axis in kinds[name].shape.dim] for name in names if name in kinds]
    return sum(len(shape) == 4 and shape[0] > 1 and shape[2] == shape[3] for shape in shapes)


def summarise(problems: list[str]) -> str:
    """Return each kind of problem once, with the number of nodes; "none" without problems."""
    kinds = Counter(problem.partition(": ")[2] for problem in problems)
    return "; ".join(f"{kind} ({count} node{'s' * (count > 1)})" for kind, count in kinds.items()) or "none"


def backend_table(paths: dict[str, Path]) -> pd.DataFrame:
    """Compare ONNX files, by their name in the table, with all backends: one row for each graph and backend."""
    rows = []
    for graph, path in paths.items():
        for name in BACKENDS:
            uses, (title, source, _) = operator_uses(path, name), read_backend(name)
            problems = findings_of(uses, name)
            operators, axes = len({use.operator for use in uses}), max(rank for use in uses for rank in use.ranks)
            rows.append((graph, title, operators, axes, len(problems), summarise(problems), source))
    columns = ["graph", "backend", "operators", "most axes", "findings", "what", "source"]
    return pd.DataFrame(rows, columns=columns)


def _operator(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def _tensor_types(model: onnx.ModelProto, path: Path | str) -> dict[str, onnx.TypeProto.Tensor]:
    """Infer type and shape of every input, output and intermediate tensor."""
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise CheckError(f"{path}: shapes cannot be inferred ({one_line(error)}); fix the model") from None
    return {item.name: item.type.tensor_type for item in (*graph.input, *graph.output, *graph.value_info)}


@functools.cache
def _read_csv(name: str) -> list[dict[str, str]]:
    with open(FOLDER / name, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _qnn_operations(node: onnx.NodeProto, weights: dict[str, TensorProto]) -> tuple[str, ...]:
    """Return the QNN operations that ONNX Runtime's provider makes of a node."""
    if node.op_type == "MatMul":
        return ("FullyConnected",) if node.input[1] in weights else ("MatMul",)
    if node.op_type == "Conv":
        group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        weight = weights.get(node.input[1])
        return ("DepthWiseConv2d",) if weight is not None and group > 1 and weight.dims[1] == 1 else ("Conv2d",)
    found = (row["operations"].split() for row in _read_csv("onnx_to_qnn.csv") if row["operator"] == node.op_type)
    return tuple(next(found, ())) or (_operator(node),)
