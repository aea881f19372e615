"""Drift: how far a board, or another runtime of the host, moves scores and metrics from the host's on the same images.

A number is the mean over seeds of the mean over categories; intervals are paired over host, device and seeds.

`board_drift` and `runtime_drift`, further down, read the score files; `metric_changes` compares metrics, `drift_table`
scores and verdicts.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from edgezsad.config import Runtime
from edgezsad.devices import Board
from edgezsad.errors import CheckError, InputError
from edgezsad.files import progress, records, reported
from edgezsad.metrics.benchmark_tables import category_seed
from edgezsad.metrics.image_metrics import auroc, average_precision
from edgezsad.metrics.intervals import bootstrap, interval
from edgezsad.metrics.significance import contrast, delong, equivalence
from edgezsad.model import THRESHOLD
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import read_metadata
from edgezsad.scoring.score_file import ScoreFile, read_scores

DRIFT_POINTS: float = reported()["paper"]["drift_points"]  # the paper's bound on the drift of image AUROC, in points
HOST: Runtime = "pytorch"
MEAN = "mean"  # instead of a seed: the mean over seeds
CHANGE = ("target", "seed", "metric", "images", "host", "device", "points", "low", "high")
TEST = ("test_low", "test_high", "test_p", "verdict", "needed", "words")  # of image AUROC alone
Pair = tuple[ScoreFile, ScoreFile]  # score files of the host and of the device


def metric_changes(pairs: Sequence[Pair], margin: float = DRIFT_POINTS) -> pd.DataFrame:
    """Compute changes of one target's metrics, for each seed's pair of score files and for their mean.

    Returns:
        A row for each seed, also `MEAN`, and metric: "image_auroc" or "image_ap". `host` and `device` are in percent,
        `points` is device minus host, `low` and `high` its 95% interval by the paired bootstrap, NaN where a category
        has only one image of a label. Image AUROC has the test of equivalence within `margin` points by DeLong's
        covariance: its 90% interval, p-value, verdict, images needed, and these in words.
    """
    pairs = _aligned(pairs)
    values = _metric_values(pairs)
    first = pairs[0][0]
    # Resamples of a single image are equal: its interval would have no width.
    resampled = min(Counter(zip(first.category, first.label, strict=True)).values()) > 1
    seeds = [device.record.seed for _, device in pairs]
    rows = []
    for seed, chosen in [*((seed, [k]) for k, seed in enumerate(seeds)), (MEAN, list(range(len(seeds))))]:
        for metric, value in values.items():
            host, device = value[chosen].mean(axis=0)
            points = device - host
            low, high = interval(points[1:]) if resampled else (math.nan, math.nan)
            row = (first.record.target, seed, metric, len(first), host[0], device[0], points[0], low, high)
            test = _test(float(points[0]), pairs, chosen, margin) if metric == "image_auroc" else [None] * len(TEST)
            rows.append((*row, *test))
    return pd.DataFrame(rows, columns=[*CHANGE, *TEST])


def _aligned(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs of one target, with the images of each in the order of the first."""
    if not pairs:
        raise InputError("drift: no seed was scored on both sides")
    target, ids = pairs[0][1].record.target, pairs[0][1].image_id
    found = []
    for host, device in pairs:
        name = f"{target} seed {device.record.seed}"
        if (host.record.target, host.record.seed, device.record.target) != (target, device.record.seed, target):
            raise InputError(f"{name}: compared with {host.record.target} seed {host.record.seed}; compare the same")
        if set(device.image_id) != set(ids):
            raise InputError(f"{name}: scored on other images than another seed; score the same images")
        if len({host.record.detector_sha256, device.record.detector_sha256} - {""}) > 1:
            raise InputError(f"{name}: host and device scored different models; run notebooks 04_export and 05_scoring")
        host, device = host.take(ids), device.take(ids)
        if (host.label != device.label).any() or host.map.shape != device.map.shape:
            raise InputError(f"{name}: labels or map sizes differ between host and device; score both again")
        found.append((host, device))
    return found


