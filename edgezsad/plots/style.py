"""One look for every figure: seaborn's quiet grid, colours that colour-blind readers can tell apart, drawn as SVG."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

from edgezsad.plots import vector

# Wong's palette as seaborn ships it; its order also differs in lightness, so figures survive printing in grey.
PALETTE = "colorblind"
WIDTH = 8.0


@contextmanager
def styled() -> Iterator[None]:
    """Draw inside this to get the book's look, and leave matplotlib's settings as they were.

    What is neither colour nor photograph should be black, white or a grey: the book turns these round for readers who
    read light on dark.
    """
    theme = sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.85)
    theme |= {"axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100, "savefig.dpi": 100}
    with plt.rc_context(theme), sns.color_palette(PALETTE):
        yield


def finished(figure: Figure) -> Figure:
    """Tighten a chart, then as `shown_once`."""
    if figure.get_layout_engine() is None:
        figure.tight_layout()
    return shown_once(figure)


def shown_once(figure: Figure) -> Figure:
    """Take a figure from pyplot's list, so that a notebook shows it once, as SVG, and memory is given back."""
    plt.close(figure)
    figure._ipython_display_ = MethodType(vector.show, figure)
    return figure
