"""The rows of a derived list, and the file that keeps them.

`NAME.derived.csv` has one row an image. `NAME.derived.json` beside it is written last and says what the list was
derived from, so that a list of other images or other settings is refused.
"""

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from pathlib import Path

from edgezsad.config import Derive
from edgezsad.data.manifest import Manifest
from edgezsad.errors import InputError
from edgezsad.files import read_json, sha256_of_bytes, write_json, written_beside

KINDS = ("whole", "defect-crop", "normal-crop", "paste", "synthetic")
REMEDY = "run notebook 01_data to write it again"


@dataclass(frozen=True)
class Row:
    """One derived image.

    Attributes:
        id: KIND/TURN/PARENT, unique in a list; TURN counts how often the parent was taken for this kind before.
        parent: id of the image it is made from.
        kind: "whole", "defect-crop", "normal-crop", "paste" or "synthetic".
        scale: height and width of the crop in percent of the parent's.
        left, top, right, bottom: the crop in the parent's pixels, right and bottom outside.
        donor: id of the image that a pasted defect comes from; empty in other kinds.
        donor_left, donor_top, donor_right, donor_bottom: the part of the donor that is laid over the crop, in the
            donor's pixels; of the crop's size, or made so where the two images differ in size.
        label: 0 normal, 1 defective.
        group: DATA SET/CATEGORY.
        seed: of the randomisation.
    """

    id: str
    parent: str
    kind: str
    scale: int
    left: int
    top: int
    right: int
    bottom: int
    donor: str
    donor_left: int
    donor_top: int
    donor_right: int
    donor_bottom: int
    label: int
    group: str
    seed: int


_NAMES = [field.name for field in fields(Row)]
# Many times faster than dataclasses.astuple, which copies every value.
_values = attrgetter(*_NAMES)


@dataclass(frozen=True)
class DerivedList:
    """A derived list.

    Attributes:
        rows: in the order of their ids.
        manifest_sha256: of the manifest that it was derived from.
        seed: that it was derived with.
        config: likewise; its randomisation belongs to what the images are.
    """

    rows: tuple[Row, ...]
    manifest_sha256: str
    seed: int
    config: Derive

    @cached_property
    def sha256(self) -> str:
        """Hash of what the images are: the rows, the parents' content and the settings of the randomisation."""
        settings = self.config.randomise.model_dump_json() + "".join(f"\t{name}" for name in self.config.defects or ())
        digest = hashlib.sha256(f"{self.manifest_sha256}\t{settings}\n".encode())
        for row in self.rows:
            digest.update("\t".join(map(str, _values(row))).encode() + b"\n")
        return digest.hexdigest()

    @property
    def made_from(self) -> dict:
        """What the list was derived from, as JSON values."""
        return {
            "manifest_sha256": self.manifest_sha256,
            "seed": self.seed,
            "settings_sha256": sha256_of_bytes(self.config.model_dump_json().encode()),
        }


def record_path(path: Path | str) -> Path:
    """The record beside a list."""
    return Path(path).with_suffix(".json")


def write_derived(derived: DerivedList, path: Path | str) -> Path:
    """Write a list as CSV and, last, its record; each atomically. Returns `path`."""
    path = Path(path)
    record_path(path).unlink(missing_ok=True)
    with written_beside(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_NAMES)
        writer.writerows(map(_values, derived.rows))
    kinds = Counter(row.kind for row in derived.rows)
    record = {
        "images": len(derived.rows),
        "defective": sum(row.label for row in derived.rows),
        "kinds": {kind: kinds[kind] for kind in KINDS},
        "sha256": derived.sha256,
        "made_from": derived.made_from,
        "settings": derived.config.model_dump(mode="json"),
    }
    write_json(record_path(path), record)
    return path


def read_derived(path: Path | str, manifest: Manifest, config: Derive, seed: int) -> DerivedList:
    """Read a list written by `write_derived`.

    Raises:
        InputError: the list is missing or damaged, or was derived from other images or with other settings.
    """
    path = Path(path)
    record = read_json(record_path(path), REMEDY)
    rows = tuple(_read_rows(path, {entry.id: (entry.width, entry.height) for entry in manifest.entries}))
    derived = DerivedList(rows, manifest.sha256, seed, config)
    if not isinstance(record, dict) or record.get("made_from") != derived.made_from:
        raise InputError(f"{path}: derived from other images or with other settings; {REMEDY}")
    if record.get("sha256") != derived.sha256:
        raise InputError(f"{path}: not the list that its record describes; {REMEDY}")
    return derived


def _read_rows(path: Path, sizes: dict[str, tuple[int, int]]) -> list[Row]:
    numbers = {field.name for field in fields(Row) if field.type is int}
    rows = []
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream)
            if next(reader, None) != _NAMES:
                raise InputError(f"{path}: not a derived list; {REMEDY}")
            for cells in reader:
                values = dict(zip(_NAMES, cells, strict=True))
                row = Row(**{name: int(value) if name in numbers else value for name, value in values.items()})
                if problem := _problem(row, sizes):
                    raise InputError(f"{path}: row {reader.line_num}, {row.id!a}, {problem}; {REMEDY}")
                rows.append(row)
    except FileNotFoundError:
        raise InputError(f"{path}: no such list; {REMEDY}") from None
    except InputError:
        raise
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: row {len(rows) + 2} is damaged ({error}); {REMEDY}") from None
    return rows


def _problem(row: Row, sizes: dict[str, tuple[int, int]]) -> str | None:
    """What is wrong with a row, or None."""
    if row.kind not in KINDS or row.label not in (0, 1) or bool(row.donor) != (row.kind == "paste"):
        return "has an unknown kind or label"
    if row.parent not in sizes or (row.donor and row.donor not in sizes):
        return "is made from an image that is not in the manifest"
    if not _within(row.left, row.top, row.right, row.bottom, sizes[row.parent]):
        return "is cut from outside its image"
    donor = row.donor_left, row.donor_top, row.donor_right, row.donor_bottom
    if row.donor and not _within(*donor, sizes[row.donor]):
        return "is cut from outside its donor"
    return None


def _within(left: int, top: int, right: int, bottom: int, size: tuple[int, int]) -> bool:
    return 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
