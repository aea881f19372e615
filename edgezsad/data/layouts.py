"""From a folder in a benchmark's layout to a manifest.

Every benchmark keeps its images, splits, labels and masks in another way. One small function for each layout says what
it found; one shared step then checks, measures and hashes the files. Nothing after this module knows of layouts.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgezsad.config import DataSet
from edgezsad.data import adapters
from edgezsad.data.adapters import Found
from edgezsad.data.folders import IMAGE_ENDINGS, Problem, folders, refuse_links_out, shown
from edgezsad.data.images import decode_mask, measure, measure_mask
from edgezsad.data.manifest import NORMAL, Entry, Manifest, name_problem
from edgezsad.errors import InputError

__all__ = ["IMAGE_ENDINGS", "LAYOUTS", "NORMAL", "Found", "Layout", "fingerprint", "index", "read_entry"]


@dataclass(frozen=True)
class Layout:
    """A layout: how to read it, and what to tell a user whose folder is not in it.

    Attributes:
        find: called with the folder and with a `Tell`; without one it refuses what it would tell.
        expected: how its files lie, in words.
    """

    find: Callable[..., Iterable[Found]]
    expected: str


Choose = Callable[[list[Found]], list[Found]]
"""Keeps some of the images that a layout found."""


def index(
    item: DataSet,
    root: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    measured: Callable[[Path, Found], Entry] | None = None,
    choose: Choose | None = None,
) -> Manifest:
    """List a data set: find its images, then measure and hash every file.

    Args:
        item: the data set's name, layout and, where only some are wanted, categories.
        root: its folder.
        workers: number of threads that read files.
        progress: called as (images done, images in all) after every image, in the caller's thread.
        measured: takes the place of `read_entry`, for instance to look an image up before reading it.
        choose: keeps some of what the layout found, in any order; all when left out.

    Returns:
        The manifest, in the order of the ids.

    Raises:
        InputError: the folder is missing, holds no images in that layout, or lacks a wanted category; a list or a
            link points outside the folder; an image or a mask is listed twice, or one as the other; a file is missing
            or is no image, or is an image where the layout has none; a mask and its image differ in size.
    """
    root = Path(root)
    layout = LAYOUTS[item.layout]
    wanted = f"expected {item.layout} layout: {layout.expected}"
    if not root.is_dir():
        raise InputError(f"{shown(root)}: {'not a folder' if root.exists() else 'no such folder'}; {wanted}")
    try:
        found = sorted(layout.find(root), key=lambda one: one.image)
    except OSError as error:
        problem = f"{shown(error.filename or root)}: {error.strerror or error}"
        raise InputError(f"{problem}; {wanted}{_nested(layout, root)}") from None
    if not found:
        raise InputError(f"{shown(root)}: no images found; {wanted}{_nested(layout, root)}")
    _check_names(root, found)
    if item.categories is not None:
        there = {one.category for one in found}
        unknown = [name for name in item.categories if name not in there]
        if unknown:
            raise InputError(f"{shown(root)}: no category {', '.join(unknown)}; choose from {', '.join(sorted(there))}")
        found = [one for one in found if one.category in item.categories]
    if choose is not None:
        found = sorted(choose(found), key=lambda one: one.image)
    refuse_links_out(root, (name for one in found for name in (one.image, one.mask) if name))
    return Manifest(item.name, root, tuple(_measured(root, found, workers, progress, measured or read_entry)))


def _nested(layout: Layout, root: Path) -> str:
    """A hint, when the set lies one folder further down, as archives are often unpacked."""
    for folder in folders(root):
        try:
            if any(True for _ in itertools.islice(layout.find(folder), 1)):
                return f"; did you mean {shown(folder)}?"
        except (InputError, OSError):
            continue
    return ""


def _check_names(root: Path, found: list[Found]) -> None:
    """Every image and every mask once, under names that a manifest can hold; `found` is in the order of the images."""
    for one in found:
        for name in (one.image, one.mask, one.category, one.defect):
            if problem := name_problem(name):
                raise Problem(root / one.image, f"the name {problem}; rename the file")
    both = {one.image for one in found} & {one.mask for one in found}
    if both:
        raise Problem(root / min(both), "is an image and a mask at once; mend the data set's list")
    masks = sorted((one.mask, one.image) for one in found if one.mask)
    for before, after in itertools.pairwise(found):
        if before.image == after.image:
            raise Problem(root / after.image, "listed twice; mend the data set's list")
    for (mask, image), (next_mask, next_image) in itertools.pairwise(masks):
        if mask == next_mask:
            both_images = f"{shown(image)} and {shown(next_image)}"
            raise Problem(root / mask, f"the mask of both {both_images}; give each its own")


def _measured(
    root: Path,
    found: list[Found],
    workers: int,
    progress: Callable[[int, int], None] | None,
    measured: Callable[[Path, Found], Entry],
) -> Iterator[Entry]:
    """The entries, in the order of `found`. Threads do, because reading and hashing let go of the interpreter."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        # The first error ends the map, which then drops what has not begun.
        results = pool.map if workers > 1 else map
        for done, entry in enumerate(results(partial(measured, root), found), start=1):
            if progress is not None:
                progress(done, len(found))
            yield entry


def read_entry(root: Path, found: Found) -> Entry:
    """Open and hash one image and its mask."""
    height, width, sha256 = measure(root / found.image)
    label, mask, mask_sha256 = found.label, found.mask, ""
    if label is None:
        label = int(decode_mask(root / mask, (height, width)).any())
    if label == 0:
        mask = ""
    elif mask:
        mask_sha256 = measure_mask(root / mask, (height, width))
    defect = found.defect if label else NORMAL
    return Entry(found.image, found.category, found.split, label, defect, mask, width, height, sha256, mask_sha256)


_AS_MVTEC = Layout(adapters.mvtec, "CATEGORY/{train/good,test/good,test/DEFECT,ground_truth/DEFECT}")

LAYOUTS: dict[str, Layout] = {
    "mvtec": _AS_MVTEC,
    "mpdd": _AS_MVTEC,
    "dtd": _AS_MVTEC,
    "visa": Layout(adapters.visa, "split_csv/1cls.csv and CATEGORY/Data/{Images,Masks}"),
    "btad": Layout(adapters.btad, "{01,02,03}/{train/ok,test/ok,test/ko,ground_truth/ko}"),
    "ksdd2": Layout(adapters.ksdd2, "{train,test}/NNNNN.png with NNNNN_GT.png beside each"),
    "dagm": Layout(adapters.dagm, "ClassN/{Train,Test}/NNNN.PNG and ClassN/{Train,Test}/Label/NNNN_label.PNG"),
    "real_iad": Layout(adapters.real_iad, "realiad_1024/CATEGORY and realiad_jsons/realiad_jsons/CATEGORY.json"),
}
"""Every layout that a profile may name."""


def fingerprint(root: Path) -> str:
    """Hash of the names, sizes and times of all files below `root`, without reading them; empty when there is none.

    Cheap enough to ask at every start whether a folder of photographs has changed since its manifest was written.
    """
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            facts = path.stat()
            digest.update(
                f"{path.relative_to(root).as_posix()}\t{facts.st_size}\t{facts.st_mtime_ns}\n".encode(errors="replace")
            )
    return digest.hexdigest()
