"""Position biases: the same numbers from small tables, in module and file, and only where the order is known."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from timm.models.tiny_vit import Attention

from edgezsad.config import EdgeGLRConfig
from edgezsad.export.attention import compact_biases
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.lint import lint
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import Detector, build_readout
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.torch_scorer import TorchScorer


@pytest.fixture
def attention() -> Attention:
    module = Attention(dim=24, key_dim=8, num_heads=3, resolution=(4, 6))
    module.eval()
    with torch.no_grad():
        module.attention_biases.copy_(torch.randn(3, 24, generator=torch.Generator().manual_seed(0)))
    return module


def test_the_same_biases_to_the_bit(attention: Attention) -> None:
    wanted = attention.get_attention_biases(torch.device("cpu"))
    image = torch.randn(2, 24, 24, generator=torch.Generator().manual_seed(1))
    before = attention(image)
    assert compact_biases(attention) == 1
    found = attention.get_attention_biases(torch.device("cpu"))
    assert torch.equal(found[0], wanted)
    torch.testing.assert_close(attention(image), before)


def test_another_order_of_distances_is_left_alone(attention: Attention) -> None:
    attention.attention_bias_idxs = attention.attention_bias_idxs.flip(0)
    assert compact_biases(attention) == 0
    assert "get_attention_biases" not in vars(attention)


def test_the_timm_of_today_is_known() -> None:
    model = timm.create_model("tiny_vit_21m_512", pretrained=False, features_only=True)
    assert compact_biases(model) == sum(isinstance(module, Attention) for module in model.modules()) == 10


def test_the_file_is_small_and_gives_the_same_scores(tmp_path: Path) -> None:
    backbone = Backbone("tiny_vit_5m_224", "random", (16, 32))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, Attention):
                module.attention_biases.normal_(generator=generator)
    detector = Detector(backbone, build_readout(backbone.channels, backbone.strides, EdgeGLRConfig(), 224), 224)
    path = export_onnx(detector, tmp_path / "graph.onnx", 224)
    # The detector itself is as it was.
    assert not any("get_attention_biases" in vars(module) for module in detector.modules())
    graph = onnx.load(path).graph
    # A window is 14 x 14 places; a table of their pairs would have 38,416 numbers, the distances along an axis are 196.
    tables = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT64]
    assert max(int(np.prod(tensor.dims)) for tensor in tables) == 14 * 14
    assert "GatherND" not in {node.op_type for node in graph.node}
    assert lint(path) == []
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    score, anomaly_map = TorchScorer(detector).score(image)
    half = to_fp16(path, tmp_path / "fp16.onnx")
    for scorer, tolerance in ((OnnxScorer(path), 1e-4), (OnnxScorer(half, precision="fp16"), 2e-2)):
        other, other_map = scorer.score(image)
        assert other == pytest.approx(score, abs=tolerance)
        assert np.abs(other_map - anomaly_map).max() < 5 * tolerance
