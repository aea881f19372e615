"""Score images with a TensorRT engine, through the `tensorrt` Python package and PyTorch's CUDA memory and events.

An engine runs only on the kind of GPU and the TensorRT version that built it. The record next to it names both, and an
engine that does not fit is rejected before it is loaded. Not run on a device by us: see `edgezsad.export`.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from edgezsad.errors import CheckError, InputError, RuntimeUnavailable
from edgezsad.files import read_json, sha256_of_file, versions
from edgezsad.scoring.onnx_scorer import as_tensor

REMEDY = "build it again with `edgezsad export tensorrt`"
SHAPES = {"image": 4, "score": 1, "map": 4}
WARMUP = 10
FIRST_STRONGLY_TYPED = (11, 0)
"""From this TensorRT version on a network computes in the types of its graph, and `--fp16` is rejected."""


@dataclass(frozen=True)
class TensorRTDevice:
    """What an engine is tied to.

    Attributes:
        gpu: name of the GPU, for instance "Orin".
        capability: compute capability, for instance "8.7".
        tensorrt: version, for instance "10.3.0".
    """

    gpu: str
    capability: str
    tensorrt: str


class EngineRecord(BaseModel):
    """How an engine was built; stored next to it as NAME.json. Hashes are of the ONNX file, its weights, the engine."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    model_sha256: str
    detector_sha256: str
    engine_sha256: str
    precision: Literal["fp16"] = "fp16"
    gpu: str
    capability: str
    tensorrt: str
    command: str
    versions: dict[str, str]


def tensorrt_version(text: str) -> tuple[int, int]:
    """Return major and minor version of, for instance, "10.3.0".

    Raises:
        InputError: not a version.
    """
    try:
        major, minor = map(int, text.split(".")[:2])
    except ValueError:
        raise InputError(f"TensorRT {text!r}: not a version; reinstall TensorRT") from None
    return major, minor


def graph_precision(version: tuple[int, int]) -> Literal["fp32", "fp16"]:
    """Return the precision of the graph that an FP16 engine is built from."""
    return "fp32" if version < FIRST_STRONGLY_TYPED else "fp16"


def tensorrt_package() -> ModuleType:
    """Import the `tensorrt` package.

    Raises:
        RuntimeUnavailable: not installed, or older than 10.0.
    """
    try:
        found = importlib.import_module("tensorrt")
    except ImportError:
        raise RuntimeUnavailable(
            "needs a device: an NVIDIA GPU with TensorRT (on a Jetson it comes with JetPack; else pip install "
            "'edgezsad[tensorrt]')"
        ) from None
    if tensorrt_version(found.__version__) < (10, 0):
        raise RuntimeUnavailable(f"TensorRT {found.__version__} is older than 10.0; JetPack 6.2 has 10.3")
    return found


def installed_graph_precision() -> Literal["fp32", "fp16"]:
    """Return the precision of the graph that the installed TensorRT takes; "fp32" without TensorRT."""
    try:
        return graph_precision(tensorrt_version(tensorrt_package().__version__))
    except RuntimeUnavailable:
        return "fp32"


def this_device(tensorrt: ModuleType) -> TensorRTDevice:
    """Return the GPU that PyTorch sees and the TensorRT version.

    Raises:
        RuntimeUnavailable: no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise RuntimeUnavailable("needs a device: PyTorch sees no NVIDIA GPU here")
    major, minor = torch.cuda.get_device_capability()
    return TensorRTDevice(torch.cuda.get_device_name(), f"{major}.{minor}", tensorrt.__version__)


def engine_record_path(engine: Path | str) -> Path:
    """Return the path of an engine's record."""
    return Path(engine).with_suffix(".json")


def read_engine_record(engine: Path | str, device: TensorRTDevice, graph: Path | str | None = None) -> EngineRecord:
    """Read the record of an engine and check that the engine fits this device.

    Args:
        engine: the engine.
        device: what it is to run on.
        graph: the ONNX file that it must be built from, if known.

    Raises:
        InputError: engine or record is missing or damaged, or built for another GPU, TensorRT version or graph.
    """
    engine, path = Path(engine), engine_record_path(engine)
    raw = read_json(path, REMEDY)
    try:
        record = EngineRecord.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: not the record of an engine ({error.error_count()} errors); {REMEDY}") from None
    if not engine.is_file():
        raise InputError(f"{engine}: missing; {REMEDY}")
    if sha256_of_file(engine) != record.engine_sha256:
        raise InputError(f"{engine}: changed since {path.name} was written; {REMEDY}")
    built = TensorRTDevice(record.gpu, record.capability, record.tensorrt)
    if built != device:
        raise InputError(f"{engine}: built for {built}, this is {device}; {REMEDY}")
    if graph is not None and sha256_of_file(graph) != record.model_sha256:
        raise InputError(f"{engine}: built from another graph than {graph}; {REMEDY}")
    return record


