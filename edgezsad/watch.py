"""Score images as they arrive in a folder: `edgezsad predict --watch`.

The CSV file is the only state: what it holds, by path, size and time of the last change, is not scored again.
"""

import csv
import io
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import typer

from edgezsad.data.camera import Reading
from edgezsad.data.layouts import IMAGE_ENDINGS, OTHER_IMAGE_ENDINGS, images_below
from edgezsad.errors import InputError, printable
from edgezsad.files import APPENDED, row_writer
from edgezsad.predict import CSV_COLUMNS, Decision, Failure, HeatMaps, csv_row, predict_files
from edgezsad.report_html import HtmlReport
from edgezsad.scoring.score_file import Scorer

POLL, PATIENCE = 0.5, 10.0  # seconds between listings, and without a change until an unreadable file is reported
COLUMNS = (*CSV_COLUMNS, "size", "modified_ns")
Stamp = tuple[int, int]  # size and time of the last change in nanoseconds


def watch(
    folder: Path,
    scorer: Scorer,
    decision: Decision,
    table: Path | None = None,
    as_json: bool = False,
    heatmaps: HeatMaps | None = None,
    page: HtmlReport | None = None,
    reading: Reading | None = None,
    poll: float = POLL,
    patience: float = PATIENCE,
) -> None:
    """Score the complete images below `folder`, now and later, until SIGINT or SIGTERM; files stay where they are.

    A file is complete if it did not change between two listings and can be decoded. One that cannot is reported when
    it has not changed for `patience` seconds. A JSON line is printed before its row is written: after a kill in between
    it is printed twice, never lost.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; create it, or give another one")
    # Rows name the same file from wherever the command is started again.
    folder = Path(os.path.abspath(folder))  # noqa: PTH100
    stop, counts = Event(), Counter()
    waiting: dict[Path, tuple[Stamp, float]] = {}
    handlers = {one: signal.signal(one, lambda *_: stop.set()) for one in (signal.SIGINT, signal.SIGTERM)}
    with _rows(table) as (done, add_row):
        while not stop.is_set():
            waiting, complete = _listed(folder, done, waiting)
            for result in predict_files(scorer, decision.threshold, complete, heatmaps, page is not None, reading):
                stamp, since = waiting[result.path]
                unsure = isinstance(result, Failure) and time.monotonic() - since < patience
                if not unsure and _stamp(result.path) == stamp:
                    row = dict(zip(COLUMNS[-2:], stamp, strict=True))
                    if as_json:
                        typer.echo(json.dumps(result.as_json() | row))
                    else:
                        typer.echo(printable(result.reason) if isinstance(result, Failure) else result.as_text())
                    add_row(csv_row(result) | row)
                    done.add(_key(result.path, stamp))
                    if page:
                        page.add(result)
                    counts["failed" if isinstance(result, Failure) else result.verdict] += 1
                if stop.is_set():
                    break
            stop.wait(poll)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if page:
        page.write("Inspection report", {"": decision})
    found = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    typer.echo(f"stopped watching {printable(folder)}: {found or 'no new images'}", err=True)


def _listed(
    folder: Path, done: set[tuple[str, ...]], waiting: dict[Path, tuple[Stamp, float]]
) -> tuple[dict[Path, tuple[Stamp, float]], list[Path]]:
    """Return the files to score, each with its stamp and since when it has it, and those unchanged since before."""
    found: dict[Path, tuple[Stamp, float]] = {}
    try:
        names = images_below(folder, IMAGE_ENDINGS + OTHER_IMAGE_ENDINGS)
    except OSError:  # a network share that comes back later, or a folder deleted meanwhile
        names = []
    for path in (folder / name for name in names):
        stamp = _stamp(path)
        if stamp and _key(path, stamp) not in done:
            before = waiting.get(path)
            found[path] = before if before and before[0] == stamp else (stamp, time.monotonic())
    complete = [path for path, one in found.items() if waiting.get(path) == one]
    return found, sorted(complete, key=lambda path: found[path][0][1])


def _stamp(path: Path) -> Stamp | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def _key(path: Path, stamp: Stamp) -> tuple[str, ...]:
    """Return what identifies a file's content, as its row has it."""
    return str(path).encode("utf-8", "backslashreplace").decode(), *map(str, stamp)


@contextmanager
def _rows(table: Path | None) -> Iterator[tuple[set[tuple[str, ...]], Callable[[dict[str, Any]], object]]]:
    """Yield the keys of a table's rows and a function that adds a row; a row cut off by a power failure is dropped."""
    if table is None:
        yield set(), lambda row: None
        return
    data = table.read_bytes() if table.exists() else b""
    end = data.rfind(b"\n") + 1
    while data[:end].count(b'"') % 2:  # a line break within a quoted name
        end = data.rfind(b"\n", 0, end - 1) + 1
    reader = csv.DictReader(io.StringIO(data[:end].decode("utf-8", "backslashreplace"), newline=""))
    if end and tuple(reader.fieldnames or ()) != COLUMNS:
        raise InputError(f"{table}: not written by --watch; give another name with --csv")
    done = {(row["path"], row["size"], row["modified_ns"]) for row in reader}
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open(**APPENDED) as stream:
        stream.truncate(end)
        yield done, row_writer(stream, COLUMNS, header=not end)
