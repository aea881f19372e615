"""Charts and image grids of the book, all in one style and shown as SVG.

Shapes or dashes accompany every colour, for readers in grey. Everything but colours and images is black, white or grey,
which the book inverts on a dark page.
"""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import display
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from edgezsad.data.images import decode_image, decode_mask
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.devices.drift import DRIFT_POINTS, MEAN
from edgezsad.scoring.score_file import ScoreFile
from edgezsad.scoring.score_run import subset
from edgezsad.show.maps import HEAT_RANGE, heat_map, outline, thumbnail

WIDTH = 8.0  # of a figure, in inches
SIZE = 160  # longer side of a thumbnail, in pixels
Panel = tuple[str, np.ndarray] | None  # title and (H, W, 3) uint8 RGB image; None leaves the panel empty
ScorePairs = Sequence[tuple[ScoreFile, ScoreFile]]  # host and device, for each target and seed


@contextmanager
def styled() -> Iterator[None]:
    """Set the book's style for the figures drawn inside; matplotlib's settings are restored afterwards."""
    theme = sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.85)
    theme |= {"axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100, "savefig.dpi": 100}
    with plt.rc_context(theme), sns.color_palette("colorblind"):
        yield


def finished(figure: Figure, tight: bool = True) -> Figure:
    """Close a figure for pyplot and let a notebook show it once, as SVG."""
    if tight and figure.get_layout_engine() is None:
        figure.tight_layout()
    plt.close(figure)
    content = {"text/plain": repr(figure)}
    figure._ipython_display_ = lambda: display(content | {"image/svg+xml": figure_svg(figure)}, raw=True)
    return figure


def figure_svg(figure: Figure) -> str:
    """Return a figure as one `<svg>` element, the same text for the same drawing; its images become WebP."""
    buffer = io.StringIO()
    # Text as outlines looks the same without the font.
    with plt.rc_context({"svg.fonttype": "path", "svg.hashsalt": "edgezsad"}):
        figure.savefig(buffer, format="svg", dpi=200, bbox_inches="tight", pad_inches=0.05, metadata={"Date": None})
    text = buffer.getvalue()
    return re.sub(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", _as_webp, text[text.index("<svg") :])


def _as_webp(found: re.Match[str]) -> str:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(found[1]))).save(buffer, "webp", quality=84)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def training_curves(loss: pd.DataFrame, gain: pd.DataFrame) -> Figure:
    """Draw losses and gains of the spatial correction, one line for each column, over the steps (the index)."""
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.8), width_ratios=(2, 1))
        # Single batches are noisy.
        sns.lineplot(loss.rolling(5, min_periods=1).mean(), ax=left)
        sns.lineplot(gain, legend=False, ax=right)
        left.set(ylim=(0, None), title="loss (running mean)")
        right.set(title="gain of the spatial correction")
        return finished(figure)


def category_forest(rows: pd.DataFrame) -> Figure:
    """Draw the image AUROC of each category of one seed with its 95% interval; chance is a dotted line."""
    rows = rows.dropna(subset=["image_auroc"]).sort_values("image_auroc")
    names = rows["target"] + ": " + rows["category"]
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.23 * len(rows) + 0.9))
        axes.hlines(names, rows["image_auroc_low"], rows["image_auroc_high"], color="#0072b2")
        axes.plot(rows["image_auroc"], names, "o", color="#0072b2")
        axes.axvline(50, color="black", linestyle=":", linewidth=1.2)
        axes.set(xlabel="image AUROC (%); dotted: chance", ylim=(-0.6, len(rows) - 0.4))
        return finished(figure)


def drift_scatter(pairs: ScorePairs, labels: tuple[str, str]) -> Figure:
    """Draw device score against host score, and the difference with its 95% limits (Bland and Altman, 1986)."""
    host = np.concatenate([first.take(second.image_id).score for first, second in pairs]).astype(float)
    device = np.concatenate([second.score for _, second in pairs]).astype(float)
    kind = np.where(np.concatenate([second.label for _, second in pairs]) == 1, "defective", "normal")
    difference, order = device - host, ["normal", "defective"]
    # Thousands of shapes would make the heaviest figure of the book.
    style = {"hue": kind, "style": kind, "hue_order": order, "style_order": order}
    style |= {"s": 16, "linewidth": 0, "alpha": 0.6, "rasterized": True}
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.4))
        sns.scatterplot(x=host, y=device, ax=left, **style)
        left.axline((host.mean(), host.mean()), slope=1, color="black", linewidth=0.8)
        left.set(xlabel=f"score, {labels[0]}", ylabel=f"score, {labels[1]}")
        sns.scatterplot(x=(host + device) / 2, y=difference, ax=right, legend=False, **style)
        right.axhline(0, color="grey", linewidth=0.8)
        for factor in (0, 1.96, -1.96):
            height = difference.mean() + factor * difference.std()
            right.axhline(height, color="black", linewidth=1, linestyle="--" if factor else "-")
            text = f"mean{f' {factor:+} SD' if factor else ''}: {height:+z.3f}"
            right.text(1, height, text, transform=right.get_yaxis_transform(), ha="right", va="bottom", fontsize=8)
        right.set(xlabel="mean score", ylabel="difference (logit)")
        return finished(figure)


