"""A figure as SVG: sharp at any size, its photographs inside, and small enough to lie in the page itself.

What matplotlib writes is made lighter here: no comments and metadata, no names that nothing points to, coordinates to a
hundredth of a point, and pictures in the smallest of the codings that every browser reads.
"""

import base64
import io
import re

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image, features

DOTS = 200
"""Dots an inch of what is drawn as pixels: clouds of points, which are many as shapes."""

QUALITY = 84
"""Of photographs inside a figure; 100 is best. They are shown small, to be looked at and not measured."""

PICTURE = re.compile(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)")
# Matplotlib asks for hard pixels, which would show on a screen that is finer than the photograph.
HARD_PIXELS = ' style="image-rendering:crisp-edges;image-rendering:pixelated"'


def svg(figure: Figure) -> str:
    """The figure as one `<svg>` element, the same text for the same drawing.

    Photographs should be drawn with `interpolation="none"`: then their own pixels are kept, not the figure's.
    """
    buffer = io.StringIO()
    # Text as outlines: it looks the same where the font is not installed.
    with plt.rc_context({"svg.fonttype": "path", "svg.hashsalt": "edgezsad", "svg.image_inline": True}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", dpi=DOTS, bbox_inches="tight", pad_inches=0.05, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = PICTURE.sub(lambda found: _smallest(base64.b64decode(found[1])), text).replace(HARD_PIXELS, "")
    pointed_at = set(re.findall(r'#([^")]+)["\)]', text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in pointed_at else "", text)
    text = re.sub(r' d="[^"]+"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    return re.sub(r"\s*\n\s*", "\n", text)


def show(figure: Figure) -> None:
    """Show a figure in a notebook, as SVG instead of the pixels that a notebook would make of it."""
    # Not needed to draw.
    from IPython.display import display

    display({"image/svg+xml": svg(figure), "text/plain": repr(figure)}, raw=True)


def _smallest(png: bytes) -> str:
    """A picture's data address: the PNG as it is, or WebP where that is smaller; see-through ones without loss."""
    best = "image/png", png
    if features.check("webp"):
        image = Image.open(io.BytesIO(png))
        opaque = "A" not in image.mode or image.getchannel("A").getextrema()[0] == 255
        choices = [{"lossless": True}, {"quality": QUALITY}] if opaque else [{"lossless": True}]
        for choice in choices:
            buffer = io.BytesIO()
            (image.convert("RGB") if opaque else image).save(buffer, "webp", method=6, **choice)
            if len(buffer.getvalue()) < len(best[1]):
                best = "image/webp", buffer.getvalue()
    return f"data:{best[0]};base64,{base64.b64encode(best[1]).decode('ascii')}"
