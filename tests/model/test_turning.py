"""The second look: what is turned comes back in its place, and what only one look shows is not rare."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from edgezsad.config import Model, Readout
from edgezsad.export.lint import lint
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model.cues import Cues
from edgezsad.model.detector import Detector, build_detector
from edgezsad.model.turning import look, turn, turn_places
from edgezsad.scoring.torch_scorer import TorchScorer

SIZE = 128
CUES = Readout(ranking="cues", correction_gain=0.4, context=1, map_rarity=8, map_ranking=1, clip=1)


def detector(turned: bool, readout: Readout = CUES) -> Detector:
    torch.manual_seed(0)
    return build_detector(
        Model(
            backbone="tf_efficientnet_lite0",
            weights="random",
            size=SIZE,
            tta="rot180" if turned else "none",
            readout=readout,
        )
    )


def image(count: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(3)).float()


def differences(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, count, SIZE // s, SIZE // s, generator=generator) for count, s in ((4, 8), (6, 16), (8, 32))]


def test_turning_is_a_flip_of_both_axes() -> None:
    maps = torch.rand(2, 3, 4, 6)
    assert torch.equal(turn(maps), maps.flip(2, 3))
    assert torch.equal(turn_places(maps.flatten(2)), turn(maps).flatten(2))


@torch.inference_mode()
def test_both_looks_are_those_of_the_backbone_alone() -> None:
    backbone, given = detector(True).backbone, image(3)
    first, second = look(backbone, given, turned=True)
    for found, wanted in ((first, backbone(given)), (second, backbone(given.flip(2, 3)))):
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert look(backbone, given, turned=False)[1] is None


@torch.inference_mode()
def test_what_the_head_draws_turns_with_the_image() -> None:
    plain = Readout(context=1, self_similarity=(16,))
    twice, once = detector(True, plain), detector(False, plain)
    maps = twice(image())[1]
    assert maps.std() > 1e-3
    torch.testing.assert_close(twice(turn(image()))[1], turn(maps), atol=1e-4, rtol=1e-4)
    # Or the comparison would hold for any detector.
    assert (once(turn(image()))[1] - turn(once(image())[1])).abs().max() > 0.01 * maps.std()
    # And it is the mean of what is drawn of each.
    mean = (once(image())[1] + turn(once(turn(image()))[1])) / 2
    torch.testing.assert_close(maps, mean, atol=1e-4, rtol=1e-4)


def test_a_second_look_that_shows_the_same_changes_no_cue() -> None:
    cues, features = Cues(SIZE, clip=1), differences(0)
    for found, wanted in zip(cues(features, [turn(one) for one in features]), cues(features), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_a_place_is_rare_only_where_neither_look_shows_its_like() -> None:
    cues, places = Cues(SIZE), [torch.ones(1, count, SIZE // s, SIZE // s) for count, s in ((4, 8), (6, 16), (8, 32))]
    odd = [one.clone() for one in places]
    odd[1][:, ::2, 1, 2] = -1.0
    # The second look shows the like of the odd place, far from it: three rows from the bottom in the image's places.
    elsewhere = [one.clone() for one in places]
    elsewhere[1][:, ::2, 6, 6] = -1.0
    alone, (numbers, rare) = cues(odd), cues(odd, [turn(one) for one in elsewhere])
    assert alone[1].flatten().argmax() == 1 * 8 + 2
    assert rare[0, 0, 1, 2] < 0.5 * alone[1][0, 0, 1, 2]
    kept = torch.ones(8, 8, dtype=torch.bool)
    kept[1, 2] = False
    torch.testing.assert_close(rare[0, 0][kept], alone[1][0, 0][kept], atol=0.06, rtol=0)
    # What ranks is of the first look alone, as its weights were fitted.
    assert torch.equal(numbers, alone[0])
    # A second look that shows nothing of the kind leaves it as rare as it was.
    again = cues(odd, [turn(one) for one in odd])[1]
    assert again[0, 0, 1, 2] == pytest.approx(alone[1][0, 0, 1, 2].item(), abs=1e-4)


def test_scores_and_graph_are_those_of_the_detector(tmp_path: Path) -> None:
    twice = detector(True)
    with torch.inference_mode():
        score, anomaly_map = twice(image())
        once = detector(False)(image())
    assert (anomaly_map - once[1]).abs().max() > 1e-3
    path = export_onnx(twice, tmp_path / "turned.onnx", SIZE)
    assert lint(path) == []
    graph = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": image().numpy()})
    pixels = image()[0].permute(1, 2, 0).numpy().astype(np.uint8)
    for found, found_map in ((graph[0][0], graph[1][0, 0]), TorchScorer(twice).score(pixels)):
        assert found == pytest.approx(score.item(), abs=1e-3)
        assert np.abs(found_map - anomaly_map[0, 0].numpy()).max() < 1e-3
