"""FP16 engines for NVIDIA GPUs: by the `tensorrt` Python package, or by `trtexec` where there is no package.

TensorRT 10.x (JetPack 6.2 has 10.3) is given the FP32 graph and a flag, and rounds by itself; LayerNormalization is one
operator in the graph, which it then computes in FP32. From 11.0 on a network computes in the types of its graph, there
is no flag any more, and it is given the FP16 graph.

Not run by us: there is no such GPU here. Tests hold the calls against the interfaces of 10.3 and 11.0, and the command
lines word by word.
"""

import importlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from onnx import TensorProto

from edgezsad.devices.commands import FIRST_STRONGLY_TYPED, trtexec_build
from edgezsad.errors import CheckError, InputError
from edgezsad.export.engine import Board, EngineRecord, read_engine, record_path
from edgezsad.export.graphfile import load_graph, one_line, read_metadata
from edgezsad.files import check_may_be_written, sha256_of_file, versions, write_json, written_beside
from edgezsad.scoring.runtimes import RuntimeUnavailable

OLDEST = (10, 0)
WORKSPACE = 1 << 30
"""Bytes that a layer may use beside its tensors; an Orin Nano has 8 GB for everything."""


def package() -> ModuleType:
    """The `tensorrt` package.

    Raises:
        RuntimeUnavailable: it is not installed, or too old.
    """
    try:
        found = importlib.import_module("tensorrt")
    except ImportError:
        raise RuntimeUnavailable(
            "needs a device: an NVIDIA GPU with TensorRT (on a Jetson it comes with JetPack; else pip install tensorrt)"
        ) from None
    if Board("", "", found.__version__).version < OLDEST:
        raise RuntimeUnavailable(f"TensorRT {found.__version__} is older than 10.0; JetPack 6.2 has 10.3")
    return found


def this_board(tensorrt: ModuleType) -> Board:
    """The GPU that PyTorch sees, with TensorRT's version.

    Raises:
        RuntimeUnavailable: there is none.
    """
    import torch

    if not torch.cuda.is_available():
        raise RuntimeUnavailable("needs a device: PyTorch sees no NVIDIA GPU here")
    major, minor = torch.cuda.get_device_capability()
    return Board(torch.cuda.get_device_name(), f"{major}.{minor}", tensorrt.__version__)


def graph_precision(version: tuple[int, int]) -> Literal["fp32", "fp16"]:
    """Which of the two graphs a TensorRT is given for FP16."""
    return "fp32" if version < FIRST_STRONGLY_TYPED else "fp16"


def check_graph(graph: Path | str, version: tuple[int, int]) -> None:
    """Raise if it is not the graph that this TensorRT is to be given.

    Raises:
        InputError: the other of the two, or no graph.
    """
    half = any(tensor.data_type == TensorProto.FLOAT16 for tensor in load_graph(graph).graph.initializer)
    found, wanted = "fp16" if half else "fp32", graph_precision(version)
    if found != wanted:
        why = "rounds by itself" if wanted == "fp32" else "computes in the types of the graph"
        raise InputError(
            f"{graph}: the {found} graph; TensorRT {version[0]}.{version[1]} {why}; give the {wanted} graph"
        )


def build_engine(
    graph: Path | str, engine: Path | str, board: Board, tensorrt: ModuleType, timing_cache: Path | str | None = None
) -> EngineRecord:
    """Build with the package; an engine that fits already is kept.

    Args:
        graph: the ONNX file: FP32 for 10.x, FP16 from 11.0 on.
        engine: the plan to write; its record goes beside it.
        board: see `this_board`.
        tensorrt: see `package`.
        timing_cache: read if it is there, and written: the second build takes seconds instead of minutes.

    Raises:
        InputError: the graph is missing, damaged or of the other precision.
        CheckError: TensorRT does not parse or build it; its own words are in the text.
    """
    graph, engine = Path(graph), Path(engine)
    check_graph(graph, board.version)
    _check_name(engine)
    if kept := _fitting(engine, board, graph):
        return kept
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    network = builder.create_network()
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(graph.read_bytes()):
        errors = [parser.get_error(number).desc() for number in range(parser.num_errors)]
        raise CheckError(f"{graph}: TensorRT cannot parse it ({'; '.join(errors)[:160]}); see `edgezsad lint`")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE)
    if board.version < FIRST_STRONGLY_TYPED:
        config.set_flag(tensorrt.BuilderFlag.FP16)
    if timing_cache is not None:
        _give_cache(config, Path(timing_cache))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise CheckError(f"{graph}: TensorRT {board.tensorrt} cannot build it; its log says why")
    with written_beside(engine) as temporary:
        temporary.write_bytes(plan)
    if timing_cache is not None:
        with written_beside(timing_cache) as temporary:
            temporary.write_bytes(config.get_timing_cache().serialize())
    return _write_record(graph, engine, board, "tensorrt", f"edgezsad export tensorrt {graph.name} {engine.name}")


