"""From score files and masks to the metrics of each category, then means over categories and seeds."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from edgezsad.config import Profile
from edgezsad.data.manifest import Entry, Manifest, write_manifest
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_file, write_json
from edgezsad.metrics.benchmark_tables import (
    IMAGE_METRICS,
    METRICS,
    benchmarks,
    bootstrap_categories,
    category_metrics,
    detector_row,
    has_pixel_labels,
    mean_intervals,
    pixel_labels,
    summary_table,
)
from edgezsad.metrics.image_metrics import auroc
from edgezsad.metrics.intervals import interval
from edgezsad.metrics.pixel_metrics import pixel_metrics
from edgezsad.run import Run
from edgezsad.scoring.score_file import ScoreFile, write_scores

MakeScores = Callable[..., ScoreFile]
CATEGORY = np.array(["bolt"] * 4 + ["nut"] * 5)
LABEL = np.array([0, 1, 0, 1, 0, 1, 0, 1, 1])
SCORE = np.array([0.1, 5, 2, 1, -3, -9, 4, 8, 7], dtype=np.float32)
WITHOUT_MASK = 8


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Nine images; each defective one but the last has a mask whose position depends on its number."""
    entries = []
    for row, (category, label) in enumerate(zip(CATEGORY, LABEL.tolist(), strict=True)):
        name = f"mask{row}.png" if label and row != WITHOUT_MASK else ""
        if name:
            mask = np.zeros((16, 16), dtype=np.uint8)
            mask[row : row + 4, 2:6] = 255
            cv2.imwrite(str(tmp_path / name), mask)
        hashes = ("a" * 64, sha256_of_file(tmp_path / name) if name else "")
        entries.append(Entry(f"{row:03d}.png", str(category), "test", label, "x", name, 16, 16, *hashes))
    return Manifest("things", tmp_path, tuple(entries))


@pytest.fixture
def scores(make_scores: MakeScores) -> ScoreFile:
    return make_scores(SCORE, LABEL, category=CATEGORY)


def rows_of(*given: object) -> pd.DataFrame:
    return pd.DataFrame(category_metrics(*given))


def test_each_category_by_itself(scores: ScoreFile, manifest: Manifest) -> None:
    table = rows_of(scores, manifest, 8)
    assert table[["category", "images", "defective", "without_mask"]].to_numpy().tolist() == [
        ["bolt", 4, 2, 0],
        ["nut", 5, 3, 1],
    ]
    expected = [100 * auroc(LABEL[name == CATEGORY], SCORE[name == CATEGORY]) for name in ("bolt", "nut")]
    assert table["image_auroc"].tolist() == pytest.approx(expected)
    # The image without a mask counts for image metrics only.
    masks = np.zeros((9, 16, 16), dtype=bool)
    for row in (1, 3, 5, 7):
        masks[row, row : row + 4, 2:6] = True
    for name, value in vars(pixel_metrics(scores.map[4:8], masks[4:8], 8)).items():
        assert table[f"pixel_{name}"][1] == pytest.approx(100 * value)
    # Rows are matched by image id, not by position.
    pd.testing.assert_frame_equal(rows_of(scores.take(scores.image_id[::-1]), manifest, 8), table)


def test_category_without_defects_or_masks(make_scores: MakeScores, manifest: Manifest) -> None:
    entries = tuple(manifest.entries[row] for row in (0, 2, WITHOUT_MASK))
    few = Manifest("few", manifest.root, entries)
    ids, categories = [entry.id for entry in entries], [entry.category for entry in entries]
    table = rows_of(make_scores([0, 1, 2], [0, 0, 1], image_id=ids, category=categories), few, 8)
    assert table[list(METRICS)].isna().all(axis=None)


def test_pixel_labels(scores: ScoreFile, manifest: Manifest) -> None:
    assert has_pixel_labels(scores, manifest).tolist() == [True] * 8 + [False]
    found = pixel_labels(scores, manifest, 16)
    assert [mask if mask is None else (mask.shape, int(mask.sum())) for mask in found] == [None, ((16, 16), 16)] * 4
    fewer = Manifest("things", manifest.root, manifest.entries[1:])
    with pytest.raises(InputError, match=r"things: 000\.png is not in the manifest; run notebook 05"):
        rows_of(scores, fewer, 8)


def test_intervals_contain_the_value_and_are_those_of_the_replicates(scores: ScoreFile, manifest: Manifest) -> None:
    resamples = bootstrap_categories(scores)
    table = rows_of(scores, manifest, 8, resamples).set_index("category")
    for name in IMAGE_METRICS:
        assert (table[f"{name}_low"] <= table[name]).all() and (table[name] <= table[f"{name}_high"]).all()
    ends = [100 * end for end in interval(resamples["nut"].auroc)]
    assert table.loc["nut", ["image_auroc_low", "image_auroc_high"]].tolist() == pytest.approx(ends)


