"""The colour bar of every figure with heat maps: one fixed scale, stated in the figure itself."""

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from edgezsad.plots.overlay import HEAT, HEAT_RANGE


def heat_scale(figure: Figure, box: tuple[float, float, float, float]) -> None:
    """Draw the scale of the heat maps.

    Args:
        figure: receives it.
        box: left, bottom, width and height, in parts of the figure.
    """
    axes = figure.add_axes(box)
    colours = ScalarMappable(Normalize(*HEAT_RANGE), HEAT)
    figure.colorbar(colours, cax=axes).set_label("map (logit), the same for all", fontsize=8)
    axes.tick_params(labelsize=8)
