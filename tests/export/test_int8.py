"""The INT8 graph: FP32 outside, layers in INT8, calibrated on the source alone; the sweep names costly layers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from edgezsad.errors import InputError
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.int8 import Quantiser, quantisable_layers, sweep, to_int8
from edgezsad.export.lint import check_lint, describe, load_graph
from edgezsad.export.onnx_export import export_onnx
from edgezsad.scoring.onnx_scorer import OnnxScorer, read_metadata

SIZE = 96
SOURCE = "5" * 64


def images(count: int, seed: int = 1) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(count)]


@pytest.fixture(scope="module")
def small(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_int8(exported, tmp_path_factory.mktemp("int8") / "int8.onnx", images(4), ["conv_stem"], SOURCE)


def test_layers_read_int8(exported: Path, small: Path) -> None:
    graph = onnx.load(small).graph
    inferred = onnx.shape_inference.infer_shapes(onnx.load(small), strict_mode=True).graph
    kinds = {item.name: item.type.tensor_type.elem_type for item in (*inferred.input, *inferred.output)}
    assert set(kinds.values()) == {TensorProto.FLOAT}
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    chosen = {layer.node for layer in quantisable_layers(load_graph(exported).graph) if layer.name != "conv_stem"}
    assert len(chosen) > 40 and not any("readout" in name for name in chosen)
    for node in graph.node:
        quantised = [name for name in node.input if name in makers and makers[name].op_type == "DequantizeLinear"]
        if node.name in chosen:
            assert quantised == list(node.input[:2])
            weight = makers[node.input[1]]
            assert stored[weight.input[0]].dtype == np.int8
            # One scale per output channel.
            assert len(stored[weight.input[1]]) == len(stored[weight.input[0]])
    check_lint(small)


def test_size_and_metadata(exported: Path, small: Path) -> None:
    assert small.stat().st_size < 0.35 * exported.stat().st_size
    assert describe(small)["parameters"] == pytest.approx(describe(exported)["parameters"], rel=0.03)
    metadata = read_metadata(small)
    assert metadata["model_sha256"] == "m" and metadata["threshold"] == "0.5"
    assert metadata["precision"] == "int8" and metadata["calibration_images"] == "4"
    assert metadata["calibration_sha256"] == metadata["source_sha256"] == SOURCE
    layers = quantisable_layers(load_graph(exported).graph)
    assert metadata["int8_left_out"] == "conv_stem" and int(metadata["int8_layers"]) == len(layers) - 1


def test_close_to_float32(exported: Path, small: Path) -> None:
    exact, rounded = OnnxScorer(exported), OnnxScorer(small, precision="int8")
    for image in images(2, seed=2):
        one, other = exact.score(image)[1], rounded.score(image)[1]
        assert 0 < np.abs(one - other).max() < 0.5 * one.std() + 0.1 * np.abs(one).max()


def test_same_bytes_in_another_process(exported: Path, small: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.stack(images(4)))
    program = (
        "import sys, numpy as np; from edgezsad.export.int8 import to_int8; "
        "to_int8(sys.argv[1], sys.argv[2], list(np.load(sys.argv[3])), ['conv_stem'], sys.argv[4])"
    )
    again = tmp_path / "again.onnx"
    command = [sys.executable, "-c", program, str(exported), str(again), str(tmp_path / "images.npy"), SOURCE]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert again.read_bytes() == small.read_bytes()
    assert [item.name for item in small.parent.iterdir()] == ["int8.onnx"]


def test_only_the_source_calibrates(exported: Path, tmp_path: Path) -> None:
    for other in ("a target's", ""):
        with pytest.raises(InputError, match="never on a target"):
            to_int8(exported, tmp_path / "x.onnx", images(1), sha256=other)
    assert not (tmp_path / "x.onnx").exists()


def test_wrong_input(exported: Path, small: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.onnx"
    with pytest.raises(InputError, match="resize"):
        to_int8(exported, target, [np.zeros((8, 8, 3), np.uint8)], sha256=SOURCE)
    for other in (small, to_fp16(exported, tmp_path / "half.onnx")):
        with pytest.raises(InputError, match="give a detector's FP32 graph"):
            to_int8(other, target, images(1), sha256=SOURCE)
    assert not target.exists()


class Spoilt(torch.nn.Module):
    """Two layers of equal size; the activations of the second have an outlier that INT8 cannot represent."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.features = torch.nn.ModuleDict(
            {name: torch.nn.Conv2d(3, 3, 1, bias=False) for name in ("first", "second", "third")}
        )
        for layer in self.features.values():
            torch.nn.init.normal_(layer.weight, generator=generator)
        self.readout = torch.nn.Conv2d(3, 1, 1, bias=False)
        torch.nn.init.normal_(self.readout.weight, generator=torch.Generator().manual_seed(1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.features["first"](torch.nn.functional.avg_pool2d(image / 255, 8))
        scale = torch.tensor([1e4, 1.0, 1.0]).view(1, 3, 1, 1)
        x = self.features["second"](torch.relu(x) * scale) / scale
        anomaly_map = self.readout(self.features["third"](torch.tanh(x)))
        return anomaly_map.mean(dim=(1, 2, 3)), anomaly_map


@pytest.mark.slow
def test_sweep_finds_the_costly_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgezsad.export.int8.SHARE", 0.4)
    graph = export_onnx(Spoilt(), tmp_path / "g.onnx", SIZE)
    (tmp_path / "ranges").mkdir()
    quantiser = Quantiser(graph, images(3), tmp_path / "ranges")
    assert [layer.name for layer in quantiser.layers] == ["first", "second", "third"]
    found = sweep(quantiser, images(8, seed=2))
    assert found["table"][0]["layer"] == "second" and found["kept_fp32"] == ("second",)
    assert [row["kept_fp32"] for row in found["table"]] == [True, False, False]
    assert max(found["exported"]) < max(found["all_int8"])
    assert len(sweep(quantiser, images(1), most=1)["table"]) == 1
