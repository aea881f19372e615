"""Metrics of each category from score files and masks, their means over categories and seeds, and the main table."""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgezsad.data.images import decode_mask
from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.errors import InputError
from edgezsad.files import progress, read_json, records
from edgezsad.metrics.image_metrics import auroc, average_precision, best_f1, decisions
from edgezsad.metrics.intervals import LEVEL, REPLICATES, Replicates, bootstrap, interval
from edgezsad.metrics.pixel_metrics import pixel_metrics, reduce_mask
from edgezsad.run import Run
from edgezsad.scoring.score_file import ScoreFile, read_scores

# Folders are evaluated without pandas.
if TYPE_CHECKING:
    import pandas as pd

IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1max")
PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1max", "pixel_aupro", "pixel_aupro200")
METRICS = (*IMAGE_METRICS, *PIXEL_METRICS)
METRIC_TEXT = {"auroc": "AUROC", "ap": "AP", "f1max": "F1-max", "pro": "PRO", "aupro": "AUPRO", "aupro200": "AUPRO-200"}
DETECTORS = {"edgeglr": "EdgeGLR", "self_reference": "shipped detector"}  # by the kind of readout
AVERAGING = "each category, then the mean over categories, then mean and standard deviation over seeds"
INTERVAL = (
    f"{LEVEL:.0%} interval of the mean over categories and seeds: {REPLICATES:,} resamples of the images within each "
    "category and label, the same for every seed"
)
PIXEL_DEFINITION = (
    "pixel metrics at {0} x {0}: maps enlarged bilinearly, masks reduced by nearest neighbour; AUPRO by MVTec's "
    "definition (8-connected regions, FPR limit 0.3, interpolated); AUPRO-200 by 200 even thresholds, not interpolated"
)


@dataclass(frozen=True)
class Benchmarks:
    """Metrics of a run in percent.

    The summary, by target and metric, holds `mean` and `std` over seeds, for image metrics `low` and `high`, the ends
    of the mean's interval, and `left_out`, the categories without the metric. None where undefined.
    """

    categories: "pd.DataFrame"  # one row for each target, seed and category (see `category_metrics`)
    seeds: "pd.DataFrame"  # one row for each target and seed, mean over the categories that have the metric
    summary: dict[str, dict[str, dict[str, Any]]]

    def as_json(self, run: Run) -> dict[str, object]:
        """Return the content of the results file; undefined values are null."""
        targets = run.profile.data.targets
        return {
            "runs": len(run.profile.seeds),
            "by_target": self.summary,
            "by_benchmark": {item.stands_for: self.summary[item.name] for item in targets if item.stands_for},
            "seeds": records(self.seeds),
            "categories": records(self.categories),
        }


def benchmarks(run: Run) -> Benchmarks:
    """Compute the metrics of all targets and seeds from PyTorch's scores; InputError if missing or of other images."""
    import pandas as pd

    rows, ends = [], {}
    for item in progress(run.profile.data.targets, "metrics", unit="target"):
        manifest, resamples = read_run_manifest(run, item), []
        for seed in run.profile.seeds:
            path = run.scores("pytorch", seed, item.name)
            scores = read_scores(path)
            if scores.record.manifest_sha256 != manifest.select("test").sha256:
                raise InputError(f"{path}: made from other images; run notebook 05_scoring again")
            resamples.append(bootstrap_categories(scores))
            found = category_metrics(scores, manifest, run.profile.evaluation.pixels, resamples[-1])
            rows += [{"target": item.name, "seed": seed, **row} for row in found]
        ends[item.name] = mean_intervals(resamples)
    categories = pd.DataFrame(rows)
    seeds = categories.groupby(["target", "seed"], sort=False)[list(METRICS)].mean().reset_index()
    parts = ((name, *(each[each["target"] == name] for each in (categories, seeds)), ends[name]) for name in ends)
    return Benchmarks(categories, seeds, {name: _summary(*part) for name, *part in parts})


def _summary(
    categories: "pd.DataFrame", seeds: "pd.DataFrame", ends: dict[str, tuple[float, float]]
) -> dict[str, dict[str, Any]]:
    summary: dict[str, dict[str, Any]] = {}
    for name in METRICS:
        numbers = {"mean": seeds[name].mean(), "std": seeds[name].std()}
        numbers |= dict(zip(("low", "high"), ends.get(name, ()), strict=False))
        summary[name] = {key: float(value) if math.isfinite(value) else None for key, value in numbers.items()}
        summary[name]["left_out"] = categories.loc[categories[name].isna(), "category"].unique().tolist()
    return summary


def mean_intervals(resamples: Sequence[dict[str, Replicates]]) -> dict[str, tuple[float, float]]:
    """Compute the interval of each image metric's mean over categories and seeds, in percent; NaN where undefined.

    Categories where a metric is undefined are left out, as they are of the mean itself.
    """
    ends = {}
    for name in IMAGE_METRICS:
        values = [vars(each)[name.removeprefix("image_")] for part in resamples for each in part.values()]
        defined = [each for each in values if np.isfinite(each).any()]
        ends[name] = interval(100 * np.mean(defined, axis=0)) if defined else (math.nan, math.nan)
    return ends


