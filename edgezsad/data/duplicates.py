"""Leak check: does the source hold a target image, as the same file or as a copy with other pixels?

1. SHA-256 of the files finds the same file under any name.
2. Near-duplicates: the signs of the lowest cosine coefficients of a 32 x 32 grey thumbnail make a 63-bit hash. All
   pairs are compared, in the eight orientations of a square; pairs within `RADIUS` bits are confirmed if their
   thumbnails correlate by at least `CORRELATION`. This finds images that were re-encoded, resized, mirrored, rotated
   by 90 degrees or made a little brighter or darker.

Not found: crops, other rotations, and copies of images without contrast. Different images of equal parts in one
position may be reported.
"""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from edgezsad.data.images import decode_image, open_image, orientation
from edgezsad.data.manifest import Manifest
from edgezsad.errors import CheckError, InputError
from edgezsad.files import progress

SIDE = 32  # height and width of a thumbnail
LOW = 8  # cosine coefficients of the hash in each direction, without the mean
RADIUS = 10  # largest Hamming distance of a candidate, in bits of 63
CORRELATION = 0.99  # smallest correlation of the thumbnails of a confirmed pair
FLAT = 0.5  # standard deviation in grey levels below which a thumbnail is not compared
ORIENTATIONS = 8
"""Bits of their numbers: 4 rows and columns exchanged, then 2 top to bottom, 1 left to right."""
METHOD = (
    f"SHA-256; {LOW * LOW - 1}-bit cosine hash in {ORIENTATIONS} orientations, within {RADIUS} bits; "
    f"correlation of {SIDE} x {SIDE} thumbnails at least {CORRELATION}"
)
_SCALE = 32  # steps of one standard deviation in a thumbnail
_COSINES = np.cos(np.pi / SIDE * np.outer(np.arange(LOW), np.arange(SIDE) + 0.5)).astype(np.float32)


@dataclass(frozen=True)
class Duplicate:
    """Indices of a source image and of the target image that is its copy, in one of the eight orientations."""

    source: int
    target: int
    relation: str
    correlation: float


def check_disjoint(sources: Sequence[Manifest], targets: Sequence[Manifest], workers: int = 1) -> dict[str, object]:
    """Check that no target image is in the source; CheckError names the first pair and the number of pairs.

    Returns:
        What was compared: numbers of images, of those without enough contrast for the second comparison, and of
        candidates (pairs with near hashes; a pair counts once for each orientation).
    """
    source, target = (
        [(entry.sha256, manifest.root / entry.id) for manifest in manifests for entry in manifest.entries]
        for manifests in (sources, targets)
    )
    if not source or not target:
        raise InputError("no source images or no target images; write the manifests with notebook 01_data")
    first = dict(reversed(source))
    _reject([(first[digest], path, "the same file") for digest, path in target if digest in first])
    paths = {entry.sha256: manifest.path(entry) for manifest in (*sources, *targets) for entry in manifest.entries}
    with ThreadPoolExecutor(max(1, workers)) as pool:
        thumbnails = dict(
            zip(paths, progress(pool.map(thumbnail, paths.values()), "thumbnails", len(paths)), strict=True)
        )
    sides = [np.stack([thumbnails[digest] for digest, _ in side]) for side in (source, target)]
    found, candidates = near_duplicates(*sides, workers)
    _reject([(source[one.source][1], target[one.target][1], one.relation) for one in found])
    flat = int(sum((~side.any(axis=(1, 2))).sum() for side in sides))
    counts = {"source_images": len(source), "target_images": len(target), "unproven_images": flat}
    # Target images that the source holds would have been an error.
    return counts | {"candidates": candidates, "overlaps": 0, "method": METHOD}


def _reject(pairs: list[tuple[Path, Path, str]]) -> None:
    """Raise CheckError if there is any pair of a source, a target and their relation."""
    for source, target, relation in pairs[:1]:
        count = f"{len(pairs)} such target image{'s' if len(pairs) > 1 else ''}"
        raise CheckError(f"{target}: copy of the source's {source}, {relation} ({count}); remove it from the source")


