"""Whether a measurement had the machine to itself: how much processor time went to anything else while it ran."""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")

# What a machine does by itself; more than this disturbs.
QUIET = 0.05
TRIES = 3


def undisturbed(measure: Callable[[], Found], patience: float) -> tuple[Found, float | None]:
    """Measure while nothing else runs, if such a time comes.

    Args:
        measure: does its work in child processes.
        patience: seconds to wait for a quiet moment, before each of at most three tries; 0: measure once, now.

    Returns:
        the least disturbed measurement, and the share of all processors that others used meanwhile; None where the
        system does not say.
    """
    best: tuple[Found, float | None] | None = None
    for _ in range(TRIES if patience else 1):
        _wait(patience)
        start, busy, own = time.monotonic(), _busy(), _own()
        found = measure()
        if busy is None:
            return found, None
        others = max(_busy() - busy - (_own() - own), 0) / ((time.monotonic() - start) * (os.cpu_count() or 1))
        if best is None or others < best[1]:
            best = found, others
        if others < QUIET:
            break
    return best


def _wait(patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before = _busy()
        time.sleep(3)
        if before is None or (_busy() - before) / (3 * (os.cpu_count() or 1)) < QUIET:
            return


def _busy() -> float | None:
    """Seconds that all processors together have been busy since the machine started, or were taken by its host."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Processor seconds of this process and of its children that have ended."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)
