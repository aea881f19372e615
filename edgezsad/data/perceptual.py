"""Near-duplicates: the same picture re-encoded, resized, mirrored, turned by 90 degrees or a little brighter.

Each image leaves a fingerprint: itself at 32 x 32 grey levels, how much a JPEG of poor quality would change that, and,
where nothing is to be seen on it, a hash of its pixels. Fingerprints are compared in two steps.

1. Candidates: the signs of the 255 lowest cosine coefficients, compared by Hamming distance. All pairs are looked at,
   in all eight views of a square, so that nothing is missed; half of the signs of unrelated images differ.
2. Verification: a candidate counts only if the small pictures agree up to a brightness curve, with no more left over
   than re-encoding leaves. Photographs of equal parts by one camera pass the first step and fail the second.

`benchmarks/leak.py` measures what the thresholds find and what they leave alone. It does not find crops, turns by other
angles, or copies smaller than about 100 pixels.
"""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from PIL import Image
from scipy.fft import dct

from edgezsad.data.images import decode_image
from edgezsad.data.opening import FORMATS, check_header, check_kind_of_file, orientation, told

SIDE = 32
"""Height and width of the small picture."""
LOW = 16
"""Cosine coefficients kept in each direction."""
BITS = LOW * LOW - 1
"""Length of the hash: the mean says nothing about what is to be seen."""
RADIUS = 64
"""Largest Hamming distance of a candidate. Of copies 51 was the most, of unrelated photographs 56 the least."""
LEAST_CORRELATION = 0.8
"""Of a verified pair, after the brightness curve."""
LARGEST_RESIDUAL = 2.2
"""Of a verified pair: what the brightness curve leaves over, in units of what re-encoding changes."""
FLAT = 1.0
"""Grey levels. A small picture with a smaller spread shows nothing to compare: the pixels must be equal."""
LEAST_CHANGE = 0.3
"""Grey levels. Re-encoding is taken to change at least so much."""

METHOD = f"{BITS}-bit cosine hash, 8 views, all pairs; verified on {SIDE} x {SIDE} grey levels"

VIEWS = (
    "re-encoded or resized",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 180 degrees",
    "mirrored and turned by 90 degrees",
    "turned by 90 degrees",
    "turned by 90 degrees",
    "mirrored and turned by 90 degrees",
)
"""What each view undoes. Bits of the number: 4 rows and columns exchanged, then 2 top to bottom, 1 left to right."""

_JPEG_SIDE = 128
_JPEG_QUALITY = 60
_LEVELS = 256
_PHOTOMETRIC_TAG = 0x0106
_WHITE_IS_ZERO = 0
_COSINES = dct(np.eye(SIDE), axis=0, norm="ortho")[:LOW].astype(np.float32)
_ZERO = 0.01
_CHUNK = 4096


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


def fingerprint(path: Path | str) -> tuple[np.ndarray, float, np.ndarray]:
    """One image's row of `Fingerprints`.

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
    steps = np.clip(np.rint(small * _LEVELS), 0, 65535).astype(np.uint16)
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


def view(pictures: np.ndarray, number: int) -> np.ndarray:
    """(N, SIDE, SIDE) pictures in one of the eight `VIEWS`."""
    if number & 4:
        pictures = pictures.transpose(0, 2, 1)
    if number & 2:
        pictures = pictures[:, ::-1]
    return pictures[:, :, ::-1] if number & 1 else pictures


def hashes(small: np.ndarray, views: Iterable[int] = range(len(VIEWS))) -> np.ndarray:
    """The perceptual hash of pictures in one view, and by signs and exchange alone in the other seven.

    Args:
        small: uint16 (N, SIDE, SIDE).
        views: which of the `VIEWS`.

    Returns:
        uint64 (4, views, N): 255 bits and a zero in four words. The words come first because the search then reads
        straight through memory, four times faster.
    """
    views = tuple(views)
    result = np.empty((4, len(views), len(small)), dtype=np.uint64)
    alternate = np.where(np.arange(LOW) % 2, -1, 1).astype(np.float32)
    for start in range(0, len(small), _CHUNK):
        part = small[start : start + _CHUNK].astype(np.float32) / _LEVELS
        coefficients = _COSINES @ part @ _COSINES.T
        # The picture may be symmetric: what should be zero is then rounding, and has no sign that a mirror changes.
        coefficients[np.abs(coefficients) < _ZERO] = 0
        for place, number in enumerate(views):
            seen = coefficients.transpose(0, 2, 1) if number & 4 else coefficients
            if number & 2:
                seen = seen * alternate[:, None]
            if number & 1:
                seen = seen * alternate
            bits = seen.reshape(len(part), -1) > 0
            bits[:, 0] = False
            result[:, place, start : start + _CHUNK] = np.packbits(bits, axis=1).view(np.uint64).T
    return result


def near(codes: np.ndarray, wanted: np.ndarray, radius: int = RADIUS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs within a Hamming distance.

    Args:
        codes: uint64 (4, N).
        wanted: uint64 (4, M).
        radius: in bits.

    Returns:
        Rows of `codes`, rows of `wanted` and distances, one element of each a pair, in the order of `wanted`.
    """
    codes, wanted = np.ascontiguousarray(codes), np.ascontiguousarray(wanted)
    counts = _count(codes, wanted, radius)
    rows, distances = _fill(codes, wanted, radius, counts)
    return rows, np.repeat(np.arange(wanted.shape[1]), counts), distances


