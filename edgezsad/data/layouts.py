"""Folder layouts of the public data sets: which files are images, their category, split, label and mask.

`LAYOUTS` has one entry for each layout: a new layout is one function and one entry. Files are listed, not opened;
`edgezsad.data.manifest` measures and hashes them.
"""

import csv
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from edgezsad.errors import InputError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Endings of images and masks, in upper or lower case."""

OTHER_IMAGE_ENDINGS = (".webp", ".gif", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".dng", ".tga", ".ppm", ".pgm")
"""Endings of image formats that are not read; reported, because an ignored image would make the counts wrong."""

HEATMAP = ".heatmap.png"
"""Ending of the heat maps that `edgezsad predict` and `evaluate` write; not counted as images."""

GENERATED_RECORD = "generated.json"
"""A folder with this file holds generated images (see `synthetic.sets`)."""

NORMAL = "good"
"""`ImageItem.defect` of a normal image, in every layout."""

SPLITS = ("train", "test")
UNPACK = "unpack the data set again"
_CONTROL = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class ImageItem:
    """One image as a layout describes it.

    Attributes:
        image, mask: paths below the root, with forward slashes; `mask` is empty if there is none.
        category: the object or texture, for instance "bottle".
        split: "train" or "test".
        label: 0 normal, 1 defective, None if only the mask's pixels tell.
        defect: kind of defect; `NORMAL` for a normal image.
    """

    image: str
    category: str
    split: str
    label: int | None
    defect: str
    mask: str = ""


@dataclass
class LayoutScan:
    """Images found in a folder, in the order of their paths, and what is wrong with other files or rows."""

    root: Path
    items: list[ImageItem] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def item(
        self, image: Path, category: str, split: str, label: int | None, defect: str, mask: Path | None
    ) -> ImageItem:
        """Return an item, with paths below the root."""
        below = [path.relative_to(self.root).as_posix() if path else "" for path in (image, mask)]
        return ImageItem(below[0], category, split, label, defect, below[1])

    def report(self, path: Path | str, problem: str) -> None:
        """Add a problem of the file `path`, which lies below the root."""
        path = Path(path)
        shown = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        self.problems.append(f"{printable(shown)}: {problem}")

    def report_unmatched(self, masks: dict[str, Path], used: set[Path | None]) -> None:
        """Report masks without a matching image."""
        for path in masks.values():
            if path not in used:
                self.report(path, f"mask without a matching image; {UNPACK}")

    def report_unread(self, folder: Path, read: set[Path], expected: str, outside: Path | None = None) -> None:
        """Report images below `folder` that the layout does not read, except those below `outside`."""
        for path in (folder / name for name in images_below(folder)):
            if path not in read and path.is_file() and not (outside and path.is_relative_to(outside)):
                self.report(path, f"lies outside {expected}; move or remove it")


def scan_layout(layout: str, root: Path | str) -> LayoutScan:
    """List the images of a folder in one of `LAYOUTS`; no file is opened except the data set's own lists.

    Raises:
        InputError: the folder is missing or holds no image in that layout.
    """
    root = Path(root)
    expected = f"expected {layout} layout: {LAYOUTS[layout].expected}"
    if not root.is_dir():
        raise InputError(f"{printable(root)}: {'not a folder' if root.exists() else 'no such folder'}; {expected}")
    scan = _read(LAYOUTS[layout], root)
    if not scan.items:
        problem = scan.problems[0] if scan.problems else "no images found"
        nested = next((folder for folder in subfolders(root) if _read(LAYOUTS[layout], folder).items), None)
        hint = f"; did you mean {printable(nested)}?" if nested else ""
        raise InputError(f"{printable(root)}: {problem}; {expected}{hint}")
    return scan


def _read(layout: "Layout", root: Path) -> LayoutScan:
    scan = LayoutScan(root)
    try:
        for item in layout.read(root, scan):
            scan.items.append(item)
    except OSError as error:
        scan.report(error.filename or root, f"{error.strerror or error}; {UNPACK}")
    except InputError as error:
        scan.problems.append(str(error))
    scan.items.sort(key=lambda item: item.image)
    _check_items(scan)
    return scan


def _check_items(scan: LayoutScan) -> None:
    """Report names that a manifest cannot hold and files that are listed twice."""
    for item in scan.items:
        if problem := next(filter(None, map(name_problem, (item.image, item.mask, item.category, item.defect))), None):
            scan.report(item.image, f"the name {problem}; rename the file")
    images = Counter(item.image for item in scan.items)
    masks = Counter(item.mask for item in scan.items if item.mask)
    for path in sorted(images.keys() & masks.keys()):
        scan.report(path, "listed as an image and as a mask; fix the data set's list")
    for path in (path for path, count in images.items() if count > 1):
        scan.report(path, "image listed twice; fix the data set's list")
    for path in (path for path, count in masks.items() if count > 1):
        scan.report(path, f"mask of {masks[path]} images; give each image its own")


# Layouts --------------------------------------------------------------------------------------------------------------


def read_defect_folders(
    root: Path, scan: LayoutScan, top: str = "", normal: tuple[str, ...] = (NORMAL,)
) -> Iterator[ImageItem]:
    """Read MVTec-AD's layout: ``CATEGORY/{train,test}/KIND/*``, masks in ``CATEGORY/ground_truth/KIND``.

    Args:
        root: the folder.
        scan: receives problems.
        top: name of the folder that the archive may have been unpacked into.
        normal: kinds that are normal.
    """
    for folder, category in category_folders(root / top if (root / top).is_dir() else root, scan):
        read = set()
        truths = child(folder, "ground_truth", scan)
        for split in SPLITS:
            for kind in subfolders(child(folder, split, scan)):
                defective = kind.name.casefold() not in normal
                images = image_paths(kind, scan)
                read.update(images)
                if defective and kind.name.casefold() in ("good", "ok", "normal"):
                    scan.report(kind, f"normal images lie in a folder {normal[0]} in this layout; rename it")
                    continue
                truth = child(truths, kind.name, scan)
                masks = masks_by_stem(image_paths(truth, scan), scan) if defective else {}
                defect = kind.name if defective else NORMAL
                for image in images:
                    mask = find_mask(masks, f"{image.stem}_mask", image.stem)
                    yield scan.item(image, category, split, int(defective), defect, mask)
        scan.report_unread(folder, read, f"train/{normal[0]}, test/{normal[0]} and test/DEFECT", truths)


def read_visa(root: Path, scan: LayoutScan) -> Iterator[ImageItem]:
    """Read VisA's layout: split_csv/1cls.csv lists object, split, label, image and mask."""
    source = root / "split_csv" / "1cls.csv"
    columns = {"object", "split", "label", "image", "mask"}
    # utf-8-sig: spreadsheets write a byte-order mark.
    with open(source, newline="", encoding="utf-8-sig") as stream:
        try:
            # strict: otherwise one stray quotation mark swallows all lines after it.
            reader = csv.DictReader(stream, strict=True)
            if not columns <= set(reader.fieldnames or ()):
                raise InputError(f"{source}: expected the columns {', '.join(sorted(columns))}; {UNPACK}")
            for row in reader:
                try:
                    yield _visa_item(row)
                except (TypeError, ValueError) as error:
                    scan.report(source, f"line {reader.line_num} is invalid ({error}); {UNPACK}")
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{source}: damaged ({error}); {UNPACK}") from None


