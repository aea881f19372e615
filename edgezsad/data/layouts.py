"""From a folder in a benchmark's layout to a manifest.

Every benchmark keeps its images, splits, labels and masks in another way. One small function for each layout says what
it found; one shared step then checks, measures and hashes the files. Nothing after this module knows of layouts.
"""

import csv
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from edgezsad.config import DataSet
from edgezsad.data.images import decode_mask, measure, measure_mask
from edgezsad.data.manifest import Entry, Manifest, name_problem
from edgezsad.errors import InputError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Endings of images and masks, in any mixture of upper and lower case. Other files are ignored."""

NORMAL = "good"
"""`Entry.defect` of a normal image, in every layout."""


@dataclass(frozen=True)
class Found:
    """One image as a layout describes it, before anybody has opened it.

    Attributes:
        image, mask: paths below the root, with forward slashes; `mask` is empty when there is none.
        label: 0 normal, 1 defective, None: defective where the mask is not empty.
        category, split, defect: as in `Entry`.
    """

    image: str
    category: str
    split: str
    label: int | None
    defect: str
    mask: str = ""


@dataclass(frozen=True)
class Layout:
    """A layout: how to read it, and what to tell a user whose folder is not in it."""

    find: Callable[[Path], Iterable[Found]]
    expected: str


def index(
    item: DataSet,
    root: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    measured: Callable[[Path, Found], Entry] | None = None,
) -> Manifest:
    """List a data set: find its images, then measure and hash every file.

    Args:
        item: the data set's name, layout and, where only some are wanted, categories.
        root: its folder.
        workers: number of threads that read files.
        progress: called as (images done, images in all) after every image, in the caller's thread.
        measured: takes the place of `read_entry`, for instance to look an image up before reading it.

    Returns:
        The manifest, in the order of the ids.

    Raises:
        InputError: the folder is missing, holds no images in that layout, or lacks a wanted category; a list points
            outside the folder or names an image twice; a file is missing or is no image; a mask and its image differ
            in size.
    """
    root = Path(root)
    layout = LAYOUTS[item.layout]
    wanted = f"expected {item.layout} layout: {layout.expected}"
    if not root.is_dir():
        raise InputError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}; {wanted}")
    try:
        found = sorted(layout.find(root), key=lambda one: one.image)
    except OSError as error:
        raise InputError(f"{error.filename or root}: {error.strerror or error}; {wanted}") from None
    if not found:
        raise InputError(f"{root}: no images found; {wanted}")
    for before, after in itertools.pairwise(found):
        if before.image == after.image:
            raise InputError(f"{root / after.image}: listed twice; mend the data set's list")
    if item.categories is not None:
        there = {one.category for one in found}
        unknown = [name for name in item.categories if name not in there]
        if unknown:
            raise InputError(f"{root}: no category {', '.join(unknown)}; choose from {', '.join(sorted(there))}")
        found = [one for one in found if one.category in item.categories]
    return Manifest(item.name, root, tuple(_measured(root, found, workers, progress, measured or read_entry)))


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
    for name in (found.image, found.mask):
        problem = name_problem(name)
        if problem:
            raise InputError(f"{root / name!a}: the name {problem}; rename the file")
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


# What the layouts are made of -----------------------------------------------------------------------------------------


def _folders(folder: Path) -> list[Path]:
    """The folders in `folder`, by name; hidden ones left out, none when it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path) -> list[str]:
    """The names of the images in `folder`, in order; none when it does not exist.

    Hidden files are left out: macOS puts a `._NAME.png`, which is no image, beside every NAME.png on foreign disks.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as files:
        return sorted(
            file.name
            for file in files
            if file.name.lower().endswith(IMAGE_ENDINGS) and not file.name.startswith(".") and file.is_file()
        )


def _stem(name: str) -> str:
    return Path(name).stem


def _below(root: Path, *names: str) -> Path:
    """`root/NAME`, where the archive was unpacked with its own top folder, or else `root`."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def _listed(root: Path, path: Any, source: Path) -> str:
    """A path out of a list, below `root`, in normal form.

    Raises:
        InputError: it is no path, or it leaves `root`.
    """
    if not isinstance(path, str) or not path.strip():
        raise InputError(f"{source}: {path!r} is not a path; unpack the data set again")
    pure = PurePosixPath(path)
    if pure.is_absolute() or Path(path).is_absolute() or ".." in Path(path).parts:
        raise InputError(f"{source}: {path!a} leaves the folder {root}; unpack the data set again")
    return pure.as_posix()


# One function for each layout -----------------------------------------------------------------------------------------


def _mvtec(root: Path, normal: str = NORMAL) -> Iterator[Found]:
    """CATEGORY/{train,test}/KIND/*, masks in CATEGORY/ground_truth/KIND; `normal` is the kind without defects.

    `root` may also be a single category's folder.
    """
    splits = ("train", "test")
    if any((root / split).is_dir() for split in splits):
        # resolve(): the folder may have been given as "."
        categories = [(root, root.resolve().name)]
    else:
        categories = [(folder, folder.name) for folder in _folders(root)]
    for folder, category in categories:
        for split in splits:
            for kind in _folders(folder / split):
                label = int(kind.name != normal)
                truth = folder / "ground_truth" / kind.name
                masks = {_stem(name): name for name in _images(truth)} if label else {}
                for name in _images(kind):
                    stem = _stem(name)
                    mask = masks.get(f"{stem}_mask") or masks.get(stem)
                    yield Found(
                        image=(kind / name).relative_to(root).as_posix(),
                        category=category,
                        split=split,
                        label=label,
                        defect=kind.name if label else NORMAL,
                        mask=(truth / mask).relative_to(root).as_posix() if mask else "",
                    )


