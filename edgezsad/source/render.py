"""From a row of a derived list to its picture: cut out, pasted, resized, randomised. Nothing but the row decides."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from edgezsad.config import Randomise
from edgezsad.data.images import decode_image, decode_mask, prepare
from edgezsad.data.loading import Picture, resize_mask
from edgezsad.data.manifest import Entry
from edgezsad.errors import InputError
from edgezsad.source.randomise import randomise
from edgezsad.source.rows import Row
from edgezsad.source.synthetic import synthetic_defect, with_synthetic_defect

FEATHER = 100
"""The edge of a pasted defect is softened over about this part of the crop's side."""


def render(
    row: Row,
    root: Path,
    entries: Mapping[str, Entry],
    config: Randomise,
    size: int,
    defects: tuple[str, ...] | None = None,
) -> Picture:
    """Make a derived image.

    Args:
        row: says everything, the seed of the randomisation included.
        root: the data set's folder.
        entries: its images by id.
        config: the strengths of the randomisation.
        size: height and width of the result.
        defects: kinds of synthetic defects.

    Returns:
        The picture; its mask is bool (size, size), or None where a defective image has no mask.

    Raises:
        InputError: an image or a mask is missing, damaged, or no longer what the manifest says.
    """
    picture = _undamaged(row, root, entries, size)
    if row.kind == "synthetic":
        # A generator of its own: the randomisation is the same with and without the defect.
        picture = with_synthetic_defect(picture, np.random.default_rng([row.seed, 1]), defects)
    return randomise(picture, config, np.random.default_rng(row.seed))


def synthetic_kind(
    row: Row, root: Path, entries: Mapping[str, Entry], size: int, defects: tuple[str, ...] | None = None
) -> str:
    """The kind of the synthetic defect that `render` puts on a row at this size: a list says only that there is one."""
    picture = _undamaged(row, root, entries, size)
    return synthetic_defect(picture, np.random.default_rng([row.seed, 1]), defects)[1]


def _undamaged(row: Row, root: Path, entries: Mapping[str, Entry], size: int) -> Picture:
    """A row's picture before synthetic defects and randomisation."""
    pixels, mask = _cut(root, entries[row.parent], row.left, row.top, row.right, row.bottom)
    if row.donor:
        place = row.donor_left, row.donor_top, row.donor_right, row.donor_bottom
        donor, defect = _cut(root, entries[row.donor], *place)
        height, width = pixels.shape[:2]
        donor = np.asarray(Image.fromarray(donor).resize((width, height), Image.Resampling.BILINEAR))
        mask = resize_mask(defect, height, width)
        pixels = paste(pixels, donor, mask)
    if mask is not None and bool(mask.any()) != bool(row.label) and row.kind not in ("whole", "synthetic"):
        what = "no defective pixel" if row.label else "a defective pixel"
        raise InputError(f"{root / row.parent}: {row.id} has {what}: a mask has changed; run notebook 01_data again")
    return Picture(prepare(pixels, size), None if mask is None else resize_mask(mask, size, size))


def paste(pixels: np.ndarray, donor: np.ndarray, defect: np.ndarray) -> np.ndarray:
    """Lay the defective pixels of one image over another, with a soft edge around them.

    The donor is first made as bright, channel by channel, as the image is around the defect.

    Args:
        pixels: uint8 (H, W, 3), what is pasted into.
        donor: uint8 (H, W, 3), what is pasted from.
        defect: bool (H, W), the donor's mask.

    Returns:
        uint8 (H, W, 3).
    """
    solid = defect.astype(np.float32)
    soft = cv2.GaussianBlur(solid, (0, 0), max(1.0, min(defect.shape) / FEATHER))
    # Half of the blurred mask lies inside its edge: twice as much is 1 there and falls off outside.
    cover = np.maximum(solid, np.minimum(1, 2 * soft))
    around = (cover > 0.05) & ~defect
    below, above = pixels.astype(np.float32), donor.astype(np.float32)
    if around.any():
        above = above + (below[around].mean(axis=0) - above[around].mean(axis=0))
    return np.rint(below + (above - below) * cover[..., None]).clip(0, 255).astype(np.uint8)


def _cut(
    root: Path, entry: Entry, left: int, top: int, right: int, bottom: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """A part of an image and of its mask; no mask where a defective image has none."""
    pixels = decode_image(root / entry.id)
    if pixels.shape[:2] != (entry.height, entry.width):
        raise InputError(f"{root / entry.id}: not the size that the manifest says; run notebook 01_data again")
    part = slice(top, bottom), slice(left, right)
    if entry.mask:
        mask = decode_mask(root / entry.mask, pixels.shape[:2])[part]
    else:
        mask = None if entry.label else np.zeros((bottom - top, right - left), dtype=bool)
    return np.ascontiguousarray(pixels[part]), mask
