"""Compares a copy of a data set with what is known of it, by names alone: nothing is opened."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from edgezsad.data.descriptors import Counts, Descriptor, Listed, descriptors, read_list
from edgezsad.data.folders import Problem, all_images, folders, is_file, is_generated, refuse_links_out, shown
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
        extra: images and masks that the public list does not name.
        otherwise: (image, in what its own list, or its folder, contradicts the public list).
        unread: without a public list, files with an image's ending that the layout does not read.
        refused: in one line each, what an index of the copy would refuse.
        whole: whether the layout could be read to its end; otherwise `found` lacks what came behind.
    """

    root: Path
    found: tuple[Found, ...]
    missing: tuple[str, ...]
    other_case: tuple[tuple[str, str], ...]
    extra: tuple[str, ...]
    otherwise: tuple[tuple[str, str], ...]
    unread: tuple[str, ...]
    refused: tuple[str, ...]
    whole: bool


def scan(descriptor: Descriptor | None, root: Path | str) -> Copy:
    """Compare the names below `root` with the descriptor's list; without a descriptor the layout is MVTec's.

    Raises:
        InputError: the folder is missing, or holds nothing in that layout.
    """
    root = Path(root)
    name = descriptor.layout if descriptor else "mvtec"
    if not root.is_dir():
        problem = "not a folder" if root.exists() else "no such folder"
        raise InputError(f"{shown(root)}: {problem}; give the folder that the data set was unpacked into")
    problems: list[InputError] = []
    on_disk = all_images(root, problems.append)
    described, whole = _described(name, root, problems)
    listed = read_list(descriptor) if descriptor else None
    read = {path for one in described for path in (one.image, one.mask) if path}
    wanted = {path for one in listed or () for path in (one.image, one.mask) if path}
    # The second question is for folders that are links, which the walk does not enter.
    missing = {path for path in read | wanted if path not in on_disk and not is_file(root / path)}
    if not (read | wanted) - missing:
        raise _nothing_found(name, root, problems)
    other_case = _other_case(wanted - on_disk, on_disk - wanted)
    stray = set(descriptor.stray) if descriptor else set()
    named = {one.path.relative_to(root).as_posix() for one in problems if isinstance(one, Problem)}
    beside = (on_disk | read) - wanted - missing - stray - set(other_case.values()) - named
    unlisted = on_disk - read - named if whole else set()
    return Copy(
        root=root,
        found=tuple(
            one if not one.mask or one.mask not in missing else replace(one, mask="")
            for one in sorted(described, key=lambda one: one.image)
            if one.image not in missing
        ),
        missing=tuple(sorted(missing - other_case.keys())),
        other_case=tuple(sorted(other_case.items())),
        extra=tuple(sorted(beside)) if listed else (),
        otherwise=tuple(sorted(_otherwise(described, listed or (), unlisted))),
        unread=() if listed else tuple(sorted(beside - read)),
        # Once each: the same folder may have been looked into more than once.
        refused=tuple(dict.fromkeys(str(one).removeprefix(f"{shown(root)}/") for one in problems)),
        whole=whole,
    )


def _described(layout: str, root: Path, problems: list[InputError]) -> tuple[list[Found], bool]:
    """What the layout finds, and whether it could be read to its end; what is wrong is added to `problems`."""
    found: list[Found] = []
    whole = True
    try:
        # One at a time, so that what came before the end is kept.
        for one in LAYOUTS[layout].find(root, problems.append):
            found.append(one)
    except InputError as error:
        problems.append(error)
        whole = False
    except OSError as error:
        problems.append(InputError(f"{shown(error.filename or root)}: {error.strerror or error}"))
        whole = False
    refuse_links_out(root, (name for one in found for name in (one.image, one.mask) if name), problems.append)
    return found, whole


def _otherwise(described: Iterable[Found], listed: Iterable[Listed], unlisted: set[str]) -> Iterator[tuple[str, str]]:
    """Images with what is said of them in the copy, where the public list says something else."""
    public = {one.image: one for one in listed}
    for one in described:
        if one.image not in public:
            continue
        row = public[one.image]
        labels = ["normal", "defective"]
        pairs = [(one.category, row.category), (one.split, row.split)]
        # A mask that is not there is missing; one in another case is named so.
        pairs += [(one.mask, row.mask or "no mask")] if one.mask.casefold() != row.mask.casefold() and one.mask else []
        pairs += [] if one.label is None else [(labels[one.label], labels[row.label])]
        if differing := [f"{here}, not {there}" for here, there in pairs if here != there]:
            yield one.image, "; ".join(differing)
    for image in public.keys() & unlisted:
        yield image, "left out of the set's own list"


def _nothing_found(layout: str, root: Path, problems: list[InputError]) -> InputError:
    """The error of a folder without images; only where nothing in it is damaged, another one may have been meant."""
    damaged = any(isinstance(one, Problem) for one in problems)
    problem = str(problems[0]) if problems else f"{shown(root)}: no images found"
    hint = "" if damaged else _hint(layout, root)
    return InputError(f"{problem}; expected {layout} layout: {LAYOUTS[layout].expected}{hint}")


def _other_case(wanted: Iterable[str], there: Iterable[str]) -> dict[str, str]:
    """Wanted names that are there in another case, for instance after a copy through an old file system."""
    folded = {path.casefold(): path for path in there}
    return {path: folded[path.casefold()] for path in wanted if path.casefold() in folded}


def _hint(layout: str, root: Path) -> str:
    """Where the data set is, when it is one folder further down."""
    ignored: list[InputError] = []
    for folder in folders(root, ignored.append):
        if any(is_file(folder / one.image) for one in _described(layout, folder, ignored)[0][:1]):
            return f"; did you mean {shown(folder)}?"
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
    if not copy.whole:
        return "here, not readable"
    if is_generated(copy.root):
        return f"{len(copy.found):,} generated images; not the set"
    missing = len(copy.missing) + len(copy.other_case)
    if descriptor.file_list is None:
        total = descriptor.expected.total.get("images")
        if total is None and not missing and not copy.refused:
            return f"here, {len(copy.found):,} images (how many there should be is unknown)"
        # A set's own list may name what is missing; where there is no such list, only the number shows it.
        missing = max(missing, (total or 0) - len(copy.found))
        if total is not None and len(copy.found) > total:
            return f"here, {len(copy.found) - total:,} files too many"
    if missing:
        return f"here, {missing:,} file{'s' * (missing != 1)} missing"
    if copy.extra:
        return f"here, {len(copy.extra):,} file{'s' * (len(copy.extra) != 1)} too many"
    if copy.otherwise:
        return "here, with another list than the public one"
    return "here, damaged" if copy.refused else "here, complete"
