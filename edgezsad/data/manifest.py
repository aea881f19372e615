"""Manifests list every image of a data set with its label, mask, size and SHA-256."""

import csv
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from functools import cache, partial
from pathlib import Path

from edgezsad.config import DataSet
from edgezsad.data.images import decode_mask, mask_files, measure
from edgezsad.data.layouts import NORMAL, ImageItem, scan_layout
from edgezsad.errors import CheckError, InputError, printable
from edgezsad.files import (
    csv_cell,
    progress,
    read_json,
    sha256_of_bytes,
    sha256_of_file,
    verified,
    write_text,
    written_beside,
)
from edgezsad.run import Run

Choice = Callable[[list[ImageItem]], list[ImageItem]]
SAVE_FILES = 5_000  # files between saves of the hash cache: what a killed index reads again at most


@dataclass(frozen=True)
class Entry:
    """One image: its path, unique in a manifest, its labels as in `ImageItem`, its size, and hashes of the files.

    Sizes are in pixels. `mask` and `mask_sha256` are empty without a mask, of which any non-zero pixel is defective.
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
    """A data set's images, in the order of their ids; `root` is the folder that paths are relative to."""

    name: str
    root: Path
    entries: tuple[Entry, ...]

    @property
    def sha256(self) -> str:
        """Hash of all entries, independent of `root`."""
        lines = ("\t".join(str(value) for value in astuple(entry)) + "\n" for entry in self.entries)
        return sha256_of_bytes("".join(lines).encode())

    def path(self, entry: Entry) -> Path:
        """Return the path of an image; CheckError if it is not the indexed one."""
        return indexed(self.root, entry.id, entry.sha256)

    def mask_path(self, entry: Entry) -> Path | None:
        """Return the path of a mask, None without one; CheckError if it is not the indexed one."""
        return indexed(self.root, entry.mask, entry.mask_sha256) if entry.mask else None

    def select(self, split: str) -> "Manifest":
        """Return the same data set with only one split."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry.split == split))


def indexed(root: Path, name: str, sha256: str) -> Path:
    """Return the path of a listed file; a file that changed after it was indexed is a `CheckError`."""
    path = root / name
    if path.exists() and _hash(path, path.stat().st_size, path.stat().st_mtime_ns) != sha256:
        raise CheckError(f"{path}: changed after it was indexed; restore it, or run notebook 01_data again")
    return path


# Training reads an image many times.
@cache
def _hash(path: Path, size: int, modified: int) -> str:
    if path.is_dir():
        return sha256_of_bytes("".join(map(sha256_of_file, mask_files(path))).encode())
    return sha256_of_file(path)


def _rows(manifest: Manifest) -> list[list[str]]:
    """Header, images, and a last row with their number and hash, which detects a truncated or edited file."""
    columns = [column.name for column in fields(Entry)]
    last = dict.fromkeys(columns, "") | {"id": f"# images: {len(manifest.entries)}", "sha256": manifest.sha256}
    return [columns, *([str(value) for value in astuple(entry)] for entry in manifest.entries), list(last.values())]


def write_manifest(manifest: Manifest, path: Path | str) -> Path:
    """Write a manifest as CSV, atomically; returns `path`."""
    with written_beside(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(map(csv_cell, row) for row in _rows(manifest))
    return Path(path)


def read_manifest(path: Path | str, root: Path | str, name: str | None = None) -> Manifest:
    """Read a manifest of files below `root`, named after its file by default; InputError if missing or damaged."""
    remedy = "run notebook 01_data, or `edgezsad data index`, to write it again"
    try:
        # utf-8-sig: spreadsheets write a byte-order mark.
        with open(verified(path), newline="", encoding="utf-8-sig") as stream:
            # `csv_cell` marks text that a spreadsheet would compute.
            rows = [[cell.removeprefix("'") for cell in row] for row in csv.reader(stream, strict=True)]
        entries = (Entry(*row[:3], int(row[3]), *row[4:6], int(row[6]), int(row[7]), *row[8:]) for row in rows[1:-1])
        manifest = Manifest(name or Path(path).stem, Path(root), tuple(entries))
    except FileNotFoundError:
        raise InputError(f"{path}: no such manifest; {remedy}") from None
    except (IsADirectoryError, IndexError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a manifest, or damaged ({error}); {remedy}") from None
    if rows != _rows(manifest):
        raise InputError(f"{path}: not a manifest, or truncated or changed; {remedy}")
    return manifest


def read_run_manifest(run: Run, item: DataSet) -> Manifest:
    """Read the manifest of one data set of a run."""
    return read_manifest(run.manifest_path(item.name), run.profile.data.folder(item), item.name)


def index_dataset(
    item: DataSet, root: Path | str, manifest: Path | None = None, workers: int = 1, choose: Choice | None = None
) -> Manifest:
    """List, measure and hash all images of a data set in the folder `root`, or those that `choose` selects.

    Sizes and hashes are kept next to `manifest`, its path (see `hash_cache`); `workers` threads read the files. The
    first problem of a file, a folder or a list is an InputError.
    """
    root = Path(root)
    scan = scan_layout(item.layout, root)
    if scan.problems:
        raise InputError(f"{printable(root)}/{scan.problems[0]}")
    known = {one.category for one in scan.items}
    if missing := sorted(set(item.categories or ()) - known):
        raise InputError(f"{printable(root)}: no category {', '.join(missing)}; choose from {', '.join(sorted(known))}")
    items = [one for one in scan.items if item.categories is None or one.category in item.categories]
    items = choose(items) if choose else items
    with hash_cache(root, manifest) as measured, ThreadPoolExecutor(max(1, workers)) as pool:
        entries = pool.map(partial(_read_entry, root, measured), items)
        return Manifest(item.name, root, tuple(progress(entries, f"index {item.name}", len(items))))


def _read_entry(root: Path, measured: Callable, item: ImageItem) -> Entry:
    height, width, sha256 = measured(item.image)
    label = item.label
    if label is None:
        label = int(decode_mask(root / item.mask, (height, width)).any())
    mask = item.mask if label else ""
    mask_sha256 = measured(mask, (height, width))[2] if mask else ""
    defect = item.defect if label else NORMAL
    return Entry(item.image, item.category, item.split, label, defect, mask, width, height, sha256, mask_sha256)


def few_of_each(root: Path, limit: int, items: list[ImageItem]) -> list[ImageItem]:
    """Return at most `limit` images of each split and label, from as many categories as possible: for a rehearsal."""
    counters = defaultdict(itertools.count)
    positions = [next(counters[item.split, item.label, item.category]) for item in items]
    chosen, taken = [], Counter()
    # One image of each category after another.
    for _, item in sorted(zip(positions, items, strict=True), key=lambda pair: pair[0]):
        label = item.label
        if label is None and min(taken[item.split, 0], taken[item.split, 1]) < limit:
            label = int(decode_mask(root / item.mask, measure(root / item.image)[:2]).any())
        if label is not None and taken[item.split, label] < limit:
            taken[item.split, label] += 1
            chosen.append(item)
    return sorted(chosen, key=lambda item: item.image)


@contextmanager
def hash_cache(root: Path, manifest: Path | None) -> Iterator[Callable]:
    """Yield a function like `measure` for names below `root`; MANIFEST.cache.json keeps results of unchanged files."""
    path = manifest and Path(f"{manifest}.cache.json")
    known = read_json(path, "delete it") if path and path.exists() else {}

    def save() -> None:
        if path:
            write_text(path, json.dumps(dict(known)))

    def measured(name: str, shape: tuple[int, int] | None = None) -> tuple[int, int, str]:
        key = _stamp(root, name)
        if key not in known or shape not in (None, tuple(known[key][:2])):
            known[key] = measure(root / name, shape)
            if len(known) % SAVE_FILES == 0:
                save()
        return tuple(known[key])

    try:
        yield measured
    finally:
        save()


def _stamp(root: Path, name: str) -> str:
    """Name, size and modification time of a file, or of all files in a folder of masks."""
    path = root / name
    if not (name and path.exists()):
        return f"{name} missing"
    return " ".join([name, *(f"{one.stat().st_size} {one.stat().st_mtime_ns}" for one in mask_files(path))])


def fingerprint(item: DataSet, root: Path | str) -> str:
    """Return a hash of the names, sizes and times of a data set's images and masks, without reading them.

    A folder that is missing or not in the layout has the hash of its error.
    """
    root = Path(root)
    try:
        scan = scan_layout(item.layout, root)
        lines = [f"{one} {_stamp(root, one.image)} {_stamp(root, one.mask)}" for one in scan.items] + scan.problems
    except InputError as error:
        lines = [str(error)]
    return sha256_of_bytes("\n".join(lines).encode(errors="replace"))
