"""The exported graph computes what PyTorch computes, and a failed export leaves the old file."""

import itertools
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from timm.models.tiny_vit import Attention
from torch import nn

from edgezsad.config import Model
from edgezsad.errors import CheckError
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.lint import check_lint
from edgezsad.export.onnx_export import compact_biases, export_onnx, merged_axes
from edgezsad.model.detector import DetectorModule, build_detector
from edgezsad.scoring.onnx_scorer import read_metadata

SIZE = 96


def run(path: Path, image: np.ndarray) -> list[np.ndarray]:
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": image})


def pixels(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 3, size, size)).astype(np.float32)


def test_parity_with_pytorch(detector: DetectorModule, exported: Path) -> None:
    for seed in range(2):
        image = pixels(SIZE, seed)
        with torch.inference_mode():
            score, anomaly_map = detector(torch.from_numpy(image))
        got_score, got_map = run(exported, image)
        assert got_score.shape == (1,) and got_map.shape == tuple(anomaly_map.shape) == (1, 1, SIZE // 8, SIZE // 8)
        np.testing.assert_allclose(got_score, score, atol=1e-4)
        np.testing.assert_allclose(got_map, anomaly_map, atol=1e-3)


def test_metadata_and_form(exported: Path) -> None:
    metadata = read_metadata(exported)
    assert len(metadata) == 5 and (metadata["profile"], metadata["é"]) == ("mini", "ü")
    model = onnx.load(exported)
    assert [item.name for item in model.graph.input] == ["image"]
    assert [item.name for item in model.graph.output] == ["score", "map"]


def test_no_path_of_this_machine(exported: Path) -> None:
    model = onnx.load(exported)
    del model.graph.initializer[:]
    text = str(model)
    assert "site-packages" not in text and ".py" not in text and "stack_trace" not in text


def test_quiet_and_equal_bytes(
    detector: DetectorModule, exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    metadata = dict(reversed(read_metadata(exported).items()))
    again = export_onnx(detector, tmp_path / "again.onnx", SIZE, metadata)
    assert again.read_bytes() == exported.read_bytes()
    out = capfd.readouterr()
    assert out.out == "" and out.err == ""


class Small(nn.Module):
    """The least that has the detector's form."""

    def __init__(self, control_flow: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, stride=4, padding=1)
        self.control_flow = control_flow

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        anomaly_map = self.conv(image / 255)
        if self.control_flow and anomaly_map.sum().item() > 0:
            anomaly_map = -anomaly_map
        score = anomaly_map.mean(dim=(1, 2, 3))
        return score, anomaly_map


@pytest.mark.slow
def test_data_dependent_detector_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="cannot export"):
        export_onnx(Small(control_flow=True), tmp_path / "x.onnx", 16)
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.slow
def test_tiny_vit_after_loading_other_weights(tmp_path: Path) -> None:
    """Attention biases cached under the first weights must not reach the graph of the second."""
    size = 224
    torch.manual_seed(1)
    detector = build_detector(Model(backbone="tiny_vit_5m_224", weights="random", size=size, strides=(16, 32)))
    image = torch.from_numpy(pixels(size))
    weights = {
        name: torch.randn_like(tensor) if name.endswith("attention_biases") else tensor
        for name, tensor in detector.state_dict().items()
    }
    with torch.inference_mode():
        _, before = detector(image)
        detector.load_state_dict(weights)
        _, stale = detector(image)
        path = export_onnx(detector, tmp_path / "vit.onnx", size)
        # The caller's own detector keeps its cache: only the exported copy was emptied.
        assert torch.equal(detector(image)[1], stale) and torch.equal(stale, before)
        fresh = detector.train().eval()(image)[1]
    check_lint(path)
    _, anomaly_map = run(path, image.numpy())
    assert (fresh - before).abs().max() > 1e-3
    np.testing.assert_allclose(anomaly_map, fresh, atol=1e-4)
    # A window has 14 x 14 locations: 196 distances along an axis, 38,416 pairs.
    graph = onnx.load(path).graph
    tables = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT64]
    assert max(int(np.prod(tensor.dims)) for tensor in tables) == 14 * 14
    assert max(len(node.attribute[0].ints) for node in graph.node if node.op_type == "Transpose") == 4
    half = to_fp16(path, tmp_path / "fp16.onnx")
    assert run(half, image.numpy())[1] == pytest.approx(anomaly_map, abs=2e-2)


def test_compact_biases_are_equal_to_the_bit() -> None:
    module = Attention(dim=24, key_dim=8, num_heads=3, resolution=(4, 6))
    module.eval()
    nn.init.normal_(module.attention_biases)
    wanted = module.get_attention_biases(torch.device("cpu"))
    assert torch.equal(compact_biases(module)(torch.device("cpu"))[0], wanted)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 1, 5), (2, 1, 3, 1), (1, 1, 1, 1)])
def test_merged_axes_move_the_same_elements(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape)
    for order in itertools.permutations(range(4)):
        merged, perm = merged_axes(shape, order)
        np.testing.assert_array_equal(x.reshape(merged).transpose(perm).ravel(), x.transpose(order).ravel())
    assert merged_axes((1, 2, 4, 3, 4, 5), (0, 1, 3, 2, 4, 5)) == ((2, 4, 3, 20), (0, 2, 1, 3))
