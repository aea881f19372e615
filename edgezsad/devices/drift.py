"""Drift: how far a board, or another runtime of the host, moves scores and metrics from the host's on the same images.

Both sides are score files. A table's number is the mean over seeds of the mean over categories. All intervals are
paired and hold for these trained seeds and images like these:

- the bootstrap resamples images within each category and label, the same for host, device and all seeds;
- DeLong's covariance joins the AUROCs of both sides and of all seeds within a category; categories hold different
  images and are independent, so the variance of a mean over C of them is the sum of theirs over C squared.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from edgezsad.config import Runtime
from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.devices import Board
from edgezsad.errors import CheckError, InputError
from edgezsad.files import progress, records, reported
from edgezsad.metrics.benchmark_tables import bootstrap_categories, category_seed, has_pixel_labels, pixel_labels
from edgezsad.metrics.image_metrics import auroc, average_precision
from edgezsad.metrics.intervals import LEVEL, REPLICATES, bootstrap_pixels, interval, multiplicities
from edgezsad.metrics.significance import Equivalence, delong, equivalence
from edgezsad.model import THRESHOLD
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import read_metadata
from edgezsad.scoring.score_file import ScoreFile, read_scores

HOST: Runtime = "pytorch"
DRIFT_POINTS: float = reported()["paper"]["drift_points"]
"""The paper's bound on the drift of image AUROC, in points."""

MEAN = "mean"
"""Instead of a seed: the mean over seeds."""

Pair = tuple[ScoreFile, ScoreFile]
"""Score files of the host and of the device."""
_Values = dict[str, dict[str, np.ndarray]]
"""By metric and category: in [0, 1], first of all images, then of each resample."""


@dataclass(frozen=True)
class Change:
    """One metric of one target on the host and on the device, in percent; the change in points.

    Attributes:
        seed: of the model, or `MEAN`.
        metric: "image_auroc", "image_ap", "pixel_auroc" or "pixel_aupro".
        points: device minus host.
        low, high: 95% interval by the paired bootstrap; NaN where a category has only one image of a label.
        delong_low, delong_high, p_value: DeLong's 95% interval and two-sided test of no change; image AUROC only.
        test: whether the change of image AUROC is below the paper's bound; None for other metrics.
    """

    target: str
    seed: int | str
    metric: str
    images: int
    host: float
    device: float
    points: float
    low: float
    high: float
    delong_low: float = math.nan
    delong_high: float = math.nan
    p_value: float = math.nan
    test: Equivalence | None = None


def change_table(changes: Sequence[Change]) -> pd.DataFrame:
    """Return one row per change, with the 90% interval, p-value and verdict of the test of equivalence."""
    tests = [change.test for change in changes]
    table = pd.DataFrame([vars(change) for change in changes], columns=list(Change.__annotations__)).drop(
        columns="test"
    )
    names = {
        "test_low": "low",
        "test_high": "high",
        "test_p": "p_value",
        "verdict": "verdict",
        "images_needed": "needed",
    }
    for column, name in names.items():
        table[column] = [getattr(test, name, None) for test in tests]
    return table.assign(words=[test.sentence() if test else None for test in tests])


def metric_changes(
    pairs: Sequence[Pair], manifest: Manifest | None = None, pixels: int = 0, margin: float = DRIFT_POINTS
) -> list[Change]:
    """Compute changes of one target's metrics, for each seed and for their mean.

    Args:
        pairs: score files of each seed.
        manifest: of the same images, with their masks; without it pixel metrics are left out.
        pixels: height and width at which pixels are counted.
        margin: of the test of equivalence, in points.

    Raises:
        InputError: a pair cannot be compared, or seeds were scored on different images.
    """
    pairs = _aligned(pairs)
    values = [tuple(_image_values(scores) for scores in pair) for pair in pairs]
    if manifest is not None:
        _add_pixel_values(values, pairs, manifest, pixels)
    first = pairs[0][0]
    # A single image is drawn again and again, and its interval would look certain.
    resampled = min(Counter(zip(first.category, first.label, strict=True)).values()) > 1
    seeds = [device.record.seed for _, device in pairs]
    found = []
    for seed, chosen in [*((seed, [k]) for k, seed in enumerate(seeds)), (MEAN, list(range(len(seeds))))]:
        for metric in values[0][0]:
            host, device = (100 * _mean([values[k][side][metric] for k in chosen]) for side in (0, 1))
            low, high = interval(device[1:] - host[1:]) if resampled else (math.nan, math.nan)
            ends = float(host[0]), float(device[0])
            change = Change(first.record.target, seed, metric, len(first), *ends, ends[1] - ends[0], low, high)
            found.append(_tested(change, pairs, chosen, margin) if metric == "image_auroc" else change)
    return found


