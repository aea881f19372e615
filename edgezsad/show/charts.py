"""Charts and image grids of the book, all in one style and shown as SVG.

Shapes or dashes accompany every colour, for readers in grey. Apart from colours and images, everything is black, white
or grey: the book inverts these for readers of light text on a dark page.
"""

import base64
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import TYPE_CHECKING, Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from edgezsad.data.images import decode_image, decode_mask
from edgezsad.devices.drift import DRIFT_POINTS
from edgezsad.show.maps import HEAT_RANGE, heat_map, outline

if TYPE_CHECKING:
    from edgezsad.data.manifest import Entry, Manifest
    from edgezsad.devices.drift import Change
    from edgezsad.scoring.score_file import ScoreFile

WIDTH = 8.0
"""Width of a figure in inches."""

SIZE = 160
"""Longer side of a thumbnail in pixels."""

Panel = tuple[str, np.ndarray] | None
"""Title and (H, W, 3) uint8 RGB image of one panel of a grid; None leaves it empty."""

ScorePairs = Sequence[tuple["ScoreFile", "ScoreFile"]]
"""Score files of host and device, a pair for each target and seed."""


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
    figure._ipython_display_ = MethodType(_show, figure)
    return figure


def figure_svg(figure: Figure) -> str:
    """Return a figure as one `<svg>` element, the same text for the same drawing; opaque images become WebP."""
    buffer = io.StringIO()
    # Text as outlines looks the same without the font.
    with plt.rc_context({"svg.fonttype": "path", "svg.hashsalt": "edgezsad"}):
        empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", dpi=200, bbox_inches="tight", pad_inches=0.05, metadata=empty)
    text = buffer.getvalue()
    return re.sub(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", _as_webp, text[text.index("<svg") :])


def _show(figure: Figure) -> None:
    from IPython.display import display

    display({"image/svg+xml": figure_svg(figure), "text/plain": repr(figure)}, raw=True)


def _as_webp(found: re.Match[str]) -> str:
    image = Image.open(io.BytesIO(base64.b64decode(found[1])))
    if "A" in image.mode and image.getchannel("A").getextrema()[0] < 255:
        return found[0]
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "webp", quality=84)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def training_curve(curve: pd.DataFrame) -> Figure:
    """Draw the loss terms and the gain of the spatial correction over the steps of one seed, from its `curve.csv`."""
    terms = [name for name in curve.columns if name not in ("step", "gain", "total", "learning_rate")]
    return _curves(curve.melt(["step", "gain"], terms, var_name="term", value_name="loss"), "term")


def seed_curves(curves: Mapping[int, pd.DataFrame]) -> Figure:
    """Draw the total loss and the gain of the spatial correction over steps, one line for each seed."""
    return _curves(
        pd.concat([curve.assign(seed=str(seed), loss=curve["total"]) for seed, curve in curves.items()]), "seed"
    )


def _curves(rows: pd.DataFrame, group: str) -> Figure:
    # Single batches are noisy.
    rows["loss"] = rows.groupby(group)["loss"].transform(lambda values: values.rolling(5, min_periods=1).mean())
    lines = group if group == "seed" else None
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.8), width_ratios=(2, 1))
        sns.lineplot(rows, x="step", y="loss", hue=group, style=group, errorbar=None, ax=left)
        sns.lineplot(rows, x="step", y="gain", hue=lines, style=lines, legend=False, errorbar=None, ax=right)
        left.set(ylim=(0, None), title="loss (running mean)")
        right.set(title="gain of the spatial correction")
        return finished(figure)


def accuracy_chart(rows: pd.DataFrame) -> Figure:
    """Draw the image AUROC of every target, one dot for each seed; columns target, seed, image_auroc (percent)."""
    order, seeds = list(dict.fromkeys(rows["target"])), rows["seed"].astype(str)
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.5 + 0.45 * len(order)))
        height = rows["target"].map(order.index)
        sns.scatterplot(x=rows["image_auroc"], y=height, hue=seeds, style=seeds, s=55, alpha=0.9, ax=axes)
        for target, mean in rows.groupby("target")["image_auroc"].mean().items():
            axes.plot([mean] * 2, [order.index(target) - 0.3, order.index(target) + 0.3], color="black", linewidth=2)
        axes.axvline(50, color="black", linestyle=":", linewidth=1.2)
        axes.set(xlabel="image AUROC (%); line: mean over seeds; dotted: chance", ylabel="", xlim=(45, 101))
        axes.set(yticks=range(len(order)), yticklabels=order, ylim=(len(order) - 0.5, -0.5))
        axes.legend(title="seed", loc="lower left", ncols=3)
        return finished(figure)


