"""The FP16 twin: FP32 outside, FP16 inside, no cast too many, and what rounding did is counted."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgezsad.errors import InputError
from edgezsad.export.fp16 import Rounding, read_rounding, to_fp16
from edgezsad.export.lint import check_lint
from edgezsad.scoring.onnx_scorer import read_metadata


@pytest.fixture(scope="module")
def half(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_fp16(exported, tmp_path_factory.mktemp("fp16") / "half.onnx")


def types(path: Path) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True).graph
    known = {item.name: item.type.tensor_type.elem_type for item in (*graph.input, *graph.value_info, *graph.output)}
    return known | {item.name: item.data_type for item in graph.initializer}


def test_float32_outside_float16_inside(half: Path) -> None:
    model, kinds = onnx.load(half), types(half)
    for item in (*model.graph.input, *model.graph.output):
        assert kinds[item.name] == TensorProto.FLOAT
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert {kinds[name] for name in node.input} == {TensorProto.FLOAT16}
        if node.op_type in ("ReduceMean", "ReduceSum", "Softmax", "Gemm"):
            assert kinds[node.output[0]] == TensorProto.FLOAT
    check_lint(half)


def test_no_cast_too_many(half: Path) -> None:
    graph = onnx.load(half).graph
    makers = {name: node for node in graph.node for name in node.output}
    casts = [node for node in graph.node if node.op_type == "Cast"]
    assert not any(makers[node.input[0]].op_type == "Cast" for node in casts if node.input[0] in makers)
    # One cast for a tensor, however many nodes read it.
    assert max(Counter(node.input[0] for node in casts).values()) == 1
    # The image is cast once, after it was normalised.
    assert not any(node.input[0] == "image" for node in casts)


def test_close_to_float32_and_half_the_size(exported: Path, half: Path) -> None:
    size = onnx.load(exported).graph.input[0].type.tensor_type.shape.dim[2].dim_value
    image = np.random.default_rng(0).integers(0, 256, (1, 3, size, size)).astype(np.float32)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    full, rounded = (
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, {"image": image})
        for path in (exported, half)
    )
    for one, other in zip(full, rounded, strict=True):
        assert other.dtype == np.float32
        assert 0 < np.abs(one - other).max() < 0.02 * max(1.0, np.abs(one).max())
    assert half.stat().st_size < 0.55 * exported.stat().st_size
    assert read_metadata(half)["profile"] == "mini" and read_metadata(half)["precision"] == "fp16"


def graph_with(weights: np.ndarray, path: Path) -> Path:
    """x times weights, where x is read by an FP16 node and by an FP32 one, as is the result."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y", "z")]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Softmax", ["y"], ["s"]),
        helper.make_node("Add", ["s", "y"], ["z"]),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    path.write_bytes(model.SerializeToString())
    return path


def test_rounding_is_counted(tmp_path: Path) -> None:
    weights = np.ones((4, 4), np.float32)
    weights[0] = [1e6, -1e6, 1e-5, 1e-9]
    weights[1] = [0, 65504, 6.2e-5, -1e-7]
    path = to_fp16(graph_with(weights, tmp_path / "a.onnx"), tmp_path / "b.onnx")
    assert read_rounding(path) == Rounding(weights=16, subnormal=2, zeroed=1, saturated=2)
    (stored,) = onnx.load(path).graph.initializer
    values = numpy_helper.to_array(stored)
    assert values.dtype == np.float16 and values[0, 0] == 65504 and values[0, 1] == -65504


def test_outputs_that_other_nodes_read(tmp_path: Path) -> None:
    weights = np.eye(4, dtype=np.float32)
    path = to_fp16(graph_with(weights, tmp_path / "a.onnx"), tmp_path / "b.onnx")
    x = np.array([[0.5, 1, 2, 3]], np.float32)
    y, z = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_array_equal(y, x)
    np.testing.assert_allclose(z, x + np.exp(x) / np.exp(x).sum(), rtol=2e-3)


def test_wrong_sources(half: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such ONNX file"):
        to_fp16(tmp_path / "none.onnx", tmp_path / "x.onnx")
    with pytest.raises(InputError, match="not an FP16 graph"):
        read_rounding(exported)
    assert not (tmp_path / "x.onnx").exists()


def depthwise(weight: np.ndarray, path: Path, group: int) -> Path:
    """Two convolutions with the same weights and biases of their own, one the graph's output."""
    channels = group * weight.shape[1]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 8, 8]) for name in ("x", "y")]
    biases = [numpy_helper.from_array(np.full(len(weight), k + 0.25, np.float32), f"b{k}") for k in (0, 1)]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b0"], ["h"], name="first", group=group, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["h", "w", "b1"], ["y"], name="second", group=group, pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w"), *biases])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    path.write_bytes(model.SerializeToString())
    return path


def test_large_filters_keep_what_rounding_took(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(4, 1, 3, 3)).astype(np.float32)
    weight[1] *= 10
    weight -= weight.mean(axis=(2, 3), keepdims=True)
    source = depthwise(weight, tmp_path / "a.onnx", group=4)
    path = to_fp16(source, tmp_path / "b.onnx")
    check_lint(path)
    graph = onnx.load(path).graph
    assert [node.op_type for node in graph.node] == ["Cast", "Conv", "Conv", "Add", "Conv", "Conv", "Add", "Cast"]
    # The remainder of shared weights is kept once, and the bias is added once.
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert set(stored) == {"w.fp16", "w.fp16.rest", "b0.fp16", "b1.fp16"}
    whole = stored["w.fp16"].astype(np.float32) + stored["w.fp16.rest"].astype(np.float32)
    assert np.abs(whole - weight).max() < np.abs(stored["w.fp16"].astype(np.float32) - weight).max() / 500
    x = np.random.default_rng(1).uniform(-1, 1, (1, 4, 8, 8)).astype(np.float32)
    (full,), (rounded,) = (
        ort.InferenceSession(each, providers=["CPUExecutionProvider"]).run(None, {"x": x}) for each in (source, path)
    )
    np.testing.assert_allclose(rounded, full, rtol=2e-3, atol=2e-3 * np.abs(full).max())
    # The counts are those of the weights there were.
    assert read_rounding(path).weights == weight.size + 2 * 4


@pytest.mark.parametrize(
    ("shape", "group", "scale"), [((4, 1, 3, 3), 4, 0.5), ((4, 2, 3, 3), 1, 20)], ids=["small", "summed over inputs"]
)
def test_other_filters_get_no_second_layer(tmp_path: Path, shape: tuple[int, ...], group: int, scale: float) -> None:
    weight = (scale * np.random.default_rng(0).uniform(-1, 1, shape)).astype(np.float32)
    if group == 1:
        # As many inputs as outputs, so that the two layers fit.
        weight = np.concatenate([weight, weight], axis=1)
    path = to_fp16(depthwise(weight, tmp_path / "a.onnx", group), tmp_path / "b.onnx")
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Cast", "Conv", "Conv", "Cast"]
