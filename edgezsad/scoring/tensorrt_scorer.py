"""Score images with a TensorRT engine, which runs only on the kind of GPU and the TensorRT version that built it.

It has not run on a device: the tests use a stand-in for the `tensorrt` package.
"""

import importlib
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np

from edgezsad.errors import CheckError, InputError, RuntimeUnavailable
from edgezsad.files import read_json, sha256_of_file, versions
from edgezsad.scoring.onnx_scorer import as_tensor, read_metadata

REMEDY = "build it again with `edgezsad export tensorrt`"
MEMORY, WARMUP = "cuda", 10


@dataclass(frozen=True)
class TensorRTDevice:
    """What an engine is tied to, for instance "Orin", "8.7" (compute capability) and "10.3.0"."""

    gpu: str
    capability: str
    tensorrt: str


def graph_precision(version: str) -> Literal["fp32", "fp16"]:
    """Return the precision of the graph that an FP16 engine is built from; from 11.0 on its types are kept."""
    return "fp32" if int(version.split(".")[0]) < 11 else "fp16"


def installed_graph_precision() -> Literal["fp32", "fp16"]:
    """Return the precision of the graph that the installed TensorRT takes; "fp32" without TensorRT."""
    try:
        return graph_precision(tensorrt_package().__version__)
    except RuntimeUnavailable:
        return "fp32"


def tensorrt_package() -> ModuleType:
    """Import the `tensorrt` package; `RuntimeUnavailable` if it is missing or older than 10.0."""
    try:
        found = importlib.import_module("tensorrt")
    except ImportError:
        remedy = "on a Jetson it comes with JetPack; else pip install 'edgezsad[tensorrt]'"
        raise RuntimeUnavailable(f"needs a device: an NVIDIA GPU with TensorRT ({remedy})") from None
    if int(found.__version__.split(".")[0]) < 10:
        raise RuntimeUnavailable(f"TensorRT {found.__version__} is older than 10.0; JetPack 6.2 has 10.3")
    return found


def this_device(tensorrt: ModuleType) -> TensorRTDevice:
    """Return the GPU that PyTorch sees and the TensorRT version; `RuntimeUnavailable` without a GPU."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeUnavailable("needs a device: PyTorch sees no NVIDIA GPU here")
    major, minor = torch.cuda.get_device_capability()
    return TensorRTDevice(torch.cuda.get_device_name(), f"{major}.{minor}", tensorrt.__version__)


def engine_record(engine: Path | str, graph: Path | str, device: TensorRTDevice) -> dict[str, str]:
    """Return the record of an engine, stored next to it as NAME.json: its hash, its graph's, its device."""
    return {"model_sha256": sha256_of_file(graph), "engine_sha256": sha256_of_file(engine), **asdict(device)}


def check_engine(engine: Path | str, graph: Path | str, device: TensorRTDevice) -> None:
    """Check by its record that an engine fits `graph` and `device`; InputError if missing, changed or of others."""
    engine, path = Path(engine), Path(engine).with_suffix(".json")
    found = read_json(path, REMEDY)
    if not engine.is_file():
        raise InputError(f"{engine}: missing; {REMEDY}")
    for name, expected in engine_record(engine, graph, device).items():
        if found.get(name) != expected:
            raise InputError(f"{path}: {name} is {found.get(name)}, expected {expected}; {REMEDY}")


class TensorRTScorer:
    """An engine on this machine's GPU (see `Scorer`); `milliseconds` is the GPU's time for the last image."""

    runtime = "tensorrt-fp16"
    precision = "fp16"
    timed = True
    timing_method = (
        f"CUDA events around the network, batch 1, transfers excluded, {WARMUP} warm-up runs; "
        "power mode and clocks are not in this record"
    )

    def __init__(self, engine: Path | str, graph: Path | str, tensorrt: ModuleType, device: TensorRTDevice):
        """Load an engine built from `graph` and run it a few times, so that no timed run does first-time work."""
        import torch

        check_engine(engine, graph, device)
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.WARNING))
        loaded = runtime.deserialize_cuda_engine(Path(engine).read_bytes())
        if loaded is None:
            raise CheckError(f"{engine}: TensorRT {device.tensorrt} does not load it; {REMEDY}")
        self._path, self._torch = engine, torch
        self._context = loaded.create_execution_context()
        # On the default stream TensorRT would wait for all other work.
        self._stream = torch.cuda.Stream()
        shapes = {name: tuple(loaded.get_tensor_shape(name)) for name in ("image", "score", "map")}
        self._tensors = {name: torch.empty(shape, device=MEMORY) for name, shape in shapes.items()}
        for name, tensor in self._tensors.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        self.size = int(self._tensors["image"].shape[2])
        self.detector_sha256 = read_metadata(graph).get("model_sha256", "")
        self.device = f"{device.gpu}, compute capability {device.capability}, TensorRT {device.tensorrt}"
        self.versions = versions("torch") | {"tensorrt": device.tensorrt}
        for _ in range(WARMUP):
            self.score(np.zeros((self.size, self.size, 3), dtype=np.uint8))

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Score one image (see `Scorer.score`)."""
        cuda = self._torch.cuda
        self._tensors["image"].copy_(self._torch.from_numpy(as_tensor(image, self.size)))
        cuda.synchronize()
        start, end = (cuda.Event(enable_timing=True) for _ in range(2))
        start.record(self._stream)
        done = self._context.execute_async_v3(self._stream.cuda_stream)
        end.record(self._stream)
        end.synchronize()
        if not done:
            raise CheckError(f"{self._path}: TensorRT does not run it; see its log")
        self.milliseconds = float(start.elapsed_time(end))
        score, anomaly_map = (self._tensors[name].cpu().numpy() for name in ("score", "map"))
        return float(score[0]), anomaly_map[0, 0]
