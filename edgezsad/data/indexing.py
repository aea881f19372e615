"""The manifest of a large data set, made so that a kill costs nothing and a second run reads only what changed.

Beside the manifest lies a log with one line for each image that was measured. A line is used again only if the image,
its mask and what the layout says of them are as they were; anything else in the log, damage included, is passed over.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, BinaryIO

from edgezsad.config import DataSet
from edgezsad.data.layouts import Choose, Found, index, read_entry
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_bytes, written_beside

VERSION = 2
"""Of a line's meaning. Lines of another version are passed over."""

SETTLED_NS = 2_000_000_000
"""A file changed this shortly before it was read may change again without a new time stamp: some file systems keep
times to two seconds only. Its line is not kept, and it is read again the next time."""


@dataclass(frozen=True)
class Indexed:
    """A manifest, and what was read for it.

    Attributes:
        manifest: of all images.
        read: images read; the others were known from an earlier run.
        unsettled: of those, images too new to be kept (see `SETTLED_NS`); they are read again the next time.
    """

    manifest: Manifest
    read: int
    unsettled: int = 0


def cache_path(manifest: Path | str) -> Path:
    """Where the log of a manifest lies. It may be deleted at any time; everything is then read again."""
    manifest = Path(manifest)
    return manifest.with_name(f"{manifest.name}.cache.jsonl")


def index_again(
    item: DataSet,
    root: Path,
    cache: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    choose: Choose | None = None,
) -> Indexed:
    """As `layouts.index`, but images known from `cache` are not read again.

    An image is known if the file and its mask have the size, the times and the place on the disk that they had, and
    the layout says the same of both. The time of the last change of a name or of permissions counts too, so that files
    of one size and one date that change places are seen.

    Args:
        item: the data set's name, layout and, where only some are wanted, categories.
        root: its folder. The log of another folder is not used.
        cache: the log; written while measuring, and tidied at the end.
        workers: number of threads that read files.
        progress: called as (images done, images in all).
        choose: as for `layouts.index`.

    Raises:
        InputError: as `layouts.index`.
    """
    root = Path(root)
    with _Log(cache, root) as log:
        manifest = index(item, root, workers, progress, log.measured, choose)
    # Only a complete index knows which lines are still of use.
    log.tidy()
    return Indexed(manifest, log.read, log.unsettled)


class _Log:
    """The log of one folder. Threads may measure at the same time."""

    def __init__(self, path: Path, root: Path):
        self.path = path
        self.folder = str(root.resolve())
        self.read = 0
        self.unsettled = 0
        self._lock = Lock()
        self._cut = False
        self._known = self._load()
        self._stream: BinaryIO | None = None
        self._used: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.close()

    def measured(self, root: Path, found: Found) -> Entry:
        """The entry of an image: from the log if nothing changed, or else read."""
        began = time.time_ns()
        facts = {"found": asdict(found), "image": _stamp(root / found.image)}
        facts["mask"] = _stamp(root / found.mask) if found.mask else None
        row = self._known.get(found.image)
        if row is not None and {key: row[key] for key in facts} == facts:
            with self._lock:
                self._used[found.image] = row
            return Entry(**row["entry"])
        entry = read_entry(root, found)
        row = facts | {"entry": asdict(entry)}
        settled = all(stamp is None or stamp[1] < began - SETTLED_NS for stamp in (facts["image"], facts["mask"]))
        with self._lock:
            self.read += 1
            if settled:
                self._keep(row)
                self._used[found.image] = row
            else:
                self.unsettled += 1
        return entry

    def _keep(self, row: dict[str, Any]) -> None:
        try:
            if self._stream is None:
                # Opened only now: a log that may only be read serves as long as there is nothing new.
                self.path.parent.mkdir(parents=True, exist_ok=True)
                # Without a buffer: what is written survives a kill of this process. Closed as the log is.
                self._stream = open(self.path, "ab", buffering=0)  # noqa: SIM115
                if self._cut:
                    # A line cut by a kill must not swallow the next one.
                    self._stream.write(b"\n")
            self._stream.write(self._line(row))
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}; mend it and start again, nothing is lost") from None

    def tidy(self) -> None:
        """Write only the lines in use, if there are others: of an earlier run, or of another that went on beside."""
        if not self.path.is_file() or self._count() == len(self._used):
            return
        with written_beside(self.path) as temporary, open(temporary, "wb") as stream:
            stream.writelines(self._line(self._used[image]) for image in sorted(self._used))

    def _count(self) -> int:
        with open(self.path, "rb") as stream:
            return sum(1 for _ in stream)

    def _load(self) -> dict[str, dict[str, Any]]:
        """Whole rows of this folder by image, the last one where there are several."""
        rows: dict[str, dict[str, Any]] = {}
        if not self.path.is_file():
            return rows
        with open(self.path, "rb") as stream:
            for line in stream:
                self._cut = not line.endswith(b"\n")
                try:
                    content = json.loads(line)
                    row = content["row"]
                    if content["check"] == self._check(row):
                        rows[row["found"]["image"]] = row
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue
        return rows

    def _line(self, row: dict[str, Any]) -> bytes:
        return json.dumps({"check": self._check(row), "row": row}).encode() + b"\n"

    def _check(self, row: dict[str, Any]) -> str:
        """Hash of a row: a digit that flipped would otherwise be a wrong hash in the manifest."""
        return sha256_of_bytes(json.dumps([VERSION, self.folder, row], sort_keys=True).encode())[:16]


def _stamp(path: Path) -> list[int] | None:
    """What tells a file from another and from what it was; None where there is no file, which reading it will report.

    Its size in bytes; the times, in ns, at which its content and its name or permissions last changed; its number in
    the file system.
    """
    try:
        facts = path.stat()
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]