def agreement(one: np.ndarray, other: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well small pictures agree once the second has gone through the parabola that brings it nearest the first.

    Args:
        one: uint16 (N, SIDE, SIDE).
        other: the same, in the view of the first.
        change: (N,) grey levels that re-encoding changes them by.

    Returns:
        Correlation (N,) and what is left over (N,), in units of `change`.
    """
    y, x = (picture.reshape(len(picture), -1) / _LEVELS for picture in (one, other))
    y, x = (values - values.mean(axis=1, keepdims=True) for values in (y, x))
    curve = x * x
    curve -= curve.mean(axis=1, keepdims=True)
    whole = _dot(curve, curve)
    curve -= x * (_dot(curve, x) / np.maximum(_dot(x, x), _ZERO))[:, None]
    rest = _dot(curve, curve)
    # A picture of two grey levels has no curve: what is left of it is rounding.
    bend = np.where(rest > 1e-9 * whole, _dot(curve, y) ** 2 / np.maximum(rest, _ZERO), 0)
    explained = _dot(x, y) ** 2 / np.maximum(_dot(x, x), _ZERO) + bend
    left = np.maximum(_dot(y, y) - explained, 0)
    correlation = np.sqrt(np.maximum(1 - left / np.maximum(_dot(y, y), _ZERO), 0))
    return correlation, np.sqrt(left / y.shape[1]) / np.maximum(change, LEAST_CHANGE)


def _dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", one, other)


# Numba's functions keep to plain loops. Looking at every pair is faster here than an index of parts of the hash: the
# compiler puts the processor's own instruction for counting bits in place of `_ones`, for several words at a time.


@njit(cache=True, nogil=True)
def _ones(bits):
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True)
def _count(codes, wanted, radius):
    """(M,) how many of `codes` are within the radius of each of `wanted`."""
    a, b, c, d = codes[0], codes[1], codes[2], codes[3]
    limit = np.uint64(radius)
    counts = np.zeros(wanted.shape[1], dtype=np.int64)
    for column in range(wanted.shape[1]):
        e, f, g, h = wanted[0, column], wanted[1, column], wanted[2, column], wanted[3, column]
        found = np.uint64(0)
        for row in range(codes.shape[1]):
            bits = _ones(a[row] ^ e) + _ones(b[row] ^ f) + _ones(c[row] ^ g) + _ones(d[row] ^ h)
            found += np.uint64(bits <= limit)
        counts[column] = found
    return counts


@njit(cache=True, nogil=True)
def _fill(codes, wanted, radius, counts):
    """The rows that `_count` counted and their distances, in the order of `wanted`."""
    limit = np.uint64(radius)
    rows = np.empty(counts.sum(), dtype=np.int64)
    distances = np.empty(counts.sum(), dtype=np.int64)
    place = 0
    for column in range(wanted.shape[1]):
        if counts[column] == 0:
            continue
        for row in range(codes.shape[1]):
            bits = np.uint64(0)
            for word in range(4):
                bits += _ones(codes[word, row] ^ wanted[word, column])
            if bits <= limit:
                rows[place] = row
                distances[place] = bits
                place += 1
    return rows, distances
