"""Read source images for training: files as they are, or rendered rows of a derived list.

A row is rendered by crop, paste, resize, synthetic defect and domain randomisation, our reading of "DR" in Real-IAD-DR.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from edgezsad.config import DataSet, Derive
from edgezsad.data.images import decode_image, decode_mask, prepare
from edgezsad.data.loading import Sample, load_fast, resize_mask
from edgezsad.data.manifest import Entry, Manifest, indexed, read_run_manifest
from edgezsad.errors import InputError
from edgezsad.files import read_json, sha256_of_bytes
from edgezsad.run import Run
from edgezsad.source.synthetic_defects import grown, segment_part, synthetic_defect

SOURCE_RECIPE = 3  # increase it if a change of the code changes the rows of a list or the pixels rendered from them
RUN_DATA = "run notebook 01_data to write it again"
FEATHER = 100  # the edge of a pasted defect is softened over about this part of the crop's side
CHANCE, BACKGROUND_CHANCE = 0.5, 0.2  # of each change of light, colour, blur and noise; of another background
GAIN, GRADIENT, WHITE_BALANCE, SATURATION = 0.3, 0.3, 0.1, 0.3
"""Largest relative change of the brightness, across the image, of a channel, and of the distance from grey."""
BLUR, NOISE = 1 / 512, 5.0
"""Largest standard deviation of the blur, as a fraction of the image's side, and of the noise, in grey levels."""
Random = np.random.Generator


class Box(NamedTuple):
    """A rectangle in pixels; right and bottom are outside."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


class Row(NamedTuple):
    """One derived image."""

    id: str  # KIND/TURN/PARENT; TURN counts how often the parent was used for this kind before
    parent: str  # id of the image it is made from
    kind: str  # whole, defect_crop, normal_crop, paste or synthetic
    group: str  # DATA SET/CATEGORY
    label: int  # 0 normal, 1 defective
    seed: int  # of the synthetic defect and the randomisation
    crop: Box  # part of the parent, in pixels
    donor: str = ""  # id of the image that a pasted defect comes from
    donor_crop: Box = Box()  # part of the donor, of the size of the crop


class SourceImage(NamedTuple):
    """One labelled image."""

    label: int  # 0 normal, 1 defective
    group: str  # DATA SET/CATEGORY
    parent: str  # DATA SET/FILE: images of one parent must stay on the same side of a split
    name: str  # for error messages
    read: Callable[[int], Sample]  # reads the image at a size, with its mask at any size (None: unknown)


class SourceImages:
    """Labelled images of one or several sources, with a hash of all; label, group and parent also as (N,) arrays."""

    def __init__(self, images: Sequence[SourceImage], sha256: str) -> None:
        self.images, self.sha256 = images, sha256
        self.label = np.array([image.label for image in images], dtype=np.int64)
        self.group = np.array([image.group for image in images], dtype=str)
        self.parent = np.array([image.parent for image in images], dtype=str)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, row: int, size: int) -> Sample:
        return self.images[row].read(size)

    def name(self, row: int) -> str:
        return self.images[row].name


def source_images(run: Run, fast: bool = False) -> SourceImages:
    """Return the source images of a run: derived where its profile says so, else as they are."""
    images, hashes = [], []
    for item in run.profile.data.source:
        manifest = read_run_manifest(run, item)
        if item.derive is None:
            images += _plain(manifest, fast)
            hashes.append(manifest.sha256)
            continue
        rows, sha256 = read_derived(derived_path(run, item), manifest, item.derive, run.profile.data.seed)
        entries = {entry.id: entry for entry in manifest.entries}
        for row in rows:
            read = partial(render, row, manifest.root, entries, defects=item.derive.defects)
            name = f"{manifest.root / row.parent} ({row.id})"
            images.append(SourceImage(row.label, row.group, f"{manifest.name}/{row.parent}", name, read))
        hashes.append(sha256)
    return SourceImages(images, sha256_of_bytes("\n".join(hashes).encode()))


def plain_images(manifests: Sequence[Manifest], fast: bool = False) -> SourceImages:
    """Return the images of manifests as they are, all splits; `fast` decodes large JPEGs at a reduced size."""
    images = [image for manifest in manifests for image in _plain(manifest, fast)]
    return SourceImages(images, sha256_of_bytes("\n".join(manifest.sha256 for manifest in manifests).encode()))


def _plain(manifest: Manifest, fast: bool) -> Iterator[SourceImage]:
    for entry in manifest.entries:
        group, parent = f"{manifest.name}/{entry.category}", f"{manifest.name}/{entry.id}"
        read = partial(_read, manifest.root, entry, fast)
        yield SourceImage(entry.label, group, parent, str(manifest.root / entry.id), read)


def _read(root: Path, entry: Entry, fast: bool, size: int) -> Sample:
    """Read an image; its mask has the file's own size."""
    path = indexed(root, entry.id, entry.sha256)
    pixels = load_fast(path, size) if fast else prepare(decode_image(path), size)
    return Sample(pixels, _mask(root, entry))


