"""Print results as they come, as text or JSON, and add them to tables and reports: the output of `edgezsad predict`.

With `--watch`, the CSV file is the only state: what it holds, by path, size and time of the last change, is not scored
again.
"""

import csv
import io
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import typer

from edgezsad.data.images import Reading
from edgezsad.data.layouts import images_below
from edgezsad.errors import CheckError, InputError, printable
from edgezsad.files import APPENDED, growing_csv, progress, row_writer
from edgezsad.predict import CSV_COLUMNS, Decision, Failure, HeatMaps, Prediction, csv_row, predict_files, verdict_notes
from edgezsad.report_html import HtmlReport
from edgezsad.scoring.score_file import Scorer

NO_MAP = np.zeros((0, 0), np.float32)
POLL, PATIENCE = 0.5, 10.0  # seconds between listings, and without a change until an unreadable file is reported
COLUMNS = (*CSV_COLUMNS, "size", "modified_ns")  # of --watch
Stamp = tuple[str, ...]  # path, size and time of the last change in nanoseconds, as a row has them


def print_results(
    stream: Iterable[Prediction | Failure],
    decision: Decision,
    count: int,
    table: Path | None = None,
    as_json: bool = False,
    report: HtmlReport | None = None,
    reading: Reading | None = None,
) -> None:
    """Print `count` results, write them to `table` and `report`, and say what the verdicts rest on.

    Without a threshold, predictions are printed at the end by rank. Maps are not kept, so that memory does not grow
    with them. Images without a score or heat map are listed at the end, as a CheckError.
    """
    ranked = decision.threshold is None and count > 1
    scored, failures = [], []
    with growing_csv(table, CSV_COLUMNS) if table else nullcontext() as add_row:
        for number, result in enumerate(progress(stream, "score", count, disable=count < 2)):
            if add_row:
                add_row(csv_row(result))
            if report:
                report.add(result)
            if as_json:
                # The list is closed after the last image: an interrupted command prints no valid JSON.
                typer.echo(f"{',' if number else '['}\n{json.dumps(result.as_json())}", nl=False)
            elif isinstance(result, Prediction) and not ranked:
                typer.echo(result.as_text())
            if isinstance(result, Failure):
                failures.append(result)
            else:
                scored.append(replace(result, map=NO_MAP, thumbnail=None))
    if as_json:
        typer.echo("\n]")
    elif ranked:
        for rank, result in enumerate(sorted(scored, key=lambda result: -result.score), 1):
            typer.echo(f"{rank:5}  {result.as_text()}")
    if report:
        report.write("Inspection report", {"": decision})
    for note in (*verdict_notes(decision, scored), *(reading or Reading()).notes()):
        typer.echo(printable(note), err=True)
    require_all([one.reason for one in failures], [one.problem for one in scored if one.problem], count)


def require_all(failures: Sequence[str], problems: Sequence[str], count: int) -> None:
    """Print images without a score and heat maps that could not be written; a CheckError if there are any."""
    for line in (*(f"skipped {reason}" for reason in failures), *(f"no heat map: {problem}" for problem in problems)):
        typer.echo(printable(line), err=True)
    if failures:
        raise CheckError(f"{len(failures)} of {count} images could not be scored (listed above)")
    if problems:
        raise CheckError(f"{len(problems)} of {count} heat maps could not be written (listed above); use --heatmaps")


def watch(
    folder: Path,
    scorer: Scorer,
    decision: Decision,
    table: Path | None = None,
    as_json: bool = False,
    heatmaps: HeatMaps | None = None,
    reading: Reading | None = None,
) -> None:
    """Score the complete images below `folder`, now and later, until SIGINT or SIGTERM; files stay where they are.

    A file is complete if it did not change between two listings and can be decoded. One that cannot is reported when
    it has not changed for `PATIENCE` seconds. A JSON line is printed before its row is written: after a kill in between
    it is printed twice, never lost.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; create it, or give another one")
    # Rows name the same file from wherever the command is started again.
    folder = Path(os.path.abspath(folder))  # noqa: PTH100
    stop, counts, reading = Event(), Counter(), reading or Reading()
    waiting: dict[Stamp, float] = {}
    handlers = {one: signal.signal(one, lambda *_: stop.set()) for one in (signal.SIGINT, signal.SIGTERM)}
    with _rows(table) as (done, add_row):
        while not stop.is_set():
            listed = {stamp: path for path in _images_in(folder) if (stamp := _stamp(path)) and stamp not in done}
            complete = {path: stamp for stamp, path in listed.items() if stamp in waiting}
            waiting = {stamp: waiting.get(stamp, time.monotonic()) for stamp in listed}
            paths = sorted(complete, key=lambda path: int(complete[path][-1]))
            for result in predict_files(scorer, decision.threshold, paths, heatmaps, reading=reading):
                stamp, failed = complete[result.path], isinstance(result, Failure)
                unsure = failed and time.monotonic() - waiting[stamp] < PATIENCE
                if not unsure and _stamp(result.path) == stamp:
                    row = dict(zip(COLUMNS[-2:], map(int, stamp[1:]), strict=True))
                    if as_json:
                        typer.echo(json.dumps(result.as_json() | row))
                    else:
                        typer.echo(printable(result.reason) if failed else result.as_text())
                    add_row(csv_row(result) | row)
                    done.add(stamp)
                    counts["failed" if failed else result.verdict] += 1
                if stop.is_set():
                    break
            stop.wait(POLL)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    found = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    for note in (*reading.notes(), f"stopped watching {folder}: {found or 'no new images'}"):
        typer.echo(printable(note), err=True)


def _images_in(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in images_below(folder)]
    except OSError:  # a network share that comes back later, or a folder deleted meanwhile
        return []


def _stamp(path: Path) -> Stamp | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return str(path).encode("utf-8", "backslashreplace").decode(), str(facts.st_size), str(facts.st_mtime_ns)


@contextmanager
def _rows(table: Path | None) -> Iterator[tuple[set[Stamp], Callable[[dict[str, Any]], object]]]:
    """Yield the stamps of a table's rows and a function that adds a row; one that was cut off is dropped."""
    if table is None:
        yield set(), lambda row: None
        return
    data = table.read_bytes() if table.exists() else b""
    end = data.rfind(b"\n") + 1
    reader = csv.DictReader(io.StringIO(data[:end].decode("utf-8", "backslashreplace"), newline=""))
    if end and tuple(reader.fieldnames or ()) != COLUMNS:
        raise InputError(f"{table}: not written by --watch; give another name with --csv")
    done = {(row["path"], row["size"], row["modified_ns"]) for row in reader}
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open(**APPENDED) as stream:
        stream.truncate(end)
        yield done, row_writer(stream, COLUMNS, header=not end)