def sensitivity_bars(result: Mapping[str, Any], most: int = 24) -> Figure:
    """Draw how much INT8 in each of the costliest layers alone changes scores and maps, from the results file."""
    rows = pd.DataFrame(result["table"]).head(most)
    rows["layer"] += rows["kept_fp32"].map({True: " (FP32)", False: ""})
    long = rows.rename(columns={"score_error": "scores", "map_error": "maps"}).melt(["layer"], ["scores", "maps"])
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.26 * len(rows) + 1.2))
        sns.barplot(long, y="layer", x="value", hue="variable", ax=axes)
        axes.set(xlabel="change by INT8 alone, in standard deviations of the FP32 output", ylabel="")
        axes.legend(title="", loc="lower right")
        return finished(figure)


def drift_scatter(pairs: ScorePairs, labels: tuple[str, str]) -> Figure:
    """Draw device score against host score, and their difference against their mean (Bland and Altman, 1986).

    The dashed lines are the 95% limits of agreement: mean difference ± 1.96 standard deviations.

    `labels` are the names of host and device.
    """
    host = np.concatenate([first.take(second.image_id).score for first, second in pairs]).astype(float)
    device = np.concatenate([second.score for _, second in pairs]).astype(float)
    kind = np.where(np.concatenate([second.label for _, second in pairs]) == 1, "defective", "normal")
    difference, order = device - host, ["normal", "defective"]
    # Thousands of shapes would make the heaviest figure of the book.
    style = {"hue": kind, "style": kind, "hue_order": order, "style_order": order, "s": 16, "linewidth": 0}
    style |= {"alpha": 0.6, "rasterized": True}
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.4))
        sns.scatterplot(x=host, y=device, ax=left, **style)
        left.axline((host.mean(), host.mean()), slope=1, color="black", linewidth=0.8)
        left.set(xlabel=f"score, {labels[0]}", ylabel=f"score, {labels[1]}")
        sns.scatterplot(x=(host + device) / 2, y=difference, ax=right, legend=False, **style)
        right.axhline(0, color="grey", linewidth=0.8)
        for factor, line in ((0, "-"), (1.96, "--"), (-1.96, "--")):
            height = difference.mean() + factor * difference.std()
            right.axhline(height, color="black", linewidth=1, linestyle=line)
            text = f"mean{f' {factor:+} SD' if factor else ''}: {height:+z.3f}"
            right.text(1, height, text, transform=right.get_yaxis_transform(), ha="right", va="bottom", fontsize=8)
        right.set(xlabel="mean score", ylabel="difference (logit)")
        return finished(figure)


def forest(changes: Sequence["Change"], margin: float = DRIFT_POINTS) -> Figure:
    """Draw the drift of image AUROC of each target and seed, and of the mean with intervals, against ±margin points.

    Thick: the 90% interval that the test of equivalence needs inside the band; thin: DeLong's 95% interval.
    """
    changes = [each for each in changes if each.metric == "image_auroc" and each.test is not None]
    targets = list(dict.fromkeys(each.target for each in changes))
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.5 * len(targets)))
        axes.axvspan(-margin, margin, color="0.88", zorder=0)
        for edge, line in ((-margin, "--"), (0, "-"), (margin, "--")):
            axes.axvline(edge, color="black" if edge else "grey", linestyle=line, linewidth=1)
        dark, light = sns.color_palette()[:2]
        for each in changes:
            height = targets.index(each.target)
            if each.seed == "mean":
                axes.plot([each.delong_low, each.delong_high], [height] * 2, color=dark, linewidth=1.2)
                axes.plot([each.test.low, each.test.high], [height] * 2, color=dark, linewidth=4, solid_capstyle="butt")
                axes.plot(each.points, height, "o", color="white", markeredgecolor=dark, markersize=7)
            else:
                axes.plot(each.points, height + 0.25, "|", color=light, markersize=9, markeredgewidth=2)
        axes.set(yticks=range(len(targets)), yticklabels=targets, ylim=(len(targets) - 0.4, -0.6))
        axes.set_xlabel(f"change of image AUROC (points); ticks below: single seeds; band: ±{margin}")
        axes.grid(axis="y", visible=False)
        return finished(figure)


