"""Cues of an image against itself: what each of them sees, that weights stay non-negative, and that they export."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from edgezsad.config import Model, Readout
from edgezsad.errors import InputError
from edgezsad.export.lint import lint
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model.cues import NAMES, CueRanking, Cues
from edgezsad.model.detector import build_detector
from edgezsad.model.readout import EdgeGLR
from edgezsad.training.ranking import Middle, fit_ranking

SIZE = 128
CHANNELS = (4, 6, 8)


def symmetric(seed: int = 0) -> list[torch.Tensor]:
    """Differences of an image that is its own mirror image both ways, at strides 8, 16 and 32."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for channels, stride in zip(CHANNELS, (8, 16, 32), strict=True):
        half = SIZE // stride // 2
        corner = torch.randn(1, channels, half, half, generator=generator)
        top = torch.cat([corner, corner.flip(3)], dim=3)
        found.append(torch.cat([top, top.flip(2)], dim=2))
    return found


def named(found: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
    return dict(zip(NAMES, found[0][0].tolist(), strict=True))


def plain() -> list[torch.Tensor]:
    """Differences of an image whose places are all alike."""
    return [
        torch.ones(1, channels, SIZE // stride, SIZE // stride)
        for channels, stride in zip(CHANNELS, (8, 16, 32), strict=True)
    ]


def with_odd_place() -> list[torch.Tensor]:
    """The same with one place at the middle stride that has no like: row 3, column 5."""
    odd = plain()
    odd[1][:, ::2, 3, 5] = -1.0
    return odd


def test_a_symmetric_image_has_no_asymmetry_and_a_broken_one_has() -> None:
    cues = Cues(SIZE)
    whole = symmetric()
    broken = [one.clone() for one in whole]
    for one in broken:
        # A quarter of the left edge, from the top, shows something else than the right one.
        side = one.shape[-1]
        one[:, :, : side // 2, : side // 4] = 3.0
    before, after = named(cues(whole)), named(cues(broken))
    for name in NAMES[:3]:
        # Not zero: the nearest of nine neighbours is a mean over them.
        assert before[name] < 0.2
        assert after[name] > before[name] + 0.1, name


def test_one_asymmetry_says_which_axis_is_broken() -> None:
    cues = Cues(SIZE)
    # Left and right halves differ, top and bottom do not.
    generator = torch.Generator().manual_seed(3)
    image = []
    for channels, stride in zip(CHANNELS, (8, 16, 32), strict=True):
        side = SIZE // stride
        top = torch.randn(1, channels, side // 2, side, generator=generator)
        image.append(torch.cat([top, top.flip(2)], dim=2))
    found = named(cues(image))
    assert found["asymmetry top to bottom"] < 0.2
    assert found["asymmetry left to right"] > 0.3


def test_a_place_that_has_no_like_is_rare_and_the_map_shows_where() -> None:
    cues = Cues(SIZE)
    assert named(cues(with_odd_place()))["rarity"] > named(cues(plain()))["rarity"] + 0.1
    rare = cues(with_odd_place())[1][0, 0]
    side = SIZE // 16
    assert rare.shape == (side, side)
    assert divmod(rare.argmax().item(), side) == (3, 5)
    others = rare.flatten()[torch.arange(side**2) != 3 * side + 5]
    assert rare.max() > others.max() + 0.5


def test_rarity_is_a_distance_that_grows_with_the_difference() -> None:
    """An angle would not: places of different images have to be told apart by it."""
    cues = Cues(SIZE)
    twice = [2 * one for one in with_odd_place()]
    once, grown = cues(with_odd_place())[1], cues(twice)[1]
    assert grown.max() == pytest.approx(2 * once.max().item(), rel=0.1)


def test_what_lies_beside_a_place_is_not_compared_with_it() -> None:
    """A defect is larger than a place, and its places are alike."""
    cues = Cues(SIZE)
    large = plain()
    large[1][:, ::2, 3:5, 4:6] = -1.0
    rare = cues(large)[1][0, 0]
    assert rare[3:5, 4:6].min() > rare[6:].max() + 0.5


def test_unevenness_is_the_mean_amount_of_the_coarsest_stride() -> None:
    image = symmetric()
    assert named(Cues(SIZE)(image))["unevenness"] == pytest.approx(image[2].abs().mean().item(), rel=1e-5)


def test_an_image_of_one_colour_is_finite() -> None:
    assert all(found.isfinite().all() for found in Cues(SIZE)([0 * one for one in plain()]))


def test_half_precision_holds_every_number() -> None:
    found = Cues(SIZE).half()([(20 * one).half() for one in with_odd_place()])
    assert all(one.isfinite().all() for one in found)


def test_more_of_a_cue_never_lowers_the_ranking() -> None:
    ranking = CueRanking()
    with pytest.raises(ValueError, match="not negative"):
        ranking.set(torch.tensor([1.0, -0.1, 0, 0, 0]), torch.zeros(()))
    ranking.set(torch.arange(5.0), torch.tensor(-2.0))
    assert ranking(torch.ones(1, 5)).item() == pytest.approx(8)


def some_source(generator: np.random.Generator, informative: list[bool], offset: float = 5.0):
    """Cues of 4 categories of 2 sets that differ by much; a defect adds one where the cue is informative."""
    label = np.tile([0, 1], 80)
    group = np.repeat(["a/x", "a/y", "b/x", "b/y"], 40)
    level = {one: generator.normal(scale=offset, size=len(informative)) for one in np.unique(group)}
    cues = np.stack([level[one] for one in group]) + generator.normal(size=(160, len(informative)))
    return cues + 1.5 * label[:, None] * np.array(informative), label, group


def test_fitted_weights_take_what_tells_and_leave_what_does_not() -> None:
    cues, label, group = some_source(np.random.default_rng(0), [True, False, True])
    cues[:, 1] -= label
    weight, _ = fit_ranking(cues, label, group, alike=False)
    assert weight[0] > 0.3
    assert weight[2] > 0.3
    # It would be negative if it might be.
    assert weight[1] == 0


def test_cues_count_alike_in_units_of_their_spread_and_zero_lies_in_the_middle() -> None:
    cues, label, group = some_source(np.random.default_rng(0), [True, False, True])
    weight, bias = fit_ranking(cues, label, group)
    spread = np.mean([cues[group == one].std(axis=0) for one in np.unique(group)], axis=0)
    counts = weight.numpy() * spread
    assert counts.min() == pytest.approx(counts.max(), rel=1e-5)
    assert counts[0] > 0.2
    score = cues @ weight.numpy() + bias.item()
    assert abs(np.mean([score[(group == one)].mean() for one in np.unique(group)])) < 0.2
    # A cue in other units changes nothing.
    scaled, other = fit_ranking(cues * np.array([1, 100, 0.01]), label, group)
    assert np.allclose(cues * np.array([1, 100, 0.01]) @ scaled.numpy() + other.item(), score, atol=1e-3)
    again, _ = fit_ranking(cues, label, group)
    assert torch.equal(weight, again)


def test_a_source_without_both_kinds_in_one_category_is_refused() -> None:
    with pytest.raises(InputError, match="no category has both"):
        fit_ranking(np.zeros((4, 2)), np.array([0, 0, 1, 1]), np.array(["a/x", "a/x", "a/y", "a/y"]))


def test_cues_take_the_three_strides() -> None:
    with pytest.raises(ValidationError, match="cues need strides"):
        Model(backbone="tf_efficientnet_lite0", strides=(16, 32), readout=Readout(ranking="cues", correction_gain=0.1))


def test_cues_need_a_gain_and_lead() -> None:
    for readout in (Readout(ranking="cues"), Readout(ranking="cues", correction_gain=0.1, ranking_limit=1.0)):
        with pytest.raises(ValidationError, match="cues lead"):
            Model(backbone="tf_efficientnet_lite0", readout=readout)


def test_rarity_and_ranking_need_cues() -> None:
    for readout in (Readout(map_rarity=1.0), Readout(map_ranking=1.0), Readout(clip=1.0)):
        with pytest.raises(ValidationError, match="need ranking: cues"):
            Model(backbone="tf_efficientnet_lite0", readout=readout)


def test_the_map_gains_rarity_and_ranking_once_it_has_learned() -> None:
    alone, both = (
        EdgeGLR(CHANNELS, (8, 16, 32), Readout(ranking="cues", correction_gain=0.5, noise=0, **more), SIZE)
        for more in ({}, {"map_rarity": 3.0, "map_ranking": 0.5})
    )
    both.load_state_dict(alone.state_dict())
    features = [one.repeat(2, 1, 1, 1) for one in symmetric()]
    with torch.no_grad():
        # What rarity says of the source must not be learned away.
        assert torch.equal(both.train()(features).map, alone.train()(features).map)
        used, plain_one = both.eval()(features), alone.eval()(features)
        rare = alone.cues([one - one.mean(dim=(2, 3), keepdim=True) for one in features])[1]
    enlarged = rare.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    smooth = torch.nn.functional.pad(enlarged, (1, 1, 1, 1), value=torch.nan).unfold(2, 3, 1).unfold(3, 3, 1)
    gained = 3.0 * smooth.flatten(4).nanmean(dim=4) + 0.5 * used.ranking[:, None, None, None]
    assert torch.allclose(used.map - plain_one.map, gained, atol=1e-5)
    assert torch.allclose(alone.drawn(features), plain_one.map)
    # The score takes its ranking once, and its correction from what the head has drawn.
    assert torch.equal(used.score, plain_one.score)


def test_only_the_map_learns_beside_cues() -> None:
    config = Readout(ranking="cues", correction_gain=0.5, correction_limit=2.0)
    readout = EdgeGLR(CHANNELS, (8, 16, 32), config, SIZE)
    features = [one.repeat(2, 1, 1, 1) for one in symmetric()]
    output = readout.train()(features)
    assert not output.score.requires_grad
    assert output.map.requires_grad
    assert {name.partition(".")[0] for name, one in readout.named_parameters() if one.requires_grad} == {"spatial"}
    with torch.inference_mode():
        used = readout.eval()(features)
    assert torch.allclose(used.score, used.ranking + used.correction)
    assert torch.allclose(used.ranking, readout.ranking(readout.read_cues(features)[0]))
    flat = used.map.flatten(1)
    peak = (flat.softmax(dim=1) * flat).sum(dim=1)
    assert torch.allclose(used.correction, 2.0 * torch.tanh(0.5 * peak))


def test_clipping_bounds_what_a_channel_says_and_leaves_the_rest() -> None:
    features = symmetric()
    plain, clipped = (
        EdgeGLR(CHANNELS, (8, 16, 32), Readout(ranking="cues", correction_gain=0.5, clip=clip), SIZE).eval()
        for clip in (None, 0.5)
    )
    differences = [measure(raw) for measure, raw in zip(plain.difference, features, strict=True)]
    assert max(one.abs().max() for one in differences) > 0.5
    by_hand = [one.clamp(-0.5, 0.5) for one in differences]
    (numbers, rare), (wanted, wanted_rare) = clipped.read_cues(features), plain.cues(by_hand)
    assert torch.equal(rare, wanted_rare)
    assert torch.equal(numbers[:, :-1], wanted[:, :-1])
    # How uneven the image is compares no places.
    assert torch.equal(numbers[:, -1], plain.read_cues(features)[0][:, -1])
    # One channel of one place, far beyond all others, hides what is rare elsewhere; clipped, it cannot.
    wild = [one.clone() for one in features]
    wild[1][0, 0, 0, 0] = 1e4
    assert torch.isfinite(clipped(wild).map).all()
    moved = [(readout.read_cues(wild)[1] - readout.read_cues(features)[1]).abs().max() for readout in (plain, clipped)]
    assert moved[1] < moved[0] / 10


def test_the_detector_with_cues_exports_to_plain_operators(tmp_path: Path) -> None:
    readout = Readout(
        ranking="cues",
        correction_gain=0.1,
        context=1,
        self_similarity=(16,),
        map_rarity=4.0,
        map_ranking=0.25,
        clip=1.0,
    )
    detector = build_detector(Model(backbone="tf_efficientnet_lite0", weights="random", size=SIZE, readout=readout))
    path = export_onnx(detector, tmp_path / "cues.onnx", SIZE)
    assert lint(path) == []
    import onnxruntime as ort

    image = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 255
    with torch.inference_mode():
        expected = detector(image)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    score, anomaly_map = session.run(None, {"image": image.numpy()})
    assert score[0] == pytest.approx(expected[0].item(), abs=1e-4)
    assert np.abs(anomaly_map - expected[1].numpy()).max() < 1e-4


def test_the_middle_of_rarity_lies_between_normal_images_and_defective_places() -> None:
    middle = Middle()
    assert middle.value() == 0
    rare = torch.ones(3, 1, 2, 2)
    rare[1, 0, 0, 1], rare[2] = 5.0, 100.0
    coverage = torch.zeros(3, 4, 4)
    # One cell in four of one place; the third image's mask is unknown.
    coverage[1, 0, 2] = 0.25
    coverage[2] = torch.nan
    middle.add(rare, coverage)
    assert middle.value() == pytest.approx((1 + 5) / 2)


def test_rarity_at_its_middle_adds_nothing() -> None:
    readout = EdgeGLR(CHANNELS, (8, 16, 32), Readout(ranking="cues", correction_gain=0.5, map_rarity=3.0), SIZE).eval()
    features = symmetric()
    with torch.no_grad():
        before = readout(features).map
        readout.rarity_middle.fill_(2.0)
        assert torch.allclose(readout(features).map, before - 6.0, atol=1e-5)
