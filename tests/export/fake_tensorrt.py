"""A stand-in for the `tensorrt` package that takes only what the real one takes, in the version that is asked for.

The calls and their arguments are those of TensorRT's Python API reference for 10.3 and 11.0: in 11.0 there is no
BuilderFlag.FP16 and networks are strongly typed. Engines are the ONNX file behind a header; they compute by ONNX
Runtime, reading and writing the addresses that they are given.
"""

import ctypes
import enum
import types
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

PLAN = b"plan"


def fake(version: str = "10.3.0") -> types.ModuleType:
    """The module of one version."""
    module = types.ModuleType("tensorrt")
    module.__version__ = version
    typed = int(version.split(".")[0]) >= 11
    flags = {"TF32": 1, "GPU_FALLBACK": 2} | ({} if typed else {"FP16": 3, "INT8": 4})
    module.BuilderFlag = enum.Enum("BuilderFlag", flags)
    module.TensorIOMode = enum.Enum("TensorIOMode", {"NONE": 0, "INPUT": 1, "OUTPUT": 2})
    module.DataType = enum.Enum("DataType", {"FLOAT": 1, "HALF": 2})

    class Logger:
        WARNING = 2

        def __init__(self, min_severity: int) -> None:
            assert min_severity == Logger.WARNING

    class Network:
        data: bytes | None = None

    class Config:
        def __init__(self) -> None:
            self.flags: set[enum.Enum] = set()

        def set_flag(self, flag: enum.Enum) -> None:
            assert isinstance(flag, module.BuilderFlag)
            self.flags.add(flag)

    class Builder:
        built: ClassVar[list[Config]] = []

        def __init__(self, logger: Logger) -> None:
            assert isinstance(logger, Logger)

        def create_network(self, flags: int = 0) -> Network:
            assert flags == 0
            return Network()

        def create_builder_config(self) -> Config:
            return Config()

        def build_serialized_network(self, network: Network, config: Config) -> memoryview | None:
            assert network.data is not None
            half = any(
                t.data_type == TensorProto.FLOAT16 for t in onnx.load_from_string(network.data).graph.initializer
            )
            if half != typed:
                return None
            Builder.built.append(config)
            # IHostMemory: a buffer, not bytes.
            return memoryview(PLAN + network.data)

    class ParserError:
        def desc(self) -> str:
            return "no importer for Foo"

    class OnnxParser:
        num_errors = 0

        def __init__(self, network: Network, logger: Logger) -> None:
            assert isinstance(network, Network) and isinstance(logger, Logger)
            self._network = network

        def parse(self, model: bytes) -> bool:
            if any(node.op_type == "Foo" for node in onnx.load_from_string(model).graph.node):
                self.num_errors = 1
                return False
            self._network.data = model
            return True

        def get_error(self, index: int) -> ParserError:
            assert index < self.num_errors
            return ParserError()

    class Context:
        def __init__(self, session: ort.InferenceSession) -> None:
            self._session, self._addresses = session, {}

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert isinstance(stream_handle, int)
            (source,) = self._session.get_inputs()
            size = int(np.prod(source.shape))
            data = (ctypes.c_float * size).from_address(self._addresses[source.name])
            names = [item.name for item in self._session.get_outputs()]
            results = self._session.run(names, {source.name: np.array(data, np.float32).reshape(source.shape)})
            for name, result in zip(names, results, strict=True):
                ctypes.memmove(self._addresses[name], np.ascontiguousarray(result).ctypes.data, result.nbytes)
            return True

    class Engine:
        def __init__(self, model: bytes) -> None:
            self._session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
            self._inputs = {item.name: item for item in self._session.get_inputs()}
            self._ends = self._inputs | {item.name: item for item in self._session.get_outputs()}
            self.num_io_tensors = len(self._ends)

        def get_tensor_name(self, index: int) -> str:
            return list(self._ends)[index]

        def get_tensor_mode(self, name: str) -> enum.Enum:
            return module.TensorIOMode.INPUT if name in self._inputs else module.TensorIOMode.OUTPUT

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(self._ends[name].shape)

        def get_tensor_dtype(self, name: str) -> enum.Enum:
            return module.DataType.FLOAT

        def create_execution_context(self) -> Context:
            return Context(self._session)

    class Runtime:
        def __init__(self, logger: Logger) -> None:
            assert isinstance(logger, Logger)

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
            if not serialized_engine.startswith(PLAN):
                return None
            return Engine(serialized_engine[len(PLAN) :])

    def init_libnvinfer_plugins(logger: Logger, namespace: str) -> bool:
        assert isinstance(logger, Logger) and namespace == ""
        return True

    module.init_libnvinfer_plugins = init_libnvinfer_plugins
    for item in (Logger, Builder, OnnxParser, Runtime):
        setattr(module, item.__name__, item)
    return module
