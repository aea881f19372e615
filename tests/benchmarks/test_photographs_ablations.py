"""The ablations on photographs: a variant changes one thing, rows go as named, intervals find what is there."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgezsad.config import Profile, load_profile
from edgezsad.errors import InputError
from edgezsad.metrics.image_metrics import auroc

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("photographs_ablations")


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile(ROOT / "configs" / "photographs.yaml", "anywhere")


def flat(value: object, name: str = "") -> dict[str, object]:
    """Every setting by its path."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None or not value:
        return {name: value}
    return {path: one for key, part in parts for path, one in flat(part, f"{name}/{key}").items()}


SETTINGS = {
    "no colour and light randomisation": {f"/data/source/{one}/generated/randomise" for one in range(3)},
    "224 pixels": {"/model/size"},
    "448 pixels": {"/model/size"},
    "backbone: lite2": {"/model/backbone"},
    "map without self-similarity": {"/model/readout/self_similarity"},
    "map without context or self-similarity": {"/model/readout/context"},
    "cues of unclipped channels": {"/model/readout/clip"},
    "noise 0": {"/model/readout/noise"},
    "noise 1": {"/model/readout/noise"},
    "no moving average": {"/training/ema"},
    "half the learning rate": {"/training/learning_rate"},
    "double the learning rate": {"/training/learning_rate"},
    "half the steps": {"/training/steps"},
    "double the steps": {"/training/steps"},
    # What the map gains comes from self-reference scores: it goes with them.
    "ranking: features": {
        f"/model/readout/{name}" for name in ("kind", "global_channels", "map_rarity", "map_ranking", "clip")
    },
    "ranking: features, no ranking loss": {"/training/ranking_weight"},
    "recipe, 7 steps": {"/training/steps"},
    "last stage tuned, 7 steps": {"/training/tuned_stages"},
}


def test_a_variant_changes_one_thing_of_what_it_is_compared_with(benchmark: ModuleType, profile: Profile) -> None:
    arms = {arm.name: arm for arm in benchmark.arms(0.25, 7)}
    assert len(arms) == len(benchmark.arms(0.25, 7))
    for arm in arms.values():
        pair = [flat(benchmark.changed(profile, one).model_dump(mode="json")) for one in (arm, arms[arm.against])]
        both = pair[0].keys() | pair[1].keys()
        # A list that is empty in one of them is a setting of its own.
        apart = {name.removesuffix("/0") for name in both if pair[0].get(name) != pair[1].get(name)}
        elsewhere = (arm.sources, arm.without, arm.map_strides, arm.coverage != 1)
        assert apart == SETTINGS.get(arm.name, set()), arm.name
        if arm.name != benchmark.RECIPE:
            assert bool(apart) + sum(map(bool, elsewhere)) == 1, arm.name
    assert benchmark.changed(profile, arms["half the steps"]).training.steps == profile.training.steps // 2


def test_rows_are_left_out_as_named_and_no_others(benchmark: ModuleType, profile: Profile) -> None:
    made, real = (next(s.name for s in profile.data.source if bool(s.generated) == one) for one in (True, False))
    group = np.array([f"{made}/a", f"{made}/a", f"{real}/b", f"{real}/b", f"{made}-2/c"])
    kind = np.array(["", "crack", "texture", "", "stain"])

    def kept(name: str, **other: np.ndarray) -> list[bool]:
        arm = next(one for one in benchmark.arms(0.25, 7) if one.name == name)
        return benchmark.kept_rows(arm, profile, other.get("group", group), other.get("kind", kind)).tolist()

    assert kept("recipe") == [True] * 5
    assert kept("generated images only") == [True, True, False, False, False]
    assert kept("photographs only") == [False, False, True, True, True]
    assert kept("no cracks and scratches") == [True, False, True, True, True]
    assert kept("no pasted textures") == [True, True, False, True, True]
    with pytest.raises(InputError, match="no geometry: leaves out nothing"):
        kept("no geometry")
    with pytest.raises(InputError, match="leaves out everything"):
        kept("generated images only", group=np.array([f"{real}/b"] * 5))
    with pytest.raises(InputError, match="no family of defects is called 'rust'"):
        benchmark.kept_rows(benchmark.Arm("no rust", without="rust"), profile, group, kind)


