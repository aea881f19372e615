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

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numba import njit
from scipy.fft import dct

from edgezsad.data.fingerprints import LEVELS, SIDE, Fingerprints

LOW = 16
"""Cosine coefficients kept in each direction."""
BITS = LOW * LOW - 1
"""Length of the hash: the mean says nothing about what is to be seen."""
RADIUS = 64
"""Largest Hamming distance of a candidate. Copies of photographs differ in up to 46 bits, and no two photographs of
different data sets in so few as 64."""
LEAST_CORRELATION = 0.8
"""Of a verified pair, after the brightness curve."""
LARGEST_RESIDUAL = 2.2
"""Of a verified pair: what the brightness curve leaves over, in units of what re-encoding changes. Copies of photographs
leave up to 1.9; another photograph of the same part by the same camera leaves more than 2.5, with few exceptions."""
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

_COSINES = dct(np.eye(SIDE), axis=0, norm="ortho")[:LOW].astype(np.float32)
_ZERO = 0.01
_CHUNK = 4096
_BLOCK = 64
"""Targets searched for at a time: where thousands of parts look alike, their candidates still fit in memory."""
_PAIRS = 2048
"""Candidates verified at a time."""


@dataclass(frozen=True)
class Match:
    """A target image and the nearest source image that shows the same picture.

    Attributes:
        source, target: rows of the fingerprints compared.
        relation: one of `VIEWS`, or "the same pixels".
        distance: between the hashes, in bits; 0 for flat images.
        correlation, residual: see `edgezsad.data.perceptual.agreement`; 1 and 0 for flat images.
    """

    source: int
    target: int
    relation: str
    distance: int = 0
    correlation: float = 1.0
    residual: float = 0.0


def near_duplicates(
    source: Fingerprints,
    target: Fingerprints,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Match], int]:
    """Target images of which the source holds the same picture.

    Args:
        source: one side.
        target: the other.
        workers: threads.
        progress: called as (target images done, target images in all).

    Returns:
        One match for each such target image, the best one, in the targets' order; and the number of candidates.
    """
    first: dict[bytes, int] = {}
    for row in np.flatnonzero(source.flat):
        first.setdefault(source.pixels[row].tobytes(), int(row))
    same = [(first.get(target.pixels[row].tobytes()), int(row)) for row in np.flatnonzero(target.flat)]
    found = [Match(one, row, "the same pixels") for one, row in same if one is not None]
    # Flat images would all be candidates of each other, and nothing could be verified.
    sources, targets = np.flatnonzero(~source.flat), np.flatnonzero(~target.flat)
    codes = hashes(source.small[sources], [0])[:, 0]
    blocks = np.split(targets, range(_BLOCK, len(targets), _BLOCK))
    candidates, done = 0, len(target) - len(targets)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        results = pool.map(partial(_search, source, sources, codes, target), blocks)
        for block, (matches, number) in zip(blocks, results, strict=True):
            found += matches
            candidates += number
            done += len(block)
            if progress is not None:
                progress(done, len(target))
    return sorted(found, key=lambda match: match.target), candidates


def _search(
    source: Fingerprints, sources: np.ndarray, codes: np.ndarray, target: Fingerprints, rows: np.ndarray
) -> tuple[list[Match], int]:
    """The best match of each target row, and the number of candidates; `codes` are the hashes of the source rows."""
    wanted = hashes(target.small[rows]).reshape(4, len(VIEWS) * len(rows))
    places, columns, distances = near(codes, wanted)
    seen, which = np.divmod(columns, max(1, len(rows)))
    one, other = sources[places], rows[which]
    best: dict[int, Match] = {}
    for start in range(0, len(one), _PAIRS):
        pair = slice(start, start + _PAIRS)
        change = np.maximum(source.change[one[pair]], target.change[other[pair]])
        turned = np.empty((len(change), SIDE, SIDE), dtype=np.uint16)
        for number in range(len(VIEWS)):
            wants = seen[pair] == number
            turned[wants] = view(target.small[other[pair][wants]], number)
        correlation, residual = agreement(source.small[one[pair]], turned, change)
        for hit in np.flatnonzero((correlation >= LEAST_CORRELATION) & (residual <= LARGEST_RESIDUAL)):
            place = start + hit
            match = Match(
                int(one[place]), int(other[place]), VIEWS[seen[place]],
                int(distances[place]), float(correlation[hit]), float(residual[hit]),
            )  # fmt: skip
            if match.target not in best or match.residual < best[match.target].residual:
                best[match.target] = match
    return list(best.values()), len(one)


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
        part = small[start : start + _CHUNK].astype(np.float32) / LEVELS
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
    y, x = (picture.reshape(len(picture), -1) / LEVELS for picture in (one, other))
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
