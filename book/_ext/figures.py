"""Captions, alternative text and page colours for the figures of executed notebooks.

SVG charts are inlined, because a drawing inside `<img>` cannot follow the page's colour scheme. Caption and alternative
text come from the metadata of the notebook's cell: `mystnb: {image: {alt: "..."}, figure: {caption: "..."}}`.
"""

import re
from hashlib import sha256
from html import escape
from typing import Any

from edgezsad.errors import CheckError

IMAGE_TYPES = ("image/svg+xml", "image/png", "image/jpeg")
GREY = re.compile(r"#([0-9a-f]{2})\1\1\b")


def place_figures(content: dict[str, Any], notebook: str) -> None:
    """Replace every SVG output by a captioned figure; a CheckError if a figure has no caption or alternative text.

    MyST-NB captions the other images itself.
    """
    for cell in content["cells"]:
        about = cell["metadata"].get("mystnb", {})
        alt, caption = about.get("image", {}).get("alt"), about.get("figure", {}).get("caption")
        heading = ""
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/markdown" in data:
                # In a cell with several figures, the line above each is its heading.
                heading = re.sub(r"[*_`#]", "", "".join(data["text/markdown"])).strip() + ". "
            if not any(kind in data for kind in IMAGE_TYPES):
                continue
            if not alt or not caption:
                raise CheckError(
                    f"{notebook}: figure without caption or alternative text; give its cell the metadata "
                    'mystnb: {image: {alt: "..."}, figure: {caption: "..."}}'
                )
            if "image/svg+xml" in data:
                html = inline_figure("".join(data["image/svg+xml"]), heading + alt, heading + caption)
                output["data"] = {"text/html": html, "text/plain": data.get("text/plain", "")}
                # Otherwise MyST-NB adds the caption a second time.
                about.pop("figure", None)


def inline_figure(svg: str, alt: str, caption: str) -> str:
    """Return matplotlib's SVG as an HTML figure whose greys follow the page's colours `--ink` and `--ground`."""
    svg = svg[svg.index("<svg") :]
    # Identifiers must be unique within a page.
    prefix = "c" + sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(href="|url\()#([^")]+)', rf"\1#{prefix}-\2", svg)
    # matplotlib omits a black fill.
    style = ["fill: var(--ink)"]
    for grey in sorted(set(GREY.findall(svg))):
        share = f"{100 * int(grey, 16) / 255:.0f}%"
        style.append(f"--grey-{grey}: color-mix(in srgb, var(--ground) {share}, var(--ink))")
    svg = GREY.sub(lambda found: f"var(--grey-{found[1]})", svg)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}" style="{"; ".join(style)}"', 1)
    text = f'<p><span class="caption-text">{escape(caption)}</span></p>'
    return f'<figure class="chart align-default">\n{svg}\n<figcaption>{text}</figcaption>\n</figure>'
