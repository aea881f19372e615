"""Folder layouts of the public data sets: which files are images, their category, split, label and mask.

`LAYOUTS` has one entry for each layout: a new layout is one function and one entry, and its name in
`edgezsad.config.Layout`. Files are listed, not opened; `edgezsad.data.manifest` measures and hashes them.
"""

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from edgezsad.errors import InputError, printable
from edgezsad.files import parse_json

IMAGE_ENDINGS = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".tif", ".tiff")
OTHER_IMAGE_ENDINGS = (
    ".webp", ".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".jpc", ".dib", ".tga", ".pbm",
    ".pgm", ".ppm", ".pnm", ".pfm", ".pcx", ".psd", ".exr", ".hdr", ".dng", ".nef", ".cr2", ".cr3", ".arw",
    ".orf", ".raf", ".rw2", ".raw", ".dcm", ".fits", ".btf", ".npy", ".avi", ".mov", ".mp4", ".mkv",
)  # fmt: skip
"""Formats of images and films that are not read: reported, because an ignored image would make the counts wrong."""

HEATMAP = ".heatmap.png"  # ending of the heat maps that `edgezsad predict` and `evaluate` write; not counted as images

NORMAL = "good"  # `ImageItem.defect` of a normal image, in every layout

SPLITS = ("train", "test")
# Folders of MVTec-LOCO and MVTec-AD-2 too: their validation images are normal.
_MVTEC_SPLITS = {"train": "train", "validation": "train", "test": "test", "test_public": "test"}
_UNLABELLED = ("test_private", "test_private_mixed")  # of MVTec-AD-2
UNPACK = "unpack the data set again"
# Control characters, and surrogates, which stand for bytes that are not UTF-8.
_UNUSABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class ImageItem:
    """One image as a layout describes it."""

    image: str  # path below the root, with forward slashes
    category: str  # the object or texture, for instance "bottle"
    split: str  # "train" or "test"
    label: int | None  # 0 normal, 1 defective, None if only the mask's pixels show it
    defect: str  # kind of defect; `NORMAL` for a normal image
    mask: str = ""  # path below the root, of a file or of a folder of masks; empty if there is none


@dataclass
class LayoutScan:
    """Images below `root` in the order of their paths, masks that an image must use, and problems, one a line."""

    root: Path
    items: list[ImageItem] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, image: Path, category: str, split: str, label: int | None, defect: str, mask: Path | None) -> None:
        """Add an image; arguments are the fields of an `ImageItem`, with full paths."""
        below = [path.relative_to(self.root).as_posix() if path else "" for path in (image, mask)]
        self.items.append(ImageItem(below[0], category, split, label, defect, below[1]))

    def report(self, path: Path, problem: str) -> None:
        self.problems.append(f"{printable(path.relative_to(self.root))}: {problem}")

    def files(self, folder: Path) -> dict[str, Path]:
        """Return the images at any depth below `folder`, by their folded paths below it (see `_folded`)."""
        found: dict[str, Path] = {}
        for name in images_below(folder):
            if name.lower().endswith(OTHER_IMAGE_ENDINGS):
                self.report(folder / name, "unsupported image format; convert it to PNG or move it elsewhere")
            elif found.setdefault(_folded(name), folder / name) != folder / name:
                self.report(folder / name, "another path differs only in case; rename or remove one")
        return found

    def find_mask(self, files: dict[str, Path], *stems: str) -> Path | None:
        """Return the mask with the first of these folded paths without ending that exists."""
        for stem in stems:
            found = [files[stem + ending] for ending in IMAGE_ENDINGS if stem + ending in files]
            if len(found) > 1:
                self.report(found[0], f"{found[1].name!a} may be the mask of the same image; remove one")
            if found:
                return found[0]
        return None


def scan_layout(layout: str, root: Path | str) -> LayoutScan:
    """List the images of a folder; InputError if there are none. Of its files, only the set's own lists are opened."""
    root = Path(root)
    expected = f"expected {layout} layout: {LAYOUTS[layout].expected}"
    if not root.is_dir():
        raise InputError(f"{printable(root)}: {'not a folder' if root.exists() else 'no such folder'}; {expected}")
    scan = _read(LAYOUTS[layout], root)
    if not scan.items:
        problem = scan.problems[0] if scan.problems else "no images found"
        nested = next((folder for folder in _subfolders(root) if _read(LAYOUTS[layout], folder).items), None)
        hint = f"; did you mean {printable(nested)}?" if nested else ""
        raise InputError(f"{printable(root)}: {problem}; {expected}{hint}")
    return scan


