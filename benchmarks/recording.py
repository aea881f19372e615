"""What every benchmark records with its numbers: machine, versions, commit, and the load by other processes."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from worker import processors_busy

from edgezsad.errors import CheckError, EdgeZSADError
from edgezsad.files import read_json, sha256_of_bytes, versions, write_json

Found = TypeVar("Found")
RESULTS = Path(__file__).resolve().parent / "results"
BUSY = 0.05
"""A recording is rejected if other processes used a larger share of the machine."""


def machine(*packages: str) -> dict[str, Any]:
    """Return date, processor, cores, load, commit and versions of packages."""
    # The benchmark of the training step also runs where ONNX Runtime is not installed.
    from edgezsad.scoring.onnx_scorer import cores, cpu_name

    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu_name(),
        "cores": cores(),
        "load_average_before": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "commit": done.stdout.strip(),
        "versions": versions(*packages),
    }


def save(path: Path, results: dict[str, Any], speed: bool = True) -> None:
    """Write the results file and print its path; `speed` says that it has times.

    Raises:
        CheckError: a file of times in `benchmarks/results`, and other processes used more than 5% of the machine.
    """
    others = _busy_others(*_STARTED)
    if speed and path.resolve().parent == RESULTS and others is not None and others > BUSY:
        raise CheckError(f"{path}: other processes used {others:.0%} of the machine; stop them and start again")
    write_json(path, results | {"share_used_by_others": None if others is None else round(others, 3)})
    print(f"benchmark: {path}", file=sys.stderr)


def stored(folder: Path, key: dict[str, Any], compute: Callable[[], Any]) -> Any:
    """Return what an earlier start computed for the same key; otherwise compute it and store it in the folder."""
    path = folder / f"{sha256_of_bytes(json.dumps(key, sort_keys=True).encode())[:16]}.json"
    if not path.exists():
        write_json(path, compute())
    return read_json(path, "delete it and run the benchmark again")


def run_script(main: Callable[[], None]) -> None:
    """Run the main function of a script; print an expected error on one line and exit with its code."""
    try:
        main()
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def with_load(measure: Callable[[], Found]) -> tuple[Found, float | None]:
    """Measure in child processes; return the result and the share of all processors that other processes used."""
    started = _now()
    return measure(), _busy_others(*started)


def _busy_others(start: float, busy: float | None, own: float) -> float | None:
    """Return the share of all processors that other processes have used since the start; None if unknown."""
    now, busy_now, own_now = _now()
    if busy is None:
        return None
    return max(busy_now - busy - (own_now - own), 0) / ((now - start) * (os.cpu_count() or 1))


def _now() -> tuple[float, float | None, float]:
    """Return the time, the busy seconds of all processors, and those of this process and its ended children."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.monotonic(), processors_busy(), sum(part.ru_utime + part.ru_stime for part in parts)


_STARTED = _now()
