"""Tables of metrics from score files: each category, then the mean over categories, then mean and spread over seeds."""

import numpy as np
import pandas as pd

from edgezsad.data.images import decode_mask
from edgezsad.data.manifest import Manifest
from edgezsad.errors import InputError
from edgezsad.metrics.image import auroc, average_precision, best_f1
from edgezsad.metrics.pixel import enlarge, pixel_metrics, reduce_mask
from edgezsad.scoring.scorefile import ScoreFile

METRICS = ("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_aupro")
AVERAGING = "each category, then the mean over categories, then mean and standard deviation over seeds"


def definition(pixels: int) -> str:
    """How pixel metrics are formed, to be printed with the numbers."""
    return (
        f"pixel metrics at {pixels} x {pixels}: maps enlarged bilinearly, masks reduced by nearest neighbour; "
        "AUPRO exact, 8-connected regions, FPR limit 0.3, interpolated"
    )


def category_table(scores: ScoreFile, manifest: Manifest, pixels: int) -> pd.DataFrame:
    """One row for each category.

    Args:
        scores: of one seed on one data set.
        manifest: of the same images; its masks are read from disk.
        pixels: height and width at which pixel metrics are computed.

    Returns:
        columns category, images, defective, without_mask, then `METRICS` in percent (NaN where undefined).

    Raises:
        InputError: the scores belong to other images than the manifest.
    """
    rows = []
    for category in sorted(set(scores.category)):
        part = scores.take(scores.image_id[scores.category == category])
        masks, known = read_masks(part, manifest, pixels)
        pixel = pixel_metrics(enlarge(part.map[known], pixels), masks) if known.any() else None
        values = (
            auroc(part.label, part.score),
            average_precision(part.label, part.score),
            best_f1(part.label, part.score).f1,
            pixel.auroc if pixel else np.nan,
            pixel.aupro if pixel else np.nan,
        )
        counts = {"images": len(part), "defective": int(part.label.sum()), "without_mask": int((~known).sum())}
        rows.append(
            {"category": category} | counts | {name: 100 * value for name, value in zip(METRICS, values, strict=True)}
        )
    return pd.DataFrame(rows)


def read_masks(scores: ScoreFile, manifest: Manifest, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks of scored images at `pixels` x `pixels`.

    Returns:
        (M, pixels, pixels) bool for the M images whose defective pixels are known, and (N,) bool saying which those
        are: an image that is defective but has no mask is left out of the pixel metrics.
    """
    entries = {entry.id: entry for entry in manifest.entries}
    masks, known = [], np.ones(len(scores), dtype=bool)
    for row, image_id in enumerate(scores.image_id):
        entry = entries.get(str(image_id))
        if entry is None or entry.label != scores.label[row]:
            raise InputError(
                f"{manifest.name}: {image_id} is scored but not in the manifest; run notebook 05_scoring again"
            )
        if entry.mask:
            mask = decode_mask(manifest.root / entry.mask, (entry.height, entry.width))
            masks.append(reduce_mask(mask, pixels))
        elif entry.label:
            known[row] = False
        else:
            masks.append(np.zeros((pixels, pixels), dtype=bool))
    return (np.stack(masks) if masks else np.zeros((0, pixels, pixels), dtype=bool)), known


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
