"""Tables of a run from its score files: every target, category and seed, and decisions at a threshold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from edgezsad.config import Runtime
from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import InputError
from edgezsad.files import progress, records
from edgezsad.metrics.category_metrics import (
    AVERAGING,
    IMAGE_METRICS,
    INTERVAL,
    METRICS,
    bootstrap_categories,
    category_metrics,
    definition,
)
from edgezsad.metrics.image_metrics import decisions
from edgezsad.metrics.intervals import Replicates, interval
from edgezsad.run import Run
from edgezsad.scoring.score_file import ScoreFile, read_scores

PUBLISHED = {"paper: image AUROC": "image_auroc", "paper: pixel AUROC": "pixel_auroc", "paper: PRO": "pixel_pro"}


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
        """Return the content of the results file; undefined values are null."""
        stands = {
            item.stands_for: {
                name: values | {"left_out": self.undefined[item.name].get(name, [])}
                for name, values in self.summary[item.name].items()
            }
            for item in run.profile.data.targets
            if item.stands_for
        }
        return {
            "averaging": AVERAGING,
            "interval": INTERVAL,
            "definition": definition(run.profile.evaluation.pixels),
            "runs": len(run.profile.seeds),
            "by_target": self.summary,
            "by_benchmark": stands,
            "undefined": self.undefined,
            "seeds": records(self.seeds),
            "categories": records(self.categories),
        }


def benchmarks(run: Run, runtime: Runtime = "pytorch") -> Benchmarks:
    """Compute the metrics of all targets and seeds of a run.

    Raises:
        InputError: a score file is missing, or belongs to other images than the manifest.
    """
    categories, seeds, summary, left_out = [], [], {}, {}
    pixels = run.profile.evaluation.pixels
    for item in progress(run.profile.data.targets, "metrics", unit="target"):
        manifest = read_run_manifest(run, item)
        tested = manifest.select("test")
        tables, resamples = {}, []
        for seed in run.profile.seeds:
            path = run.scores(runtime, seed, item.name)
            scores = read_scores(path)
            if scores.record.manifest_sha256 != tested.sha256:
                raise InputError(f"{path}: made from other images; run notebook 05_scoring again")
            resamples.append(bootstrap_categories(scores))
            tables[seed] = pd.DataFrame(category_metrics(scores, manifest, pixels, resamples[-1]))
            categories.append(tables[seed].assign(target=item.name, seed=seed))
        by_seed = mean_over_categories(tables)
        seeds.append(by_seed.assign(target=item.name))
        summary[item.name] = mean_and_std(by_seed)
        for name, (low, high) in mean_intervals(resamples).items():
            summary[item.name][name] |= {"low": low, "high": high}
        left_out[item.name] = undefined(tables[run.profile.seeds[0]])
    together = (pd.concat(part, ignore_index=True) for part in (categories, seeds))
    return Benchmarks(*together, summary, left_out)


def undefined(categories: pd.DataFrame) -> dict[str, list[str]]:
    """Return the metrics that some category lacks (one class only, or no masks), each with those categories."""
    return {
        name: categories.loc[categories[name].isna(), "category"].tolist()
        for name in METRICS
        if categories[name].isna().any()
    }


def mean_over_categories(tables: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """Compute the mean over categories for each seed: one row for each seed, columns `METRICS`."""
    rows = [{"seed": seed} | table[list(METRICS)].mean().to_dict() for seed, table in sorted(tables.items())]
    return pd.DataFrame(rows)


def mean_and_std(seeds: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Compute mean and sample standard deviation over seeds of each metric; None where undefined."""
    summary = {}
    for name in METRICS:
        values = seeds[name].dropna()
        mean = float(values.mean()) if len(values) else None
        std = float(values.std(ddof=1)) if len(values) > 1 else None
        summary[name] = {"mean": mean, "std": std}
    return summary


