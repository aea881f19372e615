"""Ranks: the rewritten graph has fewer axes and the same numbers."""

import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgezsad.export.ranks import merge_axes, merged_axes


def window_graph(shape, cut, order, back):
    """Reshape to `cut`, transpose by `order`, reshape to `back`: how TinyViT cuts a map into windows."""
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, back),
    ]
    nodes = [
        helper.make_node("Reshape", ["x", "cut"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], name="turn", perm=order),
        helper.make_node("Reshape", ["b", "back"], ["y"]),
    ]
    constants = [numpy_helper.from_array(np.array(value), name) for name, value in (("cut", cut), ("back", back))]
    model = helper.make_model(
        helper.make_graph(nodes, "windows", ends[:1], ends[1:], constants),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    model.ir_version = 10
    return model


def run(model, x):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def test_windows_take_four_axes_and_three_nodes():
    model = window_graph((1, 8, 12, 5), (1, 2, 4, 3, 4, 5), (0, 1, 3, 2, 4, 5), (6, 16, 5))
    x = np.random.default_rng(0).normal(size=(1, 8, 12, 5)).astype(np.float32)
    before = run(model, x)
    assert merge_axes(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Reshape", "Transpose", "Reshape"]
    shapes = [tuple(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer]
    assert sorted(shapes) == [(2, 4, 3, 20), (6, 16, 5)]
    np.testing.assert_array_equal(run(model, x), before)


def test_a_transposition_that_others_read_keeps_its_shape():
    model = window_graph((1, 8, 12, 5), (1, 2, 4, 3, 4, 5), (0, 1, 3, 2, 4, 5), (6, 16, 5))
    model.graph.output.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, (1, 2, 3, 4, 4, 5)))
    x = np.arange(480, dtype=np.float32).reshape(1, 8, 12, 5)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    before = session.run(["b"], {"x": x})[0]
    assert merge_axes(model) == 1
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(["b"], {"x": x})[0], before)


def test_few_axes_stay_as_they_are():
    model = window_graph((1, 8, 12), (8, 3, 4), (1, 0, 2), (24, 4))
    untouched = model.SerializeToString()
    assert merge_axes(model) == 0
    assert model.SerializeToString() == untouched


def test_axes_that_all_move_apart_stay():
    assert merged_axes((2, 3, 4, 5, 6), (0, 2, 1, 4, 3)) == ((2, 3, 4, 5, 6), (0, 2, 1, 4, 3))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 1, 5), (2, 1, 3, 1), (1, 1, 1, 1)])
def test_every_order_gives_the_same_copy(shape):
    x = np.arange(np.prod(shape)).reshape(shape)
    for order in itertools.permutations(range(4)):
        merged, perm = merged_axes(shape, order)
        np.testing.assert_array_equal(x.reshape(merged).transpose(perm).ravel(), x.transpose(order).ravel())
        assert len(merged) <= 4
