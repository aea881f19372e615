"""The benchmark of cues: AUROC as the package's, intervals that hold what they should, variants as named."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from edgezsad.metrics.image_metrics import auroc
from edgezsad.model.self_reference import NAMES


@pytest.fixture(scope="module")
def benchmark(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("cues")


def test_its_auroc_is_the_packages(benchmark: ModuleType) -> None:
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, 50)
    score = generator.integers(0, 10, 50).astype(float)
    assert benchmark.fast_auroc(label, score) == pytest.approx(auroc(label, score))


def test_sets_count_alike_and_a_clear_difference_has_an_interval_clear_of_zero(benchmark: ModuleType) -> None:
    generator = np.random.default_rng(1)
    label = {name: np.repeat([0, 1], 60) for name in ("a/x", "a/y", "b/z")}
    noise = {name: generator.normal(size=120) for name in label}
    scores = {
        "recipe": {name: noise[name] + 3 * label[name] for name in label},
        "the same": {name: 2 * (noise[name] + 3 * label[name]) for name in label},
        "blind": noise,
    }
    recipe, same, blind = benchmark.compared(scores, label)
    expected = [
        np.mean([100 * auroc(label[n], scores["recipe"][n]) for n in names]) for names in (("a/x", "a/y"), ("b/z",))
    ]
    assert recipe["sets"]["mean"] == pytest.approx(np.mean(expected), abs=0.01)
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)
    assert blind["low"] < blind["difference"] < blind["high"] < -20


def test_variants_change_what_they_are_named_for(benchmark: ModuleType) -> None:
    found = benchmark.variants()
    assert found["no rarity"].cues == tuple(one for one in range(len(NAMES)) if NAMES[one] != "rarity")
    sets, real = np.array(["parts", "cells"]), np.array([False, True])
    assert [name for name, one in found.items() if not one.clipped] == ["unclipped channels"]
    assert found["generated images only"].source(sets, real).tolist() == [True, False]
    assert found["photographs only"].source(sets, real).tolist() == [False, True]
    # A cue that is lower in defective images gets no weight where weights are fitted, and counts like all otherwise.
    label, group = np.tile([0, 1], 40), np.repeat(["a/x", "a/y"], 40)
    cues = np.random.default_rng(2).normal(size=(80, len(NAMES))) + 2 * label[:, None]
    cues[:, 0] -= 4 * label
    assert benchmark.fitted_weight(found["fitted weights"], cues, label, group)[0] == 0
    assert (benchmark.fitted_weight(found["recipe"], cues, label, group) > 0).all()


def test_cues_are_read_with_and_without_clipping(benchmark: ModuleType) -> None:
    from types import SimpleNamespace

    import torch

    from edgezsad.config import SelfReferenceConfig
    from edgezsad.model.detector import build_readout

    torch.manual_seed(0)
    clipped, plain = (
        build_readout((4, 5, 6), (8, 16, 32), SelfReferenceConfig(correction_gain=0.5, clip=clip), 128).eval()
        for clip in (0.5, None)
    )
    features = [torch.randn(2, count, 128 // stride, 128 // stride) for count, stride in ((4, 8), (5, 16), (6, 32))]
    inputs = SimpleNamespace(read=lambda rows: [SimpleNamespace(inputs=[one[rows] for one in features])])
    found = benchmark.numbers(clipped, inputs, np.array([1, 0]))
    for way, readout in ((True, clipped), (False, plain)):
        assert np.array_equal(found[way], readout.self_reference([one[[1, 0]] for one in features])[0].numpy())
    assert not np.array_equal(found[True], found[False])
    assert clipped.scores.clip == 0.5
