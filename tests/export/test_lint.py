"""The lint passes the real graph and catches each kind of planted fault."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgezsad.errors import CheckError, InputError
from edgezsad.export.lint import check_lint, describe, lint
from edgezsad.model.detector import Detector


def resize(model: ModelProto) -> None:
    _behind_map(model, "Resize", ["", "scales"], mode="linear")
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "scales"))


def top_k(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "k"))
    model.graph.node.append(helper.make_node("TopK", ["map", "k"], ["best", "where"], name="planted"))


def shape(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Shape", ["map"], ["sizes"], name="planted"))


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


def _behind_map(model: ModelProto, operator: str, inputs: list[str], **attributes: str) -> None:
    model.graph.node.append(helper.make_node(operator, ["map", *inputs], ["more"], name="planted", **attributes))


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (resize, "node planted: operator Resize"),
        (top_k, "node planted: operator TopK"),
        (shape, "node planted: operator Shape"),
        (foreign, "node planted: operator com.microsoft::Gelu"),
        (dynamic, "tensor image: dynamic shape (batch, 3, 96, 96)"),
        (old_opset, "opset 17, not 18"),
        (float64, "tensor double: float64"),
        (external, "kept in external data"),
    ],
)
def test_planted_fault_is_named(plant: Callable[[ModelProto], None], says: str, exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    plant(model)
    path = tmp_path / "planted.onnx"
    path.write_bytes(model.SerializeToString())
    assert any(says in problem for problem in lint(path)), lint(path)
    with pytest.raises(CheckError, match="unfit for devices") as caught:
        check_lint(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_the_real_graph_is_fit(exported: Path) -> None:
    assert lint(exported) == []
    check_lint(exported)


def test_describe(exported: Path, detector: Detector) -> None:
    facts = describe(exported)
    assert facts["opset"] == 18 and facts["bytes"] == exported.stat().st_size
    assert facts["nodes"] == sum(facts["operators"].values()) and facts["operators"]["Conv"] > 50
    # Batch normalisation is folded into the convolutions; nothing else may get lost.
    assert 0.95 < facts["parameters"] / sum(p.numel() for p in detector.parameters()) < 1.0


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "folder", "missing"])
def test_damaged_file_is_one_line(damage: str, exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    if damage == "cut":
        path.write_bytes(exported.read_bytes()[:-5000])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("not a graph")
    elif damage == "folder":
        path.mkdir()
    with pytest.raises(InputError, match="04_export") as caught:
        lint(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
