"""What an image is compared by: itself at 32 x 32 grey levels. Made once for each file's content, and kept."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.fft import dctn

from edgezsad.data.images import decode_image
from edgezsad.data.manifest import Manifest
from edgezsad.data.opening import FORMATS, check_header, check_kind_of_file, orientation, told
from edgezsad.files import read_arrays, written_beside
from edgezsad.progress import progress

SIDE = 32
"""Height and width of the small picture."""
FINER = 128
"""The same of the picture that pairs with a faint image are compared by at last; it is not kept."""
LEVELS = 256
"""Steps that a grey level is kept in."""
FAINT = 1.0
"""Grey levels. A small picture with a smaller spread is faint: fine textures are, and dark fields with a small spot."""
LEFT_CORRELATION, LEFT_SIGNS = 0.9, 0.8
"""A faint image is lost if a JPEG of quality 75 leaves less of it: correlation with what it was, and part of its cosine
coefficients that have the sign they had, of which half agree by chance. Somewhat more than copies must keep to."""
ZERO = 0.01
"""Cosine coefficients nearer to 0, in grey levels, are rounding."""

VERSION = 2
"""Of how fingerprints are made; a cache of another version is made anew."""

_JPEG_SIDES = (128, 64)
"""What JPEG changes is measured at these sizes: the smaller the picture, the more."""
_SMALL = 100
"""Pixels. A picture with a shorter side is compared by what JPEG changes at the second size, others at the first."""
_JPEG_QUALITY = 60
_COMMON_QUALITY = 75
_LONGEST_JPEG = 65_500
"""Pixels. A JPEG has no longer side."""
_PHOTOMETRIC_TAG = 0x0106
_WHITE_IS_ZERO = 0

Row = tuple[np.ndarray, np.ndarray, bool, np.ndarray, bool]
"""One image's part of `Fingerprints`."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a picture in its image, in pixels; the first two are 0."""


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What images are compared by; the first axis of everything is the image.

    Attributes:
        small: uint16 (N, SIDE, SIDE), grey levels of 0 to 255 in steps of 1/256.
        change: float32 (N, 2), grey levels (root mean square) that JPEG of quality 60 changes the small picture by: at
            128 and at 64 pixels a side.
        tiny: bool (N,), whether the image has a side below 100 pixels, so that a copy of it was encoded at such a size.
        pixels: uint8 (N, 32), for a faint image the SHA-256 of its pixels, the same for all eight views; zeros for
            the others.
        lost: bool (N,), whether it is faint and a common JPEG leaves nothing to know it by again: only its pixels
            tell for sure.
    """

    small: np.ndarray
    change: np.ndarray
    tiny: np.ndarray
    pixels: np.ndarray
    lost: np.ndarray

    def __len__(self) -> int:
        return len(self.small)

    def take(self, rows: np.ndarray) -> "Fingerprints":
        """Those of some images."""
        columns = (getattr(self, field.name) for field in fields(self))
        return Fingerprints(*(column[rows] for column in columns))

    def rows(self) -> list[Row]:
        """One by one."""
        return list(zip(*(getattr(self, field.name) for field in fields(self)), strict=True))

    @property
    def faint(self) -> np.ndarray:
        """(N,) bool, whether there is little to be seen on the small picture."""
        return self.pixels.any(axis=1)


def fingerprint(path: Path | str) -> Row:
    """One image's part of each attribute of `Fingerprints`.

    Raises:
        InputError: as for `edgezsad.data.images.decode_image`.
    """
    image, box = _grey(path)
    small = _reduced(image, (SIDE, SIDE), box)
    change = np.array([_change(image, box, side) for side in _JPEG_SIDES], dtype=np.float32)
    faint = bool(small.std() < FAINT)
    pixels = _pixel_hash(path) if faint else bytes(32)
    steps = np.clip(np.rint(small * LEVELS), 0, 65535).astype(np.uint16)
    tiny = min(box[2:]) < _SMALL
    return steps, change, tiny, np.frombuffer(pixels, dtype=np.uint8), faint and _is_lost(path)


def _change(image: Image.Image, box: Box, side: int) -> float:
    """What JPEG of poor quality changes the small picture by, in grey levels, once the image is made this small."""
    # Never larger than the image: blown-up pixels would survive any encoding.
    size = tuple(max(1, min(side, round(length))) for length in box[2:])
    before, after = _encoded(_reduced(image, size, box), _JPEG_QUALITY)
    return float((after - before).std())


def _encoded(values: np.ndarray, quality: int) -> tuple[np.ndarray, np.ndarray]:
    """The small pictures of grey levels (height, width) before and after JPEG."""
    before = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    stream = io.BytesIO()
    before.save(stream, "JPEG", quality=quality)
    with Image.open(stream) as after:
        return _reduced(before.convert("F"), (SIDE, SIDE)), _reduced(after.convert("F"), (SIDE, SIDE))


def _is_lost(path: Path | str) -> bool:
    """Whether JPEG of a common quality, at the image's own size, leaves too little of it."""
    image, _ = _grey(path, reduce=False)
    if max(image.size) > _LONGEST_JPEG:
        return True
    before, after = _encoded(np.asarray(image), _COMMON_QUALITY)
    ours, theirs = before - before.mean(), after - after.mean()
    kept = (ours * theirs).sum() >= LEFT_CORRELATION * np.linalg.norm(ours) * np.linalg.norm(theirs) > 0
    return not (kept and same_signs(before[None], after[None])[0] >= LEFT_SIGNS)


