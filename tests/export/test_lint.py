"""The lint passes the real graph and catches each kind of planted fault."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from edgezsad.cli import app
from edgezsad.errors import CheckError
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.lint import (
    BACKENDS,
    check_lint,
    findings_of,
    lint,
    operator_uses,
    windowed_attentions,
)


def top_k(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "k"))
    model.graph.node.append(helper.make_node("TopK", ["map", "k"], ["best", "where"], name="planted"))


def foreign(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node.append(helper.make_node("Gelu", ["map"], ["other"], name="planted", domain="com.microsoft"))


def dynamic(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def old_opset(model: ModelProto) -> None:
    next(item for item in model.opset_import if item.domain == "").version = 17


def float64(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Cast", ["map"], ["double"], name="planted", to=TensorProto.DOUBLE))


def external(model: ModelProto) -> None:
    tensor = max(model.graph.initializer, key=lambda item: len(item.raw_data))
    onnx.external_data_helper.set_external_data(tensor, location="elsewhere.bin")
    tensor.ClearField("raw_data")


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (top_k, "node planted: operator TopK"),
        (foreign, "node planted: operator com.microsoft::Gelu"),
        (dynamic, "tensor image: dynamic shape (batch, 3, 96, 96)"),
        (old_opset, "opset 17, expected 18"),
        (float64, "tensor double: float64"),
        (external, "stored in external data"),
    ],
)
def test_planted_fault_is_named(plant: Callable[[ModelProto], None], says: str, exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    plant(model)
    path = tmp_path / "planted.onnx"
    path.write_bytes(model.SerializeToString())
    assert any(says in problem for problem in lint(path)), lint(path)
    with pytest.raises(CheckError, match="unfit for devices"):
        check_lint(path)


HALF, ROOT, ONE = np.float32(0.5), np.float32(2**0.5), np.float32(1)


def graph(path: Path, nodes, shape, constants=()) -> Path:
    """A file with these nodes between x and y, the constants named c0, c1, ..."""
    tensors = [numpy_helper.from_array(np.asarray(value), f"c{number}") for number, value in enumerate(constants)]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], [onnx.ValueInfoProto(name="y")]
    planted = helper.make_graph(nodes, "planted", *ends, tensors)
    model = helper.make_model(planted, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    # Inference gives y its type and shape.
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def problems_of(path: Path, backend: str) -> list[str]:
    return findings_of(operator_uses(path, backend), backend)


def node(operator, inputs="x", output="y", **attributes):
    return helper.make_node(operator, inputs.split(), [output], name=f"a {operator}", **attributes)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_real_graph_passes_every_list(exported: Path, tmp_path: Path, precision: str) -> None:
    path = exported if precision == "fp32" else to_fp16(exported, tmp_path / "half.onnx")
    assert lint(path) == [] and [problems_of(path, backend) for backend in BACKENDS] == [[], [], []]


@pytest.mark.parametrize(
    ("backend", "nodes", "shape", "constants", "says"),
    [
        ("qnn-gpu", [node("Transpose", perm=[0])], [3], [], "Transpose supports rank 2 to 5, not 1"),
        ("qnn-gpu", [node("ReduceMean", "x c0")], [1, 2, 2, 2, 2], [np.array([1])], "ReduceMean supports rank"),
        ("qnn-gpu", [node("Erf")], [1, 4], [], "Erf is not supported"),
        ("qnn-gpu", [node("GatherElements", "x c0")], [1, 4], [np.zeros((1, 4), np.int64)], "is not documented"),
        ("qnn-htp", [node("ReduceProd", "x c0")], [1, 4], [np.array([1])], "ReduceProd is not supported"),
        ("tensorrt", [node("Relu")], [1] * 9, [], "Relu supports rank 0 to 8, not 9"),
        ("tensorrt", [node("Cast", to=TensorProto.DOUBLE)], [1, 4], [], "Cast does not support FP64"),
    ],
)
def test_planted_faults_are_named(tmp_path: Path, backend, nodes, shape, constants, says) -> None:
    path = graph(tmp_path / "planted.onnx", nodes, shape, constants)
    problems = problems_of(path, backend)
    assert len(problems) == 1 and says in problems[0] and problems[0].startswith(f"node a {nodes[0].op_type}: ")
    result = CliRunner().invoke(app, ["lint", str(path)])
    assert result.exit_code == 1 and isinstance(result.exception, CheckError)


@pytest.mark.parametrize(("shape", "count"), [([16, 4, 9, 9], 1), ([1, 4, 9, 9], 0)])
def test_windowed_attention_is_named(tmp_path: Path, shape: list[int], count: int) -> None:
    path = graph(tmp_path / "attention.onnx", [node("Softmax", axis=-1)], shape)
    assert windowed_attentions(path) == count
    result = CliRunner().invoke(app, ["lint", str(path)])
    assert result.exit_code == 0 and ("INT8: 1 windowed attentions" in result.stdout) == (count == 1)


GELUS = {
    "x first": [node("Mul", "x p", "t"), node("Mul", "t c2")],
    "half first": [node("Mul", "c2 p", "t"), node("Mul", "x t")],
    "half of x": [node("Mul", "x c2", "h"), node("Mul", "h p")],
}


@pytest.mark.parametrize("form", GELUS)
def test_a_gelu_written_out_is_one_operation(tmp_path: Path, form: str) -> None:
    erf = [node("Div", "x c0", "d"), node("Erf", "d", "e"), node("Add", "e c1", "p")]
    path = graph(tmp_path / "gelu.onnx", [*erf, *GELUS[form]], [1, 4], [ROOT, ONE, HALF])
    operators = {use.operator for use in operator_uses(path, "qnn-gpu")}
    assert operators == {"ElementWiseDivide", "Gelu", "ElementWiseAdd", "ElementWiseMultiply"}
    assert problems_of(path, "qnn-gpu") == problems_of(path, "tensorrt") == []
    assert "Erf" in {use.operator for use in operator_uses(path, "tensorrt")}
