"""Engines: the right graph, the right calls and words for each version, and no engine of another board or model."""

import importlib.util
import json
import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper

from edgezsad.errors import CheckError, InputError, RuntimeUnavailable
from edgezsad.export import tensorrt_engine
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.tensorrt_engine import (
    build_engine,
    build_with_trtexec,
    tensorrt_status,
    trtexec_device,
    trtexec_version,
)
from edgezsad.scoring.tensorrt_scorer import (
    TensorRTDevice,
    engine_record_path,
    graph_precision,
    read_engine_record,
    tensorrt_package,
)

spec = importlib.util.spec_from_file_location("fake_tensorrt", Path(__file__).parents[1] / "fake_tensorrt.py")
fakes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fakes)

ORIN = TensorRTDevice("Orin", "8.7", "10.3.0")
LATER = TensorRTDevice("NVIDIA L4", "8.9", "11.0.0")


@pytest.fixture(scope="module")
def half(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_fp16(exported, tmp_path_factory.mktemp("half") / "half.onnx")


def test_10_rounds_the_fp32_graph_by_a_flag(exported: Path, half: Path, tmp_path: Path) -> None:
    trt = fakes.fake("10.3.0")
    record = build_engine(exported, tmp_path / "e.plan", ORIN, trt)
    assert (record.gpu, record.capability, record.tensorrt, record.builder) == ("Orin", "8.7", "10.3.0", "tensorrt")
    (config,) = trt.Builder.built
    assert config.flags == {trt.BuilderFlag.FP16} and config.pool == {trt.MemoryPoolType.WORKSPACE: 1 << 30}
    assert (tmp_path / "e.plan").read_bytes() == b"plan" + exported.read_bytes()
    with pytest.raises(InputError, match=r"an fp16 graph; TensorRT 10\.3 takes the fp32 graph"):
        build_engine(half, tmp_path / "other.plan", ORIN, trt)


def test_11_knows_no_flag_and_takes_the_fp16_graph(exported: Path, half: Path, tmp_path: Path) -> None:
    trt = fakes.fake("11.0.0")
    assert not hasattr(trt.BuilderFlag, "FP16")
    build_engine(half, tmp_path / "e.plan", LATER, trt)
    assert trt.Builder.built[0].flags == set()
    with pytest.raises(InputError, match=r"an fp32 graph; TensorRT 11\.0 takes the fp16 graph"):
        build_engine(exported, tmp_path / "other.plan", LATER, trt)
    assert graph_precision((10, 13)) == "fp32" and graph_precision((11, 0)) == "fp16"


def test_an_engine_that_fits_is_kept_and_one_that_does_not_is_built_again(exported: Path, tmp_path: Path) -> None:
    trt, engine = fakes.fake("10.3.0"), tmp_path / "e.plan"
    first = build_engine(exported, engine, ORIN, trt)
    assert build_engine(exported, engine, ORIN, trt) == first and len(trt.Builder.built) == 1
    build_engine(exported, engine, TensorRTDevice("Orin", "8.7", "10.4.0"), trt)
    assert (
        len(trt.Builder.built) == 2
        and read_engine_record(engine, TensorRTDevice("Orin", "8.7", "10.4.0")).tensorrt == "10.4.0"
    )


def test_the_timing_cache_grows_and_a_foreign_one_is_put_aside(exported: Path, tmp_path: Path) -> None:
    cache = tmp_path / "timing.cache"
    for number, board in enumerate((ORIN, TensorRTDevice("Orin", "8.7", "10.3.1"))):
        build_engine(exported, tmp_path / "e.plan", board, fakes.fake(), cache)
        assert cache.read_bytes() == b"+" * (number + 1)
    cache.write_bytes(b"foreign")
    build_engine(exported, tmp_path / "f.plan", ORIN, fakes.fake(), cache)
    assert cache.read_bytes() == b"+"


def test_what_tensorrt_refuses_leaves_no_file(exported: Path, tmp_path: Path) -> None:
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
        TensorRTDevice("NVIDIA L4", "8.9", "10.3.0"),
        TensorRTDevice("Orin", "8.9", "10.3.0"),
        TensorRTDevice("Orin", "8.7", "10.4.0"),
    ],
)
def test_an_engine_of_another_device_is_rejected(exported: Path, tmp_path: Path, device: TensorRTDevice) -> None:
    build_engine(exported, tmp_path / "e.plan", ORIN, fakes.fake())
    with pytest.raises(InputError, match=r"e\.plan: built for .*Orin.*edgezsad export tensorrt"):
        read_engine_record(tmp_path / "e.plan", device)


