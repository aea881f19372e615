"""Leak check: does the source hold a target image, as the same file or as a copy with other pixels?

Zero-shot numbers mean nothing if a target image was trained on. Two comparisons are made:

1. SHA-256 of the files finds the same file under any name.
2. Near-duplicates: the signs of the lowest cosine coefficients of a 32 x 32 grey thumbnail make a 63-bit hash. All
   pairs are compared, in the eight orientations of a square; pairs within `RADIUS` bits are confirmed if their
   thumbnails correlate by at least `CORRELATION`. This finds images that were re-encoded, resized, mirrored, rotated
   by 90 degrees or made a little brighter or darker.

Not found: crops, other rotations, and copies of images without contrast. Different images of equal parts in one
position may be reported: on the generated sets 8 pairs within a set, none between sets.
"""

import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from edgezsad.data.images import decode_image, open_image, orientation
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import CheckError, InputError
from edgezsad.files import progress, written_beside

SIDE = 32
"""Height and width of a thumbnail."""
LOW = 8
"""Cosine coefficients of the hash in each direction, without the mean."""
RADIUS = 10
"""Largest Hamming distance of a candidate, in bits of 63."""
CORRELATION = 0.99
"""Smallest correlation of the thumbnails of a confirmed pair."""
FLAT = 0.5
"""Standard deviation in grey levels below which a thumbnail is not compared."""

ORIENTATIONS = (
    "re-encoded or resized",
    "mirrored left to right",
    "mirrored top to bottom",
    "rotated by 180 degrees",
    "mirrored and rotated by 90 degrees",
    "rotated by 90 degrees",
    "rotated by 90 degrees",
    "mirrored and rotated by 90 degrees",
)
"""Bits of the index: 4 rows and columns exchanged, then 2 top to bottom, 1 left to right."""

VERSION = 1
"""Of the thumbnails; a cache of another version is not used."""

_SCALE = 32
"""Steps of one standard deviation in a thumbnail."""
_COSINES = np.cos(np.pi / SIDE * np.outer(np.arange(LOW), np.arange(SIDE) + 0.5)).astype(np.float32)
_DECODE_SIDE = 128
_BLOCK = 256


@dataclass(frozen=True)
class Duplicate:
    """A target image and the source image that it is a copy of: indices of the thumbnails."""

    source: int
    target: int
    relation: str
    """One of `ORIENTATIONS`."""
    correlation: float


@dataclass(frozen=True)
class LeakCheck:
    """What was compared, for the book.

    Attributes:
        source_images, target_images: number of images on each side.
        unproven_images: images of both sides without enough contrast for the second comparison.
        candidates: pairs with near hashes; a pair counts once for each orientation.
        overlaps: target images that the source holds; 0, or there would have been an error.
        method: how images are compared.
    """

    source_images: int
    target_images: int
    unproven_images: int
    candidates: int
    overlaps: int = 0
    method: str = (
        f"SHA-256; {LOW * LOW - 1}-bit cosine hash in 8 orientations, within {RADIUS} bits; "
        f"correlation of {SIDE} x {SIDE} thumbnails at least {CORRELATION}"
    )


def shared_files(sources: Sequence[Manifest], targets: Sequence[Manifest]) -> list[tuple[Path, Path]]:
    """Return (source file, target file) for each target image whose file is also in the source."""
    source = {entry.sha256: path for entry, path in reversed(_listed(sources))}
    return [(source[entry.sha256], path) for entry, path in _listed(targets) if entry.sha256 in source]


def _listed(manifests: Sequence[Manifest]) -> list[tuple[Entry, Path]]:
    return [(entry, manifest.path(entry)) for manifest in manifests for entry in manifest.entries]


