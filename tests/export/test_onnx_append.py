"""Appended bytes are what the onnx package would have added."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgezsad.export.onnx_append import appended


def base() -> onnx.ModelProto:
    """`score` is the largest product with a bank that the file does not hold."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 2, 2])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, 1, 1, 1])
    nodes = [helper.make_node("Conv", ["image", "bank"], ["similarity"])]
    nodes += [helper.make_node("ReduceMax", ["similarity"], ["score"], keepdims=1)]
    graph = helper.make_graph(nodes, "base", [image], [score])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("rows", [1, 5, 300])
def test_the_file_is_complete_and_runs(rows: int) -> None:
    bank = np.random.default_rng(rows).normal(size=(rows, 3, 1, 1)).astype(np.float32)
    data = appended(base().SerializeToString(), {"bank": bank}, {"threshold": "0.5", "größe": "ü" * 200},
                    {"similarity": (1, rows, 2, 2)})  # fmt: skip
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(numpy_helper.to_array(model.graph.initializer[0]), bank)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"threshold": "0.5", "größe": "ü" * 200}
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).normal(size=(1, 3, 2, 2)).astype(np.float32)
    score, similarity = session.run(None, {"image": image})
    wanted = np.einsum("mc,chw->mhw", bank[:, :, 0, 0], image[0])
    np.testing.assert_allclose(similarity[0], wanted, rtol=1e-5, atol=1e-6)
    assert score.item() == similarity.max()


def test_every_type_of_tensor() -> None:
    for values in (np.arange(6, dtype=np.float16).reshape(2, 3), np.array([2**40, -1]), np.float32(3.5).reshape(())):
        if values.dtype == np.int64:
            values = abs(values)
        model = onnx.load_model_from_string(appended(b"", {"x": values}))
        found = numpy_helper.to_array(model.graph.initializer[0])
        assert found.dtype == values.dtype and found.shape == values.shape and np.array_equal(found, values)