def summary_table(run: Run, result: Benchmarks) -> "pd.DataFrame":
    """Build the main table as text: one row for each target, then the mean over targets."""
    import pandas as pd

    rows = []
    for item in run.profile.data.targets:
        found = result.summary[item.name]
        row = {"target": item.name, "stands for": item.stands_for or "-"}
        row |= {name: _mean_text(found[name]["mean"], found[name]["std"]) for name in METRICS}
        low, high = found["image_auroc"]["low"], found["image_auroc"]["high"]
        rows.append(row | {"95% interval": "undefined" if low is None else f"{low:.1f} to {high:.1f}"})
    overall = result.seeds.groupby("seed")[list(METRICS)].mean()
    mean = {"target": "mean over targets", "stands for": "-", "95% interval": "-"}
    mean |= {name: _mean_text(overall[name].mean(), overall[name].std()) for name in METRICS}
    return pd.DataFrame([*rows, mean])


def detector_row(run: Run, result: Benchmarks) -> dict[str, str | float]:
    """Return a detector's name, its means over targets and seeds, and its errors at its own threshold, in percent.

    The threshold is each seed's; false alarms are a share of all normal, misses of all defective test images.
    """
    row: dict[str, str | float] = {"detector": DETECTORS[run.profile.model.readout.kind]}
    row |= {name: result.seeds[name].mean() for name in ("image_auroc", "pixel_auroc", "pixel_aupro")}
    counts = []
    for seed in run.profile.seeds:
        threshold = read_json(run.seed_folder(seed) / "metrics.json", "run notebook 03_training")["threshold"]
        for item in run.profile.data.targets:
            scores = read_scores(run.scores("pytorch", seed, item.name))
            counts.append(decisions(scores.label, scores.score, threshold))
    for name, part, whole in (("false alarms", "false_alarms", "normal"), ("misses", "missed", "defective")):
        row[name] = 100 * sum(getattr(one, part) for one in counts) / sum(getattr(one, whole) for one in counts)
    return row


def _mean_text(mean: float | None, std: float | None) -> str:
    if mean is None or math.isnan(mean):
        return "undefined"
    return f"{mean:.1f}" if std is None or math.isnan(std) else f"{mean:.1f} ± {std:.1f}"


def category_metrics(
    scores: ScoreFile, manifest: Manifest, pixels: int, resamples: dict[str, Replicates] | None = None
) -> list[dict[str, object]]:
    """Compute the metrics of each category, pixel metrics at `pixels` height and width.

    Each row holds category, images, defective, without_mask, `METRICS` in percent (NaN where undefined), and with
    `resamples`, from `bootstrap_categories`, the ends of each image metric's interval, NAME_low and NAME_high.
    """
    rows = []
    for category, part in _by_category(scores):
        known = has_pixel_labels(part, manifest)
        image = [metric(part.label, part.score) for metric in (auroc, average_precision, best_f1)]
        pixel = vars(pixel_metrics(part.map[known], pixel_labels(part, manifest, pixels), pixels))
        row: dict[str, object] = {"category": category, "images": len(part), "defective": int(part.label.sum())}
        row["without_mask"] = int((~known).sum())
        row |= {name: 100 * value for name, value in zip(IMAGE_METRICS, image, strict=True)}
        row |= {f"pixel_{name}": 100 * value for name, value in pixel.items()}
        for name, values in vars(resamples[category]).items() if resamples else ():
            row[f"image_{name}_low"], row[f"image_{name}_high"] = (100 * end for end in interval(values))
        rows.append(row)
    return rows


def bootstrap_categories(scores: ScoreFile) -> dict[str, Replicates]:
    """Compute bootstrap replicates of each category's image metrics, the same resamples for every model."""
    parts = _by_category(scores)
    return {name: bootstrap(part.label, part.score, seed=category_seed(name)) for name, part in parts}


def category_seed(category: str) -> int:
    """Return the seed of a category's resamples, so that categories are resampled independently."""
    return zlib.crc32(category.encode())


def has_pixel_labels(scores: ScoreFile, manifest: Manifest) -> np.ndarray:
    """Return (N,) bool: False for defective images without a mask; InputError if an image is not in the manifest."""
    entries = {entry.id: entry for entry in manifest.entries}
    known = np.ones(len(scores), dtype=bool)
    for row, image_id in enumerate(scores.image_id):
        entry = entries.get(str(image_id))
        if entry is None or entry.label != scores.label[row]:
            raise InputError(f"{manifest.name}: {image_id} is not in the manifest; run notebook 05_scoring again")
        known[row] = bool(entry.mask) or not entry.label
    return known


def pixel_labels(scores: ScoreFile, manifest: Manifest, pixels: int) -> Iterator[np.ndarray | None]:
    """Read the masks of all images with pixel labels, one by one: (pixels, pixels) uint8 0 or 1, None if normal."""
    entries = {entry.id: entry for entry in manifest.entries}
    for image_id in scores.image_id[has_pixel_labels(scores, manifest)]:
        entry = entries[str(image_id)]
        path = manifest.mask_path(entry)
        mask = decode_mask(path, (entry.height, entry.width)) if path else None
        yield None if mask is None else reduce_mask(mask, pixels)


def _by_category(scores: ScoreFile) -> Iterator[tuple[str, ScoreFile]]:
    for category in sorted(set(scores.category)):
        yield category, scores.take(scores.image_id[scores.category == category])