def _btad(root: Path) -> Iterator[Found]:
    """As MVTec, but normal images are `ok`, and defective ones `ko`."""
    base = _below(root, "BTech_Dataset_transformed")
    return _under(base, root, _mvtec(base, normal="ok"))


def _visa(root: Path) -> Iterator[Found]:
    """split_csv/1cls.csv lists everything: object, split, label, image, mask."""
    source = root / "split_csv" / "1cls.csv"
    columns = {"object", "split", "label", "image", "mask"}
    # utf-8-sig: spreadsheets put a byte-order mark in front of the first column's name.
    with open(source, newline="", encoding="utf-8-sig") as stream:
        try:
            reader = csv.DictReader(stream)
            if not columns <= set(reader.fieldnames or ()):
                raise InputError(f"{source}: lacks columns of {', '.join(sorted(columns))}; unpack the data set again")
            for row in reader:
                if row["split"] not in ("train", "test") or row["label"] not in ("normal", "anomaly"):
                    raise InputError(f"{source}: line {reader.line_num} is damaged; unpack the data set again")
                label = int(row["label"] == "anomaly")
                yield Found(
                    image=_listed(root, row["image"], source),
                    category=row["object"],
                    split=row["split"],
                    label=label,
                    defect="anomaly" if label else NORMAL,
                    mask=_listed(root, row["mask"], source) if label and row["mask"] else "",
                )
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{source}: damaged ({error}); unpack the data set again") from None


def _ksdd2(root: Path) -> Iterator[Found]:
    """{train,test}/NNNNN.png with NNNNN_GT.png beside it; the mask alone says whether an image is defective."""
    base = _below(root, "KolektorSDD2", "KSDD2")
    for split in ("train", "test"):
        names = _images(base / split)
        masks = {_stem(name)[:-3]: name for name in names if _stem(name).upper().endswith("_GT")}
        for name in names:
            if _stem(name).upper().endswith("_GT"):
                continue
            image = (base / split / name).relative_to(root).as_posix()
            if _stem(name) not in masks:
                raise InputError(f"{root / image}: no {_stem(name)}_GT.png beside it; unpack the data set again")
            mask = (base / split / masks[_stem(name)]).relative_to(root).as_posix()
            yield Found(image, "KolektorSDD2", split, None, "defective", mask)


def _dagm(root: Path) -> Iterator[Found]:
    """ClassN/{Train,Test}/NNNN.PNG; defective where {Train,Test}/Label/NNNN_label.PNG exists."""
    for folder in _folders(root):
        for split in ("Train", "Test"):
            place = folder / split
            masks = {_stem(name).lower(): name for name in _images(place / "Label")}
            for name in _images(place):
                mask = masks.get(f"{_stem(name)}_label".lower())
                yield Found(
                    image=(place / name).relative_to(root).as_posix(),
                    category=folder.name,
                    split=split.lower(),
                    label=int(mask is not None),
                    defect="defective" if mask else NORMAL,
                    mask=(place / "Label" / mask).relative_to(root).as_posix() if mask else "",
                )


def _real_iad(root: Path) -> Iterator[Found]:
    """realiad_jsons/realiad_jsons/CATEGORY.json lists everything, relative to realiad_1024/CATEGORY."""
    lists = _below(root, "realiad_jsons/realiad_jsons", "realiad_jsons")
    for source in sorted(lists.glob("*.json")):
        category, remedy = source.stem, "unpack the data set again"
        try:
            content = json.loads(source.read_text(encoding="utf-8"))
            rows = [(split, row) for split in ("train", "test") for row in content.get(split, [])]
            for split, row in rows:
                kind, mask = row["anomaly_class"], row.get("mask_path")
                label = int(kind != "OK")
                place = f"realiad_1024/{category}"
                yield Found(
                    image=f"{place}/{_listed(root / place, row['image_path'], source)}",
                    category=category,
                    split=split,
                    label=label,
                    defect=kind if label else NORMAL,
                    mask=f"{place}/{_listed(root / place, mask, source)}" if label and mask else "",
                )
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{source}: not a Real-IAD list ({type(error).__name__}: {error}); {remedy}") from None


def _under(base: Path, root: Path, found: Iterable[Found]) -> Iterator[Found]:
    """What was found below `base`, with paths below `root`."""
    prefix = base.relative_to(root)
    for one in found:
        yield Found(
            image=(prefix / one.image).as_posix(),
            category=one.category,
            split=one.split,
            label=one.label,
            defect=one.defect,
            mask=(prefix / one.mask).as_posix() if one.mask else "",
        )


_AS_MVTEC = Layout(_mvtec, "CATEGORY/{train/good,test/good,test/DEFECT,ground_truth/DEFECT}")

LAYOUTS: dict[str, Layout] = {
    "mvtec": _AS_MVTEC,
    "mpdd": _AS_MVTEC,
    "dtd": _AS_MVTEC,
    "visa": Layout(_visa, "split_csv/1cls.csv and CATEGORY/Data/{Images,Masks}"),
    "btad": Layout(_btad, "{01,02,03}/{train/ok,test/ok,test/ko,ground_truth/ko}"),
    "ksdd2": Layout(_ksdd2, "{train,test}/NNNNN.png with NNNNN_GT.png beside each"),
    "dagm": Layout(_dagm, "ClassN/{Train,Test}/NNNN.PNG and ClassN/{Train,Test}/Label/NNNN_label.PNG"),
    "real_iad": Layout(_real_iad, "realiad_1024/CATEGORY and realiad_jsons/realiad_jsons/CATEGORY.json"),
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
