"""Training finds a planted signal, repeats itself to the bit, and says when it cannot go on."""

import csv
import json
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from safetensors.torch import load_file
from tensorboardX.proto.event_pb2 import Event

from edgezsad.config import Profile, Training
from edgezsad.errors import CheckError, InputError
from edgezsad.model.detector import read_checkpoint
from edgezsad.model.readout import EdgeGLR, Output
from edgezsad.run import Run
from edgezsad.training import recipe
from edgezsad.training.features import Features
from edgezsad.training.inputs import CachedInputs, training_inputs
from edgezsad.training.outcome import fit_scale, split, summary
from edgezsad.training.train import Trained, reproduce, train


@pytest.fixture(scope="module")
def features(planted: ModuleType, backbone: torch.nn.Module) -> Features:
    return planted.planted(backbone)


@pytest.fixture
def profile(planted: ModuleType, tmp_path: Path) -> Profile:
    return planted.small_profile(tmp_path, steps=150, batch=32, warmup=10)


@pytest.fixture
def short(planted: ModuleType, tmp_path: Path) -> Profile:
    return planted.small_profile(tmp_path, steps=12, batch=8, warmup=2)


def test_a_planted_signal_is_found(
    profile: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    trained = train(profile, CachedInputs(features), backbone, 0, tmp_path / "seed")
    metrics = trained.metrics
    # Percent, on images that training has not seen.
    assert 97 < metrics["validation_auroc_score"] <= 100
    # The map was let in.
    assert metrics["gain"] != 0
    assert (metrics["seed"], metrics["steps"], metrics["source_images"]) == (0, 150, len(features))
    # One cell says nothing to the global head, which sees averages.
    terms = trained.curve[["total", "image", "ranking", "map"]]
    assert (terms.iloc[-1] < 0.5 * terms.iloc[0]).all()
    # And the map shows the place.
    readout = EdgeGLR(backbone.channels, backbone.strides, profile.model.readout).eval()
    readout.load_state_dict(read_checkpoint(trained.checkpoint).weights)
    row = int(np.flatnonzero(features.label)[1])
    with torch.inference_mode():
        output = readout([torch.from_numpy(stored[row : row + 1].astype(np.float32)) for stored in features.maps])
    assert int(output.map.argmax()) == int(features.coverage[row].argmax())


def test_what_is_written(short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path) -> None:
    trained = train(short, CachedInputs(features), backbone, 1, tmp_path / "seed")
    assert sorted(item.name for item in (tmp_path / "seed").iterdir()) == [
        "checkpoint.safetensors",
        "curve.csv",
        "logs",
        "metrics.json",
        "states",
    ]
    checkpoint = read_checkpoint(trained.checkpoint)
    # The channel statistics are those of the images that it was fitted on.
    fitted = split(CachedInputs(features), short.training.validation)[0]
    seen = features.maps[1][fitted].astype(np.float64).std(axis=(0, 2, 3))
    assert (1 / checkpoint.weights["difference.1.scale"]).flatten().tolist() == pytest.approx(seen.tolist(), rel=1e-3)
    info = checkpoint.info
    assert (info.seed, info.model, info.profile) == (1, short.model, "mini")
    assert info.threshold == trained.metrics["threshold"]
    assert (info.backbone_sha256, info.source_sha256) == (backbone.sha256(), "s")
    assert checkpoint.tuned == {}
    assert json.loads((tmp_path / "seed" / "metrics.json").read_text()) == trained.metrics
    with open(tmp_path / "seed" / "curve.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == [0, 10, 11]
    assert float(rows[-1]["learning_rate"]) < 0.05 * 1e-2


def logged(folder: Path) -> dict[tuple[str, int], float]:
    """The numbers in TensorBoard's event files: length, 4 bytes of check sum, the event, 4 bytes of check sum."""
    found = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + length])
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            content = content[16 + length :]
    return found


