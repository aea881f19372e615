"""The lists of the backends: the real graph passes, planted faults are named, and each list says where it is from."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgezsad.errors import CheckError
from edgezsad.export.backends import BACKENDS, against, backend_table, check_backends, findings, rules, source, summary
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.uses import Use, qnn_operations, uses_of

HALF, ROOT, ONE = np.float32(0.5), np.float32(2**0.5), np.float32(1)


def graph(path: Path, nodes, shape, constants=(), kind=TensorProto.FLOAT) -> Path:
    """A file with these nodes between x and y, the constants named c0, c1, ..."""
    tensors = [numpy_helper.from_array(np.asarray(value), f"c{place}") for place, value in enumerate(constants)]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "planted",
            [helper.make_tensor_value_info("x", kind, shape)],
            [onnx.ValueInfoProto(name="y")],
            tensors,
        ),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)],
    )
    del model.graph.output[:]
    model.graph.output.append(
        next(i for i in onnx.shape_inference.infer_shapes(_open_end(model)).graph.value_info if i.name == "y")
    )
    onnx.save(model, path)
    return path


def _open_end(model):
    """A copy whose y is not the end, so that its shape is inferred."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.node.append(helper.make_node("Identity", ["y"], ["end"]))
    return copy


def node(operator, inputs="x", output="y", **attributes):
    return helper.make_node(operator, inputs.split(), [output], name=f"a {operator}", **attributes)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_real_graph_passes_every_list(exported: Path, tmp_path: Path, precision: str) -> None:
    path = exported if precision == "fp32" else to_fp16(exported, tmp_path / "half.onnx")
    assert {backend: findings(path, backend) for backend in BACKENDS} == {backend: [] for backend in BACKENDS}
    check_backends(path)


@pytest.mark.parametrize(
    ("backend", "nodes", "shape", "constants", "says"),
    [
        ("qnn-gpu", [node("Transpose", perm=[0, 1, 3, 2, 4, 5])], [1, 2, 2, 2, 2, 3], [], "Transpose with 6 axes"),
        ("qnn-gpu", [node("Transpose", perm=[0])], [3], [], "Transpose with 1 axes, where 2 to 5 are taken"),
        ("qnn-gpu", [node("ReduceMean", "x c0")], [1, 2, 2, 2, 2], [np.array([1])], "ReduceMean with 5 axes"),
        ("qnn-gpu", [node("ReduceMean", "x c0")], [1, 4, 4], [np.array([0, 1])], "across the first axis and others"),
        ("qnn-gpu", [node("Softmax", axis=1)], [1, 4, 4], [], "along another axis than the last"),
        ("qnn-gpu", [node("Gather", "x c0")], [4, 4], [np.zeros((1, 1, 1, 1), np.int64)], "indices of no axis or more"),
        ("qnn-gpu", [node("Erf")], [1, 4], [], "Erf is not supported"),
        ("qnn-htp", [node("Erf")], [1, 4], [], "Erf is not supported"),
        ("qnn-gpu", [node("GatherElements", "x c0")], [1, 4], [np.zeros((1, 4), np.int64)], "is not documented"),
        ("qnn-htp", [node("ReduceProd", "x c0")], [1, 4], [np.array([1])], "ReduceProd is not supported"),
        ("tensorrt", [node("Relu")], [1] * 9, [], "Relu with 9 axes, where 0 to 8 are taken"),
        ("tensorrt", [node("Multinomial")], [1, 4], [], "Multinomial is not supported"),
        ("tensorrt", [node("Cast", to=TensorProto.DOUBLE)], [1, 4], [], "Cast does not give FP64"),
    ],
)
def test_planted_faults_are_named(tmp_path: Path, backend, nodes, shape, constants, says) -> None:
    path = graph(tmp_path / "planted.onnx", nodes, shape, constants)
    problems = findings(path, backend)
    assert len(problems) == 1 and says in problems[0] and problems[0].startswith(f"node a {nodes[0].op_type}: ")
    with pytest.raises(CheckError, match=source(backend).title.split()[0]) as caught:
        check_backends(path)
    assert "\n" not in str(caught.value)


GELUS = {
    "x first": [node("Mul", "x p", "t"), node("Mul", "t c2")],
    "half first": [node("Mul", "c2 p", "t"), node("Mul", "x t")],
    "half of x": [node("Mul", "x c2", "h"), node("Mul", "h p")],
}


@pytest.mark.parametrize("form", GELUS)
def test_a_gelu_written_out_is_one_operation(tmp_path: Path, form: str) -> None:
    erf = [node("Div", "x c0", "d"), node("Erf", "d", "e"), node("Add", "e c1", "p")]
    path = graph(tmp_path / "gelu.onnx", [*erf, *GELUS[form]], [1, 4], [ROOT, ONE, HALF])
    assert {use.operator for use in uses_of(path, "qnn-gpu")} == {"Gelu"}
    assert findings(path, "qnn-gpu") == findings(path, "tensorrt") == []
    assert "Erf" in {use.operator for use in uses_of(path, "tensorrt")}


def test_a_gelu_with_another_factor_is_not_one(tmp_path: Path) -> None:
    nodes = [node("Div", "x c0", "d"), node("Erf", "d", "e"), node("Add", "e c1", "p")]
    nodes += [node("Relu", "x", "r"), node("Mul", "r p", "t"), node("Mul", "t c2")]
    path = graph(tmp_path / "other.onnx", nodes, [1, 4], [ROOT, ONE, HALF])
    assert findings(path, "qnn-gpu") == ["node a Erf: Erf is not supported"]


def test_uses_tell_products_and_convolutions_apart(tmp_path: Path) -> None:
    def operators(nodes, shape, constants=()):
        return [use.operator for use in uses_of(graph(tmp_path / "one.onnx", nodes, shape, constants), "qnn-gpu")]

    ones = np.ones((4, 1, 1, 1), np.float32)
    assert operators([node("MatMul", "x x")], [1, 4, 4]) == ["MatMul"]
    assert operators([node("MatMul", "x c0")], [1, 4, 4], [np.ones((4, 2), np.float32)]) == ["FullyConnected"]
    assert operators([node("Conv", "x c0", group=4)], [1, 4, 4, 4], [ones]) == ["DepthWiseConv2d"]
    assert operators([node("Conv", "x c0")], [1, 1, 4, 4], [ones]) == ["Conv2d"]


def test_every_list_can_be_read_and_says_where_it_is_from() -> None:
    for backend in BACKENDS:
        listed, origin = rules(backend), source(backend)
        assert len(listed) > 90 and origin.list and origin.read.startswith("2026-")
        assert {rule.supported for rule in listed.values()} <= {"yes", "no", "not documented"}
    known = {name for names in qnn_operations().values() for name in names}
    # What the provider can make is in the GPU's list one way or another, so that nothing is refused for a typing error.
    assert known <= set(rules("qnn-gpu"))


def test_the_table_has_one_row_a_graph_and_backend(exported: Path) -> None:
    table = backend_table({"fp32": exported})
    assert list(table["graph"]) == ["fp32"] * 3 and list(table["findings"]) == [0, 0, 0]
    assert set(table["what"]) == {"none"} and table["most axes"].max() == 4


def test_a_summary_counts_each_kind_once() -> None:
    uses = [Use(str(place), "Erf", frozenset({4}), frozenset({"FP32"})) for place in range(3)]
    assert summary(against("qnn-gpu", uses)) == "Erf is not supported (3 nodes)"
