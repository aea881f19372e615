"""Drift: paired over sides, seeds and categories; every interval as its definition has it; fallbacks are caught."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from edgezsad.config import Profile
from edgezsad.devices import BOARDS
from edgezsad.devices.drift import (
    MEAN,
    Pair,
    board_drift,
    board_table,
    drift_table,
    metric_changes,
    runtime_drift,
)
from edgezsad.errors import CheckError, InputError
from edgezsad.metrics.benchmark_tables import category_seed
from edgezsad.metrics.intervals import bootstrap, interval
from edgezsad.metrics.significance import contrast, delong
from edgezsad.run import Run
from edgezsad.scoring.score_file import ScoreFile, write_not_run, write_scores

FP16 = {"runtime": "onnx-fp16", "precision": "fp16"}
Make = Callable[..., ScoreFile]

SCORE = [0.0, 1, 2, 3, 4, 5, 6, 7]
EIGHT = [0, 0, 0, 1, 0, 1, 1, 1]


def row(host: ScoreFile, device: ScoreFile, threshold: float | None = None) -> pd.Series:
    return drift_table([(host, device)], {} if threshold is None else {0: threshold}).iloc[0]


def find(changes: pd.DataFrame, seed: int | str, metric: str = "image_auroc") -> Any:
    (found,) = changes[(changes["seed"] == seed) & (changes["metric"] == metric)].itertuples()
    return found


def test_small_noise_gives_the_expected_points(make_scores: Make):
    # Fifteen of sixteen pairs on the host; the device exchanges 3 and 4, so that all are right.
    host = make_scores(SCORE, EIGHT)
    found = row(host, make_scores([0.01, 1, 2, 4.1, 3.9, 5, 6, 7], EIGHT, map=host.map * 2 + 1, **FP16))
    assert found.step == pytest.approx(100 / 16)
    assert found.largest == pytest.approx(1.1, abs=1e-6)
    # Two neighbours of eight exchanged: 1 - 6 * 2 / (8 * 63).
    assert found.spearman == pytest.approx(1 - 12 / 504)
    assert found.map_correlation == pytest.approx(1)
    assert (found.target, found.seed, found.images, found.suspicious) == ("bolts", 0, 8, False)
    assert (found.newly_defective, found.newly_normal) == (None, None)
    assert row(host, replace(host, record=host.record.model_copy(update=FP16))).suspicious
    # At 3 or above: 2 comes up to it, 4 and 5 fall below, 3 stays on it.
    found = row(host, make_scores([0, 1, 3.0, 3.0, 2.9, 2.99, 6, 7], EIGHT, **FP16), 3.0)
    assert (found.newly_defective, found.newly_normal) == (1, 2)


def test_a_subset_is_compared_with_itself(make_scores: Make):
    host = make_scores(SCORE, EIGHT)
    part = host.take(np.array(["006.png", "000.png", "004.png", "003.png"]))
    noisy = replace(part, score=part.score + np.float32(0.01), record=host.record.model_copy(update=FP16))
    found = row(host, noisy)
    assert found.images == 4 and found.map_correlation == pytest.approx(1)
    # On these four images the host has three of four pairs; on all of its own, fifteen of sixteen.
    change = metric_changes([(host, noisy)]).iloc[0]
    assert change.host == change.device == pytest.approx(75)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (([*SCORE], [1, *EIGHT[1:]], {}), "bolts seed 0: labels or map sizes differ"),
        (([1, 2], [0, 1], {"image_id": ["000.png", "strange.png"]}), r"no image strange\.png"),
        ((SCORE, EIGHT, {"seed": 1}), "bolts seed 1: compared with bolts seed 0"),
        ((SCORE, EIGHT, {"detector_sha256": "c" * 64}), "scored different models"),
    ],
)
def test_what_cannot_be_compared(make_scores: Make, device: tuple, said: str):
    score, label, facts = device
    with pytest.raises(InputError, match=said):
        row(make_scores(SCORE, EIGHT, detector_sha256="d" * 64), make_scores(score, label, **(FP16 | facts)))


LABEL = np.tile(np.repeat([0, 1], [12, 10]), 2)
CATEGORY = np.repeat(["nut", "bolt"], 22)


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


def test_the_mean_over_seeds(pairs: list[Pair]):
    changes = metric_changes(pairs)
    assert len(changes) == 6
    mean = find(changes, MEAN)
    assert mean.points == pytest.approx((find(changes, 0).points + find(changes, 1).points) / 2)
    assert mean.test_low < mean.points < mean.test_high and mean.verdict in ("undecided", "not equivalent")
    shuffled = [(host, device.take(device.image_id[:: 1 - 2 * k])) for k, (host, device) in enumerate(pairs)]
    other = find(metric_changes(shuffled), MEAN)
    assert (mean.points, mean.test_low) == pytest.approx((other.points, other.test_low))


def test_the_bootstrap_is_paired_over_sides_seeds_and_categories(pairs: list[Pair]):
    """The same images are resampled for both sides and all seeds: differences of replicates, one by one."""
    for metric, kept in (("image_auroc", "auroc"), ("image_ap", "ap")):
        expected = []
        for host, device in pairs:
            for category in ("nut", "bolt"):
                rows = category == CATEGORY
                one, other = (
                    getattr(bootstrap(LABEL[rows], side.score[rows], seed=category_seed(category)), kept)
                    for side in (host, device)
                )
                expected.append(other - one)
        change = find(metric_changes(pairs), MEAN, metric)
        assert (change.low, change.high) == pytest.approx(interval(100 * np.mean(expected, axis=0)))
        assert change.low < change.points < change.high


def test_delong_adds_the_variances_of_categories(pairs: list[Pair]):
    changes = metric_changes(pairs)
    (host, device), _ = pairs
    errors, mean_errors = [], []
    for category in ("nut", "bolt"):
        rows = category == CATEGORY
        errors.append(contrast([-100, 100], *delong(LABEL[rows], [host.score[rows], device.score[rows]]))[1])
        four = [side.score[rows] for pair in pairs for side in pair]
        mean_errors.append(contrast([-50, 50, -50, 50], *delong(LABEL[rows], four))[1])
    for change, each in ((find(changes, 0), errors), (find(changes, MEAN), mean_errors)):
        assert change.test_high - change.test_low == pytest.approx(2 * 1.644854 * math.hypot(*each) / 2)
        assert (change.test_high + change.test_low) / 2 == pytest.approx(change.points)
        # Two ways to one interval, at 90% and 95%.
        width = (change.test_high - change.test_low) * 1.959964 / 1.644854
        assert width == pytest.approx(change.high - change.low, rel=0.25)


def test_the_test_of_equivalence(pairs: list[Pair]):
    assert find(metric_changes(pairs, margin=0.2), MEAN).verdict != "equivalent"
    assert find(metric_changes(pairs, margin=20), MEAN).verdict == "equivalent"
    assert pd.isna(find(metric_changes(pairs), MEAN, "image_ap").verdict)
    # Nothing moved: the step of one seed, one pair of 12 x 10 in one of two categories, and half of it for two seeds.
    same = [(host, replace(host, record=device.record)) for host, device in pairs]
    for seed, seeds in ((0, 1), (MEAN, 2)):
        still = find(metric_changes(same), seed)
        assert still.points == 0
        assert still.test_high == pytest.approx(-math.log(0.05) * 100 / 120 / 2 / seeds)


JETSON = BOARDS["jetson"]
HALF = np.repeat([0, 1], 32)
HOST = np.random.default_rng(0).normal(size=64) + 1.5 * HALF


@pytest.fixture
def run(make_profile: Callable[..., Profile], make_scores: Make, tmp_path: Path) -> Run:
    """Two targets of 64 images and two seeds on the host."""
    run = Run(make_profile(tmp_path))
    for item in run.profile.data.targets:
        for seed in (0, 1):
            scores = make_scores(HOST, HALF, target=item.name, seed=seed)
            write_scores(scores, run.scores("pytorch", seed, item.name))
    return run


@pytest.fixture
def give(make_scores: Make) -> Callable[..., None]:
    """Write a device's scores into a folder, moved by `noise`; keyword arguments as for `make_scores`."""

    def write(folder: Path, noise: float, targets: tuple[str, ...] = ("bolts", "nuts"), **facts: object) -> None:
        generator = np.random.default_rng(1)
        for target in targets:
            for seed in (0, 1):
                base = {"runtime": JETSON.runtime, "precision": "fp16", "target": target, "seed": seed}
                scores = make_scores(HOST + noise * generator.normal(size=64), HALF, **(base | facts))
                write_scores(scores, folder / f"seed{seed}" / f"{target}.npz")

    return write


