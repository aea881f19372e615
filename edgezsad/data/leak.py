"""Proof that no target image was trained on: source and target share no file and no picture.

Zero-shot numbers mean nothing when a target image lies in the source. Two comparisons are made: by the hash of the
file's bytes, which finds copies under any name, and by what is to be seen (`edgezsad.data.perceptual`), which finds the
same picture encoded, scaled, mirrored or turned anew. Doubles within the source are allowed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgezsad.data.fingerprints import fingerprints, stacked
from edgezsad.data.manifest import Manifest
from edgezsad.data.perceptual import LARGEST_RESIDUAL, LEAST_CORRELATION, METHOD, RADIUS, near_duplicates
from edgezsad.errors import CheckError, InputError
from edgezsad.progress import ticker


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
    known = fingerprints([*sources, *targets], cache, workers)
    sides = []
    for manifests in (sources, targets):
        entries = [
            (entry.sha256, f"{manifest.name}/{entry.id}") for manifest in manifests for entry in manifest.entries
        ]
        sides.append((stacked([known[sha256] for sha256, _ in entries]), [name for _, name in entries]))
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
