"""Engines: the right graph, the right calls and words for each version, and no engine of another board or model."""

import json
import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper
from typer.testing import CliRunner

from edgezsad.cli import app
from edgezsad.errors import CheckError, InputError, RuntimeUnavailable
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.tensorrt_engine import build_engine, fits, tensorrt_package
from tests.export import fake_tensorrt as fakes


def tied_to(gpu: str, capability: str, version: str) -> dict[str, str]:
    return {"gpu": gpu, "capability": capability, "tensorrt": version}


ORIN, LATER = tied_to("Orin", "8.7", "10.3.0"), tied_to("NVIDIA L4", "8.9", "11.0.0")


@pytest.fixture(scope="module")
def half(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_fp16(exported, tmp_path_factory.mktemp("half") / "half.onnx")


def test_10_rounds_the_fp32_graph_by_a_flag(exported: Path, half: Path, tmp_path: Path) -> None:
    trt = fakes.fake("10.3.0")
    build_engine(exported, tmp_path / "e.plan", ORIN, trt)
    record = json.loads((tmp_path / "e.json").read_text())
    assert (record["gpu"], record["capability"], record["tensorrt"]) == ("Orin", "8.7", "10.3.0")
    (config,) = trt.Builder.built
    assert config.flags == {trt.BuilderFlag.FP16} and config.pool == {trt.MemoryPoolType.WORKSPACE: 1 << 30}
    assert (tmp_path / "e.plan").read_bytes() == b"plan" + exported.read_bytes()
    with pytest.raises(InputError, match=r"an fp16 graph; TensorRT 10\.3\.0 takes the fp32 graph"):
        build_engine(half, tmp_path / "other.plan", ORIN, trt)


def test_11_knows_no_flag_and_takes_the_fp16_graph(exported: Path, half: Path, tmp_path: Path) -> None:
    trt = fakes.fake("11.0.0")
    assert not hasattr(trt.BuilderFlag, "FP16")
    build_engine(half, tmp_path / "e.plan", LATER, trt)
    assert trt.Builder.built[0].flags == set()
    with pytest.raises(InputError, match=r"an fp32 graph; TensorRT 11\.0\.0 takes the fp16 graph"):
        build_engine(exported, tmp_path / "other.plan", LATER, trt)


def test_an_engine_that_fits_is_kept_and_one_that_does_not_is_built_again(exported: Path, tmp_path: Path) -> None:
    trt, engine = fakes.fake("10.3.0"), tmp_path / "e.plan"
    for _ in range(2):
        build_engine(exported, engine, ORIN, trt)
    assert len(trt.Builder.built) == 1
    newer = tied_to("Orin", "8.7", "10.4.0")
    build_engine(exported, engine, newer, trt)
    assert len(trt.Builder.built) == 2 and fits(engine, exported, newer)


def test_what_tensorrt_rejects_leaves_no_file(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    model.graph.node.append(helper.make_node("Foo", ["map"], ["more"]))
    onnx.save(model, tmp_path / "foo.onnx")
    with pytest.raises(CheckError, match=r"foo\.onnx: TensorRT cannot parse it \(no importer for Foo\)"):
        build_engine(tmp_path / "foo.onnx", tmp_path / "e.plan", ORIN, fakes.fake())
    trt = fakes.fake()
    trt.Builder.build_serialized_network = lambda self, network, config: None
    with pytest.raises(CheckError, match=r"TensorRT 10\.3\.0 cannot build it; see its log"):
        build_engine(exported, tmp_path / "e.plan", ORIN, trt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foo.onnx"]


@pytest.mark.parametrize(
    "device",
    [
        tied_to("NVIDIA L4", "8.9", "10.3.0"),
        tied_to("Orin", "8.9", "10.3.0"),
        tied_to("Orin", "8.7", "10.4.0"),
    ],
)
def test_an_engine_of_another_device_is_rejected(exported: Path, tmp_path: Path, device: dict[str, str]) -> None:
    build_engine(exported, tmp_path / "e.plan", ORIN, fakes.fake())
    assert not fits(tmp_path / "e.plan", exported, device)


def test_an_engine_of_another_model_or_changed_is_rejected(exported: Path, half: Path, tmp_path: Path) -> None:
    engine = tmp_path / "e.plan"
    assert not fits(engine, exported, ORIN)
    build_engine(exported, engine, ORIN, fakes.fake())
    assert not fits(engine, half, ORIN)
    engine.write_bytes(engine.read_bytes() + b"x")
    assert not fits(engine, exported, ORIN)
    engine.with_suffix(".json").write_text("[")
    assert not fits(engine, exported, ORIN)


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
