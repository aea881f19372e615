"""Checkpoints: what is saved is read back to the bit, and nothing else is taken for one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgezsad.config import Model
from edgezsad.errors import InputError
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import (
    CheckpointInfo,
    DetectorModule,
    build_detector,
    load_detector,
    read_checkpoint,
    save_checkpoint,
)

MODEL = Model(backbone="tf_efficientnet_lite0", weights="random", size=64, strides=(8, 16))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return Backbone(MODEL.backbone, MODEL.weights, MODEL.strides)


@pytest.fixture
def detector(backbone: Backbone) -> DetectorModule:
    torch.manual_seed(1)
    built = build_detector(MODEL, backbone)
    with torch.no_grad():
        for parameter in built.readout.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        built.readout.difference[0].scale.fill_(0.25)
    return built


@pytest.fixture
def info(backbone: Backbone) -> Callable[..., CheckpointInfo]:
    def make(**replaced: Any) -> CheckpointInfo:
        facts = {
            "model": MODEL,
            "backbone_sha256": backbone.sha256(),
            "profile": "mini",
            "seed": 0,
            "source_sha256": "c" * 64,
            "threshold": 0.1 + 0.2,
        }
        return CheckpointInfo(**(facts | replaced))

    return make


@pytest.fixture
def checkpoint(tmp_path: Path, detector: DetectorModule, info: Callable[..., CheckpointInfo]) -> Path:
    return save_checkpoint(tmp_path / "seed" / "checkpoint.safetensors", detector.readout, info())


@torch.inference_mode()
def scores(detector: DetectorModule) -> tuple[np.ndarray, np.ndarray]:
    image = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(5)).float()
    score, anomaly_map = detector(image)
    return score.numpy(), anomaly_map.numpy()


def test_round_trip_to_the_bit(
    checkpoint: Path, detector: DetectorModule, backbone: Backbone, info: Callable[..., CheckpointInfo]
) -> None:
    loaded, read = load_detector(checkpoint, backbone, expected=MODEL)
    assert read == info()
    assert loaded.sha256() == detector.sha256()
    assert not loaded.training
    for ours, theirs in zip(scores(loaded), scores(detector), strict=True):
        assert np.array_equal(ours, theirs)
    # An untrained readout would not have passed.
    assert not np.array_equal(scores(build_detector(MODEL, backbone))[0], scores(detector)[0])


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.safetensors: missing checkpoint; train one"):
        load_detector(tmp_path / "none.safetensors")


def test_no_pickle_is_loaded(tmp_path: Path, bomb: Any) -> None:
    path = tmp_path / "checkpoint.safetensors"
    torch.save(bomb, path)
    rejected(path)
    assert not bomb.mark.exists()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"backbone": "tiny_vit_21m_512"}, "expected tiny_vit_21m_512 at 64 px"),
        ({"size": 96}, "expected tf_efficientnet_lite0 at 96 px"),
        ({"strides": (8, 16, 32)}, r"expected tf_efficientnet_lite0 at 64 px, strides \(8, 16, 32\)"),
    ],
)
def test_made_for_another_profile(checkpoint: Path, backbone: Backbone, other: dict[str, Any], words: str) -> None:
    expected = MODEL.model_copy(update=other)
    with pytest.raises(InputError, match=rf"made for tf_efficientnet_lite0 at 64 px.*{words}"):
        load_detector(checkpoint, backbone, expected=expected)


def test_trained_on_other_backbone_weights(checkpoint: Path) -> None:
    other = Backbone(MODEL.backbone, "random", MODEL.strides)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: trained on other weights of tf_efficientnet_lite0"):
        load_detector(checkpoint, other)


def test_weights_of_another_readout(
    tmp_path: Path, detector: DetectorModule, backbone: Backbone, info: Callable[..., CheckpointInfo]
) -> None:
    other = MODEL.model_copy(update={"readout": MODEL.readout.model_copy(update={"local_channels": 8})})
    path = save_checkpoint(tmp_path / "other.safetensors", detector.readout, info(model=other))
    with pytest.raises(InputError, match=r"other\.safetensors: weights do not fit") as caught:
        load_detector(path, backbone)
    assert "\n" not in str(caught.value)


def rejected(path: Path) -> None:
    with pytest.raises(InputError, match=rf"{path.name}: not a checkpoint of this package") as caught:
        read_checkpoint(path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
