"""The engine scorer, end to end on a stand-in that computes at the addresses it is given."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from edgezsad.errors import CheckError, InputError
from edgezsad.export.onnx_export import export_onnx
from edgezsad.export.tensorrt_engine import build_engine
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.tensorrt_scorer import TensorRTDevice, TensorRTScorer
from tests.export import fake_tensorrt as fakes

ORIN, SIZE = TensorRTDevice("Orin", "8.7", "10.3.0"), 32


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.features, self.readout = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 1, 1)

    def forward(self, x):
        anomaly_map = self.readout(torch.relu(self.features(x / 255)))
        return anomaly_map.mean((1, 2, 3)), anomaly_map


class Event:
    def __init__(self, enable_timing):
        assert enable_timing

    def record(self, stream): ...
    def synchronize(self): ...

    def elapsed_time(self, end):
        return 7.5


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("edgezsad.scoring.tensorrt_scorer.MEMORY", "cpu")
    monkeypatch.setattr(torch.cuda, "Stream", lambda: SimpleNamespace(cuda_stream=0))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("engine") / "g.onnx"
    return export_onnx(Small(), path, SIZE, {"model_sha256": "abc"})


@pytest.fixture(scope="module")
def engine(graph):
    path = graph.with_name("e.plan")
    build_engine(graph, path, ORIN, fakes.fake())
    return path


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.slow
def test_scores_are_the_graphs(graph, engine):
    scorer = TensorRTScorer(engine, graph, fakes.fake(), ORIN)
    assert (scorer.size, scorer.milliseconds) == (SIZE, 7.5)
    assert (scorer.runtime, scorer.precision, scorer.detector_sha256) == ("tensorrt-fp16", "fp16", "abc")
    reference = OnnxScorer(graph)
    for seed in range(3):
        score, anomaly_map = scorer.score(image(seed))
        expected, expected_map = reference.score(image(seed))
        assert score == pytest.approx(expected, abs=1e-6)
        np.testing.assert_allclose(anomaly_map, expected_map, atol=1e-6)
    with pytest.raises(InputError, match="expected"):
        scorer.score(image()[:-1])


@pytest.mark.slow
def test_an_engine_that_does_not_load_is_an_error(graph, engine):
    module = fakes.fake()
    module.Runtime.deserialize_cuda_engine = lambda self, data: None
    with pytest.raises(CheckError, match="does not load it"):
        TensorRTScorer(engine, graph, module, ORIN)
