"""Tables: each category by itself, then the mean over categories, then mean and spread over seeds."""

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import InputError
from edgezsad.metrics.benchmark_tables import mean_and_std, mean_intervals, mean_over_categories, undefined
from edgezsad.metrics.category_metrics import (
    IMAGE_METRICS,
    METRICS,
    bootstrap_categories,
    category_metrics,
    has_pixel_labels,
    pixel_labels,
)
from edgezsad.metrics.image_metrics import auroc
from edgezsad.metrics.intervals import interval
from edgezsad.metrics.pixel_metrics import pixel_metrics
from edgezsad.scoring.score_file import ScoreFile

ROWS = [("bolt", 0), ("bolt", 1), ("bolt", 0), ("bolt", 1), ("nut", 0), ("nut", 1), ("nut", 0), ("nut", 1), ("nut", 1)]
SCORE = np.array([0.1, 5, 2, 1, -3, -9, 4, 8, 7], dtype=np.float32)
UNKNOWN = 8


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Nine images; each defective one but the last has a mask whose place depends on its number."""
    entries = []
    for row, (category, label) in enumerate(ROWS):
        mask = ""
        if label and row != UNKNOWN:
            mask = f"mask{row}.png"
            picture = np.zeros((16, 16), dtype=np.uint8)
            picture[row : row + 4, 2:6] = 255
            cv2.imwrite(str(tmp_path / mask), picture)
        hashes = ("a" * 64, "b" * 64 if mask else "")
        entries.append(Entry(f"{row:03d}.png", category, "test", label, "x", mask, 16, 16, *hashes))
    return Manifest("things", tmp_path, tuple(entries))


@pytest.fixture
def scores(make_scores: Callable[..., ScoreFile]) -> ScoreFile:
    return make_scores(SCORE, [label for _, label in ROWS], category=[category for category, _ in ROWS])


def rows_of(*given: object) -> pd.DataFrame:
    return pd.DataFrame(category_metrics(*given))


def test_each_category_by_itself(scores: ScoreFile, manifest: Manifest) -> None:
    table = rows_of(scores, manifest, 8)
    assert table["category"].tolist() == ["bolt", "nut"]
    assert table[["images", "defective", "without_mask"]].to_numpy().tolist() == [[4, 2, 0], [5, 3, 1]]
    label = np.array([label for _, label in ROWS])
    bolt, nut = slice(0, 4), slice(4, 9)
    assert table["image_auroc"].tolist() == [
        pytest.approx(100 * auroc(label[rows], SCORE[rows])) for rows in (bolt, nut)
    ]
    # Both categories together would have given another number.
    assert table["image_auroc"].mean() != pytest.approx(100 * auroc(label, SCORE))
    # The image without a mask is left out of the pixel metrics, and only of those.
    masks = np.zeros((9, 16, 16), dtype=bool)
    for row in (1, 3, 5, 7):
        masks[row, row : row + 4, 2:6] = True
    nuts = pixel_metrics(scores.map[4:8], masks[4:8], 8)
    for name, value in vars(nuts).items():
        assert table[f"pixel_{name}"][1] == pytest.approx(100 * value)


def test_rows_are_matched_by_id_and_not_by_place(scores: ScoreFile, manifest: Manifest) -> None:
    shuffled = scores.take(scores.image_id[::-1])
    pd.testing.assert_frame_equal(rows_of(shuffled, manifest, 8), rows_of(scores, manifest, 8))


def test_category_without_defects_or_masks(make_scores: Callable[..., ScoreFile], manifest: Manifest) -> None:
    entries = tuple(entry for row, entry in enumerate(manifest.entries) if row in (0, 2, UNKNOWN))
    few = Manifest("few", manifest.root, entries)
    scores = make_scores(
        [0, 1, 2], [0, 0, 1], image_id=[entry.id for entry in entries], category=["bolt", "bolt", "nut"]
    )
    table = rows_of(scores, few, 8)
    assert table[list(METRICS)].isna().all(axis=None)
    assert undefined(table) == {name: ["bolt", "nut"] for name in METRICS}
    # Undefined is said, not made up; JSON has no NaN.
    summary = mean_and_std(mean_over_categories({0: table}))
    assert summary == {name: {"mean": None, "std": None} for name in METRICS}


def test_pixel_labels(scores: ScoreFile, manifest: Manifest) -> None:
    assert has_pixel_labels(scores, manifest).tolist() == [True] * 8 + [False]
    # Normal images have no mask to read.
    found = pixel_labels(scores, manifest, 16)
    assert [mask if mask is None else (mask.shape, int(mask.sum())) for mask in found] == [None, ((16, 16), 16)] * 4


def test_intervals_hold_the_value_and_are_those_of_the_replicates(scores: ScoreFile, manifest: Manifest) -> None:
    resamples = bootstrap_categories(scores)
    table = rows_of(scores, manifest, 8, resamples).set_index("category")
    for name in IMAGE_METRICS:
        for category in ("bolt", "nut"):
            low, high = table.loc[category, [f"{name}_low", f"{name}_high"]]
            assert low <= table.loc[category, name] <= high
    ends = tuple(100 * end for end in interval(resamples["nut"].auroc))
    assert table.loc["nut", ["image_auroc_low", "image_auroc_high"]].tolist() == pytest.approx(ends)
    assert np.array_equal(bootstrap_categories(scores)["nut"].auroc, resamples["nut"].auroc)


def test_categories_that_are_alike_are_drawn_one_apart_from_the_other(make_scores: Callable[..., ScoreFile]) -> None:
    # Drawn alike, their ups and downs would not even out in the mean, and its interval would be too wide.
    generator = np.random.default_rng(0)
    label, score = np.tile([0, 1], 20), generator.normal(size=40)
    category = np.repeat(["bolt", "nut"], 40)
    both = make_scores(np.tile(score, 2), np.tile(label, 2), category=category)
    found = bootstrap_categories(both)
    assert not np.array_equal(found["bolt"].auroc, found["nut"].auroc)
    one, mean = (high - low for low, high in (interval(found["bolt"].auroc), mean_intervals([found])["image_auroc"]))
    assert mean / 100 == pytest.approx(one / np.sqrt(2), rel=0.1)
    # A category by itself is drawn as among others.
    alone = bootstrap_categories(both.take(both.image_id[category == "nut"]))
    assert np.array_equal(alone["nut"].auroc, found["nut"].auroc)


def test_interval_of_the_mean_over_categories_and_seeds(scores: ScoreFile) -> None:
    first, second = bootstrap_categories(scores), bootstrap_categories(scores)
    ends = mean_intervals([first, second])
    mean = (first["bolt"].auroc + first["nut"].auroc) / 2
    # The same seed twice adds nothing: images are drawn alike for all seeds.
    assert ends["image_auroc"] == pytest.approx(tuple(100 * end for end in interval(mean)))
    one_class = {"bolt": first["bolt"], "nut": bootstrap_categories(scores.take(scores.image_id[:1]))["bolt"]}
    # A category where nothing is defined is left out, as it is of the mean.
    assert mean_intervals([one_class])["image_ap"] == pytest.approx(
        tuple(100 * end for end in interval(first["bolt"].ap))
    )
    assert mean_intervals([{"nut": one_class["nut"]}])["image_ap"] == (None, None)


def test_scores_of_other_images_are_refused(scores: ScoreFile, manifest: Manifest) -> None:
    fewer = Manifest("things", manifest.root, manifest.entries[1:])
    with pytest.raises(InputError, match=r"things: 000\.png is scored but not in the manifest; run notebook 05"):
        rows_of(scores, fewer, 8)


def test_over_seeds_then_mean_and_std() -> None:
    def table(first: float, second: float) -> pd.DataFrame:
        return pd.DataFrame({"category": ["a", "b"], "images": [2, 200]} | {name: [first, second] for name in METRICS})

    seeds = mean_over_categories({5: table(30, 60), 1: table(10, 30), 2: table(math.nan, 70)})
    assert seeds["seed"].tolist() == [1, 2, 5]
    # Categories weigh the same, however many images they have; an undefined one is left out.
    assert seeds["image_auroc"].tolist() == [20, 70, 45]
    summary = mean_and_std(seeds)
    assert summary["pixel_aupro"]["mean"] == pytest.approx(45)
    assert summary["pixel_aupro"]["std"] == pytest.approx(25)
    assert mean_and_std(seeds[:1])["image_ap"] == {"mean": 20, "std": None}
