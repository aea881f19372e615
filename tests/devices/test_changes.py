"""Changes of a table's numbers: paired, over categories and seeds, each interval as its definition has it."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgezsad.data.manifest import Entry, Manifest
from edgezsad.devices.changes import MEAN, Change, change_table, image_changes, pixel_changes
from edgezsad.devices.drift import mean_auroc
from edgezsad.errors import InputError
from edgezsad.metrics.category_metrics import category_seed
from edgezsad.metrics.intervals import bootstrap, interval
from edgezsad.metrics.pixel_metrics import exact_pixel_metrics
from edgezsad.metrics.regions import reduce_mask
from edgezsad.metrics.significance import delong
from edgezsad.scoring.score_file import ScoreFile

FP16 = {"runtime": "onnx-fp16", "precision": "fp16"}
LABEL = np.tile(np.repeat([0, 1], [12, 10]), 2)
CATEGORY = np.repeat(["nut", "bolt"], 22)
Make = Callable[..., ScoreFile]
Pair = tuple[ScoreFile, ScoreFile]


@pytest.fixture
def pairs(make_scores: Make) -> list[Pair]:
    """Two seeds on two categories of 22 images; the device is noisy."""
    generator = np.random.default_rng(0)
    made = []
    for seed in (0, 1):
        host = generator.normal(size=44) + LABEL
        device = host + 0.3 * generator.normal(size=44)
        maps = generator.normal(size=(44, 4, 4)).astype(np.float32)
        facts = {"seed": seed, "category": CATEGORY, "map": maps}
        moved = facts | {"map": maps + np.float32(0.05) * generator.normal(size=maps.shape).astype(np.float32)}
        made.append((make_scores(host, LABEL, **facts), make_scores(device, LABEL, **moved, **FP16)))
    return made


def find(changes: list[Change], seed: int | str, metric: str = "image_auroc") -> Change:
    (found,) = [each for each in changes if (each.seed, each.metric) == (seed, metric)]
    return found


def test_points_are_those_of_the_table(pairs: list[Pair]) -> None:
    changes = image_changes(pairs)
    assert [(each.seed, each.metric) for each in changes] == [
        (seed, metric) for seed in (0, 1, MEAN) for metric in ("image_auroc", "image_ap")
    ]
    for seed, (host, device) in enumerate(pairs):
        change = find(changes, seed)
        assert change.host == pytest.approx(mean_auroc(host)) and change.device == pytest.approx(mean_auroc(device))
        assert change.points == pytest.approx(change.device - change.host)
        assert (change.target, change.images) == ("bolts", 44)
    mean = find(changes, MEAN)
    assert mean.points == pytest.approx((find(changes, 0).points + find(changes, 1).points) / 2)


def test_the_bootstrap_is_paired_over_sides_seeds_and_categories(pairs: list[Pair]) -> None:
    """The same images are drawn for both sides and seeds: differences of replicates, one by one."""
    for metric, kept in (("image_auroc", "auroc"), ("image_ap", "average_precision")):
        expected = []
        for host, device in pairs:
            for category in ("nut", "bolt"):
                rows = category == CATEGORY
                one, other = (
                    getattr(bootstrap(LABEL[rows], side.score[rows], seed=category_seed(category)), kept)
                    for side in (host, device)
                )
                expected.append(other - one)
        change = find(image_changes(pairs), MEAN, metric)
        assert (change.low, change.high) == pytest.approx(interval(100 * np.mean(expected, axis=0)))
        assert change.low < change.points < change.high


def test_delong_adds_the_variances_of_categories(pairs: list[Pair]) -> None:
    changes = image_changes(pairs)
    (host, device), _ = pairs
    errors, mean_errors = [], []
    for category in ("nut", "bolt"):
        rows = category == CATEGORY
        errors.append(delong(LABEL[rows], [host.score[rows], device.score[rows]]).contrast([-100, 100])[1])
        four = [side.score[rows] for pair in pairs for side in pair]
        mean_errors.append(delong(LABEL[rows], four).contrast([-50, 50, -50, 50])[1])
    for change, each in ((find(changes, 0), errors), (find(changes, MEAN), mean_errors)):
        error = math.hypot(*each) / 2
        assert change.delong_high - change.delong_low == pytest.approx(2 * 1.959964 * error)
        assert (change.delong_high + change.delong_low) / 2 == pytest.approx(change.points)
        # Two ways to one spread.
        assert change.delong_high - change.delong_low == pytest.approx(change.high - change.low, rel=0.25)
    assert 0 < find(changes, 0).p_value < 1


def test_equal_seeds_tell_no_more_than_one(pairs: list[Pair]) -> None:
    """Seeds are scored on the same images: three times the same answer is one answer, not three."""
    host, device = pairs[0]
    thrice = [
        tuple(replace(side, record=side.record.model_copy(update={"seed": seed})) for side in (host, device))
        for seed in (0, 1, 2)
    ]
    changes = image_changes(thrice)
    one, mean = find(changes, 0), find(changes, MEAN)
    assert (mean.delong_low, mean.delong_high) == pytest.approx((one.delong_low, one.delong_high))
    assert (mean.low, mean.high) == pytest.approx((one.low, one.high))


def test_the_order_of_images_does_not_matter(pairs: list[Pair]) -> None:
    order = np.random.default_rng(1).permutation(44)
    shuffled = [(host, device.take(device.image_id[order[:: 1 - 2 * k]])) for k, (host, device) in enumerate(pairs)]
    one, other = find(image_changes(pairs), MEAN), find(image_changes(shuffled), MEAN)
    assert (one.points, one.delong_low) == pytest.approx((other.points, other.delong_low))


def test_the_test_of_equivalence(pairs: list[Pair], make_scores: Make) -> None:
    change = find(image_changes(pairs, margin=0.2), MEAN)
    assert change.test is not None and change.test.verdict != "equivalent"
    assert find(image_changes(pairs, margin=20), MEAN).test.verdict == "equivalent"
    assert find(image_changes(pairs), MEAN, "image_ap").test is None
    # Nothing moved: the step of one seed, one pair of 12 x 10 in one of two categories, and half of it for two seeds.
    same = [(host, replace(host, record=device.record)) for host, device in pairs]
    for seed, seeds in ((0, 1), (MEAN, 2)):
        still = find(image_changes(same), seed)
        assert (still.points, still.p_value) == (0, 1)
        assert still.test.high == pytest.approx(-math.log(0.05) * 100 / 120 / 2 / seeds)


def test_few_images_decide_nothing(make_scores: Make) -> None:
    """One image of each kind: an AUROC, no spread, and no claim of one; one kind alone: nothing at all."""
    host = make_scores([0, 1], [0, 1])
    change = find(image_changes([(host, make_scores([0.1, 1], [0, 1], **FP16))]), MEAN)
    assert change.points == 0
    assert math.isnan(change.delong_low) and math.isnan(change.low) and change.test.verdict == "undecided"
    one = [make_scores([0, 1], [1, 1]), make_scores([0.5, 1], [1, 1], **FP16)]
    alone = find(image_changes([tuple(one)]), MEAN)
    assert math.isnan(alone.points) and math.isnan(alone.low) and alone.test.verdict == "undecided"


def test_seeds_on_other_images_are_refused(pairs: list[Pair]) -> None:
    host, device = pairs[1]
    with pytest.raises(InputError, match="bolts seed 1: scored on other images than seed 0"):
        image_changes([pairs[0], (host, device.take(device.image_id[:10]))])
    with pytest.raises(InputError, match="no seed was scored on both sides"):
        image_changes([])


def test_table(pairs: list[Pair]) -> None:
    table = change_table(image_changes(pairs))
    assert len(table) == 6
    row = table[(table["seed"] == MEAN) & (table["metric"] == "image_auroc")].iloc[0]
    assert row["verdict"] in ("undecided", "not equivalent")
    assert row["test_low"] < row["points"] < row["test_high"]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Of the images of `pairs`: each defective one has a rectangle, but for the last, whose pixels are unknown."""
    generator = np.random.default_rng(2)
    entries = []
    for row in range(44):
        mask = ""
        if LABEL[row] and row != 43:
            mask = f"{row:03d}_mask.png"
            drawn = np.zeros((24, 32), dtype=np.uint8)
            top, left = generator.integers(0, 14, size=2)
            drawn[top : top + 8, left : left + 9] = 255
            cv2.imwrite(str(tmp_path / mask), drawn)
        name = f"{row:03d}.png"
        entries.append(Entry(name, CATEGORY[row], "test", int(LABEL[row]), "x", mask, 32, 24, "a" * 64, "b" * 64))
    return Manifest("bolts", tmp_path, tuple(entries))


