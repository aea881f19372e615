"""Stands in for JetPack's tensorrt module and, behind ctypes, for libcudart: a GPU's memory is the host's.

The calls and their arguments are those of TensorRT's Python API reference for 10.3 and 11.0. Engines are the ONNX file
behind a header; they compute by ONNX Runtime, reading and writing the addresses that they are given. STANDIN_ERROR is
added to every output. A call that libcudart does not take fails.
"""

import ctypes
import enum
import os

import numpy as np
import onnxruntime as ort

PLAN = b"plan"
__version__ = os.environ.get("STANDIN_VERSION", "10.3.0")
DataType = enum.Enum("DataType", {"FLOAT": 1, "HALF": 2})


class Logger:
    WARNING = 2

    def __init__(self, min_severity):
        assert min_severity == Logger.WARNING


def init_libnvinfer_plugins(logger, namespace):
    assert isinstance(logger, Logger) and namespace == ""
    return True


class Context:
    def __init__(self, session):
        self._session, self._addresses = session, {}

    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        assert isinstance(stream_handle, int)
        (source,) = self._session.get_inputs()
        data = (ctypes.c_float * int(np.prod(source.shape))).from_address(self._addresses[source.name])
        names = [item.name for item in self._session.get_outputs()]
        results = self._session.run(names, {source.name: np.array(data, np.float32).reshape(source.shape)})
        for name, result in zip(names, results, strict=True):
            ctypes.memmove(self._addresses[name], np.ascontiguousarray(result).ctypes.data, result.nbytes)
        return True


class Engine:
    def __init__(self, model):
        self._session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._ends = {item.name: item for item in (*self._session.get_inputs(), *self._session.get_outputs())}

    def get_tensor_shape(self, name):
        return tuple(self._ends[name].shape)

    def get_tensor_dtype(self, name):
        return DataType.FLOAT

    def create_execution_context(self):
        return Context(self._session)


class Runtime:
    def __init__(self, logger):
        assert isinstance(logger, Logger)

    def deserialize_cuda_engine(self, serialized_engine):
        if not serialized_engine.startswith(PLAN):
            return None
        return Engine(serialized_engine[len(PLAN) :])


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
