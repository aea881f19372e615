"""Proof that no target image was trained on: source and target share no file and no picture.

Zero-shot numbers mean nothing when a target image lies in the source. Two comparisons are made: by the hash of the
file's bytes, which finds copies under any name, and by what is to be seen (`edgezsad.data.perceptual`), which finds the
same picture encoded, scaled, mirrored or turned anew. Doubles within the source are allowed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgezsad.data.fingerprints import fingerprints, stacked
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.data.perceptual import (
    LARGEST_RESIDUAL,
    LEAST_CORRELATION,
    METHOD,
    RADIUS,
    at_finer_scale,
    near_duplicates,
)
from edgezsad.errors import CheckError, InputError
from edgezsad.progress import ticker

SMALL = 60
"""Pixels. A copy with a shorter side, saved again with loss, may not be known for one."""
NAMED = 3
"""Unproven images that are named."""


@dataclass(frozen=True)
class Disjoint:
    """What was compared and how, for the book.

    Attributes:
        source_images, target_images: number of images on each side.
        faint_images: images of both sides on which little is to be seen; they are compared by their pixels too.
        unproven_images: images of both sides of which a copy with other pixels may be missed: faint ones that a JPEG of
            quality 75 wipes out, and those with a side below `SMALL` pixels.
        first_unproven: the files of the first of these.
        candidates: pairs whose perceptual hashes are near; a pair counts once for each view.
        near_duplicates: target images of which the source holds the same picture; 0, or there would have been an error.
        overlaps: those, and target images whose file lies in the source; 0 for the same reason.
        method: what was compared.
        radius: largest Hamming distance of a candidate.
        least_correlation, largest_residual: what a candidate must keep to, to be a near-duplicate.
    """

    source_images: int
    target_images: int
    faint_images: int = 0
    unproven_images: int = 0
    first_unproven: str = "none"
    candidates: int = 0
    near_duplicates: int = 0
    overlaps: int = 0
    method: str = METHOD
    radius: int = RADIUS
    least_correlation: float = LEAST_CORRELATION
    largest_residual: float = LARGEST_RESIDUAL


def overlaps(sources: Sequence[Manifest], targets: Sequence[Manifest]) -> list[tuple[Path, Path]]:
    """Target images whose file also lies in the source.

    Returns:
        (source file, target file) in the targets' order: one pair for each such target image, with the first source
        image of that content, so that the list never outgrows the targets.
    """
    first: dict[str, Path] = {}
    for entry, path in _listed(sources):
        first.setdefault(entry.sha256, path)
    return [(first[entry.sha256], path) for entry, path in _listed(targets) if entry.sha256 in first]


def _listed(manifests: Sequence[Manifest]) -> list[tuple[Entry, Path]]:
    """Every image of some manifests, and its file."""
    return [(entry, manifest.path(entry)) for manifest in manifests for entry in manifest.entries]


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
        CheckError: some do; the line names the first pair's files, says what relates the two and how many there are.
        InputError: a side has no images, so that nothing would be proved; or an image is damaged.
    """
    counts = []
    for side, manifests in (("source", sources), ("target", targets)):
        counts.append(sum(len(manifest.entries) for manifest in manifests))
        if not counts[-1]:
            names = ", ".join(manifest.name for manifest in manifests) or "none given"
            raise InputError(f"{names}: no {side} images to compare; write the manifests with notebook 01_data")
    same = overlaps(sources, targets)
    if same:
        _refuse(*same[0], "the same file is in the source as", "", len(same))
    known = fingerprints([*sources, *targets], cache, workers)
    listed = _listed(sources), _listed(targets)
    source, target = (stacked([known[entry.sha256] for entry, _ in side]) for side in listed)
    with ticker("look for near-duplicates") as tick:
        confirm = at_finer_scale(*([path for _, path in side] for side in listed))
        matches, candidates = near_duplicates(source, target, workers, tick, confirm)
    if matches:
        pair = listed[0][matches[0].source][1], listed[1][matches[0].target][1]
        _refuse(*pair, "the same picture is in the source as", f", {matches[0].relation}", len(matches))
    unproven = [
        path
        for side, images in zip(listed, (source, target), strict=True)
        for (entry, path), lost in zip(side, images.lost, strict=True)
        if lost or min(entry.width, entry.height) < SMALL
    ]
    return Disjoint(
        *counts,
        faint_images=int(source.faint.sum() + target.faint.sum()),
        unproven_images=len(unproven),
        first_unproven=", ".join(str(path) for path in unproven[:NAMED]) or "none",
        candidates=candidates,
    )


def _refuse(source: Path, target: Path, what: str, relation: str, number: int) -> None:
    rest = f" ({number} such target image{'s' if number > 1 else ''})"
    raise CheckError(f"{target}: {what} {source}{relation}{rest}; take it out of the source")
