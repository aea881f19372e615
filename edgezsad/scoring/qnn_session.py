"""Sessions of ONNX Runtime on Qualcomm's QNN libraries on a Linux x86-64 host, which may not fall back to the CPU.

ONNX Runtime quietly hands whatever a provider does not take to its CPU provider, and a whole graph when the provider
cannot start: the numbers then look perfect and mean nothing. So a session here may not fall back, and every node of it
is asked where it runs.
"""

import importlib
import platform
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import onnxruntime as ort
from onnx import TensorProto, helper

from edgezsad.errors import CheckError, one_line
from edgezsad.scoring.runtimes import RuntimeUnavailable, native_silence

PROVIDER = "QNNExecutionProvider"


@dataclass(frozen=True)
class QnnLibrary:
    """One of the libraries that come with onnxruntime-qnn.

    Attributes:
        name: what it is called in messages.
        file: its file name.
        settings: the provider's options for it.
    """

    name: str
    file: str
    settings: dict[str, str]

    def start(self) -> str:
        """Register the provider and try the library on a graph of one node.

        Returns:
            The library's path.

        Raises:
            RuntimeUnavailable: it cannot be used here; the text says why.
        """
        machine = platform.machine().lower()
        if not sys.platform.startswith("linux") or machine not in ("x86_64", "amd64"):
            raise RuntimeUnavailable(f"the {self.name} needs Linux on x86-64; this is {platform.system()} on {machine}")
        package = _package()
        backend = Path(package.get_qnn_htp_path()).with_name(self.file)
        if not backend.is_file():
            raise RuntimeUnavailable(
                f"onnxruntime-qnn lacks {backend.name}; pip install --force-reinstall onnxruntime-qnn"
            )
        try:
            with native_silence():
                if not _devices():
                    ort.register_execution_provider_library(PROVIDER, package.get_library_path())
                self._try(probe(), str(backend))
        except RuntimeUnavailable:
            raise
        # ONNX Runtime's exceptions have no common base but Exception.
        except Exception as error:
            raise RuntimeUnavailable(f"the {self.name} does not start here ({one_line(error)})") from None
        return str(backend)

    def refused(self, path: Path | str, backend: str) -> str:
        """The operators that the library leaves to the CPU; this session is looked at and never run."""
        try:
            nodes = assignment(self._try(str(path), backend, fallback=True))
        except Exception as error:
            return f"this graph ({one_line(error)})"
        return ", ".join(sorted({operator for provider, operator in nodes if provider != PROVIDER})) or "this graph"

    def _try(self, graph: str | bytes, backend: str, fallback: bool = False) -> ort.InferenceSession:
        """A session that is looked at and never run."""
        # The IR library writes what it takes as a DLC in any case: where the caller stands, unless told a folder.
        with tempfile.TemporaryDirectory(prefix="edgezsad-qnn-") as folder:
            return open_session(graph, backend, self.settings | {"dump_qnn_ir_dlc_dir": folder}, fallback=fallback)


def open_session(
    graph: str | bytes,
    backend: str,
    settings: dict[str, str],
    threads: int = 1,
    fallback: bool = False,
    disabled: tuple[str, ...] = (),
) -> ort.InferenceSession:
    """Open a graph on a QNN library.

    Args:
        graph: an ONNX file's path, or its bytes.
        backend: the library's path.
        settings: the provider's options.
        threads: for ONNX Runtime.
        fallback: whether its CPU provider may take what the library does not.
        disabled: names of ONNX Runtime's own optimisers that are left out.

    Raises:
        RuntimeUnavailable: the provider offers no device.
    """
    devices = _devices()
    if not devices:
        raise RuntimeUnavailable("onnxruntime-qnn offers no device on this machine")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "0" if fallback else "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_provider_for_devices(devices[:1], {"backend_path": backend, **settings})
    more = {"disabled_optimizers": list(disabled)} if disabled else {}
    with native_silence():
        return ort.InferenceSession(graph, options, **more)


def assignment(session: ort.InferenceSession) -> list[tuple[str, str]]:
    """(provider, operator) of each node; `get_providers` would name the QNN provider even where it runs nothing."""
    return [
        (part.ep_name, node.op_type)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]


def partitions(session: ort.InferenceSession) -> int:
    """Into how many parts the graph was cut, each on one provider."""
    return len(session.get_provider_graph_assignment_info())


def check_assignment(nodes: Iterable[tuple[str, str]], path: Path | str, name: str = "HTP emulator") -> None:
    """Raise unless every node runs on the QNN provider.

    Args:
        nodes: (provider, operator) of each node of the session.
        path: named in the error.
        name: of the library, for the error.

    Raises:
        CheckError: a node runs elsewhere, or there are none.
    """
    nodes = list(nodes)
    elsewhere = sorted({f"{operator} on {provider}" for provider, operator in nodes if provider != PROVIDER})
    if elsewhere or not nodes:
        what = ", ".join(elsewhere) or "no node on any provider"
        raise CheckError(f"{path}: not all of the graph runs on the {name} ({what}); replace it in the model")


def probe() -> bytes:
    """A graph of one Relu."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 4, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    # The newest IR that ONNX writes can be ahead of what ONNX Runtime reads.
    model.ir_version = 10
    return model.SerializeToString()


def _package() -> ModuleType:
    try:
        return importlib.import_module("onnxruntime_qnn")
    except ImportError:
        raise RuntimeUnavailable("onnxruntime-qnn is not installed; pip install onnxruntime-qnn") from None


def _devices() -> list[ort.OrtEpDevice]:
    return [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]
