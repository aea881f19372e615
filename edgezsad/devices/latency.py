"""Latency of a board: the record of a timing run, its table, and the times that QNN writes."""

import io
import math
import re
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
RATE = "INF/SEC"
TEGRASTATS = (
    ("memory in use, largest", r"RAM (\d+)/\d+MB", "MB", max),
    ("power, mean", r"VDD_IN (\d+)mW", "mW", np.mean),
    ("temperature of the GPU, highest", r"(?i)gpu@([\d.]+)C", "C", max),
)
UNITS = {"NS": 1e6, "US": 1e3, "MS": 1.0, "S": 1e-3}


class Latency(BaseModel):
    """A timing run on a board: one image goes through the model repeatedly, batch 1.

    `milliseconds` are of every iteration after the warm-up, `layers` averages of the slowest layers if profiled.
    `throughput` is in images per second, of the timing run, which may overlap copies and computing; `single_ms` is the
    median of single images with copies to and from the processor.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[3] = 3
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
    throughput: float | None = None
    single_ms: float | None = None
    method: str
    versions: dict[str, str]
    conditions: dict[str, str]
    command: str

    @property
    def times(self) -> dict[str, float]:
        return {"median_ms": float(np.median(self.milliseconds)), "p95_ms": float(np.percentile(self.milliseconds, 95))}

    def sentence(self) -> str:
        text = "median {median_ms:.2f} ms, 95th percentile {p95_ms:.2f} ms".format(**self.times)
        text += f"; single image with copies {self.single_ms:.2f} ms" if self.single_ms else ""
        return text + (f"; throughput {self.throughput:.1f} images/s" if self.throughput else "")


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
    names = {"profile", "runtime", "method", "versions", "conditions", "command", "layers", "throughput", "single_ms"}
    facts = latency.model_dump(include=names)
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
        how = f"{latency.device}; {latency.method}; {latency.sentence()}; {_listed(latency.conditions)}"
        status = f"measured on the board, {len(latency.milliseconds):,} times"
        rows.append((board.title, latency.milliseconds, status, paper, how, latency.versions))
    table = pd.DataFrame(rows, columns=["where", "times", "status", "the paper reports", "how", "versions"])
    percentiles = [np.percentile(times, [50, 95]) if len(times) else [math.nan] * 2 for times in table.pop("times")]
    for position, name in enumerate(("median ms", "p95 ms")):
        table.insert(1 + position, name, [each[position] for each in percentiles])
    return table.assign(versions=table["versions"].map(_listed))


def layer_table(latency: Latency | None) -> pd.DataFrame:
    """Return the slowest layers of a board's model, slowest first."""
    return pd.DataFrame((latency.layers if latency else {}).items(), columns=["layer", "ms"])


def _listed(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items()) or "-"


def _qnn_events(data: bytes, what: str) -> pd.DataFrame:
    """Read the events of a CSV of qnn-profile-viewer, with their milliseconds.

    The file may hold several runs and headers.
    """
    try:
        table = pd.read_csv(io.BytesIO(data), usecols=list(QNN_COLUMNS), dtype=str, keep_default_na=False)
        scale = table["Unit of Measurement"].map(UNITS)
        numbers = pd.to_numeric(table["Time"].where(scale.notna() | (table["Unit of Measurement"] == RATE)))
    except ValueError as error:
        raise InputError(f"{what}: not a CSV of qnn-profile-viewer ({one_line(error, 80)})") from None
    return table.assign(number=numbers, ms=numbers / scale)


def read_qnn_times(data: bytes, what: str) -> dict[str, list[float]]:
    """Read milliseconds of executions by what was measured, the closest to the processor's work first.

    The last entry may be `RATE`, inferences per second.
    """
    events = _qnn_events(data, what)
    table = events.dropna(subset="ms")
    event = (table["Message"] == "EXECUTE") & (table["Event Level"] == "ROOT")
    event = table["Timing Source"].where(event).map({"NETRUN": NETRUN, "BACKEND": "execute event"})
    name = table["Event Identifier"].where(table["Event Identifier"].isin(ACCELERATOR), event)
    series = {each: table["ms"][name == each] for each in (*ACCELERATOR, "execute event", NETRUN)}
    # A counter that a backend does not have stays at zero.
    found = {each: times.tolist() for each, times in series.items() if times.any()}
    if not found:
        raise InputError(f"{what}: no time of an execution; give the CSV that qnn-profile-viewer makes of the log")
    rates = events["number"][events["Unit of Measurement"] == RATE].tolist()
    return found | ({RATE: rates} if rates else {})


def read_qnn_layers(data: bytes, what: str) -> dict[str, float]:
    """Read the mean milliseconds of the layers of a detailed profile."""
    table = _qnn_events(data, what).dropna(subset="ms").query("`Event Level` == 'SUB-EVENT' and Message == 'EXECUTE'")
    table = table[~table["Event Identifier"].isin(ACCELERATOR)]
    return table.groupby("Event Identifier")["ms"].mean().to_dict()


def read_tegrastats(data: bytes) -> dict[str, str]:
    """Read memory, power and temperature during a timing run from lines of tegrastats; empty without lines."""
    text, found = data.decode("utf-8", errors="replace"), {}
    for name, pattern, unit, summary in TEGRASTATS:
        if numbers := [float(number) for number in re.findall(pattern, text)]:
            found[name] = f"{summary(numbers):.0f} {unit}"
    return found
