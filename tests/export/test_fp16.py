"""The FP16 graph: FP32 outside, FP16 inside, close to FP32 and half the size."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgezsad.errors import InputError
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.lint import check_lint
from edgezsad.scoring.onnx_scorer import read_metadata


@pytest.fixture(scope="module")
def half(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_fp16(exported, tmp_path_factory.mktemp("fp16") / "half.onnx")


def test_float32_outside_float16_inside(half: Path) -> None:
    model = onnx.load(half)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    ends = (*graph.input, *graph.value_info, *graph.output)
    kinds = {item.name: item.type.tensor_type.elem_type for item in ends}
    kinds |= {item.name: item.data_type for item in graph.initializer}
    for item in (*model.graph.input, *model.graph.output):
        assert kinds[item.name] == TensorProto.FLOAT
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert {kinds[name] for name in node.input} == {TensorProto.FLOAT16}
        if node.op_type in ("ReduceMean", "ReduceSum", "Softmax", "Gemm"):
            assert kinds[node.output[0]] == TensorProto.FLOAT
    check_lint(half)


def test_close_to_float32_and_half_the_size(exported: Path, half: Path) -> None:
    size = onnx.load(exported).graph.input[0].type.tensor_type.shape.dim[2].dim_value
    image = np.random.default_rng(0).integers(0, 256, (1, 3, size, size)).astype(np.float32)
    full, rounded = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": image})
        for path in (exported, half)
    )
    for one, other in zip(full, rounded, strict=True):
        assert other.dtype == np.float32
        assert 0 < np.abs(one - other).max() < 0.02 * max(1.0, np.abs(one).max())
    assert half.stat().st_size < 0.55 * exported.stat().st_size
    assert read_metadata(half)["profile"] == "mini" and read_metadata(half)["precision"] == "fp16"


def test_outputs_that_other_nodes_read(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y", "z")]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
        helper.make_node("Softmax", ["y"], ["s"], name="softmax"),
        helper.make_node("Add", ["s", "y"], ["z"], name="sum"),
    ]
    weights = np.diag(np.array([1, 1, 1, 1e6], np.float32))
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "a.onnx")
    path = to_fp16(tmp_path / "a.onnx", tmp_path / "b.onnx")
    x = np.array([[0.5, 1, 2, 0]], np.float32)
    y, z = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_array_equal(y, x)
    np.testing.assert_allclose(z, x + np.exp(x) / np.exp(x).sum(), rtol=2e-3)


def test_wrong_sources(half: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the FP32 graph"):
        to_fp16(half, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()