def test_only_adds_what_a_variant_is_compared_with_and_refuses_a_wrong_name(benchmark: ModuleType) -> None:
    every = benchmark.Given("", tuning_steps=7).arms()
    assert [arm.name for arm in benchmark.chosen(every, ["last stage tuned, 7 steps"])] == [
        "recipe",
        "recipe, 7 steps",
        "last stage tuned, 7 steps",
    ]
    assert not [arm for arm in benchmark.chosen(every, []) if arm.asked]
    with pytest.raises(InputError, match="no variant is called 'noise 9'"):
        benchmark.chosen(every, ["noise 9"])


def made_up(benchmark: ModuleType, planted: float, seed: int) -> dict:
    """A row of two categories whose scores and maps know the label so well."""
    whole, again = {}, {}
    for category in ("x", "y"):
        fixed = np.random.default_rng([seed, ord(category)])
        label = np.repeat([0, 1], 40)
        coverage = np.zeros((80, 4, 4))
        coverage[40:, 1, 2] = 0.1
        pairs = {
            "image_auroc": benchmark.of_images(label, planted * label + fixed.normal(size=80), category),
            "cell_auroc": benchmark.of_cells(
                label, planted * (coverage > 0) + fixed.normal(size=(80, 4, 4)), coverage, category
            ),
        }
        for measure, (value, resamples) in pairs.items():
            whole.setdefault(measure, {})[category], again.setdefault(measure, {})[category] = value, resamples
    return {"set": "a", "seed": seed, "whole": whole, "again": again}


@pytest.mark.parametrize("measure", ["image_auroc", "cell_auroc"])
def test_a_planted_effect_is_found_and_none_where_there_is_none(benchmark: ModuleType, measure: str) -> None:
    good, same, bad = ([made_up(benchmark, much, seed) for seed in (0, 1)] for much in (2.0, 2.0, 0.5))
    nothing = benchmark.compared(same, good, measure)
    assert (nothing["difference"], nothing["low"], nothing["high"]) == (0, 0, 0)
    found = benchmark.compared(bad, good, measure)
    assert found["low"] < found["difference"] < found["high"] < -5
    assert np.mean(found["difference_by_seed"]) == pytest.approx(found["difference"], abs=0.02)
    with pytest.raises(ValueError, match="other sets or seeds"):
        benchmark.compared(bad, good[:1], measure)


def test_an_interval_is_as_wide_as_theory_says(benchmark: ModuleType) -> None:
    # Against chance itself: the standard error of the AUROC of n and n normal numbers is sqrt((2n + 1) / 12n²).
    count = 200
    label = np.repeat([0, 1], count)
    _, again = benchmark.of_images(label, np.random.default_rng(0).normal(size=2 * count), "x")
    assert np.std(again) == pytest.approx(np.sqrt((2 * count + 1) / (12 * count**2)), rel=0.15)


def test_cells_are_ranked_as_the_package_does_and_unknown_masks_are_left_out(benchmark: ModuleType) -> None:
    generator = np.random.default_rng(3)
    label, coverage = np.repeat([0, 1], 10), np.zeros((20, 5, 5))
    coverage[10:] = generator.random((10, 5, 5)) < 0.2
    maps = generator.normal(size=(20, 5, 5)) + coverage
    value, again = benchmark.of_cells(label, maps, coverage, "x")
    assert value == pytest.approx(auroc((coverage > 0).ravel().astype(int), maps.ravel()), abs=1e-3)
    assert len(again) == benchmark.REPLICATES
    # What rounding leaves of a cell beside a mask is no defect.
    assert benchmark.of_cells(label, maps, np.where(coverage > 0, coverage, 1e-13), "x") == (value, again)
    coverage[15:] = np.nan
    known = ~np.isnan(coverage)
    value, _ = benchmark.of_cells(label, maps, coverage, "x")
    assert value == pytest.approx(auroc((coverage[known] > 0).astype(int), maps[known]), abs=2e-3)
    assert benchmark.of_cells(label, maps, np.where(np.isnan(coverage), np.nan, 0), "x") is None