def _read(layout: "Layout", root: Path) -> LayoutScan:
    scan = LayoutScan(root)
    top = root / layout.top
    try:
        layout.read(top if top.is_dir() else root, scan)
    except OSError as error:
        scan.report(Path(error.filename or root), f"{error.strerror or error}; {UNPACK}")
    scan.items.sort(key=lambda item: item.image)
    uses = Counter(path for item in scan.items for path in (item.image, item.mask) if path)
    for item in scan.items:
        if any(map(_UNUSABLE.search, (item.image, item.mask, item.category, item.defect))):
            scan.report(root / item.image, "the name has a control character or is not valid UTF-8; rename the file")
        if uses[item.image] > 1 or uses[item.mask] > 1:
            scan.report(root / item.image, "the image or its mask is used twice; give each image its own mask")
    for path in scan.masks:
        if not uses[path.relative_to(root).as_posix()]:
            scan.report(path, f"mask without a matching image; {UNPACK}")
    return scan


# Layouts --------------------------------------------------------------------------------------------------------------


def _read_mvtec(root: Path, scan: LayoutScan, normal: tuple[str, ...] = (NORMAL,)) -> None:
    """Read ``CATEGORY/{train,test}/KIND/*`` with masks in CATEGORY/ground_truth/KIND; `normal` are the normal kinds.

    MVTec-LOCO has a folder of masks for each image, MVTec-AD-2 ground_truth in test_public.
    """
    for folder, category in _category_folders(root, scan, tuple(_MVTEC_SPLITS)).items():
        files = scan.files(folder)
        folders = {name.rpartition("/")[0]: path.parent for name, path in files.items()}
        for name, path in files.items():
            first, *rest = name.split("/")
            match _MVTEC_SPLITS.get(first), *rest:
                case str(split), kind, _ if kind in normal:
                    scan.add(path, category, split, 0, NORMAL, None)
                case str(), "good" | "ok" | "normal", _:
                    scan.report(path, f"normal images belong in a folder {normal[0]} in this layout; rename its folder")
                case str(split), kind, file if kind != "ground_truth":
                    above = f"{first}/" if first == "test_public" else ""
                    stem = f"{above}ground_truth/{kind}/{Path(file).stem}"
                    mask = scan.find_mask(files, f"{stem}_mask", stem) or folders.get(stem)
                    scan.add(path, category, split, 1, path.parent.name, mask)
                case _ if "ground_truth" not in (first, *rest[:1]) and first not in _UNLABELLED:
                    expected = f"train/{normal[0]}, test/{normal[0]} and test/DEFECT"
                    scan.report(path, f"is outside {expected}; move or remove it")


def _read_ksdd2(root: Path, scan: LayoutScan) -> None:
    """Read {train,test}/NNNNN.png next to NNNNN_GT.png; an image is defective if its mask is not empty."""
    for folder in _split_folders(root):
        files = scan.files(folder)
        for name, path in files.items():
            if path.parent != folder:
                scan.report(path, "is outside train and test; move or remove it")
            elif Path(name).stem.endswith("_gt"):
                scan.masks.append(path)
            # The published archive holds "10301 (copy).png" and its mask, which belong to no split.
            elif "(copy)" not in name:
                mask = scan.find_mask(files, f"{Path(name).stem}_gt")
                if mask is None:
                    scan.report(path, f"mask {path.stem}_GT.png is missing; {UNPACK}")
                scan.add(path, "KolektorSDD2", folder.name.casefold(), None, "defective", mask)


def _read_dagm(root: Path, scan: LayoutScan) -> None:
    """Read ClassN/{Train,Test}/NNNN.PNG; an image is defective if {Train,Test}/Label/NNNN_label.PNG exists."""
    for folder, category in _category_folders(root, scan).items():
        files = scan.files(folder)
        for name, path in files.items():
            match name.split("/"):
                case ("train" | "test") as split, file:
                    mask = scan.find_mask(files, f"{split}/label/{Path(file).stem}_label")
                    scan.add(path, category, split, int(mask is not None), "defective" if mask else NORMAL, mask)
                case "train" | "test", "label", _:
                    scan.masks.append(path)
                case _:
                    scan.report(path, "is outside Train and Test; move or remove it")


def _read_visa(root: Path, scan: LayoutScan) -> None:
    """Read split_csv/1cls.csv, which lists object, split, label, image and mask."""
    source = root / "split_csv" / "1cls.csv"
    # utf-8-sig: spreadsheets write a byte-order mark.
    with open(source, newline="", encoding="utf-8-sig") as stream:
        # strict: otherwise one stray quotation mark swallows all lines after it.
        reader = csv.DictReader(stream, strict=True)
        try:
            for row in reader:
                defect = {"normal": NORMAL, "anomaly": "anomaly"}[row["label"]]
                if None in row or row["split"] not in SPLITS:
                    raise ValueError("unknown split, or too many cells")
                scan.items.append(_listed_item("", row["image"], row["mask"], row["object"], row["split"], defect))
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            scan.report(source, f"damaged after line {reader.line_num} ({printable(error)}); {UNPACK}")


