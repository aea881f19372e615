"""Build FP16 TensorRT engines with the `tensorrt` Python package, or with `trtexec` where there is no package.

TensorRT 10.x (JetPack 6.2 has 10.3) takes the FP32 graph and a flag, and rounds by itself. From 11.0 on a network
computes in the types of its graph, so that it takes the FP16 graph.

Not run on a device by us: the tests check the calls against the interfaces of 10.3 and 11.0.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from edgezsad.errors import CheckError, InputError, RuntimeUnavailable
from edgezsad.export.lint import load_graph, metadata_of
from edgezsad.files import check_may_be_written, sha256_of_file, versions, write_json, written_beside
from edgezsad.run import Run
from edgezsad.scoring.tensorrt_scorer import (
    FIRST_STRONGLY_TYPED,
    EngineRecord,
    TensorRTDevice,
    engine_record_path,
    graph_precision,
    read_engine_record,
    tensorrt_package,
    tensorrt_version,
    this_device,
)

WORKSPACE = 1 << 30
"""Bytes of scratch memory for a layer; an Orin Nano has 8 GB for everything."""


def build_engines(run: Run) -> None:
    """Build the engines of all seeds of a run for this machine's GPU; does nothing without TensorRT or a GPU."""
    try:
        tensorrt = tensorrt_package()
        device = this_device(tensorrt)
    except RuntimeUnavailable:
        return
    precision = graph_precision(tensorrt_version(tensorrt.__version__))
    for seed in run.profile.seeds:
        engine = run.engine(seed)
        build_engine(run.onnx(seed, precision), engine, device, tensorrt, engine.with_name("tensorrt-timing.cache"))


def build_engine(
    graph: Path | str,
    engine: Path | str,
    device: TensorRTDevice,
    tensorrt: ModuleType,
    timing_cache: Path | str | None = None,
) -> EngineRecord:
    """Build an engine with the Python package; an existing engine that fits is kept.

    Args:
        graph: the ONNX file: FP32 for 10.x, FP16 from 11.0 on.
        engine: the plan to write; its record is stored next to it.
        device: see `this_device`.
        tensorrt: see `tensorrt_package`.
        timing_cache: read if it exists, and written: the second build takes seconds instead of minutes.

    Raises:
        InputError: the graph is missing, damaged or of the other precision.
        CheckError: TensorRT cannot parse or build it.
    """
    graph, engine = Path(graph), Path(engine)
    version = tensorrt_version(device.tensorrt)
    _check_paths(graph, engine, version)
    try:
        return read_engine_record(engine, device, graph)
    except InputError:
        pass
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    network = builder.create_network()
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(graph.read_bytes()):
        errors = [parser.get_error(number).desc() for number in range(parser.num_errors)]
        raise CheckError(f"{graph}: TensorRT cannot parse it ({'; '.join(errors)[:160]}); see `edgezsad lint`")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE)
    if version < FIRST_STRONGLY_TYPED:
        config.set_flag(tensorrt.BuilderFlag.FP16)
    if timing_cache is not None:
        _set_timing_cache(config, Path(timing_cache))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise CheckError(f"{graph}: TensorRT {device.tensorrt} cannot build it; see its log")
    with written_beside(engine) as temporary:
        temporary.write_bytes(plan)
    if timing_cache is not None:
        with written_beside(timing_cache) as temporary:
            temporary.write_bytes(config.get_timing_cache().serialize())
    return _write_record(graph, engine, device, "tensorrt", f"edgezsad export tensorrt {graph.name} {engine.name}")


