"""How long a board takes for one image: every iteration's time, and all that the number depends on.

A latency record lies beside a board's score files (`Run.board`). It comes from a timing run of its own, with warm-up,
in which one image goes through the model again and again.
"""

import math
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from edgezsad.errors import InputError
from edgezsad.files import read_json, write_json


class Latency(BaseModel):
    """A timing run on a board.

    `status` is "ok", or "not run" with `reason` saying why, and then there are no `milliseconds`.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    status: Literal["ok", "not run"] = "ok"
    reason: str = ""
    board: str
    """Its short name, "jetson" or "rb5"."""
    runtime: str
    precision: str
    device: str
    """What the board says it is."""
    profile: str = ""
    """Of the configuration whose model was timed: a mini model's time is no repetition of the paper's."""
    seed: int = 0
    model_sha256: str
    """Of the model file as it was given to the board's tool."""
    detector_sha256: str = ""
    """Of the weights behind it."""
    milliseconds: list[float]
    """Of every iteration after the warm-up, batch 1; TensorRT: `computeMs`, without copies to and from the GPU."""
    method: str
    """What is counted, in words."""
    versions: dict[str, str]
    conditions: dict[str, str]
    """Power mode, clocks, system release, and whatever else the number depends on."""
    command: str

    @model_validator(mode="after")
    def _times_are_times(self) -> "Latency":
        if self.status == "ok" and not self.milliseconds:
            raise ValueError("no iteration was timed")
        if self.status == "not run" and (self.milliseconds or not self.reason):
            raise ValueError("not run, but with times or without a reason")
        if not all(math.isfinite(value) and value > 0 for value in self.milliseconds):
            raise ValueError("a time is not a positive number")
        return self

    @property
    def median_ms(self) -> float | None:
        """Median, milliseconds; None when not run."""
        return float(np.median(self.milliseconds)) if self.milliseconds else None

    @property
    def p95_ms(self) -> float | None:
        """95th percentile, milliseconds; None when not run."""
        return float(np.percentile(self.milliseconds, 95)) if self.milliseconds else None


def write_latency(latency: Latency, path: Path | str) -> Path:
    """Write a record as JSON, atomically; returns `path`."""
    return write_json(path, latency.model_dump())


def read_latency(path: Path | str) -> Latency:
    """Read a record.

    Raises:
        InputError: missing or damaged.
    """
    remedy = "run `edgezsad device ingest` with the board's result"
    raw = read_json(path, remedy)
    try:
        return Latency.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "record"
        raise InputError(f"{path}: not a latency record ({where}: {first['msg']}); {remedy}") from None
