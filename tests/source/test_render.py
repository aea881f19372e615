"""Rendered rows show what their labels say; randomisation keeps defects."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgezsad.data.loading import Sample
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import CheckError
from edgezsad.source.render import Row, paste, randomise, render, render_crop, replace_background, rotate_and_mirror

GREY = 120


def entries_of(manifest: Manifest) -> dict[str, Entry]:
    return {one.id: one for one in manifest.entries}


def test_images_show_what_their_rows_say(small: Manifest, derived: list[Row]) -> None:
    known = entries_of(small)
    seen = Counter()
    for row in derived:
        sample = render_crop(row, small.root, known, 64)
        assert sample.pixels.shape == (64, 64, 3)
        red = sample.pixels[..., 0].astype(int) - sample.pixels[..., 1] > 85
        if sample.mask is None:
            assert (row.kind, row.parent) == ("whole", "z.png")
            continue
        assert sample.mask.shape == (64, 64)
        assert sample.mask.any() == bool(row.label)
        seen[row.kind, row.label] += 1
        # Half and more of a pixel red: the mask says so. Deep inside the mask: the pixel is red.
        assert not (red & ~sample.mask).any()
        inside = cv2.erode(sample.mask.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0) > 0
        assert red[inside].all()
        far = cv2.dilate(sample.mask.astype(np.uint8), np.ones((11, 11), np.uint8)) == 0
        assert (sample.pixels[far] == GREY).all()
    assert seen["normal_crop", 0] == 20 and seen["paste", 1] == 30 and seen["defect_crop", 1] == 40
    assert min(seen["whole", 0], seen["whole", 1]) > 0


def test_a_row_always_gives_the_same_image(small: Manifest, derived: list[Row]) -> None:
    known = entries_of(small)
    samples = [render(row, small.root, known, 48) for row in derived[:30]]
    for row, sample in zip(reversed(derived[:30]), reversed(samples), strict=True):
        again = render(row, small.root, known, 48)
        assert np.array_equal(sample.pixels, again.pixels)
        assert np.array_equal(sample.mask, again.mask) if sample.mask is not None else again.mask is None


def test_changed_files_are_rejected(small: Manifest, derived: list[Row], tmp_path: Path) -> None:
    row = next(row for row in derived if row.kind == "defect_crop")
    parent = entries_of(small)[row.parent]
    cv2.imwrite(str(tmp_path / parent.id), np.full((parent.height, parent.width, 3), 9, dtype=np.uint8))
    cv2.imwrite(str(tmp_path / parent.mask), np.zeros((parent.height, parent.width), dtype=np.uint8))
    with pytest.raises(CheckError, match=f"{parent.id}: changed after it was indexed"):
        render(row, tmp_path, entries_of(small), 32)


def test_paste_by_hand() -> None:
    pixels = np.full((40, 40, 3), 100, dtype=np.uint8)
    donor = np.full((40, 40, 3), 150, dtype=np.uint8)
    defect = np.zeros((40, 40), dtype=bool)
    defect[15:25, 15:25] = True
    donor[defect] = 50
    pasted = paste(pixels, donor, defect)
    # The donor is 50 brighter around the defect: the defect is darkened by as much.
    assert (pasted[16:24, 16:24] == 0).all()
    assert (pasted[:10] == 100).all()
    assert (paste(pixels, donor, np.zeros((40, 40), dtype=bool)) == pixels).all()


@given(arrays(bool, st.integers(1, 12).map(lambda side: (side, side))), st.integers(0, 7))
def test_mask_follows_rotation_and_mirroring(mask: np.ndarray, variant: int) -> None:
    pixels = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
    result = rotate_and_mirror(Sample(pixels, mask), variant)
    assert np.array_equal(result.pixels[..., 0] == 255, result.mask)
    assert result.mask.sum() == mask.sum()


@given(st.integers(0, 10**9), st.booleans())
def test_randomised_images_keep_their_defect(seed: int, on_background: bool) -> None:
    pixels = np.random.default_rng(seed).integers(60, 200, (64, 64, 3), dtype=np.uint8)
    if on_background:
        pixels[:12] = pixels[-12:] = pixels[:, :12] = pixels[:, -12:] = 20
    mask = np.zeros((64, 64), dtype=bool)
    mask[8:20, 30:40] = True
    pixels[mask] = (250, 5, 5)
    result = randomise(Sample(pixels, mask), np.random.default_rng(seed))
    assert result.mask.sum() == mask.sum()
    values = result.pixels.astype(float)
    excess = values[..., 0] - values[..., 1:].max(axis=2)
    # The defect stays the reddest region.
    assert excess[result.mask].mean() > 60
    assert excess[result.mask].mean() > excess[~result.mask].mean() + 60


def test_another_background_keeps_part_and_defect() -> None:
    pixels = np.random.default_rng(0).integers(90, 220, (64, 64, 3), dtype=np.uint8)
    pixels[:14] = pixels[-14:] = pixels[:, :14] = pixels[:, -14:] = 10
    mask = np.zeros((64, 64), dtype=bool)
    mask[2:6, 2:6] = True
    result = replace_background(Sample(pixels, mask), np.random.default_rng(4))
    assert np.array_equal(result.pixels[14:-14, 14:-14], pixels[14:-14, 14:-14])
    assert np.array_equal(result.pixels[mask], pixels[mask])
    behind = np.ones((64, 64), dtype=bool)
    behind[10:-10, 10:-10] = behind[:10, :10] = False
    assert (result.pixels[behind] != pixels[behind]).any(axis=1).all()
