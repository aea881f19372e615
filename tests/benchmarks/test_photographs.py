"""The benchmark leaves out what it tests on, and its means give every set the same weight."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from edgezsad.config import EdgeGLRConfig, Model, SelfReferenceConfig
from edgezsad.data.images import load
from edgezsad.errors import InputError
from edgezsad.evaluate import find_test_images as images_of
from edgezsad.metrics.image_metrics import auroc
from edgezsad.model.detector import build_detector
from edgezsad.scoring.torch_scorer import TorchScorer
from edgezsad.source.source_images import plain_images
from edgezsad.training.inputs import CachedInputs
from edgezsad.training.trainer import TrainableModel


@pytest.fixture(scope="module")
def benchmark(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("photographs")


def test_a_set_is_left_out_whole_and_no_other(benchmark: ModuleType) -> None:
    group = np.array(["cells/a", "cells-2/a", "cells/b", "paper/a"])
    assert benchmark.rows_without(group, "cells").tolist() == [1, 3]
    with pytest.raises(InputError, match="no images of wood"):
        benchmark.rows_without(group, "wood")


def test_every_set_counts_alike(benchmark: ModuleType) -> None:
    rows = [
        {"set": "many", "seed": 0, "categories": {"a": {"image_auroc": 80.0}, "b": {"image_auroc": 100.0}}},
        {"set": "many", "seed": 1, "categories": {"a": {"image_auroc": 60.0}, "b": {"image_auroc": 80.0}}},
        {"set": "one", "seed": 0, "categories": {"c": {"image_auroc": 50.0, "pixel_auroc": 70.0}}},
    ]
    # (90 + 70) / 2 for the one set, 50 for the other.
    assert benchmark.mean_of_sets(rows, "image_auroc") == pytest.approx(65)
    # A set without masks is left out of the pixels' mean.
    assert benchmark.mean_of_sets(rows, "pixel_auroc") == pytest.approx(70)


def test_heads_are_compared_on_the_same_images(benchmark: ModuleType) -> None:
    generator = np.random.default_rng(0)
    label = np.repeat([0, 1], 40)
    said = {
        "label": label.tolist(),
        "image_auroc": (3 * label + generator.normal(size=80)).tolist(),
        "ranking_auroc": generator.normal(size=80).tolist(),
        **{name: (3 * label + generator.normal(size=80)).tolist() for name in benchmark.POOLINGS},
    }
    said["hard max"] = np.zeros(80).tolist()
    rows = [{"set": name, "seed": 0, "categories": {}, "scores": {"x": said}} for name in ("a", "b")]
    readout = SelfReferenceConfig(correction_gain=0.4, correction_limit=1)
    found = {one["way"].partition(":")[0]: one for one in benchmark.heads_compared(rows, readout)}
    assert (found["score"]["difference"], found["score"]["low"], found["score"]["high"]) == (0, 0, 0)
    assert found["global only"]["high"] < -10
    assert found["local only"]["low"] < 0 < found["local only"]["high"]
    assert found["score"]["image_auroc"] > 90
    # A map that is the same everywhere corrects nothing; another one does, as the readout would.
    assert found["score, the map pooled by its hard max"]["image_auroc"] == found["global only"]["image_auroc"]
    top = np.array(said["mean of the highest 1%"])
    expected = 100 * auroc(label, np.array(said["ranking_auroc"]) + np.tanh(0.4 * top))
    assert found["score, the map pooled by its mean of the highest 1%"]["image_auroc"] == pytest.approx(
        expected, abs=0.01
    )
    learned = benchmark.heads_compared(rows, EdgeGLRConfig())
    assert [one["way"].partition(":")[0] for one in learned] == ["score", "global only", "local only", "plain sum"]


def test_another_readout_is_checked_as_the_profile_is(benchmark: ModuleType) -> None:
    from edgezsad.config import load_profile
    from edgezsad.errors import InputError

    profile = load_profile(Path(benchmark.__file__).parents[1] / "configs" / "photographs.yaml", "anywhere")
    changed = benchmark.with_readout(profile, {"kind": "edgeglr"})
    assert changed.model.readout.kind == "edgeglr"
    assert profile.model.readout.kind == "self_reference"
    with pytest.raises(InputError, match=r"--readout: .*no_such"):
        benchmark.with_readout(profile, {"no_such": 1})
    with pytest.raises(InputError, match="names no value"):
        benchmark.with_readout(profile, 5)


@pytest.mark.parametrize("twice", [False, True])
def test_what_is_measured_is_what_a_user_gets(benchmark: ModuleType, tmp_path: Path, twice: bool) -> None:
    generator = np.random.default_rng(0)
    names = [("good", 0), ("good", 1), ("bad", 0), ("bad", 1)]
    for kind, number in names:
        path = tmp_path / "parts" / "bolt" / "test" / kind / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(path)
    (manifest,) = images_of([tmp_path / "parts"])
    readout = SelfReferenceConfig(correction_gain=0.4, context=1, map_rarity=8, map_ranking=1, clip=1)
    torch.manual_seed(0)
    model = Model(
        backbone="tf_efficientnet_lite0", weights="random", size=64, tta="rot180" if twice else "none", readout=readout
    )
    detector = build_detector(model)
    images = plain_images([manifest])
    looks = [images, benchmark.TurnedImages(images)] if twice else [images]
    inputs = [
        CachedInputs(benchmark.features_in(tmp_path / str(number), look, detector.backbone, 64))
        for number, look in enumerate(looks)
    ]
    maps: list[np.ndarray] = []
    _, said = benchmark.tested(
        TrainableModel(detector.readout).eval(),
        inputs[0],
        manifest,
        None,
        lambda category, example, shown, drawn: maps.extend(shown),
        second=inputs[1] if twice else None,
    )
    scorer = TorchScorer(detector)
    wanted = [scorer.score(load(manifest.path(entry), 64)) for entry in manifest.entries]
    # Cached features are rounded to float16.
    assert said["bolt"]["image_auroc"] == pytest.approx([score for score, _ in wanted], abs=0.02)
    assert np.abs(np.stack(maps) - np.stack([one for _, one in wanted])).max() < 0.05
    assert np.std([one for _, one in wanted]) > 0.1


def test_a_second_look_sees_image_and_mask_turned(benchmark: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "parts" / "bolt"
    for place in (folder / "test" / "bad" / "0.png", folder / "ground_truth" / "bad" / "0_mask.png"):
        place.parent.mkdir(parents=True)
        values = np.zeros((16, 16), dtype=np.uint8)
        values[1, 3] = 255
        Image.fromarray(values).save(place)
    (manifest,) = images_of([tmp_path / "parts"])
    images = plain_images([manifest])
    seen = benchmark.TurnedImages(images).read(0, 16)
    assert seen.pixels[14, 12].tolist() == [255, 255, 255] and seen.pixels.sum() == 3 * 255
    assert seen.mask[14, 12] and seen.mask.sum() == 1
    assert benchmark.TurnedImages(images).sha256 != images.sha256
