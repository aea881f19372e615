"""Compares a copy of a data set with what is known of it, by names alone: nothing is opened."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from edgezsad.data.descriptors import Counts, Descriptor, descriptors, read_list
from edgezsad.data.folders import IMAGE_ENDINGS, refuse_links_out
from edgezsad.data.layouts import LAYOUTS, Found
from edgezsad.errors import InputError
from edgezsad.run import Run


@dataclass(frozen=True)
class Copy:
    """A copy as it lies on disk. All names are relative to `root`, with forward slashes.

    Attributes:
        found: the images that are there, as the layout describes them; a mask that is not there is left out.
        missing: images and masks that the set's own list or the public list names and that are not there.
        other_case: (name in the public list, name on disk), where only upper and lower case differ.
        extra: images and masks that the layout reads, but that the public list does not name.
        unread: files with an image's ending that the layout does not read.
        damage: why the layout could not be read to its end, or a link that leads out of the folder; empty when all
            could be read.
    """

    root: Path
    found: tuple[Found, ...]
    missing: tuple[str, ...]
    other_case: tuple[tuple[str, str], ...]
    extra: tuple[str, ...]
    unread: tuple[str, ...]
    damage: str


def scan(descriptor: Descriptor | None, root: Path | str) -> Copy:
    """Compare the names below `root` with the descriptor's list; without a descriptor the layout is MVTec's.

    Raises:
        InputError: the folder is missing, or holds nothing in that layout.
    """
    root = Path(root)
    name = descriptor.layout if descriptor else "mvtec"
    layout = LAYOUTS[name]
    if not root.is_dir():
        problem = "not a folder" if root.exists() else "no such folder"
        raise InputError(f"{root}: {problem}; give the folder that the data set was unpacked into")
    described, damage = _described(name, root)
    listed = read_list(descriptor) if descriptor else None
    on_disk = _image_files(root)

    def is_there(path: str) -> bool:
        # The second question is for folders that are links, which the walk does not enter.
        return path in on_disk or (root / path).is_file()

    read = {path for one in described for path in (one.image, one.mask) if path}
    wanted = {path for one in listed or () for path in (one.image, one.mask) if path}
    missing = {path for path in read | wanted if not is_there(path)}
    if not (read | wanted) - missing:
        problem = damage or f"{root}: no images found"
        raise InputError(f"{problem}; expected {name} layout: {layout.expected}{_hint(name, root)}")
    other_case = _other_case(wanted - on_disk, on_disk - wanted)
    stray = set(descriptor.stray) if descriptor else set()
    return Copy(
        root=root,
        found=tuple(
            one if not one.mask or one.mask not in missing else replace(one, mask="")
            for one in sorted(described, key=lambda one: one.image)
            if one.image not in missing
        ),
        missing=tuple(sorted(missing - other_case.keys())),
        other_case=tuple(sorted(other_case.items())),
        extra=tuple(sorted(read - wanted - missing - set(other_case.values()))) if listed else (),
        unread=tuple(sorted(on_disk - read - wanted - stray - set(other_case.values()))),
        damage=damage,
    )


def _described(layout: str, root: Path) -> tuple[list[Found], str]:
    """What the layout finds, up to the first thing that it can not read, and what that was."""
    found: list[Found] = []
    try:
        # One at a time, so that what came before the damage is kept.
        for one in LAYOUTS[layout].find(root):
            found.append(one)
        refuse_links_out(root, (name for one in found for name in (one.image, one.mask) if name))
    except InputError as error:
        return found, str(error)
    except OSError as error:
        return found, f"{error.filename or root}: {error.strerror or error}"
    return found, ""


def _image_files(root: Path) -> set[str]:
    """Every file below `root` that has an image's ending and is not hidden; folders that are links are not entered."""
    found = set()
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        place = Path(folder).relative_to(root)
        for name in files:
            if name.lower().endswith(IMAGE_ENDINGS) and not name.startswith("."):
                found.add((place / name).as_posix())
    return found