def mean_intervals(resamples: Sequence[dict[str, Replicates]]) -> dict[str, tuple[float | None, float | None]]:
    """Compute the interval of each image metric's mean over categories and seeds, in percent.

    Args:
        resamples: from `bootstrap_categories`, one for each seed. Categories where a metric is undefined are left out,
            as they are of the mean itself.
    """
    ends: dict[str, tuple[float | None, float | None]] = {}
    for name in IMAGE_METRICS:
        values = [vars(each)[name.removeprefix("image_")] for part in resamples for each in part.values()]
        defined = [each for each in values if np.isfinite(each).any()]
        low, high = interval(100 * np.mean(defined, axis=0)) if defined else (None, None)
        ends[name] = low, high
    return ends


def summary_table(run: Run, result: Benchmarks, published: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Build the main table as text: one row for each target, then the mean over targets.

    Args:
        run: whose targets.
        result: from `benchmarks`.
        published: the paper's numbers by benchmark, for the columns "paper: ..." of the targets that stand for one.
    """
    rows = []
    for item in run.profile.data.targets:
        row: dict[str, object] = {"target": item.name, "stands for": item.stands_for or "-"}
        for name in METRICS:
            value = result.summary[item.name][name]
            row[name] = _mean_text(value["mean"], value["std"])
            if name == "image_auroc":
                row["95% interval"] = _ends_text(value["low"], value["high"])
        paper = published.get(item.stands_for, {})
        for column, name in PUBLISHED.items():
            row[column] = paper.get(name)
        rows.append(row)
    mean: dict[str, object] = {"target": "mean over targets", "stands for": "-"}
    overall = result.seeds.groupby("seed")[list(METRICS)].mean().reset_index()
    mean["95% interval"] = "-"
    mean |= {name: _mean_text(**value) for name, value in mean_and_std(overall).items()}
    return pd.DataFrame([*rows, mean])


def category_means(result: Benchmarks) -> pd.DataFrame:
    """Build one row for each target and category: numbers of images, and every metric in percent, mean over seeds."""
    groups = result.categories.drop(columns="seed").groupby(["target", "category"], sort=False)
    counts = ["images", "defective", "without_mask"]
    means = groups.mean(numeric_only=True)[[*counts, *METRICS]].reset_index()
    return means.astype(dict.fromkeys(counts, int))


def interval_table(result: Benchmarks, seed: int) -> pd.DataFrame:
    """Build image metrics of one seed by category, each with its interval, in percent, as text."""
    rows = []
    for _, each in result.categories[result.categories["seed"] == seed].iterrows():
        row = {"target": each["target"], "category": each["category"]}
        for name in IMAGE_METRICS:
            defined = each[[name, f"{name}_low", f"{name}_high"]].notna().all()
            ends = _ends_text(each[f"{name}_low"], each[f"{name}_high"])
            row[name] = f"{each[name]:.1f} ({ends})" if defined else "undefined"
        rows.append(row)
    return pd.DataFrame(rows)


def undefined_table(result: Benchmarks) -> pd.DataFrame:
    """Build one row for each target and metric that some category lacks; a single row if none does."""
    rows = [
        {"target": target, "metric": metric, "categories left out": ", ".join(categories)}
        for target, metrics in result.undefined.items()
        for metric, categories in metrics.items()
    ]
    return pd.DataFrame(rows or [{"target": "all", "metric": "all", "categories left out": "none"}])


def decision_table(files: Iterable[ScoreFile], threshold: float) -> pd.DataFrame:
    """Build one row of decisions at a threshold for each score file, and their total."""
    rows = [
        {"target": scores.record.target} | asdict(decisions(scores.label, scores.score, threshold)) for scores in files
    ]
    table = pd.DataFrame(rows)
    total = {"target": "total", **table.drop(columns="target").sum()}
    return pd.concat([table, pd.DataFrame([total])], ignore_index=True)


def _mean_text(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "undefined"
    return f"{mean:.1f}" if std is None else f"{mean:.1f} ± {std:.1f}"


def _ends_text(low: float | None, high: float | None) -> str:
    return "undefined" if low is None or high is None else f"{low:.1f} to {high:.1f}"
