"""The benchmark table of a run: every target, category and seed, computed from score files."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from edgezsad import reported
from edgezsad.config import Runtime
from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import InputError
from edgezsad.files import read_json
from edgezsad.metrics.category_metrics import (
    AVERAGING,
    IMAGE_METRICS,
    INTERVAL,
    METRICS,
    category_table,
    definition,
    mean_and_spread,
    mean_intervals,
    over_seeds,
    resample,
    undefined,
)
from edgezsad.progress import progress
from edgezsad.run import Run
from edgezsad.scoring.score_file import ScoreFile, read_scores
from edgezsad.show.tables import LABELS, records


@dataclass(frozen=True)
class Benchmarks:
    """Metrics in percent.

    Attributes:
        categories: one row for each target, seed and category.
        seeds: one row for each target and seed, mean over categories.
        summary: by target, then metric: mean and standard deviation over seeds; for image metrics also `low` and
            `high`, the ends of the mean's interval.
        undefined: by target, then metric: categories for which it is undefined, and which its mean leaves out.
    """

    categories: pd.DataFrame
    seeds: pd.DataFrame
    summary: dict[str, dict[str, dict[str, float | None]]]
    undefined: dict[str, dict[str, list[str]]]

    def as_json(self, run: Run) -> dict[str, object]:
        """For the results file: by target, by the benchmark that a target stands for, and every seed's own row."""
        stands = {item.stands_for: self.summary[item.name] for item in run.profile.data.targets if item.stands_for}
        return {
            "averaging": AVERAGING,
            "interval": INTERVAL,
            "definition": definition(run.profile.evaluation.pixels),
            "by_target": self.summary,
            "by_benchmark": stands,
            "undefined": self.undefined,
            "seeds": records(self.seeds),
            "categories": records(self.categories),
        }


def benchmarks(run: Run, runtime: Runtime = "pytorch") -> Benchmarks:
    """Compute the table.

    Raises:
        InputError: a score file is missing, or belongs to other images than the manifest.
    """
    categories, seeds, summary, left_out = [], [], {}, {}
    for item in progress(run.profile.data.targets, "metrics", unit="target"):
        manifest = read_run_manifest(run, item)
        tested = manifest.select("test")
        tables, resamples = {}, []
        for seed in run.profile.seeds:
            scores = read_scores(run.scores(runtime, seed, item.name))
            if scores.record.manifest_sha256 != tested.sha256:
                raise InputError(
                    f"{run.scores(runtime, seed, item.name)}: made from other images; run notebook 05_scoring again"
                )
            resamples.append(resample(scores))
            tables[seed] = category_table(scores, manifest, run.profile.evaluation.pixels, resamples[-1])
            categories.append(tables[seed].assign(target=item.name, seed=seed))
        by_seed = over_seeds(tables)
        seeds.append(by_seed.assign(target=item.name))
        summary[item.name] = mean_and_spread(by_seed)
        for name, (low, high) in mean_intervals(resamples).items():
            summary[item.name][name] |= {"low": low, "high": high}
        left_out[item.name] = undefined(tables[run.profile.seeds[0]])
    together = (pd.concat(part, ignore_index=True) for part in (categories, seeds))
    return Benchmarks(*together, summary, left_out)


def summary_table(run: Run, result: Benchmarks) -> pd.DataFrame:
    """Ours beside the paper's: one row a target, and the mean over targets.

    The paper's columns hold its numbers for the benchmark that a target stands for; they are of another model on other
    images, and are shown for orientation only. None means not published.
    """
    rows = []
    for item in run.profile.data.targets:
        row: dict[str, object] = {"target": item.name, "stands for": item.stands_for or "-"}
        for name in METRICS:
            value = result.summary[item.name][name]
            row[name] = _spread(value["mean"], value["std"])
            if name == "image_auroc":
                row["95% interval"] = _ends(value["low"], value["high"])
        paper = reported.EDGEZSAD.get(item.stands_for or "")
        row["paper: image AUROC"] = paper.image_auroc if paper else None
        row["paper: pixel AUROC"] = paper.pixel_auroc if paper else None
        row["paper: PRO"] = paper.pixel_pro if paper else None
        rows.append(row)
    mean: dict[str, object] = {"target": "mean over targets", "stands for": "-"}
    overall = result.seeds.groupby("seed")[list(METRICS)].mean().reset_index()
    mean["95% interval"] = "-"
    mean |= {name: _spread(**value) for name, value in mean_and_spread(overall).items()}
    return pd.DataFrame([*rows, mean])


