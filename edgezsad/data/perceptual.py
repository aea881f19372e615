"""Near-duplicates: the same picture re-encoded, resized, mirrored, turned by 90 degrees or a little brighter.

Each image leaves a fingerprint: itself at 32 x 32 grey levels, how much a JPEG of poor quality would change that, and,
where it is faint, a hash of its pixels. Fingerprints are compared in two steps.

1. Candidates: the signs of the 255 lowest cosine coefficients, compared by Hamming distance. All pairs are looked at,
   in all eight views of a square, so that nothing is missed; half of the signs of unrelated images differ.
2. Verification: a candidate counts only if the small pictures agree up to a brightness curve, with no more left over
   than re-encoding leaves. Photographs of equal parts by one camera pass the first step and fail the second. Of faint
   pictures, where that leaves little to tell them by, the signs of all cosine coefficients must agree too, and the
   images at 128 x 128 (`at_finer_scale`): two fields with a spot in nearly one place do only on the small pictures.
   Where the spots are alike and lie within a hundredth of the side, such fields are still taken for copies.

`benchmarks/leak.py` measures what the thresholds find and what they leave alone. Crops and turns by other angles are
not found, and copies smaller than about 60 pixels, of very poor quality or of few colours not surely. Of a faint image
whose texture a common JPEG wipes out, only copies of equal pixels are found for sure (`Fingerprints.lost`).
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numba import njit
from scipy.fft import dct

from edgezsad.data.fingerprints import FINER, LEVELS, SIDE, ZERO, Fingerprints, finer, same_signs
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
LEAST_CHANGE, LEAST_CHANGE_FAINT = 0.3, 0.03
"""Grey levels. Re-encoding is taken to change at least so much, the second if one of the pictures is faint."""

LEAST_SIGNS = 0.7
"""Of a verified pair with a faint picture: cosine coefficients of one sign. Half of them agree by chance."""
LEAST_FINER = 0.7
"""Correlation at the finer scale of a pair with a faint picture."""
BLANK = 0.1
"""Grey levels. A small picture from whose darkest to whose brightest place is less is compared by its pixels alone."""

METHOD = (
    f"{BITS}-bit cosine hash, 8 views, all pairs; verified on {SIDE} x {SIDE} grey levels, faint images also on "
    f"{FINER} x {FINER} and by equal pixels"
)

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
_CHUNK = 4096
_BLOCK = 64
"""Targets searched for at a time: where thousands of parts look alike, their candidates still fit in memory."""
_PAIRS = 2048
"""Candidates verified at a time."""


Confirm = Callable[[int, int, int], bool]
"""Called as (source row, target row, number of the view) by several threads: whether that pair shows one picture."""


@dataclass(frozen=True)
class Match:
    """A target image and the nearest source image that shows the same picture.

    Attributes:
        source, target: rows of the fingerprints compared.
        relation: one of `VIEWS`, or "the same pixels".
        distance: between the hashes, in bits; 0 for the same pixels.
        correlation, residual: see `edgezsad.data.perceptual.agreement`; 1 and 0 for the same pixels.
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
    confirm: Confirm | None = None,
) -> tuple[list[Match], int]:
    """Target images of which the source holds the same picture.

    Args:
        source: one side.
        target: the other.
        workers: threads.
        progress: called as (target images done, target images in all).
        confirm: asked at last about a pair with a faint picture; all of them count when left out.

    Returns:
        One match for each such target image, the best one, in the targets' order; and the number of candidates.
    """
    first: dict[bytes, int] = {}
    for row in np.flatnonzero(source.faint):
        first.setdefault(source.pixels[row].tobytes(), int(row))
    same = [(first.get(target.pixels[row].tobytes()), int(row)) for row in np.flatnonzero(target.faint)]
    found = {row: Match(one, row, "the same pixels") for one, row in same if one is not None}
    # Blank images would all be candidates of each other, and nothing could be verified.
    sources, targets = np.flatnonzero(~_blank(source)), np.flatnonzero(~_blank(target))
    targets = targets[~np.isin(targets, list(found))]
    codes = hashes(source.small[sources], [0])[:, 0]
    blocks = np.split(targets, range(_BLOCK, len(targets), _BLOCK))
    candidates, done = 0, len(target) - len(targets)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        results = pool.map(partial(_search, source, sources, codes, target, confirm), blocks)
        for block, (matches, number) in zip(blocks, results, strict=True):
            found |= {match.target: match for match in matches}
            candidates += number
            done += len(block)
            if progress is not None:
                progress(done, len(target))
    return [found[row] for row in sorted(found)], candidates


