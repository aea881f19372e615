"""Latency of a board: the record of a timing run, its table, and the times that QNN and ONNX Runtime write."""

import io
import math
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgezsad.config import Runtime, format_validation_errors
from edgezsad.devices import Board
from edgezsad.errors import InputError, one_line
from edgezsad.files import read_json
from edgezsad.run import Run
from edgezsad.scoring.score_file import read_scores

QNN_COLUMNS = ("Message", "Time", "Unit of Measurement", "Timing Source", "Event Level", "Event Identifier")
NETRUN = "NetRun"
ACCELERATOR = ("QNN accelerator (execute) time", "Accelerator (execute) time", "QNN (execute) time")
"""Names of an execution's time in QNN's profiles, the closest to the processor's own work first."""
UNITS = {"NS": 1e6, "US": 1e3, "MS": 1.0, "S": 1e-3}


class Latency(BaseModel):
    """A timing run on a board: one image goes through the model repeatedly, batch 1.

    `milliseconds` are of every iteration after the warm-up, `layers` averages of the slowest layers if profiled.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[2] = 2
    board: Literal["jetson", "rb5"]
    runtime: str
    precision: str
    device: str
    profile: str = ""
    seed: int = 0
    model_sha256: str
    detector_sha256: str = ""
    milliseconds: list[Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]] = Field(min_length=1)
    layers: dict[str, float] = {}
    method: str
    versions: dict[str, str]
    conditions: dict[str, str]
    command: str

    @property
    def times(self) -> dict[str, float]:
        return {"median_ms": float(np.median(self.milliseconds)), "p95_ms": float(np.percentile(self.milliseconds, 95))}

    def sentence(self) -> str:
        return "median {median_ms:.2f} ms, 95th percentile {p95_ms:.2f} ms".format(**self.times)


def board_latency(run: Run, board: Board, folder: Path | str = "") -> Latency | None:
    """Read a board's latency record from a folder, the run's own when it is empty; None when there is none."""
    path = (Path(folder) if str(folder) else run.board(board.name)) / "latency.json"
    remedy = "run `edgezsad device ingest` with the board's result"
    try:
        return Latency.model_validate(read_json(path, remedy)) if path.is_file() else None
    except ValidationError as error:
        raise InputError(f"{path}: not a latency record ({format_validation_errors(error)}); {remedy}") from None


def latency_result(latency: Latency | None) -> dict[str, object]:
    """Return a board's latency for the results file of a notebook."""
    if latency is None:
        return {"status": "not run", "reason": "no latency record", "median_ms": None, "p95_ms": None}
    facts = latency.model_dump(include={"profile", "runtime", "method", "versions", "conditions", "command", "layers"})
    return {"status": "ok", "reason": "", "iterations": len(latency.milliseconds)} | latency.times | facts


def latency_table(run: Run, runtimes: list[Runtime], board: Board, latency: Latency | None) -> pd.DataFrame:
    """Return one row per runtime of the host and one of the board: times, status, method and versions."""
    paper = f"{board.reported['milliseconds']} ms, {board.reported['runtime']}"
    rows = []
    for runtime in (each for each in runtimes if each in run.profile.evaluation.runtimes):
        # PyTorch times only the first seed, the emulator runs only one.
        seed = run.profile.evaluation.emulator.seed if runtime == "qnn-htp-fp16" else run.profile.seeds[0]
        files = [read_scores(run.scores(runtime, seed, item.name)) for item in run.profile.data.targets]
        times, record = np.concatenate([scores.milliseconds for scores in files]), files[0].record
        status = "measured here" if record.status == "ok" else f"not run: {record.reason}"
        how = f"{record.device}; {record.timing_method}; other steps of the run shared the processor"
        rows.append((f"host, {runtime}", times, status, "-", how, record.versions))
    if latency is None:
        rows.append((board.title, [], f"not run: needs {board.reported['needs']}", paper, "-", {}))
    else:
        how = f"{latency.device}; {latency.method}; {_listed(latency.conditions)}"
        status = f"measured on the board, {len(latency.milliseconds):,} times"
        rows.append((board.title, latency.milliseconds, status, paper, how, latency.versions))
    table = pd.DataFrame(rows, columns=["where", "times", "status", "the paper reports", "how", "versions"])
    percentiles = [np.percentile(times, [50, 95]) if len(times) else [math.nan] * 2 for times in table.pop("times")]
    for position, name in enumerate(("median ms", "p95 ms")):
        table.insert(1 + position, name, [each[position] for each in percentiles])
    return table.assign(versions=table["versions"].map(_listed))


def _listed(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items()) or "-"


def read_qnn_times(data: bytes, what: str) -> dict[str, list[float]]:
    """Read milliseconds of executions by what was measured, the closest to the processor's work first.

    The file is a CSV of qnn-profile-viewer or of ONNX Runtime's QNN provider; it may hold several runs and headers.
    """
    try:
        table = pd.read_csv(io.BytesIO(data), usecols=list(QNN_COLUMNS), dtype=str, keep_default_na=False)
        table = table[table["Unit of Measurement"].isin(list(UNITS))]
        milliseconds = table["Time"].astype(float) / table["Unit of Measurement"].map(UNITS)
    except ValueError as error:
        raise InputError(f"{what}: not a CSV of qnn-profile-viewer ({one_line(error, 80)})") from None
    event = (table["Message"] == "EXECUTE") & (table["Event Level"] == "ROOT")
    event = table["Timing Source"].where(event).map({"NETRUN": NETRUN, "BACKEND": "execute event"})
    name = table["Event Identifier"].where(table["Event Identifier"].isin(ACCELERATOR), event)
    series = {each: milliseconds[name == each] for each in (*ACCELERATOR, "execute event", NETRUN)}
    # A counter that a backend does not have stays at zero.
    found = {each: times.tolist() for each, times in series.items() if times.any()}
    if not found:
        raise InputError(f"{what}: no time of an execution; give the CSV that qnn-profile-viewer makes of the log")
    return found