class TensorRTScorer:
    """An engine on this machine's GPU (see `Scorer`); `milliseconds` is the GPU's time for the last image."""

    runtime = "tensorrt-fp16"
    precision = "fp16"
    timed = True

    def __init__(
        self,
        engine: Path | str,
        graph: Path | str | None = None,
        tensorrt: ModuleType | None = None,
        device: TensorRTDevice | None = None,
        memory: str = "cuda",
    ):
        """Load an engine and run it a few times, so that no timed run does first-time work.

        Args:
            engine: the engine; its record is next to it.
            graph: the ONNX file that it must be built from, if known.
            tensorrt: the package; the installed one by default.
            device: this machine's by default.
            memory: PyTorch device of inputs and outputs; "cpu" for a stand-in package that computes on the host.

        Raises:
            InputError: the engine is missing, damaged, or for another GPU, TensorRT version or graph.
            CheckError: TensorRT does not load it.
            RuntimeUnavailable: no TensorRT or no GPU.
        """
        import torch

        tensorrt = tensorrt or tensorrt_package()
        device = device or this_device(tensorrt)
        record = read_engine_record(engine, device, graph)
        self._path, self._torch = engine, torch
        # On the default stream TensorRT would wait for all other work.
        self._stream = torch.cuda.Stream() if memory == "cuda" else None
        self._runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(Path(engine).read_bytes())
        if self._engine is None:
            raise CheckError(f"{engine}: TensorRT {device.tensorrt} does not load it; {REMEDY}")
        self._context = self._engine.create_execution_context()
        self._tensors = self._bind(tensorrt, memory)
        self.size = int(self._tensors["image"].shape[2])
        self.detector_sha256 = record.detector_sha256
        self.device = f"{device.gpu}, compute capability {device.capability}, TensorRT {device.tensorrt}"
        self.versions = versions("torch") | {"tensorrt": device.tensorrt}
        self.timing_method = (
            f"CUDA events around the network, batch 1, transfers excluded, {WARMUP} warm-up runs; "
            "power mode and clocks are not in this record"
        )
        self.milliseconds = float("nan")
        for _ in range(WARMUP):
            self.score(np.zeros((self.size, self.size, 3), dtype=np.uint8))

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Score one image (see `Scorer.score`).

        Raises:
            InputError: another shape or dtype.
            CheckError: TensorRT does not run it.
        """
        self._tensors["image"].copy_(self._torch.from_numpy(as_tensor(image, self.size)))
        if not self._execute():
            raise CheckError(f"{self._path}: TensorRT does not run it; see its log")
        score, anomaly_map = (self._tensors[name].cpu().numpy().copy() for name in ("score", "map"))
        return float(score[0]), anomaly_map[0, 0]

    def _execute(self) -> bool:
        if self._stream is None:
            return self._context.execute_async_v3(0)
        self._torch.cuda.synchronize()
        start, end = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record(self._stream)
        done = self._context.execute_async_v3(self._stream.cuda_stream)
        end.record(self._stream)
        end.synchronize()
        self.milliseconds = float(start.elapsed_time(end))
        return done

    def _bind(self, tensorrt: ModuleType, memory: str) -> dict[str, Any]:
        """Allocate memory for every input and output of the engine."""
        engine = self._engine
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        shapes = {name: tuple(engine.get_tensor_shape(name)) for name in names}
        inputs = [name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
        fits = {name: len(shape) for name, shape in shapes.items()} == SHAPES and inputs == ["image"]
        if not fits or any(engine.get_tensor_dtype(name) != tensorrt.DataType.FLOAT for name in names):
            raise InputError(f"{self._path}: tensors are {shapes}, expected image, score, map in FP32; {REMEDY}")
        tensors = {name: self._torch.empty(shape, device=memory) for name, shape in shapes.items()}
        for name, tensor in tensors.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        return tensors
