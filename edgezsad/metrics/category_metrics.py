"""Tables of metrics from score files: each category, then the mean over categories, then mean and spread over seeds."""

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from edgezsad.data.images import decode_mask
from edgezsad.data.manifest import Manifest
from edgezsad.errors import InputError
from edgezsad.metrics.aupro_steps import AuproSteps
from edgezsad.metrics.image_metrics import auroc, average_precision, best_f1
from edgezsad.metrics.intervals import LEVEL, REPLICATES, Replicates, bootstrap, interval
from edgezsad.metrics.pixel_metrics import PixelEvaluator
from edgezsad.metrics.regions import enlarge, reduce_mask
from edgezsad.scoring.score_file import ScoreFile

IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1max")
PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1max", "pixel_aupro", "pixel_aupro200")
METRICS = (*IMAGE_METRICS, *PIXEL_METRICS)
AVERAGING = "each category, then the mean over categories, then mean and standard deviation over seeds"
INTERVAL = (
    f"{LEVEL:.0%} interval of the mean over categories and seeds: {REPLICATES:,} resamples of the images within each "
    "category and label, the same for every seed"
)


def definition(pixels: int) -> str:
    """How pixel metrics are formed, to be printed with the numbers."""
    return (
        f"pixel metrics at {pixels} x {pixels}: maps enlarged bilinearly, masks reduced by nearest neighbour; AUPRO by "
        "MVTec's definition (8-connected regions, FPR limit 0.3, interpolated); AUPRO-200 by 200 even thresholds, not "
        "interpolated"
    )


def category_table(
    scores: ScoreFile, manifest: Manifest, pixels: int, resamples: dict[str, Replicates] | None = None
) -> pd.DataFrame:
    """One row for each category.

    Args:
        scores: of one seed on one data set.
        manifest: of the same images; its masks are read from disk.
        pixels: height and width at which pixel metrics are computed.
        resamples: from `resample`, if intervals are wanted.

    Returns:
        columns category, images, defective, without_mask, then `METRICS` in percent (NaN where undefined), then with
        resamples the ends of each image metric's interval, NAME_low and NAME_high.

    Raises:
        InputError: the scores belong to other images than the manifest.
    """
    rows = []
    for category in sorted(set(scores.category)):
        part = scores.take(scores.image_id[scores.category == category])
        row: dict[str, object] = {
            "category": category,
            "images": len(part),
            "defective": int(part.label.sum()),
            "without_mask": len(part) - int(has_known_pixels(part, manifest).sum()),
        }
        values = (
            auroc(part.label, part.score),
            average_precision(part.label, part.score),
            best_f1(part.label, part.score).f1,
            *_pixel_values(part, manifest, pixels),
        )
        row |= {name: 100 * value for name, value in zip(METRICS, values, strict=True)}
        if resamples:
            for name, replicates in _by_metric(resamples[category]).items():
                row[f"{name}_low"], row[f"{name}_high"] = (100 * end for end in interval(replicates))
        rows.append(row)
    return pd.DataFrame(rows)


def resample(scores: ScoreFile) -> dict[str, Replicates]:
    """Bootstrap replicates of each category's image metrics, alike for every model scored on the same images."""
    found = {}
    for category in sorted(set(scores.category)):
        rows = scores.category == category
        found[category] = bootstrap(scores.label[rows], scores.score[rows], seed=category_seed(category))
    return found


def category_seed(category: str) -> int:
    """The seed of a category's resamples: categories are not drawn alike, and each the same at every call."""
    return zlib.crc32(category.encode())


