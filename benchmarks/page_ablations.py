"""Tables and charts of the ablations (notebook 13), and of the photographs (notebook 15)."""

from collections.abc import Iterator
from html import escape

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.recorded import (
    Results,
    difference_figure,
    difference_text,
    facts_table,
    mean_text,
    rows_table,
    verdict,
)
from edgezsad.data.manifest import Manifest
from edgezsad.evaluate import score_manifest
from edgezsad.model import SEEN
from edgezsad.scoring.score_file import Scorer
from edgezsad.show.charts import gallery

RECIPE = "recipe"
VERDICTS = {"worse": "worse", "better": "better", "no clear difference": "no"}
GENERATED = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC"}
LEFT_OUT = {
    "image_auroc": "image AUROC",
    "ranking_auroc": "global head",
    "correction_auroc": "map's peak",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
}
CELLS = {"image_auroc": "image AUROC", "cell_auroc": "cell AUROC", "map_auroc": "map's peak"}
WANTED = {"PIPED": 95.0, "solar_cell": 80.0, "cookie": 70.0, "alien_figure": 70.0}
"""Goals for image AUROC, percent; PIPED is the mean of its twelve papers."""


def ablation_table(results: Results, measure: str = "image_auroc") -> pd.DataFrame:
    """Build one row for each variant: percent, and the paired difference in points with its interval."""
    rows = []
    for entry in results["summary"]:
        found = entry[measure]
        row = {"variant": entry["variant"], GENERATED[measure]: f"{found['mean']:.2f} ± {found['spread']:.2f}"}
        shown = dict.fromkeys(("against", "difference", "95% interval", "excludes zero"), "-")
        if entry["against"] != entry["variant"]:
            shown["against"] = entry["against"]
            shown["difference"] = f"{found['difference']:+z.2f} ± {found['difference_spread']:.2f}"
            shown["95% interval"] = f"{found['low']:+z.2f} to {found['high']:+z.2f}"
            shown["excludes zero"] = verdict(found)
        rows.append(row | shown)
    return pd.DataFrame(rows)


def ablation_figure(results: Results) -> Figure:
    """Draw the paired difference of every variant, of images and of pixels."""
    shown = [entry for entry in results["summary"] if entry["against"] != entry["variant"]]
    panels = {
        f"{name}: difference (points)": [entry[measure] for entry in shown] for measure, name in GENERATED.items()
    }
    return difference_figure([entry["variant"] for entry in shown], panels)


def verdicts(results: Results) -> pd.DataFrame:
    """Count the variants that are better, worse or not distinguishable from their reference, for each measure."""
    rows = []
    for measure, name in GENERATED.items():
        found = [verdict(entry[measure]) for entry in results["summary"] if entry["against"] != entry["variant"]]
        counts = {title: found.count(one) for title, one in VERDICTS.items()}
        rows.append({"measure": name, "variants": len(found)} | counts)
    return pd.DataFrame(rows)


def conditions(results: Results) -> pd.DataFrame:
    """Describe when, where and how the ablations ran."""
    training, seeds = results["training"], {row["seed"] for row in results["rows"]}
    return facts_table(
        {
            "date": results["date"],
            "processor": results["cpu"],
            "versions": ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
            "source": f"{results['images']} images of {results['families']} families",
            "SHA-256 of the source": results["source_sha256"],
            "backbone": f"{results['backbone']}, frozen",
            "held out": f"{results['held_out']} families for each of {len(seeds)} seeds",
            "every training": f"{training['steps']} steps, batch of {training['batch']}",
            "interval": results["interval"],
        }
    )


def left_out_table(results: Results, variant: str = RECIPE) -> pd.DataFrame:
    """Build one row for each part of `photographs.py`: mean and standard deviation over seeds."""
    values: dict[str, dict[str, dict[int, list[float]]]] = {}
    for row in results["variants"][variant]["rows"]:
        for category, found in row["categories"].items():
            # The twelve papers count as one part.
            part = row["set"] if row["set"] == "PIPED" else category
            for measure, value in found.items():
                values.setdefault(part, {}).setdefault(measure, {}).setdefault(row["seed"], []).append(value)
    rows = []
    for part, measures in values.items():
        seeds = {name: [np.mean(found) for found in measures.get(key, {}).values()] for key, name in LEFT_OUT.items()}
        row = {"left out": part} | {name: mean_text(found) if found else "no masks" for name, found in seeds.items()}
        rows.append(row | {"wanted": f"{WANTED[part]:.0f}" if part in WANTED else "-"})
    return pd.DataFrame(rows)


