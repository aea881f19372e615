"""Descriptors of the public data sets: licence, home page, layout, and how many images a complete copy holds.

One YAML file for each set in `data_manifests/`, and the complete list of files where it is public. Numbers that nobody
has published are left out and are unknown everywhere.
"""

import csv
import difflib
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgezsad.config import DataSet, Layout
from edgezsad.data.layouts import ImageItem, printable
from edgezsad.data.manifest import Entry
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_bytes, shipped

FOLDER = "data_manifests"
ANY = "any"
"""Name for a folder in MVTec layout without a descriptor."""

PARTS = ("train_normal", "train_defective", "test_normal", "test_defective")
"""Every image is in one of these."""


class _Part(BaseModel):
    """Strict frozen model: no extra keys, no coercion of strings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Counts(_Part):
    """Numbers of images; None if unknown. `with_mask` counts defective images that have a mask."""

    images: int | None = Field(None, ge=0)
    defective: int | None = Field(None, ge=0)
    train_normal: int | None = Field(None, ge=0)
    train_defective: int | None = Field(None, ge=0)
    test_normal: int | None = Field(None, ge=0)
    test_defective: int | None = Field(None, ge=0)
    with_mask: int | None = Field(None, ge=0)

    def get(self, name: str) -> int | None:
        """Return a number, the sum of its parts if it is not stated, or None."""
        stated = getattr(self, name, None)
        if stated is not None or name in (*PARTS, "with_mask"):
            return stated
        # "images" is the sum of all parts, "defective", "train" and "test" of two of them.
        values = [getattr(self, part) for part in PARTS if name == "images" or name in part.split("_")]
        return None if None in values else sum(values)


class Total(Counts):
    """Numbers of the whole set, and where they are published."""

    source: str = Field(min_length=1)


class Expected(_Part):
    """How many images a complete copy holds."""

    total: Total
    categories_source: str = Field(min_length=1)
    """Where the categories' names and numbers are published."""
    categories: dict[str, Counts] = Field(min_length=1)


class Licence(_Part):
    """Terms of use of the images. Read the licence itself before use."""

    name: str = Field(min_length=1)
    commercial_use: bool | None
    """None: not stated, or unclear."""
    note: str = ""


class Descriptor(_Part):
    """One public data set."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    title: str
    home: str = Field(pattern=r"^https?://")
    licence: Licence
    citation: str
    """Key of an entry in book/references.bib."""
    layout: Layout
    archives: tuple[str, ...] | None = Field(strict=False)
    """File names as they are downloaded; None if unknown."""
    stray: tuple[str, ...] = Field((), strict=False)
    """Files of the published archive that do not belong to the set, for instance a duplicated image."""
    steps: tuple[str, ...] = Field(min_length=1, strict=False)
    """How to get it, in words."""
    file_list: str | None
    """Below `data_manifests/`: every image and mask of the set; None if no list is public."""
    file_list_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """Hash of the list's text with plain line ends."""
    expected: Expected

    def data_set(self, root: Path) -> DataSet:
        """Return a copy of the set in `root` as a profile would list it."""
        return DataSet(name=self.name, layout=self.layout, root=root)


def read_descriptor(path: Path | str) -> Descriptor:
    """Read one descriptor.

    Raises:
        InputError: the file is missing, is not YAML, or has an unknown key or a wrong value.
    """
    path = Path(path)
    try:
        return Descriptor.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{path}: no such descriptor; restore it from the repository") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: invalid YAML: {' '.join(str(error).split())}; fix the file") from None
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in item['loc']) or 'descriptor'}: {item['msg']}" for item in error.errors()
        ]
        raise InputError(f"{path}: {'; '.join(problems)}; fix the file") from None


def descriptors(folder: Path | None = None) -> dict[str, Descriptor]:
    """Return all descriptors by name, in the order of their files.

    Raises:
        InputError: there are none, or one is invalid.
    """
    folder = folder or shipped(FOLDER)
    found = [read_descriptor(path) for path in sorted(folder.glob("*.yaml"))]
    if not found:
        raise InputError(f"{folder}: no descriptors; install the package again")
    return {descriptor.name: descriptor for descriptor in found}


