"""Attention as ONNX Runtime's own operator: the same scores, the file untouched, and only what is understood."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import timm
import torch
from onnx import helper, numpy_helper

from edgezsad.config import Model
from edgezsad.export.host import fuse_attention, host_graph
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model.detector import Detector, build_detector
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.torch_scorer import TorchScorer

SIZE = 224


@pytest.fixture(scope="module")
def network() -> Detector:
    built = build_detector(Model(backbone="tiny_vit_5m_224", weights="random", size=SIZE, strides=(16, 32)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # timm's biases are all zero: any mistake about them would pass.
        for name, parameter in built.named_parameters():
            if name.endswith(("attention_biases", ".bias")):
                parameter.normal_(generator=generator)
        built.readout.gain.fill_(0.3)
    return built


@pytest.fixture(scope="module")
def file(network: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(network, tmp_path_factory.mktemp("host") / "graph.onnx", SIZE)


def test_every_block_is_fused_and_scores_stay(network: Detector, file: Path) -> None:
    before = file.read_bytes()
    model = onnx.load(file)
    assert fuse_attention(model) == 10
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Attention") == 10
    # The readout's own is left, and nothing that made queries, keys and values is.
    assert operators.count("Softmax") == 1 and "Split" not in operators
    assert isinstance(host_graph(file), bytes) and file.read_bytes() == before

    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    score, anomaly_map = TorchScorer(network).score(image)
    for threads in (1, 2):
        found, found_map = OnnxScorer(file, threads=threads).score(image)
        assert found == pytest.approx(score, abs=1e-4)
        np.testing.assert_allclose(found_map, anomaly_map, atol=1e-3)


def test_as_standard_operators_compute_it(file: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, SIZE, SIZE)).astype(np.float32)
    plain, fused = (
        ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"image": pixels})
        for graph in (str(file), host_graph(file))
    )
    for one, other in zip(plain, fused, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


def test_attention_without_biases(tmp_path: Path) -> None:
    """A plain ViT: queries, keys and values cut out by slices, nothing added to the scores."""
    torch.manual_seed(0)
    transformer = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=1).eval()

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            tokens = self.transformer.forward_features(image / 255)
            return self.transformer.head(tokens[:, 0])[:, 0], tokens[:, 1:, 0].reshape(1, 1, 4, 4)

    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    path = export_onnx(Wrapped(), tmp_path / "vit.onnx", 64)
    model = onnx.load(path)
    assert fuse_attention(model) == 2
    operators = [node.op_type for node in model.graph.node]
    assert "Softmax" not in operators and all(
        len(node.input) == 3 for node in model.graph.node if node.op_type == "Attention"
    )
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64)).astype(np.float32)
    plain, fused = (
        ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"image": pixels})
        for graph in (str(path), host_graph(path))
    )
    assert np.ptp(plain[1]) > 0.1
    for one, other in zip(plain, fused, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


def test_no_attention_no_change(exported: Path) -> None:
    assert host_graph(exported) == str(exported)


def _swap_keys_and_values(model: onnx.ModelProto) -> None:
    """Not a mistake: another layout, which is understood as well."""
    for node in model.graph.node:
        if node.op_type == "Split":
            node.output[1], node.output[2] = node.output[2], node.output[1]


def _scale_values(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(2, dtype=np.float32), "two"))
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type == "Split":
            name = node.output[2]
            node.output[2] = f"{name} plain"
            nodes.append(helper.make_node("Mul", [node.output[2], "two"], [name]))
    _set(model, nodes)


def _other_axis(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Softmax":
            next(item for item in node.attribute if item.name == "axis").i = 2


def _mirrored_keys(model: onnx.ModelProto) -> None:
    """Places in another order for keys than for queries."""
    model.graph.initializer.append(numpy_helper.from_array(np.arange(49)[::-1].copy(), "mirrored"))
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type == "Split":
            name = node.output[1]
            node.output[1] = f"{name} plain"
            nodes.append(helper.make_node("Gather", [node.output[1], "mirrored"], [name], axis=1))
    _set(model, nodes)


def _set(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@pytest.mark.parametrize("change", [_scale_values, _other_axis, _mirrored_keys])
def test_what_is_not_understood_is_left_as_it_is(change: object, file: Path) -> None:
    model = onnx.load(file)
    change(model)
    before = model.SerializeToString()
    assert fuse_attention(model) == 0
    assert model.SerializeToString() == before


def test_another_layout_gives_its_own_numbers(file: Path) -> None:
    model = onnx.load(file)
    _swap_keys_and_values(model)
    plain = model.SerializeToString()
    assert fuse_attention(model) == 10
    pixels = np.random.default_rng(2).integers(0, 256, (1, 3, SIZE, SIZE)).astype(np.float32)
    found = [
        ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"image": pixels})
        for graph in (plain, model.SerializeToString(), host_graph(file))
    ]
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-4, atol=1e-4)
    assert np.abs(found[2][1] - found[0][1]).max() > 1e-3
