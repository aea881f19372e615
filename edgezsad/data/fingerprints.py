"""What an image is compared by: itself at 32 x 32 grey levels. Made once for each file's content, and kept."""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from edgezsad.data.images import decode_image
from edgezsad.data.manifest import Manifest
from edgezsad.data.opening import FORMATS, check_header, check_kind_of_file, orientation, told
from edgezsad.files import written_beside
from edgezsad.progress import progress

SIDE = 32
"""Height and width of the small picture."""
LEVELS = 256
"""Steps that a grey level is kept in."""
FLAT = 1.0
"""Grey levels. A small picture with a smaller spread shows nothing to compare: the pixels must be equal."""

VERSION = 1
"""Of how fingerprints are made; a cache of another version is made anew."""

_JPEG_SIDE = 128
_JPEG_QUALITY = 60
_PHOTOMETRIC_TAG = 0x0106
_WHITE_IS_ZERO = 0

Row = tuple[np.ndarray, float, np.ndarray]
"""One image's part of `Fingerprints`."""


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What images are compared by; the first axis of everything is the image.

    Attributes:
        small: uint16 (N, SIDE, SIDE), grey levels of 0 to 255 in steps of 1/256.
        change: float32 (N,), grey levels (root mean square) that JPEG of quality 60 changes the small picture by.
        pixels: uint8 (N, 32), for a flat image the SHA-256 of its pixels, the same for all eight views; zeros for
            the others.
    """

    small: np.ndarray
    change: np.ndarray
    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.small)

    def take(self, rows: np.ndarray) -> "Fingerprints":
        """Those of some images."""
        return Fingerprints(self.small[rows], self.change[rows], self.pixels[rows])

    @property
    def flat(self) -> np.ndarray:
        """(N,) bool, whether there is nothing to be seen."""
        return self.pixels.any(axis=1)


def fingerprint(path: Path | str) -> Row:
    """One image's small picture, change and pixels, as in `Fingerprints`.

    Raises:
        InputError: as for `edgezsad.data.images.decode_image`.
    """
    image, box = _grey(path)
    small = _reduced(image, (SIDE, SIDE), box)
    # Never larger than the image: blown-up pixels would survive any encoding.
    sides = tuple(max(1, min(_JPEG_SIDE, round(side))) for side in box[2:])
    before = Image.fromarray(np.clip(np.rint(_reduced(image, sides, box)), 0, 255).astype(np.uint8))
    stream = io.BytesIO()
    before.save(stream, "JPEG", quality=_JPEG_QUALITY)
    with Image.open(stream) as after:
        difference = _reduced(after.convert("F"), (SIDE, SIDE)) - _reduced(before.convert("F"), (SIDE, SIDE))
    flat = small.std() < FLAT
    pixels = _pixel_hash(path) if flat else bytes(32)
    steps = np.clip(np.rint(small * LEVELS), 0, 65535).astype(np.uint16)
    return steps, float(difference.std()), np.frombuffer(pixels, dtype=np.uint8)


def _grey(path: Path | str) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """An image in grey levels (mode F), and the box that the picture fills in it."""
    with told(path):
        length = check_kind_of_file(path)
        with Image.open(path, formats=FORMATS) as image:
            check_header(path, image, length)
            if image.format == "JPEG" and image.mode in ("L", "RGB") and orientation(image) == 1:
                # Decoding at a reduced scale rounds the size up; the box is where the picture ends.
                reduced = image.draft("L", (_JPEG_SIDE, _JPEG_SIDE))
                return image.convert("L").convert("F"), reduced[1] if reduced else (0, 0, *image.size)
            if image.mode.startswith("I") and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) != _WHITE_IS_ZERO:
                # A camera fills 12 of 16 bits: in 256 levels there would be 16 left of them.
                values = np.asarray(image).astype(np.float32)
                if values.min() >= 0 and 255 < values.max() <= 65535:
                    return _whole(values * (255 / values.max()))
    return _whole(np.asarray(Image.fromarray(decode_image(path)).convert("L"), dtype=np.float32))


def _whole(values: np.ndarray) -> tuple[Image.Image, tuple[float, float, float, float]]:
    return Image.fromarray(values), (0, 0, values.shape[1], values.shape[0])


def _reduced(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """float32 (height, width). The triangle filter: a plain average would depend on where its cells happen to begin."""
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box), dtype=np.float32)


def _pixel_hash(path: Path | str) -> bytes:
    """SHA-256 of an image's pixels, the same for all eight views of it and all lossless formats."""
    image = decode_image(path)
    turned = [np.rot90(image, quarter) for quarter in range(4)]
    views = [*turned, *(np.fliplr(one) for one in turned)]
    return min(hashlib.sha256(repr(one.shape).encode() + one.tobytes()).digest() for one in views)


def stacked(rows: Sequence[Row]) -> Fingerprints:
    """Rows, at least one, as one."""
    small, change, pixels = zip(*rows, strict=True)
    return Fingerprints(np.stack(small), np.array(change, dtype=np.float32), np.stack(pixels))


def fingerprints(manifests: Sequence[Manifest], cache: Path | None, workers: int) -> dict[str, Row]:
    """Every image's fingerprint, by content hash.

    Args:
        manifests: of all images wanted.
        cache: a file of them; what it has is not made again. It is written after every data set that had new ones.
        workers: threads.

    Raises:
        InputError: an image cannot be decoded; the line names it.
    """
    kept = _read_cache(cache) if cache is not None else {}
    wanted = {entry.sha256 for manifest in manifests for entry in manifest.entries}
    known = {sha256: row for sha256, row in kept.items() if sha256 in wanted}
    for manifest in manifests:
        new = {entry.sha256: manifest.path(entry) for entry in manifest.entries if entry.sha256 not in known}
        if not new:
            continue
        with ThreadPoolExecutor(max(1, workers)) as pool:
            rows = progress(pool.map(fingerprint, new.values()), f"fingerprint {manifest.name}", len(new))
            known |= dict(zip(new, rows, strict=True))
        if cache is not None:
            _write_cache(cache, known)
    return known


def _write_cache(path: Path, known: dict[str, Row]) -> None:
    rows = stacked(list(known.values()))
    with written_beside(path) as temporary:
        np.savez(
            temporary, version=VERSION, sha256=np.array(list(known)),
            small=rows.small, change=rows.change, pixels=rows.pixels,
        )  # fmt: skip


def _read_cache(path: Path) -> dict[str, Row]:
    """What the cache knows; nothing when it is missing, damaged or of another version: it is then made anew."""
    return dict(_rows(path))


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            if int(stored["version"]) != VERSION:
                return
            columns = [stored[name] for name in ("sha256", "small", "change", "pixels")]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return
    shapes = [(SIDE, SIDE), (), (32,)]
    if any(column.shape != (len(columns[0]), *shape) for column, shape in zip(columns[1:], shapes, strict=True)):
        return
    for sha256, small, change, pixels in zip(*columns, strict=True):
        yield str(sha256), (small, float(change), pixels)
