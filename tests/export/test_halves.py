"""A graph stored in halves is smaller, opens as FP32 and scores as before to within the rounding of its weights."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto

from edgezsad.errors import CheckError
from edgezsad.export.halves import store_in_halves
from edgezsad.export.lint import lint
from edgezsad.export.onnx_export import export_onnx


class Small(torch.nn.Module):
    def __init__(self, scale: float = 0.1):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 32, 8, stride=8)
        self.last = torch.nn.Conv2d(32, 1, 1)
        torch.nn.init.normal_(self.first.weight, std=scale, generator=torch.Generator().manual_seed(0))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.last(self.first(image / 255).relu())
        return found.mean(dim=(1, 2, 3)), found


def test_it_is_half_as_large_and_scores_the_same(tmp_path: Path) -> None:
    whole = export_onnx(Small(), tmp_path / "whole.onnx", 32, {"threshold": "1.5"})
    half = store_in_halves(whole, tmp_path / "half.onnx")
    assert half.stat().st_size < 0.7 * whole.stat().st_size
    assert lint(half) == []
    model = onnx.load(half)
    assert {item.key: item.value for item in model.metadata_props} == {"threshold": "1.5"}
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert TensorProto.FLOAT16 in kinds.values()
    # Biases and other small ones are worth no node.
    assert TensorProto.FLOAT in kinds.values()
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 32, 32)).astype(np.float32)
    found = [
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": image})
        for path in (whole, half)
    ]
    assert found[1][1].dtype == np.float32
    difference = np.abs(found[0][1] - found[1][1]).max()
    assert 0 < difference < 1e-3


def test_a_weight_that_fp16_does_not_hold_is_refused(tmp_path: Path) -> None:
    whole = export_onnx(Small(scale=1e5), tmp_path / "whole.onnx", 32)
    with pytest.raises(CheckError, match="larger than FP16 holds"):
        store_in_halves(whole, tmp_path / "half.onnx")
    assert not (tmp_path / "half.onnx").exists()
