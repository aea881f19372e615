"""The ONNX and QNN scorers: scores, records, rejected input, and a silent CPU fallback that is detected."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from edgezsad.errors import CheckError, InputError, RuntimeUnavailable
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.int8 import to_int8
from edgezsad.export.onnx_export import export_onnx
from edgezsad.scoring import qnn_scorer
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.qnn_scorer import EMULATOR, QnnHtpScorer, QnnLibrary

SIZE = 32


class Small(nn.Module):
    """A detector's form with two convolutions."""

    def __init__(self, last: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        self.features, self.readout, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 1), last

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        anomaly_map = nn.functional.pixel_shuffle(self.readout(self.features((image - 127.5) / 58).relu()), 2)
        return self.last(anomaly_map.mean(dim=(1, 2, 3))), anomaly_map


def image() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> Small:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(scope="module")
def full(network: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(network, tmp_path_factory.mktemp("graphs") / "full.onnx", SIZE)


@pytest.fixture(scope="module")
def half(full: Path) -> Path:
    return to_fp16(full, full.with_name("half.onnx"))


@pytest.fixture(scope="module")
def quarter(full: Path) -> Path:
    return to_int8(full, full.with_name("quarter.onnx"), [image(), 255 - image()])


@pytest.fixture(scope="module")
def emulator() -> str:
    try:
        return EMULATOR.start()
    except RuntimeUnavailable as reason:
        pytest.skip(f"not run: {reason}")


def expected(network: Small) -> tuple[float, np.ndarray]:
    with torch.inference_mode():
        score, anomaly_map = network(torch.from_numpy(image()).permute(2, 0, 1)[None].float())
    return score.item(), anomaly_map[0, 0].numpy()


def test_onnx_scores(network: Small, full: Path, half: Path, quarter: Path) -> None:
    score, anomaly_map = expected(network)
    scorer = OnnxScorer(full)
    got, got_map = scorer.score(image())
    assert isinstance(got, float) and got_map.shape == (SIZE, SIZE) and got_map.dtype == np.float32
    assert got == pytest.approx(score, abs=1e-5)
    np.testing.assert_allclose(got_map, anomaly_map, atol=1e-5)
    assert (scorer.runtime, scorer.precision) == ("onnx-fp32", "fp32")
    assert scorer.device.startswith("CPU: ") and scorer.device.endswith("1 thread")

    rounded = OnnxScorer(half, threads=2, precision="fp16")
    assert 0 < np.abs(rounded.score(image())[1] - anomaly_map).max() < 0.01
    assert rounded.runtime == "onnx-fp16" and "2 threads" in rounded.device and "arithmetic" in rounded.device

    coarse = OnnxScorer(quarter, precision="int8")
    assert 0 < np.abs(coarse.score(image())[1] - anomaly_map).max() < 0.05
    assert coarse.runtime == "onnx-int8" and "INT8 weights" in coarse.device


def test_another_precision_is_rejected(full: Path, half: Path, quarter: Path) -> None:
    for path, found in ((full, "fp32"), (half, "fp16"), (quarter, "int8")):
        assert OnnxScorer(path, warm_up=False).precision == found
        for precision in {"fp32", "fp16", "int8"} - {found}:
            with pytest.raises(InputError, match=f"expected an {precision} graph, got {found}"):
                OnnxScorer(path, precision=precision)


def test_emulator_scores(network: Small, full: Path, half: Path, emulator: str, capfd: pytest.CaptureFixture) -> None:
    score, anomaly_map = expected(network)
    scorer = QnnHtpScorer(full)
    got, got_map = scorer.score(image())
    assert got == pytest.approx(score, abs=0.01)
    assert 0 < np.abs(got_map - anomaly_map).max() < 0.01 and got_map.dtype == np.float32
    assert (scorer.runtime, scorer.precision) == ("qnn-htp-fp16", "fp16")
    assert "emulator" in scorer.device
    out = capfd.readouterr()
    assert out.out == "" and out.err == ""


def test_fallback_is_caught_without_the_option(full: Path, emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that runs on the CPU, as if fallback were allowed."""

    def on_cpu(graph: str, *_: object, **__: object) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(QnnLibrary, "start", lambda library: emulator)
    monkeypatch.setattr(qnn_scorer, "open_session", on_cpu)
    with pytest.raises(CheckError, match=r"not all of the graph runs on the HTP emulator .*CPUExecutionProvider"):
        QnnHtpScorer(full)


def test_absent_emulator_gives_its_reason(full: Path, monkeypatch: pytest.MonkeyPatch, emulator: str) -> None:
    monkeypatch.setattr(qnn_scorer, "one_node_graph", lambda: b"no graph")
    with pytest.raises(RuntimeUnavailable, match="does not start here"):
        QnnHtpScorer(full)

    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(qnn_scorer.importlib, "import_module", absent)
    with pytest.raises(RuntimeUnavailable, match=r"^onnxruntime-qnn is not installed; pip install .edgezsad\[qnn\].$"):
        QnnHtpScorer(full)