def _metric_values(pairs: list[Pair]) -> dict[str, np.ndarray]:
    """Return (seeds, host and device, all images and B resamples) of each metric, mean over categories, in percent."""
    first, sides = pairs[0][0], [scores for pair in pairs for scores in pair]
    values = defaultdict(list)
    for category, rows in _categories(first).items():
        label, seed = first.label[rows], category_seed(category)
        resamples = [bootstrap(label, scores.score[rows], seed=seed) for scores in sides]
        for metric, compute, name in (("image_auroc", auroc, "auroc"), ("image_ap", average_precision, "ap")):
            all_images = [compute(label, scores.score[rows]) for scores in sides]
            resampled = [getattr(each, name) for each in resamples]
            values[metric].append(np.column_stack([all_images, resampled]))
    means = {}
    for metric, found in values.items():
        defined = [value for value in found if np.isfinite(value).any()] or [np.full_like(found[0], math.nan)]
        means[metric] = 100 * np.mean(defined, axis=0).reshape(len(pairs), 2, -1)
    return means


def _test(points: float, pairs: Sequence[Pair], chosen: list[int], margin: float) -> tuple:
    """Test a change of image AUROC for equivalence; returns the columns of `TEST`."""
    first = pairs[0][0]
    weight = np.concatenate([[-(k in chosen), k in chosen] for k in range(len(pairs))]) / len(chosen)
    errors = []
    for rows in _categories(first).values():
        if len(set(first.label[rows])) == 2:
            aurocs = delong(first.label[rows], [scores.score[rows] for pair in pairs for scores in pair])
            errors.append(100 * contrast(weight, *aurocs)[1])
    # Categories hold different images: variances of independent numbers add up.
    error = math.hypot(*errors) / len(errors) if errors else math.nan
    test = equivalence(points, error, margin, len(first), resolution(first) / len(chosen))
    return test.low, test.high, test.p_value, test.verdict, test.needed, test.sentence()


def resolution(scores: ScoreFile) -> float:
    """Return the points of image AUROC, mean over categories, that one exchanged pair of images changes at most."""
    counts = [int(np.prod(np.bincount(scores.label[rows], minlength=2))) for rows in _categories(scores).values()]
    steps = [100 / pairs for pairs in counts if pairs]
    return max(steps) / len(steps) if steps else math.nan


def _categories(scores: ScoreFile) -> dict[str, np.ndarray]:
    return {category: scores.category == category for category in sorted(set(scores.category))}


