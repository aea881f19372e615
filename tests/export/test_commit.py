"""What is put into the package is one checkpoint and its graph, or nothing."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgezsad import model as shipped
from edgezsad.config import EdgeGLRConfig, Model
from edgezsad.data.manifest import Manifest
from edgezsad.errors import CheckError, InputError
from edgezsad.export import commit as module
from edgezsad.model.detector import CheckpointInfo, build_detector, save_checkpoint
from edgezsad.scoring.onnx_scorer import OnnxScorer


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A run of one seed whose source has one generated image, and an empty package."""
    monkeypatch.setattr(shipped, "GRAPH", tmp_path / "package" / "g.onnx")
    monkeypatch.setattr(shipped, "CHECKPOINT", tmp_path / "package" / "c.safetensors")
    model = Model(backbone="tf_efficientnet_lite0", weights="random", size=64, readout=EdgeGLRConfig(local_channels=4))
    detector = build_detector(model)
    info = CheckpointInfo(
        model=model,
        backbone_sha256=detector.backbone.sha256(),
        profile="folder",
        seed=0,
        source_sha256="s",
        threshold=0.25,
    )
    path = save_checkpoint(tmp_path / "checkpoint.safetensors", detector.readout, info)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    monkeypatch.setattr(module, "load", lambda *_: image)
    monkeypatch.setattr(module, "subset", lambda *_: SimpleNamespace(entries=[SimpleNamespace(id="x.png")]))
    sources = [SimpleNamespace(generated=True), SimpleNamespace(generated=None)]
    profile = SimpleNamespace(seeds=(0,), data=SimpleNamespace(source=sources))
    return SimpleNamespace(
        profile=profile, checkpoint=lambda _: path, manifest=lambda _: Manifest("generated", tmp_path, ())
    )


def test_checkpoint_and_graph_are_put_into_the_package(run: SimpleNamespace) -> None:
    assert 0 <= module.commit(run) <= module.AGREEMENT
    assert OnnxScorer(shipped.GRAPH).threshold == 0.25
    assert shipped.CHECKPOINT.read_bytes() == run.checkpoint(0).read_bytes()


def test_nothing_is_put_there_where_they_disagree(run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGREEMENT", -1.0)
    with pytest.raises(CheckError, match="scores differ"):
        module.commit(run)
    assert not shipped.GRAPH.exists()
    assert not shipped.CHECKPOINT.exists()


def test_a_run_that_was_not_trained_is_refused(run: SimpleNamespace, tmp_path: Path) -> None:
    run.checkpoint = lambda _: tmp_path / "nowhere.safetensors"
    with pytest.raises(InputError, match="nowhere"):
        module.commit(run)
