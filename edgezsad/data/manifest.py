"""A manifest lists every image of a data set with its label, mask, size and SHA-256.

manifest -> images -> model -> score file -> metrics -> table -> book
"""

import csv
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

from edgezsad.config import DataSet
from edgezsad.data.images import decode_mask, measure
from edgezsad.data.layouts import NORMAL, SPLITS, ImageItem, printable, scan_layout
from edgezsad.errors import InputError
from edgezsad.files import progress, written_beside
from edgezsad.run import Run

SAVE_SECONDS = 30
"""Time between saves of the hash cache: what a killed index reads again."""

SETTLED_NS = 2_000_000_000
"""A file that changed this shortly before it was read is not cached: it may change again with the same time stamp."""


@dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        id: path of the image below the data set's root, with forward slashes; unique in a manifest.
        category: the object or texture, for instance "bottle".
        split: "train" or "test".
        label: 0 normal, 1 defective.
        defect: the kind of defect; "good" for a normal image.
        mask: path of the mask below the root; empty if there is none. Any non-zero mask pixel is defective.
        width, height: of the image, in pixels.
        sha256: of the image file's bytes.
        mask_sha256: of the mask file's bytes; empty if there is no mask.
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
        """Hash of all entries, independent of `root`."""
        digest = hashlib.sha256()
        for entry in self.entries:
            digest.update("\t".join(str(value) for value in astuple(entry)).encode() + b"\n")
        return digest.hexdigest()

    def path(self, entry: Entry) -> Path:
        """Return the image's path on disk."""
        return self.root / entry.id

    def mask_path(self, entry: Entry) -> Path | None:
        """Return the mask's path on disk, or None."""
        return self.root / entry.mask if entry.mask else None

    def select(self, split: str) -> "Manifest":
        """Return the same data set with only one split."""
        return Manifest(self.name, self.root, tuple(entry for entry in self.entries if entry.split == split))


# Reading and writing --------------------------------------------------------------------------------------------------

COLUMNS = tuple(column.name for column in fields(Entry))
_COUNT = "# images: "


def _last_row(manifest: Manifest) -> list[str]:
    """Number of images and their hash, in the cells of an ordinary row: detects a truncated or edited file."""
    cells = dict.fromkeys(COLUMNS, "")
    return list((cells | {"id": f"{_COUNT}{len(manifest.entries)}", "sha256": manifest.sha256}).values())


