"""Print predictions as they come, as text or JSON, and add them to a table: the output of `edgezsad predict`."""

import json
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import typer

from edgezsad.files import growing_csv, progress
from edgezsad.predict import CSV_COLUMNS, Decision, Failure, Prediction, csv_row, decision_notes
from edgezsad.report_html import HtmlReport

NO_MAP = np.zeros((0, 0), np.float32)


def print_results(
    stream: Iterable[Prediction | Failure],
    decision: Decision,
    count: int,
    table: Path | None = None,
    as_json: bool = False,
    report: HtmlReport | None = None,
) -> tuple[list[Prediction], list[Failure]]:
    """Print `count` results, write them to `table` and `report`, and say what the verdicts rest on.

    Without a threshold, predictions are printed at the end by rank. Returns predictions, without their maps, so that
    memory does not grow with them, and failures.
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
    for note in decision_notes(decision, scored):
        typer.echo(note, err=True)
    return scored, failures
