"""Synthetic defects change a photograph where their mask says so, and the derived list gives them to normal images."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgezsad.config import Derive, Randomise
from edgezsad.data.loading import Picture
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import InputError
from edgezsad.source import synthetic_defects as faults
from edgezsad.source.derive import counts, derive_list
from edgezsad.source.grids import Box
from edgezsad.source.render import render
from edgezsad.source.shapes import part_of
from edgezsad.source.synthetic import LEAST_AREA, MOST_AREA, textures, with_synthetic_defect
from edgezsad.source.synthetic_defects import DEFECTS, Ground

SIZE = 128
STILL = Randomise(chance=0, background=0, turn=False)


def surface(seed: int = 0) -> np.ndarray:
    """A grainy grey surface."""
    noise = np.random.default_rng(seed).normal(120, 12, (SIZE, SIZE, 1))
    return np.repeat(noise, 3, axis=2).clip(0, 255).astype(np.uint8)


def part_on_white() -> tuple[np.ndarray, np.ndarray]:
    """A green disc with an arm on white, and where it is."""
    part = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(part, (56, 64), 28, 1, -1)
    cv2.rectangle(part, (56, 58), (112, 70), 1, -1)
    pixels = np.full((SIZE, SIZE, 3), 250, np.uint8)
    pixels[part > 0] = (60, 180, 40)
    return pixels, part > 0


def ground(pixels: np.ndarray) -> Ground:
    return Ground(pixels.astype(np.float32), part_of(pixels), textures())


def test_a_part_is_found_where_there_is_one() -> None:
    pixels, part = part_on_white()
    found = part_of(pixels)
    assert found is not None
    assert (found & part).sum() / (found | part).sum() > 0.85
    assert part_of(surface()) is None
    assert part_of(np.full((SIZE, SIZE, 3), 90, np.uint8)) is None


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("kind", ["surface", "part"])
def test_pixels_change_in_the_mask_and_hardly_elsewhere(kind: str, seed: int) -> None:
    pixels = surface(seed) if kind == "surface" else part_on_white()[0]
    found = with_synthetic_defect(Picture(pixels, None), np.random.default_rng(seed))
    assert found.pixels.shape == pixels.shape and found.pixels.dtype == np.uint8
    assert found.mask is not None and found.mask.dtype == bool and found.mask.shape == (SIZE, SIZE)
    assert 0 < found.mask.mean() <= MOST_AREA
    change = np.abs(found.pixels.astype(int) - pixels).max(axis=2)
    assert change[found.mask].max() > 8
    assert change[~found.mask].mean() < change[found.mask].mean()


def test_the_generator_decides_everything() -> None:
    picture = Picture(part_on_white()[0], None)
    one, same, other = (with_synthetic_defect(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.pixels, same.pixels) and np.array_equal(one.mask, same.mask)
    assert not np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("kind", DEFECTS, ids=lambda kind: kind.__name__)
def test_every_kind_changes_a_part(kind: faults.Callable) -> None:
    pixels, _ = part_on_white()
    changes = [kind(ground(pixels), np.random.default_rng(seed)) for seed in range(12)]
    made = [change for change in changes if change is not None]
    assert made
    assert max(np.abs(change.pixels - pixels).max() for change in made) > 10
    assert all(np.isfinite(change.pixels).all() for change in made)


def test_what_breaks_needs_a_part() -> None:
    plain = ground(surface())
    assert faults.broken_off(plain, np.random.default_rng(0)) is None
    assert faults.split(plain, np.random.default_rng(0)) is None


def test_what_is_broken_off_shows_the_background_and_the_mask_is_the_fracture() -> None:
    pixels, part = part_on_white()
    for seed in range(40):
        change = faults.broken_off(ground(pixels), np.random.default_rng(seed))
        if change is None:
            continue
        # Deep inside what is gone there is background, as white as it was.
        gone = part & (np.abs(change.pixels - 250).max(axis=2) < 20)
        assert gone.any()
        assert change.mask is not None and change.mask.any()
        # The fracture lies at what is left.
        left = cv2.dilate((part & ~gone).astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
        assert (change.mask & left).sum() / change.mask.sum() > 0.9
        return
    pytest.fail("nothing was ever broken off")


def test_a_black_image_still_gets_a_defect() -> None:
    found = with_synthetic_defect(Picture(np.zeros((SIZE, SIZE, 3), np.uint8), None), np.random.default_rng(0))
    assert found.mask is not None and found.mask.mean() >= LEAST_AREA
    assert found.pixels[found.mask].max() > 8


# The list -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def normals(tmp_path: Path) -> Manifest:
    """Four normal images, no mask anywhere."""
    entries = []
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), surface(number))
        entries.append(Entry(f"{number}.png", "a", "train", 0, "good", "", SIZE, SIZE, f"{number:064d}", ""))
    return Manifest("normals", tmp_path, tuple(entries))


def test_normal_images_alone_make_a_source(normals: Manifest) -> None:
    config = Derive(images=40, whole=50, defect_crop=0, normal_crop=0, paste=0, synthetic=50, randomise=STILL)
    assert counts(config)["synthetic"] == 20
    derived = derive_list(normals, config, 3, {})
    entries = {one.id: one for one in normals.entries}
    made = [row for row in derived.rows if row.kind == "synthetic"]
    assert {row.label for row in made} == {1} and not any(row.donor for row in made)
    boxes = {Box(row.left, row.top, row.right, row.bottom) == Box(0, 0, SIZE, SIZE) for row in made}
    assert boxes == {True, False}, "some are whole, some cut out"
    for row in made:
        picture = render(row, normals.root, entries, config.randomise, 96)
        assert picture.mask is not None and picture.mask.any() and picture.pixels.shape == (96, 96, 3)
        again = render(row, normals.root, entries, config.randomise, 96)
        assert np.array_equal(picture.pixels, again.pixels)


def test_kinds_can_be_chosen(normals: Manifest) -> None:
    pixels = part_on_white()[0]
    for seed in range(6):
        found = with_synthetic_defect(Picture(pixels, None), np.random.default_rng(seed), ("warped",))
        # Nothing but colours that were there, and mixtures of the two.
        assert found.pixels[..., 1].min() >= 170
    config = Derive(images=4, whole=50, defect_crop=0, normal_crop=0, paste=0, synthetic=50, defects=("scratches",))
    with pytest.raises(InputError, match="unknown kind of defect 'scratches'; use texture, "):
        derive_list(normals, config, 0, {})
    two = (config.model_copy(update={"defects": names}) for names in (("scratch",), ("crack",)))
    assert len({derive_list(normals, one, 0, {}).sha256 for one in two}) == 2


def test_without_normal_images_there_is_nothing_to_put_a_defect_on(normals: Manifest) -> None:
    defective = [Entry("0.png", "a", "test", 1, "x", "", SIZE, SIZE, "0" * 64, "")]
    config = Derive(images=4, whole=50, defect_crop=0, normal_crop=0, paste=0, synthetic=50)
    with pytest.raises(InputError, match="synthetic can be made"):
        derive_list(Manifest("bad", normals.root, tuple(defective)), config, 0, {})
