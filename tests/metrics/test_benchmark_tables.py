"""The benchmark table: from score files on disk to means over categories and spread over seeds."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgezsad.config import Profile
from edgezsad.data.manifest import Entry, Manifest, write_manifest
from edgezsad.errors import InputError
from edgezsad.metrics.benchmark_tables import (
    benchmarks,
    category_means,
    decision_table,
    interval_table,
    summary_table,
    undefined_table,
)
from edgezsad.metrics.category_metrics import METRICS
from edgezsad.run import Run
from edgezsad.scoring.score_file import ScoreFile, write_scores

CATEGORY = ["a"] * 4 + ["b"] * 2
LABEL = [0, 0, 1, 1, 0, 1]
# Image AUROC by category: seed 0: 3/4 and 1; seed 1: 1 and 0.
SCORES = {0: [0, 2, 1, 3, 0, 1], 1: [0, 1, 2, 3, 1, 0]}


@pytest.fixture
def run(make_profile: Callable[..., Profile], make_scores: Callable[..., ScoreFile], tmp_path: Path) -> Run:
    run = Run(make_profile(tmp_path))
    for item in run.profile.data.targets:
        entries = [
            Entry(f"{row:03d}.png", category, "test", label, "x" if label else "good", "", 8, 8, f"{row:064x}", "")
            for row, (category, label) in enumerate(zip(CATEGORY, LABEL, strict=True))
        ]
        other_split = Entry("train.png", "a", "train", 0, "good", "", 8, 8, "c" * 64, "")
        manifest = Manifest(item.name, tmp_path, (*entries, other_split))
        write_manifest(manifest, run.manifest_path(item.name))
        for seed, score in SCORES.items():
            facts = {"target": item.name, "seed": seed, "manifest_sha256": manifest.select("test").sha256}
            write_scores(make_scores(score, LABEL, category=CATEGORY, **facts), run.scores("pytorch", seed, item.name))
    return run


def test_category_then_mean_then_spread(run: Run) -> None:
    result = benchmarks(run)
    assert len(result.categories) == 2 * 2 * 2
    assert result.seeds["image_auroc"].tolist() == pytest.approx([87.5, 50, 87.5, 50])
    summary = result.summary["bolts"]["image_auroc"]
    assert summary["mean"] == pytest.approx(68.75)
    assert summary["std"] == pytest.approx(np.std([87.5, 50], ddof=1))
    # No image has a mask, so there is no pixel number, and none is made up.
    assert result.summary["nuts"]["pixel_aupro"] == {"mean": None, "std": None}
    # The interval is of the same mean, and as wide as two and four images make it.
    assert summary["low"] <= summary["mean"] <= summary["high"]
    assert result.undefined["nuts"] == {name: ["a", "b"] for name in METRICS if name.startswith("pixel")}
    kept = result.as_json(run)
    assert kept["undefined"] == result.undefined
    json.dumps(kept, allow_nan=False)
    assert kept["by_benchmark"]["VisA"]["image_auroc"]["mean"] == pytest.approx(68.75)
    assert len(kept["seeds"]) == 4


def test_categories_keep_whole_counts(run: Run) -> None:
    result = benchmarks(run)
    table = category_means(result)
    assert len(table) == len(set(CATEGORY)) * len(run.profile.data.targets)
    assert table[["images", "defective", "without_mask"]].dtypes.eq("int64").all()
    assert table["images"].sum() == len(LABEL) * len(run.profile.data.targets)
    first = result.categories[(result.categories["target"] == "bolts") & (result.categories["category"] == "a")]
    assert table["image_auroc"].iloc[0] == pytest.approx(first["image_auroc"].mean())


def test_summary_stands_beside_the_paper(run: Run) -> None:
    published = {"MVTec-AD": {"image_auroc": 91.6}, "VisA": {"pixel_pro": 74.2}}
    table = summary_table(run, benchmarks(run), published).set_index("target")
    assert table.loc["bolts", "image_auroc"] == "68.8 ± 26.5"
    assert table.loc["bolts", "pixel_aupro"] == "undefined"
    assert table.loc["bolts", "paper: image AUROC"] == 91.6
    assert table.loc["nuts", "paper: PRO"] == 74.2


def test_intervals_and_what_is_left_out_in_words(run: Run) -> None:
    result = benchmarks(run)
    table = interval_table(result, 1).set_index(["target", "category"])
    # Category b has one image of each kind: every resample is the data itself.
    assert table.loc[("bolts", "b"), "image_auroc"] == "0.0 (0.0 to 0.0)"
    assert table.loc[("bolts", "a"), "image_auroc"] == "100.0 (100.0 to 100.0)"
    left_out = undefined_table(result)
    assert len(left_out) == 2 * 5
    assert left_out.iloc[0].tolist() == ["bolts", "pixel_auroc", "a, b"]
    nothing = replace(result, undefined={"bolts": {}, "nuts": {}})
    assert undefined_table(nothing)["categories left out"].tolist() == ["none"]


def test_scores_of_other_images_are_refused(run: Run, make_scores: Callable[..., ScoreFile]) -> None:
    old = make_scores(SCORES[1], LABEL, category=CATEGORY, target="nuts", seed=1, manifest_sha256="d" * 64)
    write_scores(old, run.scores("pytorch", 1, "nuts"))
    with pytest.raises(InputError, match=r"nuts\.npz: made from other images; run notebook 05_scoring again"):
        benchmarks(run)


def test_decisions_at_a_threshold(make_scores: Callable[..., ScoreFile]) -> None:
    # At the threshold itself an image is called defective.
    first = make_scores([-1.0, 0.5, 0.49, 2.0, 0.5], [0, 0, 1, 1, 1])
    second = make_scores([0.0, 9.0], [1, 0], target="nuts")
    table = decision_table([first, second], 0.5).set_index("target")
    assert table.columns.tolist() == ["defective", "detected", "missed", "normal", "false_alarms"]
    assert table.loc["bolts"].tolist() == [3, 2, 1, 2, 1]
    assert table.loc["nuts"].tolist() == [1, 0, 1, 1, 1]
    assert table.loc["total"].tolist() == [4, 2, 2, 3, 2]
    assert table.dtypes.eq("int64").all()
