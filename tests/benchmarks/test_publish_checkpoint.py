"""Weights stored in FP16 halve the graph, which still computes in FP32."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime as ort
import pytest
import torch

from edgezsad.errors import CheckError
from edgezsad.export.lint import lint
from edgezsad.export.onnx_export import export_onnx


class Small(torch.nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(3, 32, 8, stride=8), torch.nn.Conv2d(32, 1, 1)
        torch.nn.init.normal_(self.first.weight, std=scale, generator=torch.Generator().manual_seed(0))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.last(self.first(image / 255).relu())
        return found.mean(dim=(1, 2, 3)), found


@pytest.mark.slow
def test_store_fp16_weights(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    publish = script("publish_checkpoint")
    full = export_onnx(Small(0.1), tmp_path / "full.onnx", 32)
    graph = publish.store_fp16_weights(full, tmp_path / "graph.onnx")
    assert graph.stat().st_size < 0.7 * full.stat().st_size and lint(graph) == []
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 32, 32)).astype(np.float32)
    maps = [
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["map"], {"image": image})[0]
        for path in (full, graph)
    ]
    assert 0 < np.abs(maps[0] - maps[1]).max() < 1e-3
    with pytest.raises(CheckError, match="exceeds the range of FP16"):
        publish.store_fp16_weights(export_onnx(Small(1e5), tmp_path / "large.onnx", 32), tmp_path / "x.onnx")
