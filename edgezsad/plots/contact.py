"""A contact sheet: some normal and some defective images of every category, the defects outlined."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from edgezsad.data.images import decode_image, decode_mask
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.plots.style import shown_once

OUTLINE = "#E69F00"
"""Orange of Okabe and Ito: told from a photograph's greys and greens by every kind of colour vision. Over a black line
it shows on bright ground too."""

THUMB = 128
"""Longer side of a thumbnail in pixels."""

PAIRS = 16
"""About how many normal and how many defective images a sheet shows in all, so that it stays a small file."""


def contact_sheet(manifest: Manifest, columns: int = 8, seed: int = 0) -> Figure:
    """Normal images and beside them defective ones, outlined, of every category.

    With few categories each has a row, half of it normal; with many, each has fewer images and they share rows.

    Args:
        manifest: of any data set; a category without defective or normal images leaves its half empty.
        columns: images in a row, at least 2.
        seed: which images are drawn.

    Returns:
        A figure about `columns` inches wide, each image labelled with its category or its kind of defect.
    """
    categories = sorted({entry.category for entry in manifest.entries})
    each = max(1, min(columns // 2, PAIRS // max(len(categories), 1)))
    in_row = max(columns // (2 * each), 1)
    rows = max(-(-len(categories) // in_row), 1)
    figure, grid = plt.subplots(rows, in_row * 2 * each, figsize=(columns * 1.0, rows * 1.15), squeeze=False)
    for axis in grid.flat:
        axis.set_axis_off()
    random = np.random.default_rng(seed)
    for place, category in enumerate(categories):
        first = place % in_row * 2 * each
        axes = grid[place // in_row, first : first + 2 * each]
        entries = [e for e in manifest.entries if e.category == category]
        normal = [e for e in entries if e.label == 0]
        # Data sets without normal test images show those for training.
        good = _some([e for e in normal if e.split == "test"] or normal, each, random)
        bad = _some([e for e in entries if e.label == 1], each, random)
        for axis, entry in zip((*axes[: len(good)], *axes[each : each + len(bad)]), (*good, *bad), strict=True):
            outlined(axis, manifest, entry)
            axis.set_title(entry.defect, fontsize=7, pad=1.5)
        if good:
            axes[0].set_title(category, fontsize=7, pad=1.5, fontweight="bold")
    figure.subplots_adjust(
        left=0.002, right=0.998, top=1 - 0.14 / figure.get_figheight(), bottom=0.002, wspace=0.03, hspace=0.14
    )
    return shown_once(figure)


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


def outlined(axis: plt.Axes, manifest: Manifest, entry: Entry, longer: int = THUMB) -> None:
    """Draw one image as a thumbnail with its mask's outline; `longer` is the longer side in pixels."""
    image = Image.fromarray(decode_image(manifest.path(entry)))
    scale = longer / max(image.size)
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    axis.imshow(np.asarray(image.resize(size, Image.Resampling.BOX)), interpolation="none")
    path = manifest.mask_path(entry)
    if entry.label == 0 or path is None:
        return
    mask = decode_mask(path, (entry.height, entry.width))
    share = np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX))
    # A line thinner than a thumbnail's pixel still gets an outline.
    level = min(0.5, float(share.max()) / 2)
    if level > 0 and float(share.min()) < level:
        axis.contour(share, levels=[level], colors="black", linewidths=1.3, alpha=0.6)
        axis.contour(share, levels=[level], colors=OUTLINE, linewidths=0.7)
