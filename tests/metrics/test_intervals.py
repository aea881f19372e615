"""Bootstrap intervals: what is resampled, repeatability, and coverage; of image metrics and of pixel metrics."""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest

from edgezsad.metrics.image_metrics import auroc, average_precision, best_f1
from edgezsad.metrics.intervals import Replicates, bootstrap, bootstrap_pixels, interval, multiplicities
from edgezsad.metrics.significance import delong

NAMES = ("auroc", "ap", "f1max")


def images(normal: int, defective: int, gap: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    label = np.repeat([0, 1], [normal, defective])
    return label, np.random.default_rng(seed).normal(size=len(label)) + gap * label


def stacked(replicates: Replicates) -> np.ndarray:
    return np.stack([getattr(replicates, name) for name in NAMES])


def test_replicates_equal_the_metrics_of_resampled_images() -> None:
    # Few distinct scores, so that ties within and between the kinds are common.
    generator = np.random.default_rng(0)
    label = np.repeat([0, 1], [7, 5])
    score = generator.integers(0, 5, size=12).astype(float) + label
    found = stacked(bootstrap(label, score, replicates=250, seed=3))
    assert found.shape == (3, 250)
    # Written out, since published intervals rest on these very draws; they are made a hundred at a time.
    draws = np.random.default_rng(3)
    expected = []
    for count in (100, 100, 50):
        chosen = [draws.integers(size, size=(count, size)) for size in (7, 5)]
        for row in range(count):
            resampled = np.concatenate([score[label == kind][chosen[kind][row]] for kind in (0, 1)])
            expected.append((auroc(label, resampled), average_precision(label, resampled), best_f1(label, resampled)))
    assert found == pytest.approx(np.array(expected).T, abs=1e-9)


def test_multiplicities_are_those_of_the_resamples() -> None:
    generator = np.random.default_rng(2)
    label = generator.permutation(np.repeat([0, 1], [9, 6]))
    score = generator.normal(size=15).round(1) + label
    times = multiplicities(label, replicates=230, seed=5)
    assert times.shape == (230, 15)
    assert (times[:, label == 0].sum(axis=1) == 9).all() and (times[:, label == 1].sum(axis=1) == 6).all()
    found = bootstrap(label, score, replicates=230, seed=5).auroc
    counted = [auroc(np.repeat(label, row), np.repeat(score, row)) for row in times.astype(int)]
    assert found == pytest.approx(counted)


@pytest.mark.parametrize(("normal", "defective", "gap"), [(60, 60, 1.0), (200, 30, 0.5), (40, 150, 1.5)])
def test_standard_deviation_of_auroc_agrees_with_delong(normal: int, defective: int, gap: float) -> None:
    label, score = images(normal, defective, gap, seed=5)
    for each in (score, score.round(1)):
        found = bootstrap(label, each, replicates=4000).auroc
        assert found.std() == pytest.approx(delong(label, [each])[1][0, 0] ** 0.5, rel=0.08)
        assert found.mean() == pytest.approx(auroc(label, each), abs=0.005)


def test_coverage_of_the_intervals() -> None:
    # Normal scores one standard deviation apart: the truth is the chance that one exceeds the other.
    truth = NormalDist().cdf(1 / math.sqrt(2))
    held = []
    for seed in range(200):
        low, high = interval(bootstrap(*images(60, 60, 1, seed=100 + seed), replicates=300).auroc)
        held.append(low <= truth <= high)
    # 95 in 100, give or take two standard deviations; percentile intervals of few images hold it a little less often.
    assert 0.90 <= np.mean(held) <= 0.98


PIXELS = 32


@pytest.fixture(scope="module")
def pixels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps of 12 images, their masks (half of them empty, one with two regions) and labels."""
    generator = np.random.default_rng(0)
    maps = generator.normal(size=(12, 8, 8)).astype(np.float32)
    masks = np.zeros((12, PIXELS, PIXELS), dtype=np.uint8)
    for row in range(6, 12):
        top, left = generator.integers(0, 20, size=2)
        masks[row, top : top + 8, left : left + 5] = 1
        maps[row, top // 4 : top // 4 + 2, left // 4 : left // 4 + 2] += 1.5
    masks[7, 30:, 30:] = 1
    return maps, masks, np.repeat([0, 1], 6)


def test_pixel_replicates_equal_the_metrics_of_resampled_images(exact: Callable, pixels: tuple) -> None:
    maps, masks, label = pixels
    other = maps + np.random.default_rng(1).normal(size=maps.shape).astype(np.float32) * 0.02
    times = np.vstack([np.ones((1, 12), dtype=np.float32), multiplicities(label, replicates=130, seed=3)])
    found = bootstrap_pixels([maps, other], masks, PIXELS, times)
    assert found["pixel_auroc"].shape == found["pixel_aupro"].shape == (2, 131)
    for row in (0, 57, 130):
        chosen = np.repeat(np.arange(12), times[row].astype(int))
        expected = [exact(each[chosen], masks[chosen], PIXELS) for each in (maps, other)]
        assert found["pixel_auroc"][:, row] == pytest.approx([each.auroc for each in expected], abs=2e-5)
        assert found["pixel_aupro"][:, row] == pytest.approx([each.aupro for each in expected], abs=2e-4)
        # Changes are far smaller than values; 0.002 points is what their last printed digit may be off by.
        assert np.diff(found["pixel_auroc"][:, row])[0] == pytest.approx(
            expected[1].auroc - expected[0].auroc, abs=2e-5
        )


def test_pixel_metrics_of_equal_perfect_and_flat_maps(pixels: tuple) -> None:
    maps, masks, label = pixels
    times = multiplicities(label, replicates=8)
    same = bootstrap_pixels([maps, maps.copy()], masks, PIXELS, times)
    assert (same["pixel_auroc"][0] == same["pixel_auroc"][1]).all() and (
        same["pixel_aupro"][0] == same["pixel_aupro"][1]
    ).all()
    perfect = masks.astype(np.float32)
    found = bootstrap_pixels([perfect, -perfect, 0 * perfect], masks, PIXELS, times)
    assert found["pixel_auroc"] == pytest.approx(np.repeat([[1], [0], [0.5]], 8, axis=1))
    assert found["pixel_aupro"][:2] == pytest.approx(np.repeat([[1], [0]], 8, axis=1))


def test_pixel_metrics_without_defects(pixels: tuple) -> None:
    maps, _, label = pixels
    found = bootstrap_pixels([maps], [None] * 12, PIXELS, multiplicities(label, replicates=5))
    assert np.isnan(found["pixel_auroc"]).all() and np.isnan(found["pixel_aupro"]).all()
