"""The INT8 twin: FP32 outside, layers in INT8 and nothing else, of the source alone, the same bytes every time."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgezsad.errors import InputError
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.int8 import to_int8
from edgezsad.export.layers import layers
from edgezsad.export.lint import check_lint, describe, load_graph
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model.detector import Detector
from edgezsad.scoring.onnx_scorer import OnnxScorer, read_metadata

SIZE = 96
SOURCE = "5" * 64


def pictures(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return [generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(count)]


@pytest.fixture(scope="module")
def full(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "full.onnx"
    return export_onnx(detector, path, SIZE, {"source_sha256": SOURCE, "model_sha256": "m", "threshold": "0.5"})


@pytest.fixture(scope="module")
def small(full: Path) -> Path:
    return to_int8(full, full.with_name("int8.onnx"), pictures(4), ["conv_stem"], SOURCE)


def types(path: Path) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True).graph
    known = {item.name: item.type.tensor_type.elem_type for item in (*graph.input, *graph.value_info, *graph.output)}
    return known | {item.name: item.data_type for item in graph.initializer}


def test_layers_in_int8_and_nothing_else(full: Path, small: Path) -> None:
    graph, kinds = onnx.load(small).graph, types(small)
    makers = {name: node for node in graph.node for name in node.output}
    chosen = {layer.node for layer in layers(load_graph(full).graph) if layer.name != "conv_stem"}
    assert len(chosen) > 40
    sums = set()
    for item in (*graph.input, *graph.output):
        assert kinds[item.name] == TensorProto.FLOAT
    for node in graph.node:
        quantised = [name for name in node.input if name in makers and makers[name].op_type == "DequantizeLinear"]
        if node.name in chosen:
            # Activations and weights; the bias stays FP32.
            assert quantised == list(node.input[:2])
            assert kinds[makers[node.input[1]].input[0]] == TensorProto.INT8
            assert kinds[makers[node.input[0]].input[0]] == TensorProto.UINT8
        elif node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            # A residual's sum takes a layer's result in INT8; nothing else does, the readout's sums neither.
            for name in quantised:
                assert node.op_type == "Add" and makers[makers[makers[name].input[0]].input[0]].name in chosen
                sums.add(node.name)
    assert len(sums) == 9
    used = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
    assert all(name in used for node in graph.node for name in node.output)
    check_lint(small)


def test_size_and_what_the_file_says(full: Path, small: Path) -> None:
    assert small.stat().st_size < 0.35 * full.stat().st_size
    assert describe(small)["parameters"] == pytest.approx(describe(full)["parameters"], rel=0.03)
    metadata = read_metadata(small)
    assert metadata["model_sha256"] == "m" and metadata["threshold"] == "0.5"
    assert metadata["precision"] == "int8" and metadata["calibration_images"] == "4"
    assert metadata["calibration_sha256"] == metadata["source_sha256"] == SOURCE
    assert (
        metadata["int8_left_out"] == "conv_stem"
        and int(metadata["int8_layers"]) == len(layers(load_graph(full).graph)) - 1
    )


def test_steps_are_per_channel_and_kept(small: Path) -> None:
    """What the rounding decided is what is stored: a largest weight of 127 steps in every output channel."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(small).graph.initializer}
    name = "backbone.features.blocks.1.1.conv_dw.weight"
    whole, step = stored[f"{name}_quantized"], stored[f"{name}_scale"]
    assert len(step) == len(whole) == 144
    assert (np.abs(whole.astype(int)).reshape(144, -1).max(axis=1) == 127).all()


def test_close_to_float32(full: Path, small: Path) -> None:
    exact, rounded = OnnxScorer(full), OnnxScorer(small, precision="int8")
    for picture in pictures(6)[4:]:
        one, other = exact.score(picture)[1], rounded.score(picture)[1]
        assert 0 < np.abs(one - other).max() < 0.5 * one.std() + 0.1 * np.abs(one).max()


def test_symmetric_has_no_zero_points(full: Path, tmp_path: Path) -> None:
    path = to_int8(full, tmp_path / "symmetric.onnx", pictures(2), source_sha256=SOURCE, symmetric=True)
    graph = onnx.load(path).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) > 100
    for node in pairs:
        zero = stored[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()


def test_same_bytes_in_another_process(full: Path, small: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "pictures.npy", np.stack(pictures(4)))
    program = (
        "import sys, numpy as np; from edgezsad.export.int8 import to_int8; "
        "to_int8(sys.argv[1], sys.argv[2], np.load(sys.argv[3]), ['conv_stem'], sys.argv[4])"
    )
    again = tmp_path / "again.onnx"
    command = [sys.executable, "-c", program, str(full), str(again), str(tmp_path / "pictures.npy"), SOURCE]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert again.read_bytes() == small.read_bytes()
    assert {item.name for item in full.parent.iterdir()} == {"full.onnx", "int8.onnx"}


def test_only_the_source_calibrates(full: Path, tmp_path: Path) -> None:
    for other in ("a target's", ""):
        with pytest.raises(InputError, match="never on a target") as caught:
            to_int8(full, tmp_path / "x.onnx", pictures(1), source_sha256=other)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.onnx").exists()


def test_wrong_input(full: Path, small: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.onnx"
    with pytest.raises(InputError, match="no such ONNX file"):
        to_int8(tmp_path / "none.onnx", target, pictures(1))
    with pytest.raises(InputError, match="did you mean 'conv_stem'"):
        to_int8(full, target, pictures(1), ["conv_sten"], SOURCE)
    with pytest.raises(InputError, match="no images to calibrate with"):
        to_int8(full, target, [], source_sha256=SOURCE)
    with pytest.raises(InputError, match="resize the image"):
        to_int8(full, target, [np.zeros((8, 8, 3), np.uint8)], source_sha256=SOURCE)
    with pytest.raises(InputError, match="no layer is left"):
        to_int8(full, target, pictures(1), [layer.name for layer in layers(load_graph(full).graph)], SOURCE)
    for other in (small, to_fp16(full, tmp_path / "half.onnx")):
        with pytest.raises(InputError, match="not an FP32 graph"):
            to_int8(other, target, pictures(1), source_sha256=SOURCE)
    assert not target.exists()
