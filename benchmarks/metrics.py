"""Measure pixel metrics side by side: `python benchmarks/metrics.py`, or `make bench` with everything installed.

Every competitor computes from the same 64 x 64 maps and 512 x 512 masks (see `made`), in a process of its own (see
`one_run`); slow ones on the first 40 images, this package's and ADEval's on as many as MVTec-AD's test set has. Numbers
are compared with exact ones, and with score files given, all are compared on maps of real photographs too. The answer
is one JSON file, which the book's page `12_speed` shows.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agreement import agreement
from competitors import COMPETITORS, METRICS, version_of
from made import LOW, MVTEC_AD, PIXELS, POOL
from one_run import BUDGET, RUNS, WARM_UP
from quiet import undisturbed

from edgezsad.errors import CheckError, EdgeZSADError, InputError
from edgezsad.files import read_json, versions, write_json
from edgezsad.progress import progress

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "metrics.json"
SERIES = (50, 100, 200, 400, 800, 1725)
REMEDY = "not run: needs `pip install {}`; `make bench` installs it"
# On all images and on few: what is fast enough, and what the others are measured by.
ALL = ("one_pass", "one_pass_by_category", "one_sort", "one_sort_by_category", "adeval")
FEW = ("one_pass", "one_sort", "scikit_learn", "torchmetrics", "torchmetrics_200", "adeval", "steps", "loop")


def benchmark(images: int, runs: int, patience: float, maps: list[Path], data: Path | None) -> dict[str, Any]:
    """Everything that the results file holds.

    Raises:
        CheckError: one of this package's own failed.
        InputError: a score file or its images are missing.
    """
    few = min(images, POOL)
    plan = [("one_pass", count) for count in sorted({count for count in SERIES if count < images} | {images})]
    plan += [(name, images) for name in ALL if (name, images) not in plan]
    plan += [(name, few) for name in FEW if (name, few) not in plan]
    measured = {step: _row(*step, runs, patience) for step in progress(plan, "benchmark", unit="measurement")}
    _add_differences(measured, images, few)
    series = [_point(measured[step]) for step in plan if step[0] == "one_pass" and step[1] in (*SERIES, images)]
    table = [(name, images) for name in ALL] + [(name, few) for name in FEW]
    return {
        "made": {"pixels": PIXELS, "map": LOW, "pool": POOL, "mvtec_ad": MVTEC_AD, "images": images, "few": few},
        "timing": {"runs": runs, "budget_seconds": BUDGET, "warm_up_images": min(images, WARM_UP)},
        "rows": [measured[step] for step in dict.fromkeys(table)],
        "series": series,
        "compiling": undisturbed(lambda: _compiling(images), patience)[0],
        "agreement": agreement(maps, data) if maps else None,
        "machine": {
            "date": date.today().isoformat(),
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            **versions("numpy", "numba", "opencv-python-headless"),
        },
    }


def _row(name: str, images: int, runs: int, patience: float) -> dict[str, Any]:
    """One competitor on some images; what could not be run says why."""
    competitor = COMPETITORS[name]
    row: dict[str, Any] = {
        "name": name,
        "title": competitor.title,
        "version": version_of(competitor),
        "says": competitor.says,
        "images": images,
        "mpixel": images * PIXELS**2 / 1e6,
        "status": "ok",
    }
    if not all(find_spec(module.partition(".")[0]) for module in competitor.modules):
        return row | {"status": REMEDY.format(competitor.package)}
    try:
        found, others = undisturbed(lambda: _in_fresh_process(name, images, runs), patience)
    except CheckError as error:
        if competitor.ours:
            raise
        return row | {"status": f"not run: {error}"}
    seconds = sorted(found.pop("seconds"))
    # With an even number, the slower of the two in the middle.
    row |= {"runs": len(seconds), "seconds_min": seconds[0], "seconds_median": seconds[len(seconds) // 2]}
    return row | {"mpixel_per_second": row["mpixel"] / row["seconds_median"], "others": others} | found


def _in_fresh_process(name: str, images: int, runs: int, **environment: str) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "one_run.py"), name, str(images), str(runs)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckError(f"{name}: {(done.stderr.strip().splitlines() or ['killed; out of memory?'])[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    # JSON has no NaN: what is undefined becomes null.
    found["values"] = {key: value if value == value else None for key, value in found["values"].items()}
    return found


def _add_differences(measured: dict[tuple[str, int], dict[str, Any]], images: int, few: int) -> None:
    """How far every number lies from the exact one for the same images."""
    exact = {count: measured["one_sort", count]["values"] for count in {images, few}}
    exact[few] = exact[few] | measured["loop", few].get("values", {})
    for (name, count), row in measured.items():
        if count not in exact or row["status"] != "ok":
            continue
        right = measured["one_sort_by_category", count]["values"] if name.endswith("by_category") else exact[count]
        pairs = {key: (row["values"].get(key), right.get(key)) for key in METRICS}
        row["differences"] = {key: abs(a - b) for key, (a, b) in pairs.items() if a is not None and b is not None}


def _point(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("images", "seconds_min", "seconds_median", "peak_mb", "others")}


def _compiling(images: int) -> dict[str, float]:
    """What the first use costs: seconds of a few images while compiling, from the compiled files, and warm."""
    count = min(images, WARM_UP)
    with tempfile.TemporaryDirectory(prefix="edgezsad-") as folder:
        cold, cached = (_in_fresh_process("one_pass", count, RUNS, NUMBA_CACHE_DIR=folder) for _ in range(2))
    return {
        "images": count,
        "first_seconds": cold["warm_up_seconds"],
        "cached_seconds": cached["warm_up_seconds"],
        "warm_seconds": min(cached["seconds"]),
    }


def _processor() -> str:
    """Its model; what the system calls it where nothing says more."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=int, default=MVTEC_AD, help="how many images (default: as MVTec-AD's test set)"
    )
    parser.add_argument("--runs", type=int, default=RUNS, help="how often each is timed, if it is fast enough")
    parser.add_argument("--patience", type=float, default=60, help="seconds to wait for a quiet machine, each time")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results file")
    parser.add_argument("--maps", type=Path, nargs="+", default=[], help="score files of a run, for the agreement")
    parser.add_argument("--data", type=Path, help="the folder of their photographs")
    options = parser.parse_args(arguments)
    try:
        if options.images < 2 or options.runs < 1:
            raise InputError(f"--images {options.images} --runs {options.runs}: give at least 2 images and 1 run")
        result = benchmark(options.images, options.runs, options.patience, options.maps, options.data)
        if result["agreement"] is None and options.out.exists():
            # Photographs are not everywhere: what was found on them stays, with its own date.
            result["agreement"] = read_json(options.out, "delete it").get("agreement")
        write_json(options.out, result)
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"benchmark: {options.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
