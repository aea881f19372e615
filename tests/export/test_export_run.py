"""Export of a run: parity from the image file, source samples, DLC rows, and the tables of the pages."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgezsad.config import Profile
from edgezsad.data.manifest import Entry, Manifest, write_manifest
from edgezsad.export.export_run import compare_scores, sample_source
from edgezsad.files import sha256_of_file
from edgezsad.model.detector import DetectorModule
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.torch_scorer import TorchScorer
from edgezsad.source.render import source_images


@pytest.fixture
def run(make_profile: Callable[..., Profile], tmp_path: Path) -> Run:
    """A source of twenty images, each of one shade that encodes its row."""
    values = make_profile(tmp_path / "run").model_dump(mode="json")
    run = Run(Profile.model_validate(values | {"data": values["data"] | {"root": str(tmp_path / "data")}}))
    item = run.profile.data.source[0]
    root = run.profile.data.folder(item)
    root.mkdir(parents=True)
    entries = []
    for row in range(20):
        cv2.imwrite(str(root / f"{row:04d}.png"), np.full((40, 40, 3), 10 * row + 5, np.uint8))
        label = row % 2
        kind = "x" if label else "good"
        entries.append(
            Entry(
                f"{row:04d}.png", "bolt", "test", label, kind, "", 40, 40, sha256_of_file(root / f"{row:04d}.png"), ""
            )
        )
    write_manifest(Manifest(item.name, root, tuple(entries)), run.manifest_path(item.name))
    return run


def test_source_samples_are_disjoint(run: Run) -> None:
    def rows(images: list[np.ndarray]) -> list[int]:
        assert all(image.shape == (64, 64, 3) and image.dtype == np.uint8 for image in images)
        return [int(image[0, 0, 0]) // 10 for image in images]

    calibration, others, source_sha256 = sample_source(run)
    assert sorted(rows(calibration) + rows(others)) == list(range(20))
    assert source_sha256 == source_images(run).sha256
    rehearsal = sample_source(Run(run.profile.model_copy(update={"rehearsal": 1})))
    assert len(rehearsal[0]) == len(rehearsal[1]) == 2


def test_compare_scores_starts_at_the_file(detector: DetectorModule, exported: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), image)
    entry = Entry("a.jpg", "bolt", "test", 0, "good", "", 300, 200, sha256_of_file(tmp_path / "a.jpg"), "")
    manifests = [Manifest("m", tmp_path, (entry,))]
    (row,) = compare_scores(TorchScorer(detector), OnnxScorer(exported), manifests, 3).to_dict("records")
    assert row["seed"] == 3 and row["image"] == "m/a.jpg"
    assert row["score_difference"] == abs(row["pytorch"] - row["onnx"]) < 1e-4 and row["map_difference"] < 1e-3