def _mask(root: Path, entry: Entry) -> np.ndarray | None:
    if entry.mask:
        return decode_mask(indexed(root, entry.mask, entry.mask_sha256), (entry.height, entry.width))
    return None if entry.label else np.zeros((entry.height, entry.width), dtype=bool)


def derived_path(run: Run, item: DataSet) -> Path:
    """Return the path of a source's derived list; its record is next to it, ending with .json."""
    return run.manifest_path(f"{item.name}.derived")


def read_derived(path: Path, manifest: Manifest, config: Derive, seed: int) -> tuple[list[Row], str]:
    """Read a list written by `write_derived`; return it with a hash of the rows, the parents and the settings."""
    record = read_json(path.with_suffix(".json"), RUN_DATA)
    source, content = made_from(manifest, config, seed), path.read_bytes() if path.is_file() else b""
    if (record.get("made_from"), record.get("sha256")) != (source, sha256_of_bytes(content)):
        raise InputError(f"{path}: missing, changed, or derived from other images or settings; {RUN_DATA}")
    rows = []
    for values in list(csv.reader(io.StringIO(content.decode())))[1:]:
        numbers = [int(value) for value in (*values[4:10], *values[11:])]
        rows.append(Row(*values[:4], *numbers[:2], Box(*numbers[2:6]), values[10], Box(*numbers[6:])))
    return rows, sha256_of_bytes(f"{source} {record['sha256']}".encode())


def made_from(manifest: Manifest, config: Derive, seed: int) -> dict:
    """Describe what a list is derived from, as JSON values."""
    settings = {"seed": seed, "settings": config.model_dump(mode="json")}
    return {"version": SOURCE_RECIPE, "manifest_sha256": manifest.sha256} | settings


def render(row: Row, root: Path, entries: Mapping[str, Entry], size: int, defects: tuple | None = None) -> Sample:
    """Make a derived image of `size` x `size` pixels, with its mask (None where a defective image has no mask).

    `root` is the data set's folder, `entries` its images by id, `defects` the kinds of synthetic defects (default all).
    """
    sample = render_crop(row, root, entries, size)
    if row.kind == "synthetic":
        # A separate generator: the randomisation is the same with and without the defect.
        sample, _ = synthetic_defect(sample, np.random.default_rng([row.seed, 1]), defects)
    return randomise(sample, np.random.default_rng(row.seed))


def render_crop(row: Row, root: Path, entries: Mapping[str, Entry], size: int) -> Sample:
    """Make a derived image without synthetic defect and randomisation."""
    pixels, mask = _cut(root, entries[row.parent], row.crop)
    if row.donor:
        donor, mask = _cut(root, entries[row.donor], row.donor_crop)
        pixels = paste(pixels, donor, mask)
    return Sample(prepare(pixels, size), None if mask is None else resize_mask(mask, size, size))


