"""What `benchmarks/metrics.py` measured, as the book shows it: tables of speed, memory and agreement, one figure."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from edgezsad.files import read_json
from edgezsad.show.charts import WIDTH, finished, styled

NAMES = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "f1_max": "F1-max",
    "aupro": "AUPRO",
    "aupro_steps": "AUPRO-200",
}
NOT_RUN = "not run"
NO_MAPS = "not run: needs score files of photographs; make bench MAPS=... DATA=..."


def read_speed(path: Path | str) -> dict[str, Any]:
    """Read the results file.

    Raises:
        InputError: it is missing or damaged.
    """
    return read_json(path, "run `make bench` to write it again")


def targets(results: dict[str, Any]) -> pd.DataFrame:
    """What the pixel metrics were meant to reach, and what was measured; medians."""
    images, few = results["made"]["images"], results["made"]["few"]
    ours, ours_few = _row(results, "one_pass", images), _row(results, "one_pass", few)
    rows = [
        _target(f"{images:,} images: Mpixel/s", 150, ours["mpixel_per_second"]),
        # "About": a tenth more is still that.
        _target(f"{images:,} images: seconds (about)", 3, ours["seconds_median"], at_most=3.3),
        _target(f"{images:,} images: peak MB above the bare interpreter", 300, ours["peak_mb"], at_most=300),
    ]
    for name, wanted in (("loop", 400), ("adeval", 4)):
        other = _row(results, name, few)
        title = other["title"]
        other_all = _row(results, name, images) or other
        for what, mine, theirs in (("in Mpixel/s", ours, other_all), (f"on the same {few} images", ours_few, other)):
            measured = mine["mpixel_per_second"] / theirs["mpixel_per_second"] if theirs["status"] == "ok" else None
            rows.append(_target(f"times as fast as {title}, {what}", wanted, measured))
    worst = max(value for name, value in ours["differences"].items() if name != "auroc")
    rows.append(_target("largest difference from exact: AUROC", 1e-5, ours["differences"]["auroc"], at_most=1e-5))
    rows.append(_target("largest difference from exact: the others", 1e-4, worst, at_most=1e-4))
    return pd.DataFrame(rows)


def side_by_side(results: dict[str, Any]) -> pd.DataFrame:
    """Time and memory of every competitor; those that were not run say why."""
    rows = []
    for row in results["rows"]:
        ran = row["status"] == "ok"
        rows.append(
            {
                "what": f"{row['title']} {row['version']}" if ran else row["title"],
                "images": row["images"],
                "seconds": f"{row['seconds_median']:.2f}" if ran else NOT_RUN,
                "fastest": f"{row['seconds_min']:.2f} of {row['runs']}" if ran else NOT_RUN,
                "Mpixel/s": f"{row['mpixel_per_second']:.1f}" if ran else NOT_RUN,
                "peak MB": f"{row['peak_mb']:.0f}" if ran else NOT_RUN,
                "of which packages": f"{row['imports_mb']:.0f}" if ran else NOT_RUN,
                "note": row["says"] if ran else row["status"],
            }
        )
    return pd.DataFrame(rows)


def numbers(results: dict[str, Any]) -> pd.DataFrame:
    """What each found, in percent, and in brackets how far it lies from the exact number."""
    rows = []
    for row in results["rows"]:
        if row["status"] == "ok":
            cells = {}
            for key, name in NAMES.items():
                value, difference = row["values"].get(key), row.get("differences", {}).get(key)
                cells[name] = "-" if value is None else f"{100 * value:.3f} ({_short(difference)})"
            rows.append({"what": row["title"], "images": row["images"], **cells})
    return pd.DataFrame(rows)


def agreement_table(results: dict[str, Any]) -> pd.DataFrame:
    """The largest difference of each implementation from the exact reference over all score files."""
    if not results["agreement"]:
        return pd.DataFrame([{"what": "all", "status": NO_MAPS}])
    found = pd.DataFrame(results["agreement"]["rows"])
    differences = pd.DataFrame(found["differences"].tolist()).groupby(found["title"], sort=False).max()
    shown = differences.reindex(columns=list(NAMES)).map(lambda value: "-" if pd.isna(value) else _short(value))
    versions = found.groupby("title", sort=False)["version"].first()
    return shown.rename(columns=NAMES).assign(version=versions).reset_index(names="what")


def agreement_sets(results: dict[str, Any]) -> pd.DataFrame:
    """The score files behind it, and when they were compared."""
    if not results["agreement"]:
        return pd.DataFrame([{"set": "none", "status": NO_MAPS}])
    return pd.DataFrame(results["agreement"]["sets"]).assign(compared=results["agreement"]["date"])


def machine_table(results: dict[str, Any]) -> pd.DataFrame:
    """Where and when it was measured, and how."""
    timing, compiling = results["timing"], results["compiling"]
    others = [row["others"] for row in [*results["rows"], *results["series"]] if row.get("others") is not None]
    rows = {
        **results["machine"],
        "runs": f"up to {timing['runs']}, or as many as fit {timing['budget_seconds']:.0f} s; after a warm-up",
        "processors taken by anything else": f"at most {max(others):.0%} while measuring" if others else "not known",
        "first use, compiling": f"{compiling['first_seconds']:.1f} s for {compiling['images']} images",
        "later processes, compiled files": f"{compiling['cached_seconds']:.1f} s for the same",
        "once loaded": f"{compiling['warm_seconds']:.2f} s for the same",
    }
    return pd.DataFrame([{"what": name, "value": str(value)} for name, value in rows.items()])


def linearity(results: dict[str, Any]) -> Figure:
    """Seconds and peak memory of one pass over the number of images."""
    series = pd.DataFrame(results["series"])
    images = series["images"].to_numpy()
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.8))
        left.plot(images, series["seconds_median"], "o", label="median")
        left.plot(images, series["seconds_min"], "_", color="black", label="fastest")
        if len(series) > 1:
            slope, start = np.polyfit(images, series["seconds_median"], 1)
            ends = np.array([0, images.max()])
            left.plot(ends, start + slope * ends, linewidth=1, label=f"{start:.2f} s + {1000 * slope:.2f} ms an image")
        left.set(xlabel="images", ylabel="seconds", xlim=(0, None), ylim=(0, None))
        left.legend()
        right.plot(images, series["peak_mb"], "o-")
        top = 1.15 * series["peak_mb"].max()
        right.set(xlabel="images", ylabel="peak MB", title="above the bare interpreter", xlim=(0, None), ylim=(0, top))
        return finished(figure)


def _row(results: dict[str, Any], name: str, images: int) -> dict[str, Any]:
    found = [row for row in results["rows"] if row["name"] == name and row["images"] == images]
    return found[0] if found else {}


def _target(what: str, wanted: float, measured: float | None, at_most: float | None = None) -> dict[str, str]:
    """One row; more is better unless `at_most` is given."""
    row = {"what": what, "wanted": f"{'at most' if at_most else 'at least'} {_plain(wanted)}"}
    if measured is None:
        return row | {"measured": NOT_RUN, "reached": NOT_RUN}
    reached = measured <= at_most if at_most else measured >= wanted
    return row | {"measured": _plain(measured), "reached": "yes" if reached else "no"}


def _plain(value: float) -> str:
    return _short(value) if value < 0.01 else f"{value:.0f}" if value >= 20 else f"{value:.2g}"


def _short(value: float | None) -> str:
    """A difference with one digit; what lies below the rounding of sums is none."""
    if value is None:
        return "-"
    return "0" if value < 1e-12 else f"{value:.0e}"