def _visa_item(row: dict[str, Any]) -> ImageItem:
    label = {"normal": 0, "anomaly": 1}.get(row["label"])
    if None in row or label is None or row["split"] not in SPLITS:
        raise ValueError("unknown label or split, or too many cells")
    image, mask = listed_path(row["image"]), listed_path(row["mask"]) if row["mask"] else ""
    if bool(mask) != bool(label):
        raise ValueError("anomaly without a mask" if label else "normal image with a mask")
    if not all(path.startswith(f"{row['object']}/") for path in (image, mask) if path):
        raise ValueError(f"{image!a} lies outside the folder of {row['object']!a}")
    return ImageItem(image, row["object"], row["split"], label, "anomaly" if label else NORMAL, mask)


def read_ksdd2(root: Path, scan: LayoutScan) -> Iterator[ImageItem]:
    """Read KolektorSDD2's layout: {train,test}/NNNNN.png next to NNNNN_GT.png; a non-empty mask means defective."""
    base = root / "KolektorSDD2" if (root / "KolektorSDD2").is_dir() else root
    for split in SPLITS:
        folder = child(base, split, scan)
        every = image_paths(folder, scan)
        # The published archive holds "10301 (copy).png" and its mask, which belong to no split.
        paths = [path for path in every if "(copy)" not in path.stem]
        masks = masks_by_stem([path for path in paths if path.stem.upper().endswith("_GT")], scan)
        used = set()
        for image in (path for path in paths if path not in masks.values()):
            mask = find_mask(masks, f"{image.stem}_GT")
            if mask is None:
                scan.report(image, f"mask {image.stem}_GT.png is missing; {UNPACK}")
            used.add(mask)
            yield scan.item(image, "KolektorSDD2", split, None, "defective", mask)
        scan.report_unmatched(masks, used)
        scan.report_unread(folder, set(every), "train and test")


