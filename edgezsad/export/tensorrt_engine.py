"""Build FP16 TensorRT engines with the `tensorrt` Python package; a kit's scripts build them with `trtexec`.

TensorRT 10.x (JetPack 6.2 has 10.3) takes the FP32 graph and a flag, and rounds by itself. From 11.0 on a network
computes in the types of its graph, so that it takes the FP16 graph.
Not run on a device: the tests check the calls against the interfaces of 10.3 and 11.0.
"""

import importlib
from pathlib import Path
from types import ModuleType

from edgezsad.errors import CheckError, InputError, RuntimeUnavailable
from edgezsad.export.lint import load_graph, metadata_of
from edgezsad.files import check_may_be_written, written_beside


def tensorrt_package() -> ModuleType:
    """Import the `tensorrt` package; `RuntimeUnavailable` if it is missing or older than 10.0, or without a GPU."""
    try:
        found = importlib.import_module("tensorrt")
    except ImportError:
        remedy = "on a Jetson it comes with JetPack; else pip install 'edgezsad[tensorrt]'"
        raise RuntimeUnavailable(f"needs a device: an NVIDIA GPU with TensorRT ({remedy})") from None
    if int(found.__version__.split(".")[0]) < 10:
        raise RuntimeUnavailable(f"TensorRT {found.__version__} is older than 10.0; JetPack 6.2 has 10.3")
    import torch

    if not torch.cuda.is_available():
        raise RuntimeUnavailable("needs a device: PyTorch sees no NVIDIA GPU here")
    return found


def build_engine(graph: Path | str, engine: Path | str, tensorrt: ModuleType) -> None:
    """Build an engine of a graph for this machine's GPU and TensorRT, which are the only ones that run it."""
    graph, engine = Path(graph), Path(engine)
    found, version = metadata_of(load_graph(graph)).get("precision", "fp32"), tensorrt.__version__
    wanted = "fp32" if int(version.split(".")[0]) < 11 else "fp16"
    if found != wanted:
        raise InputError(f"{graph}: an {found} graph; TensorRT {version} takes the {wanted} graph")
    check_may_be_written(engine)
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    network = builder.create_network()
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(graph.read_bytes()):
        errors = [parser.get_error(number).desc() for number in range(parser.num_errors)]
        raise CheckError(f"{graph}: TensorRT cannot parse it ({'; '.join(errors)[:160]}); see `edgezsad lint`")
    config = builder.create_builder_config()
    if wanted == "fp32":
        config.set_flag(tensorrt.BuilderFlag.FP16)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise CheckError(f"{graph}: TensorRT {version} cannot build it; see its log")
    with written_beside(engine) as temporary:
        temporary.write_bytes(plan)
