"""A manifest lists every image of a data set with its label, mask and content hash: the start of the one way through.

manifest -> images -> model -> score file -> metrics -> table -> book
"""

import csv
import hashlib
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from edgezsad.errors import InputError
from edgezsad.files import written_beside


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
        """Hash of what the images are, whatever folder they lie in and whatever the file's line endings."""
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
    """Write a manifest as CSV (one row an image, header row), atomically; returns `path`."""
    with written_beside(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(field.name for field in fields(Entry))
        writer.writerows(astuple(entry) for entry in manifest.entries)
    return Path(path)


def read_manifest(path: Path | str, root: Path | str, name: str | None = None) -> Manifest:
    """Read a manifest written by `write_manifest`.

    Args:
        path: the CSV file.
        root: the data set's folder.
        name: the data set's name; the file's stem when left out.

    Raises:
        InputError: the file is missing, or a row is damaged, doubled or points outside `root`.
    """
    path = Path(path)
    remedy = "run notebook 01_data to write it again"
    names = [field.name for field in fields(Entry)]
    entries: list[Entry] = []
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            if reader.fieldnames != names:
                raise InputError(f"{path}: not a manifest (columns {reader.fieldnames}); {remedy}")
            for row in reader:
                row["label"], row["width"], row["height"] = (int(row[key]) for key in ("label", "width", "height"))
                entries.append(Entry(**row))
    except FileNotFoundError:
        raise InputError(f"{path}: no such manifest; {remedy}") from None
    except (UnicodeDecodeError, csv.Error, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: row {len(entries) + 2} is damaged ({error}); {remedy}") from None
    seen: set[str] = set()
    for entry in entries:
        for relative in filter(None, (entry.id, entry.mask)):
            if Path(relative).is_absolute() or ".." in Path(relative).parts:
                raise InputError(f"{path}: {relative} leaves the data set's folder; {remedy}")
        if entry.label not in (0, 1):
            raise InputError(f"{path}: {entry.id} has label {entry.label}, not 0 or 1; {remedy}")
        if entry.id in seen:
            raise InputError(f"{path}: {entry.id} is listed twice; {remedy}")
        seen.add(entry.id)
    return Manifest(name or path.stem, Path(root), tuple(entries))
