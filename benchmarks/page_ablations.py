"""Tables and charts of the ablations (notebook 13), and of the photographs (notebook 15)."""

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

import matplotlib.pyplot as plt
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
from edgezsad.show.charts import WIDTH, finished, gallery, styled

RECIPE = "recipe"
VERDICTS = {"worse": "worse", "better": "better", "no clear difference": "no"}
GENERATED = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC"}
LEFT_OUT = {
    "image_auroc": "image AUROC",
    "global_auroc": "global score",
    "correction_auroc": "map's peak",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
}
MEAN = "mean without DeepPCB"
CELLS = {"image_auroc": "image AUROC", "cell_auroc": "cell AUROC", "map_auroc": "map's peak"}


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


def left_out_table(results: Results) -> pd.DataFrame:
    """Build one row for each part that was not trained on, mean and standard deviation over seeds, and the means."""
    values: dict[str, dict[str, dict[int, list[float]]]] = {}
    for row in results["rows"]:
        # The twelve papers count as one part, and the means are over sets.
        part = row["set"] if row["set"] == "PIPED" else f"{row['set']}, {row['category']}"
        names = [part] if row["set"] in results["not_in_means"] else [part, MEAN]
        for name, measure in ((name, measure) for name in names for measure in LEFT_OUT if measure in row):
            values.setdefault(name, {}).setdefault(measure, {}).setdefault(row["seed"], []).append(row)
    rows = []
    for part, measures in values.items():
        seeds = {
            title: [mean_over_sets(found, key) for found in measures.get(key, {}).values()]
            for key, title in LEFT_OUT.items()
        }
        rows.append({"part": part} | {name: mean_text(found) if found else "no masks" for name, found in seeds.items()})
    return pd.DataFrame(sorted(rows, key=lambda row: row["part"] == MEAN))


def left_out_figure(results: Results) -> Figure:
    """Draw the image AUROC of every part and seed: the score, and its two terms alone."""
    parts: dict[str, list[dict[str, float]]] = {}
    for row in results["rows"]:
        parts.setdefault(f"{row['set']}, {row['category']}", []).append(row)
    rows = sorted(parts.items(), key=lambda item: np.mean([one["image_auroc"] for one in item[1]]))
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.23 * len(rows) + 0.9))
        for key, style in (("correction_auroc", "|"), ("global_auroc", "x"), ("image_auroc", "o")):
            colour = "#0072b2" if style == "o" else "black"
            points = [(one[key], at) for at, (_, found) in enumerate(rows) for one in found]
            axes.plot(*zip(*points, strict=True), style, color=colour, label=LEFT_OUT[key])
        axes.axvline(50, color="black", linestyle=":", linewidth=1.2)
        axes.set(yticks=range(len(rows)), yticklabels=[name for name, _ in rows], ylim=(-0.6, len(rows) - 0.4))
        axes.set_xlabel("image AUROC (%) of each seed; dotted: chance")
        axes.legend(loc="upper left", fontsize=8)
        return finished(figure)


def mean_over_sets(rows: Iterable[Mapping[str, Any]], measure: str) -> float:
    """Average a measure over the categories of each set, then over sets."""
    by_set: dict[str, list[float]] = {}
    for row in rows:
        by_set.setdefault(row["set"], []).append(row[measure])
    return float(np.mean([np.mean(values) for values in by_set.values()]))


def heads_table(results: Results) -> pd.DataFrame:
    """Build one row for each kind of score: image AUROC, and its difference from the image score."""
    columns = {"ranked by": "way", "image AUROC": lambda row: f"{row['mean']:.2f}"}
    return rows_table(results["heads"], columns | {"difference (95% interval)": difference_text})


def sums_table(results: Results) -> pd.DataFrame:
    """Build one row for each sum of the comparisons within an image: mean, difference from the recipe, each set."""
    columns = {"counted": "variant", "mean": "mean", "difference (95% interval)": difference_text}
    for name in results["global_scores"][0]["sets"]:
        columns[name] = lambda row, name=name: row["sets"][name]
    return rows_table(results["global_scores"], columns)


def sums_figure(results: Results) -> Figure:
    """Draw the difference of every sum of comparisons from the recipe's."""
    rows = [one for one in results["global_scores"] if one["variant"] != RECIPE]
    label = "difference from the recipe's global score, points of image AUROC"
    return difference_figure([one["variant"] for one in rows], {label: rows})


def photographs_table(results: Results) -> pd.DataFrame:
    """Build one row for each variant of the recipe: means, and differences with intervals."""
    rows = []
    for one in results["ablations"]:
        row = {"variant": one["variant"], "compared with": "-" if one["variant"] == RECIPE else one["against"]}
        for measure, title in CELLS.items():
            found = one[measure]
            difference = "" if one["variant"] == RECIPE else f" {difference_text(found)}"
            row[title] = f"{found['mean']:.1f}{difference}"
        rows.append(row | one["sets"])
    return pd.DataFrame(rows)


def photographs_figure(results: Results) -> Figure:
    """Draw every variant's difference, of images and of cells."""
    rows = [one for one in results["ablations"] if one["variant"] != RECIPE]
    panels = {CELLS[name]: [one[name] for one in rows] for name in ("image_auroc", "cell_auroc")}
    names = [one["variant"] + (f"\n(from {one['against']})" if one["against"] != RECIPE else "") for one in rows]
    return difference_figure(names, panels)


def photographs_conditions(results: Results) -> pd.DataFrame:
    """Describe when, where and how the photographs were measured."""
    training = results["training"]
    return facts_table(
        {
            "date": results["date"],
            "commit": results["commit"],
            "processor": results["cpu"],
            "versions": ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
            "source": f"{results['images']} images, less those of a set that is left out",
            "SHA-256 of the source": results["source_sha256"],
            "every training": f"{training['steps']} steps, batch of {training['batch']}",
            "seeds": ", ".join(map(str, results["seeds"])),
            "interval": results["interval"],
        }
    )


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