def _other_case(wanted: Iterable[str], there: Iterable[str]) -> dict[str, str]:
    """Wanted names that are there in another case, for instance after a copy through an old file system."""
    folded = {path.casefold(): path for path in there}
    return {path: folded[path.casefold()] for path in wanted if path.casefold() in folded}


def _hint(layout: str, root: Path) -> str:
    """Where the data set is, when it is one folder further down."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if any((folder / one.image).is_file() for one in _described(layout, folder)[0][:1]):
            return f"; did you mean {folder}?"
    return ""


def tally(found: Iterable[Found]) -> dict[str, Counter[str]]:
    """Numbers of images by category, under the names of `Counts`.

    Images whose label only their mask tells are counted as `train_unlabelled` and `test_unlabelled`.
    """
    counts: dict[str, Counter[str]] = {}
    for one in found:
        kind = {None: "unlabelled", 0: "normal", 1: "defective"}[one.label]
        category = counts.setdefault(one.category, Counter())
        category.update([f"{one.split}_{kind}", "images", one.split])
        if one.label:
            category.update(["defective"] + (["with_mask"] if one.mask else []))
    return counts


def expected_number(counts: Counts, column: str) -> int | None:
    """A descriptor's number, also for `train` and `test`, all images of a split; None where unknown."""
    if column in ("train", "test"):
        parts = [counts.get(f"{column}_{label}") for label in ("normal", "defective")]
        return None if None in parts else sum(parts)
    return counts.get(column)


# What a page shows of all sets ----------------------------------------------------------------------------------------


def descriptor_table(where: Run | Mapping[str, Path]) -> pd.DataFrame:
    """One row for each described set: its size, its licence, where to get it, and whether it is on this machine.

    Args:
        where: a run, whose profile names the folders; or folders by the names of descriptors.
    """
    roots = configured_roots(where) if isinstance(where, Run) else where
    rows = []
    for name, descriptor in descriptors().items():
        licence = descriptor.licence
        rows.append(
            {
                "set": name,
                "images": _number(descriptor.expected.total.get("images")),
                "defective": _number(descriptor.expected.total.get("defective")),
                "categories": str(len(descriptor.expected.categories)),
                "licence": licence.name,
                "commercial use": {True: "yes", False: "no", None: "not stated"}[licence.commercial_use],
                "where to get it": descriptor.home,
                "on this machine": status(descriptor, roots.get(name)),
            }
        )
    return pd.DataFrame(rows)


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def configured_roots(run: Run) -> dict[str, Path]:
    """Folders of the described sets that a profile names, or that a set of the profile stands for.

    Generated sets are left out: they stand for a benchmark and are not a copy of it.
    """
    data = run.profile.data
    known = descriptors()
    roots = {}
    for item in (*data.source, *data.targets):
        name = item.name if item.name in known else item.stands_for
        if name in known and not item.generated and known[name].layout == item.layout:
            roots[name] = data.folder(item)
    return roots


def status(descriptor: Descriptor, root: Path | None) -> str:
    """In a few words, by names alone: "not here", "here, complete", "here, 3 files missing"."""
    if root is None or not root.is_dir():
        return "not here"
    try:
        copy = scan(descriptor, root)
    except InputError:
        return "not here"
    missing = len(copy.missing) + len(copy.other_case)
    if descriptor.file_list is None:
        total = descriptor.expected.total.get("images")
        if total is None and not missing and not copy.damage:
            return f"here, {len(copy.found):,} images (how many there should be is unknown)"
        # A set's own list may name what is missing; where there is no such list, only the number shows it.
        missing = max(missing, (total or 0) - len(copy.found))
        if total is not None and len(copy.found) > total:
            return f"here, {len(copy.found) - total:,} files too many"
    if missing:
        return f"here, {missing:,} file{'s' * (missing != 1)} missing"
    if copy.extra:
        return f"here, {len(copy.extra):,} file{'s' * (len(copy.extra) != 1)} too many"
    return "here, not readable" if copy.damage else "here, complete"
