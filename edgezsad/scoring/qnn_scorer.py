"""Score images with Qualcomm's HTP emulator (FP16, as on the Hexagon processor) on a Linux x86-64 host.

ONNX Runtime may silently run nodes on its CPU provider, with a drift of zero: so every node's provider is checked.
"""

import importlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from edgezsad.errors import CheckError, RuntimeUnavailable, one_line
from edgezsad.files import versions
from edgezsad.scoring.onnx_scorer import SessionScorer, cpu_name, cpu_session

PROVIDER = "QNNExecutionProvider"


@dataclass(frozen=True)
class QnnLibrary:
    """A backend library of onnxruntime-qnn: its name in messages, its file name and its provider options."""

    name: str
    file: str
    settings: dict[str, str]

    def start(self) -> str:
        """Register the provider and open a graph of one node; returns the library's path."""
        machine = platform.machine().lower()
        if platform.system() != "Linux" or machine not in ("x86_64", "amd64"):
            raise RuntimeUnavailable(f"the {self.name} needs Linux on x86-64; this is {platform.system()} on {machine}")
        try:
            package = importlib.import_module("onnxruntime_qnn")
        except ImportError:
            raise RuntimeUnavailable("onnxruntime-qnn is not installed; pip install 'edgezsad[qnn]'") from None
        backend = str(Path(package.get_qnn_htp_path()).with_name(self.file))
        try:
            with silence():
                if not _devices():
                    ort.register_execution_provider_library(PROVIDER, package.get_library_path())
                # The IR library always writes a DLC, into the current folder by default.
                with tempfile.TemporaryDirectory(prefix="edgezsad-qnn-") as folder:
                    open_session(one_node_graph(), backend, self.settings | {"dump_qnn_ir_dlc_dir": folder})
        # ONNX Runtime's exceptions share no base class but Exception.
        except Exception as error:
            raise RuntimeUnavailable(f"the {self.name} does not start here ({one_line(error)})") from None
        return backend

    def open(self, path: Path | str, backend: str, disabled: tuple[str, ...] = (), **more: str) -> ort.InferenceSession:
        """Open a graph with `more` settings; a CheckError if the library does not take all of it."""
        try:
            session = open_session(str(path), backend, self.settings | more, disabled=disabled)
        except Exception as error:
            problem = f"the {self.name} does not take all of it ({one_line(error)})"
            raise CheckError(f"{path}: {problem}; see `edgezsad lint`") from None
        nodes = assignment(session)
        elsewhere = sorted({f"{operator} on {provider}" for provider, operator in nodes if provider != PROVIDER})
        if elsewhere or not nodes:
            what = ", ".join(elsewhere) or "no node on any provider"
            raise CheckError(f"{path}: not all of the graph runs on the {self.name} ({what}); replace it in the model")
        return session


# SM8550 and QCS8550 (RB5 Gen2) are SoC model 43, with Hexagon v73.
EMULATOR = QnnLibrary(
    "HTP emulator", "libQnnHtp.so", {"enable_htp_fp16_precision": "1", "soc_model": "43", "htp_arch": "73"}
)


class QnnHtpScorer(SessionScorer):
    """An exported FP16 graph on the HTP emulator (see `Scorer`); of an FP32 graph it would round all layers."""

    runtime = "qnn-htp-fp16"
    precision = "fp16"

    def __init__(self, path: Path | str):
        """Open a graph; a graph that the emulator does not take as a whole is a `CheckError`."""
        cpu_session(path, 1, optimise=False)
        backend = EMULATOR.start()
        super().__init__(EMULATOR.open(path, backend), path)
        self.device = f"Hexagon HTP v73 emulator on x86-64 (SM8550/QCS8550 settings); host CPU: {cpu_name()}"
        self.versions = versions("onnxruntime", "onnxruntime-qnn")
        self.timing_method = (
            "wall time of the emulator on the host, no warm-up; unrelated to a device's speed "
            "(ONNX Runtime: 1 thread; emulator: all cores of the process)"
        )


def open_session(
    graph: str | bytes,
    backend: str,
    settings: dict[str, str],
    disabled: tuple[str, ...] = (),
) -> ort.InferenceSession:
    """Open a graph on a QNN library alone, without the CPU provider; `disabled` names optimisers."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_provider_for_devices(_devices()[:1], {"backend_path": backend, **settings})
    with silence():
        return ort.InferenceSession(graph, options, **({"disabled_optimizers": list(disabled)} if disabled else {}))


def assignment(session: ort.InferenceSession) -> list[tuple[str, str]]:
    """Return (provider, operator) of each node; `get_providers` names the QNN provider even if it runs nothing."""
    parts = session.get_provider_graph_assignment_info()
    return [(part.ep_name, node.op_type) for part in parts for node in part.get_nodes()]


def qairt_version() -> str:
    """Return the version of Qualcomm's SDK in onnxruntime-qnn, which a board's must reach to read a DLC, or ""."""
    return getattr(importlib.import_module("onnxruntime_qnn.build_and_package_info"), "qnn_version", "")


def one_node_graph() -> bytes:
    """Return an ONNX file with one Relu."""
    from onnx import parser

    # The newest IR version of onnx can be newer than what ONNX Runtime reads.
    header = '<ir_version: 10, opset_import: ["": 18]> one_node (float[1, 4, 4, 4] x) => (float[1, 4, 4, 4] y)'
    return parser.parse_model(f"{header} {{ y = Relu(x) }}").SerializeToString()


@contextmanager
def silence() -> Iterator[None]:
    """Discard what native libraries write to the process's standard output and error, which are file descriptors."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        for number, descriptor in enumerate(saved, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _devices() -> list[ort.OrtEpDevice]:
    return [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]
