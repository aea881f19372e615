"""A detector of the real kind, small, with random weights and a readout that has something to say; and its export."""

from pathlib import Path

import pytest
import torch

from edgezsad.config import Model
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model.detector import DetectorModule, build_detector

SIZE = 96


@pytest.fixture(scope="session")
def detector() -> DetectorModule:
    torch.manual_seed(0)
    built = build_detector(Model(backbone="tf_efficientnet_lite0", weights="random", size=SIZE))
    with torch.no_grad():
        # The gain starts at zero; without it the map would have no share in the score.
        built.readout.gain.fill_(0.3)
    return built


@pytest.fixture(scope="session")
def exported(detector: DetectorModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "detector.onnx"
    metadata = {"profile": "mini", "é": "ü", "source_sha256": "5" * 64, "model_sha256": "m", "threshold": "0.5"}
    return export_onnx(detector, path, SIZE, metadata)
