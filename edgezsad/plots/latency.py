"""What `benchmarks/latency.py` measured on a host, as the book shows it: beside the methods that go through a ViT-L."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from edgezsad import reported
from edgezsad.errors import InputError
from edgezsad.files import read_json
from edgezsad.show.charts import WIDTH, finished, styled

REMEDY = "run `make bench-latency` to write it again"
RUNTIME, PRECISION = "ONNX Runtime", "FP32"


def read_latency(path: Path | str) -> dict[str, Any]:
    """Read the results file.

    Raises:
        InputError: it is missing or damaged.
    """
    results = read_json(path, REMEDY)
    if not isinstance(results, dict) or not {"models", "goals", "date"} <= set(results):
        raise InputError(f"{path}: not a record of the latency on a host; {REMEDY}")
    return results


def latency_machine(results: dict[str, Any]) -> str:
    """Where and when it was measured, how fast matrix products were, and how busy the machine was; one sentence."""
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


def latency_goals(results: dict[str, Any]) -> pd.DataFrame:
    """What is wanted of the paper's graph by ONNX Runtime in FP32 on all cores, and what was measured."""
    rows = []
    for what, goal in results["goals"].items():
        comparison = "at most" if "at most" in goal else "at least"
        wanted, measured = goal[comparison], goal["measured"]
        reached = measured <= wanted if comparison == "at most" else measured >= wanted
        rows.append({"what": what, "wanted": f"{comparison} {wanted:g}", "measured": measured})
        rows[-1]["reached"] = "yes" if reached else "no"
    return pd.DataFrame(rows)


def cost_of_models(results: dict[str, Any]) -> pd.DataFrame:
    """Operations, parameters, and the time and memory of ONNX Runtime in FP32 on all cores; one row a model."""
    rows = []
    for model in results["models"]:
        row = _best(results, model)
        rows.append(
            {
                "model": model["title"],
                "image": f"{model['size']} px",
                "GFLOPs": model["gflop"],
                "parameters": model["parameters_millions"],
                "file MB": row["file_mb"],
                "peak MB": row["peak_mb"],
                "ms": row["milliseconds_median"],
                "times as fast as the tower": row["times_as_fast_as_the_tower"],
            }
        )
    return pd.DataFrame(rows)


def latency_table(results: dict[str, Any]) -> pd.DataFrame:
    """Every model by every runtime, precision and number of threads; what was not run says why."""
    rows = []
    for model in results["models"]:
        for row in model["rows"]:
            shown = {"model": model["title"], "runtime": f"{row['method']}, {row['precision']}"}
            shown |= {"threads": row["threads"], "file MB": row["file_mb"]}
            if row["status"] == "ok":
                shown |= {
                    "peak MB": row["peak_mb"],
                    "ms": row["milliseconds_median"],
                    "p95 ms": row["milliseconds_p95"],
                    "times the floor": row["times_the_floor"],
                    "times as fast as the tower": row["times_as_fast_as_the_tower"],
                }
            rows.append(shown | {"note": "" if row["status"] == "ok" else row["status"]})
    return pd.DataFrame(rows)


def latency_results(results: dict[str, Any]) -> dict[str, Any]:
    """What the claims read, with the day of the record."""
    measured = {what.replace(" ", "_"): goal["measured"] for what, goal in results["goals"].items()}
    tower, paper = _model(results, "tower"), _model(results, "paper")
    counted = {
        "tower_parameters_millions": tower["parameters_millions"],
        "tower_times_the_gflops": tower["gflop"] / paper["gflop"],
    }
    return {"recorded": results["date"]} | measured | counted


