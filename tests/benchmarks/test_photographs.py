"""The benchmark leaves out what it tests on, and its means give every set the same weight."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgezsad.errors import InputError


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
        "peak": (3 * label + generator.normal(size=80)).tolist(),
    }
    rows = [{"set": name, "seed": 0, "categories": {}, "scores": {"x": said}} for name in ("a", "b")]
    found = {one["way"].partition(":")[0]: one for one in benchmark.heads_compared(rows)}
    assert (found["score"]["difference"], found["score"]["low"], found["score"]["high"]) == (0, 0, 0)
    assert found["global only"]["high"] < -10
    assert found["local only"]["low"] < 0 < found["local only"]["high"]
    assert found["score"]["image_auroc"] > 90


def test_another_readout_is_checked_as_the_profile_is(benchmark: ModuleType) -> None:
    from edgezsad.config import load_profile
    from edgezsad.errors import EdgeZSADError

    profile = load_profile(Path(benchmark.__file__).parents[1] / "configs" / "photographs.yaml", "anywhere")
    changed = benchmark.with_readout(profile, {"ranking": "features", "map_rarity": 0, "map_ranking": 0, "clip": None})
    assert changed.model.readout.ranking == "features"
    assert profile.model.readout.ranking == "cues"
    with pytest.raises((ValueError, EdgeZSADError)):
        benchmark.with_readout(profile, {"no_such": 1})
