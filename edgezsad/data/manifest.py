"""A manifest lists every image of a data set with its label, mask and content hash: the start of the one way through.

manifest -> images -> model -> score file -> metrics -> table -> book
"""

import csv
import hashlib
import re
from dataclasses import astuple, dataclass, fields
from pathlib import Path, PurePosixPath

from edgezsad.config import DataSet
from edgezsad.errors import InputError
from edgezsad.files import written_beside
from edgezsad.run import Run

NORMAL = "good"
"""`Entry.defect` of a normal image, in every layout."""

_SHA256 = re.compile("[0-9a-f]{64}")
_NUMBER = re.compile("0|[1-9][0-9]{0,9}")
"""As it is written: `int` would also take "+1", " 1", "1_0" and digits of other scripts."""
_CONTROL = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        id: path of the image below the data set's root, with forward slashes; unique in a manifest.
        category: the object or texture, for instance "bottle".
        split: "train" or "test".
        label: 0 normal, 1 defective.
        defect: the kind of defect; "good" for a normal image.
        mask: path of the mask below the root; empty when there is none. Any non-zero mask pixel is defective.
        width, height: of the image, in pixels.
        sha256: of the image file's bytes.
        mask_sha256: of the mask file's bytes; empty when there is no mask.
    """

    id: str
    category: str
    split: str
    label: int
    defect: str
    mask: str
    width: int
    height: int
    sha256: str
    mask_sha256: str


@dataclass(frozen=True)
class Manifest:
    """A data set's images, in the order of their ids.

    Attributes:
        name: the data set's name.
        root: the folder that ids and masks are relative to.
        entries: one for each image.
    """

    name: str
    root: Path
    entries: tuple[Entry, ...]

    @property
    def sha256(self) -> str:
        """Hash of what the images are, wherever `root` lies (paths count from it) and however lines end."""
        digest = hashlib.sha256()
        for entry in self.entries:
            digest.update("\t".join(str(value) for value in astuple(entry)).encode() + b"\n")
        return digest.hexdigest()

    def path(self, entry: Entry) -> Path:
        """Where an image lies on disk."""
        return self.root / entry.id

    def mask_path(self, entry: Entry) -> Path | None:
        """Where an image's mask lies on disk, or None."""
        return self.root / entry.mask if entry.mask else None

    def select(self, split: str) -> "Manifest":
        """The same data set with only one split."""
        return Manifest(self.name, self.root, tuple(e for e in self.entries if e.split == split))


