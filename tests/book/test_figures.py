"""Figures on their way from an executed notebook into a page."""

import re
from typing import Any

import pytest

from edgezsad.book.figures import place_figures, themed
from edgezsad.errors import CheckError

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg"><defs><path id="tick" d="M 0 0"/></defs>'
    '<g style="stroke: #262626; fill: #ffffff"><use xlink:href="#tick"/></g>'
    '<g clip-path="url(#tick)" style="fill: #0173b2; stroke: #000000"/></svg>'
)


def notebook(*data: dict[str, Any], **about: dict[str, str]) -> dict[str, Any]:
    outputs = [{"output_type": "display_data", "data": one} for one in data]
    return {
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": "words"},
            {"cell_type": "code", "metadata": {"mystnb": about}, "outputs": outputs},
        ]
    }


def test_a_chart_gets_caption_and_alternative_text() -> None:
    content = notebook({"image/svg+xml": [SVG]}, image={"alt": 'dots, "a" & <b>'}, figure={"caption": "x < y"})
    place_figures(content, "06")
    html = content["cells"][1]["outputs"][0]["data"]["text/html"]
    assert 'role="img" aria-label="dots, &quot;a&quot; &amp; &lt;b&gt;"' in html
    assert '<span class="caption-text">x &lt; y</span>' in html
    assert html.startswith("<figure") and html.count("<svg") == 1


def test_of_several_figures_each_says_which_it_is() -> None:
    content = notebook(
        {"text/markdown": "**bolts**"},
        {"image/svg+xml": SVG},
        {"text/markdown": ["**nuts**", ", stands for VisA"]},
        {"image/svg+xml": SVG.replace("0173b2", "d55e00")},
        image={"alt": "rows"},
        figure={"caption": "hits"},
    )
    place_figures(content, "10")
    first, second = (content["cells"][1]["outputs"][at]["data"]["text/html"] for at in (1, 3))
    assert 'aria-label="bolts. rows"' in first and "bolts. hits" in first
    assert 'aria-label="nuts, stands for VisA. rows"' in second
    names = [set(re.findall(r'\bid="([^"]+)"', html)) for html in (first, second)]
    assert names[0] and not names[0] & names[1]
    for html, (name,) in zip((first, second), names, strict=True):
        assert f'href="#{name}"' in html and f"url(#{name})" in html


@pytest.mark.parametrize("about", [{}, {"image": {"alt": "a"}}, {"figure": {"caption": "c"}}])
@pytest.mark.parametrize("kind", ["image/svg+xml", "image/png"])
def test_a_figure_without_caption_or_text_is_refused(about: dict[str, Any], kind: str) -> None:
    with pytest.raises(CheckError, match=r"06\.ipynb: a figure without caption or alternative text"):
        place_figures(notebook({kind: SVG}, **about), "06.ipynb")


def test_tables_and_pictures_of_pixels_are_left_to_the_book() -> None:
    content = notebook({"text/html": "<table>"}, {"image/png": "abc"}, image={"alt": "a"}, figure={"caption": "c"})
    place_figures(content, "06")
    assert [output["data"] for output in content["cells"][1]["outputs"]] == [
        {"text/html": "<table>"},
        {"image/png": "abc"},
    ]


def test_greys_become_ink_on_the_page_s_ground_and_colours_stay() -> None:
    drawing = themed(SVG)
    assert "#0173b2" in drawing
    assert not re.search(r"#(262626|ffffff|000000)", drawing)
    assert "stroke: var(--grey-26); fill: var(--grey-ff)" in drawing
    assert "--grey-26: color-mix(in srgb, var(--ground) 15%, var(--ink))" in drawing
    assert "--grey-ff: color-mix(in srgb, var(--ground) 100%, var(--ink))" in drawing
    # Black without a fill of its own is what matplotlib writes least of.
    assert '<svg style="fill: var(--ink); --grey-00' in drawing
