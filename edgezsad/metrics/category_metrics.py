"""Metrics of each category of a data set, from a score file and the masks on disk."""

import zlib
from collections.abc import Iterator

import numpy as np

from edgezsad.data.images import decode_mask
from edgezsad.data.manifest import Manifest
from edgezsad.errors import InputError
from edgezsad.metrics.image_metrics import auroc, average_precision, best_f1
from edgezsad.metrics.intervals import LEVEL, REPLICATES, Replicates, bootstrap, interval
from edgezsad.metrics.pixel_metrics import pixel_metrics, reduce_mask
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
    """Describe how pixel metrics are computed, to be printed with the numbers."""
    return (
        f"pixel metrics at {pixels} x {pixels}: maps enlarged bilinearly, masks reduced by nearest neighbour; AUPRO by "
        "MVTec's definition (8-connected regions, FPR limit 0.3, interpolated); AUPRO-200 by 200 even thresholds, not "
        "interpolated"
    )


def category_metrics(
    scores: ScoreFile, manifest: Manifest, pixels: int, resamples: dict[str, Replicates] | None = None
) -> list[dict[str, object]]:
    """Compute the metrics of each category.

    Args:
        scores: of one seed on one data set.
        manifest: of the same images; its masks are read from disk.
        pixels: height and width at which pixel metrics are computed.
        resamples: from `bootstrap_categories`, if intervals are wanted.

    Returns:
        For each category: category, images, defective, without_mask, then `METRICS` in percent (NaN where undefined),
        then with resamples the ends of each image metric's interval, NAME_low and NAME_high.

    Raises:
        InputError: the scores belong to other images than the manifest.
    """
    rows = []
    for category, part in _by_category(scores):
        known = has_pixel_labels(part, manifest)
        image = {
            "auroc": auroc(part.label, part.score),
            "ap": average_precision(part.label, part.score),
            "f1max": best_f1(part.label, part.score).f1,
        }
        pixel = vars(pixel_metrics(part.map[known], pixel_labels(part, manifest, pixels), pixels))
        row: dict[str, object] = {
            "category": category,
            "images": len(part),
            "defective": int(part.label.sum()),
            "without_mask": int((~known).sum()),
        }
        row |= {f"image_{name}": 100 * value for name, value in image.items()}
        row |= {f"pixel_{name}": 100 * value for name, value in pixel.items()}
        for name, values in vars(resamples[category]).items() if resamples else ():
            row[f"image_{name}_low"], row[f"image_{name}_high"] = (100 * end for end in interval(values))
        rows.append(row)
    return rows


def bootstrap_categories(scores: ScoreFile) -> dict[str, Replicates]:
    """Compute bootstrap replicates of each category's image metrics, the same resamples for every model."""
    return {
        category: bootstrap(part.label, part.score, seed=category_seed(category))
        for category, part in _by_category(scores)
    }


def category_seed(category: str) -> int:
    """Return the seed of a category's resamples: one of its own, the same at every call."""
    return zlib.crc32(category.encode())


def has_pixel_labels(scores: ScoreFile, manifest: Manifest) -> np.ndarray:
    """Return (N,) bool: False for defective images without a mask.

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


def pixel_labels(scores: ScoreFile, manifest: Manifest, pixels: int) -> Iterator[np.ndarray | None]:
    """Read the masks of all images with pixel labels, one by one: (pixels, pixels) uint8 0 or 1, None if normal."""
    entries = {entry.id: entry for entry in manifest.entries}
    for row in np.flatnonzero(has_pixel_labels(scores, manifest)):
        entry = entries[str(scores.image_id[row])]
        mask = decode_mask(manifest.root / entry.mask, (entry.height, entry.width)) if entry.mask else None
        yield None if mask is None else reduce_mask(mask, pixels)


def _by_category(scores: ScoreFile) -> Iterator[tuple[str, ScoreFile]]:
    """Yield each category and its rows."""
    for category in sorted(set(scores.category)):
        yield category, scores.take(scores.image_id[scores.category == category])
