"""A contact sheet: a few normal and a few defective images of every category, the defects outlined."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from edgezsad.data.manifest import Entry, Manifest

OUTLINE = "#E69F00"
"""Orange of Okabe and Ito: told from a photograph's greys and greens by every kind of colour vision. Over a black line
it shows on bright ground too."""

THUMB = 128
"""Longer side of a thumbnail in pixels."""


def contact_sheet(manifest: Manifest, columns: int = 8, seed: int = 0) -> Figure:
    """Normal images (left half of a row) and defective images (right half), one row a category, of the test split.

    Args:
        manifest: of any data set; a category without defective or normal images leaves its half empty.
        columns: images in a row, at least 2.
        seed: which images are drawn.

    Returns:
        A figure about `columns` inches wide, each defective image labelled with its kind of defect.
    """
    categories = sorted({entry.category for entry in manifest.entries})
    figure, grid = plt.subplots(
        len(categories), columns, figsize=(columns * 1.15, len(categories) * 1.32 + 0.1), squeeze=False
    )
    random = np.random.default_rng(seed)
    for row, category in zip(grid, categories, strict=True):
        entries = [e for e in manifest.entries if e.category == category]
        good = _some([e for e in entries if e.label == 0 and e.split == "test"], columns // 2, random)
        bad = _some([e for e in entries if e.label == 1], columns - columns // 2, random)
        for axis in row:
            axis.set_axis_off()
        for axis, entry in zip((*row[: len(good)], *row[columns // 2 :][: len(bad)]), (*good, *bad), strict=True):
            _show(axis, manifest, entry)
        row[0].text(-0.06, 0.5, category, transform=row[0].transAxes, rotation=90, ha="right", va="center", fontsize=7)
    figure.subplots_adjust(left=0.03, right=0.998, top=1 - 0.16 / figure.get_figheight(), bottom=0.01, wspace=0.04)
    return figure


def _some(entries: list[Entry], count: int, random: np.random.Generator) -> list[Entry]:
    """At most `count` entries, of as many different defects as there are."""
    shuffled = [entries[k] for k in random.permutation(len(entries))]
    seen: dict[str, int] = {}
    rank = []
    for entry in shuffled:
        seen[entry.defect] = seen.get(entry.defect, 0) + 1
        rank.append(seen[entry.defect])
    # The first of each kind comes before the second of any; the sort is stable.
    order = sorted(range(len(shuffled)), key=lambda k: rank[k])
    return [shuffled[k] for k in order[:count]]


def _show(axis: plt.Axes, manifest: Manifest, entry: Entry) -> None:
    """Draw one image as a thumbnail with its mask's outline."""
    with Image.open(manifest.path(entry)) as stored:
        image = stored.convert("RGB")
    scale = THUMB / max(image.size)
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    axis.imshow(image.resize(size, Image.Resampling.BOX), interpolation="nearest")
    axis.set_title(entry.defect, fontsize=6, pad=1.5)
    path = manifest.mask_path(entry)
    if entry.label == 0 or path is None:
        return
    with Image.open(path) as stored:
        mask = np.asarray(stored.convert("L")) > 0
    share = np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX))
    # A line thinner than a thumbnail's pixel still gets an outline.
    level = min(0.5, float(share.max()) / 2)
    if level > 0 and float(share.min()) < level:
        axis.contour(share, levels=[level], colors="black", linewidths=1.3, alpha=0.6)
        axis.contour(share, levels=[level], colors=OUTLINE, linewidths=0.7)