def category_means(result: Benchmarks) -> pd.DataFrame:
    """One row a target and category: how many images, and every metric in percent, mean over seeds."""
    groups = result.categories.drop(columns="seed").groupby(["target", "category"], sort=False)
    counts = ["images", "defective", "without_mask"]
    means = groups.mean(numeric_only=True)[[*counts, *METRICS]].reset_index()
    # The same for every seed, and whole: a mean would show them with a point.
    return means.astype(dict.fromkeys(counts, int))


def interval_table(result: Benchmarks, seed: int) -> pd.DataFrame:
    """Image metrics of one seed by category, each with the ends of its interval, in percent, as text."""
    rows = []
    for _, each in result.categories[result.categories["seed"] == seed].iterrows():
        row = {"target": each["target"], "category": each["category"]}
        for name in IMAGE_METRICS:
            defined = each[[name, f"{name}_low", f"{name}_high"]].notna().all()
            ends = _ends(each[f"{name}_low"], each[f"{name}_high"])
            row[name] = f"{each[name]:.1f} ({ends})" if defined else "undefined"
        rows.append(row)
    return pd.DataFrame(rows)


def undefined_table(result: Benchmarks) -> pd.DataFrame:
    """What the means leave out: one row for each target and metric that some category lacks; one row if none does."""
    rows = [
        {"target": target, "metric": LABELS[metric], "categories left out": ", ".join(categories)}
        for target, metrics in result.undefined.items()
        for metric, categories in metrics.items()
    ]
    return pd.DataFrame(rows or [{"target": "all", "metric": "all", "categories left out": "none"}])


def _spread(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "undefined"
    return f"{mean:.1f}" if std is None else f"{mean:.1f} ± {std:.1f}"


def _ends(low: float | None, high: float | None) -> str:
    return "undefined" if low is None or high is None else f"{low:.1f} to {high:.1f}"


COLUMNS = ("defective", "found", "missed", "normal", "false alarms")


def threshold_of(run: Run, seed: int) -> float:
    """A seed's threshold (logit): at or above it an image is called defective.

    Raises:
        InputError: the seed has not been trained, or its record has no threshold.
    """
    path = run.seed_folder(seed) / "metrics.json"
    remedy = "run notebook 03_training for this seed"
    record = read_json(path, remedy)
    try:
        return float(record["threshold"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: no threshold in it; {remedy}") from None


def decisions(files: Iterable[ScoreFile], threshold: float) -> pd.DataFrame:
    """Counts of images at a threshold: one row a score file, named by its target, and their sum."""
    rows = []
    for scores in files:
        called, defective = scores.score >= threshold, scores.label == 1
        counts = (defective.sum(), (defective & called).sum(), (defective & ~called).sum())
        counts += ((~defective).sum(), (~defective & called).sum())
        rows.append({"target": scores.record.target} | dict(zip(COLUMNS, map(int, counts), strict=True)))
    table = pd.DataFrame(rows, columns=["target", *COLUMNS])
    return pd.concat([table, pd.DataFrame([{"target": "together", **table[list(COLUMNS)].sum()}])], ignore_index=True)


def decision_table(run: Run, seed: int) -> pd.DataFrame:
    """Decisions of one seed on every target of a run, by PyTorch's scores.

    Raises:
        InputError: a score file or the seed's record is missing.
    """
    files = [read_scores(run.scores("pytorch", seed, item.name)) for item in run.profile.data.targets]
    return decisions(files, threshold_of(run, seed))
