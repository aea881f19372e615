"""What every benchmark records with its numbers: machine, versions, commit, and the load by other processes."""

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

from edgezsad.files import versions, write_json
from edgezsad.scoring.onnx_scorer import cores, cpu_name

Found = TypeVar("Found")
RESULTS = Path(__file__).resolve().parent / "results"

# The load of an idle machine.
QUIET = 0.05
TRIES = 3


def machine(*packages: str) -> dict[str, Any]:
    """Return date, processor, cores, load, commit and versions of packages."""
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


def save(path: Path, results: dict[str, Any]) -> None:
    """Write the results file and print its path."""
    write_json(path, results)
    print(f"benchmark: {path}", file=sys.stderr)


def undisturbed(measure: Callable[[], Found], patience: float) -> tuple[Found, float | None]:
    """Measure while nothing else runs, if possible.

    Args:
        measure: does its work in child processes.
        patience: seconds to wait for a quiet moment before each of at most three tries; 0: measure once, now.

    Returns:
        The least disturbed measurement, and the share of all processors that others used meanwhile; None where the
        system does not say.
    """
    best: tuple[Found, float | None] | None = None
    for _ in range(TRIES if patience else 1):
        end = time.monotonic() + patience
        while time.monotonic() < end and not _quiet():
            pass
        start, busy, own = time.monotonic(), processors_busy(), _own()
        found = measure()
        if busy is None:
            return found, None
        seconds = (time.monotonic() - start) * (os.cpu_count() or 1)
        others = max(processors_busy() - busy - (_own() - own), 0) / seconds
        if best is None or others < best[1]:
            best = found, others
        if others < QUIET:
            break
    return best


def _quiet() -> bool:
    before = processors_busy()
    time.sleep(3)
    return before is None or (processors_busy() - before) / (3 * (os.cpu_count() or 1)) < QUIET


def _own() -> float:
    """Processor seconds of this process and of its children that have ended."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)
