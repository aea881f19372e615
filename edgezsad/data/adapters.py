"""One function for each benchmark's layout: what images it says there are, before anybody has opened one."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgezsad.data.folders import UNPACK, Masks, below, child, folders, images, listed, stem
from edgezsad.data.manifest import NORMAL, name_problem
from edgezsad.errors import InputError

SPLITS = ("train", "test")
REAL_IAD_DEFECTS = ("AK", "BX", "CH", "HS", "PS", "QS", "YW", "ZW")
"""Real-IAD's codes: pit, deformation, abrasion, scratch, damage, missing part, foreign body, contamination."""


@dataclass(frozen=True)
class Found:
    """One image as a layout describes it.

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


def _categories(root: Path) -> list[tuple[Path, str]]:
    """Folders and names of the categories; `root` may also be a single category's folder."""
    if any(child(root, split).is_dir() for split in SPLITS):
        # resolve(): the folder may have been given as "."
        return [(root, root.resolve().name)]
    return [(folder, folder.name) for folder in folders(root)]


def mvtec(root: Path, normal: tuple[str, ...] = (NORMAL,)) -> Iterator[Found]:
    """CATEGORY/{train,test}/KIND/*, masks in CATEGORY/ground_truth/KIND; `normal` are the kinds without defects."""
    for folder, category in _categories(root):
        for split in SPLITS:
            for kind in folders(child(folder, split)):
                label = int(kind.name.casefold() not in normal)
                if label and kind.name.casefold() in ("good", "ok", "normal"):
                    raise InputError(f"{kind}: normal images lie in a folder {normal[0]} in this layout; rename it")
                truth = child(child(folder, "ground_truth"), kind.name)
                masks = Masks(truth) if label else None
                for name in images(kind):
                    mask = masks.find(f"{stem(name)}_mask", stem(name)) if masks else None
                    yield Found(
                        image=(kind / name).relative_to(root).as_posix(),
                        category=category,
                        split=split,
                        label=label,
                        defect=kind.name if label else NORMAL,
                        mask=(truth / mask).relative_to(root).as_posix() if mask else "",
                    )


def btad(root: Path) -> Iterator[Found]:
    """As MVTec, but normal images are `ok`, and defective ones `ko`."""
    base = below(root, "BTech_Dataset_transformed")
    prefix = "" if base == root else f"{base.name}/"
    for one in mvtec(base, normal=("ok", NORMAL)):
        mask = prefix + one.mask if one.mask else ""
        yield Found(prefix + one.image, one.category, one.split, one.label, one.defect, mask)


def visa(root: Path) -> Iterator[Found]:
    """split_csv/1cls.csv lists everything: object, split, label, image, mask."""
    source = root / "split_csv" / "1cls.csv"
    columns = {"object", "split", "label", "image", "mask"}
    # utf-8-sig: spreadsheets put a byte-order mark in front of the first column's name.
    with open(source, newline="", encoding="utf-8-sig") as stream:
        try:
            # strict: otherwise one stray quotation mark swallows all lines behind it.
            reader = csv.DictReader(stream, strict=True)
            names = reader.fieldnames or []
            if not columns <= set(names) or len(set(names)) < len(names):
                raise InputError(f"{source}: lacks columns of {', '.join(sorted(columns))}, or has one twice; {UNPACK}")
            for row in reader:
                yield _visa_row(root, row, f"{source}: line {reader.line_num}", source)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{source}: damaged ({error}); {UNPACK}") from None


def _visa_row(root: Path, row: dict[Any, Any], where: str, source: Path) -> Found:
    """One row, if its cells agree: image and mask lie in their object's folder, and only anomalies have masks."""
    if None in row or None in row.values() or any(name_problem(cell) for cell in row.values()):
        raise InputError(f"{where} is damaged; {UNPACK}")
    if row["split"] not in SPLITS or row["label"] not in ("normal", "anomaly"):
        raise InputError(f"{where} is damaged; {UNPACK}")
    label = int(row["label"] == "anomaly")
    image = listed(root, row["image"], source)
    mask = listed(root, row["mask"], source) if row["mask"] else ""
    if bool(mask) != bool(label):
        problem = "an anomaly without a mask" if label else "a normal image with a mask"
        raise InputError(f"{where}: {problem}; {UNPACK}")
    if not all(path.startswith(f"{row['object']}/") for path in (image, mask) if path):
        raise InputError(f"{where}: {image} does not lie in the folder of {row['object']!r}; {UNPACK}")
    return Found(image, row["object"], row["split"], label, "anomaly" if label else NORMAL, mask)