def test_no_board_and_a_foreign_result(run: Run, give: Callable[..., None]):
    result = board_drift(run, JETSON)
    assert result.summary().startswith("not run: no result of the board in ")
    found = result.result()
    assert (found["status"], found["drift_points_below"], found["verdicts"]["equivalent"]) == ("not run", None, 0)
    assert found["missing"] == ["bolts", "nuts"] and found["largest_drift_points"] is found["smallest_spearman"] is None
    table = board_table(run, JETSON, result)
    assert table["benchmark"].tolist() == ["MVTec-AD", "VisA"]
    assert set(table["ours"]) == set(table["verdict"]) == {"not run"}
    assert set(table["needs"]) == {JETSON.reported["needs"]}
    assert result.changes.query("seed == 'mean'").empty
    give(run.board("jetson"), 1e-4, runtime="qnn-gpu-fp16")
    with pytest.raises(InputError, match=r"expected scores of tensorrt-fp16, got qnn-gpu-fp16"):
        board_drift(run, JETSON)


@pytest.mark.slow
def test_a_board_is_compared_like_a_runtime(run: Run, give: Callable[..., None], tmp_path: Path):
    give(run.board("jetson"), 0.05)
    give(run.folder / "scores" / "onnx-fp16", 0.05, runtime="onnx-fp16")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(run.board("jetson"), tmp_path / "elsewhere")
    board = board_drift(run, JETSON, tmp_path / "elsewhere" / "jetson")
    ours, theirs = board.result(), runtime_drift(run, "onnx-fp16").result()
    assert (ours.pop("runtime"), theirs.pop("runtime")) == (JETSON.runtime, "onnx-fp16") and ours == theirs
    assert set(board.changes["metric"]) == {"image_auroc", "image_ap"}
    assert len(board.table) == 4 and "2 undecided" in board.summary()
    json.dumps(ours, allow_nan=False)
    # The worst single seed, and the farthest end of the tests' intervals.
    assert ours["largest_drift_points"] == board.table["points"].abs().max()
    assert ours["drift_points_below"] == max(max(-each.test_low, each.test_high) for each in board.means.itertuples())