def _cut(root: Path, entry: Entry, box: Box) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a part of an image and of its mask."""
    pixels = decode_image(indexed(root, entry.id, entry.sha256))
    part, mask = (slice(box.top, box.bottom), slice(box.left, box.right)), _mask(root, entry)
    return np.ascontiguousarray(pixels[part]), None if mask is None else mask[part]


def paste(pixels: np.ndarray, donor: np.ndarray, defect: np.ndarray) -> np.ndarray:
    """Paste the defective pixels of a donor, shifted to the image's brightness around them, with a soft edge."""
    solid = defect.astype(np.float32)
    soft = cv2.GaussianBlur(solid, (0, 0), max(1.0, min(defect.shape) / FEATHER))
    # The blurred mask is 0.5 at its edge: doubled, it is 1 inside and falls off outside.
    cover = np.maximum(solid, np.minimum(1, 2 * soft))
    around = (cover > 0.05) & ~defect
    below, above = pixels.astype(np.float32), donor.astype(np.float32)
    if around.any():
        above = above + (below[around].mean(axis=0) - above[around].mean(axis=0))
    return _to_bytes(below + (above - below) * cover[..., None])


def randomise(sample: Sample, random: Random) -> Sample:
    """Change background, light, colour, blur, noise and orientation of a square image at random."""
    known = sample.mask is not None and random.random() < BACKGROUND_CHANCE
    pixels = (replace_background(sample, random) if known else sample).pixels.astype(np.float32)
    if random.random() < CHANCE:
        pixels *= random.uniform(1 - GAIN, 1 + GAIN)
    if random.random() < CHANCE:
        angle, strength = random.uniform(0, 2 * np.pi), random.uniform(0, GRADIENT)
        across = np.linspace(-0.5, 0.5, len(pixels), dtype=np.float32) * (strength / np.sqrt(2))
        pixels *= (1 + np.cos(angle) * across + np.sin(angle) * across[:, None])[..., None]
    if random.random() < CHANCE:
        pixels *= random.uniform(1 - WHITE_BALANCE, 1 + WHITE_BALANCE, 3)
    if random.random() < CHANCE:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None]
        pixels = grey + (pixels - grey) * np.float32(random.uniform(1 - SATURATION, 1 + SATURATION))
    if random.random() < CHANCE:
        # Below a tenth of a pixel a blur changes nothing.
        pixels = cv2.GaussianBlur(pixels, (0, 0), max(0.1, random.uniform(0, BLUR) * len(pixels)))
    if random.random() < CHANCE:
        pixels += random.uniform(0, NOISE) * random.standard_normal(pixels.shape, dtype=np.float32)
    return rotate_and_mirror(Sample(_to_bytes(pixels), sample.mask), int(random.integers(8)))


def rotate_and_mirror(sample: Sample, variant: int) -> Sample:
    """Rotate a square image by `variant % 4` quarter turns and mirror it if `variant` (0 to 7) is 4 or more."""

    def change(values: np.ndarray) -> np.ndarray:
        values = np.rot90(values, variant % 4)
        return np.ascontiguousarray(values[:, ::-1] if variant >= 4 else values)

    return Sample(change(sample.pixels), None if sample.mask is None else change(sample.mask))


def replace_background(sample: Sample, random: Random) -> Sample:
    """Replace the background, if there is a single part in front of it; neither part nor defect changes."""
    part = segment_part(sample.pixels, single=True)
    if part is None:
        return sample
    background = ~grown(part | sample.mask, 5)
    colour = random.uniform(10, 245, 3) + random.normal(0, 8, (6, 6, 3))
    behind = cv2.resize(colour.astype(np.float32), part.shape[::-1], interpolation=cv2.INTER_CUBIC)
    cover = cv2.GaussianBlur(background.astype(np.float32), (0, 0), 1.0) * background
    return Sample(_to_bytes(sample.pixels + (behind - sample.pixels) * cover[..., None]), sample.mask)


def _to_bytes(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels).clip(0, 255).astype(np.uint8)