def read_dagm(root: Path, scan: LayoutScan) -> Iterator[ImageItem]:
    """Read DAGM's layout: ClassN/{Train,Test}/NNNN.PNG; defective if {Train,Test}/Label/NNNN_label.PNG exists."""
    for folder, category in category_folders(root, scan):
        read: set[Path] = set()
        for split in SPLITS:
            images_folder = child(folder, split.capitalize(), scan)
            images, labels = image_paths(images_folder, scan), image_paths(child(images_folder, "Label", scan), scan)
            masks, used = masks_by_stem(labels, scan), set()
            read.update(images, labels)
            for image in images:
                mask = find_mask(masks, f"{image.stem}_label")
                used.add(mask)
                yield scan.item(image, category, split, int(mask is not None), "defective" if mask else NORMAL, mask)
            scan.report_unmatched(masks, used)
        scan.report_unread(folder, read, "Train and Test")


def read_real_iad(root: Path, scan: LayoutScan) -> Iterator[ImageItem]:
    """Read Real-IAD's layout: ``realiad_jsons/**/CATEGORY.json`` lists images relative to realiad_1024/CATEGORY."""
    for source in sorted((root / "realiad_jsons").glob("**/[!.]*.json")):
        try:
            content = json.loads(source.read_text(encoding="utf-8-sig"))
            items = [_real_iad_item(source.stem, split, row) for split in SPLITS for row in content[split]]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            scan.report(source, f"invalid Real-IAD list ({type(error).__name__}: {printable(error)}); {UNPACK}")
        else:
            yield from items


def _real_iad_item(category: str, split: str, row: dict[str, Any]) -> ImageItem:
    """One row. A view that does not show the object's defect is listed as OK although its path contains NG."""
    kind, image, mask = row["anomaly_class"], row["image_path"], row["mask_path"]
    if row["category"] != category:
        raise ValueError(f"{image!a} has category {row['category']!a}, expected {category!a}")
    label = int(kind != "OK")
    if bool(mask) != bool(label):
        raise ValueError(f"{image!a} has class {kind} {'and' if mask else 'without'} a mask")
    base = f"realiad_1024/{category}"
    mask = f"{base}/{listed_path(mask)}" if label else ""
    return ImageItem(f"{base}/{listed_path(image)}", category, split, label, kind if label else NORMAL, mask)


@dataclass(frozen=True)
class Layout:
    """One folder layout.

    Attributes:
        read: yields every image of a folder and reports problems to the scan.
        expected: where its files lie, in words.
    """

    read: Callable[[Path, LayoutScan], Iterator[ImageItem]]
    expected: str


_MVTEC = Layout(read_defect_folders, "CATEGORY/{train/good,test/good,test/DEFECT,ground_truth/DEFECT}")
_read_btad = partial(read_defect_folders, top="BTech_Dataset_transformed", normal=("ok", NORMAL))

LAYOUTS: dict[str, Layout] = {
    "mvtec": _MVTEC,
    "mpdd": _MVTEC,
    "dtd": _MVTEC,
    "btad": Layout(_read_btad, "{01,02,03}/{train/ok,test/ok,test/ko,ground_truth/ko}"),
    "visa": Layout(read_visa, "split_csv/1cls.csv and CATEGORY/Data/{Images,Masks}"),
    "ksdd2": Layout(read_ksdd2, "{train,test}/NNNNN.png, each with NNNNN_GT.png"),
    "dagm": Layout(read_dagm, "ClassN/{Train,Test}/NNNN.PNG and ClassN/{Train,Test}/Label/NNNN_label.PNG"),
    "real_iad": Layout(read_real_iad, "realiad_1024/CATEGORY and realiad_jsons/realiad_jsons/CATEGORY.json"),
}
"""Every layout that a profile may name."""


