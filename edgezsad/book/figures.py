"""Figures of executed notebooks as a page shows them: caption, alternative text, colours that follow the page.

A chart becomes part of the page itself, since a drawing behind `<img>` cannot be told which colours its reader has
chosen. Caption and alternative text stand in the metadata of the notebook's cell, where MyST-NB has them too.
"""

import re
from hashlib import sha256
from html import escape
from typing import Any

from edgezsad.errors import CheckError

PICTURES = ("image/svg+xml", "image/png", "image/jpeg")
GREY = re.compile(r"#([0-9a-f]{2})\1\1\b")


def place_figures(content: dict[str, Any], notebook: str) -> None:
    """Turn every SVG output of a notebook into a captioned figure; other pictures MyST-NB captions itself.

    Args:
        content: the notebook, changed in place.
        notebook: its name, for the error.

    Raises:
        CheckError: a figure has no caption or no alternative text.
    """
    for cell in content["cells"]:
        about = cell["metadata"].get("mystnb", {})
        alt, caption = about.get("image", {}).get("alt"), about.get("figure", {}).get("caption")
        name = ""
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            # Where one cell shows several figures, the line above each says which it is.
            name = _plain(data["text/markdown"]) if "text/markdown" in data else name
            if not any(kind in data for kind in PICTURES):
                continue
            if not alt or not caption:
                raise CheckError(
                    f"{notebook}: a figure without caption or alternative text; give its cell the metadata "
                    'mystnb: {image: {alt: "..."}, figure: {caption: "..."}}'
                )
            if "image/svg+xml" in data:
                named = f"{name}. {alt}" if name else alt
                html = figure("".join(data["image/svg+xml"]), named, f"{name}. {caption}" if name else caption)
                output["data"] = {"text/html": html, "text/plain": data.get("text/plain", "")}
                # Or MyST-NB would caption it once more, and the lines between figures too.
                about.pop("figure", None)


def figure(svg: str, alt: str, caption: str) -> str:
    """An SVG drawing as the HTML of a figure.

    Args:
        svg: one `<svg>` element, as `edgezsad.show.charts` writes it.
        alt: alternative text, which readers who do not see it hear.
        caption: the line below it.
    """
    drawing = themed(_own_names(svg)).replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
    text = f'<p><span class="caption-text">{escape(caption)}</span></p>'
    return f'<figure class="chart align-default">\n{drawing}\n<figcaption>{text}</figcaption>\n</figure>'


def themed(svg: str) -> str:
    """The drawing with every grey as so much of the page's ink on the page's ground, instead of black on white.

    The page's style sheet sets `--ink` and `--ground`.
    """
    greys = sorted(set(GREY.findall(svg)))
    mixes = {
        grey: f"--grey-{grey}: color-mix(in srgb, var(--ground) {100 * int(grey, 16) / 255:.0f}%, var(--ink))"
        for grey in greys
    }
    drawing = GREY.sub(lambda found: f"var(--grey-{found[1]})", svg)
    # Matplotlib leaves out the fill where it is black.
    style = "; ".join(["fill: var(--ink)", *mixes.values()])
    return drawing.replace("<svg", f'<svg style="{style}"', 1)


def _own_names(svg: str) -> str:
    """Names that no other drawing of the page has; they are inside one page now."""
    own = "c" + sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{own}-\1"', svg)
    return re.sub(r'(href="|url\()#([^")]+)', rf"\1#{own}-\2", svg)


def _plain(markdown: str | list[str]) -> str:
    return re.sub(r"[*_`#]", "", "".join(markdown)).strip()
