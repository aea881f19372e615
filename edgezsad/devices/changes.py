"""How far a device moves the numbers that a table reports, with intervals, and whether that is little enough.

A row is a metric of one target: of a seed, or of the mean over seeds, which is what tables report. All intervals are
paired, both sides being scored on the same images, and hold for these trained seeds and images like these:

- the bootstrap resamples images within each category and label, the same for host, device and all seeds;
- DeLong's covariance joins the AUROCs of both sides and of all seeds within a category; categories hold different
  images and are therefore independent, so the variance of a mean over C of them is the sum of theirs over C squared.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import norm

from edgezsad.data.manifest import Manifest
from edgezsad.devices.drift import counterpart, resolution
from edgezsad.errors import InputError
from edgezsad.metrics.category_metrics import category_seed, has_known_pixels, known_pixels, resample
from edgezsad.metrics.image_metrics import auroc, average_precision
from edgezsad.metrics.intervals import LEVEL, REPLICATES, interval, multiplicities
from edgezsad.metrics.pixel_bootstrap import resampled_pixels
from edgezsad.metrics.significance import Aurocs, Equivalence, delong, equivalence
from edgezsad.reported import DRIFT_POINTS
from edgezsad.scoring.score_file import ScoreFile

MEAN = "mean"
"""In place of a seed: the mean over seeds."""

Pair = tuple[ScoreFile, ScoreFile]


@dataclass(frozen=True)
class Change:
    """One metric of one target on the host and on the device, in percent; the change in points.

    Attributes:
        target: its name.
        seed: of the model, or `MEAN`.
        metric: as in `edgezsad.show.tables.LABELS`.
        images: compared.
        host, device: mean over categories, and over seeds for `MEAN`.
        points: device minus host.
        low, high: of the paired bootstrap's 95% interval; NaN where a category has one image of a kind.
        delong_low, delong_high: of DeLong's; NaN for other metrics than image AUROC.
        p_value: of DeLong's test that nothing changed, two-sided.
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

    def as_row(self) -> dict[str, object]:
        """For a table: the test's interval and verdict beside the rest."""
        row = {name: value for name, value in vars(self).items() if name != "test"}
        if self.test is not None:
            row |= {"test_low": self.test.low, "test_high": self.test.high, "test_p": self.test.p_value}
            row |= {"verdict": self.test.verdict, "images_needed": self.test.needed, "words": self.test.sentence()}
        return row


def image_changes(pairs: Sequence[Pair], margin: float = DRIFT_POINTS) -> list[Change]:
    """Changes of image AUROC and average precision of one target, for each seed and for their mean.

    Args:
        pairs: (host, device) of each seed.
        margin: of the equivalence test, in points.

    Raises:
        InputError: a pair can not be compared, or seeds were scored on different images.
    """
    pairs = _aligned(pairs)
    resamples = [[resample(scores) for scores in pair] for pair in pairs]
    covariances = _covariances(pairs)
    found = []
    for seed, chosen in _seeds(pairs):
        for metric, measure, kept in _IMAGE_METRICS:
            host, device = (_mean([_by_category(pairs[k][side], measure) for k in chosen]) for side in (0, 1))
            drawn = [
                _mean([{name: getattr(each, kept) for name, each in resamples[k][side].items()} for k in chosen])
                for side in (0, 1)
            ]
            change = _change(pairs[0][0], seed, metric, np.append(host, drawn[0]), np.append(device, drawn[1]))
            if metric == "image_auroc":
                weight = np.concatenate([[-(k in chosen), k in chosen] for k in range(len(pairs))]) / len(chosen)
                step = resolution(pairs[0][0]) / len(chosen)
                change = _tested(change, covariances, weight, margin, step)
            found.append(change)
    return found