# Files and folders ----------------------------------------------------------------------------------------------------


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in `folder`, sorted, without hidden ones; none if it does not exist."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def image_paths(folder: Path, scan: LayoutScan) -> list[Path]:
    """Return the images in `folder`, sorted, without hidden files and heat maps; none if it does not exist."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    paths = []
    for entry in found:
        if entry.name.lower().endswith(OTHER_IMAGE_ENDINGS):
            scan.report(folder / entry.name, "unsupported image format; convert it to PNG or move it elsewhere")
        elif _is_image_name(entry.name):
            if entry.is_file():
                paths.append(folder / entry.name)
            else:
                scan.report(folder / entry.name, "named like an image, but not a file; rename or remove it")
    return paths


def images_below(folder: Path, endings: tuple[str, ...] = IMAGE_ENDINGS) -> list[str]:
    """Return all images at any depth below `folder`, as sorted relative paths with forward slashes.

    Hidden files and folders and heat maps are left out; folders that are links are not entered.
    """
    found = []
    for current, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        below = Path(current).relative_to(folder)
        found += [(below / name).as_posix() for name in names if _is_image_name(name, endings)]
    return sorted(found)


def _is_image_name(name: str, endings: tuple[str, ...] = IMAGE_ENDINGS) -> bool:
    return name.lower().endswith(endings) and not name.endswith(HEATMAP) and not name.startswith(".")


def category_folders(root: Path, scan: LayoutScan) -> list[tuple[Path, str]]:
    """Return folders and names of the categories; `root` may itself be the folder of a single category."""
    splits = [folder for folder in subfolders(root) if folder.name.casefold() in SPLITS]
    categories = [
        folder
        for folder in subfolders(root)
        if folder not in splits and any(inner.name.casefold() in SPLITS for inner in subfolders(folder))
    ]
    if splits and not categories:
        # resolve(): the folder may have been given as "."
        return [(root, root.resolve().name)]
    for split in splits:
        scan.report(split, f"is a split folder at category level (next to {categories[0].name!a}); move or remove it")
    return [(folder, folder.name) for folder in categories]


def child(folder: Path, name: str, scan: LayoutScan) -> Path:
    """Return `folder/name`, or else the one folder whose name differs only in case."""
    near = [path for path in subfolders(folder) if path.name.casefold() == name.casefold()]
    if len(near) > 1:
        scan.report(near[0], f"differs only in case from {near[1].name!a}; merge the two folders")
    return folder / name if not near or folder / name in near else near[0]


def masks_by_stem(paths: list[Path], scan: LayoutScan) -> dict[str, Path]:
    """Return masks by their folded stems (see `folded`)."""
    masks: dict[str, Path] = {}
    for path in paths:
        if (other := masks.setdefault(folded(path.stem), path)) != path:
            scan.report(other, f"{path.name!a} may be the mask of the same image; remove one")
    return masks


def find_mask(masks: dict[str, Path], *stems: str) -> Path | None:
    """Return the mask with the first of `stems` that exists, or None."""
    return next((masks[folded(stem)] for stem in stems if folded(stem) in masks), None)


def is_generated(root: Path) -> bool:
    """Return whether a folder holds generated images."""
    return (root / GENERATED_RECORD).is_file()


def listed_path(path: Any) -> str:
    """Return a path from a data set's list in normal form.

    Raises:
        ValueError: it is empty, absolute, leaves the folder or holds control characters.
    """
    if not isinstance(path, str) or not path.strip():
        raise ValueError(f"{path!a} is not a path")
    pure = PurePosixPath(path)
    if pure.is_absolute() or Path(path).is_absolute() or ".." in pure.parts:
        raise ValueError(f"{path!a} leaves the data set's folder")
    if problem := name_problem(path):
        raise ValueError(f"the name {path!a} {problem}")
    return pure.as_posix()


def name_problem(name: str) -> str | None:
    """Return why a manifest cannot hold this name, or None: one row is one line of valid UTF-8."""
    if _CONTROL.search(name):
        return "has a control character"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    return None


def folded(text: str) -> str:
    """Return a name without differences in case and in the Unicode form of accents."""
    return unicodedata.normalize("NFC", text).casefold()


def printable(text: object) -> str:
    """Return text for one line of a terminal: control characters and undecodable bytes are escaped."""
    return str(text) if str(text).isprintable() else ascii(str(text))[1:-1]