def find_descriptor(name: str, folder: Path | None = None) -> Descriptor | None:
    """Return the descriptor of that name, ignoring case and hyphens; None for `any`.

    Raises:
        InputError: there is none; the message suggests the nearest name.
    """
    if _plain(name) == ANY:
        return None
    known = {_plain(one): descriptor for one, descriptor in descriptors(folder).items()}
    if _plain(name) in known:
        return known[_plain(name)]
    near = difflib.get_close_matches(_plain(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {known[near[0]].name}? " if near else ""
    choice = f"choose from {', '.join(one.name for one in known.values())}, or {ANY} for a folder in MVTec layout"
    raise InputError(f"{printable(name) or 'empty name'}: unknown data set; {hint}{choice}")


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def read_list(descriptor: Descriptor, folder: Path | None = None) -> list[ImageItem] | None:
    """Return every image of the set from its public file list, or None if no list is public.

    Raises:
        InputError: the list is missing, damaged, or not the one of the descriptor.
    """
    if descriptor.file_list is None:
        return None
    path = (folder or shipped(FOLDER)) / descriptor.file_list
    remedy = "restore it from the repository"
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no such file list, or damaged ({error}); {remedy}") from None
    if descriptor.file_list_sha256 not in (None, sha256_of_bytes(text.encode())):
        raise InputError(f"{path}: not the file list of {descriptor.name}; {remedy}")
    rows = csv.DictReader(io.StringIO(text))
    try:
        return [ImageItem(**{**row, "label": ("normal", "defective").index(row["label"])}) for row in rows]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: row {rows.line_num} is damaged ({error}); {remedy}") from None


# Counting -------------------------------------------------------------------------------------------------------------


def count_images(images: Iterable[ImageItem | Entry]) -> dict[str, Counter[str]]:
    """Count images by category, with the keys of `Counts` and "train" and "test".

    Images whose label only their mask tells are counted as "train_unlabelled" and "test_unlabelled".
    """
    counts: dict[str, Counter[str]] = {}
    for one in images:
        kind = {None: "unlabelled", 0: "normal", 1: "defective"}[one.label]
        keys = [f"{one.split}_{kind}", "images", one.split]
        if one.label:
            keys += ["defective"] + (["with_mask"] if one.mask else [])
        counts.setdefault(one.category, Counter()).update(keys)
    return counts


def count_differences(descriptor: Descriptor, images: Iterable[ImageItem | Entry], quick: bool = False) -> list[str]:
    """Compare numbers of images with the published ones.

    Args:
        descriptor: of the data set.
        images: found.
        quick: compare only images per split, for images whose labels are unknown.

    Returns:
        One line for each difference, first of the whole set, then of its categories: "bottle: test normal 21 of 20".
    """
    columns = ("images", "train", "test") if quick else ("images", *PARTS, "with_mask")
    counts = count_images(images)
    expected = {"": descriptor.expected.total, **descriptor.expected.categories}
    found = {"": sum(counts.values(), Counter()), **counts}
    lines = []
    for name in [*expected, *sorted(found.keys() - expected.keys())]:
        stated = expected.get(name, Counts(images=0))
        numbers = {column: stated.get(column) for column in columns}
        if name and name not in counts and numbers["images"] is None:
            lines.append(f"{name}: no images")
        here = found.get(name, Counter())
        prefix = f"{name}: " if name else ""
        lines += [
            f"{prefix}{column.replace('_', ' ')} {here[column]:,} of {number:,}"
            for column, number in numbers.items()
            if number not in (None, here[column])
        ]
    return lines


def as_published(item: DataSet, images: Iterable[ImageItem | Entry]) -> str | None:
    """Return "yes", or "no" with the first difference; None if nothing is known of the data set."""
    descriptor = descriptors().get(item.name)
    if descriptor is None or descriptor.layout != item.layout or item.generated or item.categories is not None:
        return None
    if differences := count_differences(descriptor, images):
        return f"no: {differences[0]}"
    return "yes" if descriptor.expected.total.get("images") is not None else "yes, as far as numbers are published"
