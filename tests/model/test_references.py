"""Comparison with reference patches: closed forms, and the shipped graph against the module it was exported from."""

import numpy as np
import pytest
import torch

from edgezsad.model import CHECKPOINT, MAP_WEIGHT, PATCH_CHANNELS, PATCH_SIDE, REFERENCES
from edgezsad.model.detector import load_detector
from edgezsad.model.references import ReferenceDetector
from edgezsad.model.self_reference import OWN_REACH, own_distance
from edgezsad.references import Describer, appended, compare_with, select_patches, standard
from edgezsad.scoring.onnx_scorer import as_tensor, cpu_session


@pytest.fixture(scope="module")
def module() -> ReferenceDetector:
    return ReferenceDetector(load_detector(CHECKPOINT)[0])


def image(seed: int) -> np.ndarray:
    """Coarse blocks of noise, (320, 320, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((32, 32, 1), np.uint8))


def test_distances_within_an_image(module: ReferenceDetector) -> None:
    random, side = torch.Generator().manual_seed(0), module.side
    patches, detector_map = (
        torch.rand(1, 5, side, side, generator=random),
        torch.rand(1, 1, side, side, generator=random),
    )
    found = own_distance(patches, module.near, MAP_WEIGHT * detector_map)
    flat, own = patches[0].flatten(1).T.double(), detector_map.flatten().double()
    for row, column in ((0, 0), (7, 12), (19, 3)):
        here = row * side + column
        squared = (flat - flat[here]).square().sum(dim=1) - MAP_WEIGHT * own + MAP_WEIGHT * own[here]
        rows, columns = np.divmod(np.arange(side * side), side)
        far = (abs(rows - row) > OWN_REACH * side) | (abs(columns - column) > OWN_REACH * side)
        expected = squared[torch.from_numpy(far)].min().clamp(min=1e-4).sqrt()
        assert found[0, 0, row, column].item() == pytest.approx(expected.item(), abs=1e-3)


@pytest.mark.slow
def test_the_shipped_graph_is_the_module(module: ReferenceDetector) -> None:
    assert (module.bank.shape[1], module.side) == (PATCH_CHANNELS, PATCH_SIDE)
    describer = Describer()
    bank, offset = select_patches([describer.describe(image(seed)) for seed in (1, 2)], 500)
    tensors = {"bank.fp16": bank[:, :, None, None], "offset": offset} | standard(2.0, -1.0)
    session = cpu_session(REFERENCES, 1, data=appended(REFERENCES.read_bytes(), tensors))
    module.bank, module.offset = torch.from_numpy(np.float32(bank))[:, :, None, None], torch.from_numpy(offset)
    module.scale, module.shift = torch.tensor(2.0), torch.tensor(-1.0)
    for seed in (1, 3):
        tensor = as_tensor(image(seed), describer.size)
        score, anomaly_map = session.run(["score", "map"], {"image": tensor})
        with torch.no_grad():
            expected, expected_map, patches, detector_map, own = module(torch.from_numpy(tensor))
        # Weights of the graph are rounded to FP16.
        assert score[0] == pytest.approx(expected.item(), abs=0.02)
        assert np.abs(anomaly_map - expected_map.numpy()).mean() < 0.01
        one = describer.describe(image(seed))
        np.testing.assert_allclose(one.patches, patches[0].flatten(1).T, atol=0.02)
        np.testing.assert_allclose(one.own, own.flatten(), atol=0.02)
        np.testing.assert_allclose(one.detector_map, detector_map.flatten(), atol=0.1)
        assert score[0] == pytest.approx(2 * compare_with([one], bank, offset) - 1, abs=0.02)
