"""Charts of drift: score against score, difference against mean, change against the bound, what moved most."""

from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from edgezsad.data.images import decode_image, prepare
from edgezsad.data.manifest import Manifest
from edgezsad.devices.changes import MEAN, Change, Pair
from edgezsad.devices.drift import counterpart
from edgezsad.plots.overlay import HEAT, HEAT_RANGE, heat
from edgezsad.plots.scale import heat_scale
from edgezsad.plots.style import WIDTH, finished, shown_once, styled
from edgezsad.reported import DRIFT_POINTS

SIZE = 160
AGREEMENT = 1.96
"""Limits of agreement in standard deviations: 95 of 100 differences lie between if they are normal (Bland and Altman,
Lancet 1986)."""


def drift_scatter(pairs: Sequence[Pair], labels: tuple[str, str]) -> Figure:
    """Left: device score against host score. Right, after Bland and Altman: their difference against their mean.

    All images of all pairs; the lines on the right are the mean difference and the limits of agreement.

    Args:
        pairs: (host, device) score files.
        labels: names of the two sides.
    """
    host = np.concatenate([counterpart(first, second).score for first, second in pairs])
    device = np.concatenate([second.score for _, second in pairs])
    label = np.concatenate([second.label for _, second in pairs])
    kind = np.where(label == 1, "defective", "normal")
    difference = device.astype(float) - host
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.4))
        # Shapes beside colours, for readers in grey.
        style = {"hue": kind, "style": kind, "s": 16, "linewidth": 0, "alpha": 0.6}
        style |= {"hue_order": ["normal", "defective"], "style_order": ["normal", "defective"]}
        # Thousands of shapes would make the heaviest figure of the book.
        style |= {"rasterized": True}
        sns.scatterplot(x=host, y=device, ax=left, **style)
        ends = [min(host.min(), device.min()), max(host.max(), device.max())]
        left.plot(ends, ends, color="black", linewidth=0.8)
        left.set(xlabel=f"score, {labels[0]}", ylabel=f"score, {labels[1]}")
        sns.scatterplot(x=(host + device) / 2, y=difference, ax=right, legend=False, **style)
        middle, reach = difference.mean(), AGREEMENT * difference.std()
        right.axhline(0, color="grey", linewidth=0.8)
        for height, line, text in (
            (middle, "-", "mean"),
            (middle + reach, "--", f"+{AGREEMENT} SD"),
            (middle - reach, "--", f"-{AGREEMENT} SD"),
        ):
            right.axhline(height, color="black", linewidth=1, linestyle=line)
            right.annotate(
                f"{text} {height:+z.3f}",
                (1, height),
                xycoords=("axes fraction", "data"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="right",
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
            )
        right.set(xlabel="mean score", ylabel="difference (logit)")
        return finished(figure)


def forest(changes: Sequence[Change], margin: float = DRIFT_POINTS) -> Figure:
    """Drift of image AUROC of each target against the band of ±margin: single seeds, and their mean with intervals.

    Thick: the 90% interval that the test asks to lie inside the band; thin: DeLong's 95% interval.

    Args:
        changes: of a runtime; those of other metrics are left out.
        margin: half the width of the band, in points.
    """
    changes = [each for each in changes if each.metric == "image_auroc" and each.test is not None]
    targets = list(dict.fromkeys(each.target for each in changes))
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.5 * len(targets)))
        axes.axvspan(-margin, margin, color="0.88", zorder=0)
        for edge in (-margin, margin):
            axes.axvline(edge, color="black", linestyle="--", linewidth=1)
        axes.axvline(0, color="grey", linewidth=0.8)
        dark, light = sns.color_palette()[:2]
        for each in changes:
            height = targets.index(each.target)
            if each.seed == MEAN:
                axes.plot([each.delong_low, each.delong_high], [height] * 2, color=dark, linewidth=1.2)
                axes.plot([each.test.low, each.test.high], [height] * 2, color=dark, linewidth=4, solid_capstyle="butt")
                axes.plot(each.points, height, "o", color="white", markeredgecolor=dark, markersize=7)
            else:
                axes.plot(each.points, height + 0.25, "|", color=light, markersize=9, markeredgewidth=2)
        axes.set(yticks=range(len(targets)), yticklabels=targets, ylim=(len(targets) - 0.4, -0.6))
        axes.set_xlabel(f"change of image AUROC (points); ticks below: single seeds; band: ±{margin}")
        axes.grid(axis="y", visible=False)
        return finished(figure)


def moved_most(pairs: Sequence[Pair], manifest: Callable[[str], Manifest], count: int = 6) -> Figure:
    """The images whose score moved most: photograph, host's map, device's map, on the package's fixed colour scale.

    Of an image that several seeds scored, only the seed that moved it most is shown.

    Args:
        pairs: (host, device) score files.
        manifest: gives the manifest of a target's name.
        count: images.
    """
    rows = worst(pairs, count)
    with styled():
        lines = max(1, -(-len(rows) // 2))
        figure, axes = plt.subplots(lines, 6, figsize=(WIDTH, 1.7 * lines), squeeze=False)
        for panel in axes.flat:
            panel.axis("off")
        for place, (pair, row) in enumerate(rows):
            host, device = pairs[pair]
            same = counterpart(host, device)
            target = device.record.target
            found = manifest(target)
            entry = next(each for each in found.entries if each.id == str(device.image_id[row]))
            panels = axes[place // 2, 3 * (place % 2) : 3 * (place % 2) + 3]
            panels[0].imshow(prepare(decode_image(found.path(entry)), SIZE), interpolation="none")
            panels[0].set_title(f"{target}\n{entry.defect}", loc="left", fontsize=8)
            for panel, name, side in ((panels[1], "host", same), (panels[2], "device", device)):
                shown = heat(side.map[row], SIZE)
                panel.imshow(shown, cmap=HEAT, vmin=HEAT_RANGE[0], vmax=HEAT_RANGE[1], interpolation="none")
                panel.set_title(f"{name} {side.score[row]:+z.3f}", loc="left", fontsize=8)
        figure.subplots_adjust(left=0, right=0.93, top=1 - 0.4 / figure.get_figheight(), bottom=0.02, wspace=0.04)
        heat_scale(figure, (0.945, 0.1, 0.012, 0.75))
        return shown_once(figure)


def worst(pairs: Sequence[Pair], count: int) -> list[tuple[int, int]]:
    """Which images' scores moved most: (pair, row) of each, by falling change, every image once."""
    found: dict[tuple[str, str], tuple[float, int, int]] = {}
    for pair, (host, device) in enumerate(pairs):
        change = np.abs(device.score - counterpart(host, device).score)
        for row, value in enumerate(change):
            name = device.record.target, str(device.image_id[row])
            if name not in found or value > found[name][0]:
                found[name] = float(value), pair, row
    ranked = sorted(found.values(), key=lambda each: -each[0])
    return [(pair, row) for _, pair, row in ranked[:count]]
