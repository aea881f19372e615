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
from edgezsad.data.hamming import near

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
"""Of a verified pair: what the brightness curve leaves, in units of what re-encoding changes. Copies of photographs
leave 1.9 at most; another photograph of the same part by the same camera more than 2.5, with few exceptions."""
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
    places, columns, distances = near(codes, wanted, RADIUS)
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


def agreement(one: np.ndarray, other: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well small pictures agree once the second has gone through the parabola that brings it nearest the first.

    Args:
        one: uint16 (N, SIDE, SIDE).
        other: the same, in the view of the first.
        change: (N,) grey levels that re-encoding changes them by.

    Returns:
        Correlation (N,) and what is left over (N,), in units of `change`.
    """
    yy, xx, xy, x3, x4, xxy = _moments(*(picture.reshape(len(picture), SIDE * SIDE) for picture in (one, other))).T
    xx = np.maximum(xx, _ZERO)
    slope, lean = xy / xx, x3 / xx
    # The parabola is the square of the second picture, less what its mean and itself explain of it.
    whole = x4 - xx**2 / SIDE**2
    rest = whole - lean * x3
    # A picture of two grey levels has no parabola: what is left of it is rounding.
    bend = np.where(rest > 1e-9 * whole, (xxy - lean * xy) ** 2 / np.maximum(rest, _ZERO), 0)
    left = np.maximum(yy - slope * xy - bend, 0)
    correlation = np.sqrt(np.maximum(1 - left / np.maximum(yy, _ZERO), 0))
    return correlation, np.sqrt(left) / SIDE / np.maximum(change, LEAST_CHANGE)


@njit(cache=True, nogil=True)
def _moments(one, other):
    """(N, 6) sums of yy, xx, xy, xxx, xxxx and xxy, where y is `one` and x is `other`, in grey levels from the mean."""
    result = np.empty((len(one), 6))
    for pair in range(len(one)):
        first, second = one[pair], other[pair]
        mean_y, mean_x = first.mean(), second.mean()
        yy = xx = xy = x3 = x4 = xxy = 0.0
        for pixel in range(len(first)):
            y, x = (first[pixel] - mean_y) / LEVELS, (second[pixel] - mean_x) / LEVELS
            yy += y * y
            xx += x * x
            xy += x * y
            x3 += x * x * x
            x4 += x * x * x * x
            xxy += x * x * y
        result[pair, 0], result[pair, 1], result[pair, 2] = yy, xx, xy
        result[pair, 3], result[pair, 4], result[pair, 5] = x3, x4, xxy
    return result
