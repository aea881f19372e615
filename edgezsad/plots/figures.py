"""The book's charts: training curves, accuracy with its spread."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from edgezsad.errors import InputError
from edgezsad.plots.style import WIDTH, finished, styled

TERMS = ("image", "ranking", "global", "map")


def training_curve(curve: pd.DataFrame) -> Figure:
    """Loss terms and the gain of the spatial correction over steps.

    Args:
        curve: columns step, the loss terms and gain, as `edgezsad.training.train` writes them.
    """
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.8), width_ratios=(2, 1))
        long = curve.melt("step", [*TERMS], var_name="term", value_name="loss")
        # Single batches are noisy: a running mean shows where training goes.
        long["loss"] = long.groupby("term")["loss"].transform(lambda values: values.rolling(5, min_periods=1).mean())
        sns.lineplot(long, x="step", y="loss", hue="term", style="term", ax=left)
        left.set(ylim=(0, None), title="loss terms (running mean)")
        sns.lineplot(curve, x="step", y="gain", ax=right)
        right.set(title="gain of the spatial correction")
        return finished(figure)


def seed_curves(folders: dict[int, Path]) -> Figure:
    """The total loss and the gain of the spatial correction over steps, one line a seed.

    Args:
        folders: of the trained seeds, by seed; each holds the `curve.csv` that `edgezsad.training.train` writes.

    Raises:
        InputError: a seed has not been trained.
    """
    curves = []
    for seed, folder in folders.items():
        path = folder / "curve.csv"
        if not path.is_file():
            raise InputError(f"{path}: missing; run notebook 03_training for this seed")
        curve = pd.read_csv(path)
        curves.append(curve.assign(seed=str(seed), total=curve["total"].rolling(5, min_periods=1).mean()))
    long = pd.concat(curves, ignore_index=True)
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.8), width_ratios=(2, 1))
        for axes, column in ((left, "total"), (right, "gain")):
            # Dashes beside colours, for readers in grey.
            sns.lineplot(long, x="step", y=column, hue="seed", style="seed", legend=axes is left, ax=axes)
        left.set(ylim=(0, None), ylabel="loss", title="weighted sum of the losses (running mean)")
        right.set(title="gain of the spatial correction")
        return finished(figure)


def accuracy(rows: pd.DataFrame) -> Figure:
    """Image AUROC of every target, one dot a seed.

    Args:
        rows: columns target, seed, image_auroc (percent).
    """
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.5 + 0.45 * rows["target"].nunique()))
        order = list(dict.fromkeys(rows["target"]))
        sns.stripplot(rows, x="image_auroc", y="target", order=order, hue="seed", palette="colorblind", size=7, ax=axes)
        means = rows.groupby("target")["image_auroc"].mean()
        for place, name in enumerate(order):
            axes.plot([means[name]] * 2, [place - 0.3, place + 0.3], color="black", linewidth=2)
        axes.axvline(50, color="grey", linestyle=":", linewidth=1)
        axes.set(xlabel="image AUROC (%); line: mean over seeds; dotted: chance", ylabel="", xlim=(45, 101))
        axes.legend(title="seed", loc="lower left", ncols=3)
        return finished(figure)