def _read_real_iad(root: Path, scan: LayoutScan) -> None:
    """Read ``realiad_jsons/**/CATEGORY.json``, which list images relative to realiad_1024/CATEGORY."""
    for source in sorted((root / "realiad_jsons").glob("**/[!.]*.json")):
        try:
            content, folder = parse_json(source.read_text(encoding="utf-8-sig")), f"realiad_1024/{source.stem}"
            for split, row in ((name, row) for name in SPLITS for row in content[name]):
                # A view that does not show the object's defect is listed as OK although its path contains NG.
                defect = NORMAL if row["anomaly_class"] == "OK" else row["anomaly_class"]
                scan.items.append(_listed_item(folder, row["image_path"], row["mask_path"], source.stem, split, defect))
        except (KeyError, TypeError, ValueError) as error:
            scan.report(source, f"invalid Real-IAD list ({type(error).__name__}: {printable(error)}); {UNPACK}")


def _listed_item(folder: str, image: str, mask: str | None, category: str, split: str, defect: str) -> ImageItem:
    """Return a row of a data set's list, with paths relative to `folder`, as an item."""
    label = int(defect != NORMAL)
    if not image or not isinstance(defect, str) or bool(mask) != bool(label):
        raise ValueError(f"{image!a} is {defect} {'and has' if mask else 'without'} a mask")
    image, mask = (str(PurePosixPath(folder, path)) if path else "" for path in (image, mask))
    return ImageItem(image, category, split, label, defect, mask)


@dataclass(frozen=True)
class Layout:
    """A reader, the expected files in words, and the name of the folder that the archive may be unpacked into."""

    read: Callable[[Path, LayoutScan], None]
    expected: str
    top: str = ""


_MVTEC = Layout(_read_mvtec, "CATEGORY/{train/good,test/good,test/DEFECT,ground_truth/DEFECT}")
_BTAD = partial(_read_mvtec, normal=("ok", NORMAL))

LAYOUTS: dict[str, Layout] = {
    "mvtec": _MVTEC,
    "mpdd": _MVTEC,
    "dtd": _MVTEC,
    "btad": Layout(_BTAD, "{01,02,03}/{train/ok,test/ok,test/ko,ground_truth/ko}", "BTech_Dataset_transformed"),
    "visa": Layout(_read_visa, "split_csv/1cls.csv and CATEGORY/Data/{Images,Masks}"),
    "ksdd2": Layout(_read_ksdd2, "{train,test}/NNNNN.png, each with NNNNN_GT.png", "KolektorSDD2"),
    "dagm": Layout(_read_dagm, "ClassN/{Train,Test}/NNNN.PNG and ClassN/{Train,Test}/Label/NNNN_label.PNG"),
    "real_iad": Layout(_read_real_iad, "realiad_1024/CATEGORY and realiad_jsons/realiad_jsons/CATEGORY.json"),
}
"""Every layout that a profile may name."""


# Files and folders ----------------------------------------------------------------------------------------------------


def _category_folders(root: Path, scan: LayoutScan, names: tuple[str, ...] = SPLITS) -> dict[Path, str]:
    """Return folders and names of the categories; `root` may itself be the folder of a single category."""
    splits = _split_folders(root, names)
    categories = {path: path.name for path in _subfolders(root) if path not in splits and _split_folders(path, names)}
    if not categories:
        # resolve(): the folder may have been given as "."
        return {root: root.resolve().name} if splits else {}
    for split in splits:
        scan.report(split, f"is a split folder next to {', '.join(categories.values())}; move or remove it")
    return categories


def _split_folders(folder: Path, names: tuple[str, ...] = SPLITS) -> list[Path]:
    return [path for path in _subfolders(folder) if path.name.casefold() in names]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def is_image(name: str) -> bool:
    """Return whether a file is named like an image, also of a format that is not read."""
    return name.lower().endswith(IMAGE_ENDINGS + OTHER_IMAGE_ENDINGS)


def images_below(folder: Path) -> list[str]:
    """Return all images (`is_image`) at any depth below `folder`, as sorted relative paths with forward slashes.

    Hidden files and folders and heat maps are left out. A folder that cannot be read raises OSError.
    """
    found = []
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            found += [f"{path.name}/{name}" for name in images_below(path)]
        elif is_image(path.name) and not path.name.endswith(HEATMAP):
            found.append(path.name)
    return sorted(found)


def is_generated(root: Path) -> bool:
    """Return whether a folder holds generated images (see `synthetic.sets`)."""
    return (root / "generated.json").is_file()


def _folded(text: str) -> str:
    """Return a name without differences in case and in the Unicode form of accents."""
    return unicodedata.normalize("NFC", text).casefold()
