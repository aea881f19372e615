"""Scoring a run: which images a subset takes, what a score file says, and where the scores come from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgezsad.config import Profile
from edgezsad.data.images import load
from edgezsad.data.manifest import Entry, Manifest, read_run_manifest, write_manifest
from edgezsad.errors import InputError, RuntimeUnavailable
from edgezsad.files import sha256_of_file
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import CheckpointInfo, build_detector, load_detector, save_checkpoint
from edgezsad.run import Run
from edgezsad.scoring.score_file import ScoreFile, read_scores
from edgezsad.scoring.score_run import score_seeds, score_targets, subset
from edgezsad.scoring.torch_scorer import TorchScorer


def entry(row: int, category: str = "bolt", label: int = 0, split: str = "test") -> Entry:
    return Entry(f"{row:04d}.png", category, split, label, "x" if label else "good", "", 8, 8, f"{row:064x}", "")


STRATA = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1)), min_size=1, max_size=60)


@given(STRATA, st.integers(1, 30))
def test_subset_has_every_label_of_every_category(rows: list[tuple[str, int]], count: int) -> None:
    manifest = Manifest("m", Path(), tuple(entry(row, *stratum) for row, stratum in enumerate(rows)))
    part = subset(manifest, count)
    assert {(e.category, e.label) for e in part.entries} == set(rows)
    # In the manifest's order, each image once, and no more than asked for but for one of each kind.
    ids = [e.id for e in part.entries]
    assert ids == sorted(set(ids))
    kinds = len(set(rows))
    assert len(ids) <= max(kinds, count + kinds / 2)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return Backbone("tf_efficientnet_lite0", "random", (8, 16))


@pytest.fixture
def run(make_profile: Callable[..., Profile], tmp_path: Path, backbone: Backbone) -> Run:
    """Two targets of three images, one of them for training, and two trained seeds."""
    values = make_profile(tmp_path / "run").model_dump(mode="json")
    profile = Profile.model_validate(values | {"data": values["data"] | {"root": str(tmp_path / "data")}})
    run = Run(profile)
    generator = np.random.default_rng(0)
    for item in profile.data.targets:
        root = profile.data.folder(item)
        root.mkdir(parents=True)
        entries = (entry(0, split="train"), entry(1), entry(2, label=1))
        for each in entries:
            cv2.imwrite(str(root / each.id), generator.integers(0, 256, (50, 70, 3), dtype=np.uint8))
        entries = tuple(replace(each, sha256=sha256_of_file(root / each.id)) for each in entries)
        write_manifest(Manifest(item.name, root, entries), run.manifest_path(item.name))
    for seed in profile.seeds:
        torch.manual_seed(seed)
        readout = build_detector(profile.model, backbone).readout
        info = CheckpointInfo(
            model=profile.model,
            backbone_sha256=backbone.sha256(),
            profile="mini",
            seed=seed,
            source_sha256="s",
            threshold=0,
        )
        save_checkpoint(run.checkpoint(seed), readout, info)
    return run


@pytest.fixture
def same_backbone(monkeypatch: pytest.MonkeyPatch, backbone: Backbone) -> None:
    # Random weights differ at every building; a run has them from a package or the hub.
    monkeypatch.setattr("edgezsad.model.detector.Backbone", lambda *arguments: backbone)


@pytest.mark.usefixtures("same_backbone")
def test_every_target_and_seed_is_scored(run: Run, backbone: Backbone) -> None:
    paths = score_targets(run, "pytorch")
    assert paths == [run.scores("pytorch", seed, name) for name in ("bolts", "nuts") for seed in (0, 1)]
    manifest = read_run_manifest(run, run.profile.data.targets[1]).select("test")
    scores = read_scores(run.scores("pytorch", 1, "nuts"))
    # The test split alone, in the manifest's order.
    assert scores.image_id.tolist() == ["0001.png", "0002.png"]
    # The backbone ran once for both seeds, so only the first has a time of its own.
    assert np.isnan(scores.milliseconds).all()
    assert (read_scores(run.scores("pytorch", 0, "nuts")).milliseconds > 0).all()
    record = scores.record
    assert (record.status, record.profile, record.target, record.seed) == ("ok", "mini", "nuts", 1)
    assert (record.runtime, record.precision) == ("pytorch", "fp32")
    assert record.manifest_sha256 == manifest.sha256
    assert record.model_sha256 == sha256_of_file(run.checkpoint(1))
    assert {"torch", "timm", "python", "edgezsad"} <= set(record.versions)
    # The numbers are the detector's own.
    detector, _ = load_detector(run.checkpoint(1), backbone)
    for row, each in enumerate(manifest.entries):
        score, anomaly_map = TorchScorer(detector).score(load(manifest.path(each), 64))
        assert scores.score[row] == np.float32(score)
        assert np.array_equal(scores.map[row], anomaly_map)


@pytest.mark.usefixtures("same_backbone")
def test_what_is_missing_is_named_with_its_notebook(run: Run) -> None:
    with pytest.raises(InputError, match=r"seed0-fp16\.onnx: .*; run notebook 04_export"):
        score_targets(run, "onnx-fp16")
    run.checkpoint(1).unlink()
    with pytest.raises(InputError, match=r"1/checkpoint\.safetensors: .* notebook 03_training"):
        score_targets(run, "pytorch")


def test_a_runtime_that_is_absent_is_not_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise RuntimeUnavailable("needs a device: a board")

    monkeypatch.setattr("edgezsad.scoring.score_run._scorers", absent)
    records = [read_scores(path).record for path in score_targets(run, "pytorch")]
    assert [(record.status, record.precision) for record in records] == [("not run", "fp32")] * 4
    assert {record.reason.partition(":")[0] for record in records} == {"needs a device"}


class Counting:
    """A scorer whose scores say which image it saw."""

    runtime, precision, device, timing_method = "counting", "fp16", "a desk", "own clock"
    timed, detector_sha256, size, versions = True, "d", 16, {"counting": "1"}

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        return float(image.mean()), np.full((2, 3), image.max(), dtype=np.float64)


def test_score_seeds_fills_in_what_a_scorer_states(run: Run, make_scores: Callable[..., ScoreFile]) -> None:
    manifest = read_run_manifest(run, run.profile.data.targets[0])
    scores = score_seeds([Counting()], manifest, [make_scores([], []).record])[0]
    assert scores.score.tolist() == [np.float32(load(manifest.path(e), 16).mean()) for e in manifest.entries]
    assert (scores.score.dtype, scores.map.dtype, scores.map.shape) == (np.float32, np.float32, (3, 2, 3))
    record = scores.record
    assert (record.precision, record.device, record.timing_method) == ("fp16", "a desk", "own clock")
    assert (scores.milliseconds > 0).all()
    with pytest.raises(InputError, match="no test images of bolts; run notebook 01_data"):
        score_seeds([Counting()], replace(manifest, entries=()), [record])
