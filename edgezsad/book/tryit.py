"""The page "Try it": the model, its runtime, examples and the colours of heat maps, brought together for the browser.

The page's own scripts lie in `book/_static/tryit`; what they load is listed in `files.json` beside them, each with its
size and hash, and `page.js` reads that list when a reader gives the first photograph.
"""

import html
import shutil
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgezsad.book.runtime import Runtime, integrity
from edgezsad.checkpoints import GRAPH
from edgezsad.files import write_json, written_beside
from edgezsad.show.maps import HEAT_RANGE, heat_colours
from synthetic.image import Address, defective_image, normal_image

EXAMPLE_SIDE = 384
"""Pixels."""
JPEG_QUALITY = 88

OWN_SERVER = "Both come from this book's own server, and from nowhere else."
OTHER_SERVER = "The model comes from this book's own server; the runtime, whose hash is checked, from {}."


@dataclass(frozen=True)
class Example:
    """An image to try, made by the generator.

    Attributes:
        family: of the generator.
        index: the image's number.
        defective: whether it has a defect.
        title: what the page calls it.
    """

    family: str
    index: int
    defective: bool
    title: str

    @property
    def file(self) -> str:
        """Its name in the book."""
        return f"{self.family}-{'defective' if self.defective else 'normal'}.jpg"

    @property
    def truth(self) -> str:
        """In words."""
        return "with a defect" if self.defective else "without a defect"


# Chosen for what they show, faults of the detector among them: a page of successes alone would mislead.
EXAMPLES = (
    Example("button", 0, False, "Button"),
    Example("button", 0, True, "Button"),
    Example("wood", 1, True, "Wood"),
    Example("washer", 0, True, "Washer"),
)


@dataclass(frozen=True)
class TryIt:
    """What the page's text says.

    Attributes:
        megabytes: of runtime and model.
        size: side of the images that the model takes, in pixels.
        version: of ONNX Runtime Web.
        source: a sentence on where the runtime comes from.
        card: address of the page about the model.
        examples: the list's entries, HTML.
    """

    megabytes: float
    size: int
    version: str
    source: str
    card: str
    examples: str


def bring_together(prose: Path, runtime: Runtime) -> TryIt:
    """Put what the page loads into a staged book.

    Args:
        prose: the staged folder `book`, whose `_static/tryit` receives the files.
        runtime: from `edgezsad.book.runtime.find_runtime`.

    Returns:
        what the page's text asks for.
    """
    folder = prose / "_static" / "tryit"
    model = GRAPH.read_bytes()
    files = {"model": {"name": "model", "url": GRAPH.name, "bytes": len(model), "integrity": integrity(model)}}
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy2(GRAPH, folder)
    for use, file in runtime.files.items():
        where = "" if runtime.folder else runtime.address
        if runtime.folder:
            shutil.copy2(runtime.folder / file["file"], folder)
        known = {key: file[key] for key in ("bytes", "integrity")}
        files[use] = {"name": "runtime", "url": where + file["file"], **known}
    write_json(
        folder / "files.json",
        {"files": files, "heat": {"colours": heat_colours().tobytes().hex(), "range": list(HEAT_RANGE)}},
    )
    for example in EXAMPLES:
        write_example(example, folder / example.file)
    return TryIt(
        megabytes=sum(file["bytes"] for file in files.values()) / 1e6,
        size=input_side(model),
        version=runtime.version,
        source=OWN_SERVER if runtime.folder else OTHER_SERVER.format(runtime.address),
        card="model-card.html" if (prose / "model-card.md").is_file() else "howto-own-photographs.html",
        examples="\n".join(map(_entry, EXAMPLES)),
    )


def input_side(model: bytes) -> int:
    """Height and width in pixels of the images that a graph takes."""
    return onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim[3].dim_value


def write_example(example: Example, path: Path) -> None:
    """Draw an example and write it as JPEG; the same seed gives the same image every time."""
    # Slow to load, and only needed here.
    from PIL import Image

    side = (EXAMPLE_SIDE, EXAMPLE_SIDE)
    address = Address(0, "try-it", example.family, "test", example.index, side, False)
    image = defective_image(address)[0] if example.defective else normal_image(address)
    with written_beside(path) as temporary:
        Image.fromarray(image).save(temporary, quality=JPEG_QUALITY)


def _entry(example: Example) -> str:
    name = html.escape(f"{example.title}, {example.truth}")
    return (
        f'<li><button type="button" data-example="../_static/tryit/{example.file}" data-name="{name}">'
        f'<img src="../_static/tryit/{example.file}" alt="" width="{EXAMPLE_SIDE}" height="{EXAMPLE_SIDE}" '
        f'loading="lazy">{name}</button></li>'
    )
