"""Check a copy of a data set: files against the public list, counts against published numbers, damaged files."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgezsad.data.descriptors import (
    ANY,
    Descriptor,
    count_differences,
    descriptors,
    find_descriptor,
    read_list,
)
from edgezsad.data.images import decode_image, decode_mask
from edgezsad.data.layouts import ImageItem, images_below, is_generated, printable, scan_layout
from edgezsad.errors import CheckError, InputError
from edgezsad.files import progress
from edgezsad.run import Run

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 3
"""Files and differences of each kind that the text names; JSON has all."""

# Kinds of problems.
INVALID = "invalid files, folders or lists"
MISSING = "missing files"
EXTRA = "files that are not in the public list"
DIFFERENT = "images that differ from the public list"
UNREADABLE = "unreadable images"
BAD_MASK = "unusable masks"
EMPTY_MASK = "empty masks of defective images"
NO_MASK = "defective images without a mask"
COUNTS = "numbers of images that differ from the published ones"


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        name: the data set's name, or "any".
        root: the folder.
        quick: whether only names were compared.
        images: number of images found.
        problems: by kind, one line for each file: its path, and a reason where there is one.
        notes: what is unusual but not wrong.
        home: the data set's home page; empty for "any".
    """

    name: str
    root: Path
    quick: bool
    images: int
    problems: dict[str, list[str]]
    notes: list[str]
    home: str = ""

    @property
    def complete(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def as_json(self) -> dict[str, object]:
        """Return everything, for a script."""
        return {**asdict(self), "root": str(self.root), "complete": self.complete}

    def as_text(self) -> str:
        """Return a summary for a terminal."""
        verdict = "complete" if self.complete else "incomplete or damaged"
        how = " by names alone, no file was opened" if self.quick else ""
        lines = [f"{self.name} in {printable(self.root)}: {self.images:,} images, {verdict}{how}"]
        for kind, found in self.problems.items():
            lines.append(f"  {kind}: {len(found):,}")
            lines += [f"    {printable(one)}" for one in found[:SHOWN]]
            if len(found) > SHOWN:
                lines.append(f"    and {len(found) - SHOWN:,} more (--json lists all)")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    def require_complete(self) -> None:
        """Raise CheckError, with one line, if anything is wrong."""
        if not self.complete:
            kinds = ", ".join(f"{kind}: {len(found):,}" for kind, found in self.problems.items())
            remedy = f"get missing or damaged files from {self.home}" if self.home else "fix or remove these files"
            raise CheckError(f"{printable(self.root)}: {kinds}; {remedy}")


def check_dataset(name: str, root: Path | str, quick: bool = False, workers: int = 2) -> CheckReport:
    """Check a copy of a data set.

    Args:
        name: of a descriptor, or "any" for a folder in MVTec layout.
        root: its folder.
        quick: compare names only and open no file.
        workers: number of threads that decode.

    Raises:
        InputError: unknown name; the folder is missing, or holds nothing in that layout.
    """
    root = Path(root)
    descriptor = find_descriptor(name)
    scan = scan_layout(descriptor.layout if descriptor else "mvtec", root)
    public = {item.image: item for item in (read_list(descriptor) if descriptor else None) or ()}
    problems = {INVALID: scan.problems, **_compare_names(root, scan.items, public, descriptor)}
    missing = set(problems[MISSING])
    items = [item for item in scan.items if item.image not in missing]
    items = [replace(item, mask="") if item.mask in missing else item for item in items]
    if not quick:
        items, damaged = _decode_all(root, items, workers)
        problems |= damaged
    without_mask = [item.image for item in items if item.label and not item.mask]
    notes = ["generated images, not the data set itself"] if is_generated(root) else []
    if descriptor is None:
        if without_mask:
            notes.append(f"{NO_MASK}, left out of pixel metrics: {len(without_mask):,}")
    else:
        problems[NO_MASK] = without_mask
        unlabelled = any(item.label is None for item in items)
        problems[COUNTS] = count_differences(descriptor, items, quick=quick and unlabelled)
    if not public and (unread := _unread(root, scan.items, descriptor)):
        notes.append(f"image files that the layout does not read: {len(unread):,} ({printable(unread[0])}, ...)")
    return CheckReport(
        name=descriptor.name if descriptor else ANY,
        root=root,
        quick=quick,
        images=len(items),
        problems={kind: found for kind, found in problems.items() if found},
        notes=notes,
        home=descriptor.home if descriptor else "",
    )


def _files(items: list[ImageItem]) -> set[str]:
    return {path for item in items for path in (item.image, item.mask) if path}


def _unread(root: Path, items: list[ImageItem], descriptor: Descriptor | None) -> list[str]:
    return sorted(set(images_below(root)) - _files(items) - set(descriptor.stray if descriptor else ()))


def _compare_names(
    root: Path, items: list[ImageItem], public: dict[str, ImageItem], descriptor: Descriptor | None
) -> dict[str, list[str]]:
    """Compare the files on disk, the copy's own list and the public list."""
    listed = _files(list(public.values()))
    missing = sorted(path for path in _files(items) | listed if not (root / path).is_file())
    extra = sorted((_files(items) - listed - set(missing)) | set(_unread(root, items, descriptor)) - listed)
    found = {item.image: item for item in items}
    different = []
    for image, stated in public.items():
        item = found.get(image)
        if item is None and image not in missing:
            different.append(f"{image}: not in the copy's own list")
        elif item is not None and (differences := _differences(item, stated)):
            different.append(f"{image}: {differences}")
    return {MISSING: missing, EXTRA: extra if public else [], DIFFERENT: different}


def _differences(item: ImageItem, stated: ImageItem) -> str:
    parts = []
    for name in ("category", "split", "label", "mask"):
        here, there = getattr(item, name), getattr(stated, name)
        # A missing mask is reported as missing; an unknown label is not compared.
        if here not in (None, "", there):
            parts.append(f"{name} {here!r}, expected {there!r}")
    return "; ".join(parts)


def _decode_all(root: Path, items: list[ImageItem], workers: int) -> tuple[list[ImageItem], dict[str, list[str]]]:
    """Decode all images and masks; return the items with their labels, and the problems by kind."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        results = list(progress(pool.map(partial(_decode, root), items), "check", total=len(items)))
    problems = {kind: [line for _, one, line in results if one == kind] for kind in (UNREADABLE, BAD_MASK, EMPTY_MASK)}
    return [item for item, _, _ in results], problems


def _decode(root: Path, item: ImageItem) -> tuple[ImageItem, str, str]:
    """Decode one image and its mask; return the item with its label, and the kind and line of a problem."""
    kind, name = UNREADABLE, item.image
    try:
        shape = decode_image(root / item.image).shape[:2]
        if not item.mask or item.label == 0:
            return item, "", ""
        kind, name = BAD_MASK, item.mask
        defective = bool(decode_mask(root / item.mask, shape).any())
    except InputError as error:
        return item, kind, str(error).removeprefix(f"{root}/")
    if item.label is None:
        return replace(item, label=int(defective)), "", ""
    return item, "" if defective else EMPTY_MASK, name


# Overview of all sets -------------------------------------------------------------------------------------------------


def descriptor_table(where: Run | Mapping[str, Path]) -> "pd.DataFrame":
    """Return one row for each described set: size, licence, home page, and whether it is on this machine.

    Args:
        where: a run, whose profile gives the folders; or folders by the names of descriptors.
    """
    import pandas as pd

    roots = configured_roots(where) if isinstance(where, Run) else where
    rows = []
    for name, descriptor in descriptors().items():
        total, licence = descriptor.expected.total, descriptor.licence
        numbers = {key: total.get(key) for key in ("images", "defective")}
        rows.append(
            {"set": name}
            | {key: "unknown" if number is None else f"{number:,}" for key, number in numbers.items()}
            | {
                "categories": str(len(descriptor.expected.categories)),
                "licence": licence.name,
                "commercial use": {True: "yes", False: "no", None: "not stated"}[licence.commercial_use],
                "where to get it": descriptor.home,
                "on this machine": copy_status(name, roots.get(name)),
            }
        )
    return pd.DataFrame(rows)


def configured_roots(run: Run) -> dict[str, Path]:
    """Return the folders of the described sets that a profile uses, without generated stand-ins."""
    known = descriptors()
    items = [item for item in (*run.profile.data.source, *run.profile.data.targets) if not item.generated]
    named = {item.name if item.name in known else item.stands_for: item for item in items}
    return {
        name: run.profile.data.folder(item)
        for name, item in named.items()
        if name in known and known[name].layout == item.layout
    }


def copy_status(name: str, root: Path | None) -> str:
    """Return the state of a copy, from names alone: "not here", "complete", "incomplete: missing files: 3"."""
    if root is None or not root.is_dir():
        return "not here"
    try:
        report = check_dataset(name, root, quick=True)
    except InputError:
        return "not here"
    if is_generated(root):
        return f"generated stand-in, {report.images:,} images"
    kind, found = next(iter(report.problems.items()), ("", []))
    return "complete" if report.complete else f"incomplete: {kind}: {len(found):,}"