def drift_table(pairs: Sequence[Pair], thresholds: Mapping[int, float] | None = None) -> pd.DataFrame:
    """Return one row per pair of score files of one target.

    `step` is the `resolution`, `largest` the largest change of a score (logit); `newly_*` count verdicts that change at
    the host's threshold; `suspicious` is equal scores at another precision.
    """
    rows = []
    for host, device in _aligned(pairs):
        largest = float(np.abs(host.score - device.score).max())
        threshold = (thresholds or {}).get(device.record.seed, math.nan)
        before, after = host.score >= threshold, device.score >= threshold
        row = {
            "target": device.record.target,
            "seed": device.record.seed,
            "images": len(device),
            "step": resolution(host),
            "spearman": float(stats.spearmanr(host.score, device.score).statistic),
            "largest": largest,
            "newly_defective": None if math.isnan(threshold) else int((after & ~before).sum()),
            "newly_normal": None if math.isnan(threshold) else int((before & ~after).sum()),
            "map_correlation": float(np.corrcoef(host.map.ravel(), device.map.ravel())[0, 1]),
            "suspicious": largest == 0 and device.record.precision != host.record.precision,
        }
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class RuntimeDrift:
    """Drift of one runtime over all targets and seeds of a run; `reason` is why it did not run, or ""."""

    runtime: str
    reason: str = ""
    pairs: list[Pair] = field(default_factory=list)
    table: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["points", "spearman", "suspicious"]))
    changes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*CHANGE, *TEST]))
    missing: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # targets with outputs that are not finite, and how many

    @property
    def means(self) -> pd.DataFrame:
        """Change of each target's image AUROC, mean over seeds: what the paper's claim is about."""
        return self.changes.query("seed == @MEAN and metric == 'image_auroc'")

    @property
    def suspicious(self) -> list[str]:
        """Targets and seeds with the host's own scores at another precision (see `drift_table`)."""
        return [f"{row.target} seed {row.seed}" for row in self.table.itertuples() if row.suspicious]

    def result(self) -> dict[str, object]:
        """Return the numbers for a results file; None where nothing ran or a number is undefined."""
        means, verdicts = self.means, Counter(self.means["verdict"])
        numbers = {
            "largest_drift_points": self.table["points"].abs().max(),
            "largest_drift_points_of_the_mean": means["points"].abs().max(),
            # The drift of every target's mean is below this, at 5%.
            "drift_points_below": pd.concat([-means["test_low"], means["test_high"]]).max(skipna=False),
            "smallest_spearman": self.table["spearman"].min(),
        }
        return {
            "runtime": self.runtime,
            "status": "not run" if self.reason else "suspicious" if self.suspicious else "ok",
            "reason": self.reason,
            "missing": self.missing,
            "failed": self.failed,
            "verdicts": {verdict: verdicts[verdict] for verdict in ("equivalent", "not equivalent", "undecided")},
            "images_needed": max((int(each) for each in means["needed"].dropna()), default=0),
            **{name: float(value) if math.isfinite(value) else None for name, value in numbers.items()},
            "rows": records(self.table),
        }

    def summary(self) -> str:
        """Describe the result in one sentence."""
        if self.reason:
            return f"not run: {self.reason}"
        if self.suspicious:
            return f"suspicious: a drift of exactly zero on {', '.join(self.suspicious)}, as by a fallback to the host"
        mean, verdicts = self.means["points"].abs().max(), self.result()["verdicts"]
        return (
            f"largest drift of a target's mean over seeds {mean:.3f} points, of a single seed "
            f"{self.table['points'].abs().max():.3f}; targets by the test of equivalence within {DRIFT_POINTS} points: "
            f"{', '.join(f'{count} {verdict}' for verdict, count in verdicts.items())}; smallest Spearman "
            f"{self.table['spearman'].min():.5f}"
        )


def runtime_drift(run: Run, runtime: Runtime) -> RuntimeDrift:
    """Compare the score files of a runtime with the host's; a CheckError if scores are equal, a silent fallback."""
    if runtime not in run.profile.evaluation.runtimes:
        return RuntimeDrift(runtime, f"{runtime} is not in evaluation.runtimes of the profile")
    seeds = (run.profile.evaluation.emulator.seed,) if runtime == "qnn-htp-fp16" else run.profile.seeds
    names = [(seed, item.name) for item in run.profile.data.targets for seed in seeds]
    found = _measure(run, runtime, {name: run.scores(runtime, *name) for name in names})
    if found.suspicious:
        raise CheckError(f"{found.suspicious[0]}: drift of exactly zero; the runtime fell back to the host")
    return found


def pair_sentence(host: ScoreFile, device: ScoreFile, threshold: float) -> str:
    """Describe the drift of one target and seed: image AUROC if there are both labels, scores, maps and verdicts."""
    row = drift_table([(host, device)], {device.record.seed: threshold}).iloc[0]
    text = (
        f"largest change of a score {row.largest:.3g}, Spearman {row.spearman:.5f}, of maps {row.map_correlation:.5f}"
    )
    if row.newly_defective is not None:
        text += f", {row.newly_defective} newly defective, {row.newly_normal} newly normal"
    if len(set(host.label)) == 2:
        change = metric_changes([(host, device)]).iloc[0]
        interval_text = f"95% interval {change.low:+.3f} to {change.high:+.3f}"
        text = f"drift {change.points:+.3f} points of image AUROC ({interval_text}), {change.words}; {text}"
    return text + ("; suspicious: equal scores at another precision" if row.suspicious else "")


