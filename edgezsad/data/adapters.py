"""One function for each benchmark's layout: what images it says there are, before anybody has opened one.

Each takes the folder, and whom to tell of what is wrong with single files, folders or rows of a list: an index stops
there, a check goes on. What ends a list for good is raised as an `InputError` in any case.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgezsad.data.folders import (
    IMAGE_ENDINGS,
    UNPACK,
    Masks,
    Problem,
    Tell,
    all_images,
    below,
    check_list,
    child,
    folded,
    folders,
    images,
    is_file,
    listed,
    refuse,
    shown,
    stem,
    unreadable,
)
from edgezsad.data.manifest import NORMAL, name_problem

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


def _categories(root: Path, tell: Tell) -> list[tuple[Path, str]]:
    """Folders and names of the categories; `root` may also be a single category's folder, but not both at once."""
    inside = folders(root, tell)
    splits = [folder for folder in inside if folder.name.casefold() in SPLITS]
    others = [folder for folder in inside if folder not in splits and folder.name.casefold() != "ground_truth"]
    categories = [
        folder for folder in others if any(inner.name.casefold() in SPLITS for inner in folders(folder, tell))
    ]
    if splits and not categories:
        # resolve(): the folder may have been given as "."
        return [(root, root.resolve().name)]
    for split in splits:
        tell(
            Problem(
                split, f"lies beside whole categories ({shown(categories[0].name)}); remove it, or move it into one"
            )
        )
    return [(folder, folder.name) for folder in categories]


def _tell_unread(folder: Path, read: set[str], places: str, tell: Tell) -> None:
    """Tell of the images below `folder` that are not among `read`, paths below it: they would be left out silently."""
    for name in sorted(all_images(folder, tell) - read):
        # What is no file is told where it is looked for.
        if is_file(folder / name):
            tell(Problem(folder / name, f"lies outside {places}, where the images are; move or remove it"))


def _tell_without_image(folder: Path, masks: Masks, tell: Tell) -> None:
    for name in masks.without_image():
        tell(Problem(folder / name, f"is the mask of no image; {UNPACK}"))


def mvtec(root: Path, tell: Tell = refuse, normal: tuple[str, ...] = (NORMAL,)) -> Iterator[Found]:
    """`CATEGORY/{train,test}/KIND/*`, masks in `CATEGORY/ground_truth/KIND`; `normal` are the kinds without defects."""
    for folder, category in _categories(root, tell):
        truths = child(folder, "ground_truth", tell)
        read = {f"{truths.name}/{name}" for name in all_images(truths, tell)}
        for split in SPLITS:
            for kind in folders(child(folder, split, tell), tell):
                names = images(kind, tell)
                read |= {(kind / name).relative_to(folder).as_posix() for name in names}
                label = int(kind.name.casefold() not in normal)
                if label and kind.name.casefold() in ("good", "ok", "normal"):
                    tell(Problem(kind, f"normal images lie in a folder {normal[0]} in this layout; rename it"))
                    continue
                truth = child(truths, kind.name, tell)
                masks = Masks(truth, images(truth, tell) if label else ())
                for name in names:
                    mask = masks.find(f"{stem(name)}_mask", stem(name), tell=tell)
                    yield Found(
                        image=(kind / name).relative_to(root).as_posix(),
                        category=category,
                        split=split,
                        label=label,
                        defect=kind.name if label else NORMAL,
                        mask=(truth / mask).relative_to(root).as_posix() if mask else "",
                    )
        _tell_unread(folder, read, f"train/{normal[0]}, test/{normal[0]} and test/DEFECT", tell)


def btad(root: Path, tell: Tell = refuse) -> Iterator[Found]:
    """As MVTec, but normal images are `ok`, and defective ones `ko`. Paths begin at `root`, whichever was given."""
    base = below(root, "BTech_Dataset_transformed")
    prefix = "" if base == root else f"{base.name}/"
    for one in mvtec(base, tell, normal=("ok", NORMAL)):
        mask = prefix + one.mask if one.mask else ""
        yield Found(prefix + one.image, one.category, one.split, one.label, one.defect, mask)


def visa(root: Path, tell: Tell = refuse) -> Iterator[Found]:
    """split_csv/1cls.csv lists everything: object, split, label, image, mask."""
    source = root / "split_csv" / "1cls.csv"
    columns = {"object", "split", "label", "image", "mask"}
    check_list(source)
    # utf-8-sig: spreadsheets put a byte-order mark in front of the first column's name.
    with open(source, newline="", encoding="utf-8-sig") as stream:
        try:
            # strict: otherwise one stray quotation mark swallows all lines behind it.
            reader = csv.DictReader(stream, strict=True)
            names = reader.fieldnames or []
            if not columns <= set(names) or len(set(names)) < len(names):
                raise Problem(source, f"lacks columns of {', '.join(sorted(columns))}, or has one twice; {UNPACK}")
            for row in reader:
                try:
                    found = _visa_row(root, row, source, f"line {reader.line_num}")
                except Problem as problem:
                    tell(problem)
                else:
                    yield found
        except (UnicodeDecodeError, csv.Error) as error:
            raise Problem(source, f"damaged ({error}); {UNPACK}") from None


