"""Stands in for JetPack's tensorrt module and, behind ctypes, for libcudart: a GPU's memory is the host's.

STANDIN_ERROR is added to every output. A call that libcudart does not take fails.
"""

import ctypes
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))
from tests.export.fake_tensorrt import fake


class Cudart:
    """Calls of the CUDA runtime's C interface; each returns 0 or an error's number."""

    def __init__(self):
        self._memory = {}

    def cudaMalloc(self, pointer, size):
        memory = ctypes.create_string_buffer(size.value)
        address = ctypes.addressof(memory)
        self._memory[address] = memory
        pointer._obj.value = address
        return 0

    def cudaStreamCreate(self, stream):
        stream._obj.value = 0x5000
        return 0

    def cudaStreamSynchronize(self, stream):
        return 0 if stream.value == 0x5000 else 400

    def cudaMemcpy(self, target, source, size, kind):
        device = target if kind == 1 else source
        if kind not in (1, 2) or device.value not in self._memory or size.value > len(self._memory[device.value]):
            return 1
        ctypes.memmove(target, source, size.value)
        if kind == 2:
            target[0] += float(os.environ.get("STANDIN_ERROR", "0"))
        return 0


def load(name, _load=ctypes.CDLL):
    if "libcudart" not in name:
        return _load(name)
    if name == "libcudart.so":
        raise OSError("only in the development packages")
    return Cudart()


ctypes.CDLL = load
globals().update(vars(fake(os.environ.get("STANDIN_VERSION", "10.3.0"))))