def forest(changes: pd.DataFrame) -> Figure:
    """Draw the drift of image AUROC of each target and seed, and of the mean with 90% (thick) and 95% intervals."""
    changes = changes.query("metric == 'image_auroc'")
    targets = list(changes["target"].unique())
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.5 * len(targets)))
        axes.axvspan(-DRIFT_POINTS, DRIFT_POINTS, color="0.88", zorder=0)
        for edge in (-DRIFT_POINTS, 0, DRIFT_POINTS):
            axes.axvline(edge, color="black", linestyle="--" if edge else "-", linewidth=1)
        dark, light = sns.color_palette()[:2]
        for each in changes.itertuples():
            height = targets.index(each.target)
            if each.seed == MEAN:
                axes.plot([each.low, each.high], [height] * 2, color=dark, linewidth=1.2)
                axes.plot([each.test_low, each.test_high], [height] * 2, color=dark, linewidth=4, solid_capstyle="butt")
                axes.plot(each.points, height, "o", color="white", markeredgecolor=dark, markersize=7)
            else:
                axes.plot(each.points, height + 0.25, "|", color=light, markersize=9, markeredgewidth=2)
        axes.set(yticks=range(len(targets)), yticklabels=targets, ylim=(len(targets) - 0.4, -0.6))
        axes.set_xlabel(f"change of image AUROC (points); ticks below: single seeds; band: ±{DRIFT_POINTS}")
        axes.grid(axis="y", visible=False)
        return finished(figure)


def image_grid(panels: Sequence[Panel], columns: int, scale: bool = True) -> Figure:
    """Draw titled images, `columns` in a row; with `scale`, the colour scale of heat maps on the right."""
    rows = [panels[first : first + columns] for first in range(0, len(panels), columns)]
    words = 0.15 * max((panel[0].count("\n") + 1 for panel in panels if panel), default=1)
    right = 0.93 if scale else 0.998
    cell = right * WIDTH / columns
    tallest = [min(max([one[1].shape[0] / one[1].shape[1] for one in row if one] or [1]), 1.5) for row in rows]
    height = cell * sum(tallest) + len(rows) * words
    with styled():
        figure, grid = plt.subplots(len(rows), columns, squeeze=False, figsize=(WIDTH, height), height_ratios=tallest)
        for axes, panel in zip_longest(grid.flat, panels):
            axes.set_axis_off()
            if panel:
                axes.imshow(panel[1], interpolation="none")
                axes.set_anchor("NW")
                axes.set_title(panel[0], loc="left", fontsize=7, pad=2, parse_math=False)
        between = len(rows) * words / (cell * sum(tallest))
        figure.subplots_adjust(left=0, right=right, top=1 - words / height, bottom=0, wspace=0.03, hspace=between)
        if scale:
            bar = figure.add_axes((0.945, 0.1, 0.012, 0.75))
            figure.colorbar(ScalarMappable(Normalize(*HEAT_RANGE), "inferno"), cax=bar)
            bar.set_ylabel("map (logit), the same for all", fontsize=8)
        return finished(figure, tight=False)


def read_thumbnail(manifest: Manifest, entry: Entry) -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its mask at thumbnail size: (h, w, 3) uint8 RGB, and (h, w) fraction that the mask covers."""
    image, path = decode_image(manifest.path(entry)), manifest.mask_path(entry)
    mask = decode_mask(path, image.shape[:2]) if path else np.zeros(image.shape[:2])
    return thumbnail(image, SIZE), thumbnail(mask.astype(np.float32), SIZE)


def contact_sheet(manifest: Manifest) -> Figure:
    """Draw about 16 images, some normal and some defective ones of every category, with the masks outlined."""
    entries = sorted(subset(manifest, 16).entries, key=lambda entry: (entry.category, entry.label))
    panels = [(f"{entry.category}\n{entry.defect}", outline(*read_thumbnail(manifest, entry))) for entry in entries]
    return image_grid(panels, 9, scale=False)


def gallery(
    scores: ScoreFile, manifest: Manifest, threshold: float | None = None, count: int = 2, hits: bool = True
) -> Figure:
    """Draw image, map and mask of some images of a target: the highest- and lowest-scored defective, highest normal.

    With a threshold: the highest detections, the lowest misses and the highest false alarms. `hits=False` leaves out
    the first kind.
    """
    order = np.argsort(scores.score, kind="stable")
    defective, normal = order[scores.label[order] == 1], order[scores.label[order] == 0]
    kinds = {"highest defective": defective[::-1], "lowest defective": defective, "highest normal": normal[::-1]}
    if threshold is not None:
        over = scores.score >= threshold
        found, missed = defective[over[defective]], defective[~over[defective]]
        kinds = {"detection": found[::-1], "miss": missed, "false alarm": normal[over[normal]][::-1]}
    entries, panels = {entry.id: entry for entry in manifest.entries}, []
    for kind, rows in list(kinds.items())[not hits :]:
        for row in rows[:count]:
            entry = entries[str(scores.image_id[row])]
            image, mask = read_thumbnail(manifest, entry)
            heat = heat_map(scores.map[row], *mask.shape)
            white = np.repeat(np.round(255 * mask)[:, :, None], 3, axis=2).astype(np.uint8)
            panels += [(f"{kind}: {entry.defect}", image), (f"score {scores.score[row]:+z.1f}", heat)]
            panels.append(("mask", white) if entry.mask else None)
        panels += [None] * (-len(panels) % (3 * count))
    return image_grid(panels or [None], 3 * count)