def check_disjoint(
    sources: Sequence[Manifest], targets: Sequence[Manifest], cache: Path | None = None, workers: int = 1
) -> LeakCheck:
    """Check that no target image is in the source.

    Args:
        sources: manifests of the source.
        targets: manifests of the targets.
        cache: file that keeps thumbnails by content hash, so that an image is decoded only once.
        workers: number of threads.

    Raises:
        CheckError: a target image is in the source; the message names the first pair and the number of pairs.
        InputError: a side has no images, or an image is damaged.
    """
    for side, manifests in (("source", sources), ("target", targets)):
        if not any(manifest.entries for manifest in manifests):
            raise InputError(f"no {side} images to compare; write the manifests with notebook 01_data")
    if same := shared_files(sources, targets):
        _report(*same[0], "same file as the source's", "", len(same))
    thumbnails = read_thumbnails([*sources, *targets], cache, workers)
    listed = _listed(sources), _listed(targets)
    source, target = (np.stack([thumbnails[entry.sha256] for entry, _ in side]) for side in listed)
    found, candidates = near_duplicates(source, target, workers)
    if found:
        pair = listed[0][found[0].source][1], listed[1][found[0].target][1]
        _report(*pair, "copy of the source's", f", {found[0].relation}", len(found))
    flat = int(sum((~side.any(axis=(1, 2))).sum() for side in (source, target)))
    return LeakCheck(len(source), len(target), flat, candidates)


def _report(source: Path, target: Path, what: str, relation: str, number: int) -> None:
    count = f"{number} such target image{'s' if number > 1 else ''}"
    raise CheckError(f"{target}: {what} {source}{relation} ({count}); remove it from the source")


# Thumbnails -----------------------------------------------------------------------------------------------------------


def thumbnail(path: Path | str) -> np.ndarray:
    """Return an image's grey thumbnail with mean 0 and standard deviation `_SCALE`.

    Returns:
        int8 (SIDE, SIDE); zeros if the image has no contrast (see `FLAT`).

    Raises:
        InputError: the image cannot be read.
    """
    with open_image(path) as image:
        if image.format == "JPEG" and image.mode in ("L", "RGB") and orientation(image) == 1:
            # Decoding at a reduced scale rounds the size up; the box is the part that holds the image.
            reduced = image.draft("L", (_DECODE_SIDE, _DECODE_SIDE))
            grey, box = image.convert("L").convert("F"), reduced[1] if reduced else None
        else:
            grey, box = Image.fromarray(decode_image(path)).convert("L").convert("F"), None
        small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))
    deviation = small.std()
    if deviation < FLAT:
        return np.zeros((SIDE, SIDE), dtype=np.int8)
    return np.clip(np.rint((small - small.mean()) * (_SCALE / deviation)), -127, 127).astype(np.int8)


def read_thumbnails(manifests: Sequence[Manifest], cache: Path | None, workers: int) -> dict[str, np.ndarray]:
    """Return every image's thumbnail by content hash; `cache` is read first and written after each data set."""
    known = _read_cache(cache) if cache else {}
    for manifest in manifests:
        new = {entry.sha256: manifest.path(entry) for entry in manifest.entries if entry.sha256 not in known}
        if not new:
            continue
        with ThreadPoolExecutor(max(1, workers)) as pool:
            rows = progress(pool.map(thumbnail, new.values()), f"thumbnails of {manifest.name}", len(new))
            known |= dict(zip(new, rows, strict=True))
        if cache:
            with written_beside(cache) as temporary:
                hashes, small = np.array(list(known)), np.stack(list(known.values()))
                np.savez(temporary, version=VERSION, sha256=hashes, thumbnails=small)
    return known


