"""What the ONNX runtimes share: the image they take, the graph they accept, and what a missing one says."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edgezsad.errors import EdgeZSADError, InputError, one_line

REMEDY = "run notebook 04_export"
THRESHOLD = "threshold"
"""Metadata key of a graph's threshold: images with this score or a higher one are defective."""


class RuntimeUnavailable(EdgeZSADError):
    """A runtime cannot be used on this machine; the text is the reason, to be printed after "not run: "."""


def cpu_name() -> str:
    """The processor's own name where the system tells it, its architecture otherwise."""
    system = platform.system()
    if system == "Linux":
        try:
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
        except OSError:
            pass
    elif system == "Darwin":
        try:
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass
    return platform.processor() or platform.machine()


def thread_count(threads: int) -> str:
    """For instance "1 thread"."""
    return f"{threads} thread" + ("" if threads == 1 else "s")


def cpu_session(path: Path | str, threads: int, optimise: bool = True) -> ort.InferenceSession:
    """Open a graph on ONNX Runtime's CPU provider.

    Args:
        path: the ONNX file.
        threads: threads that one image may use.
        optimise: False opens faster, for a graph that is inspected and not run.

    Raises:
        InputError: the file is missing or damaged, or ONNX Runtime cannot read the graph.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such ONNX file; {REMEDY} to write it")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Errors come back as exceptions; its log would only say them twice.
    options.log_severity_level = 4
    # x86-64 without VNNI adds pairs of INT8 products in 16 bits, which overflow; this has it take slower kernels that
    # do not. Without effect on other graphs and processors.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's exceptions have no common base but Exception.
    except Exception as error:
        raise InputError(f"{path}: ONNX Runtime cannot read it ({one_line(error)}); {REMEDY} again") from None


def read_metadata(path: Path | str) -> dict[str, str]:
    """Read the `metadata_props` of an ONNX file.

    Raises:
        InputError: as `cpu_session`.
    """
    return dict(cpu_session(path, 1, optimise=False).get_modelmeta().custom_metadata_map)


def input_size(session: ort.InferenceSession, path: Path | str) -> int:
    """The input height and width of a graph that this package exported, in pixels.

    Raises:
        InputError: another graph's inputs and outputs.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = inputs[0].shape if inputs else []
    names = [item.name for item in (*inputs, *outputs)]
    kinds = {item.type for item in (*inputs, *outputs)}
    fits = names == ["image", "score", "map"] and kinds == {"tensor(float)"} and len(shape) == 4
    if not (fits and shape[:2] == [1, 3] and isinstance(shape[2], int) and shape[2] == shape[3]):
        raise InputError(f"{path}: takes and gives {names}, not image, score, map as this package exports; {REMEDY}")
    return int(shape[2])


def as_tensor(image: np.ndarray, size: int) -> np.ndarray:
    """An image (size, size, 3) uint8 as the graph's input (1, 3, size, size) float32, 0..255.

    Raises:
        InputError: another shape or type.
    """
    if image.shape != (size, size, 3) or image.dtype != np.uint8:
        raise InputError(
            f"image {image.shape} {image.dtype}: the graph takes ({size}, {size}, 3) uint8; resize the image first"
        )
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)


@contextmanager
def native_silence() -> Iterator[None]:
    """Send what native libraries write to the process's standard streams nowhere, for a short while.

    It works on file descriptors, for the whole process, because the libraries know nothing of `sys.stdout`.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    saved = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for number, descriptor in zip((1, 2), saved, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(nowhere)
