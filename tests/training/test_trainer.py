"""Training finds a planted signal, repeats itself to the bit, and stops with one message if it cannot continue."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from edgezsad.config import Profile, SelfReferenceConfig
from edgezsad.data.loading import split_source
from edgezsad.errors import CheckError, InputError
from edgezsad.metrics.image_metrics import best_balanced
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import build_readout, load_detector, read_checkpoint
from edgezsad.run import Run
from edgezsad.training import losses
from edgezsad.training.features import Features, cache_features
from edgezsad.training.inputs import CachedInputs, training_inputs
from edgezsad.training.trainer import Trained, train


@pytest.fixture(scope="module")
def features(planted: ModuleType, backbone: torch.nn.Module) -> Features:
    return planted.planted(backbone)


@pytest.fixture
def short(planted: ModuleType, tmp_path: Path) -> Profile:
    return planted.small_profile(tmp_path, steps=12, batch=8, warmup=2)


@pytest.fixture
def fit(features: Features, backbone: torch.nn.Module, tmp_path: Path) -> Callable[..., Trained]:
    def run(profile: Profile, name: str = "seed", seed: int = 0, inputs: CachedInputs | None = None) -> Trained:
        return train(profile, inputs or CachedInputs(features), backbone, seed, tmp_path / name)

    return run


def changed(profile: Profile, **training: object) -> Profile:
    return profile.model_copy(update={"training": profile.training.model_copy(update=training)})


@pytest.mark.slow
def test_a_planted_signal_is_found(
    planted: ModuleType, features: Features, backbone: torch.nn.Module, fit: Callable[..., Trained], tmp_path: Path
) -> None:
    profile = planted.small_profile(tmp_path, steps=120, batch=32, warmup=10)
    trained = fit(profile)
    assert 97 < trained.metrics["validation_auroc_score"] <= 100
    assert trained.metrics["gain"] != 0
    # The map shows the location.
    readout = build_readout(backbone.channels, backbone.strides, profile.model.readout, 64).eval()
    readout.load_state_dict(read_checkpoint(trained.checkpoint).weights)
    row = int(np.flatnonzero(features.label)[1])
    with torch.inference_mode():
        output = readout([torch.from_numpy(stored[row : row + 1].astype(np.float32)) for stored in features.maps])
    assert int(output.map.argmax()) == int(features.mask_fraction[row].argmax())


def test_results(
    short: Profile, features: Features, backbone: torch.nn.Module, fit: Callable[..., Trained], tmp_path: Path
) -> None:
    trained = fit(short, seed=1)
    checkpoint, info = read_checkpoint(trained.checkpoint), read_checkpoint(trained.checkpoint).info
    fitted = split_source(features.label, features.group, features.parent, short.training.validation)[0]
    std = features.maps[1][fitted].astype(np.float64).std(axis=(0, 2, 3))
    assert (1 / checkpoint.weights["difference.1.scale"]).flatten().tolist() == pytest.approx(std.tolist(), rel=1e-3)
    assert (info.seed, info.model, info.profile) == (1, short.model, "mini")
    assert info.threshold == trained.metrics["threshold"]
    assert (info.backbone_sha256, info.source_sha256) == (backbone.sha256(), "s")
    assert json.loads((tmp_path / "seed" / "metrics.json").read_text()) == trained.metrics
    assert list(trained.curve["step"]) == [0, 10, 11]


def test_same_seed_same_bytes_other_seed_other_weights(
    short: Profile, fit: Callable[..., Trained], tmp_path: Path
) -> None:
    for seed, name in ((3, "first"), (3, "again"), (4, "other")):
        torch.rand(7)
        fit(short, name, seed)
    for name in ("checkpoint.safetensors", "curve.csv", "metrics.json"):
        first, again, other = ((tmp_path / folder / name).read_bytes() for folder in ("first", "again", "other"))
        assert first == again != other


def test_features_of_another_backbone_or_size_are_rejected(
    short: Profile, features: Features, backbone: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgezsad.training.inputs.source_images", lambda run: None)
    for change in ({"backbone_sha256": "0" * 64}, {"size": 96}, {"strides": (8, 32)}):
        other = replace(features, info=features.info.model_copy(update=change))
        monkeypatch.setattr("edgezsad.training.inputs.read_features", lambda folder, sources, other=other: other)
        with pytest.raises(InputError, match="made by another backbone, size or strides; run notebook 02_features"):
            training_inputs(Run(short), backbone)


def test_a_loss_that_is_not_finite_stops_training(
    planted: ModuleType, short: Profile, features: Features, fit: Callable[..., Trained], tmp_path: Path
) -> None:
    message = r"seed 0: the loss or its gradient is not finite at step 7; check its images \(\d+\.png, "
    with pytest.raises(CheckError, match=message):
        fit(short, inputs=planted.stopping(CachedInputs(features), 7, None))
    assert not (tmp_path / "seed" / "checkpoint.safetensors").exists()


def infinite_gradient(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Make the gradient of one step infinite while the loss stays finite."""
    plain, calls = losses.compute_loss, []

    def harmful(outputs: dict[str, torch.Tensor], *arguments: object) -> losses.Loss:
        value = plain(outputs, *arguments)
        calls.append(0)
        extra = (outputs["score"] * 0).sum().sqrt()
        return replace(value, total=value.total + extra) if len(calls) == at + 1 else value

    monkeypatch.setattr(losses, "compute_loss", harmful)


