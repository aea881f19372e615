"""Synthetic defects change an image where their mask says so."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgezsad.config import Derive
from edgezsad.data.loading import Sample
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_file
from edgezsad.source.derive import derive_list, row_counts
from edgezsad.source.render import render
from edgezsad.source.synthetic_defects import (
    DEFECT_AREA,
    DEFECTS,
    Ground,
    Kind,
    broken_off,
    segment_part,
    synthetic_defect,
)

SIZE = 128


def surface(seed: int = 0) -> np.ndarray:
    """A grainy grey surface."""
    noise = np.random.default_rng(seed).normal(120, 12, (SIZE, SIZE, 1))
    return np.repeat(noise, 3, axis=2).clip(0, 255).astype(np.uint8)


def part_on_white() -> tuple[np.ndarray, np.ndarray]:
    """A green disc with an arm on white, and its mask."""
    part = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(part, (56, 64), 28, 1, -1)
    cv2.rectangle(part, (56, 58), (112, 70), 1, -1)
    pixels = np.full((SIZE, SIZE, 3), 250, np.uint8)
    pixels[part > 0] = (60, 180, 40)
    return pixels, part > 0


def ground(pixels: np.ndarray) -> Ground:
    return Ground(pixels.astype(np.float32), segment_part(pixels))


def defective(pixels: np.ndarray, seed: int, names: tuple[str, ...] | None = None) -> Sample:
    return synthetic_defect(Sample(pixels, None), np.random.default_rng(seed), names)[0]


def test_segmentation() -> None:
    pixels, part = part_on_white()
    found = segment_part(pixels)
    assert (found & part).sum() / (found | part).sum() > 0.85
    assert segment_part(surface()) is None
    assert segment_part(np.full((SIZE, SIZE, 3), 90, np.uint8)) is None
    pixels[10:40, 90:120] = 20
    assert segment_part(pixels, single=True) is None


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["surface", "part"])
def test_pixels_change_inside_the_mask(kind: str, seed: int) -> None:
    pixels = surface(seed) if kind == "surface" else part_on_white()[0]
    found = defective(pixels, seed)
    assert found.pixels.shape == pixels.shape and found.pixels.dtype == np.uint8
    assert found.mask.dtype == bool and found.mask.shape == (SIZE, SIZE)
    assert 0 < found.mask.mean() <= DEFECT_AREA[1]
    change = np.abs(found.pixels.astype(int) - pixels).max(axis=2)
    assert change[found.mask].max() > 8
    assert change[~found.mask].mean() < change[found.mask].mean()


@pytest.mark.parametrize("kind", DEFECTS, ids=lambda kind: kind.__name__)
def test_every_kind_changes_a_part(kind: Kind) -> None:
    pixels, _ = part_on_white()
    changes = [kind(ground(pixels), np.random.default_rng(seed)) for seed in range(12)]
    made = [change[0] if isinstance(change, tuple) else change for change in changes if change is not None]
    assert max(np.abs(change - pixels).max() for change in made) > 10
    assert all(np.isfinite(change).all() for change in made)


def test_the_mask_of_a_broken_off_piece_is_the_fracture() -> None:
    pixels, part = part_on_white()
    changes = (broken_off(ground(pixels), np.random.default_rng(seed)) for seed in range(40))
    changed, mask = next(change for change in changes if change is not None)
    # Deep inside what is gone there is background, as white as it was.
    gone = part & (np.abs(changed - 250).max(axis=2) < 20)
    assert gone.any() and mask.any()
    left = cv2.dilate((part & ~gone).astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    assert (mask & left).sum() / mask.sum() > 0.9


def test_a_black_image_still_gets_a_defect() -> None:
    found = defective(np.zeros((SIZE, SIZE, 3), np.uint8), 0)
    assert found.mask.mean() >= DEFECT_AREA[0]
    assert found.pixels[found.mask].max() > 8


def test_kinds_can_be_chosen(tmp_path: Path) -> None:
    for seed in range(6):
        # Warping gives only colours that were there, and mixtures of the two.
        assert defective(part_on_white()[0], seed, ("warped",)).pixels[..., 1].min() >= 170
    config = Derive(images=40, whole=50, defect_crop=0, normal_crop=0, paste=0, synthetic=50)
    entries = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), surface(number))
        entries.append(Entry(path.name, "a", "train", 0, "good", "", SIZE, SIZE, sha256_of_file(path), ""))
    normals = Manifest("normals", tmp_path, tuple(entries))
    with pytest.raises(InputError, match="unknown kind of defect 'scratches'; use texture, "):
        derive_list(normals, config.model_copy(update={"defects": ("scratches",)}), 0, {})
    made = [row for row in derive_list(normals, config, 3, {}) if row.kind == "synthetic"]
    assert len(made) == row_counts(config)["synthetic"] == 20
    assert {row.label for row in made} == {1} and not any(row.donor for row in made)
    for row in made:
        assert render(row, tmp_path, {one.id: one for one in entries}, 96, ("scratch",)).mask.any()