def test_the_curve_is_logged_for_tensorboard(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    trained = train(short, CachedInputs(features), backbone, 0, tmp_path)
    found = logged(tmp_path / "logs")
    for row in trained.curve.to_dict("records"):
        for name in ("total", "image", "ranking", "global", "map", "gain", "learning_rate"):
            assert found[name, row["step"]] == pytest.approx(row[name], rel=1e-5)


def test_same_seed_same_bytes_other_seed_other_weights(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    def trained(seed: int, name: str) -> Trained:
        torch.rand(7)
        return train(short, CachedInputs(features), backbone, seed, tmp_path / name)

    first, again, other = trained(3, "first"), trained(3, "again"), trained(4, "other")
    for name in ("checkpoint.safetensors", "curve.csv", "metrics.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert first.metrics == again.metrics
    mine, theirs = read_checkpoint(first.checkpoint).weights, read_checkpoint(other.checkpoint).weights
    assert not torch.equal(mine["ranking.0.weight"], theirs["ranking.0.weight"])
    assert first.curve["image"].iloc[-1] != other.curve["image"].iloc[-1]


def test_the_average_is_kept_not_the_last_weights(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    def weights(ema: float) -> torch.Tensor:
        profile = short.model_copy(update={"training": short.training.model_copy(update={"ema": ema})})
        checkpoint = train(profile, CachedInputs(features), backbone, 0, tmp_path / str(ema)).checkpoint
        return read_checkpoint(checkpoint).weights["ranking.0.weight"]

    last, averaged = weights(0.0), weights(0.9)
    torch.manual_seed(0)
    readout = EdgeGLR(backbone.channels, backbone.strides, short.model.readout)
    first = readout.ranking[0].weight
    # Between the first weights and the last.
    assert 0 < (averaged - first).norm() < (last - first).norm()


def test_features_of_another_backbone_or_size_are_refused(
    short: Profile, features: Features, backbone: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgezsad.training.inputs.source_images", lambda run: None)
    for change in ({"backbone_sha256": "0" * 64}, {"size": 96}, {"strides": (8, 32)}):
        other = replace(features, info=features.info.model_copy(update=change))
        monkeypatch.setattr("edgezsad.training.inputs.read_features", lambda folder, sources, other=other: other)
        with pytest.raises(InputError, match="made by another backbone, size or strides; run notebook 02_features"):
            training_inputs(Run(short), backbone)


@pytest.mark.parametrize("value", [0, 1])
def test_a_source_of_one_class_is_refused(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path, value: int
) -> None:
    one = CachedInputs(replace(features, label=np.full(len(features), value)))
    with pytest.raises(InputError, match="needs normal and defective images"):
        train(short, one, backbone, 0, tmp_path / "seed")


def broken_at(features: Features, profile: Profile, step: int) -> CachedInputs:
    """Inputs whose images of one step are not numbers."""

    class Broken(CachedInputs):
        def steps(self, plan, steps, rank, ranks):
            for number, example in zip(steps, super().steps(plan, steps, rank, ranks), strict=True):
                if number == step:
                    example.inputs[0][3] = torch.nan
                yield example

    return Broken(features)


def test_a_loss_that_is_not_finite_stops_training_and_can_be_looked_at(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    inputs = broken_at(features, short, 7)
    with pytest.raises(
        CheckError, match=r"seed 0: the loss or its gradient is not finite at step 7 \(\d+\.png, "
    ) as caught:
        train(short, inputs, backbone, 0, tmp_path / "seed")
    assert caught.value.exit_code == 1
    # Nothing that could be taken for a result.
    assert not (tmp_path / "seed" / "checkpoint.safetensors").exists()
    record = json.loads((tmp_path / "seed" / "states" / "failed.json").read_text())
    assert record["step"] == 7
    assert len(record["images"]) == short.training.batch
    assert record["images"][0] in str(caught.value)
    # The kept state gives the same again, and with whole images what the step should have been.
    value, norm = reproduce(short, inputs, backbone, 0, tmp_path / "seed")
    assert not torch.isfinite(value.total)
    assert not np.isfinite(norm)
    value, norm = reproduce(short, CachedInputs(features), backbone, 0, tmp_path / "seed")
    whole = train(short, CachedInputs(features), backbone, 0, tmp_path / "whole")
    assert 0 < value.total.item() < 2 * whole.curve["total"].max()
    assert 0 < norm < 100
    # Only with what it was made with, and only until the seed is trained.
    other = short.model_copy(update={"training": short.training.model_copy(update={"batch": 16})})
    with pytest.raises(InputError, match="made with another training; train again"):
        reproduce(other, inputs, backbone, 0, tmp_path / "seed")
    train(short, CachedInputs(features), backbone, 0, tmp_path / "seed")
    with pytest.raises(InputError, match="there is none: no step of this seed has failed"):
        reproduce(short, inputs, backbone, 0, tmp_path / "seed")


def test_a_gradient_that_is_not_finite_stops_at_its_own_step(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = recipe.loss
    steps: list[int] = []

    def harmful(output: Output, label: torch.Tensor, coverage: torch.Tensor, config: Training) -> recipe.Loss:
        value = plain(output, label, coverage, config)
        steps.append(0)
        # The square root of zero has no finite gradient, and its value is harmless.
        extra = (output.score * 0).sum().sqrt()
        return replace(value, total=value.total + extra) if len(steps) == 6 else value

    monkeypatch.setattr(recipe, "loss", harmful)
    with pytest.raises(CheckError, match="the loss or its gradient is not finite at step 5 "):
        train(short, CachedInputs(features), backbone, 0, tmp_path / "seed")
    tensors = load_file(tmp_path / "seed" / "states" / "failed.safetensors")
    assert all(torch.isfinite(value).all() for value in tensors.values() if value.is_floating_point())


def test_reproduce_where_nothing_failed(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"failed\.json: there is none"):
        reproduce(short, CachedInputs(features), backbone, 0, tmp_path)


def test_images_of_one_photograph_stay_together(features: Features) -> None:
    parent = np.array([f"{row // 3}.png" for row in range(len(features))])
    fitted, held = split(CachedInputs(replace(features, parent=parent)), 0.25)
    assert len(held) >= 3
    assert not set(parent[fitted]) & set(parent[held])
    assert sorted([*fitted, *held]) == list(range(len(features)))


def test_split_is_stratified_and_the_same_for_every_seed(features: Features) -> None:
    inputs = CachedInputs(features)
    fitted, held = split(inputs, 0.25)
    assert sorted([*fitted, *held]) == list(range(len(features)))
    for group in "ab":
        for label in (0, 1):
            rows = np.flatnonzero((features.group == group) & (features.label == label))
            assert len(np.intersect1d(rows, held)) == len(rows) // 4
    np.random.seed(5)
    assert np.array_equal(held, split(inputs, 0.25)[1])
    assert len(split(inputs, 0)[1]) == 0


def test_no_validation_share_validates_on_what_was_fitted(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    profile = short.model_copy(update={"training": short.training.model_copy(update={"validation": 0.0})})
    metrics = train(profile, CachedInputs(features), backbone, 0, tmp_path).metrics
    assert 0 <= metrics["validation_auroc_score"] <= 100


def test_too_few_defects_to_hold_one_out(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    label = np.zeros(len(features), dtype=np.int64)
    label[:5] = 1
    metrics = train(short, CachedInputs(replace(features, label=label)), backbone, 0, tmp_path).metrics
    assert "too few to hold out" in metrics.pop("validated_on")
    assert np.isfinite(list(metrics.values())).all()


def test_scale_comes_from_the_given_features_alone(features: Features, backbone: torch.nn.Module) -> None:
    readout = EdgeGLR(
        backbone.channels, backbone.strides, Profile.model_fields["model"].annotation(backbone="x").readout
    )
    rows = np.arange(0, len(features), 2)
    fit_scale(readout, (example.inputs for example in CachedInputs(features).read(rows)))
    piece = features.maps[0][rows].astype(np.float64)
    module = readout.difference[0]
    assert (1 / module.scale).flatten().tolist() == pytest.approx(piece.std(axis=(0, 2, 3)).tolist(), rel=1e-3)


def test_the_summary_has_every_seed_its_mean_and_its_spread(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    folders = {seed: tmp_path / str(seed) for seed in (0, 1, 2)}
    metrics = [train(short, CachedInputs(features), backbone, seed, folder).metrics for seed, folder in folders.items()]
    table = summary(folders)
    assert list(table["seed"]) == ["0", "1", "2", "mean", "spread"]
    values = [row["validation_auroc_ranking"] for row in metrics]
    wanted = [*values, np.mean(values), np.std(values, ddof=1)]
    assert table["validation_auroc_ranking"].tolist() == pytest.approx(wanted)
    with pytest.raises(InputError, match=r"metrics\.json: missing; run notebook 03_training"):
        summary(folders | {3: tmp_path / "3"})


def test_nothing_warns(short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(short, CachedInputs(features), backbone, 0, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("change", [{"device": "gpu"}, {"precision": "fp16"}])
def test_what_needs_a_gpu_says_so(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path, change: dict[str, str]
) -> None:
    profile = short.model_copy(update={"training": short.training.model_copy(update=change)})
    with pytest.raises(InputError, match=r"training\.(precision: fp16 needs a GPU|device: gpu, but there is none)"):
        train(profile, CachedInputs(features), backbone, 0, tmp_path)


def test_bf16_trains_and_keeps_its_weights_in_fp32(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    profile = short.model_copy(update={"training": short.training.model_copy(update={"precision": "bf16"})})
    trained = train(profile, CachedInputs(features), backbone, 0, tmp_path / "bf16")
    exact = train(short, CachedInputs(features), backbone, 0, tmp_path / "fp32")
    weights = read_checkpoint(trained.checkpoint).weights
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert trained.curve["total"].tolist() == pytest.approx(exact.curve["total"].tolist(), rel=0.1)
    assert trained.curve["total"].tolist() != exact.curve["total"].tolist()


@pytest.fixture
def fp16(short: Profile, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """A profile in FP16, and Fabric as on a GPU but on the processor, whose half precision is slow and the same."""

    def on_the_processor(config: Training, logs: Path, first_step: int = 0) -> Fabric:
        scaler = torch.amp.GradScaler("cpu")
        fabric = Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)])
        fabric.launch()
        return fabric

    monkeypatch.setattr("edgezsad.training.train.make_fabric", on_the_processor)
    return short.model_copy(update={"training": short.training.model_copy(update={"precision": "fp16"})})


def test_fp16_trains_and_is_continued_with_its_scale(
    fp16: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    class Stopping(CachedInputs):
        def steps(self, *arguments):
            for number, example in enumerate(super().steps(*arguments)):
                if number == 8:
                    raise Stopped
                yield example

    profile = fp16.model_copy(update={"training": fp16.training.model_copy(update={"save_every": 4})})
    whole = train(profile, CachedInputs(features), backbone, 0, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(profile, Stopping(features), backbone, 0, tmp_path / "cut")
    record = json.loads((tmp_path / "cut" / "states" / "step-0000008.json").read_text())
    assert record["scaler"]["scale"] > 1
    assert record["scaler"]["_growth_tracker"] == 8 or record["scaler"]["scale"] < 65536
    assert train(profile, CachedInputs(features), backbone, 0, tmp_path / "cut").curve.equals(whole.curve)
    for name in ("checkpoint.safetensors", "states/step-0000012.safetensors", "states/step-0000012.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {one.dtype for one in read_checkpoint(whole.checkpoint).weights.values()} == {torch.float32}


def test_in_fp16_a_gradient_that_no_scale_mends_stops_training(
    fp16: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = recipe.loss

    def harmful(output: Output, label: torch.Tensor, coverage: torch.Tensor, config: Training) -> recipe.Loss:
        value = plain(output, label, coverage, config)
        return replace(value, total=value.total + (output.score * 0).sum().sqrt())

    monkeypatch.setattr(recipe, "loss", harmful)
    profile = fp16.model_copy(update={"training": fp16.training.model_copy(update={"steps": 40})})
    # From 65,536 the scale is halved seventeen times before it is below one.
    with pytest.raises(CheckError, match="the loss or its gradient is not finite at step 17 "):
        train(profile, CachedInputs(features), backbone, 0, tmp_path / "seed")
    assert json.loads((tmp_path / "seed" / "states" / "failed.json").read_text())["scaler"]["scale"] == 0.5
    assert not (tmp_path / "seed" / "checkpoint.safetensors").exists()


def test_in_fp16_a_gradient_too_large_for_its_scale_is_left_out(
    fp16: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = recipe.loss, []

    def harmful(output: Output, label: torch.Tensor, coverage: torch.Tensor, config: Training) -> recipe.Loss:
        value = plain(output, label, coverage, config)
        calls.append(0)
        return replace(value, total=value.total + (output.score * 0).sum().sqrt()) if len(calls) == 6 else value

    monkeypatch.setattr(recipe, "loss", harmful)
    train(fp16, CachedInputs(features), backbone, 0, tmp_path / "seed")
    record = json.loads((tmp_path / "seed" / "states" / "step-0000012.json").read_text())
    assert record["scaler"]["scale"] < 65536
