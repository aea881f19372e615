"""Render the rows of a derived list: crop, paste, resize, synthetic defect, domain randomisation.

Domain randomisation is how we read the "DR" of Real-IAD-DR. Each change keeps the label right; only mirroring and
rotating move pixels, and the mask follows. The same row gives the same pixels with the same NumPy and OpenCV.
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from edgezsad.config import Randomise
from edgezsad.data.images import decode_image, decode_mask, prepare
from edgezsad.data.loading import Sample, resize_mask
from edgezsad.data.manifest import Entry
from edgezsad.errors import InputError
from edgezsad.source.derive import Row
from edgezsad.source.ground import grown, segment_part
from edgezsad.source.synthetic_defects import synthetic_defect

FEATHER = 100
"""The edge of a pasted defect is softened over about this part of the crop's side."""

BLUR_SIZE = 512
"""`Randomise.blur` is given in pixels of an image of this size."""

Random = np.random.Generator


def render(
    row: Row, root: Path, entries: Mapping[str, Entry], size: int, config: Randomise, defects: tuple[str, ...] | None
) -> Sample:
    """Make a derived image.

    Args:
        row: what to make.
        root: the data set's folder.
        entries: its images by id.
        size: height and width of the result.
        config: strengths of the randomisation.
        defects: kinds of synthetic defects.

    Returns:
        The image with its mask, bool (size, size), or None where a defective image has no mask.

    Raises:
        InputError: an image or a mask is missing, damaged, or changed since the manifest was written.
    """
    sample = render_crop(row, root, entries, size)
    if row.kind == "synthetic":
        # A separate generator: the randomisation is the same with and without the defect.
        sample, _ = synthetic_defect(sample, np.random.default_rng([row.seed, 1]), defects)
    return randomise(sample, config, np.random.default_rng(row.seed))


def render_crop(row: Row, root: Path, entries: Mapping[str, Entry], size: int) -> Sample:
    """Make a derived image without synthetic defect and randomisation."""
    pixels, mask = _cut(root, entries[row.parent], row.left, row.top, row.right, row.bottom)
    if row.donor:
        part = row.donor_left, row.donor_top, row.donor_right, row.donor_bottom
        donor, defect = _cut(root, entries[row.donor], *part)
        height, width = pixels.shape[:2]
        donor = np.asarray(Image.fromarray(donor).resize((width, height), Image.Resampling.BILINEAR))
        mask = resize_mask(defect, height, width)
        pixels = paste(pixels, donor, mask)
    if mask is not None and bool(mask.any()) != bool(row.label) and row.kind not in ("whole", "synthetic"):
        raise InputError(f"{root / row.parent}: a mask has changed ({row.id}); run notebook 01_data again")
    return Sample(prepare(pixels, size), None if mask is None else resize_mask(mask, size, size))


def _cut(
    root: Path, entry: Entry, left: int, top: int, right: int, bottom: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a part of an image and of its mask; no mask where a defective image has none."""
    pixels = decode_image(root / entry.id)
    if pixels.shape[:2] != (entry.height, entry.width):
        raise InputError(f"{root / entry.id}: size differs from the manifest; run notebook 01_data again")
    part = slice(top, bottom), slice(left, right)
    if entry.mask:
        mask = decode_mask(root / entry.mask, pixels.shape[:2])[part]
    else:
        mask = None if entry.label else np.zeros((bottom - top, right - left), dtype=bool)
    return np.ascontiguousarray(pixels[part]), mask


def paste(pixels: np.ndarray, donor: np.ndarray, defect: np.ndarray) -> np.ndarray:
    """Paste the defective pixels of one image into another of the same size, with a soft edge around them.

    The donor's channels are first shifted to the image's brightness around the defect.

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


# ---- domain randomisation --------------------------------------------------------------------------------------


def randomise(sample: Sample, config: Randomise, random: Random) -> Sample:
    """Change background, light, colour, blur, noise and orientation of an image at random.

    Args:
        sample: with a mask of the size of its pixels, or None.
        config: strengths; each change of light, colour, blur and noise happens with probability `chance`.
        random: decides everything.
    """
    pixels = sample.pixels.astype(np.float32)

    def between(strength: float, size: int | None = None) -> np.ndarray:
        return np.float32(1 + random.uniform(-strength, strength, size))

    if sample.mask is not None and random.random() < config.background:
        pixels = _other_background(sample, pixels, random)
    if random.random() < config.chance:
        pixels = pixels * between(config.gain)
    if random.random() < config.chance:
        angle, strength = random.uniform(0, 2 * np.pi), random.uniform(0, config.gradient)
        x, y = (np.linspace(-0.5, 0.5, length) for length in pixels.shape[1::-1])
        ramp = (np.cos(angle) * x[None] + np.sin(angle) * y[:, None]) / np.sqrt(2)
        pixels = pixels * np.float32(1 + strength * ramp)[..., None]
    if random.random() < config.chance:
        pixels = pixels * between(config.white_balance, 3)
    if random.random() < config.chance:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None]
        pixels = grey + (pixels - grey) * between(config.saturation)
    if random.random() < config.chance:
        sigma = random.uniform(0, config.blur) * len(pixels) / BLUR_SIZE
        # Below a tenth of a pixel a blur changes nothing.
        pixels = cv2.GaussianBlur(pixels, (0, 0), sigma) if sigma > 0.1 else pixels
    if random.random() < config.chance:
        noise = random.standard_normal(pixels.shape, dtype=np.float32)
        pixels = pixels + np.float32(random.uniform(0, config.noise)) * noise
    changed = Sample(np.rint(pixels).clip(0, 255).astype(np.uint8), sample.mask)
    return rotate_and_mirror(changed, int(random.integers(8))) if config.turn else changed


def rotate_and_mirror(sample: Sample, variant: int) -> Sample:
    """Rotate a square image by `variant % 4` quarter turns and mirror it if `variant` (0 to 7) is 4 or more."""

    def change(values: np.ndarray) -> np.ndarray:
        values = np.rot90(values, variant % 4)
        return np.ascontiguousarray(values[:, ::-1] if variant >= 4 else values)

    return Sample(change(sample.pixels), None if sample.mask is None else change(sample.mask))


def _other_background(sample: Sample, pixels: np.ndarray, random: Random) -> np.ndarray:
    """Replace the background, if there is a single part in front of it; neither part nor defect changes."""
    part = segment_part(sample.pixels, single=True)
    if part is None:
        return pixels
    background = ~grown(part | sample.mask, 5)
    colour = random.uniform(10, 245, 3) + random.normal(0, 8, (6, 6, 3))
    behind = cv2.resize(colour.astype(np.float32), pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    cover = cv2.GaussianBlur(background.astype(np.float32), (0, 0), 1.0) * background
    return pixels + (behind - pixels) * cover[..., None]