def _blank(images: Fingerprints) -> np.ndarray:
    """(N,) bool, whether there is nothing to be seen at all."""
    return images.faint & (np.ptp(images.small, axis=(1, 2)) < BLANK * LEVELS)


def at_finer_scale(sources: Sequence[Path], targets: Sequence[Path]) -> Confirm:
    """Compares the images themselves, given the files of both sides in the order of their fingerprints."""
    kept = lru_cache(maxsize=1024)(finer)

    def confirm(source: int, target: int, number: int) -> bool:
        one, other = kept(sources[source]), view(kept(targets[target])[None], number)[0]
        return bool(np.corrcoef(one.ravel(), other.ravel())[0, 1] >= LEAST_FINER)

    return confirm


def _search(
    source: Fingerprints,
    sources: np.ndarray,
    codes: np.ndarray,
    target: Fingerprints,
    confirm: Confirm | None,
    rows: np.ndarray,
) -> tuple[list[Match], int]:
    """The best match of each target row, and the number of candidates; `codes` are the hashes of the source rows."""
    wanted = hashes(target.small[rows]).reshape(4, len(VIEWS) * len(rows))
    places, columns, distances = near(codes, wanted, RADIUS)
    seen, which = np.divmod(columns, max(1, len(rows)))
    one, other = sources[places], rows[which]
    best: dict[int, Match] = {}
    for start in range(0, len(one), _PAIRS):
        pair = slice(start, start + _PAIRS)
        size = (source.tiny[one[pair]] | target.tiny[other[pair]]).astype(int)
        change = np.maximum(source.change[one[pair], size], target.change[other[pair], size])
        turned = np.empty((len(change), SIDE, SIDE), dtype=np.uint16)
        for number in range(len(VIEWS)):
            wants = seen[pair] == number
            turned[wants] = view(target.small[other[pair][wants]], number)
        faint = source.faint[one[pair]] | target.faint[other[pair]]
        least = np.where(faint, LEAST_CHANGE_FAINT, LEAST_CHANGE)
        correlation, residual = agreement(source.small[one[pair]], turned, np.maximum(change, least))
        agree = (correlation >= LEAST_CORRELATION) & (residual <= LARGEST_RESIDUAL)
        pictures = (picture[faint].astype(np.float32) / LEVELS for picture in (source.small[one[pair]], turned))
        agree[faint] &= same_signs(*pictures) >= LEAST_SIGNS
        for hit in np.flatnonzero(agree):
            place = start + hit
            if faint[hit] and confirm and not confirm(int(one[place]), int(other[place]), int(seen[place])):
                continue
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
        coefficients[np.abs(coefficients) < ZERO] = 0
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
        change: (N,) grey levels that re-encoding changes them by, above 0.

    Returns:
        Correlation (N,) and what is left over (N,), in units of `change`.
    """
    yy, xx, xy, x3, x4, xxy = _moments(*(picture.reshape(len(picture), SIDE * SIDE) for picture in (one, other))).T
    xx = np.maximum(xx, ZERO)
    slope, lean = xy / xx, x3 / xx
    # The parabola is the square of the second picture, less what its mean and itself explain of it.
    whole = x4 - xx**2 / SIDE**2
    rest = whole - lean * x3
    # A picture of two grey levels has no parabola: what is left of it is rounding.
    bend = np.where(rest > 1e-9 * whole, (xxy - lean * xy) ** 2 / np.maximum(rest, ZERO), 0)
    left = np.maximum(yy - slope * xy - bend, 0)
    correlation = np.sqrt(np.maximum(1 - left / np.maximum(yy, ZERO), 0))
    return correlation, np.sqrt(left) / SIDE / change


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