def build_with_trtexec(
    graph: Path | str, engine: Path | str, timing_cache: Path | str | None = None, trtexec: str | None = None
) -> EngineRecord:
    """Build an engine with `trtexec`, which JetPack installs in /usr/src/tensorrt/bin.

    Args:
        graph: the ONNX file.
        engine: the plan to write.
        timing_cache: as in `build_engine`.
        trtexec: the program; searched for if None.

    Raises:
        InputError: the graph is missing, damaged or of the other precision.
        CheckError: it fails, or does not name its GPU.
        RuntimeUnavailable: `trtexec` is not installed.
    """
    graph, engine = Path(graph), Path(engine)
    program = trtexec or shutil.which("trtexec") or shutil.which("trtexec", path="/usr/src/tensorrt/bin")
    if program is None:
        raise RuntimeUnavailable("needs a device: no tensorrt package and no trtexec on the path")
    version = trtexec_version(_output([program, "--help"]))
    _check_paths(graph, engine, version)
    engine.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(engine) as temporary:
        options = trtexec_options(graph, temporary, version, timing_cache)
        log = _output([program, *options])
        if "&&&& PASSED" not in log or not temporary.stat().st_size:
            errors = [line for line in log.splitlines() if "[E]" in line] or log.splitlines()[-1:]
            raise CheckError(f"{graph}: trtexec cannot build it ({' '.join(errors)[:160]}); see `edgezsad lint`")
        device = trtexec_device(log)
    command = shlex.join(["trtexec", *trtexec_options(graph.name, engine.name, version, timing_cache)])
    return _write_record(graph, engine, device, "trtexec", command)


def trtexec_options(
    graph: Path | str, engine: Path | str, version: tuple[int, int], timing_cache: Path | str | None = None
) -> list[str]:
    """Return the options with which `trtexec` of a TensorRT version builds an FP16 engine and exits."""
    options = [f"--onnx={graph}", f"--saveEngine={engine}", "--skipInference"]
    if version < FIRST_STRONGLY_TYPED:
        options.append("--fp16")
    if timing_cache is not None:
        options.append(f"--timingCacheFile={timing_cache}")
    return options


def trtexec_version(text: str) -> tuple[int, int]:
    """Read TensorRT's version from the first line of any output: "... [TensorRT v100300] ...".

    Raises:
        CheckError: there is no such line.
    """
    found = re.search(r"\[TensorRT v(\d+)\]", text)
    if not found:
        raise CheckError("trtexec does not print its version; reinstall TensorRT")
    # Until 9.x two digits follow the first; from 10.0 on the minor and patch numbers have two digits each.
    number = int(found[1])
    return (number // 10000, number // 100 % 100) if number >= 100000 else (number // 1000, number // 100 % 10)


def trtexec_device(log: str) -> TensorRTDevice:
    """Read what an engine is tied to from the log of its build.

    Raises:
        CheckError: a line is missing.
    """
    values = []
    for name in ("Selected Device", "Compute Capability", "TensorRT version"):
        found = re.search(rf"{name}: (.+)", log)
        if not found:
            raise CheckError(f"the log of trtexec has no line {name!r}; build the engine again")
        values.append(found[1].strip())
    return TensorRTDevice(*values)


def tensorrt_status() -> str:
    """Return whether engines can be built here: "ready: ...", or the reason why not."""
    try:
        device = this_device(tensorrt_package())
    except RuntimeUnavailable as reason:
        return str(reason)
    return f"ready: TensorRT {device.tensorrt} on {device.gpu} ({device.capability})"


def _check_paths(graph: Path, engine: Path, version: tuple[int, int]) -> None:
    """Raise unless the graph has the precision that this TensorRT takes and the engine can be written."""
    found = metadata_of(load_graph(graph)).get("precision", "fp32")
    wanted = graph_precision(version)
    if found != wanted:
        raise InputError(f"{graph}: an {found} graph; TensorRT {version[0]}.{version[1]} takes the {wanted} graph")
    if engine.suffix == ".json":
        raise InputError(f"{engine}: the record takes that name; name the engine .plan")
    check_may_be_written(engine)


def _output(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    return done.stdout + done.stderr


def _set_timing_cache(config: Any, path: Path) -> None:
    """Reuse the measurements of earlier builds; start an empty cache if the file is of another GPU or version."""
    data = path.read_bytes() if path.is_file() else b""
    if not config.set_timing_cache(config.create_timing_cache(data), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _write_record(
    graph: Path, engine: Path, device: TensorRTDevice, builder: Literal["tensorrt", "trtexec"], command: str
) -> EngineRecord:
    record = EngineRecord(
        model_sha256=sha256_of_file(graph),
        detector_sha256=metadata_of(load_graph(graph)).get("model_sha256", ""),
        engine_sha256=sha256_of_file(engine),
        gpu=device.gpu,
        capability=device.capability,
        tensorrt=device.tensorrt,
        builder=builder,
        command=command,
        versions=versions("tensorrt", "torch"),
    )
    write_json(engine_record_path(engine), record.model_dump())
    return record
