"""Scores by Qualcomm's HTP emulator, which computes in FP16 as the Hexagon processor does, on a Linux x86-64 host.

Three guards against results that the CPU provider computed instead (see `edgezsad.scoring.qnn_session`), each enough
alone: the session may not fall back; every node of the session is asked where it runs; and the first image's result
must differ from the CPU provider's, since FP16 cannot agree with FP32 in every bit of a map.
"""

from pathlib import Path

import numpy as np

from edgezsad.errors import CheckError
from edgezsad.files import versions
from edgezsad.scoring.qnn_session import QnnLibrary, assignment, check_assignment, open_session
from edgezsad.scoring.runtimes import as_tensor, cpu_name, cpu_session, input_size, read_metadata, thread_count

# SM8550 and QCS8550 (RB5 Gen2) are SoC model 43, with Hexagon v73.
EMULATOR = QnnLibrary(
    "HTP emulator", "libQnnHtp.so", {"enable_htp_fp16_precision": "1", "soc_model": "43", "htp_arch": "73"}
)


class QnnHtpScorer:
    """An exported graph on the HTP emulator.

    Give it the FP16 graph: it names the layers that stay in FP32, where the emulator would round all of an FP32 graph.

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
        backend = EMULATOR.start()
        try:
            self._session = open_session(str(path), backend, EMULATOR.settings, threads)
        except Exception:
            # It is the fallback's absence that fails a session; see which nodes would have fallen back.
            raise CheckError(
                f"{path}: the HTP emulator does not take {EMULATOR.refused(path, backend)}; replace it in the model"
            ) from None
        check_assignment(assignment(self._session), path)
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