def variant_table(results: Results) -> pd.DataFrame:
    """Build the mean over sets of each variant of the readout."""
    return pd.DataFrame(
        [
            {"variant": name, "seeds": len({row["seed"] for row in found["rows"]}), "measured": found["date"]}
            | {title: found["mean_over_sets"][measure] for measure, title in LEFT_OUT.items()}
            for name, found in results["variants"].items()
        ]
    )


def heads_table(results: Results, variant: str = RECIPE) -> pd.DataFrame:
    """Build one row for each kind of score: image AUROC, and its difference from the image score."""
    columns = {"ranked by": "way", "image AUROC": "image_auroc", "difference (95% interval)": difference_text}
    return rows_table(results["variants"][variant]["heads"], columns)


def cue_table(results: Results) -> pd.DataFrame:
    """Build one row for each variant of the self-reference scores: mean over sets, each set, and the difference."""
    names = [name for name in results["rows"][0]["sets"] if name != "mean"]
    columns = {"variant": "variant", "mean": lambda row: row["sets"]["mean"]}
    columns |= {name: lambda row, name=name: row["sets"][name] for name in names}
    return rows_table(results["rows"], columns | {"difference (95% interval)": difference_text})


def cue_figure(results: Results) -> Figure:
    """Draw every variant's difference from the recipe."""
    rows = [one for one in results["rows"] if one["variant"] != RECIPE]
    label = "difference from the recipe, points of image AUROC, mean of the sets"
    return difference_figure([one["variant"] for one in rows], {label: rows})


def photographs_table(results: Results) -> pd.DataFrame:
    """Build one row for each measured variant of `photographs_ablations.py`: means, and differences with intervals."""
    rows = []
    for one in results["rows"]:
        name, against = one["variant"], one["against"]
        row = {"variant": name if against in (name, RECIPE) else f"{name}, against {against}"}
        for measure, title in CELLS.items():
            found = one.get(measure)
            difference = "" if name == against or found is None else f" {difference_text(found)}"
            row[title] = "-" if found is None else f"{found['mean']:.1f}{difference}"
        rows.append(row | {"equal cost": "yes" if one["equal_cost"] else "no"})
    return pd.DataFrame(rows)


def photographs_figure(results: Results) -> Figure:
    """Draw every variant's difference, of images and of cells."""
    rows = [one for one in results["rows"] if one["variant"] != one["against"]]
    panels = {f"points of {CELLS[name]}": [one.get(name) for one in rows] for name in ("image_auroc", "cell_auroc")}
    return difference_figure([one["variant"] for one in rows], panels)


def photographs_conditions(results: Results) -> str:
    """Describe the conditions of every training, and name the variants that have not been measured."""
    found = {one["variant"] for one in results["rows"]}
    left = [name for name in results["wanted"] if name not in found]
    return (
        f"{results['date']}, {results['cpu']}; every training, the recipe's too: {results['steps']} steps, scales from "
        f"{results['measured_on']} rows of the source; seeds {', '.join(map(str, results['seeds']))}; left out in "
        f"turn: {', '.join(results['sets'])}; intervals: {results['interval']}. "
        f"Not measured: {'; '.join(left) or 'none'}."
    )


def measured(results: Results) -> pd.DataFrame:
    """Describe when and with what a benchmark of photographs ran."""
    return facts_table({"date": results["date"], "processor": results["cpu"], **results["versions"]})


def worst_images(scorer: Scorer, manifest: Manifest) -> Iterator[tuple[str, Figure]]:
    """Score a data set; yield for each category how many images are ranked wrongly, as Markdown, and the worst ones."""
    scores = score_manifest(scorer, manifest)
    for category in np.unique(scores.category):
        one = scores.take(scores.image_id[scores.category == category])
        defective, normal = one.score[one.label == 1], one.score[one.label == 0]
        missed, alarms = defective <= normal.max(initial=-np.inf), normal >= defective.min(initial=np.inf)
        known = "; the checkpoint was trained on images of this set" if manifest.name in SEEN else ""
        text = f"{sum(missed)} of {len(defective)} defective images are outscored by a normal one, {sum(alarms)} of "
        text += f"{len(normal)} normal images outscore a defective one (ties count)"
        yield f"**{escape(category)}** ({manifest.name}{known}): {text}", gallery(one, manifest, hits=False)