def test_pixels_are_those_of_the_table(pairs: list[Pair], manifest: Manifest) -> None:
    changes = pixel_changes(pairs, manifest, pixels=16)
    assert [(each.seed, each.metric) for each in changes] == [
        (seed, metric) for seed in (0, 1, MEAN) for metric in ("pixel_auroc", "pixel_aupro")
    ]
    masks = [
        reduce_mask(cv2.imread(str(manifest.root / each.mask), cv2.IMREAD_GRAYSCALE), 16) if each.mask else None
        for each in manifest.entries
    ]
    for seed, pair in enumerate(pairs):
        exact = []
        for side in pair:
            found = []
            for category in ("nut", "bolt"):
                rows = [row for row in np.flatnonzero(category == CATEGORY) if row != 43]
                found.append(exact_pixel_metrics(side.map[rows], [masks[row] for row in rows], 16))
            exact.append([100 * np.mean([getattr(each, name) for each in found]) for name in ("auroc", "aupro")])
        for place, metric in enumerate(("pixel_auroc", "pixel_aupro")):
            change = find(changes, seed, metric)
            assert (change.host, change.device) == pytest.approx([each[place] for each in exact], abs=0.05)
            assert change.low <= change.points <= change.high
            assert change.test is None
    mean = find(changes, MEAN, "pixel_auroc")
    assert mean.points == pytest.approx(np.mean([find(changes, seed, "pixel_auroc").points for seed in (0, 1)]))


def test_pixels_of_no_known_mask_are_undefined(pairs: list[Pair], manifest: Manifest) -> None:
    blind = replace(manifest, entries=tuple(replace(each, mask="") for each in manifest.entries))
    for change in pixel_changes(pairs, blind, pixels=16):
        assert math.isnan(change.points) and math.isnan(change.low)