def test_a_gradient_that_is_not_finite_stops_at_its_own_step(
    short: Profile, fit: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    infinite_gradient(monkeypatch, at=5)
    with pytest.raises(CheckError, match="the loss or its gradient is not finite at step 5;"):
        fit(short)


def test_the_split_is_stratified_and_keeps_crops_together(features: Features) -> None:
    fitted, held = split_source(features.label, features.group, features.parent, 0.25)
    assert sorted([*fitted, *held]) == list(range(len(features)))
    for group in "ab":
        for label in (0, 1):
            rows = np.flatnonzero((features.group == group) & (features.label == label))
            assert len(np.intersect1d(rows, held)) == len(rows) // 4
    parent = np.array([f"{row // 3}.png" for row in range(len(features))])
    fitted, held = split_source(features.label, features.group, parent, 0.25)
    assert len(held) >= 3 and not set(parent[fitted]) & set(parent[held])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_reported(short: Profile, fit: Callable[..., Trained]) -> None:
    with pytest.raises(InputError, match=r"training\.device: gpu, but PyTorch finds"):
        fit(changed(short, device="gpu"))


def test_bf16_trains_and_keeps_its_weights_in_fp32(short: Profile, fit: Callable[..., Trained]) -> None:
    trained, exact = fit(changed(short, precision="bf16"), "bf16"), fit(short, "fp32")
    assert {tensor.dtype for tensor in read_checkpoint(trained.checkpoint).weights.values()} == {torch.float32}
    assert 0 < (trained.curve["total"] / exact.curve["total"] - 1).abs().max() < 0.1


@pytest.mark.slow
def test_self_reference_logs_only_trained_terms_and_its_threshold_includes_tta(
    planted: ModuleType, tmp_path: Path
) -> None:
    profile = planted.small_profile(tmp_path, steps=4, batch=8, validation=0.5)
    config = SelfReferenceConfig(correction_gain=0.4, context=1, map_rarity=2.0, clip=1.0)
    changes = {"backbone": "tf_efficientnet_lite0", "strides": (8, 16, 32), "tta": "rot180", "readout": config}
    profile = profile.model_copy(update={"model": profile.model.model_copy(update=changes)})
    images, backbone = planted.Images(40), Backbone("tf_efficientnet_lite0", "random", (8, 16, 32))
    inputs = CachedInputs(cache_features(images, backbone, 64, tmp_path / "features"), images)
    trained = train(profile, inputs, backbone, 0, tmp_path / "seed")
    # The global score is fitted, so its loss terms would be constant.
    assert list(trained.curve.columns) == ["step", "learning_rate", "total", "map", "gain"]
    _, held = split_source(inputs.label, inputs.group, inputs.parent, 0.5)

    def threshold(tta: str) -> float:
        detector, _ = load_detector(trained.checkpoint, backbone)
        detector.tta = tta
        with torch.inference_mode():
            pixels = torch.from_numpy(images.pixels[held]).permute(0, 3, 1, 2).float()
            return best_balanced(inputs.label[held], detector(pixels)[0].numpy())

    assert trained.metrics["threshold"] == pytest.approx(threshold("rot180"), abs=1e-5)
    assert abs(threshold("rot180") - threshold("none")) > 1e-4