@pytest.mark.slow
def test_verdicts_missing_seeds_and_targets(run: Run, give: Callable[..., None]):
    give(run.board("jetson"), 2.0, targets=("bolts",))
    (run.board("jetson") / "seed0" / "bolts.npz").unlink()
    result = board_drift(run, JETSON)
    assert result.missing == ["nuts"] and [(each.target, each.images) for each in result.means.itertuples()] == [
        ("bolts", 64)
    ]
    table = board_table(run, JETSON, result)
    assert table["verdict"].tolist() == ["not equivalent", "not run"] and table["seeds"].tolist() == ["1", "-"]
    assert table["needs"].tolist() == ["-", JETSON.reported["needs"]]


@pytest.mark.slow
def test_exactly_zero_is_suspicious(run: Run, give: Callable[..., None]):
    give(run.board("jetson"), 1e-4)
    give(run.board("jetson"), 0, targets=("nuts",))
    result = board_drift(run, JETSON)
    assert result.summary().startswith("suspicious: a drift of exactly zero on nuts seed 0, nuts seed 1")
    assert result.result()["status"] == "suspicious"
    verdicts = board_table(run, JETSON, result)["verdict"].tolist()
    assert verdicts == ["equivalent", "suspicious: exactly zero (nuts seed 0, nuts seed 1)"]
    # A runtime of the host is run again instead.
    give(run.folder / "scores" / "onnx-fp16", 0, runtime="onnx-fp16")
    with pytest.raises(CheckError, match="bolts seed 0: drift of exactly zero"):
        runtime_drift(run, "onnx-fp16")


def test_a_runtime_without_scores(run: Run, make_scores: Make, make_profile: Callable[..., Profile]):
    with pytest.raises(InputError, match=r"bolts\.json: missing; run notebook 05_scoring"):
        runtime_drift(run, "onnx-fp16")
    fewer = Run(make_profile(run.folder, evaluation={"runtimes": ["pytorch"]}))
    assert runtime_drift(fewer, "onnx-fp16").reason == "onnx-fp16 is not in evaluation.runtimes of the profile"
    for target in ("bolts", "nuts"):
        record = make_scores([], [], target=target, status="not run", reason="no emulator here").record
        write_not_run(record, run.scores("qnn-htp-fp16", 0, target))
    result = runtime_drift(run, "qnn-htp-fp16")
    assert result.table.empty and result.summary() == "not run: no emulator here"
