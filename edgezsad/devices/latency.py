"""Latency of a board: the record, and readers of the times that trtexec, QNN and ONNX Runtime write.

A record comes from a timing run of its own, with warm-up, in which one image goes through the model repeatedly. It
lies next to the board's score files.
"""

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from edgezsad.config import Runtime
from edgezsad.devices import Board
from edgezsad.errors import InputError
from edgezsad.files import read_json
from edgezsad.run import Run
from edgezsad.scoring.score_file import read_scores

COLUMNS = ("Message", "Time", "Unit of Measurement", "Timing Source", "Event Level", "Event Identifier")
NETRUN = "NetRun"
ACCELERATOR = ("QNN accelerator (execute) time", "Accelerator (execute) time", "QNN (execute) time")
"""Names of an execution's time in QNN's profiles, the closest to the processor's own work first."""
UNITS = {"NS": 1e6, "US": 1e3, "MS": 1.0, "S": 1e-3, "SEC": 1e-3}


class Latency(BaseModel):
    """A timing run on a board."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[2] = 2
    board: Literal["jetson", "rb5"]
    runtime: str
    precision: str
    device: str
    """Name of the board, from its own system."""
    profile: str = ""
    seed: int = 0
    model_sha256: str
    """Of the model file that the board's tool was given."""
    detector_sha256: str = ""
    """Of the weights behind it."""
    milliseconds: list[float] = Field(min_length=1)
    """Of every iteration after the warm-up, batch 1; TensorRT: `computeMs`, without copies to and from the GPU."""
    layers: dict[str, float] = {}
    """Average milliseconds of the slowest layers, if they were profiled."""
    method: str
    """What is measured, in words."""
    versions: dict[str, str]
    conditions: dict[str, str]
    """Power mode, clocks, system release, and whatever else the number depends on."""
    command: str

    @field_validator("milliseconds")
    @classmethod
    def _are_times(cls, values: list[float]) -> list[float]:
        if not all(math.isfinite(value) and value > 0 for value in values):
            raise ValueError("a time is not a positive number")
        return values

    @property
    def median_ms(self) -> float:
        """Median, milliseconds."""
        return float(np.median(self.milliseconds))

    @property
    def p95_ms(self) -> float:
        """95th percentile, milliseconds."""
        return float(np.percentile(self.milliseconds, 95))

    def sentence(self) -> str:
        """Describe the result in words."""
        return f"median {self.median_ms:.2f} ms, 95th percentile {self.p95_ms:.2f} ms"


def read_latency(path: Path | str) -> Latency:
    """Read a latency record.

    Raises:
        InputError: missing or damaged.
    """
    remedy = "run `edgezsad device ingest` with the board's result"
    try:
        return Latency.model_validate(read_json(path, remedy))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "record"
        raise InputError(f"{path}: not a latency record ({where}: {first['msg']}); {remedy}") from None


def board_latency(run: Run, board: Board, folder: Path | str = "") -> Latency | None:
    """Read a board's latency record from a folder, the run's own when it is empty; None when there is none."""
    path = (Path(folder) if str(folder) else run.board(board.name)) / "latency.json"
    return read_latency(path) if path.is_file() else None


def latency_result(latency: Latency | None) -> dict[str, object]:
    """Return a board's latency for the results file of a notebook."""
    if latency is None:
        return {"status": "not run", "reason": "no latency record", "median_ms": None, "p95_ms": None}
    times = {"median_ms": latency.median_ms, "p95_ms": latency.p95_ms, "iterations": len(latency.milliseconds)}
    facts = latency.model_dump(include={"profile", "runtime", "method", "versions", "conditions", "command", "layers"})
    return {"status": "ok", "reason": ""} | times | facts


def latency_table(run: Run, runtimes: list[Runtime], board: Board, latency: Latency | None) -> pd.DataFrame:
    """Return one row per runtime of the host and one of the board: times, status, method and versions."""
    rows = [_host_row(run, runtime) for runtime in runtimes if runtime in run.profile.evaluation.runtimes]
    row: dict[str, object] = {"where": board.title, "status": f"not run: needs {board.reported['needs']}"}
    row["the paper reports"] = f"{board.reported['milliseconds']} ms, {board.reported['runtime']}"
    if latency is not None:
        status = f"measured on the board, {len(latency.milliseconds):,} times"
        row |= {"median ms": latency.median_ms, "p95 ms": latency.p95_ms, "status": status}
        row["how"] = f"{latency.device}; {latency.method}; {_listed(latency.conditions)}"
        row["versions"] = _listed(latency.versions)
    columns = ["where", "median ms", "p95 ms", "status", "the paper reports", "how", "versions"]
    table = pd.DataFrame([*rows, row], columns=columns)
    return table.astype({"median ms": float, "p95 ms": float}).fillna(dict.fromkeys(columns[3:], "-"))


