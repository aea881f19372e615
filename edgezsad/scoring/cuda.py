"""The little that an engine needs of CUDA, by PyTorch: memory, a stream, and a clock on the GPU."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


class Cuda:
    """The current GPU with a stream of its own: on the default one TensorRT would wait for everything else."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        """Float32 memory on the GPU."""
        return torch.empty(shape, dtype=torch.float32, device="cuda")

    def write(self, tensor: Tensor, values: np.ndarray) -> None:
        """Copy `values` to the GPU and wait for it."""
        tensor.copy_(torch.from_numpy(values))
        torch.cuda.synchronize()

    def read(self, tensor: Tensor) -> np.ndarray:
        """A copy of a tensor on the host."""
        return tensor.cpu().numpy().copy()

    def timed(self, work: Callable[[int], object]) -> float:
        """Milliseconds that the GPU takes for `work`, which is given the stream's handle and only enqueues."""
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record(self._stream)
        work(self._stream.cuda_stream)
        end.record(self._stream)
        end.synchronize()
        return float(start.elapsed_time(end))
