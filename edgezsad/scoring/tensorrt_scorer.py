"""Scores by a TensorRT engine, through the Python package.

Memory and clocks are PyTorch's (`torch.cuda`): this package needs PyTorch anyway, whereas cuda-python or pycuda would
be one more library that has to match the board's CUDA. Not run by us: see `edgezsad.export.tensorrt`.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgezsad.errors import CheckError, InputError
from edgezsad.export.engine import REMEDY, Board, read_engine
from edgezsad.export.tensorrt import build_engine, package, this_board
from edgezsad.files import versions
from edgezsad.scoring.cuda import Cuda
from edgezsad.scoring.runtimes import as_tensor

SHAPES = {"image": 4, "score": 1, "map": 4}
WARMUP = 10


def tensorrt_scorers(graphs: list[Path], engines: list[Path]) -> "list[TensorRTScorer]":
    """One scorer for each graph; engines that do not fit are built first.

    Raises:
        RuntimeUnavailable: no TensorRT or no GPU here.
    """
    tensorrt = package()
    board = this_board(tensorrt)
    cache = engines[0].with_name("tensorrt-timing.cache")
    for graph, engine in zip(graphs, engines, strict=True):
        build_engine(graph, engine, board, tensorrt, cache)
    pairs = zip(graphs, engines, strict=True)
    return [TensorRTScorer(engine, graph, tensorrt, board) for graph, engine in pairs]


class TensorRTScorer:
    """An engine as a scorer.

    Attributes:
        runtime, precision, device, versions, timing_method: what the run record says.
        size: input height and width in pixels.
        milliseconds: of the last image: the GPU's time between two events around the network.
    """

    runtime = "tensorrt-fp16"
    precision = "fp16"
    timed = True

    def __init__(
        self,
        engine: Path | str,
        graph: Path | str | None = None,
        tensorrt: ModuleType | None = None,
        board: Board | None = None,
        cuda: Cuda | None = None,
    ):
        """Load an engine and run it a few times, so that no timed run pays for first-time work.

        Args:
            engine: the plan, its record beside it.
            graph: the ONNX file that it should be of.
            tensorrt: the package, unless given the one that is installed.
            board: this machine's, unless given.
            cuda: memory and clock of this machine's GPU, unless given.

        Raises:
            InputError: the engine is missing, damaged, or for another GPU, TensorRT or model.
            CheckError: TensorRT does not load it.
            RuntimeUnavailable: no TensorRT or no GPU here.
        """
        tensorrt = tensorrt or package()
        board = board or this_board(tensorrt)
        record = read_engine(engine, board, graph)
        self._cuda = cuda or Cuda()
        self._runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(Path(engine).read_bytes())
        if self._engine is None:
            raise CheckError(f"{engine}: TensorRT {board.tensorrt} does not load it; {REMEDY}")
        self._context = self._engine.create_execution_context()
        self._tensors = self._bind(tensorrt, engine)
        self.size = int(self._tensors["image"].shape[2])
        self.detector_sha256 = record.detector_sha256
        self.device = f"{board.gpu}, compute capability {board.capability}, TensorRT {board.tensorrt}"
        self.versions = versions("torch") | {"tensorrt": board.tensorrt}
        self.timing_method = (
            f"CUDA events around the network, batch 1, transfers left out, {WARMUP} warm-up runs; "
            "power mode and clocks are not in this record"
        )
        self._engine_path = engine
        self.milliseconds = float("nan")
        for _ in range(WARMUP):
            self.score(np.zeros((self.size, self.size, 3), dtype=np.uint8))

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Score one prepared image.

        Args:
            image: (S, S, 3) uint8 RGB, S the engine's input size.

        Returns:
            The score and the (h, w) float32 map, raw logits.

        Raises:
            InputError: another shape or type.
            CheckError: TensorRT does not run it.
        """
        self._cuda.write(self._tensors["image"], as_tensor(image, self.size))
        done: list[bool] = []
        self.milliseconds = self._cuda.timed(lambda stream: done.append(self._context.execute_async_v3(stream)))
        if not all(done):
            raise CheckError(f"{self._engine_path}: TensorRT does not run it; its log says why")
        score, anomaly_map = (self._cuda.read(self._tensors[name]) for name in ("score", "map"))
        return float(score[0]), anomaly_map[0, 0]

    def _bind(self, tensorrt: ModuleType, path: Path | str) -> dict[str, Any]:
        """Give every input and output of the engine memory on the GPU."""
        engine = self._engine
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        shapes = {name: tuple(engine.get_tensor_shape(name)) for name in names}
        inputs = [name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
        fits = {name: len(shape) for name, shape in shapes.items()} == SHAPES and inputs == ["image"]
        if not fits or any(engine.get_tensor_dtype(name) != tensorrt.DataType.FLOAT for name in names):
            raise InputError(f"{path}: takes and gives {shapes}, not image, score, map in FP32; {REMEDY}")
        tensors = {name: self._cuda.empty(shape) for name, shape in shapes.items()}
        for name, tensor in tensors.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        return tensors
