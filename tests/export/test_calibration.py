"""Calibration images: of the source alone, the held-out ones others than those behind the ranges, targets refused."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgezsad.config import Profile
from edgezsad.data.manifest import Entry, Manifest, read_run_manifest, write_manifest
from edgezsad.errors import InputError
from edgezsad.export.calibration import source_sample
from edgezsad.run import Run
from edgezsad.source.source_images import source_images


@pytest.fixture
def run(make_profile: Callable[..., Profile], tmp_path: Path) -> Run:
    """A source of twenty images, each of one colour that tells its row, and two targets of one image."""
    values = make_profile(tmp_path / "run").model_dump(mode="json")
    run = Run(Profile.model_validate(values | {"data": values["data"] | {"root": str(tmp_path / "data")}}))
    for place, item in enumerate((*run.profile.data.source, *run.profile.data.targets)):
        root = run.profile.data.folder(item)
        root.mkdir(parents=True)
        entries = []
        for row in range(1 if place else 20):
            label, shade = row % 2, 10 * row + 5
            name = f"{row:04d}.png"
            cv2.imwrite(str(root / name), np.full((40, 40, 3), shade, np.uint8))
            sha256 = f"{100 * place + row:064x}"
            entries.append(Entry(name, "bolt", "test", label, "x" if label else "good", "", 40, 40, sha256, ""))
        write_manifest(Manifest(item.name, root, tuple(entries)), run.manifest_path(item.name))
    return run


def rows(images: list[np.ndarray]) -> list[int]:
    assert all(image.shape == (64, 64, 3) and image.dtype == np.uint8 for image in images)
    return [int(image[0, 0, 0]) // 10 for image in images]


def test_both_halves_are_of_the_source_and_apart(run: Run) -> None:
    sample = source_sample(run)
    calibration, held_out = rows(sample.calibration), rows(sample.held_out)
    # 15 % of each label of the ten is one.
    assert len(calibration) == 18 and len(held_out) == 2
    assert sorted(calibration + held_out) == list(range(20))
    assert sample.source_sha256 == source_images(run).sha256
    few = source_sample(run, calibration=4, held_out=1)
    assert len(few.calibration) == 4 and len(few.held_out) == 1 and set(rows(few.calibration)) <= set(calibration)
    rehearsal = source_sample(Run(run.profile.model_copy(update={"rehearsal": 1})))
    assert len(rehearsal.calibration) == len(rehearsal.held_out) == 2


def test_without_validation_they_are_apart_all_the_same(run: Run) -> None:
    training = run.profile.training.model_copy(update={"validation": 0.0})
    sample = source_sample(Run(run.profile.model_copy(update={"training": training})))
    assert sorted(rows(sample.calibration) + rows(sample.held_out)) == list(range(20))
    assert len(sample.held_out) == 10


def test_a_target_in_the_source_is_refused(run: Run) -> None:
    item = run.profile.data.targets[1]
    manifest = read_run_manifest(run, item)
    copy = Entry(**(vars(manifest.entries[0]) | {"sha256": f"{3:064x}"}))
    write_manifest(Manifest(item.name, manifest.root, (copy,)), run.manifest_path(item.name))
    with pytest.raises(InputError, match=r"0000\.png: an image of a target, and in the source") as caught:
        source_sample(run)
    assert "nuts" in str(caught.value) and "\n" not in str(caught.value)
