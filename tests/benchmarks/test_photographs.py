"""Sets left out of the source: no training on the tested set, equal weight of sets, paired differences."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from edgezsad.config import Model, SelfReferenceConfig
from edgezsad.data.images import load
from edgezsad.errors import InputError
from edgezsad.evaluate import find_test_images
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


def test_every_set_has_the_same_weight(benchmark: ModuleType) -> None:
    rows = [
        {"set": "many", "seed": 0, "categories": {"a": {"image_auroc": 80.0}, "b": {"image_auroc": 100.0}}},
        {"set": "many", "seed": 1, "categories": {"a": {"image_auroc": 60.0}, "b": {"image_auroc": 80.0}}},
        {"set": "one", "seed": 0, "categories": {"c": {"image_auroc": 50.0, "pixel_auroc": 70.0}}},
    ]
    # (90 + 70) / 2 for the first set, 50 for the second; only the second has masks.
    assert benchmark.mean_of_sets(rows, "image_auroc") == pytest.approx(65)
    assert benchmark.mean_of_sets(rows, "pixel_auroc") == pytest.approx(70)


@pytest.mark.slow
def test_measured_scores_are_those_of_the_scorer(benchmark: ModuleType, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for kind, number in (("good", 0), ("good", 1), ("bad", 0), ("bad", 1)):
        path = tmp_path / "parts" / "bolt" / "test" / kind / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(path)
    (manifest,) = find_test_images([tmp_path / "parts"])
    readout = SelfReferenceConfig(correction_gain=0.4, context=1, map_rarity=8, map_ranking=1, clip=1)
    torch.manual_seed(0)
    model = Model(backbone="tf_efficientnet_lite0", weights="random", size=64, tta="rot180", readout=readout)
    detector = build_detector(model)
    images = plain_images([manifest])
    views = [images, benchmark.RotatedImages(images)]
    inputs = [
        CachedInputs(benchmark.features_in(tmp_path / str(number), view, detector.backbone, 64))
        for number, view in enumerate(views)
    ]
    _, said = benchmark.tested(TrainableModel(detector.readout).eval(), inputs, manifest, None)
    scorer = TorchScorer(detector)
    wanted = [scorer.score(load(manifest.path(entry), 64))[0] for entry in manifest.entries]
    # Cached features are rounded to float16.
    assert said["bolt"]["image_auroc"] == pytest.approx(wanted, abs=0.02)
    assert np.std(wanted) > 0
