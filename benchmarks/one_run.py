"""Measure one competitor in this fresh process: `python benchmarks/one_run.py NAME IMAGES RUNS` prints a line of JSON.

A process of its own, because the highest memory of a process never goes down again and because one library's threads
must not stand in another's way.
"""

import json
import resource
import sys
import time
from importlib import import_module
from pathlib import Path

# Enough images that everything compiled has been called once, the trees of the one-pass evaluator too.
WARM_UP = 12
RUNS = 5
BUDGET = 25.0


def memory() -> tuple[float, float]:
    """MB that this process holds and the most it has held."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: a child starts with its parent's highest there.
        rows = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return tuple(int(rows[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    most = most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6
    return most, most


def measure(name: str, images: int, runs: int) -> dict[str, object]:
    """Run until it was timed `runs` times or took long enough; memory in MB above the bare interpreter."""
    bare = memory()[1]
    from competitors import COMPETITORS
    from made import Made

    competitor = COMPETITORS[name]
    # ADEval looks for a function that NumPy no longer has, but only when called.
    for module in competitor.modules:
        import_module(module)
    imported = memory()[1]
    made = Made(images)
    start = time.perf_counter()
    # A slow one needs no warm-up of many images, and has nothing to compile.
    competitor.run(Made(min(images, WARM_UP)) if competitor.ours else Made(min(images, 2)))
    warm_up = time.perf_counter() - start
    seconds: list[float] = []
    values: dict[str, float] = {}
    while not seconds or (len(seconds) < runs and sum(seconds) + min(seconds) < BUDGET):
        start = time.perf_counter()
        values = competitor.run(made)
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": seconds,
        "warm_up_seconds": warm_up,
        "imports_mb": imported - bare,
        "peak_mb": memory()[1] - bare,
        "values": values,
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
