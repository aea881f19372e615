"""Ablations: held-out families stay out of training, differences are paired, intervals are finite."""

import json
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from torch import nn

from edgezsad.config import Profile
from edgezsad.errors import InputError
from edgezsad.training.features import CacheInfo, Features
from edgezsad.training.inputs import CachedInputs

FAMILIES, EACH = 6, 8


class Strides(nn.Module):
    """What a readout needs of a backbone when features are cached."""

    name, weights, strides, channels = "small", "random", (8, 16), (3, 4)

    def sha256(self) -> str:
        return "b"


@pytest.fixture(scope="module")
def benchmark(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("ablations")


@pytest.fixture(scope="module")
def inputs() -> CachedInputs:
    count = FAMILIES * EACH
    generator = np.random.default_rng(0)
    label = np.arange(count) % 2
    maps = [generator.normal(size=(count, c, s, s)).astype(np.float16) for c, s in ((3, 8), (4, 4))]
    maps[0][label == 1, 0, 2, 2] += 6
    coverage = np.zeros((count, 8, 8), dtype=np.float32)
    coverage[label == 1, 2, 2] = 0.5
    group = np.array([f"source/family{row // EACH}" for row in range(count)])
    shas = dict.fromkeys(("backbone_sha256", "source_sha256", "features_sha256"), "s")
    info = CacheInfo(backbone="small", size=64, strides=(8, 16), images=count, recipe=1, **shas)
    return CachedInputs(Features(maps, coverage, label, group, np.array([f"{n}.png" for n in range(count)]), info))


@pytest.mark.slow
def test_every_arm_gives_valid_rows(
    benchmark: ModuleType, make_profile: Callable[..., Profile], inputs: CachedInputs
) -> None:
    profile = make_profile(training={"steps": 5, "batch": 8, "warmup": 2, "ema": 0.5})
    jobs = [(arm, seed) for arm in benchmark.ARMS for seed in (0, 1)]
    found = [row for job in jobs for row in benchmark.rows_of(profile, inputs, Strides(), *job, 2)]
    against = benchmark.compared_with(benchmark.ARMS, profile.training.ema)
    assert {row["variant"] for row in found} == set(against)
    for row in found:
        values = [value for measure in benchmark.MEASURES for value in row[measure].values()]
        assert len(values) == 4 and all(0 <= value <= 100 for value in values)
        assert row["images"] == (FAMILIES - 2) * EACH or "uneven" in row["variant"]
    summary = benchmark.summarised(found, against)
    json.dumps(summary, allow_nan=False)
    full = summary[0]["image_auroc"]
    assert full["difference"] == full["low"] == full["high"] == full["difference_spread"] == 0


def test_held_out_families(benchmark: ModuleType) -> None:
    group = np.repeat([f"set/{n:02d}" for n in range(25)], 3)
    parts = [benchmark.held_out_families(group, seed) for seed in range(5)]
    assert [len(part) for part in parts] == [5] * 5 and len(set().union(*parts)) == 25


def test_paired_differences_by_hand(benchmark: ModuleType) -> None:
    values = {
        ("x", 1): {"c": 70.0, "d": 60.0},
        ("full", 0): {"a": 80.0, "b": 90.0},
        ("x", 0): {"a": 82.0, "b": 89.0},
        ("full", 1): {"c": 75.0, "d": 61.0},
    }
    rows = [{"variant": name, "seed": seed, "image_auroc": v, "pixel_auroc": v} for (name, seed), v in values.items()]
    assert benchmark.paired(rows, "x", "full", "image_auroc").tolist() == [[2, -1], [-5, -1]]
    entry = benchmark.summarised(rows, {"full": "full", "x": "full"})[1]["image_auroc"]
    # Means of the seeds: 85.5 and 65; of their differences: 0.5 and -3.
    assert (entry["mean"], entry["difference"]) == (75.25, -1.25)
    assert entry["spread"] == pytest.approx(20.5 / 2**0.5, abs=1e-4)
    with pytest.raises(InputError, match="other seeds or families than full"):
        benchmark.paired(rows[:3], "x", "full", "image_auroc")
