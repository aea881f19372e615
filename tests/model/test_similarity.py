"""Self-similarity finds what an image shows once, and the head with context reads all strides together."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from edgezsad.config import Model, Readout
from edgezsad.export.lint import lint
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model.context import ContextHead
from edgezsad.model.detector import build_detector
from edgezsad.model.readout import EdgeGLR
from edgezsad.model.similarity import CHANNELS, FLOOR, SHARPNESS, Unlikeness

SIDE = 8


def with_one_odd_place() -> torch.Tensor:
    """(1, 6, 8, 8): two kinds of place in a chequered pattern, and one unlike both at (2, 5)."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(3, 6, generator=generator)
    pattern = (torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2
    pattern[2, 5] = 2
    return kinds[pattern].permute(2, 0, 1)[None] + 0.01 * torch.randn(1, 6, SIDE, SIDE, generator=generator)


def test_what_is_shown_once_is_unlike_the_rest() -> None:
    found = Unlikeness(SIDE, reach=1)(with_one_odd_place())
    assert found.shape == (1, CHANNELS, SIDE, SIDE)
    for channel in found[0]:
        assert channel.flatten().argmax() == 2 * SIDE + 5


def test_it_is_the_soft_nearest_place_by_hand() -> None:
    features = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(1))
    found = Unlikeness(4, reach=1)(features)
    places = torch.nn.functional.normalize(features.flatten(2), dim=1)
    cosine = places.transpose(1, 2) @ places
    for number, sharp in enumerate(SHARPNESS):
        for place in (0, 5, 15):
            row, column = divmod(place, 4)
            far = [other for other in range(16) if abs(other // 4 - row) > 1 or abs(other % 4 - column) > 1]
            kernel = (sharp * (cosine[0, place, far] - 1)).exp().mean() + FLOOR
            expected = -math.log(kernel) / sharp - 1
            assert found[0, number, row, column].item() == pytest.approx(expected, abs=5e-3)


def test_the_second_half_is_in_units_of_the_image() -> None:
    found = Unlikeness(SIDE, reach=1)(torch.randn(3, 6, SIDE, SIDE, generator=torch.Generator().manual_seed(2)))
    relative = found[:, len(SHARPNESS) :]
    assert relative.mean(dim=(2, 3)).abs().max() < 1e-4
    assert torch.all(relative.square().mean(dim=(2, 3)) <= 1)


def test_an_image_of_one_colour_is_finite() -> None:
    assert Unlikeness(SIDE, reach=1)(torch.zeros(1, 6, SIDE, SIDE)).isfinite().all()


def test_a_map_too_small_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing more than 2 steps away"):
        Unlikeness(3, reach=2)


def test_turning_the_image_turns_the_result() -> None:
    features = with_one_odd_place()
    module = Unlikeness(SIDE, reach=2)
    torch.testing.assert_close(
        module(features.rot90(1, (2, 3))), module(features).rot90(1, (2, 3)), rtol=1e-4, atol=1e-4
    )


def test_a_place_sees_its_surroundings_as_far_as_the_blocks_reach() -> None:
    torch.manual_seed(0)
    for blocks, reach in ((1, 2), (2, 4)):
        head = ContextHead([3], (8,), 4, blocks)
        features = torch.zeros(1, 3, 16, 16)
        changed = features.clone()
        changed[0, :, 8, 8] = 5
        moved = (head([changed]) - head([features]))[0, 0].abs() > 1e-6
        rows, columns = moved.nonzero(as_tuple=True)
        assert rows.max() == columns.max() == 8 + reach
        assert rows.min() == columns.min() == 8 - reach


def test_all_parts_of_the_readout_learn() -> None:
    torch.manual_seed(0)
    config = Readout(context=1, self_similarity=(16,))
    module = EdgeGLR((5, 7), (8, 16), config, size=128)
    generator = torch.Generator().manual_seed(1)
    output = module([torch.randn(2, 5, 16, 16, generator=generator), torch.randn(2, 7, 8, 8, generator=generator)])
    assert output.map.shape == (2, 1, 16, 16) and torch.equal(output.score, output.ranking)
    (output.score.sum() + output.map.square().sum()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or name == "offset", name


@pytest.mark.parametrize(
    ("readout", "message"),
    [
        ({"context": 1, "self_similarity": [32]}, "stride 32, which is not among strides"),
        ({"self_similarity": [16]}, "set readout.context to 1 or more"),
    ],
)
def test_settings_that_do_not_go_together(readout: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Model(backbone="tf_efficientnet_lite0", size=64, strides=(8, 16), readout=Readout(**readout))


def test_the_exported_graph_holds_allowed_operators_and_agrees(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    config = Readout(context=2, self_similarity=(8, 16), local_channels=4, global_channels=8)
    model = Model(backbone="tf_efficientnet_lite0", weights="random", size=64, strides=(8, 16), readout=config)
    detector = build_detector(model)
    path = export_onnx(detector, tmp_path / "model.onnx", 64)
    assert lint(path) == []
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    score, anomaly_map = session.run(None, {session.get_inputs()[0].name: image})
    with torch.inference_mode():
        wanted = detector(torch.from_numpy(image))
    np.testing.assert_allclose(score, wanted[0].numpy(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(anomaly_map, wanted[1].numpy(), rtol=1e-3, atol=1e-3)
