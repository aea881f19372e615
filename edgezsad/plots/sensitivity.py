"""What INT8 costs layer by layer, drawn."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from edgezsad.plots.style import WIDTH, finished, styled

MOST = 24
"""Parts that are drawn; the others cost less than any of these."""


def sensitivity_bars(result: dict[str, Any]) -> Figure:
    """The costliest blocks and layers and what each alone changes, with the limit.

    Args:
        result: the results file `sensitivity`.
    """
    rows = pd.DataFrame(result["table"]).head(MOST)
    rows["part"] = rows["part"] + rows["left_out"].map({True: " (FP32)", False: ""})
    names = {"score_error": "scores", "map_error": "maps"}
    long = rows.melt(["part"], list(names), var_name="of", value_name="error").replace({"of": names})
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.26 * len(rows) + 1.2))
        sns.barplot(long, y="part", x="error", hue="of", ax=axes)
        axes.axvline(result["limit"], color="0.3", linestyle="--", linewidth=1)
        axes.set(xlabel="change by INT8 alone, in units of the spread in FP32", ylabel="")
        axes.legend(title="", loc="lower right")
        return finished(figure)
