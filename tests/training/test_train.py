"""Training finds a planted signal, repeats itself to the bit, and says when it cannot go on."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgezsad.config import Profile
from edgezsad.errors import CheckError, InputError
from edgezsad.model.detector import read_checkpoint
from edgezsad.model.readout import EdgeGLR
from edgezsad.training.features import CacheInfo, Features
from edgezsad.training.train import Trained, fit_scale, split, train

IMAGES = 120


@pytest.fixture(scope="module")
def features(backbone: torch.nn.Module) -> Features:
    """Noise; in every defective image one cell at the finest stride stands out, and its mask says where."""
    generator = np.random.default_rng(0)
    label = (np.arange(IMAGES) % 3 == 0).astype(np.int64)
    maps = [
        generator.normal(size=(IMAGES, channels, 64 // stride, 64 // stride)).astype(np.float16)
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]
    coverage = np.zeros((IMAGES, 8, 8), dtype=np.float32)
    for row in np.flatnonzero(label):
        place = generator.integers(0, 8, 2)
        maps[0][row, 2, place[0], place[1]] += 12
        coverage[row, place[0], place[1]] = 1
    coverage[0] = np.nan
    info = CacheInfo(
        backbone="small", backbone_sha256=backbone.sha256(), size=64, strides=(8, 16), source_sha256="s", images=IMAGES
    )
    parent = np.array([f"{row}.png" for row in range(IMAGES)])
    return Features(maps, coverage, label, np.array(["a", "b"])[np.arange(IMAGES) % 2], parent, info)


@pytest.fixture
def profile(make_profile: Callable[..., Profile], tmp_path: Path) -> Profile:
    return make_profile(tmp_path, training={"steps": 150, "batch": 32, "warmup": 10, "learning_rate": 1e-2})


@pytest.fixture
def short(make_profile: Callable[..., Profile], tmp_path: Path) -> Profile:
    return make_profile(tmp_path, training={"steps": 12, "batch": 8, "warmup": 2, "learning_rate": 1e-2})


def test_a_planted_signal_is_found(
    profile: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    trained = train(profile, features, backbone, 0, tmp_path / "seed")
    metrics = trained.metrics
    # Percent, on images that training has not seen.
    assert 97 < metrics["validation_auroc_score"] <= 100
    # The map was let in.
    assert metrics["gain"] != 0
    assert (metrics["seed"], metrics["steps"], metrics["source_images"]) == (0, 150, IMAGES)
    # One cell says nothing to the global head, which sees averages.
    terms = trained.curve[["image", "ranking", "map"]]
    assert (terms.iloc[-1] < 0.5 * terms.iloc[0]).all()
    # And the map shows the place.
    readout = EdgeGLR(backbone.channels, backbone.strides, profile.model.readout).eval()
    readout.load_state_dict(read_checkpoint(trained.checkpoint).weights)
    row = int(np.flatnonzero(features.label)[1])
    with torch.inference_mode():
        output = readout([torch.from_numpy(stored[row : row + 1].astype(np.float32)) for stored in features.maps])
    assert int(output.map.argmax()) == int(features.coverage[row].argmax())


def test_what_is_written(short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path) -> None:
    trained = train(short, features, backbone, 1, tmp_path / "seed")
    assert sorted(item.name for item in (tmp_path / "seed").iterdir()) == [
        "checkpoint.safetensors",
        "curve.csv",
        "metrics.json",
    ]
    info, weights = vars(read_checkpoint(trained.checkpoint)).values()
    # The channel statistics are those of the images that it was fitted on.
    seen = features.maps[1][split(features, short.training.validation)[0]].astype(np.float64).std(axis=(0, 2, 3))
    assert (1 / weights["difference.1.scale"]).flatten().tolist() == pytest.approx(seen.tolist(), rel=1e-3)
    assert (info.seed, info.model, info.profile) == (1, short.model, "mini")
    assert info.threshold == trained.metrics["threshold"]
    assert (info.backbone_sha256, info.source_sha256) == (backbone.sha256(), "s")
    assert json.loads((tmp_path / "seed" / "metrics.json").read_text()) == trained.metrics
    with open(tmp_path / "seed" / "curve.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == [0, 10, 11]
    assert float(rows[-1]["learning_rate"]) < 0.05 * 1e-2


def test_same_seed_same_bytes_other_seed_other_weights(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    def trained(seed: int, name: str) -> Trained:
        torch.rand(7)
        return train(short, features, backbone, seed, tmp_path / name)

    first, again, other = trained(3, "first"), trained(3, "again"), trained(4, "other")
    for name in ("checkpoint.safetensors", "curve.csv", "metrics.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert first.metrics == again.metrics
    mine, theirs = read_checkpoint(first.checkpoint).weights, read_checkpoint(other.checkpoint).weights
    assert not torch.equal(mine["ranking.0.weight"], theirs["ranking.0.weight"])
    assert first.curve["image"].iloc[-1] != other.curve["image"].iloc[-1]


def test_features_of_another_backbone_or_size_are_refused(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    for change in ({"backbone_sha256": "0" * 64}, {"size": 96}, {"strides": (8, 32)}):
        other = replace(features, info=features.info.model_copy(update=change))
        with pytest.raises(InputError, match="made by another backbone, size or strides; run notebook 02_features"):
            train(short, other, backbone, 0, tmp_path / "seed")
    assert not (tmp_path / "seed").exists()


@pytest.mark.parametrize("value", [0, 1])
def test_a_source_of_one_class_is_refused(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path, value: int
) -> None:
    with pytest.raises(InputError, match="needs normal and defective images"):
        train(short, replace(features, label=np.full(IMAGES, value)), backbone, 0, tmp_path / "seed")


def test_a_loss_that_is_not_finite_stops_training(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    broken = replace(features, maps=[np.full_like(stored, np.nan) for stored in features.maps])
    with pytest.raises(CheckError, match="seed 0: the loss is not finite at step 0") as caught:
        train(short, broken, backbone, 0, tmp_path / "seed")
    assert caught.value.exit_code == 1
    # Nothing that could be taken for a result.
    assert not (tmp_path / "seed").exists()


def test_images_of_one_photograph_stay_together(features: Features) -> None:
    parent = np.array([f"{row // 3}.png" for row in range(IMAGES)])
    fitted, held = split(replace(features, parent=parent), 0.25)
    assert len(held) >= 3
    assert not set(parent[fitted]) & set(parent[held])
    assert sorted([*fitted, *held]) == list(range(IMAGES))


def test_split_is_stratified_and_the_same_for_every_seed(features: Features) -> None:
    fitted, held = split(features, 0.25)
    assert sorted([*fitted, *held]) == list(range(IMAGES))
    for group in "ab":
        for label in (0, 1):
            rows = np.flatnonzero((features.group == group) & (features.label == label))
            assert len(np.intersect1d(rows, held)) == len(rows) // 4
    np.random.seed(5)
    assert np.array_equal(held, split(features, 0.25)[1])
    assert len(split(features, 0)[1]) == 0


def test_no_validation_share_validates_on_what_was_fitted(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    profile = short.model_copy(update={"training": short.training.model_copy(update={"validation": 0.0})})
    assert 0 <= train(profile, features, backbone, 0, tmp_path).metrics["validation_auroc_score"] <= 100


def test_too_few_defects_to_hold_one_out(
    short: Profile, features: Features, backbone: torch.nn.Module, tmp_path: Path
) -> None:
    label = np.zeros(IMAGES, dtype=np.int64)
    label[:5] = 1
    metrics = train(short, replace(features, label=label), backbone, 0, tmp_path).metrics
    assert "too few to hold out" in metrics.pop("validated_on")
    assert np.isfinite(list(metrics.values())).all()


def test_scale_comes_from_the_fitted_rows_alone(features: Features, backbone: torch.nn.Module) -> None:
    readout = EdgeGLR(
        backbone.channels, backbone.strides, Profile.model_fields["model"].annotation(backbone="x").readout
    )
    shifted = replace(features, maps=[stored.copy() for stored in features.maps])
    rows = np.arange(0, IMAGES, 2)
    shifted.maps[0][1::2] += 100
    fit_scale(readout, shifted, rows)
    piece = features.maps[0][rows].astype(np.float64)
    module = readout.difference[0]
    assert (1 / module.scale).flatten().tolist() == pytest.approx(piece.std(axis=(0, 2, 3)).tolist(), rel=1e-3)