def _visa_row(root: Path, row: dict[Any, Any], source: Path, line: str) -> Found:
    """One row, if its cells agree: image and mask lie in their object's folder, and only anomalies have masks."""
    if None in row or None in row.values() or any(name_problem(cell) for cell in row.values()):
        raise Problem(source, f"{line} is damaged; {UNPACK}")
    if row["split"] not in SPLITS or row["label"] not in ("normal", "anomaly"):
        raise Problem(source, f"{line} is damaged; {UNPACK}")
    label = int(row["label"] == "anomaly")
    image = listed(root, row["image"], source)
    mask = listed(root, row["mask"], source) if row["mask"] else ""
    if bool(mask) != bool(label):
        problem = "an anomaly without a mask" if label else "a normal image with a mask"
        raise Problem(source, f"{line}: {problem}; {UNPACK}")
    if not all(path.startswith(f"{row['object']}/") for path in (image, mask) if path):
        raise Problem(source, f"{line}: {image!a} does not lie in the folder of {row['object']!a}; {UNPACK}")
    return Found(image, row["object"], row["split"], label, "anomaly" if label else NORMAL, mask)


def ksdd2(root: Path, tell: Tell = refuse) -> Iterator[Found]:
    """{train,test}/NNNNN.png with NNNNN_GT.png beside it; the mask alone says whether an image is defective."""
    base = below(root, "KolektorSDD2", "KSDD2")
    for split in SPLITS:
        place = child(base, split, tell)
        every = images(place, tell)
        # The published archive holds "10301 (copy).png" and "10301_GT (copy).png", which belong to no split.
        names = [name for name in every if not stem(name).endswith(" (copy)")]
        masks = Masks(place, [name for name in names if stem(name).upper().endswith("_GT")])
        for name in names:
            if stem(name).upper().endswith("_GT"):
                continue
            mask = masks.find(f"{stem(name)}_GT", tell=tell)
            if mask is None:
                tell(Problem(place / name, f"no {shown(stem(name))}_GT.png beside it; {UNPACK}"))
            yield Found(
                image=(place / name).relative_to(root).as_posix(),
                category="KolektorSDD2",
                split=split,
                label=None,
                defect="defective",
                mask=(place / mask).relative_to(root).as_posix() if mask else "",
            )
        _tell_without_image(place, masks, tell)
        _tell_unread(place, set(every), "{train,test}/NAME", tell)


def dagm(root: Path, tell: Tell = refuse) -> Iterator[Found]:
    """ClassN/{Train,Test}/NNNN.PNG; defective where {Train,Test}/Label/NNNN_label.PNG exists."""
    for folder, category in _categories(root, tell):
        read: set[str] = set()
        for split in SPLITS:
            place = child(folder, split.capitalize(), tell)
            truth = child(place, "Label", tell)
            masks = Masks(truth, images(truth, tell))
            named = _dagm_masks(truth / "Labels.txt", tell)
            names = images(place, tell)
            read |= {(place / name).relative_to(folder).as_posix() for name in names}
            read |= {(truth / name).relative_to(folder).as_posix() for name in images(truth, tell)}
            for name in names:
                mask = masks.find(f"{stem(name)}_label", tell=tell)
                if mask is None and folded(f"{stem(name)}_label") in named:
                    tell(Problem(place / name, f"its mask, which Label/Labels.txt names, is not there; {UNPACK}"))
                yield Found(
                    image=(place / name).relative_to(root).as_posix(),
                    category=category,
                    split=split,
                    label=int(mask is not None),
                    defect="defective" if mask else NORMAL,
                    mask=(truth / mask).relative_to(root).as_posix() if mask else "",
                )
            _tell_without_image(truth, masks, tell)
        _tell_unread(folder, read, "{Train,Test}/NAME", tell)


def _dagm_masks(source: Path, tell: Tell) -> set[str]:
    """The stems of the masks that Labels.txt names, folded; none where it is not there. Other cells do not matter."""
    try:
        check_list(source)
        words = source.read_text(encoding="utf-8", errors="replace").split()
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except Problem as problem:
        tell(problem)
        return set()
    except OSError as error:
        tell(unreadable(source, error))
        return set()
    return {folded(stem(word)) for word in words if word.lower().endswith(IMAGE_ENDINGS)}


def real_iad(root: Path, tell: Tell = refuse) -> Iterator[Found]:
    """realiad_jsons/realiad_jsons/CATEGORY.json lists everything, relative to realiad_1024/CATEGORY."""
    lists = below(root, "realiad_jsons/realiad_jsons", "realiad_jsons")
    for source in sorted(lists.glob("*.json")):
        if source.name.startswith("."):
            continue
        try:
            check_list(source)
            # utf-8-sig: as above.
            content = json.loads(source.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
            if any(not isinstance(content[split], list) for split in SPLITS):
                raise TypeError("train and test are no lists")
        except Problem as problem:
            tell(problem)
            continue
        except OSError as error:
            tell(unreadable(source, error))
            continue
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            tell(_no_real_iad_list(source, error))
            continue
        for split in SPLITS:
            for row in content[split]:
                try:
                    found = _real_iad_row(root, row, split, source)
                except Problem as problem:
                    tell(problem)
                except (KeyError, TypeError) as error:
                    tell(_no_real_iad_list(source, error))
                else:
                    yield found


def _no_real_iad_list(source: Path, error: Exception) -> Problem:
    reason = shown(" ".join(f"{type(error).__name__}: {error}".split()))
    return Problem(source, f"not a Real-IAD list ({reason}); {UNPACK}")


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
        raise Problem(source, f"{image!a} has category {row['category']!a}, not {category!a}; {UNPACK}")
    if kind != "OK" and kind not in REAL_IAD_DEFECTS:
        raise Problem(source, f"{image!a} has class {kind!a}, not OK or {', '.join(REAL_IAD_DEFECTS)}; {UNPACK}")
    if (kind == "OK") != (mask is None):
        raise Problem(source, f"{image!a} has class {kind} {'and' if mask else 'without'} a mask; {UNPACK}")
    label = int(kind != "OK")
    mask = f"{place}/{listed(root / place, mask, source)}" if label else ""
    return Found(image, category, split, label, kind if label else NORMAL, mask)