def test_an_engine_of_another_model_or_changed_is_refused(exported: Path, half: Path, tmp_path: Path) -> None:
    engine = tmp_path / "e.plan"
    with pytest.raises(InputError, match=r"e\.json: missing"):
        read_engine_record(engine, ORIN)
    build_engine(exported, engine, ORIN, fakes.fake())
    with pytest.raises(InputError, match="built from another graph than"):
        read_engine_record(engine, ORIN, half)
    engine.write_bytes(engine.read_bytes() + b"x")
    with pytest.raises(InputError, match=r"changed since e\.json was written"):
        read_engine_record(engine, ORIN)
    engine_record_path(engine).write_text(json.dumps({"gpu": "Orin"}))
    with pytest.raises(InputError, match="not the record of an engine"):
        read_engine_record(engine, ORIN)


LOG = """[I] === Device Information ===
[I] Selected Device: Orin
[I] Compute Capability: 8.7
[I] TensorRT version: 10.3.0
{ending} TensorRT.trtexec [TensorRT v100300]
"""


def trtexec(folder: Path, ending: str = "&&&& PASSED", log: str = LOG) -> str:
    """A program that writes its words down, makes the file that it is to make, and says what trtexec says."""
    program = folder / "trtexec"
    (folder / "log.txt").write_text(log.format(ending=ending))
    program.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "print('&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # ' + ' '.join(sys.argv))\n"
        "if '--help' not in sys.argv:\n"
        "    (folder / 'words.txt').write_text('\\n'.join(sys.argv[1:]))\n"
        "    target = next(word[13:] for word in sys.argv if word.startswith('--saveEngine='))\n"
        "    pathlib.Path(target).write_bytes(b'plan by trtexec')\n"
        "    print((folder / 'log.txt').read_text())\n"
    )
    program.chmod(0o755)
    return str(program)


def test_trtexec_builds_where_there_is_no_package(exported: Path, tmp_path: Path) -> None:
    engine, cache = tmp_path / "out" / "e.plan", tmp_path / "c"
    record = build_with_trtexec(exported, engine, cache, trtexec(tmp_path))
    words = (tmp_path / "words.txt").read_text().splitlines()
    assert words[0] == f"--onnx={exported}" and words[2:] == ["--skipInference", "--fp16", f"--timingCacheFile={cache}"]
    assert engine.read_bytes() == b"plan by trtexec"
    assert record == read_engine_record(engine, ORIN, exported) and record.builder == "trtexec"
    assert record.command.startswith("trtexec --onnx=detector.onnx --saveEngine=e.plan --skipInference --fp16")


def test_a_trtexec_that_fails_leaves_no_engine(exported: Path, half: Path, tmp_path: Path) -> None:
    engine = tmp_path / "e.plan"
    failing = trtexec(tmp_path, "[E] Error[10]: no implementation\n&&&& FAILED")
    with pytest.raises(CheckError, match=r"trtexec cannot build it \(\[E\] Error\[10\]: no implementation\)"):
        build_with_trtexec(exported, engine, None, failing)
    with pytest.raises(CheckError, match="no line 'Selected Device'"):
        build_with_trtexec(exported, engine, None, trtexec(tmp_path, log="{ending}"))
    with pytest.raises(InputError, match=r"TensorRT 10\.3 takes the fp32 graph"):
        build_with_trtexec(half, engine, None, trtexec(tmp_path))
    assert not engine.exists() and not engine_record_path(engine).exists()


def test_what_trtexec_prints_is_read() -> None:
    assert trtexec_version("&&&& RUNNING TensorRT.trtexec [TensorRT v101500] # x") == (10, 15)
    assert trtexec_version("[TensorRT v110000]") == (11, 0) and trtexec_version("[TensorRT v8601]") == (8, 6)
    with pytest.raises(CheckError, match="does not print its version"):
        trtexec_version("trtexec: not found")
    assert trtexec_device(LOG) == ORIN


def test_without_a_device_it_says_what_it_needs(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert tensorrt_status().startswith("needs a device: an NVIDIA GPU with TensorRT")
    monkeypatch.setattr(tensorrt_engine.shutil, "which", lambda name, path=None: None)
    with pytest.raises(RuntimeUnavailable, match="needs a device: no tensorrt package and no trtexec"):
        build_with_trtexec(exported, tmp_path / "e.plan")
    monkeypatch.setitem(sys.modules, "tensorrt", fakes.fake("8.6.1"))
    with pytest.raises(RuntimeUnavailable, match=r"TensorRT 8\.6\.1 is older than 10\.0"):
        tensorrt_package()
