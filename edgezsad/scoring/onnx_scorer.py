"""Scores by ONNX Runtime on the CPU, from the FP32 graph or its FP16 or INT8 twin."""

import platform
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from edgezsad.errors import InputError
from edgezsad.files import versions
from edgezsad.scoring.runtimes import REMEDY, as_tensor, cpu_name, cpu_session, input_size, thread_count

Precision = Literal["fp32", "fp16", "int8"]


class OnnxScorer:
    """An exported graph as a scorer.

    Attributes:
        runtime, precision, device, versions, timing_method: what the run record says.
        size: input height and width in pixels.
    """

    timed = True

    def __init__(self, path: Path | str, threads: int = 1, precision: Precision = "fp32"):
        """Open a graph and run it once, so that no timed run pays for first-time work.

        Args:
            path: the ONNX file.
            threads: that one image may use.
            precision: what the file is meant to be; a file of another kind is refused.

        Raises:
            InputError: the file is missing, damaged, not ours, or of another precision.
        """
        if precision not in get_args(Precision):
            raise InputError(f"precision {precision!r}: ONNX Runtime scores in fp32, fp16 or int8; choose one of them")
        if threads < 1:
            raise InputError(f"threads {threads}: at least one is needed")
        self._session = cpu_session(path, threads)
        metadata = self._session.get_modelmeta().custom_metadata_map
        found = metadata.get("precision", "fp32")
        if found != precision:
            raise InputError(f"{path}: an {found} graph, asked to run as {precision}; {REMEDY} or name the other file")
        self.detector_sha256 = metadata.get("model_sha256", "")
        self.size = input_size(self._session, path)
        self.precision = precision
        self.runtime = f"onnx-{precision}"
        self.device = f"CPU: {cpu_name()}, {thread_count(threads)}" + _ARITHMETIC[precision]()
        self.versions = versions("onnxruntime")
        self.timing_method = (
            f"wall time of one image, batch 1, {thread_count(threads)}, after decoding and resizing; one warm-up"
        )
        self.score(np.zeros((self.size, self.size, 3), dtype=np.uint8))

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Score one prepared image.

        Args:
            image: (S, S, 3) uint8 RGB, S the graph's input size.

        Returns:
            The score and the (h, w) float32 map, raw logits.

        Raises:
            InputError: another shape or type.
        """
        score, anomaly_map = self._session.run(["score", "map"], {"image": as_tensor(image, self.size)})
        return float(score[0]), anomaly_map[0, 0]


def _fp16_arithmetic() -> str:
    """How ONNX Runtime computes an FP16 graph here.

    On x86-64 its CPU provider has no FP16 kernels: it casts the FP16 weights up once and computes in FP32, so that
    such a run shows the rounding of the weights and not that of the arithmetic.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        return ", FP16 weights, arithmetic in FP32 (no FP16 kernels for this CPU)"
    return ", FP16 weights, arithmetic in FP16 where the CPU provider has kernels"


def _int8_arithmetic() -> str:
    """How ONNX Runtime computes an INT8 graph here (see `cpu_session`).

    It only joins a layer with its QuantizeLinear and DequantizeLinear, and sums in INT32, where both input and output
    are INT8. Where the output stays FP32 it takes the INT8 numbers back to FP32 and multiplies these: such a layer
    shows the rounding to INT8 and not its arithmetic. (Seen in its profile: of TinyViT's graph it joins none.)
    """
    return ", INT8 weights and activations; sums in INT32 where input and output are INT8, else in FP32"


_ARITHMETIC = {"fp32": str, "fp16": _fp16_arithmetic, "int8": _int8_arithmetic}
"""What the device line of a record adds for each precision."""