def test_categories_are_resampled_independently(make_scores: MakeScores) -> None:
    # With equal resamples, deviations would not average out and the mean's interval would be too wide.
    label, score = np.tile([0, 1], 20), np.random.default_rng(0).normal(size=40)
    category = np.repeat(["bolt", "nut"], 40)
    both = make_scores(np.tile(score, 2), np.tile(label, 2), category=category)
    found = bootstrap_categories(both)
    one, mean = (high - low for low, high in (interval(found["bolt"].auroc), mean_intervals([found])["image_auroc"]))
    assert mean / 100 == pytest.approx(one / np.sqrt(2), rel=0.1)
    alone = bootstrap_categories(both.take(both.image_id[category == "nut"]))
    assert np.array_equal(alone["nut"].auroc, found["nut"].auroc)


def test_interval_of_the_mean_over_categories_and_seeds(scores: ScoreFile) -> None:
    found = bootstrap_categories(scores)
    mean = (found["bolt"].auroc + found["nut"].auroc) / 2
    # All seeds have the same resamples: the same scores twice add nothing.
    ends = [100 * end for end in interval(mean)]
    assert mean_intervals([found, bootstrap_categories(scores)])["image_auroc"] == pytest.approx(ends)
    # A category where nothing is defined is left out, as it is of the mean.
    undefined = {"nut": bootstrap_categories(scores.take(scores.image_id[:1]))["bolt"]}
    bolt = [100 * end for end in interval(found["bolt"].ap)]
    assert mean_intervals([{"bolt": found["bolt"]} | undefined])["image_ap"] == pytest.approx(bolt)
    assert all(map(math.isnan, mean_intervals([undefined])["image_ap"]))


@pytest.fixture
def run(make_profile: Callable[..., Profile], make_scores: MakeScores, tmp_path: Path) -> Run:
    """Two targets and seeds; image AUROC by category 3/4 and 1 for seed 0, 1 and 0 for seed 1; no masks."""
    run = Run(make_profile(tmp_path))
    category, label = ["a"] * 4 + ["b"] * 2, [0, 0, 1, 1, 0, 1]
    for item in run.profile.data.targets:
        entries = [
            Entry(f"{row:03d}.png", name, "test", kind, "x" if kind else "good", "", 8, 8, f"{row:064x}", "")
            for row, (name, kind) in enumerate(zip(category, label, strict=True))
        ]
        other_split = Entry("train.png", "a", "train", 0, "good", "", 8, 8, "c" * 64, "")
        manifest = Manifest(item.name, tmp_path, (*entries, other_split))
        write_manifest(manifest, run.manifest_path(item.name))
        for seed, score in enumerate(([0, 2, 1, 3, 0, 1], [0, 1, 2, 3, 1, 0])):
            record = {"target": item.name, "seed": seed, "manifest_sha256": manifest.select("test").sha256}
            write_scores(make_scores(score, label, category=category, **record), run.scores("pytorch", seed, item.name))
    return run


def test_mean_over_categories_then_over_seeds(run: Run) -> None:
    result = benchmarks(run)
    assert len(result.categories) == 2 * 2 * 2
    assert result.seeds["image_auroc"].tolist() == pytest.approx([87.5, 50, 87.5, 50])
    found = result.summary["bolts"]["image_auroc"]
    assert (found["mean"], found["std"]) == pytest.approx((68.75, np.std([87.5, 50], ddof=1)))
    assert found["low"] <= found["mean"] <= found["high"] and found["left_out"] == []
    assert result.summary["nuts"]["pixel_aupro"] == {"mean": None, "std": None, "left_out": ["a", "b"]}
    content = json.loads(json.dumps(result.as_json(run), allow_nan=False))
    assert content["by_benchmark"]["VisA"] == result.summary["nuts"] and content["runs"] == 2
    table = summary_table(run, result).set_index("target")
    assert table.loc["bolts", ["image_auroc", "pixel_aupro"]].tolist() == ["68.8 ± 26.5", "undefined"]


def test_errors_of_a_detector_are_counted_at_the_threshold_of_each_seed(run: Run) -> None:
    result = benchmarks(run)
    with pytest.raises(InputError, match="run notebook 03_training"):
        detector_row(run, result)
    for seed, threshold in enumerate((1.5, 0.5)):
        write_json(run.seed_folder(seed) / "metrics.json", {"threshold": threshold})
    row = detector_row(run, result)
    # Scores 0, 2, 1, 3, 0, 1 at 1.5: one false alarm, two misses; 0, 1, 2, 3, 1, 0 at 0.5: two and one; three of each.
    assert row["detector"] == "EdgeGLR" and row["image_auroc"] == pytest.approx(68.75)
    assert (row["false alarms"], row["misses"]) == (50, 50)


def test_scores_of_other_images_are_rejected(run: Run, make_scores: MakeScores) -> None:
    old = make_scores([0.0] * 6, [0, 1] * 3, target="nuts", seed=1, manifest_sha256="d" * 64)
    write_scores(old, run.scores("pytorch", 1, "nuts"))
    with pytest.raises(InputError, match=r"nuts\.npz: made from other images; run notebook 05_scoring again"):
        benchmarks(run)