def _aligned(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs of one target, with the images of each in the order of the first."""
    if not pairs:
        raise InputError("drift: no seed was scored on both sides")
    target, ids = pairs[0][1].record.target, pairs[0][1].image_id
    found = []
    for host, device in pairs:
        name = f"{target} seed {device.record.seed}"
        records = host.record, device.record
        for record in records:
            if record.status != "ok":
                raise InputError(f"{record.runtime}: not run ({record.reason}); there is nothing to compare")
            if (record.target, record.seed) != (target, device.record.seed):
                raise InputError(f"{name}: compared with {record.target} seed {record.seed}; compare the same ones")
        if set(device.image_id) != set(ids):
            raise InputError(f"{name}: scored on other images than another seed; score the same images")
        if len({record.detector_sha256 for record in records} - {""}) > 1:
            raise InputError(f"{name}: host and device scored different models; run notebooks 04_export and 05_scoring")
        host, device = host.take(ids), device.take(ids)
        if (host.label != device.label).any() or host.map.shape != device.map.shape:
            raise InputError(f"{name}: labels or map sizes differ between host and device; score both again")
        found.append((host, device))
    return found


def _image_values(scores: ScoreFile) -> _Values:
    values: _Values = {"image_auroc": {}, "image_ap": {}}
    for category, replicates in bootstrap_categories(scores).items():
        rows = scores.category == category
        label, score = scores.label[rows], scores.score[rows]
        values["image_auroc"][category] = np.append(auroc(label, score), replicates.auroc)
        values["image_ap"][category] = np.append(average_precision(label, score), replicates.ap)
    return values


def _add_pixel_values(values: list[tuple[_Values, ...]], pairs: list[Pair], manifest: Manifest, pixels: int) -> None:
    first = pairs[0][0]
    known = has_pixel_labels(first, manifest)
    for category in sorted(set(first.category)):
        rows = np.flatnonzero(known & (first.category == category))
        part = first.take(first.image_id[rows])
        masks = list(pixel_labels(part, manifest, pixels))
        times = np.ones((1 + REPLICATES, len(rows)), dtype=np.float32)
        times[1:] = multiplicities(part.label, seed=category_seed(category))
        found = bootstrap_pixels([scores.map[rows] for pair in pairs for scores in pair], masks, pixels, times)
        for side, *metrics in zip([side for pair in values for side in pair], found.auroc, found.aupro, strict=True):
            for metric, each in zip(("pixel_auroc", "pixel_aupro"), metrics, strict=True):
                side.setdefault(metric, {})[category] = each


def _mean(values: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
    """Mean over seeds and over the categories where a metric is defined."""
    defined = [value for each in values for value in each.values() if np.isfinite(value).any()]
    return np.mean(defined, axis=0) if defined else np.full(1 + REPLICATES, math.nan)


def _tested(change: Change, pairs: Sequence[Pair], chosen: list[int], margin: float) -> Change:
    """The change with DeLong's interval and the test of equivalence."""
    first = pairs[0][0]
    weight = np.concatenate([[-(k in chosen), k in chosen] for k in range(len(pairs))]) / len(chosen)
    errors = []
    for rows in _categories(first):
        if len(set(first.label[rows])) == 2:
            aurocs = delong(first.label[rows], [scores.score[rows] for pair in pairs for scores in pair])
            errors.append(100 * aurocs.contrast(weight)[1])
    # Categories hold different images: variances of independent numbers add up.
    error = math.hypot(*errors) / len(errors) if errors else math.nan
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * error
    p_value = 2 * float(stats.norm.sf(abs(change.points) / error)) if error > 0 else (1.0 if error == 0 else math.nan)
    test = equivalence(change.points, error, margin, change.images, resolution(first) / len(chosen))
    low, high = change.points - half, change.points + half
    return replace(change, delong_low=low, delong_high=high, p_value=p_value, test=test)


def resolution(scores: ScoreFile) -> float:
    """Return the points of image AUROC, mean over categories, that one exchanged pair of images changes at most."""
    counts = [int(np.prod(np.bincount(scores.label[rows], minlength=2))) for rows in _categories(scores)]
    steps = [100 / pairs for pairs in counts if pairs]
    return max(steps) / len(steps) if steps else math.nan


def _categories(scores: ScoreFile) -> list[np.ndarray]:
    return [scores.category == category for category in sorted(set(scores.category))]


def drift_table(pairs: Sequence[Pair], thresholds: Mapping[int, float] | None = None) -> pd.DataFrame:
    """Return one row per pair of score files of one target.

    Columns: target, seed, images; step (see `resolution`); spearman and kendall (tau-b) of the scores; largest
    (absolute change of a score, logit) and largest_sd (in standard deviations of the host's scores); newly_defective
    and newly_normal (verdicts that change at the host's threshold of that seed); map_correlation (Pearson, all
    values); suspicious (equal scores at another precision: the device fell back to the host).
    """
    rows = []
    for host, device in _aligned(pairs):
        largest, deviation = float(np.abs(host.score - device.score).max()), float(host.score.std())
        threshold = (thresholds or {}).get(device.record.seed)
        row = {
            "target": device.record.target,
            "seed": device.record.seed,
            "images": len(device),
            "step": resolution(host),
            "spearman": float(stats.spearmanr(host.score, device.score).statistic),
            "kendall": float(stats.kendalltau(host.score, device.score).statistic),
            "largest": largest,
            "largest_sd": largest / deviation if deviation else math.nan,
            "newly_defective": None,
            "newly_normal": None,
            "map_correlation": float(np.corrcoef(host.map.ravel(), device.map.ravel())[0, 1]),
            "suspicious": bool((host.score == device.score).all()) and device.record.precision != host.record.precision,
        }
        if threshold is not None:
            before, after = host.score >= threshold, device.score >= threshold
            row |= {"newly_defective": int((after & ~before).sum()), "newly_normal": int((before & ~after).sum())}
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class RuntimeDrift:
    """Drift of one runtime over all targets and seeds of a run.

    Attributes:
        reason: why it did not run; "" when it did.
        pairs: the compared score files.
        table: one row per target and seed (`drift_table`, host_auroc, device_auroc, points); empty when it did not run.
        changes: of each target's metrics, by seed and of the mean over seeds.
        missing: targets without scores.
    """

    runtime: str
    reason: str = ""
    pairs: list[Pair] = field(default_factory=list)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    changes: list[Change] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def means(self) -> list[Change]:
        """Change of image AUROC of each target, mean over seeds, with its test."""
        return [each for each in self.changes if (each.seed, each.metric) == (MEAN, "image_auroc")]

    @property
    def suspicious(self) -> list[str]:
        """Targets and seeds with the host's scores to the last bit at another precision."""
        rows = self.table[self.table["suspicious"]] if len(self.table) else self.table
        return [f"{row.target} seed {row.seed}" for row in rows.itertuples()]

    def result(self) -> dict[str, object]:
        """Return the numbers for a results file; None where nothing ran or a number is undefined."""
        points = [abs(change.points) for change in self.means]
        ends = [max(abs(change.test.low), abs(change.test.high)) for change in self.means]
        verdicts = Counter(change.test.verdict for change in self.means)
        columns = self.table.reindex(columns=["points", "spearman"])
        return {
            "runtime": self.runtime,
            "status": "not run" if self.reason else "suspicious" if self.suspicious else "ok",
            "reason": self.reason,
            "missing": self.missing,
            "largest_drift_points": _defined(columns["points"].abs().max()),
            "largest_drift_points_of_the_mean": _defined(max(points, default=math.nan)),
            # The drift of every target's mean is below this, at 5%.
            "drift_points_below": _defined(np.max(ends)) if ends else None,
            "verdicts": {verdict: verdicts[verdict] for verdict in ("equivalent", "not equivalent", "undecided")},
            "images_needed": max((change.test.needed or 0 for change in self.means), default=0),
            "smallest_spearman": _defined(columns["spearman"].min()),
            "rows": records(self.table),
            "changes": records(change_table(self.changes)),
        }

    def summary(self) -> str:
        """Describe the result in one sentence."""
        if self.reason:
            return f"not run: {self.reason}"
        if self.suspicious:
            return (
                f"suspicious: a drift of exactly zero on {', '.join(self.suspicious)}; scores equal to the last bit at "
                "another precision are the host's own, look for a silent fallback"
            )
        found = self.result()
        names = ("largest_drift_points", "largest_drift_points_of_the_mean", "smallest_spearman")
        largest, mean, spearman = (found[name] for name in names)
        if largest is None or mean is None or spearman is None:
            return "AUROC or rank agreement undefined: no target has normal and defective images"
        equivalent, beyond, undecided = found["verdicts"].values()
        return (
            f"largest drift of a target's mean over seeds {mean:.3f} points, of a single seed {largest:.3f}; below "
            f"{DRIFT_POINTS} by the test of equivalence: {equivalent} of {len(self.means)} targets, undecided "
            f"{undecided}, not below {beyond}; smallest Spearman {spearman:.5f}"
        )


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _records(frame: pd.DataFrame) -> list[dict[str, object]]:
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def runtime_drift(run: Run, runtime: Runtime, pixels: bool = False) -> RuntimeDrift:
    """Compare the score files of a runtime with the host's; pixel metrics need the masks and some time.

    Raises:
        InputError: a score file is missing.
        CheckError: scores are the host's to the last bit, a silent fallback.
    """
    if runtime not in run.profile.evaluation.runtimes:
        return RuntimeDrift(runtime, f"{runtime} is not in evaluation.runtimes of the profile")
    seeds = (run.profile.evaluation.emulator.seed,) if runtime == "qnn-htp-fp16" else run.profile.seeds
    names = [(seed, item.name) for item in run.profile.data.targets for seed in seeds]
    found = _measure(run, runtime, {name: run.scores(runtime, *name) for name in names}, pixels)
    if found.suspicious:
        raise CheckError(f"{found.suspicious[0]}: drift of exactly zero; the runtime fell back to the host")
    return found


def board_drift(run: Run, board: Board, folder: Path | str = "") -> RuntimeDrift:
    """Compare the score files of a board with the host's.

    The folder of an ingested result holds `seed{S}/{TARGET}.npz`; the run's own is used when it is empty. A board need
    not score every seed: the mean is over those that it scored, on both sides.

    Raises:
        InputError: a file is damaged, of another runtime than the board's, or of another model or other images.
    """
    folder = Path(folder) if str(folder) else run.board(board.name)
    names = [(seed, item.name) for item in run.profile.data.targets for seed in run.profile.seeds]
    paths = {(seed, name): folder / f"seed{seed}" / f"{name}.npz" for seed, name in names}
    found = _measure(run, board.runtime, {name: path for name, path in paths.items() if path.is_file()}, True)
    if found.pairs or found.reason:
        return found
    return replace(found, reason=f"no result of the board in {folder}; needs {board.reported['needs']}")


def _measure(run: Run, runtime: str, paths: dict[tuple[int, str], Path], pixels: bool) -> RuntimeDrift:
    """Drift of one runtime from its score files by seed and target, at the thresholds of the exported graphs."""
    pairs: dict[str, list[Pair]] = {item.name: [] for item in run.profile.data.targets}
    reasons = set()
    for (seed, name), path in paths.items():
        device = read_scores(path)
        if device.record.status != "ok":
            reasons.add(device.record.reason)
        elif device.record.runtime != runtime:
            raise InputError(f"{path}: expected scores of {runtime}, got {device.record.runtime}")
        else:
            pairs[name].append((read_scores(run.scores(HOST, seed, name)), device))
    graphs = {seed: run.onnx(seed, "fp32") for seed in run.profile.seeds}
    metadata = {seed: read_metadata(path) for seed, path in graphs.items() if path.is_file()}
    thresholds = {seed: float(each[THRESHOLD]) for seed, each in metadata.items() if THRESHOLD in each}
    tables, changes = [], []
    for item in progress(run.profile.data.targets, "intervals of the drift", unit="target"):
        if own := pairs[item.name]:
            masks = read_run_manifest(run, item) if pixels else None
            found = metric_changes(own, masks, run.profile.evaluation.pixels)
            image = [each for each in found if each.metric == "image_auroc" and each.seed != MEAN]
            table = drift_table(own, thresholds)
            for place, name in enumerate(("host", "device", "points"), start=3):
                table.insert(place, name if name == "points" else f"{name}_auroc", [getattr(c, name) for c in image])
            tables.append(table)
            changes += found
    missing = [name for name, own in pairs.items() if not own]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    reason = "" if tables else "; ".join(sorted(reasons))
    return RuntimeDrift(runtime, reason, [pair for own in pairs.values() for pair in own], table, changes, missing)


def board_table(run: Run, board: Board, measured: RuntimeDrift) -> pd.DataFrame:
    """Return one row per benchmark: the paper's claim, the board's drift and verdict, or what a run needs."""
    rows = []
    for item in run.profile.data.targets:
        row = {"benchmark": item.stands_for or item.name, "paper: drift (points)": f"below {DRIFT_POINTS}"}
        row |= {"ours": "not run", "seeds": "-", "verdict": "not run", "needs": board.reported["needs"]}
        for change in (each for each in measured.means if each.target == item.name):
            same = [name for name in measured.suspicious if name.startswith(f"{item.name} seed ")]
            row["ours"] = f"{change.points:+z.3f}"
            row["seeds"] = ", ".join(str(d.record.seed) for _, d in measured.pairs if d.record.target == item.name)
            row["verdict"] = f"suspicious: exactly zero ({', '.join(same)})" if same else change.test.sentence()
            row["needs"] = "a larger set" if change.test.needed and not same else "-"
        rows.append(row)
    return pd.DataFrame(rows)