def mean_intervals(resamples: Sequence[dict[str, Replicates]]) -> dict[str, tuple[float | None, float | None]]:
    """The ends of each image metric's interval, in percent, for the mean over categories and seeds.

    Args:
        resamples: from `resample`, one for each seed. Categories where a metric is undefined are left out, as they are
            of the mean itself.
    """
    together: dict[str, list[np.ndarray]] = {name: [] for name in IMAGE_METRICS}
    for categories in resamples:
        for replicates in categories.values():
            for name, values in _by_metric(replicates).items():
                if np.isfinite(values).any():
                    together[name].append(values)
    ends = {}
    for name, values in together.items():
        low, high = interval(np.mean(values, axis=0)) if values else (None, None)
        ends[name] = (None, None) if low is None else (100 * low, 100 * high)
    return ends


def _by_metric(replicates: Replicates) -> dict[str, np.ndarray]:
    return dict(zip(IMAGE_METRICS, (replicates.auroc, replicates.average_precision, replicates.f1_max), strict=True))


def _pixel_values(scores: ScoreFile, manifest: Manifest, pixels: int) -> tuple[float, ...]:
    """`PIXEL_METRICS` of one category, in [0, 1]."""
    known = scores.map[has_known_pixels(scores, manifest)]
    ends = [(float(large.min()), float(large.max())) for large in (enlarge(each, pixels) for each in known)]
    if not ends:
        return (float("nan"),) * len(PIXEL_METRICS)
    steps = AuproSteps(min(low for low, _ in ends), max(high for _, high in ends))
    with PixelEvaluator() as evaluator:
        for image_id, anomaly_map, mask in known_pixels(scores, manifest, pixels):
            evaluator.update(anomaly_map, mask, image_id)
            steps.update(anomaly_map, mask)
        result = evaluator.result()
    return result.auroc, result.average_precision, result.f1_max, result.aupro, steps.result()


def has_known_pixels(scores: ScoreFile, manifest: Manifest) -> np.ndarray:
    """(N,) bool: whether an image's defective pixels are known; a defective image without a mask's are not.

    Raises:
        InputError: an image was scored that is not in the manifest.
    """
    entries = {entry.id: entry for entry in manifest.entries}
    known = np.ones(len(scores), dtype=bool)
    for row, image_id in enumerate(scores.image_id):
        entry = entries.get(str(image_id))
        if entry is None or entry.label != scores.label[row]:
            raise InputError(
                f"{manifest.name}: {image_id} is scored but not in the manifest; run notebook 05_scoring again"
            )
        known[row] = bool(entry.mask) or not entry.label
    return known


def known_pixels(
    scores: ScoreFile, manifest: Manifest, pixels: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Image id, map and mask at `pixels` x `pixels`, one image at a time; images of unknown pixels are left out.

    The mask is uint8 zeros and ones, None for an image without defects.
    """
    entries = {entry.id: entry for entry in manifest.entries}
    for row in np.flatnonzero(has_known_pixels(scores, manifest)):
        entry = entries[str(scores.image_id[row])]
        mask = None
        if entry.mask:
            mask = reduce_mask(decode_mask(manifest.root / entry.mask, (entry.height, entry.width)), pixels)
        yield entry.id, enlarge(scores.map[row], pixels), mask


def undefined(categories: pd.DataFrame) -> dict[str, list[str]]:
    """Metrics that some category lacks (one class only, or no masks), each with those categories."""
    return {
        name: categories.loc[categories[name].isna(), "category"].tolist()
        for name in METRICS
        if categories[name].isna().any()
    }


def over_seeds(tables: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """Mean over categories for each seed: one row a seed, columns `METRICS`."""
    rows = [{"seed": seed} | table[list(METRICS)].mean().to_dict() for seed, table in sorted(tables.items())]
    return pd.DataFrame(rows)


def mean_and_spread(seeds: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Mean and sample standard deviation over seeds of each metric; None where undefined, so that JSON can hold it."""
    summary = {}
    for name in METRICS:
        values = seeds[name].dropna()
        mean = float(values.mean()) if len(values) else None
        std = float(values.std(ddof=1)) if len(values) > 1 else None
        summary[name] = {"mean": mean, "std": std}
    return summary
