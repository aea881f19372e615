"""Tables and the chart of notebook 12: pixel metrics, loading, near-duplicates and the training step."""

import re
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.recorded import Results, facts_table, rows_table
from edgezsad.show.charts import WIDTH, finished, styled

NAMES = {"auroc": "AUROC", "average_precision": "AP", "f1_max": "F1-max", "aupro": "AUPRO", "aupro_steps": "AUPRO-200"}
NOT_RUN = "not run"
NOTHING = "-"


def targets(results: Results) -> pd.DataFrame:
    """Build the bounds on the pixel metrics and what was measured; medians."""
    images, few = results["made"]["images"], results["made"]["few"]
    ours, ours_few = _row(results, "one_pass", images), _row(results, "one_pass", few)
    rows = [
        _target(f"{images:,} images: Mpixel/s", 150, ours["mpixel_per_second"]),
        _target(f"{images:,} images: peak MB above the bare interpreter", 300, ours["peak_mb"], at_most=True),
    ]
    for name, wanted in (("loop", 400), ("adeval", 4)):
        other = _row(results, name, few)
        ran = other["status"] == "ok"
        times = ours_few["mpixel_per_second"] / other["mpixel_per_second"] if ran else None
        rows.append(_target(f"times as fast as {other['title']} on the same {few} images", wanted, times))
    worst = max(value for name, value in ours["differences"].items() if name != "auroc")
    rows.append(_target("largest difference from exact: AUROC", 1e-5, ours["differences"]["auroc"], at_most=True))
    rows.append(_target("largest difference from exact: the others", 1e-4, worst, at_most=True))
    return pd.DataFrame(rows)


def side_by_side(results: Results) -> pd.DataFrame:
    """Build time and memory of every competitor, with the reason where one did not run."""

    def ran(text: str) -> Any:
        return lambda row: text.format(**row) if row["status"] == "ok" else NOT_RUN

    columns = {
        "what": "title",
        "library version": lambda row: row["version"] if row["status"] == "ok" else NOTHING,
        "images": "images",
        "seconds": ran("{seconds_median:.2f}"),
        "fastest": ran("{seconds_min:.2f} of {runs}"),
        "Mpixel/s": ran("{mpixel_per_second:.1f}"),
        "peak MB": ran("{peak_mb:.0f}"),
        "of which packages": ran("{imports_mb:.0f}"),
        "note": lambda row: row["says"] if row["status"] == "ok" else row["status"],
    }
    return rows_table(results["rows"], columns)


def numbers(results: Results) -> pd.DataFrame:
    """Build the metrics that each found, in percent, with the difference from the exact number in brackets."""
    rows = []
    for row in results["rows"]:
        if row["status"] == "ok":
            shown = {"what": row["title"], "images": row["images"]}
            for key, name in NAMES.items():
                value, apart = row["values"].get(key), row.get("differences", {}).get(key)
                shown[name] = NOTHING if value is None else f"{100 * value:.3f} ({_short(apart)})"
            rows.append(shown)
    return pd.DataFrame(rows)


def agreement_table(results: Results) -> pd.DataFrame:
    """Build the largest difference of each implementation from the exact reference over all score files."""
    found = pd.DataFrame(results["agreement"]["rows"])
    differences = pd.DataFrame(found["differences"].tolist()).groupby(found["title"], sort=False).max()
    shown = differences.reindex(columns=list(NAMES)).map(lambda value: NOTHING if pd.isna(value) else _short(value))
    versions = found.groupby("title", sort=False)["version"].first()
    return shown.rename(columns=NAMES).assign(version=versions).reset_index(names="what")


def agreement_sets(results: Results) -> pd.DataFrame:
    """Build the list of score files that were compared."""
    return pd.DataFrame(results["agreement"]["sets"]).assign(compared=results["agreement"]["date"])


def machine_table(results: Results) -> pd.DataFrame:
    """Describe where, when and how the pixel metrics were measured."""
    timing = results["timing"]
    others = [row["others"] for row in [*results["rows"], *results["series"]] if row.get("others") is not None]
    return facts_table(
        {
            **results["machine"],
            "runs": f"up to {timing['runs']}, or as many as fit {timing['budget_seconds']:.0f} s; after a warm-up",
            "load by other processes": f"at most {max(others):.0%} while measuring" if others else "not known",
        }
    )


def linearity(results: Results) -> Figure:
    """Draw seconds and peak memory of the pixel metrics over the number of images."""
    series = pd.DataFrame(results["series"]).sort_values("images")
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


def loading_table(results: Results) -> pd.DataFrame:
    """Build the images per second of every method, with one and with two workers."""
    columns = {
        "what": "method",
        "workers": "workers",
        "images/s": "median",
        "lowest to highest": lambda row: f"{row['lowest']:.0f} to {row['highest']:.0f}",
        "processor ms an image": "cpu_milliseconds_an_image",
    }
    return rows_table(results["images_per_second"], columns)


def loading_goal(results: Results) -> str:
    """Say whether the fast loader reached its goal, when and where."""
    wanted = float(re.search(r"\d+", results["goal"])[0])
    ours = next(row for row in results["images_per_second"] if "fast" in row["method"] and row["workers"] == 2)
    reached = "reached" if ours["median"] >= wanted else "not reached"
    return (
        f"Goal: {results['goal']}; {reached}: {ours['median']:.0f}. Median of {results['rounds']} rounds, measured on "
        f"{results['date']} on {results['cores']} cores, {results['cpu']}."
    )


