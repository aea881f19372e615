"""Self-reference scores: what each of them detects, the readout around them, and that it exports."""

import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from pydantic import ValidationError

from edgezsad.config import EdgeGLRConfig, Model, SelfReferenceConfig
from edgezsad.export.lint import lint
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model import PEAK_CELLS, STRIDE_WEIGHTS
from edgezsad.model.detector import build_detector, build_readout
from edgezsad.model.edgeglr import rotate180
from edgezsad.model.self_reference import (
    NAMES,
    NEAR,
    OWN_REACH,
    SIMILARITY_FLOOR,
    SIMILARITY_SHARPNESS,
    JointPatches,
    SelfReferenceReadout,
    SelfReferenceScores,
    SelfSimilarity,
    mean_of_highest,
    near_patches,
    own_distance,
)

SIZE = 128
CHANNELS, STRIDES = (4, 6, 8), (8, 16, 32)


def readout(**config: object) -> SelfReferenceReadout:
    torch.manual_seed(0)
    settings = {"correction_gain": 0.5, "noise": 0} | config
    return build_readout(CHANNELS, STRIDES, SelfReferenceConfig(**settings), SIZE).eval()


def symmetric(seed: int = 0, axes: tuple[int, ...] = (2, 3)) -> list[torch.Tensor]:
    """Centred features of an image that is its own mirror image along `axes`."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for channels, stride in zip(CHANNELS, STRIDES, strict=True):
        side = SIZE // stride
        one = torch.randn(1, channels, *(side // 2 if axis in axes else side for axis in (2, 3)), generator=generator)
        for axis in axes:
            one = torch.cat([one, one.flip(axis)], dim=axis)
        found.append(one)
    return found


def uniform() -> list[torch.Tensor]:
    """Centred features of an image whose patches are all the same."""
    return [
        torch.ones(1, count, SIZE // stride, SIZE // stride) for count, stride in zip(CHANNELS, STRIDES, strict=True)
    ]


def with_outlier(rows: slice = slice(3, 4), columns: slice = slice(5, 6)) -> list[torch.Tensor]:
    """The same with an unusual region at stride 16."""
    image = uniform()
    image[1][:, ::2, rows, columns] = -1.0
    return image


def one_view(features: list[torch.Tensor], scores: SelfReferenceScores | None = None) -> tuple:
    """Scores and rarity map of features that serve as centred ones too."""
    return (scores or SelfReferenceScores(SIZE))(features, features)


def named(found: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
    return dict(zip(NAMES, found[0][0].tolist(), strict=True))


def test_a_broken_symmetry_raises_every_asymmetry() -> None:
    broken = symmetric()
    for one in broken:
        side = one.shape[-1]
        one[:, :, : side // 2, : side // 4] = 3.0
    before, after = named(one_view(symmetric())), named(one_view(broken))
    for name in NAMES[:3]:
        # Not zero: the soft nearest of nine neighbours is a mean over them.
        assert before[name] < 0.2
        assert after[name] > before[name] + 0.1, name


def test_rarity_finds_the_patch_without_a_similar_one() -> None:
    rarity = one_view(with_outlier())[1][0, 0]
    assert divmod(rarity.argmax().item(), 8) == (3, 5)
    others = rarity.flatten()[torch.arange(64) != 3 * 8 + 5]
    assert rarity.max() > others.max() + 0.5
    # A distance, not an angle: patches of different images must be comparable.
    doubled = one_view([2 * one for one in with_outlier()])[1]
    assert doubled.max() == pytest.approx(2 * rarity.max().item(), rel=0.1)
    # Neighbours are not compared: a defect is larger than a patch.
    large = one_view(with_outlier(slice(3, 5), slice(4, 6)))[1][0, 0]
    assert large[3:5, 4:6].min() > large[6:].max() + 0.5


def test_dispersion_is_the_mean_absolute_deviation_of_the_coarsest_stride() -> None:
    image = symmetric()
    assert named(one_view(image))["dispersion"] == pytest.approx(image[2].abs().mean().item(), rel=1e-5)


def test_the_own_distance_finds_the_patch_without_a_similar_one_in_the_mean_of_both_views() -> None:
    features = [
        torch.rand(1, count, SIZE // stride, SIZE // stride) for count, stride in zip(CHANNELS, STRIDES, strict=True)
    ]
    other = [one.abs() + 0.1 for one in symmetric(1, axes=())]
    views = [(one + rotate180(two)) / 2 for one, two in zip(features, other, strict=True)]
    joint = JointPatches(8)
    patches = joint(features, other)
    lengths = patches.split(CHANNELS, dim=1)
    assert [one.norm(dim=1).mean().item() for one in lengths] == pytest.approx(STRIDE_WEIGHTS, rel=1e-4)
    torch.testing.assert_close(patches, joint(views))
    found = own_distance(patches, NEAR * near_patches(8))[0, 0]
    flat = patches[0].flatten(1).T
    apart = [(i, j) for i in range(8) for j in range(8) if max(abs(i - 2), abs(j - 7)) > OWN_REACH * 8]
    expected = min((flat[2 * 8 + 7] - flat[i * 8 + j]).norm().item() for i, j in apart)
    assert found[2, 7].item() == pytest.approx(expected, abs=1e-3)
    # The score is the mean of the highest distances.
    scores = SelfReferenceScores(SIZE)(features, features, (other, other))[0]
    highest = found.flatten().topk(PEAK_CELLS).values.mean().item()
    assert scores[0, NAMES.index("own distance")].item() == pytest.approx(highest, abs=1e-4)


def test_the_mean_of_the_highest_values_is_exact() -> None:
    values = torch.rand(3, 400, generator=torch.Generator().manual_seed(0))
    values[0, :50], values[1, 7:9] = 0.99999, 2.0
    values[2, ::2] = values[2, 1::2] + 1e-6
    expected = values.topk(PEAK_CELLS, dim=1).values.mean(dim=1)
    torch.testing.assert_close(mean_of_highest(values), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(mean_of_highest(values.half()).float(), expected, atol=2e-3, rtol=0)


def test_scores_are_finite_on_a_uniform_image_and_in_half_precision() -> None:
    assert all(found.isfinite().all() for found in one_view([0 * one for one in uniform()]))
    found = one_view([(20 * one).half() for one in with_outlier()], SelfReferenceScores(SIZE).half())
    assert all(one.isfinite().all() for one in found)
    assert SelfSimilarity(8, reach=1)(torch.zeros(1, 6, 8, 8)).isfinite().all()


def test_two_views_that_agree_change_nothing_and_one_view_can_explain_a_patch() -> None:
    scores = SelfReferenceScores(SIZE)
    image = with_outlier(slice(1, 2), slice(2, 3))
    numbers, rarity = one_view(image)
    same = scores(image, image, ([rotate180(one) for one in image],) * 2)
    torch.testing.assert_close(same[1], rarity, atol=1e-4, rtol=1e-4)
    # The other view has a similar patch far away from it.
    elsewhere = [rotate180(one) for one in with_outlier(slice(6, 7), slice(6, 7))]
    explained = scores(image, image, (elsewhere, elsewhere))
    assert explained[1][0, 0, 1, 2] < 0.5 * rarity[0, 0, 1, 2]
    # Of the scores, only the own distance uses both views.
    first = [index for index, name in enumerate(NAMES) if name != "own distance"]
    assert torch.equal(explained[0][:, first], numbers[:, first])


def test_the_map_gains_rarity_and_global_score() -> None:
    alone, both = readout(), readout(map_rarity=3.0, map_ranking=0.5)
    both.load_state_dict(alone.state_dict())
    features = [one.repeat(2, 1, 1, 1) for one in symmetric()]
    with torch.no_grad():
        assert torch.equal(both.training_outputs(features)["map"], alone.local_map(features))
        used, plain = both(features), alone(features)
        rarity = alone.self_reference(features)[1]
    enlarged = rarity.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    smooth = torch.nn.functional.pad(enlarged, (1, 1, 1, 1), value=torch.nan).unfold(2, 3, 1).unfold(3, 3, 1)
    gained = 3.0 * smooth.flatten(4).nanmean(dim=4) + 0.5 * used.global_score[:, None, None, None]
    assert torch.allclose(used.map - plain.map, gained, atol=1e-5)
    # The correction is pooled from the spatial head's map alone.
    assert torch.equal(used.score, plain.score)
    with torch.no_grad():
        both.rarity_middle.fill_(2.0)
        assert torch.allclose(both(features).map, used.map - 6.0, atol=1e-5)


def test_only_the_spatial_head_is_trained() -> None:
    module = readout(correction_limit=2.0)
    features = [one.repeat(2, 1, 1, 1) for one in symmetric()]
    outputs = module.train().training_outputs(features)
    assert set(outputs) == {"map"}
    assert outputs["map"].requires_grad
    assert {name.partition(".")[0] for name, one in module.named_parameters() if one.requires_grad} == {"context"}
    with torch.inference_mode():
        used = module.eval()(features)
    assert torch.allclose(used.global_score, module.ranking(module.self_reference(features)[0]))
    flat = used.map.flatten(1)
    peak = (flat.softmax(dim=1) * flat).sum(dim=1)
    assert torch.allclose(used.correction, 2.0 * torch.tanh(0.5 * peak))
    assert torch.allclose(used.score, used.global_score + used.correction)


def test_clipping_limits_a_single_channel() -> None:
    features = symmetric()
    plain, clipped = readout(), readout(clip=0.5)
    centred = plain.centre(features)
    (scores, rarity), (expected, expected_rarity) = (
        clipped.self_reference(features),
        plain.scores([one.clamp(-0.5, 0.5) for one in centred], features),
    )
    assert torch.equal(rarity, expected_rarity)
    assert torch.equal(scores[:, :-1], expected[:, :-1])
    # Dispersion compares no patches.
    assert torch.equal(scores[:, -1], plain.self_reference(features)[0][:, -1])
    wild = [one.clone() for one in features]
    wild[1][0, 0, 0, 0] = 1e4
    moved = [(one.self_reference(wild)[1] - one.self_reference(features)[1]).abs().max() for one in (plain, clipped)]
    assert moved[1] < moved[0] / 10


def test_self_similarity_is_the_soft_nearest_neighbour_by_hand() -> None:
    features = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(1))
    found = SelfSimilarity(4, reach=1)(features)
    patches = torch.nn.functional.normalize(features.flatten(2), dim=1)
    cosine = patches.transpose(1, 2) @ patches
    for number, sharpness in enumerate(SIMILARITY_SHARPNESS):
        for patch in (0, 5, 15):
            row, column = divmod(patch, 4)
            far = [other for other in range(16) if abs(other // 4 - row) > 1 or abs(other % 4 - column) > 1]
            kernel = (sharpness * (cosine[0, patch, far] - 1)).exp().mean() + SIMILARITY_FLOOR
            assert found[0, number, row, column].item() == pytest.approx(-math.log(kernel) / sharpness - 1, abs=5e-3)
    relative = found[:, len(SIMILARITY_SHARPNESS) :]
    assert relative.mean(dim=(2, 3)).abs().max() < 1e-4
    assert torch.all(relative.square().mean(dim=(2, 3)) <= 1)
    with pytest.raises(ValueError, match="nothing more than 2 steps away"):
        SelfSimilarity(3, reach=2)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"readout": {"context": 1, "self_similarity": [32]}}, "stride 32 is not among strides"),
        ({"readout": {"self_similarity": [16]}}, "needs readout.context"),
        ({"readout": {"kind": "self_reference", "correction_gain": 0.1}}, r"needs strides \(8, 16, 32\)"),
        ({"strides": [8, 16, 32], "readout": {"kind": "self_reference"}}, "correction_gain"),
        ({"readout": {"kind": "cues"}}, "kind must be edgeglr or self_reference"),
    ],
)
def test_invalid_settings(model: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Model.model_validate({"backbone": "x", "size": 64, "strides": [8, 16]} | model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        Model(
            backbone="tf_efficientnet_lite0",
            weights="random",
            size=SIZE,
            tta="rot180",
            readout=SelfReferenceConfig(
                correction_gain=0.1, context=1, self_similarity=(16,), map_rarity=4.0, map_ranking=0.25, clip=1.0
            ),
        ),
        Model(
            backbone="tf_efficientnet_lite0",
            weights="random",
            size=64,
            strides=(8, 16),
            readout=EdgeGLRConfig(context=2, self_similarity=(8, 16), local_channels=4),
        ),
    ],
    ids=["self_reference", "edgeglr"],
)
def test_the_exported_graph_has_allowed_operators_and_the_same_scores(tmp_path: Path, model: Model) -> None:
    torch.manual_seed(0)
    detector = build_detector(model)
    path = export_onnx(detector, tmp_path / "model.onnx", model.size)
    assert lint(path) == []
    image = torch.rand(1, 3, model.size, model.size, generator=torch.Generator().manual_seed(1)) * 255
    with torch.inference_mode():
        expected = detector(image)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    score, anomaly_map = session.run(None, {"image": image.numpy()})
    assert score[0] == pytest.approx(expected[0].item(), abs=1e-4)
    assert np.abs(anomaly_map - expected[1].numpy()).max() < 1e-3