def image_grid(rows: Sequence[Sequence[Panel]], columns: int, scale: bool = True) -> Figure:
    """Draw rows of at most `columns` titled images; with `scale`, the colour scale of heat maps on the right."""
    panels = [panel for row in rows for panel in row if panel]
    tallest = min(max((image.shape[0] / image.shape[1] for _, image in panels), default=1.0), 1.5)
    words = 0.15 * max((title.count("\n") + 1 for title, _ in panels), default=1)
    right = 0.93 if scale else 0.998
    cell = right * WIDTH / columns
    height = len(rows) * (cell * tallest + words)
    with styled():
        figure, grid = plt.subplots(len(rows), columns, figsize=(WIDTH, height), squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for line, row in zip(grid, rows, strict=True):
            for axes, panel in zip(line, row, strict=False):
                if panel:
                    axes.imshow(panel[1], interpolation="none")
                    axes.set_title(panel[0], loc="left", fontsize=7, pad=2)
        figure.subplots_adjust(left=0, right=right, top=1 - words / height, bottom=0, wspace=0.03, hspace=words / cell)
        if scale:
            bar = figure.add_axes((0.945, 0.1, 0.012, 0.75))
            figure.colorbar(ScalarMappable(Normalize(*HEAT_RANGE), "inferno"), cax=bar)
            bar.set_ylabel("map (logit), the same for all", fontsize=8)
        return finished(figure, tight=False)


def read_thumbnail(manifest: "Manifest", entry: "Entry") -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its mask at thumbnail size: (h, w, 3) uint8 RGB, and (h, w) fraction that the mask covers."""
    image, path = decode_image(manifest.path(entry)), manifest.mask_path(entry)
    size = [max(round(side * SIZE / max(image.shape)), 1) for side in (image.shape[1], image.shape[0])]
    mask = decode_mask(path, image.shape[:2]) if path else np.zeros(image.shape[:2])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small, cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def contact_sheet(manifest: "Manifest", columns: int = 8) -> Figure:
    """Draw some normal and some defective images of every category, the masks outlined, `columns` images in a row."""
    categories = sorted({entry.category for entry in manifest.entries})
    # About 32 images in all, so that the sheet stays a small file.
    each = max(1, min(columns // 2, 16 // max(len(categories), 1)))
    panels: list[Panel] = []
    for number, category in enumerate(categories):
        entries = [entry for entry in manifest.entries if entry.category == category]
        normal = [entry for entry in entries if entry.label == 0]
        normal = [entry for entry in normal if entry.split == "test"] or normal
        for group in (normal, [entry for entry in entries if entry.label == 1]):
            # Evenly spaced, from another start in each category: entries are in the order of their kinds of defect.
            shares = [number / len(categories) + k / each for k in range(min(each, len(group)))]
            chosen = [group[int(share * len(group)) % len(group)] for share in shares]
            shown = [(entry.defect, outline(*read_thumbnail(manifest, entry))) for entry in chosen]
            panels += [*shown, *[None] * (each - len(chosen))]
        if normal:
            panels[-2 * each] = category, panels[-2 * each][1]
    in_row = max(columns // (2 * each), 1) * 2 * each
    return image_grid([panels[start : start + in_row] for start in range(0, len(panels), in_row)], in_row, scale=False)


def pick(scores: "ScoreFile", count: int) -> dict[str, np.ndarray]:
    """Return the rows of defective images with the highest and lowest scores and of normal ones with the highest."""
    order = np.argsort(scores.score, kind="stable")
    defective, normal = order[scores.label[order] == 1], order[scores.label[order] == 0]
    return {"hit": defective[::-1][:count], "miss": defective[:count], "false alarm": normal[::-1][:count]}


def gallery(
    scores: "ScoreFile", manifest: "Manifest", count: int = 2, kinds: Sequence[str] = ("hit", "miss", "false alarm")
) -> Figure:
    """Draw image, map and mask of the clearest hits, the worst misses and the worst false alarms of one target."""
    entries, chosen = {entry.id: entry for entry in manifest.entries}, pick(scores, count)
    rows: list[list[Panel]] = []
    for kind in kinds:
        rows.append([])
        for row in chosen[kind]:
            entry = entries[str(scores.image_id[row])]
            image, mask = read_thumbnail(manifest, entry)
            heat = heat_map(scores.map[row], *mask.shape)
            white = np.repeat(np.round(255 * mask)[:, :, None], 3, axis=2).astype(np.uint8)
            rows[-1] += [(f"{kind}: {entry.defect}", image), (f"score {scores.score[row]:+z.1f}", heat)]
            rows[-1] += [("mask", white) if entry.mask else None]
    return image_grid(rows, 3 * count)


def moved_most(pairs: ScorePairs, manifest: Callable[[str], "Manifest"], count: int = 6) -> Figure:
    """Draw the images whose scores moved most: image, host's map, device's map, for the seed that moved it most.

    `manifest` returns the manifest of a target.
    """
    same = [host.take(device.image_id) for host, device in pairs]
    found: dict[tuple[str, str], tuple[float, int, int]] = {}
    for pair, (_, device) in enumerate(pairs):
        for row, change in enumerate(np.abs(device.score - same[pair].score)):
            key = device.record.target, str(device.image_id[row])
            found[key] = max(found.get(key, (-1.0, 0, 0)), (float(change), pair, row))
    panels: list[Panel] = []
    for (target, image_id), (_, pair, row) in sorted(found.items(), key=lambda each: -each[1][0])[:count]:
        own = manifest(target)
        entry = next(each for each in own.entries if each.id == image_id)
        image, mask = read_thumbnail(own, entry)
        panels.append((f"{target}\n{entry.defect}", image))
        for name, side in (("host", same[pair]), ("device", pairs[pair][1])):
            panels.append((f"{name} {side.score[row]:+z.3f}", heat_map(side.map[row], *mask.shape)))
    return image_grid([panels[start : start + 6] for start in range(0, len(panels), 6)], 6)
