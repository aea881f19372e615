"""Scenes in layers (colour, height, gloss), and the registry of families that render them.

Defects change layers; the light is computed afterwards. All arrays are float32, (height, width) first.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edgezsad.errors import InputError

Array = NDArray[np.float32]
Random = np.random.Generator
Size = tuple[int, int]  # (height, width) in pixels


@dataclass
class Component:
    """A small part of a scene that can be missing or misplaced: a resistor, a pin, a printed mark."""

    albedo: Array  # (h, w, 3) reflectance, 0 to 1
    cover: Array  # (h, w) opacity, 0 to 1
    height: Array  # (h, w) in pixels above its ground
    gloss: float  # strength of its highlight
    x: float = 0.0  # centre on the scene in pixels
    y: float = 0.0
    angle: float = 0.0  # rotation in degrees
    lift: float = 0.5  # strength of its shadow; 0 for print


@dataclass
class Scene:
    """Everything about one image except light and camera."""

    albedo: Array  # (H, W, 3) reflectance, 0 to 1
    height: Array  # (H, W) relief towards the camera, in pixels
    gloss: Array  # (H, W) strength of the highlight
    region: Array  # (H, W) 1 where a defect may lie: on the part
    lift: Array  # (H, W) strength of the shadow; 0 on the background
    behind: Array  # (H, W, 3) reflectance of the background, seen where a piece is broken off
    components: list[Component] = field(default_factory=list)  # pasted by `assembled`

    @property
    def size(self) -> Size:
        return self.height.shape[0], self.height.shape[1]

    def assembled(self) -> "Scene":
        """Return a new scene with the components pasted in their order."""
        layers = {name: getattr(self, name).copy() for name in ("albedo", "height", "gloss", "region", "lift")}
        scene = replace(self, **layers, components=[])
        for component in self.components:
            _paste(scene, component)
        return scene

    def lay(self, cover: Array, albedo: Array, height: Array | float, gloss: float, lift: float = 1.0) -> None:
        """Put a part with opacity `cover`, (H, W), on top; its layers replace what was there."""
        self.tint(cover, albedo)
        self.height += (np.asarray(height, np.float32) - self.height) * cover
        self.gloss += (np.asarray(gloss, np.float32) - self.gloss) * cover
        self.lift += (np.float32(lift) - self.lift) * cover

    def tint(self, cover: Array, colour: Array | float) -> None:
        """Blend in a colour with opacity `cover`, (H, W)."""
        self.albedo += (np.asarray(colour, np.float32) - self.albedo) * cover[..., None]


def sheet(albedo: Array, height: Array, gloss: float | Array = 0.0) -> Scene:
    """Make a surface that fills the image from `albedo`, (H, W, 3), and `height`, (H, W)."""
    size, albedo = height.shape, np.clip(albedo, 0.01, 1, dtype=np.float32)
    shiny = np.broadcast_to(np.asarray(gloss, np.float32), size).copy()
    ones = np.ones(size, np.float32)
    # A torn or chipped surface shows its own colour, dark and even.
    behind = np.broadcast_to(albedo.mean(axis=(0, 1)) * 0.35, (*size, 3)).astype(np.float32)
    return Scene(albedo, height.astype(np.float32), shiny, ones, np.zeros(size, np.float32), behind)


def _paste(scene: Scene, item: Component) -> None:
    """Paste one component, rotated about its centre, cut at the image's border."""
    rows, columns = item.cover.shape
    reach = int(np.ceil(np.hypot(rows, columns) / 2)) + 2
    left, top, side = int(np.floor(item.x)) - reach, int(np.floor(item.y)) - reach, 2 * reach + 1
    turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), item.angle, 1.0)
    turn[:, 2] += (item.x - left - (columns - 1) / 2, item.y - top - (rows - 1) / 2)
    # Colour is enlarged at its border, so that the blend at the edge does not pull in black.
    albedo = cv2.warpAffine(item.albedo, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
    cover, height = (cv2.warpAffine(layer, turn, (side, side)) for layer in (item.cover, item.height))
    y0, y1 = max(top, 0), min(top + side, scene.size[0])
    x0, x1 = max(left, 0), min(left + side, scene.size[1])
    if y0 >= y1 or x0 >= x1:
        return
    there, here = (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    part = cover[here]
    scene.albedo[there] += (albedo[here] - scene.albedo[there]) * part[..., None]
    scene.height[there] += height[here] * part
    scene.gloss[there] += (np.float32(item.gloss) - scene.gloss[there]) * part
    scene.lift[there] += np.float32(item.lift) * part
    if item.lift > 0:
        # A body can have defects anywhere; print only where its ground can.
        scene.region[there] = np.maximum(scene.region[there], part)


# (style, each, size) -> scene. `style` draws what the images of a category share, `each` what differs.
Renderer = Callable[[Random, Random, Size], Scene]


@dataclass(frozen=True)
class Family:
    """A kind of surface or part: how to render a normal scene, and the kinds of defect that it can have."""

    render: Renderer
    defects: tuple[str, ...]


FAMILIES: dict[str, Family] = {}  # by name; filled by the modules `surfaces`, `parts` and `assemblies`


def family(*defects: str) -> Callable[[Renderer], Renderer]:
    """Register a renderer as a family under its own name."""

    def register(render: Renderer) -> Renderer:
        FAMILIES[render.__name__] = Family(render, defects)
        return render

    return register


def families() -> tuple[str, ...]:
    """Return the names of all families, sorted."""
    return tuple(sorted(FAMILIES))


def find(name: str) -> Family:
    """Return the family of that name; InputError if it is unknown."""
    if name not in FAMILIES:
        near = difflib.get_close_matches(name, FAMILIES, n=1, cutoff=0)
        raise InputError(f"unknown generated family {name!r}; did you mean {near[0]}?")
    return FAMILIES[name]
