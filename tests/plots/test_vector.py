"""Figures as SVG: the same text for the same drawing, light, pictures kept, and shown by a notebook once."""

import base64
import io
import re
import xml.etree.ElementTree as ET

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from edgezsad.plots.style import finished, styled
from edgezsad.plots.vector import svg


def chart() -> Figure:
    with styled():
        figure, axes = plt.subplots(figsize=(3, 2))
        axes.plot([0, 1, 2], [0.123456, 1, 4], marker="o", label="a line")
        axes.legend()
        return finished(figure)


def photographs(*pictures: np.ndarray) -> Figure:
    figure, grid = plt.subplots(1, len(pictures), squeeze=False)
    for axes, picture in zip(grid.flat, pictures, strict=True):
        axes.imshow(picture, interpolation="none")
        axes.axis("off")
    return finished(figure)


def pictures_in(text: str) -> list[Image.Image]:
    found = re.findall(r"data:image/(?:png|webp);base64,([A-Za-z0-9+/=]+)", text)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_the_same_drawing_gives_the_same_text() -> None:
    assert svg(chart()) == svg(chart())


def test_it_is_one_element_without_comments_and_metadata() -> None:
    text = svg(chart())
    assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "<!--" not in text and "<metadata" not in text and not re.search(r"\d{4}-\d\d-\d\d", text)


def test_every_name_is_pointed_at_and_every_pointer_has_its_name() -> None:
    text = svg(chart())
    names = set(re.findall(r'\bid="([^"]+)"', text))
    pointers = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    assert names == pointers and len(names) > 5


def test_coordinates_keep_two_digits() -> None:
    numbers = [number for path in re.findall(r' d="([^"]+)"', svg(chart())) for number in re.findall(r"\.\d+", path)]
    assert numbers and max(map(len, numbers)) <= 3


def test_a_photograph_keeps_its_own_pixels_and_becomes_small() -> None:
    from skimage import data

    photograph = data.astronaut()[:200, :300]
    mask = np.zeros((50, 60, 3), np.uint8)
    mask[10:20, 10:20] = 255
    text = svg(photographs(photograph, mask))
    first, second = pictures_in(text)
    assert first.size == (300, 200) and second.size == (60, 50)
    assert "pixelated" not in text
    assert np.abs(np.asarray(first.convert("RGB")).astype(int) - photograph).mean() < 4
    # What has few colours is kept to the bit.
    assert np.array_equal(np.asarray(second.convert("RGB")), mask)
    png = io.BytesIO()
    Image.fromarray(photograph).save(png, "png")
    assert len(text) < len(png.getvalue()) / 2


def test_see_through_parts_stay_see_through() -> None:
    picture = np.zeros((20, 30, 4), np.uint8)
    picture[:, 15:] = (200, 100, 50, 255)
    (found,) = pictures_in(svg(photographs(picture)))
    assert np.array_equal(np.asarray(found.convert("RGBA"))[..., 3], picture[..., 3])


def test_a_notebook_shows_a_figure_once_as_svg(capsys: pytest.CaptureFixture[str]) -> None:
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    try:
        shell.display_pub = CapturingDisplayPublisher()
        figure = chart()
        # What a notebook does with a cell's last value: nothing is left for it to draw.
        assert shell.display_formatter.format(figure) == ({}, {})
        (shown,) = shell.display_pub.outputs
        assert shown["data"]["image/svg+xml"] == svg(figure)
        assert set(shown["data"]) == {"image/svg+xml", "text/plain"}
    finally:
        InteractiveShell.clear_instance()
    assert not plt.get_fignums()