def duplicates_table(results: Results) -> pd.DataFrame:
    """Build what the near-duplicate search found of planted pairs, and its speed."""
    search, machine = results["search"], results["machine"]
    compared = f"{search['sources']:,} images against {search['targets']:,}, in {search['views']} orientations"
    where = f"{machine['workers']} threads on {machine['cores']} cores, {machine['processor']}; {results['date']}"
    facts = {
        compared: f"{search['seconds']:.1f} s",
        "planted pairs found": f"{search['found']:,} of {search['planted']:,}, and {search['others']:,} others",
        "where and when": where,
    }
    return facts_table(facts, value="measured")


def step_table(results: Results) -> pd.DataFrame:
    """Build every measured training step by device; where no GPU has measured, one row for each planned mode."""
    rows = []
    for planned in results["plan"] if not _gpu_rows(results) else ():
        batches = ", ".join(map(str, planned["batches"]))
        rows.append({"device": "an NVIDIA GPU", "mode": planned["mode"], "batch": batches, "status": results["gpu"]})
    for row in results["rows"]:
        shown = {"device": row["device"], "mode": row["mode"], "batch": str(row["batch"]), "date": row["date"]}
        shown["status"] = row["status"]
        if row["status"] == "ok":
            shown["status"] = row.get("says", "measured")
            shown |= {"images/s": f"{row['images_per_second']:.1f}", "peak GiB": f"{row['peak_gib']:.1f}"}
            # A small model's share of a processor's matrix products means nothing.
            shown["MFU"] = NOTHING if row["shape"] == "tiny" or row["mfu"] is None else f"{row['mfu']:.1%}"
        rows.append(shown)
    columns = ["device", "mode", "batch", "images/s", "MFU", "peak GiB", "date", "status"]
    return pd.DataFrame(rows).reindex(columns=columns).fillna(NOTHING)


def cost_table(results: Results) -> pd.DataFrame:
    """Build the GPU-hours of the paper's training, all seeds, at the fastest mode of each batch on each GPU."""
    cost = results["cost"]
    what = f"{cost['seeds']} seeds of {cost['steps']:,} steps"
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for row in _gpu_rows(results):
        key = row["device"], row["batch"]
        if row["status"] == "ok" and row["images_per_second"] > best.get(key, {}).get("images_per_second", 0):
            best[key] = row
    if not best:
        return pd.DataFrame([{"what": what, "GPU-hours": results["gpu"] if not _gpu_rows(results) else "not measured"}])
    rows = [
        {"what": what, "device": device, "batch": batch, "mode": row["mode"], "measured": row["date"]}
        | {"GPU-hours": f"{cost['seeds'] * cost['steps'] * batch / row['images_per_second'] / 3600:.2f}"}
        for (device, batch), row in sorted(best.items())
    ]
    return pd.DataFrame(rows)


def goal_table(results: Results) -> pd.DataFrame:
    """Build the bound on MFU, the best that was measured, and the FLOPs it is computed from."""
    goal, paper = results["goal"]["mfu"], results["flops"]["paper"]
    done = [row for row in _gpu_rows(results) if row["status"] == "ok" and row["mfu"] is not None]
    best = max(done, key=lambda row: row["mfu"], default=None)
    ceilings = [item for item in results["ceilings"] if item["shape"] == "paper" and item["status"] == "ok"]
    products = "; ".join(f"{item['bf16_tflops']:.0f} TFLOP/s, {item['device']}, {item['date']}" for item in ceilings)
    found = f"{best['mfu']:.1%}: {best['mode']}, batch {best['batch']}, {best['device']}" if best else results["gpu"]
    rows = {
        "best MFU": (f"at least {goal:.0%}", found),
        "bf16 matrix products": (NOTHING, products or results["gpu"]),
        "FLOPs an image, forward": (NOTHING, f"{paper['forward_gflops_an_image']:.1f} G (1 multiply-add = 2)"),
        "FLOPs an image, forward and backward": (NOTHING, f"{paper['training_gflops_an_image']:.1f} G"),
    }
    return pd.DataFrame([{"what": what, "wanted": wanted, "measured": value} for what, (wanted, value) in rows.items()])


def profile_table(results: Results) -> pd.DataFrame:
    """Build the share of a step's time on a GPU by kind of kernel, in percent; idle is time without any kernel."""
    done = [item for item in results["profiles"] if item["shape"] == "paper" and item["status"] == "ok"]
    if not done:
        return pd.DataFrame([{"kind": "all", "share": results["gpu"] if not _gpu_rows(results) else "not measured"}])
    columns = {
        f"{item['mode']}, batch {item['batch']}, {item['device']}": pd.Series(item["shares"]).map("{:.1%}".format)
        for item in done
    }
    # In the first profile's order, which is by share.
    kinds = dict.fromkeys(kind for column in columns.values() for kind in column.index)
    return pd.DataFrame(columns).reindex(list(kinds)).fillna(NOTHING).reset_index(names="kind")


def _gpu_rows(results: Results) -> list[dict[str, Any]]:
    return [row for row in results["rows"] if row["shape"] == "paper"]


def _row(results: Results, name: str, images: int) -> dict[str, Any]:
    return next((row for row in results["rows"] if row["name"] == name and row["images"] == images), {})


def _target(what: str, wanted: float, found: float | None, at_most: bool = False) -> dict[str, str]:
    row = {"what": what, "wanted": f"{'at most' if at_most else 'at least'} {_plain(wanted)}"}
    if found is None:
        return row | {"measured": NOT_RUN, "reached": NOT_RUN}
    reached = found <= wanted if at_most else found >= wanted
    return row | {"measured": _plain(found), "reached": "yes" if reached else "no"}


def _plain(value: float) -> str:
    return _short(value) if value < 0.01 else f"{value:.0f}" if value >= 20 else f"{value:.2g}"


def _short(value: float | None) -> str:
    """Format a difference with one digit; below the rounding of sums it is 0."""
    if value is None:
        return NOTHING
    return "0" if value < 1e-12 else f"{value:.0e}"