def build_with_trtexec(
    graph: Path | str, engine: Path | str, timing_cache: Path | str | None = None, trtexec: str | None = None
) -> EngineRecord:
    """Build with `trtexec`, which JetPack puts at /usr/src/tensorrt/bin.

    Args:
        graph: the ONNX file: FP32 for 10.x, FP16 from 11.0 on.
        engine: the plan to write; its record goes beside it.
        timing_cache: as in `build_engine`.
        trtexec: the program, if it is not on the path.

    Raises:
        InputError: the graph is missing, damaged or of the other precision.
        CheckError: it fails, or does not say for which GPU it built.
        RuntimeUnavailable: there is no `trtexec`.
    """
    graph, engine = Path(graph), Path(engine)
    program = trtexec or shutil.which("trtexec") or shutil.which("trtexec", path="/usr/src/tensorrt/bin")
    if program is None:
        raise RuntimeUnavailable("needs a device: no tensorrt package and no trtexec on the path")
    version = trtexec_version(_output([program, "--help"]))
    check_graph(graph, version)
    _check_name(engine)
    engine.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(engine) as temporary:
        words = [program, *trtexec_build(graph, temporary, version, timing_cache)[1:]]
        log = _output(words)
        if "&&&& PASSED" not in log or not temporary.stat().st_size:
            errors = [line for line in log.splitlines() if "[E]" in line] or log.splitlines()[-1:]
            raise CheckError(f"{graph}: trtexec cannot build it ({' '.join(errors)[:160]}); see `edgezsad lint`")
        board = trtexec_board(log)
    shown = shlex.join([str(word).replace(str(temporary), engine.name) for word in words[1:]])
    return _write_record(graph, engine, board, "trtexec", f"trtexec {shown}".replace(str(graph), graph.name))


def trtexec_version(text: str) -> tuple[int, int]:
    """TensorRT's version from the first line of any output: "&&&& RUNNING TensorRT.trtexec [TensorRT v100300] ...".

    Raises:
        CheckError: there is no such line.
    """
    found = re.search(r"\[TensorRT v(\d+)\]", text)
    if not found:
        raise CheckError("trtexec does not say its version; reinstall TensorRT")
    # Until 9.x two digits follow the first; from 10.0 on the minor and patch numbers have two digits each.
    number = int(found[1])
    return (number // 10000, number // 100 % 100) if number >= 100000 else (number // 1000, number // 100 % 10)


def trtexec_board(log: str) -> Board:
    """What an engine is tied to, from the log of its build.

    Raises:
        CheckError: the log does not tell.
    """
    names = {"gpu": "Selected Device", "capability": "Compute Capability", "tensorrt": "TensorRT version"}
    values = {}
    for key, name in names.items():
        found = re.search(rf"{name}: (.+)", log)
        if not found:
            raise CheckError(f"trtexec's log has no line {name!r}, so the engine's GPU is not known; build it again")
        values[key] = found[1].strip()
    return Board(**values)


def _output(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    return done.stdout + done.stderr


def _check_name(engine: Path) -> None:
    if engine.suffix == ".json":
        raise InputError(f"{engine}: the record takes that name; call the engine .plan")
    check_may_be_written(engine)


def _fitting(engine: Path, board: Board, graph: Path) -> EngineRecord | None:
    """The record of an engine that is there already and fits."""
    try:
        return read_engine(engine, board, graph)
    except InputError:
        return None


def _give_cache(config: Any, path: Path) -> None:
    """Let a build use what earlier ones measured; a cache of another GPU or version is put aside."""
    data = path.read_bytes() if path.is_file() else b""
    if not config.set_timing_cache(config.create_timing_cache(data), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _write_record(
    graph: Path, engine: Path, board: Board, builder: Literal["tensorrt", "trtexec"], command: str
) -> EngineRecord:
    record = EngineRecord(
        model_sha256=sha256_of_file(graph),
        detector_sha256=read_metadata(graph).get("model_sha256", ""),
        engine_sha256=sha256_of_file(engine),
        gpu=board.gpu,
        capability=board.capability,
        tensorrt=board.tensorrt,
        builder=builder,
        command=command,
        versions=versions("tensorrt", "torch"),
    )
    write_json(record_path(engine), record.model_dump())
    return record


def status() -> str:
    """Whether engines can be built here: "ready: ...", or what it needs."""
    try:
        tensorrt = package()
        board = this_board(tensorrt)
    except RuntimeUnavailable as reason:
        return one_line(reason)
    return f"ready: TensorRT {board.tensorrt} on {board.gpu} ({board.capability})"
