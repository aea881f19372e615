"""What `benchmarks/photographs_ablations.py` found, as the book shows it; what is not measured is said to be so."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from edgezsad.errors import InputError
from edgezsad.files import read_json
from edgezsad.model import CHECKPOINT
from edgezsad.model.detector import read_checkpoint
from edgezsad.show.charts import WIDTH, finished, styled

MEASURES = {"image_auroc": "image AUROC", "cell_auroc": "cell AUROC", "map_auroc": "map's peak"}
RECIPE = "recipe"
SHOWN = ("image_auroc", "cell_auroc")
"""Of the measures, in the figure."""
NOT_MEASURED = "not measured"


def read_ablations(path: Path | str) -> dict[str, Any] | None:
    """Read what `benchmarks/photographs_ablations.py` wrote; None where it has not run.

    Raises:
        InputError: the file is damaged, or not of this benchmark.
    """
    if not Path(path).exists():
        return None
    results = read_json(path, "run benchmarks/photographs_ablations.py to write it again")
    if not isinstance(results, dict) or not results.get("rows") or "wanted" not in results:
        raise InputError(f"{path}: not these ablations; run benchmarks/photographs_ablations.py to write it again")
    return results


def ablation_table(results: dict[str, Any] | None) -> pd.DataFrame:
    """One row a measured variant: each measure's mean, and its difference with the interval."""
    rows = []
    for one in results["rows"] if results else []:
        name, against = one["variant"], one["against"]
        row = {"variant": name if against in (name, RECIPE) else f"{name}, against {against}"}
        for measure, title in MEASURES.items():
            row[title] = _said(one[measure], name == against) if measure in one else "-"
        rows.append(row | {"equal cost": "yes" if one["equal_cost"] else "no"})
    return pd.DataFrame(rows or [{"variant": NOT_MEASURED}])


def missing(results: dict[str, Any] | None) -> str:
    """The variants that have not been measured, in a sentence."""
    if results is None:
        return f"{NOT_MEASURED}: all"
    found = {one["variant"] for one in results["rows"]}
    left = [name for name in results["wanted"] if name not in found]
    return f"{NOT_MEASURED}: {'; '.join(left)}" if left else "all variants are measured"


def conditions(results: dict[str, Any] | None) -> str:
    """Under what conditions every training ran, in a sentence."""
    if results is None:
        return f"{NOT_MEASURED}: run benchmarks/photographs_ablations.py where the photographs are"
    return (
        f"{results['date']}, {results['cpu']}; every training, the recipe's too: {results['steps']} steps, scales from "
        f"{results['measured_on']} rows of the source; seeds {', '.join(map(str, results['seeds']))}; left out in "
        f"turn: {', '.join(results['sets'])}; intervals: {results['interval']}"
    )


def recipe_since(results: dict[str, Any] | None, committed: Path | str = CHECKPOINT) -> str:
    """What the recipe that was ablated sets otherwise than the committed checkpoint, in a sentence; empty for nothing.

    Raises:
        InputError: the file does not say what was ablated, or the checkpoint cannot be read.
    """
    if results is None:
        return ""
    if "readout" not in results:
        raise InputError("the ablations do not say of which readout; run benchmarks/photographs_ablations.py again")
    now = read_checkpoint(committed).info.model.readout.model_dump(mode="json")
    then = results["readout"]
    apart = [
        f"{name} {_plain(then.get(name))} (now {_plain(now[name])})" for name in now if then.get(name) != now[name]
    ]
    return f"The recipe around which this was measured had other settings: {', '.join(apart)}." if apart else ""


def _plain(value: Any) -> str:
    if value is None or value == []:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def ablation_figure(results: dict[str, Any] | None) -> Figure:
    """Every variant's difference with its interval, of images and of cells; filled where it leaves out zero."""
    everything = results["rows"] if results else []
    rows = [one for one in everything if one["variant"] != one["against"]][::-1]
    with styled():
        figure, axes = plt.subplots(1, len(SHOWN), sharey=True, figsize=(WIDTH, 0.26 * max(len(rows), 2) + 1))
        for axis, measure in zip(axes, SHOWN, strict=True):
            for place, one in enumerate(rows):
                if measure not in one:
                    continue
                found = one[measure]
                clear = found["low"] > 0 or found["high"] < 0
                axis.plot([found["low"], found["high"]], [place, place], color="C0", linewidth=1.2)
                axis.plot(found["difference"], place, "o", color="C0", markerfacecolor="C0" if clear else "white")
            axis.axvline(0, color="0.5", linestyle=":", linewidth=1)
            axis.set_xlabel(f"points of {MEASURES[measure]}")
            if not rows:
                axis.text(0.5, 0.5, NOT_MEASURED, transform=axis.transAxes, ha="center", va="center")
        axes[0].set_yticks(range(len(rows)), [one["variant"] for one in rows])
        return finished(figure)


def _said(one: dict[str, Any], itself: bool) -> str:
    mean = f"{one['mean']:.1f}"
    return mean if itself else f"{mean} ({one['difference']:+z.1f}; {one['low']:+z.1f} to {one['high']:+z.1f})"
