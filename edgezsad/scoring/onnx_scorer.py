"""Score images with ONNX Runtime on the CPU: FP32, FP16 and INT8 graphs. Needs neither PyTorch nor the onnx package."""

import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort

from edgezsad.errors import CheckError, InputError, one_line
from edgezsad.files import verified, versions
from edgezsad.model import THRESHOLD

RUN_EXPORT = "run notebook 04_export"
MAX_SIZE = 4096  # input height and width of a graph in pixels
MAX_SECONDS, MAX_MEMORY = 120, 1_000_000_000  # of one image by an unknown graph; memory on top of four times its file

# What the device line of a record adds for each precision.
ARITHMETIC = {
    "fp32": "",
    # On x86-64 ONNX Runtime has no FP16 kernels: it casts the weights to FP32 once.
    "fp16": ", FP16 weights, arithmetic in FP32 (no FP16 kernels for this CPU)"
    if platform.machine().lower() in ("x86_64", "amd64")
    else ", FP16 weights, arithmetic in FP16 where the CPU provider has kernels",
    # ONNX Runtime fuses a layer with its QuantizeLinear nodes only where both input and output are INT8.
    "int8": ", INT8 weights and activations; sums in INT32 where input and output are INT8, else in FP32",
}


class SessionScorer:
    """Base of the scorers that run an ONNX Runtime session (see `Scorer`)."""

    timed = True

    def __init__(self, session: ort.InferenceSession, path: Path | str):
        self.session, self.path = session, path
        self.size = input_size(session, path)
        self.metadata = dict(session.get_modelmeta().custom_metadata_map)
        self.detector_sha256 = detector_hash(self.metadata)

    @property
    def threshold(self) -> float | None:
        """The threshold in the graph's metadata; None if it has none."""
        if (text := self.metadata.get(THRESHOLD)) is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{self.path}: invalid threshold {text!a} in the metadata; export the graph again")
        return value

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Score one image (see `Scorer.score`)."""
        tensor = as_tensor(image, self.size)
        try:
            score, anomaly_map = self.session.run(["score", "map"], {"image": tensor})
        # ONNX Runtime's exceptions share no base class but Exception.
        except Exception as error:
            raise InputError(
                f"{self.path}: ONNX Runtime cannot run it ({one_line(error)}); {RUN_EXPORT} again"
            ) from None
        if score.shape != (1,) or anomaly_map.shape[:2] != (1, 1) or anomaly_map.ndim != 4 or not anomaly_map.size:
            raise InputError(f"{self.path}: outputs {score.shape}, {anomaly_map.shape}; expected (1,), (1, 1, h, w)")
        return float(score[0]), anomaly_map[0, 0]


class OnnxScorer(SessionScorer):
    """An exported graph on ONNX Runtime's CPU provider."""

    def __init__(
        self,
        path: Path | str,
        threads: int = 1,
        precision: Literal["fp32", "fp16", "int8"] | None = None,
        warm_up: bool = True,
    ):
        """Open a graph; another `precision` than expected is an `InputError`. `warm_up` runs it once, untimed."""
        super().__init__(cpu_session(path, threads), path)
        self.precision = self.metadata.get("precision", "fp32")
        if self.precision not in ((precision,) if precision else ARITHMETIC):
            raise InputError(f"{path}: expected an {precision or 'fp32'} graph, got {self.precision:.20}; {RUN_EXPORT}")
        self.runtime = f"onnx-{self.precision}"
        count = f"{threads} thread{'' if threads == 1 else 's'}"
        self.device = f"CPU: {cpu_name()}, {count}{ARITHMETIC[self.precision]}"
        self.versions = versions("onnxruntime")
        self.timing_method = f"wall time of one image, batch 1, {count}, after decoding and resizing; one warm-up"
        if warm_up:
            self.score(np.zeros((self.size, self.size, 3), dtype=np.uint8))


def cpu_session(
    path: Path | str, threads: int, optimise: bool = True, data: bytes | None = None
) -> ort.InferenceSession:
    """Open a graph on ONNX Runtime's CPU provider; without `optimise` faster, for a graph that is only inspected.

    `data` are the bytes of the graph if they are not those of the file.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such ONNX file; {RUN_EXPORT} to write it")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Errors are raised as exceptions; the log would repeat them.
    options.log_severity_level = 4
    # Without VNNI, the default INT8 kernels of x86-64 overflow 16 bits; this selects slower ones that do not.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        source = str(verified(path)) if data is None else data
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"], enable_fallback=False)
    except CheckError:
        raise
    # ONNX Runtime's exceptions share no base class but Exception.
    except Exception as error:
        raise InputError(f"{path}: ONNX Runtime cannot read it ({one_line(error)}); {RUN_EXPORT} again") from None


def check_graph(path: Path | str) -> None:
    """Run a graph of unknown origin once in another process; InputError if it crashes or exceeds a limit."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OPENBLAS_NUM_THREADS": "1"}
    # -P: modules in the current folder, which may come with the graph, are not imported.
    command = [sys.executable, "-P", "-m", "edgezsad.scoring.onnx_scorer", os.fspath(path)]
    try:
        done = subprocess.run(command, env=environment, timeout=MAX_SECONDS, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"{path}: no result within {MAX_SECONDS} s; use another graph") from None
    if done.returncode == InputError.exit_code:
        raise InputError(one_line(os.fsdecode(done.stderr), None))
    if done.returncode:
        raise InputError(f"{path}: damaged, or needs too much memory (exit code {done.returncode}); use another graph")


def read_metadata(path: Path | str) -> dict[str, str]:
    """Read the `metadata_props` of an ONNX file."""
    return dict(cpu_session(path, 1, optimise=False).get_modelmeta().custom_metadata_map)


def detector_hash(metadata: dict[str, str]) -> str:
    """Return the hash of a graph's weights; of a part's detector, that of its file, also if it was converted."""
    return metadata.get("sha256") or metadata.get("model_sha256", "")


def input_size(session: ort.InferenceSession, path: Path | str) -> int:
    """Return the input height and width of a graph in pixels; another graph than an exported one is an `InputError`."""
    ends = (*session.get_inputs(), *session.get_outputs())
    names = [item.name for item in ends]
    if names != ["image", "score", "map"] or {item.type for item in ends} != {"tensor(float)"}:
        raise InputError(f"{path}: inputs and outputs are {names}, expected image, score, map in FP32; {RUN_EXPORT}")
    shape = ends[0].shape
    if shape not in [[1, 3, size, size] for size in shape[2:3] if isinstance(size, int) and 0 < size <= MAX_SIZE]:
        raise InputError(f"{path}: input shape {shape}, expected [1, 3, size, size] up to {MAX_SIZE}; {RUN_EXPORT}")
    return shape[2]


def as_tensor(image: np.ndarray, size: int) -> np.ndarray:
    """Convert an image (size, size, 3) uint8 to the graph's input (1, 3, size, size) float32, 0..255."""
    if image.shape != (size, size, 3) or image.dtype != np.uint8:
        raise InputError(f"image: expected ({size}, {size}, 3) uint8, got {image.shape} {image.dtype}; resize it first")
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """Return the processor's model name if the system reports it, else its architecture."""
    if platform.system() == "Linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    import resource

    limit = MAX_MEMORY + 4 * Path(sys.argv[1]).stat().st_size
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        OnnxScorer(sys.argv[1])
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