def pixel_changes(pairs: Sequence[Pair], manifest: Manifest, pixels: int) -> list[Change]:
    """Changes of pixel AUROC and AUPRO of one target, for each seed and for their mean.

    Args:
        pairs: (host, device) of each seed.
        manifest: of the same images; its masks are read from disk.
        pixels: height and width at which pixels are counted.

    Raises:
        InputError: as `image_changes`, or the images are not the manifest's.
    """
    pairs = _aligned(pairs)
    first = pairs[0][0]
    known = has_known_pixels(first, manifest)
    # By side of each pair and metric: categories' values, first of all images, then of each resample.
    values = [[({}, {}) for _ in pair] for pair in pairs]
    for category in sorted(set(first.category)):
        rows = np.flatnonzero(known & (first.category == category))
        part = first.take(first.image_id[rows])
        masks = [mask for _, _, mask in known_pixels(part, manifest, pixels)]
        times = np.ones((1 + REPLICATES, len(rows)), dtype=np.float32)
        times[1:] = multiplicities(part.label, seed=category_seed(category))
        found = resampled_pixels([scores.map[rows] for pair in pairs for scores in pair], masks, pixels, times)
        for model, each in enumerate(zip(found.auroc, found.aupro, strict=True)):
            for metric, replicates in enumerate(each):
                values[model // 2][model % 2][metric][category] = replicates
    return [
        _change(first, seed, metric, *(_mean([values[k][side][place] for k in chosen]) for side in (0, 1)))
        for seed, chosen in _seeds(pairs)
        for place, metric in enumerate(("pixel_auroc", "pixel_aupro"))
    ]


def change_table(changes: Sequence[Change]) -> pd.DataFrame:
    """One row a change."""
    return pd.DataFrame([change.as_row() for change in changes])


_IMAGE_METRICS = (
    ("image_auroc", auroc, "auroc"),
    ("image_ap", average_precision, "average_precision"),
)


def _aligned(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with the images of each in the order of the first.

    Raises:
        InputError: they are not all of one target and of the same images.
    """
    if not pairs:
        raise InputError("drift: no seed was scored on both sides; there is nothing to compare")
    ids = pairs[0][1].image_id
    found = []
    for host, device in pairs:
        record = device.record
        if record.target != pairs[0][1].record.target or set(device.image_id) != set(ids):
            raise InputError(
                f"{record.target} seed {record.seed}: scored on other images than seed {pairs[0][1].record.seed}; "
                "score all seeds on the same images"
            )
        device = device.take(ids)
        found.append((counterpart(host, device), device))
    return found


def _seeds(pairs: Sequence[Pair]) -> list[tuple[int | str, list[int]]]:
    """Which pairs make each seed's row and that of their mean."""
    seeds = [device.record.seed for _, device in pairs]
    return [*((seed, [place]) for place, seed in enumerate(seeds)), (MEAN, list(range(len(seeds))))]


def _by_category(scores: ScoreFile, measure: Callable[[np.ndarray, np.ndarray], float]) -> dict[str, float]:
    rows = {category: scores.category == category for category in sorted(set(scores.category))}
    return {category: measure(scores.label[row], scores.score[row]) for category, row in rows.items()}


def _mean(values: Sequence[dict[str, float | np.ndarray]]) -> np.ndarray:
    """Mean over seeds and over the categories where a metric is defined."""
    defined = [value for each in values for value in each.values() if np.isfinite(value).any()]
    return np.mean(defined, axis=0) if defined else np.full(1 + REPLICATES, math.nan)


def _covariances(pairs: Sequence[Pair]) -> list[Aurocs]:
    """Of each category with both labels: AUROCs of host and device of the first pair, of the second, and so on."""
    first = pairs[0][0]
    found = []
    for category in sorted(set(first.category)):
        rows = first.category == category
        if len(set(first.label[rows])) == 2:
            found.append(delong(first.label[rows], [scores.score[rows] for pair in pairs for scores in pair]))
    return found


def _change(scores: ScoreFile, seed: int | str, metric: str, host: np.ndarray, device: np.ndarray) -> Change:
    """A change from a metric on both sides: in [0, 1], first of all images, then of each resample."""
    low, high = interval(100 * (device[1:] - host[1:])) if _can_be_resampled(scores) else (math.nan, math.nan)
    ends = (100 * float(host[0]), 100 * float(device[0]))
    return Change(scores.record.target, seed, metric, len(scores), *ends, ends[1] - ends[0], low, high)


def _can_be_resampled(scores: ScoreFile) -> bool:
    """Whether there are two images of every kind: one alone is drawn again and again, and looks certain."""
    kinds = zip(scores.category, scores.label, strict=True)
    return min(Counter(kinds).values(), default=0) > 1


def _tested(change: Change, categories: Sequence[Aurocs], weight: np.ndarray, margin: float, step: float) -> Change:
    """The same with DeLong's interval and the test of equivalence."""
    errors = [100 * each.contrast(weight)[1] for each in categories]
    # Categories hold different images: their errors add up as those of independent numbers do.
    error = math.sqrt(sum(each**2 for each in errors)) / len(errors) if errors else math.nan
    half = float(norm.ppf((1 + LEVEL) / 2)) * error
    p_value = 2 * float(norm.sf(abs(change.points) / error)) if error > 0 else (1.0 if error == 0 else math.nan)
    return replace(
        change,
        delong_low=change.points - half,
        delong_high=change.points + half,
        p_value=p_value,
        test=equivalence(change.points, error, margin, change.images, step),
    )