def write_manifest(manifest: Manifest, path: Path | str) -> Path:
    """Write a manifest as CSV, atomically: a header row, one row an image, and `_last_row`; returns `path`."""
    with written_beside(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(field.name for field in fields(Entry))
        writer.writerows(astuple(entry) for entry in manifest.entries)
        writer.writerow(_last_row(manifest))
    return Path(path)


def read_manifest(path: Path | str, root: Path | str, name: str | None = None) -> Manifest:
    """Read a manifest written by `write_manifest`.

    Args:
        path: the CSV file.
        root: the data set's folder.
        name: the data set's name; the file's stem when left out.

    Raises:
        InputError: the file is missing, cut off or changed; a row is damaged, doubled, out of order or points outside
            `root`; a mask belongs to two images, or is an image itself.
    """
    path = Path(path)
    remedy = "run notebook 01_data, or `edgezsad data index`, to write it again"
    names = [field.name for field in fields(Entry)]
    entries: list[Entry] = []
    last = None
    try:
        # Spreadsheets put a byte-order mark in front.
        with open(path, newline="", encoding="utf-8-sig") as stream:
            # strict: otherwise one stray quotation mark swallows all rows behind it.
            reader = csv.DictReader(stream, strict=True)
            if reader.fieldnames != names:
                raise InputError(f"{path}: not a manifest (columns {reader.fieldnames}); {remedy}")
            for number, row in enumerate(reader, start=2):
                # csv gives None for cells that a cut-off row lacks, and keeps surplus ones under the key None.
                if None in row or None in row.values():
                    raise InputError(f"{path}: row {number} is damaged (not {len(names)} cells); {remedy}")
                if last is not None:
                    raise InputError(f"{path}: row {number} stands behind the last row; {remedy}")
                if row["id"].startswith(_COUNT) and not row["category"]:
                    last = tuple(row.values())
                    continue
                numbers = {key: row[key] for key in ("label", "width", "height")}
                for key, text in numbers.items():
                    if not _NUMBER.fullmatch(text):
                        raise InputError(f"{path}: row {number} is damaged ({key} is {text!a}); {remedy}")
                entry = Entry(**{**row, **{key: int(text) for key, text in numbers.items()}})
                problem = _entry_problem(entry)
                if problem:
                    raise InputError(f"{path}: row {number}, {entry.id!r}, {problem}; {remedy}")
                if entries and entry.id <= entries[-1].id:
                    what = "is listed twice" if entry.id == entries[-1].id else "is not in the order of the ids"
                    raise InputError(f"{path}: row {number}, {entry.id}, {what}; {remedy}")
                entries.append(entry)
    except FileNotFoundError:
        raise InputError(f"{path}: no such manifest; {remedy}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; give a manifest file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: row {len(entries) + 2} is damaged ({error}); {remedy}") from None
    if problem := _mask_problem(entries):
        raise InputError(f"{path}: {problem}; {remedy}")
    manifest = Manifest(name or path.stem, Path(root), tuple(entries))
    if last is None:
        raise InputError(f"{path}: cut off after {len(entries):,} images; {remedy}")
    if last != _last_row(manifest):
        raise InputError(f"{path}: not the {len(entries):,} images that its last row tells of; {remedy}")
    return manifest


def read_run_manifest(run: Run, item: DataSet) -> Manifest:
    """Read the manifest of one data set of a run."""
    return read_manifest(run.manifest_path(item.name), run.profile.data.folder(item), item.name)


def read_source_manifests(run: Run) -> list[Manifest]:
    """Read the manifests of all sources of a run."""
    return [read_run_manifest(run, item) for item in run.profile.data.source]


_COUNT = "# images: "


def _last_row(manifest: Manifest) -> tuple[str, ...]:
    """What tells a whole manifest from one that was cut at a line's end, or changed: how many images, and their hash.

    It has the cells of any other row, so that a spreadsheet leaves it as it is.
    """
    cells = dict.fromkeys((field.name for field in fields(Entry)), "")
    return tuple((cells | {"id": f"{_COUNT}{len(manifest.entries)}", "sha256": manifest.sha256}).values())


def _mask_problem(entries: list[Entry]) -> str | None:
    """What is wrong with the masks taken together, or None."""
    images = {entry.id for entry in entries}
    belongs: dict[str, str] = {}
    for entry in entries:
        if entry.mask in images:
            return f"{entry.mask} is an image, and the mask of {entry.id}"
        if entry.mask and entry.mask in belongs:
            return f"{entry.mask} is the mask of both {belongs[entry.mask]} and {entry.id}"
        belongs[entry.mask] = entry.id
    return None


def name_problem(name: str) -> str | None:
    """What keeps a path or a name out of a manifest, or None.

    Control characters are refused because one row is one line, and because cells are joined by tabs to hash them.
    """
    if _CONTROL.search(name):
        return "has a control character in it"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    return None


def _entry_problem(entry: Entry) -> str | None:
    """What is wrong with an entry, or None."""
    for relative in (entry.id, entry.mask):
        if Path(relative).is_absolute() or ".." in Path(relative).parts:
            return f"leaves the data set's folder ({relative})"
    for value in (entry.id, entry.category, entry.defect, entry.mask):
        problem = name_problem(value)
        if problem:
            return problem
    for name in ("id", "category", "defect"):
        if not getattr(entry, name):
            return f"has no {name}"
    for relative in (entry.id, entry.mask):
        # Under two spellings one image would be counted twice.
        if relative and PurePosixPath(relative).as_posix() != relative:
            return f"is not in normal form ({relative})"
    if entry.label not in (0, 1):
        return f"has label {entry.label}, not 0 or 1"
    if (entry.label == 0) != (entry.defect == NORMAL):
        return f"has label {entry.label}, but defect {entry.defect}"
    if entry.mask and entry.label == 0:
        return "has a mask, but is normal"
    if entry.split not in ("train", "test"):
        return f"has split {entry.split!r}, not train or test"
    if entry.width < 1 or entry.height < 1:
        return f"has size {entry.width}x{entry.height}"
    if not _SHA256.fullmatch(entry.sha256):
        return "has no SHA-256"
    if bool(entry.mask) != bool(entry.mask_sha256) or (entry.mask and not _SHA256.fullmatch(entry.mask_sha256)):
        return "has a mask without its SHA-256, or the reverse"
    return None