def write_manifest(manifest: Manifest, path: Path | str) -> Path:
    """Write a manifest as CSV, atomically: a header, one row for each image, and `_last_row`; returns `path`."""
    with written_beside(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([COLUMNS, *(astuple(entry) for entry in manifest.entries), _last_row(manifest)])
    return Path(path)


def read_manifest(path: Path | str, root: Path | str, name: str | None = None) -> Manifest:
    """Read a manifest written by `write_manifest`.

    Args:
        path: the CSV file.
        root: the data set's folder.
        name: the data set's name; the file's stem if left out.

    Raises:
        InputError: the file is missing, not a manifest, truncated or changed.
    """
    path = Path(path)
    remedy = "run notebook 01_data, or `edgezsad data index`, to write it again"
    try:
        # utf-8-sig: spreadsheets write a byte-order mark.
        with open(path, newline="", encoding="utf-8-sig") as stream:
            header, *rows = csv.reader(stream, strict=True)
        if tuple(header) != COLUMNS:
            raise InputError(f"{path}: not a manifest (columns {header}); {remedy}")
        entries = tuple(
            Entry(*row[:3], int(row[3]), *row[4:6], int(row[6]), int(row[7]), *row[8:]) for row in rows[:-1]
        )
    except FileNotFoundError:
        raise InputError(f"{path}: no such manifest; {remedy}") from None
    except (IsADirectoryError, IndexError, TypeError, ValueError, csv.Error) as error:
        raise (
            error
            if isinstance(error, InputError)
            else InputError(f"{path}: not a manifest, or damaged ({error}); {remedy}")
        ) from None
    manifest = Manifest(name or path.stem, Path(root), entries)
    if not rows or rows[-1] != _last_row(manifest):
        raise InputError(f"{path}: truncated or changed after {len(entries):,} images; {remedy}")
    return manifest


def read_run_manifest(run: Run, item: DataSet) -> Manifest:
    """Read the manifest of one data set of a run."""
    return read_manifest(run.manifest_path(item.name), run.profile.data.folder(item), item.name)


def read_source_manifests(run: Run) -> list[Manifest]:
    """Read the manifests of all sources of a run."""
    return [read_run_manifest(run, item) for item in run.profile.data.source]


# From a folder to a manifest ------------------------------------------------------------------------------------------


def index_dataset(
    item: DataSet,
    root: Path | str,
    cache: Path | None = None,
    workers: int = 1,
    choose: Callable[[list[ImageItem]], list[ImageItem]] | None = None,
) -> Manifest:
    """List, measure and hash all images of a data set.

    Args:
        item: the data set's name, layout and, if only some are wanted, categories.
        root: its folder.
        cache: file that keeps sizes and hashes (see `HashCache`).
        workers: number of threads that read files.
        choose: keeps some of the images that the layout lists; all if left out.

    Raises:
        InputError: the folder is not in that layout or lacks a category; a file is missing, not an image or out of
            place; a mask and its image differ in size.
    """
    root = Path(root)
    scan = scan_layout(item.layout, root)
    if scan.problems:
        raise InputError(f"{printable(root)}/{scan.problems[0]}")
    known = {one.category for one in scan.items}
    if missing := sorted(set(item.categories or ()) - known):
        raise InputError(f"{printable(root)}: no category {', '.join(missing)}; choose from {', '.join(sorted(known))}")
    items = [one for one in scan.items if item.categories is None or one.category in item.categories]
    if choose is not None:
        items = sorted(choose(items), key=lambda one: one.image)
    files = HashCache(root, cache)
    entries = []
    try:
        with ThreadPoolExecutor(max(1, workers)) as pool:
            for entry in progress(pool.map(partial(_read_entry, files), items), f"index {item.name}", len(items)):
                entries.append(entry)
                files.save(every=SAVE_SECONDS)
    finally:
        # An interrupted index continues where it stopped.
        files.save()
    return Manifest(item.name, root, tuple(entries))


def _read_entry(files: "HashCache", item: ImageItem) -> Entry:
    """Measure and hash one image and its mask."""
    height, width, sha256 = files.measure(item.image)
    label, mask, mask_sha256 = item.label, item.mask, ""
    if label is None:
        label = int(decode_mask(files.root / mask, (height, width)).any())
    if not label:
        mask = ""
    elif mask:
        mask_sha256 = files.measure(mask, (height, width))[2]
    defect = item.defect if label else NORMAL
    return Entry(item.image, item.category, item.split, label, defect, mask, width, height, sha256, mask_sha256)


def few_of_each(root: Path, limit: int, items: list[ImageItem]) -> list[ImageItem]:
    """Return at most `limit` images of each split and label, from as many categories as possible: for a rehearsal."""
    by_category: dict[tuple, list[ImageItem]] = {}
    for item in items:
        by_category.setdefault((item.split, item.label, item.category), []).append(item)
    taken: dict[tuple, list[ImageItem]] = {(split, label): [] for split in SPLITS for label in (0, 1)}
    # One image of each category after another.
    for item in filter(None, itertools.chain(*itertools.zip_longest(*by_category.values()))):
        label = item.label
        if label is None and any(len(taken[item.split, one]) < limit for one in (0, 1)):
            label = int(decode_mask(root / item.mask, measure(root / item.image)[:2]).any())
        if label is not None and len(taken[item.split, label]) < limit:
            taken[item.split, label].append(item)
    return list(itertools.chain(*taken.values()))


def cache_path(manifest: Path | str) -> Path:
    """Return the path of a manifest's hash cache."""
    return Path(f"{manifest}.cache.json")


class HashCache:
    """Sizes and hashes of a data set's files; a file is read again if its size or modification time changed.

    The cache is a JSON file that may be deleted at any time.

    Args:
        root: the data set's folder; a cache of another folder is ignored.
        path: the file; nothing is kept if left out.
    """

    VERSION = 1

    def __init__(self, root: Path, path: Path | None = None) -> None:
        self.root = root
        self._path = path
        self._head = {"version": self.VERSION, "root": str(root.resolve())}
        self._files = self._load()
        self._changed = False
        self._saved = time.monotonic()

    def measure(self, name: str, shape: tuple[int, int] | None = None) -> tuple[int, int, str]:
        """Return height, width and SHA-256 of a file (see `edgezsad.data.images.measure`)."""
        path = self.root / name
        stamp = _stamp(path)
        known, *found = self._files.get(name, (None, 0, 0, ""))
        if stamp is None or known != stamp or (shape is not None and tuple(found[:2]) != shape):
            found = measure(path, shape)
            if stamp and time.time_ns() - stamp[1] > SETTLED_NS:
                self._files[name] = [stamp, *found]
                self._changed = True
        return tuple(found)

    def save(self, every: float = 0) -> None:
        """Write the cache atomically, unless nothing changed or the last save is less than `every` seconds old."""
        if self._path is not None and self._changed and time.monotonic() - self._saved >= every:
            with written_beside(self._path) as temporary:
                temporary.write_text(json.dumps(self._head | {"files": dict(self._files)}), encoding="utf-8")
            self._changed = False
            self._saved = time.monotonic()

    def _load(self) -> dict[str, list]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8")) if self._path else {}
        except (OSError, ValueError):
            return {}
        same = isinstance(content, dict) and self._head.items() <= content.items()
        return content["files"] if same else {}


def _stamp(path: Path) -> list[int] | None:
    try:
        facts = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns]


def fingerprint(item: DataSet, root: Path | str) -> str:
    """Return a hash of the names, sizes and times of a data set's images and masks, without reading them.

    Files that the index ignores (hidden files, heat maps, read-me files) do not change it. A folder that is missing or
    not in the layout has the hash of its error.
    """
    root = Path(root)
    try:
        scan = scan_layout(item.layout, root)
    except InputError as error:
        return hashlib.sha256(str(error).encode(errors="replace")).hexdigest()
    digest = hashlib.sha256("\n".join(scan.problems).encode(errors="replace"))
    for one in scan.items:
        stamps = [_stamp(root / name) for name in (one.image, one.mask) if name]
        digest.update(f"{astuple(one)} {stamps}\n".encode(errors="replace"))
    return digest.hexdigest()
