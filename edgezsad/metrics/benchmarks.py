"""The benchmark table of a run: every target, category and seed, computed from score files."""

from dataclasses import dataclass

import pandas as pd

from edgezsad import reported
from edgezsad.config import Runtime
from edgezsad.errors import InputError
from edgezsad.metrics.table import AVERAGING, METRICS, category_table, definition, mean_and_spread, over_seeds
from edgezsad.progress import progress
from edgezsad.run import Run
from edgezsad.scoring.scorefile import read_scores
from edgezsad.show import records


@dataclass(frozen=True)
class Benchmarks:
    """Metrics in percent.

    Attributes:
        categories: one row for each target, seed and category.
        seeds: one row for each target and seed, mean over categories.
        summary: by target, then metric: mean and standard deviation over seeds.
    """

    categories: pd.DataFrame
    seeds: pd.DataFrame
    summary: dict[str, dict[str, dict[str, float | None]]]

    def as_json(self, run: Run) -> dict[str, object]:
        """For the results file: by target, by the benchmark that a target stands for, and every seed's own row."""
        stands = {item.stands_for: self.summary[item.name] for item in run.profile.data.targets if item.stands_for}
        return {
            "averaging": AVERAGING,
            "definition": definition(run.profile.evaluation.pixels),
            "by_target": self.summary,
            "by_benchmark": stands,
            "seeds": records(self.seeds),
            "categories": records(self.categories),
        }


def benchmarks(run: Run, runtime: Runtime = "pytorch") -> Benchmarks:
    """Compute the table.

    Raises:
        InputError: a score file is missing, or belongs to other images than the manifest.
    """
    categories, seeds, summary = [], [], {}
    for item in progress(run.profile.data.targets, "metrics", unit="target"):
        manifest = run.manifest(item)
        tested = manifest.select("test")
        tables = {}
        for seed in run.profile.seeds:
            scores = read_scores(run.scores(runtime, seed, item.name))
            if scores.record.manifest_sha256 != tested.sha256:
                raise InputError(
                    f"{run.scores(runtime, seed, item.name)}: made from other images; run notebook 05_scoring again"
                )
            tables[seed] = category_table(scores, manifest, run.profile.evaluation.pixels)
            categories.append(tables[seed].assign(target=item.name, seed=seed))
        by_seed = over_seeds(tables)
        seeds.append(by_seed.assign(target=item.name))
        summary[item.name] = mean_and_spread(by_seed)
    return Benchmarks(pd.concat(categories, ignore_index=True), pd.concat(seeds, ignore_index=True), summary)


def summary_table(run: Run, result: Benchmarks) -> pd.DataFrame:
    """Ours beside the paper's: one row a target, and the mean over targets.

    The paper's columns hold its numbers for the benchmark that a target stands for; they are of another model on other
    images, and are shown for orientation only. None means not published.
    """
    rows = []
    for item in run.profile.data.targets:
        row: dict[str, object] = {"target": item.name, "stands for": item.stands_for or "-"}
        row |= {name: _spread(**result.summary[item.name][name]) for name in METRICS}
        paper = reported.EDGEZSAD.get(item.stands_for or "")
        row["paper: image AUROC"] = paper.image_auroc if paper else None
        row["paper: pixel AUROC"] = paper.pixel_auroc if paper else None
        row["paper: PRO"] = paper.pixel_pro if paper else None
        rows.append(row)
    mean: dict[str, object] = {"target": "mean over targets", "stands for": "-"}
    overall = result.seeds.groupby("seed")[list(METRICS)].mean().reset_index()
    mean |= {name: _spread(**value) for name, value in mean_and_spread(overall).items()}
    return pd.DataFrame([*rows, mean])


def _spread(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "undefined"
    return f"{mean:.1f}" if std is None else f"{mean:.1f} ± {std:.1f}"