def field_table(results: dict[str, Any]) -> pd.DataFrame:
    """What the field reports of accuracy and cost, each with its source, and the least an image costs on this host.

    The milliseconds on this host are measured: the paper's graph for EdgeZSAD; the tower alone for a method that goes
    through a ViT-L.
    """
    rows = []
    for method in dict.fromkeys(row.method for row in reported.FIELD_ACCURACY):
        own = {row.benchmark: row for row in reported.FIELD_ACCURACY if row.method == method and not row.rerun}
        first = own["MVTec-AD"]
        cost = next((one for one in reported.FIELD_COSTS if one.method == method), None)
        accuracy = {name: own[name].image_auroc if name in own else None for name in ("MVTec-AD", "VisA")}
        rows.append(
            {"method": method if first.alone else f"{method} (a batch of test images)", "backbone": first.backbone}
            | accuracy
            | {
                "parameters": cost.parameters if cost else None,
                "reported ms": cost.milliseconds if cost else None,
                "host ms, at least": _milliseconds(results, "tower") if "ViT-L" in first.backbone else None,
                "source": "; ".join(dict.fromkeys(row.source for row in (*own.values(), cost) if row)),
            }
        )
    ours = {
        "method": "EdgeZSAD",
        "backbone": reported.EDGEZSAD["MVTec-AD"].backbone,
        "MVTec-AD": reported.EDGEZSAD["MVTec-AD"].image_auroc,
        "VisA": reported.EDGEZSAD["VisA"].image_auroc,
        "parameters": _model(results, "paper")["parameters_millions"],
        "reported ms": reported.JETSON.milliseconds,
        "host ms, at least": _milliseconds(results, "paper"),
        "source": f"{reported.PAPER}; {reported.JETSON.device}; parameters counted here",
    }
    return pd.DataFrame([*rows, ours])


def against_the_field(results: dict[str, Any]) -> Figure:
    """Reported image AUROC over measured milliseconds an image, for EdgeZSAD and whoever goes through a ViT-L."""
    table = field_table(results).dropna(subset=["host ms, at least"])
    table["kind"] = ["EdgeZSAD" if name == "EdgeZSAD" else "through a ViT-L: at least" for name in table["method"]]
    with styled():
        figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.9), layout="constrained")
        for axis, benchmark in zip(axes, ("MVTec-AD", "VisA"), strict=True):
            sns.scatterplot(
                table, x="host ms, at least", y=benchmark, hue="kind", style="kind", s=60, ax=axis,
                legend="auto" if benchmark == "VisA" else False,
            )  # fmt: skip
            _name_points(axis, table, benchmark)
            axis.set(xscale="log", xlabel="ms an image, measured on this host", title=benchmark)
            axis.set(ylabel="image AUROC (%), reported")
            low, high = axis.get_xlim()
            axis.set_xlim(low / 1.6, high * 8)
        # Below the panels: inside them it would hide a name.
        handles, names = axes[1].get_legend_handles_labels()
        axes[1].get_legend().remove()
        figure.legend(handles, names, loc="outside lower center", ncols=2)
        return finished(figure)


def _name_points(axis: plt.Axes, table: pd.DataFrame, column: str) -> None:
    """Names beside the points, in turn right and left, pushed up where they would overlap."""
    for _, shown in table.dropna(subset=[column]).sort_values(column).groupby("kind"):
        gap, heights = (table[column].max() - table[column].min()) / 20, {True: -1e9, False: -1e9}
        for number, (_, row) in enumerate(shown.iterrows()):
            right = number % 2 == 0
            heights[right] = max(row[column], heights[right] + gap)
            place = row["host ms, at least"] * (1.15 if right else 1 / 1.15), heights[right]
            name = row["method"].partition(" (")[0]
            axis.annotate(name, place, ha="left" if right else "right", va="center", fontsize=7)


def _milliseconds(results: dict[str, Any], name: str) -> float:
    return _best(results, _model(results, name))["milliseconds_median"]


def _model(results: dict[str, Any], name: str) -> dict[str, Any]:
    return next(model for model in results["models"] if model["name"] == name)


def _best(results: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """The row of ONNX Runtime in FP32 on all cores."""
    wanted = (RUNTIME, PRECISION, results["cores"])
    return next(row for row in model["rows"] if (row["method"], row["precision"], row["threads"]) == wanted)