def board_drift(run: Run, board: Board, folder: Path | str = "") -> RuntimeDrift:
    """Compare the score files of a board, `seed{S}/{TARGET}.npz` in `folder` or in the run's own, with the host's."""
    folder = Path(folder) if str(folder) else run.board(board.name)
    names = [(seed, item.name) for item in run.profile.data.targets for seed in run.profile.seeds]
    paths = {(seed, name): folder / f"seed{seed}" / f"{name}.npz" for seed, name in names}
    found = _measure(run, board.runtime, {name: path for name, path in paths.items() if path.is_file()})
    absent = f"no result of the board in {folder}; needs {board.reported['needs']}"
    return found if found.pairs or found.failed or found.reason else replace(found, reason=absent)


def _measure(run: Run, runtime: str, paths: dict[tuple[int, str], Path]) -> RuntimeDrift:
    """Return the drift of one runtime from its score files by seed and target."""
    pairs: dict[str, list[Pair]] = {item.name: [] for item in run.profile.data.targets}
    reasons, failed = set(), {}
    for (seed, name), path in paths.items():
        device = read_scores(path)
        if device.record.status == "not finite":
            failed[name] = f"seed {seed}: {device.record.reason}"
        elif device.record.status != "ok":
            reasons.add(device.record.reason)
        elif device.record.runtime != runtime:
            raise InputError(f"{path}: expected scores of {runtime}, got {device.record.runtime}")
        else:
            pairs[name].append((read_scores(run.scores(HOST, seed, name)), device))
    missing = [name for name, own in pairs.items() if not own]
    if len(missing) == len(pairs):
        return RuntimeDrift(runtime, "; ".join(sorted(reasons)), missing=missing, failed=failed)
    graphs = {seed: run.onnx(seed, "fp32") for seed in run.profile.seeds}
    thresholds = {k: float(read_metadata(path).get(THRESHOLD, "nan")) for k, path in graphs.items() if path.is_file()}
    tables, changes = [], []
    for item in progress(run.profile.data.targets, "intervals of the drift", unit="target"):
        if own := pairs[item.name]:
            found = metric_changes(own)
            table, image = drift_table(own, thresholds), found.query("metric == 'image_auroc'")[: len(own)]
            table[["host_auroc", "device_auroc", "points"]] = image[["host", "device", "points"]].to_numpy()
            tables.append(table)
            changes.append(found)
    table, changes = pd.concat(tables, ignore_index=True), pd.concat(changes, ignore_index=True)
    return RuntimeDrift(runtime, "", [pair for own in pairs.values() for pair in own], table, changes, missing, failed)


def board_table(run: Run, board: Board, measured: RuntimeDrift) -> pd.DataFrame:
    """Return one row per benchmark: the paper's claim, the board's drift and verdict, or what a run needs."""
    means = {change.target: change for change in measured.means.itertuples()}
    rows = []
    for item in run.profile.data.targets:
        row = {"benchmark": item.stands_for or item.name, "verdict": "not run", "ours": "not run"}
        row |= {"paper: drift (points)": f"below {DRIFT_POINTS}", "seeds": "-", "needs": board.reported["needs"]}
        if change := means.get(item.name):
            same = [name for name in measured.suspicious if name.startswith(f"{item.name} seed ")]
            row["ours"] = f"{change.points:+z.3f}"
            row["seeds"] = ", ".join(str(d.record.seed) for _, d in measured.pairs if d.record.target == item.name)
            row["verdict"] = f"suspicious: exactly zero ({', '.join(same)})" if same else change.words
            row["needs"] = "a larger set" if pd.notna(change.needed) and not same else "-"
        if reason := measured.failed.get(item.name):
            row |= {"ours": "not finite", "verdict": f"fails: {reason}", "needs": "-"}
        rows.append(row)
    return pd.DataFrame(rows)
