"""GELUs are put in the order that ONNX Runtime knows, to the bit, and nothing that only looks like one is touched."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgezsad.export.gelu import order_gelus


def graph(half: float = 0.5, argument: str = "x", outputs: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    """x * (half * (1 + erf(argument / sqrt 2))), as PyTorch's exporter writes it."""
    nodes = [
        helper.make_node("Neg", ["x"], ["other"]),
        helper.make_node("Div", [argument, "root"], ["a"]),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Add", ["b", "one"], ["c"]),
        helper.make_node("Mul", ["half", "c"], ["d"]),
        helper.make_node("Mul", ["x", "d"], ["y"]),
    ]
    values = {"root": np.sqrt(2), "one": 1.0, "half": half}
    tensors = [numpy_helper.from_array(np.array(value, dtype=np.float32), name) for name, value in values.items()]
    sides = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8]) for name in names] for names in
             (("x",), outputs)]  # fmt: skip
    made = helper.make_graph(nodes, "gelu", *sides, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, folder: Path) -> tuple[list[np.ndarray], list[str]]:
    """Its outputs, and the operators into which ONNX Runtime turns it."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((1, 4, 8)).astype(np.float32) * 3
    return session.run(None, {"x": x}), [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


def test_one_operator_and_the_same_numbers(tmp_path: Path) -> None:
    model = graph()
    before, plain = run(model, tmp_path)
    assert order_gelus(model) == 1
    onnx.checker.check_model(model, full_check=True)
    after, fused = run(model, tmp_path)
    assert "Erf" in plain and "Gelu" in fused and "Erf" not in fused
    np.testing.assert_allclose(after[0], before[0], rtol=1e-6, atol=1e-6)
    # What is in the known order already is left as it is.
    assert order_gelus(model) == 0


@pytest.mark.parametrize("other", [{"half": 0.25}, {"argument": "other"}, {"outputs": ("y", "d")}])
def test_what_only_looks_like_one_is_left_alone(other: dict, tmp_path: Path) -> None:
    model = graph(**other)
    before = model.SerializeToString()
    assert order_gelus(model) == 0
    assert model.SerializeToString() == before
