"""Tables and the chart of `latency.py` (notebook 07): the paper's graph next to methods that use a ViT-L."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from benchmarks.recorded import Results, rows_table
from edgezsad.files import reported
from edgezsad.show.charts import WIDTH, finished, styled


def latency_machine(results: Results) -> str:
    """Describe where and when it was measured, the speed of matrix products, and the load of the machine."""
    rows = [row for model in results["models"] for row in model["rows"] if row["status"] == "ok"]
    others = max((row["cores_used_by_others_median"] or 0 for row in rows), default=0)
    speeds = ", ".join(
        f"{one['faster']:.0f} GFLOP/s on {one['threads']} thread{'s' * (one['threads'] > 1)}"
        for one in results["matrix_product_gflop_per_second"]
    )
    return (
        f"Recorded on {results['date']}: {results['cores']} cores, {results['cpu']}; FP32 matrix products at {speeds}; "
        f"other work used up to {others:.1f} cores meanwhile."
    )


def latency_goals(results: Results) -> pd.DataFrame:
    """Build the bounds on the paper's graph by ONNX Runtime in FP32 on all cores, and what was measured."""
    rows = []
    for what, goal in results["goals"].items():
        comparison = "at most" if "at most" in goal else "at least"
        wanted, found = goal[comparison], goal["measured"]
        reached = found <= wanted if comparison == "at most" else found >= wanted
        row = {"what": what, "wanted": f"{comparison} {wanted:g}", "measured": found}
        rows.append(row | {"reached": "yes" if reached else "no"})
    return pd.DataFrame(rows)


def cost_of_models(results: Results) -> pd.DataFrame:
    """Build operations, parameters, time and memory by ONNX Runtime in FP32 on all cores; one row for each model."""
    rows = [model | _best(results, model) for model in results["models"]]
    columns = {
        "model": "title",
        "image": lambda row: f"{row['size']} px",
        "GFLOPs": "gflop",
        "parameters": "parameters_millions",
        "file MB": "file_mb",
        "peak MB": "peak_mb",
        "ms": "milliseconds_median",
        "times as fast as the tower": "times_as_fast_as_the_tower",
    }
    return rows_table(rows, columns)


def latency_table(results: Results) -> pd.DataFrame:
    """Build every model by every runtime, precision and number of threads, with the reason where one did not run."""
    rows = [{"title": model["title"]} | row for model in results["models"] for row in model["rows"]]
    columns = {
        "model": "title",
        "runtime": lambda row: f"{row['method']}, {row['precision']}",
        "threads": "threads",
        "file MB": "file_mb",
        "peak MB": "peak_mb",
        "ms": "milliseconds_median",
        "p95 ms": "milliseconds_p95",
        "times the floor": "times_the_floor",
        "times as fast as the tower": "times_as_fast_as_the_tower",
        "note": lambda row: "" if row["status"] == "ok" else row["status"],
    }
    return rows_table(rows, columns)


def latency_results(results: Results) -> dict[str, Any]:
    """Return the values that the claims read, with the day of the record."""
    found = {what.replace(" ", "_"): goal["measured"] for what, goal in results["goals"].items()}
    tower, paper = _model(results, "tower"), _model(results, "paper")
    found["tower_parameters_millions"] = tower["parameters_millions"]
    found["tower_times_the_gflops"] = tower["gflop"] / paper["gflop"]
    return {"recorded": results["date"]} | found


def field_table(results: Results) -> pd.DataFrame:
    """Build accuracy and cost as reported, each with its source, and the least cost on this host.

    Milliseconds on this host are measured: the paper's graph for EdgeZSAD, the tower alone for methods with a ViT-L.
    """
    rows = []
    accuracies = [row for row in reported()["accuracy"] if not row.get("rerun")]
    for method in dict.fromkeys(row["method"] for row in accuracies):
        own = {row["benchmark"]: row for row in accuracies if row["method"] == method}
        first = own["MVTec-AD"]
        cost = next((one for one in reported()["costs"] if one["method"] == method), {})
        rows.append(
            {
                "method": method if first.get("alone", True) else f"{method} (a batch of test images)",
                "backbone": first["backbone"],
                **{name: own.get(name, {}).get("image_auroc") for name in ("MVTec-AD", "VisA")},
                "parameters": round(sum(cost["millions"]), 1) if "millions" in cost else None,
                "reported ms": cost.get("milliseconds"),
                "host ms, at least": _milliseconds(results, "tower") if "ViT-L" in first["backbone"] else None,
                "source": "; ".join(dict.fromkeys(row["source"] for row in (*own.values(), cost) if row)),
            }
        )
    paper, jetson = reported()["paper"], reported()["boards"]["jetson"]
    ours = {
        "method": "EdgeZSAD",
        "backbone": paper["backbone"],
        "MVTec-AD": paper["accuracy"]["MVTec-AD"]["image_auroc"],
        "VisA": paper["accuracy"]["VisA"]["image_auroc"],
        "parameters": _model(results, "paper")["parameters_millions"],
        "reported ms": jetson["milliseconds"],
        "host ms, at least": _milliseconds(results, "paper"),
        "source": f"{paper['source']}; {jetson['device']}; parameters counted here",
    }
    return pd.DataFrame([*rows, ours])


def against_the_field(results: Results) -> Figure:
    """Draw reported image AUROC over measured milliseconds for EdgeZSAD and the methods that use a ViT-L."""
    table = field_table(results).dropna(subset=["host ms, at least"])
    table["kind"] = ["EdgeZSAD" if name == "EdgeZSAD" else "with a ViT-L: at least" for name in table["method"]]
    with styled():
        figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.9), layout="constrained")
        for axis, benchmark in zip(axes, ("MVTec-AD", "VisA"), strict=True):
            sns.scatterplot(table, x="host ms, at least", y=benchmark, hue="kind", style="kind", s=60, ax=axis)
            _name_points(axis, table, benchmark)
            axis.set(xscale="log", xlabel="ms an image, measured on this host", title=benchmark)
            axis.set(ylabel="image AUROC (%), reported")
            low, high = axis.get_xlim()
            axis.set_xlim(low / 1.6, high * 8)
        # Inside the panels a legend would hide a name.
        handles, names = axes[1].get_legend_handles_labels()
        for axis in axes:
            axis.get_legend().remove()
        figure.legend(handles, names, loc="outside lower center", ncols=2)
        return finished(figure)


def _name_points(axis: plt.Axes, table: pd.DataFrame, column: str) -> None:
    """Write names alternately right and left of the points, raised where they would overlap."""
    for _, shown in table.dropna(subset=[column]).sort_values(column).groupby("kind"):
        gap, heights = (table[column].max() - table[column].min()) / 20, {True: -1e9, False: -1e9}
        for number, (_, row) in enumerate(shown.iterrows()):
            right = number % 2 == 0
            heights[right] = max(row[column], heights[right] + gap)
            point = row["host ms, at least"] * (1.15 if right else 1 / 1.15), heights[right]
            name = row["method"].partition(" (")[0]
            axis.annotate(name, point, ha="left" if right else "right", va="center", fontsize=7)


def _milliseconds(results: Results, name: str) -> float:
    return _best(results, _model(results, name))["milliseconds_median"]


def _model(results: Results, name: str) -> dict[str, Any]:
    return next(model for model in results["models"] if model["name"] == name)


def _best(results: Results, model: dict[str, Any]) -> dict[str, Any]:
    """The row of ONNX Runtime in FP32 on all cores."""
    wanted = ("ONNX Runtime", "FP32", results["cores"])
    return next(row for row in model["rows"] if (row["method"], row["precision"], row["threads"]) == wanted)
