"""Descriptors of the public data sets: licence, home page, layout, and how many images a complete copy holds."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt

from edgezsad.config import DataSet, Layout, Strict
from edgezsad.data.layouts import ImageItem
from edgezsad.data.manifest import Entry
from edgezsad.errors import InputError, one_line, printable
from edgezsad.files import parse_yaml, sha256_of_bytes, shipped

FOLDER = "data_manifests"
ANY = "any"  # a folder in MVTec layout without a descriptor
PARTS = ("train_normal", "train_defective", "test_normal", "test_defective")


Counts = dict[Literal["images", "defective", *PARTS, "with_mask"], NonNegativeInt]
"""Known numbers of images; `with_mask` counts defective images that have a mask."""


class Expected(Strict):
    """How many images a complete copy and its categories hold, and where these numbers are published."""

    total_source: str
    total: Counts
    categories_source: str
    categories: dict[str, Counts]


class Licence(Strict):
    """Terms of use of the images; `commercial_use` is None if it is not stated or unclear."""

    name: str
    commercial_use: bool | None
    note: str = ""


class Descriptor(Strict):
    """One public data set; see `data_manifests/README.md`. `stray` are files of its archive that are not part of it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    title: str
    home: str = Field(pattern=r"^https?://")
    licence: Licence
    citation: str
    layout: Layout
    archives: tuple[str, ...] | None
    stray: tuple[str, ...] = ()
    steps: tuple[str, ...]
    file_list: str | None
    file_list_sha256: str | None = None
    expected: Expected


def descriptors(folder: Path | None = None) -> dict[str, Descriptor]:
    """Return all descriptors by name, in the order of their files; an invalid file raises InputError."""
    found = {}
    for path in sorted((folder or shipped(FOLDER)).glob("*.yaml")):
        try:
            descriptor = Descriptor.model_validate(parse_yaml(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise InputError(f"{path}: invalid descriptor: {one_line(error, 400)}; fix the file") from None
        found[descriptor.name] = descriptor
    return found


def find_descriptor(name: str, folder: Path | None = None) -> Descriptor | None:
    """Return the descriptor of that name, ignoring case and hyphens; None for `any`."""
    if _plain(name) == ANY:
        return None
    known = {_plain(one): descriptor for one, descriptor in descriptors(folder).items()}
    if found := known.get(_plain(name)):
        return found
    choice = f"choose from {', '.join(one.name for one in known.values())}, or {ANY} for a folder in MVTec layout"
    raise InputError(f"{printable(name) or 'empty name'}: unknown data set; {choice}")


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def read_list(descriptor: Descriptor, folder: Path | None = None) -> list[ImageItem] | None:
    """Return every image of the set from its public file list, or None if no list is public."""
    if descriptor.file_list is None:
        return None
    path = (folder or shipped(FOLDER)) / descriptor.file_list
    try:
        text = path.read_text(encoding="utf-8")
        if descriptor.file_list_sha256 not in (None, sha256_of_bytes(text.encode())):
            raise ValueError("the hash differs")
        rows = csv.DictReader(io.StringIO(text))
        return [ImageItem(**{**row, "label": ("normal", "defective").index(row["label"])}) for row in rows]
    except (FileNotFoundError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: not the file list of {descriptor.name} ({error}); restore it") from None


def stated_count(counts: Counts, name: str) -> int | None:
    """Return a number, the sum of its parts if it is not stated, or None if it is unknown."""
    if name in counts or name in (*PARTS, "with_mask"):
        return counts.get(name)
    # "images" is the sum of all parts, "defective", "train" and "test" of two of them.
    values = [counts.get(part) for part in PARTS if name == "images" or name in part.split("_")]
    return None if None in values else sum(values)


def count_differences(descriptor: Descriptor, images: Sequence[ImageItem | Entry]) -> list[str]:
    """Return differences from the published numbers, such as "bottle: test normal 21 of 20", first of the whole set.

    Where labels are unknown, only images per split are counted.
    """
    columns = ("images", *PARTS, "with_mask")
    if any(one.label is None for one in images):
        columns = ("images", "train", "test")
    expected = {"": descriptor.expected.total, **descriptor.expected.categories}
    found: dict[str, Counter[str]] = {name: Counter() for name in expected}
    for one in images:
        keys = ["images", one.split, f"{one.split}_{'defective' if one.label else 'normal'}"]
        keys += ["with_mask"] if one.label and one.mask else []
        for name in ("", one.category):
            found.setdefault(name, Counter()).update(keys)
    lines = []
    for name, here in found.items():
        known = expected.get(name, {"images": 0})
        prefix = f"{name}: " if name else ""
        lines += [f"{prefix}no images"] if not here and stated_count(known, "images") is None else []
        for column in columns:
            number = stated_count(known, column)
            if number not in (None, here[column]):
                lines.append(f"{prefix}{column.replace('_', ' ')} {here[column]:,} of {number:,}")
    return lines


def as_published(item: DataSet, images: Sequence[ImageItem | Entry]) -> str | None:
    """Return "yes", or "no" with the first difference; None if nothing is known of the data set."""
    descriptor = descriptors().get(item.name)
    if descriptor is None or descriptor.layout != item.layout or item.generated or item.categories is not None:
        return None
    if differences := count_differences(descriptor, images):
        return f"no: {differences[0]}"
    whole = stated_count(descriptor.expected.total, "images") is not None
    return "yes" if whole else "yes, as far as numbers are published"
