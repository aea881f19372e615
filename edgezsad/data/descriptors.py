"""What is known of each public data set before anybody has a copy: licence, where to get it, how many images it holds.

One YAML file a set in `data_manifests/`, and the complete list of files where it is public. Numbers that nobody has
stated are left out, and count as unknown everywhere.
"""

import csv
import difflib
import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edgezsad.config import DataSet, Layout
from edgezsad.data.folders import shown
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_bytes, shipped

FOLDER = "data_manifests"
ANY = "any"
"""In place of a descriptor's name: a folder in MVTec layout of which nothing is known beforehand."""

FOUR = ("train_normal", "train_defective", "test_normal", "test_defective")
"""Every image is in one of these."""


class _Part(BaseModel):
    """Unknown keys are errors, values do not change, and text is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Counts(_Part):
    """Numbers of images; None where unknown. `with_mask` counts defective images that have a mask."""

    images: int | None = Field(None, ge=0)
    defective: int | None = Field(None, ge=0)
    train_normal: int | None = Field(None, ge=0)
    train_defective: int | None = Field(None, ge=0)
    test_normal: int | None = Field(None, ge=0)
    test_defective: int | None = Field(None, ge=0)
    with_mask: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _sums_agree(self) -> "Counts":
        sums = {"images": _sum(self, FOUR), "defective": _sum(self, ("train_defective", "test_defective"))}
        for name, value in sums.items():
            stated = getattr(self, name)
            if None not in (stated, value) and stated != value:
                raise ValueError(f"{name} is {stated}, but its parts add up to {value}")
        return self

    def get(self, name: str) -> int | None:
        """A number, added up from its parts where it is not stated itself."""
        stated = getattr(self, name)
        if stated is None and name == "images":
            return _sum(self, FOUR)
        if stated is None and name == "defective":
            return _sum(self, ("train_defective", "test_defective"))
        return stated


def _sum(counts: Counts, names: tuple[str, ...]) -> int | None:
    values = [getattr(counts, name) for name in names]
    return None if None in values else sum(values)


class Total(Counts):
    """Numbers of the whole set, and where they are stated."""

    source: str = Field(min_length=1)


class Expected(_Part):
    """How many images a complete copy holds."""

    total: Total
    categories_source: str = Field(min_length=1)
    """Where the categories' names and numbers are stated."""
    categories: dict[str, Counts] = Field(min_length=1)

    @model_validator(mode="after")
    def _categories_add_up(self) -> "Expected":
        for name in Counts.model_fields:
            values = [counts.get(name) for counts in self.categories.values()]
            total = self.total.get(name)
            if total is not None and None not in values and sum(values) != total:
                raise ValueError(f"total.{name} is {total}, but the categories add up to {sum(values)}")
        return self


class Licence(_Part):
    """Under what terms the images may be used. Read the licence itself before use."""

    name: str = Field(min_length=1)
    commercial_use: bool | None
    """None: the licence does not say, or we could not tell."""
    note: str = ""


class Descriptor(_Part):
    """One data set."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    title: str
    home: str = Field(pattern=r"^https?://")
    licence: Licence
    citation: str
    """Key of an entry in book/references.bib."""
    layout: Layout
    archives: tuple[str, ...] | None = Field(strict=False)
    """File names as they are downloaded; None where unknown."""
    stray: tuple[str, ...] = Field((), strict=False)
    """Files of the published archive that are no part of the set, for instance a doubled image."""
    steps: tuple[str, ...] = Field(min_length=1, strict=False)
    """How to get it, in words."""
    file_list: str | None
    """Below `data_manifests/`: every image and mask of the set; None where no list is public."""
    file_list_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """Of the list's text with plain line ends: a list that was cut or changed would call a whole copy damaged."""
    expected: Expected

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if _plain(name) == ANY:
            raise ValueError(f"{ANY} stands for a folder without a descriptor")
        return name

    @field_validator("file_list")
    @classmethod
    def _list_lies_below(cls, file_list: str | None) -> str | None:
        if file_list is not None and (PurePosixPath(file_list).is_absolute() or ".." in Path(file_list).parts):
            raise ValueError(f"{file_list} leaves the folder {FOLDER}")
        return file_list

    def data_set(self, root: Path) -> DataSet:
        """A copy of it in `root`, as a profile would name it."""
        return DataSet(name=self.name, layout=self.layout, root=root)


