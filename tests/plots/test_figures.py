"""The book's charts: what they show, and that nothing in them is told by colour alone."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from edgezsad.plots.figures import accuracy, training_curve
from edgezsad.plots.style import finished, styled


def test_accuracy_shows_every_seed_by_a_shape_of_its_own() -> None:
    rows = pd.DataFrame(
        {"target": ["bolts", "bolts", "nuts", "nuts"], "seed": [0, 1, 0, 1], "image_auroc": [70.0, 80.0, 90.0, 92.0]}
    )
    (axes,) = accuracy(rows).axes
    drawn = {tuple(map(float, place)) for points in axes.collections for place in points.get_offsets().data}
    assert {(70.0, 0.0), (80.0, 0.0), (90.0, 1.0), (92.0, 1.0)} == drawn
    assert [text.get_text() for text in axes.get_yticklabels()] == ["bolts", "nuts"]
    means = sorted(line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1)
    assert {75.0, 91.0} <= set(means)
    (points,) = axes.collections
    shapes = {path.vertices.shape[0] for path in points.get_paths()}
    assert len(shapes) == 2


def test_loss_terms_differ_by_their_dashes() -> None:
    steps = np.arange(20)
    curve = pd.DataFrame(
        {"step": steps, "gain": steps / 100} | dict.fromkeys(("image", "ranking", "global", "map"), 1.0)
    )
    left, right = training_curve(curve).axes
    dashes = [line.get_linestyle() + str(line._dash_pattern) for line in left.lines if len(line.get_xdata()) == 20]
    assert len(set(dashes)) == 4
    assert list(right.lines[0].get_ydata()) == pytest.approx(list(steps / 100))


def test_the_first_colours_differ_in_grey_too() -> None:
    with styled():
        figure, axes = plt.subplots()
        colours = [axes.plot([0, 1])[0].get_color() for _ in range(2)]
        finished(figure)
    grey = [np.dot(colour, (0.299, 0.587, 0.114)) for colour in colours]
    assert abs(grey[0] - grey[1]) > 0.15
