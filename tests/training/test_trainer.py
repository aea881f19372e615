"""Training finds a planted signal, repeats itself to the bit, and stops with one message if it can not go on."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from safetensors import safe_open

from edgezsad.config import Profile, SelfReferenceConfig, Training
from edgezsad.data.loading import Sample, split_source
from edgezsad.errors import CheckError, InputError
from edgezsad.metrics.image_metrics import best_balanced
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import build_readout, load_detector, read_checkpoint
from edgezsad.run import Run
from edgezsad.show.tables import seed_summary
from edgezsad.training import losses
from edgezsad.training import trainer as module
from edgezsad.training.features import Features, cache_features
from edgezsad.training.inputs import CachedInputs, training_inputs
from edgezsad.training.trainer import STATE, train


@pytest.fixture(scope="module")
def features(planted: ModuleType, backbone: torch.nn.Module) -> Features:
    return planted.planted(backbone)


@pytest.fixture
def short(planted: ModuleType, tmp_path: Path) -> Profile:
    return planted.small_profile(tmp_path, steps=12, batch=8, warmup=2)


def changed(profile: Profile, **training: object) -> Profile:
    return profile.model_copy(update={"training": profile.training.model_copy(update=training)})


def test_a_planted_signal_is_found(
    planted: ModuleType, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    profile = planted.small_profile(tmp_path, steps=150, batch=32, warmup=10)
    trained = train(profile, CachedInputs(features), backbone, 0, tmp_path / "seed")
    metrics = trained.metrics
    assert 97 < metrics["validation_auroc_score"] <= 100
    assert metrics["gain"] != 0
    assert (metrics["seed"], metrics["steps"], metrics["source_images"]) == (0, 150, len(features))
    terms = trained.curve[["total", "image", "ranking", "map"]]
    assert (terms.iloc[-1] < 0.5 * terms.iloc[0]).all()
    # The map shows the location.
    readout = build_readout(backbone.channels, backbone.strides, profile.model.readout, 64).eval()
    readout.load_state_dict(read_checkpoint(trained.checkpoint).weights)
    row = int(np.flatnonzero(features.label)[1])
    with torch.inference_mode():
        output = readout([torch.from_numpy(stored[row : row + 1].astype(np.float32)) for stored in features.maps])
    assert int(output.map.argmax()) == int(features.mask_fraction[row].argmax())


def test_what_is_written(short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path) -> None:
    folder = tmp_path / "seed"
    trained = train(short, CachedInputs(features), backbone, 1, folder)
    names = ["checkpoint.safetensors", "curve.csv", "logs", "metrics.json", "state.safetensors"]
    assert sorted(item.name for item in folder.iterdir() if not item.name.startswith(".")) == names
    checkpoint = read_checkpoint(trained.checkpoint)
    fitted = split_source(features.label, features.group, features.parent, short.training.validation)[0]
    seen = features.maps[1][fitted].astype(np.float64).std(axis=(0, 2, 3))
    assert (1 / checkpoint.weights["difference.1.scale"]).flatten().tolist() == pytest.approx(seen.tolist(), rel=1e-3)
    info = checkpoint.info
    assert (info.seed, info.model, info.profile) == (1, short.model, "mini")
    assert info.threshold == trained.metrics["threshold"]
    assert (info.backbone_sha256, info.source_sha256, checkpoint.tuned) == (backbone.sha256(), "s", {})
    assert json.loads((folder / "metrics.json").read_text()) == trained.metrics
    assert list(trained.curve["step"]) == [0, 10, 11]
    assert any((folder / "logs").iterdir())


def test_same_seed_same_bytes_other_seed_other_weights(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    def trained(seed: int, name: str) -> torch.Tensor:
        torch.rand(7)
        result = train(short, CachedInputs(features), backbone, seed, tmp_path / name)
        return read_checkpoint(result.checkpoint).weights["global_head.0.weight"]

    first, again, other = trained(3, "first"), trained(3, "again"), trained(4, "other")
    for name in ("checkpoint.safetensors", "curve.csv", "metrics.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_features_of_another_backbone_or_size_are_rejected(
    short: Profile, features: Features, backbone: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgezsad.training.inputs.source_images", lambda run: None)
    for change in ({"backbone_sha256": "0" * 64}, {"size": 96}, {"strides": (8, 32)}):
        other = replace(features, info=features.info.model_copy(update=change))
        monkeypatch.setattr("edgezsad.training.inputs.read_features", lambda folder, sources, other=other: other)
        with pytest.raises(InputError, match="made by another backbone, size or strides; run notebook 02_features"):
            training_inputs(Run(short), backbone)


def test_a_source_of_one_class_is_rejected(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    one = CachedInputs(replace(features, label=np.zeros(len(features), dtype=np.int64)))
    with pytest.raises(InputError, match="needs normal and defective images"):
        train(short, one, backbone, 0, tmp_path / "seed")


class NotFinite(CachedInputs):
    """Inputs with NaN features at step 7."""

    def steps(self, plan, steps, rank, world_size):
        for number, example in zip(steps, super().steps(plan, steps, rank, world_size), strict=True):
            if number == 7:
                example.inputs[0][3] = torch.nan
            yield example


def test_a_loss_that_is_not_finite_stops_training(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    message = r"seed 0: the loss or its gradient is not finite at step 7; check its images \(\d+\.png, "
    with pytest.raises(CheckError, match=message) as caught:
        train(short, NotFinite(features), backbone, 0, tmp_path / "seed")
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
    assert not (tmp_path / "seed" / "checkpoint.safetensors").exists()


def infinite_gradient(monkeypatch: pytest.MonkeyPatch, at: int | None) -> None:
    """Make the gradient of one step, or of all, infinite while the loss stays finite."""
    plain, calls = losses.compute_loss, []

    def harmful(outputs: dict[str, torch.Tensor], *arguments: object) -> losses.Loss:
        value = plain(outputs, *arguments)
        calls.append(0)
        extra = (outputs["score"] * 0).sum().sqrt()
        return replace(value, total=value.total + extra) if at in (None, len(calls) - 1) else value

    monkeypatch.setattr(losses, "compute_loss", harmful)


def test_a_gradient_that_is_not_finite_stops_at_its_own_step(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infinite_gradient(monkeypatch, at=5)
    with pytest.raises(CheckError, match="the loss or its gradient is not finite at step 5;"):
        train(short, CachedInputs(features), backbone, 0, tmp_path / "seed")


def test_too_few_images_to_hold_out(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    label = np.zeros(len(features), dtype=np.int64)
    label[:5] = 1
    metrics = train(short, CachedInputs(replace(features, label=label)), backbone, 0, tmp_path).metrics
    assert "too few to hold out" in metrics.pop("validated_on")
    assert np.isfinite(list(metrics.values())).all()


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


def test_the_summary_has_every_seed_mean_and_standard_deviation(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    folders = {seed: tmp_path / str(seed) for seed in (0, 1, 2)}
    metrics = [train(short, CachedInputs(features), backbone, seed, folder).metrics for seed, folder in folders.items()]
    table = seed_summary(folders)
    assert list(table["seed"]) == ["0", "1", "2", "mean", "std"]
    values = [row["validation_auroc_global_score"] for row in metrics]
    expected = [*values, np.mean(values), np.std(values, ddof=1)]
    assert table["validation_auroc_global_score"].tolist() == pytest.approx(expected)
    with pytest.raises(InputError, match=r"metrics\.json: missing; run notebook 03_training"):
        seed_summary(folders | {3: tmp_path / "3"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("change", [{"device": "gpu"}, {"precision": "fp16"}])
def test_a_missing_gpu_is_reported(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path, change: dict[str, str]
) -> None:
    with pytest.raises(
        InputError, match=r"training\.(precision: fp16 needs a GPU|device: gpu, but PyTorch finds none)"
    ):
        train(changed(short, **change), CachedInputs(features), backbone, 0, tmp_path)


def test_bf16_trains_and_keeps_its_weights_in_fp32(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    trained = train(changed(short, precision="bf16"), CachedInputs(features), backbone, 0, tmp_path / "bf16")
    exact = train(short, CachedInputs(features), backbone, 0, tmp_path / "fp32")
    assert {tensor.dtype for tensor in read_checkpoint(trained.checkpoint).weights.values()} == {torch.float32}
    assert trained.curve["total"].tolist() == pytest.approx(exact.curve["total"].tolist(), rel=0.1)
    assert trained.curve["total"].tolist() != exact.curve["total"].tolist()


def test_fp16_skips_an_overflowing_step_and_continues_with_its_scale(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_the_cpu(config: Training, logs: Path, first_step: int = 0) -> Fabric:
        # Mixed precision as on a GPU; the CPU's half precision is slow and the same.
        scaler = torch.amp.GradScaler("cpu")
        fabric = Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)])
        fabric.launch()
        return fabric

    class Stopping(CachedInputs):
        def steps(self, *arguments):
            for number, example in enumerate(super().steps(*arguments)):
                if number == 8:
                    raise KeyboardInterrupt
                yield example

    monkeypatch.setattr(module, "make_fabric", on_the_cpu)
    profile = changed(short, precision="fp16", save_every=4)
    with monkeypatch.context() as patch:
        infinite_gradient(patch, at=5)
        whole = train(profile, CachedInputs(features), backbone, 0, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        infinite_gradient(patch, at=5)
        train(profile, Stopping(features), backbone, 0, tmp_path / "cut")
    with safe_open(tmp_path / "cut" / STATE, framework="pt") as state:
        assert json.loads(state.metadata()["edgezsad"])["scaler"]["scale"] < 65536
    assert train(profile, CachedInputs(features), backbone, 0, tmp_path / "cut").curve.equals(whole.curve)
    for name in ("checkpoint.safetensors", "state.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


class MadeImages:
    """Noise images of 2 categories; a defect is a bright square."""

    sha256 = "made"

    def __init__(self, count: int = 40) -> None:
        generator = np.random.default_rng(0)
        self.pixels = generator.integers(60, 160, (count, 64, 64, 3), dtype=np.uint8)
        self.label = (np.arange(count) % 2).astype(np.int64)
        self.masks = np.zeros((count, 64, 64), dtype=bool)
        for row in np.flatnonzero(self.label):
            top, left = generator.integers(0, 44, 2)
            self.masks[row, top : top + 20, left : left + 20] = True
        self.pixels[self.masks] = 250
        self.group = np.array(["s/a", "s/b"])[np.arange(count) // 2 % 2]
        self.parent = np.array([f"{row}.png" for row in range(count)])

    def __len__(self) -> int:
        return len(self.label)

    def read(self, row: int, size: int) -> Sample:
        return Sample(self.pixels[row], self.masks[row])

    def name(self, row: int) -> str:
        return str(self.parent[row])


def test_self_reference_logs_only_trained_terms_and_its_threshold_includes_tta(
    planted: ModuleType, tmp_path: Path
) -> None:
    profile = planted.small_profile(tmp_path, steps=12, batch=8, validation=0.5)
    config = SelfReferenceConfig(correction_gain=0.4, context=1, map_rarity=2.0, clip=1.0)
    model = profile.model.model_copy(
        update={"backbone": "tf_efficientnet_lite0", "strides": (8, 16, 32), "tta": "rot180", "readout": config}
    )
    profile = profile.model_copy(update={"model": model})
    images, backbone = MadeImages(), Backbone("tf_efficientnet_lite0", "random", (8, 16, 32))
    inputs = CachedInputs(cache_features(images, backbone, 64, tmp_path / "features"), images)
    trained = train(profile, inputs, backbone, 0, tmp_path / "seed")
    # The global score is fitted, so its loss terms would be constant.
    assert list(trained.curve.columns) == ["step", "learning_rate", "total", "map", "gain"]
    assert trained.curve["total"].tolist() == pytest.approx(trained.curve["map"].tolist())
    _, held = split_source(inputs.label, inputs.group, inputs.parent, 0.5)

    def threshold(tta: str) -> float:
        detector, _ = load_detector(trained.checkpoint, backbone)
        detector.tta = tta
        with torch.inference_mode():
            pixels = torch.from_numpy(images.pixels[held]).permute(0, 3, 1, 2).float()
            return best_balanced(inputs.label[held], detector(pixels)[0].numpy())

    assert trained.metrics["threshold"] == pytest.approx(threshold("rot180"), abs=1e-5)
    assert abs(threshold("rot180") - threshold("none")) > 1e-4
