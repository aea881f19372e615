"""What keeps a graph deployable: an allow-list of operators, static shapes, opset 18, one file, no float64.

The list holds what the backbones and the readout need and what TensorRT, QNN's HTP and ONNX Runtime all take. Of the
pair that INT8 needs, TensorRT asks for zero points of zero (onnx-tensorrt, docs/operators.md), QNN's HTP takes any
(ONNX Runtime, documentation of the QNN provider); see `symmetric` in `edgezsad.export.int8`.
What is not on it either differs among runtimes (Resize), is slow or missing on accelerators (TopK, NonZero), or makes
shapes depend on data (Shape, If, Loop).
"""

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from edgezsad.errors import CheckError
from edgezsad.export.graphfile import load_graph, one_line

OPSET = 18

# fmt: off
ALLOWED = frozenset(
    {
        "Conv", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization", "InstanceNormalization",
        "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Sqrt", "Pow", "Exp", "Log", "Reciprocal", "Min", "Max",
        "Clip",
        "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Erf", "Softmax",
        "AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool",
        "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceLogSumExp", "ReduceL2",
        "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Concat", "Split", "Slice", "Expand",
        "Gather", "GatherND", "DepthToSpace", "SpaceToDepth",
        "Cast", "Identity", "QuantizeLinear", "DequantizeLinear",
    }
)
# fmt: on


def lint(path: Path | str) -> list[str]:
    """Everything that makes a graph unfit for a device; empty when there is nothing.

    Args:
        path: an ONNX file.

    Returns:
        One line for each problem, naming the node or tensor.

    Raises:
        InputError: the file is missing or damaged.
    """
    model = load_graph(path)
    problems = [
        f"node {node.name or node.output[0]}: operator {_operator(node)} is not on the allow-list"
        for node in model.graph.node
        if _operator(node) not in ALLOWED
    ]
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version != OPSET:
            problems.append(f"opset {opset.version}, not {OPSET}")
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            problems.append(f"tensor {tensor.name}: kept in external data, not in the file")
        if tensor.data_type == TensorProto.DOUBLE:
            problems.append(f"tensor {tensor.name}: float64")
    return problems + _shapes_and_types(model)


def check_lint(path: Path | str) -> None:
    """Raise if `lint` finds anything.

    Raises:
        CheckError: one line with the first problems and their count.
        InputError: the file is missing or damaged.
    """
    problems = lint(path)
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckError(f"{path}: unfit for devices: {'; '.join(problems[:3])}{more}; change the model, export again")


def describe(path: Path | str) -> dict[str, Any]:
    """A graph in numbers.

    Returns:
        `nodes`; `operators`, counts by operator, most frequent first; `parameters`, elements of all floating point
        initialisers and of INT8 weights; `bytes`, of the file; `opset`.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = Path(path)
    model = load_graph(path)
    counts = Counter(_operator(node) for node in model.graph.node)
    return {
        "nodes": len(model.graph.node),
        "operators": dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        "parameters": sum(_elements(t) for t in model.graph.initializer if _is_parameter(t)),
        "bytes": path.stat().st_size,
        "opset": next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0),
    }


_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def _is_parameter(tensor: TensorProto) -> bool:
    # Zero points are INT8 too, with one axis at most.
    return tensor.data_type in _FLOATS or (tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1)


def _operator(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def _elements(tensor: TensorProto) -> int:
    count = 1
    for axis in tensor.dims:
        count *= axis
    return count


def _shapes_and_types(model: onnx.ModelProto) -> list[str]:
    """Dynamic dimensions and float64 among inputs, outputs and everything between."""
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    except onnx.shape_inference.InferenceError as error:
        return [f"shapes cannot be inferred ({one_line(error)})"]
    problems = []
    known = {}
    for item in (*graph.input, *graph.output, *graph.value_info):
        known[item.name] = item.type.tensor_type
    for name, kind in known.items():
        if kind.elem_type == TensorProto.DOUBLE:
            problems.append(f"tensor {name}: float64")
        axes = [axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in kind.shape.dim]
        if not kind.HasField("shape") or not all(isinstance(axis, int) for axis in axes):
            problems.append(f"tensor {name}: dynamic shape ({', '.join(map(str, axes))})")
    for node in graph.node:
        problems += [f"tensor {name}: unknown shape" for name in node.output if name and name not in known]
    return problems
