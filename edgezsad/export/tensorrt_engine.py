"""Build FP16 TensorRT engines with the `tensorrt` Python package; a kit's scripts build them with `trtexec`.

TensorRT 10.x (JetPack 6.2 has 10.3) takes the FP32 graph and a flag, and rounds by itself. From 11.0 on a network
computes in the types of its graph, so that it takes the FP16 graph.
Not run on a device: the tests check the calls against the interfaces of 10.3 and 11.0.
"""

import contextlib
from pathlib import Path
from types import ModuleType

from edgezsad.errors import CheckError, InputError, RuntimeUnavailable
from edgezsad.export.lint import load_graph, metadata_of
from edgezsad.files import check_may_be_written, write_json, written_beside
from edgezsad.run import Run
from edgezsad.scoring import tensorrt_scorer as trt
from edgezsad.scoring.tensorrt_scorer import TensorRTDevice, graph_precision

WORKSPACE = 1 << 30  # bytes of scratch memory for a layer; an Orin Nano has 8 GB for everything


def build_engines(run: Run) -> None:
    """Build the engines of all seeds of a run for this machine's GPU; does nothing without TensorRT or a GPU."""
    try:
        tensorrt = trt.tensorrt_package()
        device = trt.this_device(tensorrt)
    except RuntimeUnavailable:
        return
    precision = graph_precision(tensorrt.__version__)
    for seed in run.profile.seeds:
        engine = run.engine(seed)
        build_engine(run.onnx(seed, precision), engine, device, tensorrt, engine.with_name("tensorrt-timing.cache"))


def build_engine(
    graph: Path | str,
    engine: Path | str,
    device: TensorRTDevice,
    tensorrt: ModuleType,
    timing_cache: Path | str | None = None,
) -> None:
    """Build an engine and its record; one that fits is kept. With a `timing_cache` it takes seconds, not minutes."""
    graph, engine = Path(graph), Path(engine)
    found = metadata_of(load_graph(graph)).get("precision", "fp32")
    wanted = graph_precision(device.tensorrt)
    if found != wanted:
        raise InputError(f"{graph}: an {found} graph; TensorRT {device.tensorrt} takes the {wanted} graph")
    if engine.suffix == ".json":
        raise InputError(f"{engine}: the record takes that name; name the engine .plan")
    check_may_be_written(engine)
    with contextlib.suppress(InputError):
        trt.check_engine(engine, graph, device)
        return
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    network = builder.create_network()
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(graph.read_bytes()):
        errors = [parser.get_error(number).desc() for number in range(parser.num_errors)]
        raise CheckError(f"{graph}: TensorRT cannot parse it ({'; '.join(errors)[:160]}); see `edgezsad lint`")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE)
    if wanted == "fp32":
        config.set_flag(tensorrt.BuilderFlag.FP16)
    if timing_cache is not None:
        # A file of another GPU or version is replaced by an empty cache.
        data = Path(timing_cache).read_bytes() if Path(timing_cache).is_file() else b""
        if not config.set_timing_cache(config.create_timing_cache(data), False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise CheckError(f"{graph}: TensorRT {device.tensorrt} cannot build it; see its log")
    with written_beside(engine) as temporary:
        temporary.write_bytes(plan)
    if timing_cache is not None:
        with written_beside(timing_cache) as temporary:
            temporary.write_bytes(config.get_timing_cache().serialize())
    write_json(engine.with_suffix(".json"), trt.engine_record(engine, graph, device))


def tensorrt_status() -> str:
    """Return whether engines can be built here: "ready: ...", or the reason why not."""
    try:
        device = trt.this_device(trt.tensorrt_package())
    except RuntimeUnavailable as reason:
        return str(reason)
    return f"ready: TensorRT {device.tensorrt} on {device.gpu} ({device.capability})"
