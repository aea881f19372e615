"""Scores by Qualcomm's HTP emulator, which computes in FP16 as the Hexagon processor does, on a Linux x86-64 host.

ONNX Runtime quietly hands whatever a provider does not take to its CPU provider, and a whole graph when the provider
cannot start: the numbers then look perfect and mean nothing. Three guards, each enough alone:
the session may not fall back; every node of the session is asked where it runs; and the first image's result must
differ from the CPU provider's, since FP16 cannot agree with FP32 in every bit of a map.
"""

import importlib
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from edgezsad.errors import CheckError
from edgezsad.export.graphfile import one_line, read_metadata
from edgezsad.scoring.runtimes import (
    RuntimeUnavailable,
    as_tensor,
    cpu_name,
    cpu_session,
    input_size,
    native_silence,
    thread_count,
)
from edgezsad.versions import versions

PROVIDER = "QNNExecutionProvider"
# SM8550 and QCS8550 (RB5 Gen2) are SoC model 43, with Hexagon v73.
SETTINGS = {"enable_htp_fp16_precision": "1", "soc_model": "43", "htp_arch": "73"}


class QnnHtpScorer:
    """An exported graph on the HTP emulator.

    Give it the FP16 graph: the emulator takes an FP32 one too, and rounds each of its weights to the nearest number,
    where `edgezsad.export.rounding` keeps what matters of filters.

    Attributes:
        runtime, precision, device, versions, timing_method: what the run record says.
        size: input height and width in pixels.
    """

    runtime = "qnn-htp-fp16"
    precision = "fp16"
    timed = True

    def __init__(self, path: Path | str, threads: int = 1):
        """Open a graph; 0.4 s for EfficientNet-Lite0 at 256 px, 11 s for TinyViT-21M at 512 px.

        Args:
            path: the ONNX file.
            threads: for ONNX Runtime. The emulator itself takes all cores that the process may use.

        Raises:
            InputError: the file is missing, damaged or not ours.
            CheckError: the emulator does not take all of the graph.
            RuntimeUnavailable: the emulator is not installed or does not start.
        """
        self.detector_sha256 = read_metadata(path).get("model_sha256", "")
        backend = start_emulator()
        try:
            self._session = _open(str(path), backend, threads)
        except Exception:
            # It is the fallback's absence that fails a session; see which nodes would have fallen back.
            raise CheckError(
                f"{path}: the HTP emulator does not take {_refused(path, backend)}; replace it in the model"
            ) from None
        check_assignment(_assignment(self._session), path)
        self.size = input_size(self._session, path)
        self.device = f"Hexagon HTP v73 emulator on x86-64 (SM8550/QCS8550 settings); host CPU: {cpu_name()}"
        self.versions = versions("onnxruntime", "onnxruntime-qnn", "onnx")
        self.timing_method = (
            "wall time of the emulator on the host, no warm-up; it says nothing of a device's speed "
            f"(ONNX Runtime: {thread_count(threads)}; emulator: all cores of the process)"
        )
        self._path, self._compared = path, False

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Score one prepared image.

        Args:
            image: (S, S, 3) uint8 RGB, S the graph's input size.

        Returns:
            The score and the (h, w) float32 map, raw logits.

        Raises:
            InputError: another shape or type.
            CheckError: the first image's result is bit for bit the CPU provider's.
        """
        feed = {"image": as_tensor(image, self.size)}
        outputs = self._session.run(["score", "map"], feed)
        if not self._compared:
            check_differs(outputs, cpu_session(self._path, 1).run(["score", "map"], feed), self._path)
            self._compared = True
        return float(outputs[0][0]), outputs[1][0, 0]


def start_emulator() -> str:
    """Register the provider and try it on a graph of one node.

    Returns:
        The emulator's library.

    Raises:
        RuntimeUnavailable: it cannot be used here; the text says why.
    """
    machine = platform.machine().lower()
    if not sys.platform.startswith("linux") or machine not in ("x86_64", "amd64"):
        raise RuntimeUnavailable(f"the HTP emulator needs Linux on x86-64; this is {platform.system()} on {machine}")
    package = _package()
    backend = Path(package.get_qnn_htp_path())
    if not backend.is_file():
        raise RuntimeUnavailable(f"onnxruntime-qnn lacks {backend.name}; pip install --force-reinstall onnxruntime-qnn")
    try:
        with native_silence():
            if not _devices():
                ort.register_execution_provider_library(PROVIDER, package.get_library_path())
            _open(_probe(), str(backend), 1)
    except RuntimeUnavailable:
        raise
    # ONNX Runtime's exceptions have no common base but Exception.
    except Exception as error:
        raise RuntimeUnavailable(f"the HTP emulator does not start here ({one_line(error)})") from None
    return str(backend)


def check_assignment(nodes: Iterable[tuple[str, str]], path: Path | str) -> None:
    """Raise unless every node runs on the QNN provider.

    Args:
        nodes: (provider, operator) of each node of the session.
        path: named in the error.

    Raises:
        CheckError: a node runs elsewhere, or there are none.
    """
    nodes = list(nodes)
    elsewhere = sorted({f"{operator} on {provider}" for provider, operator in nodes if provider != PROVIDER})
    if elsewhere or not nodes:
        what = ", ".join(elsewhere) or "no node on any provider"
        raise CheckError(f"{path}: not all of the graph runs on the HTP emulator ({what}); replace it in the model")


def check_differs(outputs: list[np.ndarray], reference: list[np.ndarray], path: Path | str) -> None:
    """Raise if `outputs` are bit for bit `reference`, the CPU provider's: then the emulator did not compute them.

    Raises:
        CheckError: they are equal.
    """
    if all(np.array_equal(mine, other, equal_nan=True) for mine, other in zip(outputs, reference, strict=True)):
        raise CheckError(
            f"{path}: a drift of exactly 0 from the CPU provider: the HTP emulator did not compute this result; "
            "reinstall onnxruntime-qnn"
        )


def _package() -> ModuleType:
    try:
        return importlib.import_module("onnxruntime_qnn")
    except ImportError:
        raise RuntimeUnavailable("onnxruntime-qnn is not installed; pip install onnxruntime-qnn") from None


def _devices() -> list[ort.OrtEpDevice]:
    return [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]


def _open(graph: str | bytes, backend: str, threads: int, fallback: bool = False) -> ort.InferenceSession:
    devices = _devices()
    if not devices:
        raise RuntimeUnavailable("onnxruntime-qnn offers no device on this machine")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "0" if fallback else "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_provider_for_devices(devices[:1], {"backend_path": backend, **SETTINGS})
    with native_silence():
        return ort.InferenceSession(graph, options)


def _assignment(session: ort.InferenceSession) -> list[tuple[str, str]]:
    """(provider, operator) of each node; `get_providers` would name the QNN provider even where it runs nothing."""
    return [
        (part.ep_name, node.op_type)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]


def _refused(path: Path | str, backend: str) -> str:
    """The operators that the emulator leaves to the CPU; this session is looked at and never run."""
    try:
        nodes = _assignment(_open(str(path), backend, 1, fallback=True))
    except Exception as error:
        return f"this graph ({one_line(error)})"
    return ", ".join(sorted({operator for provider, operator in nodes if provider != PROVIDER})) or "this graph"


def _probe() -> bytes:
    """A graph of one Relu."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 4, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    # The newest IR that ONNX writes can be ahead of what ONNX Runtime reads.
    model.ir_version = 10
    return model.SerializeToString()
