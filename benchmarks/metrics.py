"""Compare the pixel metrics of several libraries: `python benchmarks/metrics.py`, or `make bench-metrics`.

Each implementation computes the same 64 x 64 maps and 512 x 512 masks in its own process (`worker.py`);
slow ones the first 40 images, this package and ADEval as many as MVTec-AD's test set has. Results are compared with
exact ones. With score files, all implementations are compared on maps of real images too.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from competitors import COMPETITORS, LOW, METRICS, MVTEC_AD, PIXELS, POOL, version_of
from recording import RESULTS, machine, run_script, save, with_load
from worker import BUDGET, RUNS, WARM_UP

from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import CheckError, InputError
from edgezsad.files import progress, read_json
from edgezsad.metrics.benchmark_tables import has_pixel_labels, pixel_labels
from edgezsad.run import open_run
from edgezsad.scoring.score_file import read_scores

SERIES = (50, 100, 200, 400, 800, 1725)
REMEDY = "not run: needs `pip install {}`; `make bench` installs it"
# On all images, and on few.
ALL = ("one_sort", "one_pass", "adeval")
FEW = ("one_sort", "one_pass", "scikit_learn", "adeval", "steps", "loop")


def benchmark(images: int, runs: int) -> dict[str, Any]:
    """Measure all implementations on generated images.

    Raises:
        CheckError: an implementation of this package failed.
    """
    few = min(images, POOL)
    plan = [("one_pass", count) for count in sorted({count for count in SERIES if count < images} | {images})]
    table = list(dict.fromkeys([(name, images) for name in ALL] + [(name, few) for name in FEW]))
    plan += [step for step in table if step not in plan]
    measured = {step: _row(*step, runs) for step in progress(plan, "benchmark", unit="measurement")}
    for (_, count), row in measured.items():
        if ("one_sort", count) in measured and row["status"] == "ok":
            exact = measured["one_sort", count]["values"]
            exact = exact | (measured["loop", count].get("values", {}) if count == few else {})
            row["differences"] = _differences(row["values"], exact)
    keys = ("images", "seconds_min", "seconds_median", "peak_mb", "others")
    return {
        "made": {"pixels": PIXELS, "map": LOW, "pool": POOL, "mvtec_ad": MVTEC_AD, "images": images, "few": few},
        "timing": {"runs": runs, "budget_seconds": BUDGET, "warm_up_images": min(images, WARM_UP)},
        "rows": [measured[step] for step in table],
        "series": [{key: measured[step][key] for key in keys} for step in plan if step[0] == "one_pass"],
    }


def _row(name: str, images: int, runs: int) -> dict[str, Any]:
    """Measure one implementation; one that cannot run has the reason as its status."""
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
    if not competitor.installed:
        return row | {"status": REMEDY.format(competitor.package)}
    try:
        found, others = with_load(lambda: _in_new_process(name, images, runs))
    except CheckError as error:
        if competitor.ours:
            raise
        return row | {"status": f"not run: {error}"}
    seconds = sorted(found.pop("seconds"))
    row |= {"runs": len(seconds), "seconds_min": seconds[0], "seconds_median": seconds[len(seconds) // 2]}
    return row | {"mpixel_per_second": row["mpixel"] / row["seconds_median"], "others": others} | found


def _in_new_process(name: str, images: int, runs: int) -> dict[str, Any]:
    worker = Path(__file__).resolve().parent / "worker.py"
    command = [sys.executable, str(worker), "metrics", name, str(images), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckError(f"{name}: {(done.stderr.strip().splitlines() or ['killed; out of memory?'])[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    # JSON has no NaN.
    found["values"] = {key: value if value == value else None for key, value in found["values"].items()}
    return found


def _differences(values: dict[str, float], exact: dict[str, float]) -> dict[str, float]:
    pairs = {key: (values.get(key), exact.get(key)) for key in METRICS}
    return {key: abs(a - b) for key, (a, b) in pairs.items() if a is not None and b is not None}


def agreement(maps: list[Path], data: Path | None) -> dict[str, Any]:
    """Compare the installed implementations on score files RUN/scores/RUNTIME/SEED/TARGET.npz of a run."""
    sets, rows = [], []
    for path in progress(maps, "agreement", unit="score file"):
        scores = read_scores(path)
        run = open_run(path.resolve().parents[3] / "config.yaml", data)
        item = next((item for item in run.profile.data.targets if item.name == scores.record.target), None)
        if item is None:
            raise InputError(f"{path}: not of this run's targets; give RUN/scores/RUNTIME/SEED/TARGET.npz")
        manifest = read_run_manifest(run, item)
        known = scores.map[has_pixel_labels(scores, manifest)]
        images = list(zip(known, pixel_labels(scores, manifest, PIXELS), strict=True))
        defective = [mask for _, mask in images if mask is not None]
        share = float(sum(mask.sum() for mask in defective) / (len(images) * PIXELS**2))
        name = f"{item.name}, seed {scores.record.seed}"
        sets.append({"set": name, "images": len(images), "defective": len(defective), "defective_pixels": share})
        exact: dict[str, float] = {}
        for key in ("one_sort", "loop", "one_pass", "steps", "scikit_learn", "adeval"):
            competitor = COMPETITORS[key]
            if not competitor.installed:
                continue
            values = competitor.run(images)
            exact = values | exact
            row = {"set": name, "title": competitor.title, "version": version_of(competitor), "values": values}
            rows.append(row | {"differences": _differences(values, exact)})
    return {"date": machine()["date"], "pixels": PIXELS, "sets": sets, "rows": rows}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=MVTEC_AD, help="number of images (default: MVTec-AD's test set)")
    parser.add_argument("--runs", type=int, default=RUNS, help="timed runs of each, if it is fast enough")
    parser.add_argument("--output", type=Path, default=RESULTS / "metrics.json", help="the results file")
    parser.add_argument("--maps", type=Path, nargs="+", default=[], help="score files of a run, for the agreement")
    parser.add_argument("--data", type=Path, help="the folder of their images")
    options = parser.parse_args()
    if options.images < 2 or options.runs < 1:
        raise InputError(f"--images {options.images} --runs {options.runs}: give at least 2 images and 1 run")
    about = machine("numpy", "opencv-python-headless")
    result = benchmark(options.images, options.runs)
    result["machine"] = {"date": about["date"], "processor": about["cpu"], "cores": about["cores"]}
    result["machine"] |= {"commit": about["commit"], **about["versions"]}
    # Real images are not available everywhere: an earlier comparison stays, with its own date.
    earlier = read_json(options.output, "delete it").get("agreement") if options.output.exists() else None
    result["agreement"] = agreement(options.maps, options.data) if options.maps else earlier
    save(options.output, result)


if __name__ == "__main__":
    run_script(main)