def _host_row(run: Run, runtime: Runtime) -> dict[str, object]:
    # PyTorch times only the first seed, the emulator runs only one.
    seed = run.profile.evaluation.emulator.seed if runtime == "qnn-htp-fp16" else run.profile.seeds[0]
    files = [read_scores(run.scores(runtime, seed, item.name)) for item in run.profile.data.targets]
    row: dict[str, object] = {"where": f"host, {runtime}"}
    if reasons := sorted({scores.record.reason for scores in files if scores.record.status != "ok"}):
        return row | {"status": f"not run: {'; '.join(reasons)}"}
    times = np.concatenate([scores.milliseconds for scores in files])
    row |= {"median ms": np.median(times), "p95 ms": np.percentile(times, 95), "status": "measured here"}
    record = files[0].record
    row["how"] = f"{record.device}; {record.timing_method}; other steps of the run shared the processor"
    return row | {"versions": _listed(record.versions)}


def _listed(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def read_trtexec_json(data: bytes, what: str) -> list[dict[str, Any]]:
    """Read a file of trtexec, a JSON list of objects in which C++ streams write nan and inf.

    Raises:
        InputError: damaged; `what` is the file's name.
    """
    try:
        text = re.sub(r"([\[,:]\s*)-?nan\b", r"\1NaN", data.decode("utf-8"))
        found = json.loads(re.sub(r"([\[,:]\s*)-?inf\b", r"\1Infinity", text))
    except (ValueError, RecursionError):
        raise InputError(f"{what}: damaged or cut off, not JSON") from None
    if not isinstance(found, list) or not found or not all(isinstance(item, dict) for item in found):
        raise InputError(f"{what}: not a file of trtexec")
    return found


def read_trtexec_times(data: bytes, what: str) -> list[float]:
    """Read the compute time of every iteration (`--exportTimes`), milliseconds.

    Only `computeMs` is comparable between versions: `latencyMs` has another meaning in 10.x than in 11.x.

    Raises:
        InputError: damaged, or a time is missing or not positive.
    """
    times = [item.get("computeMs") for item in read_trtexec_json(data, what)]
    for number, value in enumerate(times):
        if type(value) not in (int, float) or not 0 < value < 1e9:
            raise InputError(f"{what}: iteration {number} has no valid computeMs")
    return [float(value) for value in times]


def read_trtexec_layers(data: bytes, what: str, count: int = 10) -> dict[str, float]:
    """Read average milliseconds of the slowest layers (`--exportProfile`), slowest first.

    Raises:
        InputError: damaged.
    """
    rows = [(item["name"], item.get("averageMs")) for item in read_trtexec_json(data, what) if "name" in item]
    if not rows or not all(type(value) in (int, float) for _, value in rows):
        raise InputError(f"{what}: not a profile of trtexec")
    return {str(name): float(value) for name, value in sorted(rows, key=lambda row: -row[1])[:count]}


def read_qnn_times(data: bytes, what: str) -> dict[str, list[float]]:
    """Read the times of executions, milliseconds, by what was measured, the closest to the processor's work first.

    The file is a CSV of qnn-profile-viewer or of ONNX Runtime's QNN provider; it may hold several runs.

    Raises:
        InputError: another format, a time is not a number, or there is no time of an execution.
    """
    series: dict[str, list[float]] = {}
    columns: list[str] = []
    try:
        for row in csv.reader(io.StringIO(data.decode("utf-8")), strict=True):
            if COLUMNS[0] in row:
                # A header may repeat where two runs were put together.
                columns = row
                continue
            event = dict(zip(columns, (cell.strip() for cell in row), strict=False))
            message, time, unit, source, level, name = (event.get(column, "") for column in COLUMNS)
            if name not in ACCELERATOR:
                if (message.upper(), level.upper()) != ("EXECUTE", "ROOT"):
                    continue
                name = NETRUN if source.upper() == "NETRUN" else "execute event"
            if unit.upper() in UNITS:
                if not 0 <= float(time) < 1e15:
                    raise ValueError(f"a time of {name} is {time}")
                series.setdefault(name, []).append(float(time) / UNITS[unit.upper()])
    except (ValueError, csv.Error) as error:
        raise InputError(f"{what}: not a CSV of qnn-profile-viewer ({' '.join(str(error).split())[:80]})") from None
    # A counter that a backend does not have stays at zero.
    found = [name for name in (*ACCELERATOR, "execute event", NETRUN) if min(series.get(name, [0])) > 0]
    if not found:
        raise InputError(f"{what}: no time of an execution; give the CSV that qnn-profile-viewer makes of the log")
    return {name: series[name] for name in found}