@dataclass(frozen=True)
class Listed:
    """One image of a public file list; `mask` is empty when there is none."""

    category: str
    split: str
    label: int
    defect: str
    image: str
    mask: str


def descriptors_folder() -> Path:
    """`data_manifests/` of the checkout that holds this package, or else the copy that a built package has."""
    return shipped(FOLDER)


class _Loader(yaml.SafeLoader):
    """As PyYAML's, but a key given twice is an error: it would silently keep the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                problem=f"{', '.join(twice)}: given twice", problem_mark=node.start_mark
            )
        return super().construct_mapping(node, deep)


def read_descriptor(path: Path | str) -> Descriptor:
    """Read and check one descriptor.

    Raises:
        InputError: the file is missing, is not YAML, or has an unknown or doubled key or a wrong value.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        return Descriptor.model_validate(content)
    except FileNotFoundError:
        raise InputError(f"{path}: no such descriptor; restore it from the repository") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend the file") from None
    except RecursionError:
        raise InputError(f"{path}: not valid YAML (nested too deeply); mend the file") from None
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in item['loc']) or 'descriptor'}: {item['msg']}" for item in error.errors()
        ]
        raise InputError(f"{path}: {'; '.join(problems)}; mend the file") from None


def descriptors(folder: Path | None = None) -> dict[str, Descriptor]:
    """All descriptors by name, in the order of their files.

    Raises:
        InputError: there are none, one is damaged, or two have the same name.
    """
    folder = folder or descriptors_folder()
    found: dict[str, Descriptor] = {}
    for path in sorted(folder.glob("*.yaml")):
        descriptor = read_descriptor(path)
        if _plain(descriptor.name) in {_plain(name) for name in found}:
            raise InputError(f"{path}: {descriptor.name} is described twice; rename one")
        found[descriptor.name] = descriptor
    if not found:
        raise InputError(f"{folder}: no descriptors; install the package again")
    return found


def find_descriptor(name: str, folder: Path | None = None) -> Descriptor | None:
    """The descriptor of that name, whatever its case and hyphens; None for `any`.

    Raises:
        InputError: there is none; the line names the nearest.
    """
    if _plain(name) == ANY:
        return None
    known = descriptors(folder)
    by_plain = {_plain(one): descriptor for one, descriptor in known.items()}
    if _plain(name) in by_plain:
        return by_plain[_plain(name)]
    near = difflib.get_close_matches(_plain(name), by_plain, n=1, cutoff=0.5)
    hint = f"did you mean {by_plain[near[0]].name}? " if near else ""
    choice = f"choose from {', '.join(known)}, or {ANY} for a folder in MVTec layout"
    raise InputError(f"{shown(name) or 'an empty name'}: no such data set; {hint}{choice}")


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def read_list(descriptor: Descriptor, folder: Path | None = None) -> list[Listed] | None:
    """Every image of the set, in the order of the names; None where no list is public.

    Raises:
        InputError: the list is missing, damaged, or not the one that the descriptor tells of.
    """
    if descriptor.file_list is None:
        return None
    path = (folder or descriptors_folder()) / descriptor.file_list
    remedy = "restore it from the repository"
    names = ["category", "split", "label", "defect", "image", "mask"]
    try:
        text = path.read_text(encoding="utf-8")
        reader = csv.DictReader(io.StringIO(text))
        if reader.fieldnames != names:
            raise InputError(f"{path}: not a file list (columns {reader.fieldnames}); {remedy}")
        rows = list(reader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file list; {remedy}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: damaged ({error}); {remedy}") from None
    for number, row in enumerate(rows, start=2):
        whole = None not in row and None not in row.values()
        if not whole or row["split"] not in ("train", "test") or row["label"] not in ("normal", "defective"):
            raise InputError(f"{path}: row {number} is damaged; {remedy}")
    if descriptor.file_list_sha256 not in (None, sha256_of_bytes(text.encode())):
        raise InputError(f"{path}: not the list that the descriptor of {descriptor.name} tells of; {remedy}")
    return [Listed(**{**row, "label": int(row["label"] == "defective")}) for row in rows]