def _read_cache(path: Path) -> dict[str, np.ndarray]:
    """Return the cached thumbnails; none if the file is missing, damaged or of another version."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            rows = dict(zip(stored["sha256"].tolist(), stored["thumbnails"], strict=True))
            return rows if stored["version"] == VERSION else {}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


# Search ---------------------------------------------------------------------------------------------------------------


def near_duplicates(
    source: np.ndarray,
    target: np.ndarray,
    workers: int = 1,
) -> tuple[list[Duplicate], int]:
    """Find target images that are copies of source images.

    Args:
        source: int8 (N, SIDE, SIDE) thumbnails.
        target: int8 (M, SIDE, SIDE) thumbnails.
        workers: number of threads.

    Returns:
        The most correlated confirmed pair of each such target image, in the targets' order; the number of candidates.
    """
    rows = np.flatnonzero(source.any(axis=(1, 2)))
    codes = hashes(source[rows], [0])[0]
    blocks = np.split(np.arange(len(target)), range(_BLOCK, len(target), _BLOCK))
    found, candidates = [], 0
    with ThreadPoolExecutor(max(1, workers)) as pool:
        searched = pool.map(partial(_search, source, rows, codes, target), blocks)
        for pairs, number in progress(searched, "near-duplicates", len(blocks), "block"):
            found += pairs
            candidates += number
    return found, candidates


def _search(
    source: np.ndarray, rows: np.ndarray, codes: np.ndarray, target: np.ndarray, block: np.ndarray
) -> tuple[list[Duplicate], int]:
    """The best confirmed pair of each target of a block, and the number of candidates."""
    found, candidates = [], 0
    bits, counts = np.empty_like(codes), np.empty(len(codes), dtype=np.uint8)
    wanted = hashes(target[block])
    for position, row in enumerate(block):
        best = None
        for number in range(len(ORIENTATIONS)) if target[row].any() else ():
            np.bitwise_xor(codes, wanted[number, position], out=bits)
            np.bitwise_count(bits, out=counts)
            near = rows[counts <= RADIUS]
            candidates += len(near)
            if not len(near):
                continue
            correlation = _correlation(source[near], oriented(target[row], number))
            top = int(correlation.argmax())
            if correlation[top] >= (CORRELATION if best is None else best.correlation):
                best = Duplicate(int(near[top]), int(row), ORIENTATIONS[number], float(correlation[top]))
        found += [best] if best else []
    return found, candidates


def _correlation(many: np.ndarray, one: np.ndarray) -> np.ndarray:
    """(N,) correlations of thumbnails with one thumbnail; their means are zero but for rounding."""
    flat, single = many.reshape(len(many), -1).astype(np.float32), one.ravel().astype(np.float32)
    return flat @ single / (np.linalg.norm(flat, axis=1) * np.linalg.norm(single))


def oriented(thumbnails: np.ndarray, number: int) -> np.ndarray:
    """(..., SIDE, SIDE) thumbnails in one of the eight `ORIENTATIONS`."""
    if number & 4:
        thumbnails = thumbnails.swapaxes(-1, -2)
    if number & 2:
        thumbnails = thumbnails[..., ::-1, :]
    return thumbnails[..., ::-1] if number & 1 else thumbnails


def hashes(thumbnails: np.ndarray, orientations: Sequence[int] = range(len(ORIENTATIONS))) -> np.ndarray:
    """Return the hash of thumbnails in some orientations.

    A mirror image has the same cosine coefficients with alternating signs, a transposed one has them transposed.

    Args:
        thumbnails: int8 (N, SIDE, SIDE).
        orientations: indices of `ORIENTATIONS`.

    Returns:
        uint64 (len(orientations), N).
    """
    coefficients = _COSINES @ thumbnails.astype(np.float32) @ _COSINES.T
    # Zero but for rounding, for instance in a symmetric image: such a sign would be random.
    coefficients[np.abs(coefficients) < SIDE] = 0
    alternate = np.where(np.arange(LOW) % 2, -1, 1)
    result = np.empty((len(orientations), len(thumbnails)), dtype=np.uint64)
    for position, number in enumerate(orientations):
        signed = coefficients.transpose(0, 2, 1) if number & 4 else coefficients
        signed = signed * alternate[:, None] if number & 2 else signed
        signed = signed * alternate if number & 1 else signed
        bits = signed.reshape(-1, LOW * LOW) > 0
        bits[:, 0] = False
        result[position] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return result
