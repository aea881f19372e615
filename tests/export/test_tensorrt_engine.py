"""Engines: the right graph, the right calls and words for each version."""

import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper
from typer.testing import CliRunner

from edgezsad.cli import app
from edgezsad.errors import CheckError, InputError, RuntimeUnavailable
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.tensorrt_engine import build_engine, tensorrt_package
from tests.export import fake_tensorrt as fakes


@pytest.fixture(scope="module")
def half(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_fp16(exported, tmp_path_factory.mktemp("half") / "half.onnx")


def test_10_rounds_the_fp32_graph_by_a_flag(exported: Path, half: Path, tmp_path: Path) -> None:
    trt = fakes.fake("10.3.0")
    build_engine(exported, tmp_path / "e.plan", trt)
    (config,) = trt.Builder.built
    assert config.flags == {trt.BuilderFlag.FP16}
    assert (tmp_path / "e.plan").read_bytes() == b"plan" + exported.read_bytes()
    with pytest.raises(InputError, match=r"an fp16 graph; TensorRT 10\.3\.0 takes the fp32 graph"):
        build_engine(half, tmp_path / "other.plan", trt)


def test_11_knows_no_flag_and_takes_the_fp16_graph(exported: Path, half: Path, tmp_path: Path) -> None:
    trt = fakes.fake("11.0.0")
    assert not hasattr(trt.BuilderFlag, "FP16")
    build_engine(half, tmp_path / "e.plan", trt)
    assert trt.Builder.built[0].flags == set()
    with pytest.raises(InputError, match=r"an fp32 graph; TensorRT 11\.0\.0 takes the fp16 graph"):
        build_engine(exported, tmp_path / "other.plan", trt)


def test_what_tensorrt_rejects_leaves_no_file(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    model.graph.node.append(helper.make_node("Foo", ["map"], ["more"]))
    onnx.save(model, tmp_path / "foo.onnx")
    with pytest.raises(CheckError, match=r"foo\.onnx: TensorRT cannot parse it \(no importer for Foo\)"):
        build_engine(tmp_path / "foo.onnx", tmp_path / "e.plan", fakes.fake())
    trt = fakes.fake()
    trt.Builder.build_serialized_network = lambda self, network, config: None
    with pytest.raises(CheckError, match=r"TensorRT 10\.3\.0 cannot build it; see its log"):
        build_engine(exported, tmp_path / "e.plan", trt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foo.onnx"]


def test_without_a_device_it_says_what_it_needs(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    result = CliRunner().invoke(app, ["export", "tensorrt", str(exported), str(tmp_path / "e.plan")])
    assert isinstance(result.exception, RuntimeUnavailable) and list(tmp_path.iterdir()) == []
    assert str(result.exception).startswith("needs a device: an NVIDIA GPU with TensorRT")
    monkeypatch.setitem(sys.modules, "tensorrt", fakes.fake("8.6.1"))
    with pytest.raises(RuntimeUnavailable, match=r"TensorRT 8\.6\.1 is older than 10\.0"):
        tensorrt_package()
