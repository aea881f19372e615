"""Proof that no target image was trained on: source and target share no file and no picture.

Zero-shot numbers mean nothing when a target image lies in the source. Two comparisons are made: by the hash of the
file's bytes, which finds copies under any name, and by what is to be seen (`edgezsad.data.perceptual`), which finds the
same picture encoded, scaled, mirrored or turned anew. Doubles within the source are allowed.
"""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edgezsad.data.manifest import Manifest
from edgezsad.data.perceptual import (
    LARGEST_RESIDUAL,
    LEAST_CORRELATION,
    METHOD,
    RADIUS,
    SIDE,
    VIEWS,
    Fingerprints,
    agreement,
    fingerprint,
    hashes,
    near,
    view,
)
from edgezsad.errors import CheckError, InputError
from edgezsad.files import written_beside
from edgezsad.progress import progress, ticker

_BLOCK = 64
"""Targets searched for at a time: where thousands of parts look alike, their candidates still fit in memory."""
_PAIRS = 2048
"""Candidates verified at a time."""


@dataclass(frozen=True)
class Disjoint:
    """What was compared and how, for the book.

    Attributes:
        source_images, target_images: number of images on each side.
        flat_images: images of both sides on which nothing is to be seen; compared by their pixels.
        candidates: pairs whose perceptual hashes are near; a pair counts once for each view.
        near_duplicates: target images of which the source holds the same picture; 0, or there would have been an error.
        overlaps: those, and target images whose file lies in the source; 0 for the same reason.
        method: what was compared.
        radius: largest Hamming distance of a candidate.
        least_correlation, largest_residual: what a candidate must keep to, to be a near-duplicate.
    """

    source_images: int
    target_images: int
    flat_images: int = 0
    candidates: int = 0
    near_duplicates: int = 0
    overlaps: int = 0
    method: str = METHOD
    radius: int = RADIUS
    least_correlation: float = LEAST_CORRELATION
    largest_residual: float = LARGEST_RESIDUAL


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


def overlaps(sources: Sequence[Manifest], targets: Sequence[Manifest]) -> list[tuple[str, str]]:
    """Target images whose file also lies in the source.

    Returns:
        (source image, target image), each as "DATA SET/id", in the targets' order: one pair for each such target
        image, with the first source image of that content, so that the list never outgrows the targets.
    """
    first: dict[str, str] = {}
    for source in sources:
        for entry in source.entries:
            first.setdefault(entry.sha256, f"{source.name}/{entry.id}")
    return [
        (first[entry.sha256], f"{target.name}/{entry.id}")
        for target in targets
        for entry in target.entries
        if entry.sha256 in first
    ]


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
    wanted = hashes(target.small[rows]).reshape(4, -1)
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


def check_disjoint(
    sources: Sequence[Manifest], targets: Sequence[Manifest], cache: Path | None = None, workers: int = 1
) -> Disjoint:
    """Check that no target image lies in the source, as a file or as a picture.

    Args:
        sources: one side.
        targets: the other.
        cache: a file that keeps fingerprints by content hash, so that an image is decoded for this only once.
        workers: threads.

    Raises:
        CheckError: some do; the line names the first pair, says what relates the two and how many there are.
        InputError: a side has no images, so that nothing would be proved; or an image is damaged.
    """
    counts = []
    for side, manifests in (("source", sources), ("target", targets)):
        counts.append(sum(len(manifest.entries) for manifest in manifests))
        if not counts[-1]:
            names = ", ".join(manifest.name for manifest in manifests) or "none given"
            raise InputError(f"{names}: no {side} images to compare; run notebook 01_data to write the manifests")
    same = overlaps(sources, targets)
    if same:
        _refuse(*same[0], "the same file is in the source as", "", len(same))
    known = _fingerprints([*sources, *targets], cache, workers)
    sides = []
    for manifests in (sources, targets):
        entries = [
            (entry.sha256, f"{manifest.name}/{entry.id}") for manifest in manifests for entry in manifest.entries
        ]
        sides.append((_stacked([known[sha256] for sha256, _ in entries]), [name for _, name in entries]))
    (source, source_names), (target, target_names) = sides
    with ticker("look for near-duplicates") as tick:
        matches, candidates = near_duplicates(source, target, workers, tick)
    if matches:
        pair = source_names[matches[0].source], target_names[matches[0].target]
        _refuse(*pair, "the same picture is in the source as", f", {matches[0].relation}", len(matches))
    return Disjoint(*counts, flat_images=int(source.flat.sum() + target.flat.sum()), candidates=candidates)


def _refuse(source: str, target: str, what: str, relation: str, number: int) -> None:
    rest = f" ({number} such target image{'s' if number > 1 else ''})"
    raise CheckError(f"{target}: {what} {source}{relation}{rest}; take it out of the source")


# Fingerprints by content hash -----------------------------------------------------------------------------------------

Row = tuple[np.ndarray, float, np.ndarray]


def _stacked(rows: Sequence[Row]) -> Fingerprints:
    small, change, pixels = zip(*rows, strict=True)
    return Fingerprints(np.stack(small), np.array(change, dtype=np.float32), np.stack(pixels))


def _fingerprints(manifests: Sequence[Manifest], cache: Path | None, workers: int) -> dict[str, Row]:
    """Every image's fingerprint, by content hash; the cache is written after every data set that had new ones."""
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
    rows = _stacked(list(known.values()))
    with written_beside(path) as temporary:
        np.savez(
            temporary, method=METHOD, sha256=np.array(list(known)),
            small=rows.small, change=rows.change, pixels=rows.pixels,
        )  # fmt: skip


def _read_cache(path: Path) -> dict[str, Row]:
    """What the cache knows; nothing when it is missing, damaged or of another method: it is then made anew."""
    return dict(_rows(path))


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["method"]) != METHOD:
                return
            columns = [stored[name] for name in ("sha256", "small", "change", "pixels")]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return
    shapes = [(SIDE, SIDE), (), (32,)]
    if any(column.shape != (len(columns[0]), *shape) for column, shape in zip(columns[1:], shapes, strict=True)):
        return
    for sha256, small, change, pixels in zip(*columns, strict=True):
        yield str(sha256), (small, float(change), pixels)