def thumbnail(path: Path | str) -> np.ndarray:
    """Return an image's grey thumbnail, int8 (SIDE, SIDE), mean 0, deviation `_SCALE`; all 0 if it is `FLAT`."""
    with open_image(path) as image:
        reduced = None
        if image.format == "JPEG" and image.mode in ("L", "RGB") and orientation(image) == 1:
            reduced = image.draft("L", (4 * SIDE, 4 * SIDE))
        grey = (image if reduced else Image.fromarray(decode_image(path))).convert("L").convert("F")
        # Decoding at a reduced scale rounds the size up; the box is the part that holds the image.
        box = reduced[1] if reduced else None
        small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))
    scale = _SCALE / small.std() if small.std() >= FLAT else 0
    return np.clip(np.rint((small - small.mean()) * scale), -127, 127).astype(np.int8)


def near_duplicates(source: np.ndarray, target: np.ndarray, workers: int = 1) -> tuple[list[Duplicate], int]:
    """Find target images that are copies of source images, by their int8 (N, SIDE, SIDE) thumbnails.

    Returns the most correlated pair of each such target image, in the targets' order, and the number of candidates.
    """
    rows = np.flatnonzero(source.any(axis=(1, 2)))
    codes = hashes(source[rows])[0]

    def search(row: int) -> tuple[list[Duplicate], int]:
        """The best confirmed pair of one target image, if any, and the number of candidates."""
        best, candidates = None, 0
        for number, code in enumerate(hashes(target[row : row + 1])[:, 0] if target[row].any() else ()):
            near = rows[np.bitwise_count(codes ^ code) <= RADIUS]
            candidates += len(near)
            for one in near:
                # The correlation, as the means are zero but for rounding.
                first, second = source[one].astype(np.float32), oriented(target[row], number).astype(np.float32)
                correlation = float((first * second).sum() / (np.linalg.norm(first) * np.linalg.norm(second)))
                if correlation >= (best.correlation if best else CORRELATION):
                    relation = "rotated or mirrored" if number else "re-encoded or resized"
                    best = Duplicate(int(one), row, relation, correlation)
        return [best] if best else [], candidates

    with ThreadPoolExecutor(max(1, workers)) as pool:
        results = progress(pool.map(search, range(len(target))), "near-duplicates", len(target))
        found, candidates = zip(*results, strict=True)
    return list(itertools.chain(*found)), sum(candidates)


def oriented(thumbnails: np.ndarray, number: int) -> np.ndarray:
    """Return (..., SIDE, SIDE) thumbnails in one of the eight orientations."""
    thumbnails = thumbnails.swapaxes(-1, -2) if number & 4 else thumbnails
    thumbnails = thumbnails[..., ::-1, :] if number & 2 else thumbnails
    return thumbnails[..., ::-1] if number & 1 else thumbnails


def hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Return the hashes of N thumbnails in all orientations, uint64 (8, N).

    A mirror image has the same cosine coefficients with alternating signs, a transposed one has them transposed.
    """
    coefficients = _COSINES @ thumbnails.astype(np.float32) @ _COSINES.T
    # Zero but for rounding, for instance in a symmetric image: such a sign would be random.
    coefficients[np.abs(coefficients) < SIDE] = 0
    alternate = np.where(np.arange(LOW) % 2, -1, 1)
    result = np.empty((ORIENTATIONS, len(thumbnails)), dtype=np.uint64)
    for number in range(ORIENTATIONS):
        signed = coefficients.transpose(0, 2, 1) if number & 4 else coefficients
        signed = signed * (alternate[:, None] if number & 2 else 1) * (alternate if number & 1 else 1)
        bits = signed.reshape(-1, LOW * LOW) > 0
        bits[:, 0] = False
        result[number] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return result
