"""Proof that no target image was trained on: source and target share no file content.

Zero-shot numbers mean nothing when a target image lies in the source. The comparison is by the hash of the file's
bytes, so it finds copies under any name; it does not find the same picture encoded, cut or scaled anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgezsad.data.manifest import Manifest
from edgezsad.errors import CheckError, InputError


@dataclass(frozen=True)
class Disjoint:
    """What was compared, for the book.

    Attributes:
        source_images, target_images: number of images on each side.
        overlaps: number of target images that also lie in the source; 0, or there would have been an error.
    """

    source_images: int
    target_images: int
    overlaps: int = 0


def overlaps(sources: Sequence[Manifest], targets: Sequence[Manifest]) -> list[tuple[str, str]]:
    """Target images whose content also lies in the source.

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


def check_disjoint(sources: Sequence[Manifest], targets: Sequence[Manifest]) -> Disjoint:
    """Check that no target image lies in the source.

    Raises:
        CheckError: some do; the line names the first pair and says how many there are.
        InputError: a side has no images, so that nothing would be proved.
    """
    counts = []
    for side, manifests in (("source", sources), ("target", targets)):
        counts.append(sum(len(manifest.entries) for manifest in manifests))
        if not counts[-1]:
            names = ", ".join(manifest.name for manifest in manifests) or "none given"
            raise InputError(f"{names}: no {side} images to compare; run notebook 01_data to write the manifests")
    found = overlaps(sources, targets)
    if found:
        (source, target), number = found[0], len(found)
        rest = f" ({number} such target image{'s' if number > 1 else ''})"
        raise CheckError(f"{target}: the same file is in the source as {source}{rest}; take it out of the source")
    return Disjoint(*counts)