def test_poolings_are_as_by_hand(script: Callable[[str], ModuleType]) -> None:
    benchmark = script("photographs_parts")
    maps = np.arange(200.0).reshape(1, 200)
    found = {name: float(pool(maps)[0]) for name, pool in benchmark.POOLINGS.items()}
    assert found["hard max"] == 199
    assert found["mean of the highest 1%"] == 198.5
    assert found["mean of all cells"] == 99.5
    weight = np.exp(maps - 199)
    assert found["softmax mean"] == pytest.approx(float((weight * maps).sum() / weight.sum()))


def test_maps_are_made_of_their_parts(script: Callable[[str], ModuleType], profile: Profile) -> None:
    parts, resampled = script("photographs_parts"), script("photographs_resampled")
    generator = np.random.default_rng(0)
    label, drawn, rare = np.repeat([0, 1], 10), generator.normal(size=(20, 4, 4)), generator.normal(size=(20, 4, 4))
    ranking, coverage = generator.normal(size=20), (generator.random((20, 4, 4)) < 0.3) * label[:, None, None] * 1.0
    readout = profile.model.readout.model_copy(update={"map_ranking": 0.5})
    shown = drawn + rare + 0.5 * ranking[:, None, None]
    scores = {"label": label.tolist(), "ranking_auroc": ranking.tolist()}
    found = dict(parts.of_parts(scores, shown, drawn, coverage, readout, "x"))
    wanted = {
        "head alone": drawn,
        "rarity alone": rare,
        "head and rarity": drawn + rare,
        "head, rarity and ranking": shown,
    }
    for name, maps in wanted.items():
        assert found[f"cell_auroc, {name}"][0] == pytest.approx(
            resampled.of_cells(label, maps, coverage, "x")[0], abs=1e-6
        )
    assert found["image_auroc, hard max"][0] == pytest.approx(
        auroc(label, parts.corrected(ranking, drawn.max(axis=(1, 2)), readout))
    )


def test_the_map_alone_is_blind_to_a_stride(benchmark: ModuleType, profile: Profile) -> None:
    import copy
    from types import SimpleNamespace

    import torch

    from edgezsad.model.detector import build_readout

    torch.manual_seed(0)
    config = profile.model.readout.model_copy(update={"self_similarity": ()})
    readout = build_readout((4, 5, 6), (8, 16, 32), config, 128).eval()
    average = SimpleNamespace(module=SimpleNamespace(readout=copy.deepcopy(readout)))
    benchmark.blind_to((16, 32), SimpleNamespace(model=SimpleNamespace(readout=readout), average=average))
    features = [torch.randn(2, count, 128 // stride, 128 // stride) for count, stride in ((4, 8), (5, 16), (6, 32))]
    for one in (readout, average.module.readout):
        before = one.local_map(features)
        assert torch.equal(before, one.local_map([torch.randn_like(features[0]), *features[1:]]))
        assert not torch.equal(before, one([*features[:2], torch.randn_like(features[2])]).map)
        # The ranking still reads it.
        assert not torch.equal(one.self_reference(features)[0], one.self_reference([features[0] * 3, *features[1:]])[0])


def test_every_kind_of_defect_has_one_family(script: Callable[[str], ModuleType]) -> None:
    from edgezsad.source.synthetic_defects import DEFECTS

    families = script("photographs_arms").FAMILIES
    named = [kind for family in families.values() for kind in family]
    assert len(named) == len(set(named))
    assert {kind.__name__ for kind in DEFECTS} <= set(named)
