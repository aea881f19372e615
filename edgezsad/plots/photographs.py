"""What `benchmarks/photographs.py` and `benchmarks/cues.py` found on sets of photographs, as the book shows it."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from edgezsad.errors import InputError
from edgezsad.files import read_json
from edgezsad.show.charts import WIDTH, finished, styled

RECIPE = "recipe"
MEASURES = {
    "image_auroc": "image AUROC",
    "ranking_auroc": "global head",
    "correction_auroc": "map's peak",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
}
WANTED = {"PIPED": 95.0, "solar_cell": 80.0, "cookie": 70.0, "alien_figure": 70.0}
"""Image AUROC that this package set out to reach, percent; PIPED is the mean of its twelve papers."""
WANTED_PIXEL = 93.0


def read_photographs(path: Path | str) -> dict[str, Any]:
    """Read what `benchmarks/photographs.py` wrote.

    Raises:
        InputError: it is missing, damaged, or not of this benchmark.
    """
    results = read_json(path, "run benchmarks/photographs.py to write it again")
    if not isinstance(results, dict) or RECIPE not in results.get("variants", {}):
        raise InputError(f"{path}: not the results of the recipe; run benchmarks/photographs.py to write it again")
    return results


def read_cues(path: Path | str) -> dict[str, Any]:
    """Read what `benchmarks/cues.py` wrote.

    Raises:
        InputError: it is missing, damaged, or not of this benchmark.
    """
    results = read_json(path, "run benchmarks/cues.py to write it again")
    if not isinstance(results, dict) or not results.get("rows") or not results.get("weights"):
        raise InputError(f"{path}: not the results of the cues; run benchmarks/cues.py to write it again")
    return results


def left_out_table(results: dict[str, Any], variant: str = RECIPE) -> pd.DataFrame:
    """One row for each part: mean over seeds, with the standard deviation over seeds where there are several."""
    values: dict[str, dict[str, dict[int, list[float]]]] = {}
    for row in results["variants"][variant]["rows"]:
        for category, found in row["categories"].items():
            # Twelve papers are one kind of thing.
            part = row["set"] if row["set"] == "PIPED" else category
            for measure, value in found.items():
                values.setdefault(part, {}).setdefault(measure, {}).setdefault(row["seed"], []).append(value)
    rows = []
    for part, measured in values.items():
        row: dict[str, object] = {"left out": part}
        for measure, name in MEASURES.items():
            seeds = [float(np.mean(found)) for found in measured.get(measure, {}).values()]
            row[name] = _spread(seeds) if seeds else "no masks"
        wanted = WANTED.get(part)
        row["wanted"] = "-" if wanted is None else f"{wanted:.0f}"
        rows.append(row)
    return pd.DataFrame(rows)


def variant_table(results: dict[str, Any]) -> pd.DataFrame:
    """The mean over sets of each variant of the readout."""
    return pd.DataFrame(
        [
            {"variant": name, "seeds": len({row["seed"] for row in found["rows"]}), "measured": found["date"]}
            | {title: found["mean_over_sets"][measure] for measure, title in MEASURES.items()}
            for name, found in results["variants"].items()
        ]
    )


def heads_table(results: dict[str, Any], variant: str = RECIPE) -> pd.DataFrame:
    """What ranks best: one row a way, its difference from the score, and the interval."""
    return pd.DataFrame(
        [
            {
                "ranked by": one["way"],
                "image AUROC": one["image_auroc"],
                "difference": f"{one['difference']:+z.1f}",
                "95% interval": f"{one['low']:+z.1f} to {one['high']:+z.1f}",
            }
            for one in results["variants"][variant]["heads"]
        ]
    )


def cue_table(results: dict[str, Any]) -> pd.DataFrame:
    """One row a variant of the cues: the mean over sets, each set, and the difference with its interval."""
    rows = []
    for one in results["rows"]:
        sets = {name: value for name, value in one["sets"].items() if name != "mean"}
        rows.append(
            {
                "variant": one["variant"],
                "mean": one["sets"]["mean"],
                **sets,
                "difference": f"{one['difference']:+z.1f}",
                "95% interval": f"{one['low']:+z.1f} to {one['high']:+z.1f}",
            }
        )
    return pd.DataFrame(rows)


def cue_figure(results: dict[str, Any]) -> Figure:
    """Every variant's difference from the recipe with its interval; filled where it leaves out zero."""
    rows = [one for one in results["rows"] if one["variant"] != RECIPE]
    with styled():
        figure, axis = plt.subplots(figsize=(WIDTH, 0.26 * len(rows) + 1))
        for place, one in enumerate(reversed(rows)):
            clear = one["low"] > 0 or one["high"] < 0
            axis.plot([one["low"], one["high"]], [place, place], color="C0", linewidth=1.2)
            axis.plot(one["difference"], place, "o", color="C0", markerfacecolor="C0" if clear else "white")
        axis.axvline(0, color="0.5", linestyle=":", linewidth=1)
        axis.set_yticks(range(len(rows)), [one["variant"] for one in reversed(rows)])
        axis.set_xlabel("difference from the recipe, points of image AUROC, mean of the sets")
        return finished(figure)


def measured(results: dict[str, Any]) -> pd.DataFrame:
    """When, where and with what."""
    return pd.DataFrame(
        [
            {"what": "date", "value": results["date"]},
            {"what": "processor", "value": results["cpu"]},
            *({"what": name, "value": value} for name, value in results["versions"].items()),
        ]
    )


def _spread(seeds: list[float]) -> str:
    return f"{np.mean(seeds):.1f}" + (f" ± {np.std(seeds, ddof=1):.1f}" if len(seeds) > 1 else "")
