"""The benchmark leaves out what it tests on, and its means give every set the same weight."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from edgezsad.config import Model, SelfReferenceConfig, load_profile
from edgezsad.data.images import load
from edgezsad.errors import InputError
from edgezsad.evaluate import find_test_images as images_of
from edgezsad.metrics.image_metrics import auroc
from edgezsad.model.detector import build_detector
from edgezsad.scoring.torch_scorer import TorchScorer
from edgezsad.source.render import plain_images
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


def rows_of(benchmark: ModuleType, planted: float) -> list[dict]:
    """Two sets of made-up scores and cells that know the label more or less."""
    rows = []
    for name in ("a", "b"):
        generator = np.random.default_rng(len(rows))
        label, fraction = np.repeat([0, 1], 40), np.zeros((80, 4, 4))
        fraction[40:, 1, 2] = 0.1
        cells = planted * (fraction > 0) + generator.normal(size=fraction.shape)
        said = {"label": label.tolist(), "image_auroc": (planted * label + generator.normal(size=80)).tolist()}
        said["cells"] = benchmark.cells_of(label, cells, fraction, "x")
        rows.append({"set": name, "seed": 0, "scores": {"x": said}})
    return rows


@pytest.mark.parametrize("measure", ["image_auroc", "cells"])
def test_a_planted_difference_is_found_and_none_where_there_is_none(benchmark: ModuleType, measure: str) -> None:
    good, bad = rows_of(benchmark, 2.0), rows_of(benchmark, 0.5)
    same = benchmark.compared(good, measure, rows_of(benchmark, 2.0), measure)
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)
    found = benchmark.compared(bad, measure, good, measure)
    assert found["low"] < found["difference"] < found["high"] < -5
    with pytest.raises(InputError, match="measured on other sets or seeds"):
        benchmark.compared(bad, measure, good[:1], measure)


def test_cells_without_a_known_mask_are_left_out(benchmark: ModuleType) -> None:
    generator = np.random.default_rng(3)
    label, fraction = np.repeat([0, 1], 10), np.zeros((20, 5, 5))
    fraction[10:] = generator.random((10, 5, 5)) < 0.2
    maps = generator.normal(size=(20, 5, 5)) + fraction
    fraction[15:] = np.nan
    value, *again = benchmark.cells_of(label, maps, fraction, "x")
    assert value == pytest.approx(auroc((fraction[:15] > 0).ravel().astype(int), maps[:15].ravel()), abs=5e-4)
    assert np.min(again) < value < np.max(again)
    assert benchmark.cells_of(label, maps, np.where(np.isnan(fraction), np.nan, 0), "x") == []


def test_a_variant_changes_one_setting(script: Callable[[str], ModuleType]) -> None:
    ablations = script("photographs_ablations")
    profile = load_profile(Path(ablations.__file__).parents[1] / "configs" / "photographs.yaml", "anywhere")
    names = [arm.name for arm in ablations.ARMS]
    assert len(set(names)) == len(names) and {arm.against for arm in ablations.ARMS} <= set(names)
    for arm in ablations.ARMS[1:]:
        assert sum(map(bool, (arm.training, arm.readout, arm.factor, arm.sources))) in (1, 2), arm.name
    recipe, *others = (ablations.changed(profile, arm) for arm in ablations.ARMS)
    apart = [other != recipe for other in others]
    assert apart == [not arm.sources for arm in ablations.ARMS[1:]]
    made, real = (next(s.name for s in profile.data.source if bool(s.generated) == one) for one in (True, False))
    group = np.array([f"{made}/a", f"{real}/b", f"{made}-2/c"])
    kept = {arm.name: arm for arm in ablations.ARMS}
    assert ablations.kept_rows(kept["recipe"], profile, group).all()
    assert ablations.kept_rows(kept["generated images only"], profile, group).tolist() == [True, False, False]
    assert ablations.kept_rows(kept["photographs only"], profile, group).tolist() == [False, True, True]
    with pytest.raises(InputError, match="leaves out everything"):
        ablations.kept_rows(kept["generated images only"], profile, group[1:2])


def test_another_readout_is_checked_as_the_profile_is(benchmark: ModuleType) -> None:
    profile = load_profile(Path(benchmark.__file__).parents[1] / "configs" / "photographs.yaml", "anywhere")
    changed = benchmark.with_readout(profile, {"kind": "edgeglr"})
    assert changed.model.readout.kind == "edgeglr"
    assert profile.model.readout.kind == "self_reference"
    with pytest.raises(InputError, match=r"--readout: .*no_such"):
        benchmark.with_readout(profile, {"no_such": 1})
    with pytest.raises(InputError, match="names no value"):
        benchmark.with_readout(profile, 5)


@pytest.mark.slow
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
    _, said = benchmark.tested(
        TrainableModel(detector.readout).eval(),
        inputs[0],
        manifest,
        None,
        second=inputs[1] if twice else None,
    )
    scorer = TorchScorer(detector)
    wanted = [scorer.score(load(manifest.path(entry), 64)) for entry in manifest.entries]
    # Cached features are rounded to float16.
    assert said["bolt"]["image_auroc"] == pytest.approx([score for score, _ in wanted], abs=0.02)
    assert np.std([score for score, _ in wanted]) > 0
