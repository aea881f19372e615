"""Full-size replicas of the public data sets: every path of the real set, with small images of our own in the files.

They try an adapter, a check or a whole profile without anybody's data. Where the list of files is public, the replica
has exactly its paths; elsewhere it has the published numbers, under names made after the set's naming. What is odd in
the real sets is in them too: see the functions below.
"""

import csv
import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

from edgezsad.data.descriptors import Descriptor, descriptors_folder, find_descriptor, read_list
from edgezsad.data.folders import REPLICA_MARK
from edgezsad.data.replica.pictures import write_image, write_mask
from edgezsad.data.replica.rows import BY_COUNTS, Made
from edgezsad.errors import InputError
from edgezsad.files import write_json, write_text

__all__ = ["SIZE", "Made", "make_replica"]

SAYS = "Made by `edgezsad data replica`, to try things on: none of these images is of the real data set.\n"
"""In the file that marks a replica (`edgezsad.data.folders.REPLICA_MARK`), so that it is never taken for the set."""

SIZE = (12, 16)
"""Height and width of the images: not square, so that a swap shows."""

GREY = ("grid", "screw", "zipper")
"""Categories of MVTec-AD whose images have one channel."""


def make_replica(
    name: str,
    root: Path | str,
    *,
    limit: int | None = None,
    size: tuple[int, int] = SIZE,
    seed: int = 0,
    folder: Path | None = None,
) -> list[Made]:
    """Write a replica of a public data set.

    Args:
        name: a descriptor's name, for instance "MVTec-AD".
        root: a new or empty folder.
        limit: at most so many images of each category, split and label, spread over the kinds of defects; all when
            left out (Real-IAD has 151,050).
        size: height and width of the images in pixels, at least 8; from 32 on there is something to see: a texture, and
            a blob where the mask is.
        seed: other seeds give other images under the same names.
        folder: of the descriptors; the repository's when left out.

    Returns:
        What was written, in the order of the image paths.

    Raises:
        InputError: there is no such descriptor, `root` is not empty, or the size is too small.
    """
    root = Path(root)
    descriptor = find_descriptor(name, folder)
    if descriptor is None:
        raise InputError(f"{name}: nothing is known of such a folder; name a data set of {descriptors_folder()}")
    if min(size) < 8:
        raise InputError(f"size {size[0]}x{size[1]}: too small for a mask; at least 8x8")
    if root.exists() and any(root.iterdir()):
        raise InputError(f"{root}: is not empty; give a new folder")
    rows = sorted(_limited(_rows(descriptor, folder), limit), key=lambda row: row.image)
    write_text(root / REPLICA_MARK, SAYS)
    for place in {(root / path).parent for row in rows for path in (row.image, row.mask, row.blank) if path}:
        place.mkdir(parents=True, exist_ok=True)
    for row in rows:
        # Another picture for each path; the mask is the same picture's blob.
        key = f"{seed}/{descriptor.name}/{row.image}"
        grey = row.category in GREY or descriptor.layout == "dagm"
        write_image(root / row.image, key, size, bool(row.label), grey)
        if row.mask:
            write_mask(root / row.mask, key, size, row.value)
        if row.blank:
            write_mask(root / row.blank, key, size, 0)
    _FINISH.get(descriptor.layout, _nothing)(root, rows)
    return rows


def _rows(descriptor: Descriptor, folder: Path | None) -> Iterable[Made]:
    listed = read_list(descriptor, folder)
    if listed is None:
        return BY_COUNTS[descriptor.layout](descriptor)
    # VisA's masks hold small numbers of a defect's class.
    values = itertools.cycle(range(1, 6)) if descriptor.layout == "visa" else itertools.repeat(255)
    return [
        Made(one.image, one.category, one.split, one.label, one.defect, one.mask, value=next(values)) for one in listed
    ]


def _limited(rows: Iterable[Made], limit: int | None) -> list[Made]:
    """The first `limit` of each category, split and label, taken from the kinds of defects in turn."""
    if limit is None:
        return list(rows)
    groups: dict[tuple[str, str, int], dict[str, list[Made]]] = {}
    for row in rows:
        kinds = groups.setdefault((row.category, row.split, row.label), {})
        kinds.setdefault(row.defect, []).append(row)
    kept: list[Made] = []
    for kinds in groups.values():
        in_turn = (row for turn in itertools.zip_longest(*kinds.values()) for row in turn if row is not None)
        kept += itertools.islice(in_turn, limit)
    return kept


# Files beside the images ----------------------------------------------------------------------------------------------


def _nothing(root: Path, rows: list[Made]) -> None:
    """Most sets have nothing else that matters."""


def _visa_split(root: Path, rows: list[Made]) -> None:
    """The authors' one-class split."""
    (root / "split_csv").mkdir(exist_ok=True)
    with open(root / "split_csv" / "1cls.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("object", "split", "label", "image", "mask"))
        for row in rows:
            writer.writerow((row.category, row.split, "anomaly" if row.label else "normal", row.image, row.mask))


def _ksdd2_copies(root: Path, rows: list[Made]) -> None:
    """The published archive holds an image and its mask a second time, as "10301 (copy).png"."""
    for name in ("10301", "10301_GT"):
        if (root / "train" / f"{name}.png").exists():
            content = (root / "train" / f"{name}.png").read_bytes()
            (root / "train" / f"{name} (copy).png").write_bytes(content)


def _dagm_labels(root: Path, rows: list[Made]) -> None:
    """A Labels.txt beside the masks (number, label, image, 0, mask or 0), and a Thumbs.db."""
    lines: dict[Path, list[str]] = {}
    for row in rows:
        image, mask = Path(row.image), Path(row.mask).name or "0"
        lines.setdefault(image.parent, ["1"]).append(f"{image.stem}\t{row.label}\t{image.name}\t0\t{mask}")
    for place, text in lines.items():
        (root / place / "Label").mkdir(exist_ok=True)
        (root / place / "Label" / "Labels.txt").write_text("\n".join(text) + "\n")
        (root / place / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")


def _real_iad_lists(root: Path, rows: list[Made]) -> None:
    """realiad_jsons/realiad_jsons/CATEGORY.json."""
    folder = root / "realiad_jsons" / "realiad_jsons"
    for category in sorted({row.category for row in rows}):
        prefix = f"realiad_1024/{category}/"
        content = {"meta": {"prefix": f"{category}/", "normal_class": "OK", "pre_transform": None}}
        for split in ("train", "test"):
            content[split] = [
                {
                    "category": category,
                    "anomaly_class": row.defect if row.label else "OK",
                    "image_path": row.image.removeprefix(prefix),
                    "mask_path": row.mask.removeprefix(prefix) or None,
                }
                for row in rows
                if row.category == category and row.split == split
            ]
        write_json(folder / f"{category}.json", content)


_FINISH: dict[str, Callable[[Path, list[Made]], None]] = {
    "visa": _visa_split,
    "ksdd2": _ksdd2_copies,
    "dagm": _dagm_labels,
    "real_iad": _real_iad_lists,
}
