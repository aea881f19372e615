"""What `benchmarks/ablations.py` found, as the book shows it: the table, the intervals as a figure, and how it ran."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from edgezsad.errors import InputError
from edgezsad.files import read_json
from edgezsad.show.charts import WIDTH, finished, styled

NAMES = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC"}
TICKS = (-50, -10, -3, -1, -0.5, 0, 0.5, 1, 3, 10, 50)
REMEDY = "run `python benchmarks/ablations.py` to write it again"


def read_ablations(path: Path | str) -> dict[str, Any]:
    """Read the results file.

    Raises:
        InputError: it is missing, damaged or not one of this benchmark.
    """
    results = read_json(path, REMEDY)
    if not isinstance(results, dict) or not results.get("summary") or not results.get("rows"):
        raise InputError(f"{path}: not the results of the ablations; {REMEDY}")
    return results


def ablation_table(results: dict[str, Any], measure: str = "image_auroc") -> pd.DataFrame:
    """One row a variant: percent with the spread over seeds, and the paired difference in points with its interval.

    Args:
        results: of `read_ablations`.
        measure: "image_auroc" or "pixel_auroc".
    """
    rows = []
    for entry in results["summary"]:
        found = entry[measure]
        row = {"variant": entry["variant"], NAMES[measure]: f"{found['mean']:.2f} ± {found['spread']:.2f}"}
        if entry["against"] == entry["variant"]:
            row |= {"against": "-", "difference": "-", "95% interval": "-", "clear of zero": "-"}
        else:
            row |= {
                "against": entry["against"],
                "difference": f"{found['difference']:+z.2f} ± {found['difference_spread']:.2f}",
                "95% interval": f"{found['low']:+z.2f} to {found['high']:+z.2f}",
                "clear of zero": _clear(found),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def ablation_figure(results: dict[str, Any]) -> Figure:
    """Every variant's paired difference with its interval, filled where it is clear of zero.

    One panel a measure, in points; the axis is linear up to one point on either side, and logarithmic beyond.
    """
    shown = [entry for entry in results["summary"] if entry["against"] != entry["variant"]]
    height = 1.1 + 0.25 * len(shown)
    with styled():
        figure, panels = plt.subplots(1, 2, figsize=(WIDTH, height), sharey=True, layout="constrained")
        places = np.arange(len(shown))
        for axes, (measure, name) in zip(panels, NAMES.items(), strict=True):
            for place, entry in zip(places, shown, strict=True):
                found = entry[measure]
                filled = _clear(found) != "no"
                axes.plot([found["low"], found["high"]], [place] * 2, color="black", linewidth=1)
                # Filled or hollow, not coloured: it must also be read in grey.
                axes.plot(
                    found["difference"], place, "o", color="black", markerfacecolor="black" if filled else "white"
                )
            axes.axvline(0, color="black", linestyle=":", linewidth=1.2)
            # One variant without a map would press all the others together.
            axes.set_xscale("symlog", linthresh=1)
            ends = [entry[measure][end] for entry in shown for end in ("low", "high")]
            ticks = [tick for tick in TICKS if min(ends) <= tick <= max(ends)]
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
            axes.set(xlabel=f"{name}: difference (points)")
        panels[0].set(yticks=places, yticklabels=[entry["variant"] for entry in shown])
        panels[0].invert_yaxis()
        return finished(figure)


def clear_variants(results: dict[str, Any]) -> pd.DataFrame:
    """How many variants are better, worse or not told apart from what they are compared with, for each measure."""
    rows = []
    for measure, name in NAMES.items():
        says = [_clear(entry[measure]) for entry in results["summary"] if entry["against"] != entry["variant"]]
        rows.append(
            {
                "measure": name,
                "variants": len(says),
                "clearly worse": says.count("worse"),
                "clearly better": says.count("better"),
                "not told apart": says.count("no"),
            }
        )
    return pd.DataFrame(rows)


def conditions(results: dict[str, Any]) -> pd.DataFrame:
    """When, where and how the ablations ran, as rows of name and value."""
    training = results["training"]
    rows = {
        "date": results["date"],
        "processor": results["cpu"],
        "versions": ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        "source": f"{results['images']} images of {results['families']} families (SHA-256 {results['source_sha256']})",
        "backbone": f"{results['backbone']}, frozen",
        "held out": f"{results['held_out']} families for each of {len({row['seed'] for row in results['rows']})} seeds",
        "every training": f"{training['steps']} steps, batch of {training['batch']}",
        "interval": results["interval"],
    }
    return pd.DataFrame([{"what": name, "value": str(value)} for name, value in rows.items()])


def _clear(found: dict[str, float]) -> str:
    """Whether an interval leaves out zero, and on which side it lies."""
    return "worse" if found["high"] < 0 else "better" if found["low"] > 0 else "no"