def ksdd2(root: Path) -> Iterator[Found]:
    """{train,test}/NNNNN.png with NNNNN_GT.png beside it; the mask alone says whether an image is defective."""
    base = below(root, "KolektorSDD2", "KSDD2")
    for split in SPLITS:
        place = child(base, split)
        # The published archive holds "10301 (copy).png" and "10301_GT (copy).png", which belong to no split.
        names = [name for name in images(place) if not stem(name).endswith(" (copy)")]
        masks = Masks(place, [name for name in names if stem(name).upper().endswith("_GT")])
        for name in names:
            if stem(name).upper().endswith("_GT"):
                continue
            image = (place / name).relative_to(root).as_posix()
            mask = masks.find(f"{stem(name)}_GT")
            if mask is None:
                raise InputError(f"{root / image}: no {stem(name)}_GT.png beside it; {UNPACK}")
            mask = (place / mask).relative_to(root).as_posix()
            yield Found(image, "KolektorSDD2", split, None, "defective", mask)


def dagm(root: Path) -> Iterator[Found]:
    """ClassN/{Train,Test}/NNNN.PNG; defective where {Train,Test}/Label/NNNN_label.PNG exists."""
    for folder, category in _categories(root):
        for split in SPLITS:
            place = child(folder, split.capitalize())
            truth = child(place, "Label")
            masks = Masks(truth)
            for name in images(place):
                mask = masks.find(f"{stem(name)}_label")
                yield Found(
                    image=(place / name).relative_to(root).as_posix(),
                    category=category,
                    split=split,
                    label=int(mask is not None),
                    defect="defective" if mask else NORMAL,
                    mask=(truth / mask).relative_to(root).as_posix() if mask else "",
                )


def real_iad(root: Path) -> Iterator[Found]:
    """realiad_jsons/realiad_jsons/CATEGORY.json lists everything, relative to realiad_1024/CATEGORY."""
    lists = below(root, "realiad_jsons/realiad_jsons", "realiad_jsons")
    for source in sorted(lists.glob("*.json")):
        if source.name.startswith("."):
            continue
        try:
            # utf-8-sig: as above.
            content = json.loads(source.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
            if any(not isinstance(content[split], list) for split in SPLITS):
                raise TypeError("train and test are no lists")
            for split in SPLITS:
                for row in content[split]:
                    yield _real_iad_row(root, row, split, source)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"{source}: not a Real-IAD list ({reason}); {UNPACK}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; Python would keep the last of two values with the same key, and drop the first without a word."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _real_iad_row(root: Path, row: dict[str, Any], split: str, source: Path) -> Found:
    """One row. A defect that one of the five views does not show is listed as OK there, though its path says NG."""
    category, kind = source.stem, row["anomaly_class"]
    place = f"realiad_1024/{category}"
    image, mask = f"{place}/{listed(root / place, row['image_path'], source)}", row["mask_path"]
    if row["category"] != category:
        raise InputError(f"{source}: {image} has category {row['category']!a}, not {category}; {UNPACK}")
    if kind != "OK" and kind not in REAL_IAD_DEFECTS:
        raise InputError(f"{source}: {image} has class {kind!a}, not OK or {', '.join(REAL_IAD_DEFECTS)}; {UNPACK}")
    if (kind == "OK") != (mask is None):
        raise InputError(f"{source}: {image} has class {kind} {'and' if mask else 'without'} a mask; {UNPACK}")
    label = int(kind != "OK")
    mask = f"{place}/{listed(root / place, mask, source)}" if label else ""
    return Found(image, category, split, label, kind if label else NORMAL, mask)