def finer(path: Path | str) -> np.ndarray:
    """float32 (FINER, FINER), an image in grey levels at a finer scale; for the few pairs that need it."""
    image, box = _grey(path, reduce=False)
    return _reduced(image, (FINER, FINER), box)


def same_signs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N,) which part of the cosine coefficients have one sign in both of float (N, SIDE, SIDE) pictures.

    Every coefficient counts the same, however large: a shading that all photographs of a camera share fills only few.
    The mean, and what is rounding in both, does not count.
    """
    signs = []
    for picture in (one, other):
        coefficients = dctn(picture, axes=(1, 2), norm="ortho").reshape(-1, SIDE**2)[:, 1:]
        signs.append(np.where(np.abs(coefficients) < ZERO, 0, np.sign(coefficients)))
    counted = (signs[0] != 0) | (signs[1] != 0)
    return ((signs[0] == signs[1]) & counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


def _grey(path: Path | str, reduce: bool = True) -> tuple[Image.Image, Box]:
    """An image in grey levels (mode F), a JPEG perhaps at a reduced scale, and the box that the picture fills in it."""
    with told(path):
        length = check_kind_of_file(path)
        with Image.open(path, formats=FORMATS) as image:
            check_header(path, image, length)
            if reduce and image.format == "JPEG" and image.mode in ("L", "RGB") and orientation(image) == 1:
                # Decoding at a reduced scale rounds the size up; the box is where the picture ends.
                reduced = image.draft("L", (_JPEG_SIDES[0], _JPEG_SIDES[0]))
                return image.convert("L").convert("F"), reduced[1] if reduced else (0, 0, *image.size)
            if image.mode.startswith("I") and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) != _WHITE_IS_ZERO:
                # A camera fills 12 of 16 bits: in 256 levels there would be 16 left of them.
                values = np.asarray(image).astype(np.float32)
                if values.min() >= 0 and 255 < values.max() <= 65535:
                    return _whole(values * (255 / values.max()))
    return _whole(np.asarray(Image.fromarray(decode_image(path)).convert("L"), dtype=np.float32))


def _whole(values: np.ndarray) -> tuple[Image.Image, Box]:
    return Image.fromarray(values), (0, 0, values.shape[1], values.shape[0])


def _reduced(image: Image.Image, size: tuple[int, int], box: Box | None = None) -> np.ndarray:
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
    return Fingerprints(*(np.stack(column) for column in zip(*rows, strict=True)))


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
    columns = {field.name: getattr(rows, field.name) for field in fields(rows)}
    with written_beside(path) as temporary:
        np.savez(temporary, version=np.array([VERSION]), sha256=np.array(list(known)), **columns)


def _read_cache(path: Path) -> dict[str, Row]:
    """What the cache knows; nothing when it is missing, damaged or of another version: it is then made anew."""
    return dict(_rows(path))


_CACHED = {
    "version": ("i8", ()),
    "sha256": ("U", ()),
    "small": ("u2", (SIDE, SIDE)),
    "change": ("f4", (2,)),
    "tiny": ("?", ()),
    "pixels": ("u1", (32,)),
    "lost": ("?", ()),
}
"""The arrays of the cache, as `read_arrays` wants them said."""


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    stored = read_arrays(path, _CACHED)
    if stored is None or stored.pop("version").tolist() != [VERSION]:
        return
    columns = list(stored.values())
    if len({len(column) for column in columns}) > 1:
        return
    for sha256, *row in zip(*columns, strict=True):
        yield str(sha256), tuple(row)
