"""Kinds of synthetic defects: each changes the pixels of a photograph as a real defect might.

They are not drawn into a scene that knows its light, as those of `synthetic` are, so that they look less
real; in return they come on real photographs. Pasting a texture in an irregular shape is what DRAEM (Zavrtanik et al.,
2021) trains with, moving a piece of the image itself what CutPaste (Li et al., 2021) does; the code and the other kinds
are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from edgezsad.errors import InputError
from edgezsad.source.shapes import Array, Random, blob, fractal, grown, line, place, soften, stroke


@dataclass(frozen=True)
class Ground:
    """What a defect is put on.

    Attributes:
        pixels: float32 (S, S, 3), 0 to 255.
        part: bool (S, S), where the part lies; None where it cannot be told.
        textures: uint8 (H, W, 3), to paste from.
    """

    pixels: Array
    part: np.ndarray | None
    textures: tuple[np.ndarray, ...]

    @property
    def size(self) -> int:
        """Side in pixels."""
        return len(self.pixels)


@dataclass(frozen=True)
class Change:
    """A photograph with a defect.

    Attributes:
        pixels: float32 (S, S, 3).
        mask: bool (S, S) where the defect is known to lie; None where the change itself tells.
    """

    pixels: Array
    mask: np.ndarray | None = None


def _laid(ground: Ground, above: np.ndarray, cover: Array) -> Change:
    return Change(ground.pixels + (above - ground.pixels) * cover[..., None])


def _unlike(ground: Ground, each: Random, cover: Array) -> np.ndarray:
    """A colour (3,) that differs from what lies under `cover`."""
    own = (ground.pixels * cover[..., None]).sum(axis=(0, 1)) / max(float(cover.sum()), 1e-3)
    for _ in range(10):
        if each.random() < 0.4:
            colour = own * np.exp(each.choice([-1, 1]) * each.uniform(0.3, 1.2))
        else:
            colour = each.uniform(0, 255) * (1 + each.uniform(0, 0.9) * each.uniform(-1, 1, 3))
        colour = np.clip(colour, 0, 255)
        if np.abs(colour - own).max() > 35:
            break
    return colour.astype(np.float32)


# ---- pieces ----------------------------------------------------------------------------------------------------


def texture(ground: Ground, each: Random) -> Change:
    """A piece of another material in an irregular shape, more or less transparent."""
    source = ground.textures[int(each.integers(len(ground.textures)))]
    side = int(each.uniform(0.25, 1.0) * min(source.shape[:2]))
    top, left = (int(each.integers(0, length - side + 1)) for length in source.shape[:2])
    piece = cv2.resize(source[top : top + side, left : left + side], (ground.size, ground.size)).astype(np.float32)
    piece = np.rot90(piece, int(each.integers(4)))
    if each.random() < 0.5:
        piece = piece * each.uniform(0.5, 1.4) + each.uniform(-40, 40)
    tint = np.exp(each.normal(0, 0.25, 3)) if each.random() < 0.5 else np.ones(3)
    cover = blob(each, ground.size, ground.part, roughness=each.uniform(0.3, 1)).cover(each.uniform(1, 4))
    return _laid(ground, np.clip(piece * tint, 0, 255), cover * np.float32(each.uniform(0.35, 1)))


def moved_piece(ground: Ground, each: Random) -> Change:
    """A piece of the image itself, turned, of another size and tone, where it does not belong."""
    spot = blob(each, ground.size, ground.part, roughness=each.uniform(0, 0.8))
    x, y = place(each, ground.size, ground.part)
    turn = cv2.getRotationMatrix2D((x, y), each.uniform(-180, 180), float(np.exp(each.uniform(-0.4, 0.4))))
    turn[:, 2] += spot.centre[0] - x, spot.centre[1] - y
    piece = cv2.warpAffine(ground.pixels, turn, (ground.size, ground.size), borderMode=cv2.BORDER_REFLECT)
    piece = np.clip(piece * each.uniform(0.6, 1.4) + each.uniform(-30, 30, 3), 0, 255)
    return _laid(ground, piece, spot.cover(each.uniform(1, 3)))


# ---- lines -----------------------------------------------------------------------------------------------------


def _line_of(ground: Ground, each: Random, drawn: Array, colour: np.ndarray, on_part: bool) -> Change:
    cover = soften(drawn, each.uniform(0.4, 1.2))
    cover = cover / max(float(cover.max()), 1e-3)
    if on_part and ground.part is not None:
        cover = cover * soften(ground.part, 1)
    return _laid(ground, colour, cover * np.float32(each.uniform(0.4, 1)))


def scratch(ground: Ground, each: Random) -> Change:
    """One to three nearly straight lines side by side."""
    start, angle = place(each, ground.size, ground.part), each.uniform(0, 2 * np.pi)
    length, drawn = _length(ground, each), np.zeros((ground.size, ground.size), np.float32)
    for _ in range(int(each.choice([1, 1, 2, 3]))):
        x, y = start + each.normal(0, 0.02 * ground.size, 2)
        points = line(each, (x, y), angle + each.normal(0, 0.1), length * each.uniform(0.5, 1), 0.02)
        drawn = np.maximum(drawn, stroke(ground.size, points, int(each.choice([1, 1, 2, 2, 3, 5]))))
    return _line_of(ground, each, drawn, _unlike(ground, each, drawn), on_part=True)


def crack(ground: Ground, each: Random) -> Change:
    """A jagged line with branches, mostly dark."""
    start, angle, length = place(each, ground.size, ground.part), each.uniform(0, 2 * np.pi), _length(ground, each)
    trunk, thickness = line(each, start, angle, length, 0.5), int(each.choice([1, 2, 2, 3]))
    drawn = stroke(ground.size, trunk, thickness)
    for _ in range(int(each.integers(0, 4))):
        x, y = trunk[int(each.integers(len(trunk)))]
        branch = line(each, (x, y), angle + each.choice([-1, 1]) * each.uniform(0.4, 1.3), length * 0.4, 0.5)
        drawn = np.maximum(drawn, stroke(ground.size, branch, max(1, thickness - 1)))
    dark = ground.pixels * np.float32(each.uniform(0.05, 0.5))
    return _line_of(ground, each, drawn, _unlike(ground, each, drawn) if each.random() < 0.3 else dark, on_part=True)


def fibre(ground: Ground, each: Random) -> Change:
    """A hair or thread that lies across, also beyond the part's edge."""
    start, angle = place(each, ground.size, ground.part), each.uniform(0, 2 * np.pi)
    points = line(each, start, angle, 1.3 * _length(ground, each), 0.12)
    drawn = stroke(ground.size, points, int(each.choice([1, 2, 2, 3, 4])))
    return _line_of(ground, each, drawn, _unlike(ground, each, drawn), on_part=False)


def _length(ground: Ground, each: Random) -> float:
    return ground.size * float(np.exp(each.uniform(np.log(0.06), np.log(0.5))))


# ---- spots -----------------------------------------------------------------------------------------------------


def specks(ground: Ground, each: Random) -> Change:
    """Dirt: one or a few small grains close together."""
    x, y = place(each, ground.size, ground.part)
    drawn, spread = np.zeros((ground.size, ground.size), np.uint8), ground.size * each.uniform(0.01, 0.12)
    for _ in range(int(each.choice([1, 1, 2, 3, 5, 8]))):
        radius = max(1.2, ground.size * float(np.exp(each.uniform(np.log(0.004), np.log(0.022)))))
        centre = np.round((np.array([x, y]) + each.normal(0, spread, 2)) * 16).astype(int)
        axes = int(radius * 16), int(radius * 16 * each.uniform(0.3, 1))
        cv2.ellipse(drawn, centre.tolist(), axes, each.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA, 4)
    cover = soften(drawn / np.float32(255), each.uniform(0.5, 1.5)) * np.float32(each.uniform(0.5, 1))
    return _laid(ground, _unlike(ground, each, cover), cover)


def stain(ground: Ground, each: Random) -> Change:
    """A spot that lets less light through, or more, sometimes with a rim where it dried."""
    spot = blob(each, ground.size, ground.part, (0.02, 0.16), each.uniform(0.2, 0.9))
    cover = spot.cover(spot.radius * each.uniform(0.2, 0.8))
    gain = np.exp(-each.choice([-1, 1, 1]) * each.uniform(0.15, 1.1) * each.uniform(0.4, 1, 3))
    uneven = np.clip(1 + 0.3 * fractal(each, cover.shape, 10, octaves=3, gain=0.5), 0.3, 1.7)
    changed = ground.pixels * (1 + (cover * uneven)[..., None] * (gain - 1))
    if each.random() < 0.3:
        rim = np.exp(-((spot.distance * spot.radius / each.uniform(1.5, 4)) ** 2))
        changed = changed * (1 - 0.4 * rim[..., None])
    return Change(changed)


def tint(ground: Ground, each: Random) -> Change:
    """Paint with a sharp edge, through which the shading shows more or less."""
    spot = blob(each, ground.size, ground.part, (0.02, 0.16), each.uniform(0.2, 0.9))
    cover = spot.cover(each.uniform(1, 3))
    light = ground.pixels.mean(axis=2, keepdims=True)
    mean = max(float((light[..., 0] * cover).sum() / max(cover.sum(), 1e-3)), 20)
    colour = _unlike(ground, each, cover) * (light / mean) ** each.uniform(0, 1)
    return _laid(ground, colour, cover * np.float32(each.uniform(0.35, 1)))


def blurred(ground: Ground, each: Random) -> Change:
    """A place where the texture is gone."""
    spot = blob(each, ground.size, ground.part, (0.03, 0.15))
    smooth = soften(ground.pixels, spot.radius * each.uniform(0.25, 0.7)) * np.float32(each.uniform(0.8, 1.2))
    return _laid(ground, smooth, spot.cover(spot.radius * 0.2))


# ---- form ------------------------------------------------------------------------------------------------------


def warped(ground: Ground, each: Random) -> Change:
    """A place that is bent: pulled and twisted out of form."""
    x, y = place(each, ground.size, ground.part)
    radius = ground.size * each.uniform(0.05, 0.16)
    rows, columns = np.mgrid[0 : ground.size, 0 : ground.size].astype(np.float32)
    along, down = columns - np.float32(x), rows - np.float32(y)
    pull = np.exp(-(((along**2 + down**2) / radius**2) ** each.uniform(1, 2)))
    angle, far, twist = each.uniform(0, 2 * np.pi), radius * each.uniform(0.25, 0.8), each.uniform(-1.2, 1.2)
    to_x = columns - pull * (far * np.cos(angle) + twist * down)
    to_y = rows - pull * (far * np.sin(angle) - twist * along)
    maps = to_x.astype(np.float32), to_y.astype(np.float32)
    return Change(cv2.remap(ground.pixels, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def dent(ground: Ground, each: Random) -> Change:
    """A dent, bulge or pit: one side lighter, the other darker."""
    spot = blob(each, ground.size, ground.part, (0.015, 0.08), 0.3)
    depth = soften(spot.cover(spot.radius * each.uniform(0.4, 1)), max(1.0, spot.radius * 0.15))
    light = each.uniform(0, 2 * np.pi)
    across, down = cv2.Sobel(depth, cv2.CV_32F, 1, 0), cv2.Sobel(depth, cv2.CV_32F, 0, 1)
    shade = across * np.cos(light) + down * np.sin(light)
    changed = ground.pixels * np.exp(shade / (np.abs(shade).max() + 1e-6) * each.uniform(0.3, 1.3))[..., None]
    if each.random() < 0.5:
        changed = changed * (1 - depth * each.uniform(0.1, 0.9))[..., None]
    return Change(changed)


# ---- breakage --------------------------------------------------------------------------------------------------


def broken_off(ground: Ground, each: Random) -> Change | None:
    """A piece of the part is gone and the background shows; None where there is no part, or too little goes.

    The mask is the fracture alone: what is missing further away cannot be told from background.
    """
    behind = _behind(ground, each)
    if behind is None:
        return None
    rows, columns = np.mgrid[0 : ground.size, 0 : ground.size].astype(np.float32)
    jagged = each.uniform(0, 0.05) * ground.size * _rough(ground, each)
    if each.random() < 0.5:
        angle = each.uniform(0, 2 * np.pi)
        along = columns * np.cos(angle) + rows * np.sin(angle)
        beyond = along + jagged > np.percentile(along[ground.part], each.uniform(45, 96))
    else:
        outline = ground.part & ~(cv2.erode(ground.part.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
        y, x = _one(each, outline)
        beyond = np.hypot(columns - x, rows - y) + jagged < ground.size * each.uniform(0.03, 0.16)
    gone = beyond & ground.part
    if not 0.004 * gone.size <= gone.sum() <= 0.75 * ground.part.sum():
        return None
    edge = grown(gone, 3) & ground.part & ~beyond
    if edge.sum() < 5:
        return None
    # The part's shadow goes with it.
    changed = _laid(ground, behind, soften(grown(gone, 23) & beyond, 1)).pixels
    if each.random() < 0.5:
        fresh = soften(grown(edge, 3), 1) * (ground.part & ~beyond)
        changed = changed * (1 + fresh * each.uniform(-0.4, 0.5))[..., None]
    return Change(changed, grown(edge, 11))


def split(ground: Ground, each: Random) -> Change | None:
    """A gap through the part, in which the background shows; None where there is no part, or no gap."""
    behind = _behind(ground, each)
    if behind is None:
        return None
    rows, columns = np.mgrid[0 : ground.size, 0 : ground.size].astype(np.float32)
    angle = each.uniform(0, 2 * np.pi)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    middle = np.percentile(along[ground.part], each.uniform(25, 75))
    near = across[ground.part & (np.abs(along - middle) < 4)]
    if len(near) < 10:
        return None
    # A wedge: it opens from one end of the part to the other.
    share = (across - near.min()) / (near.max() - near.min() + 1e-3)
    narrow, wide = ground.size * each.uniform(-0.02, 0.03), ground.size * each.uniform(0.015, 0.08)
    width = np.maximum(0, narrow + (wide - narrow) * (share if each.random() < 0.5 else 1 - share))
    gap = np.abs(along - middle + each.uniform(0, 0.05) * ground.size * _rough(ground, each)) < width / 2
    gone = gap & ground.part
    if gone.sum() < 0.002 * gone.size:
        return None
    return Change(_laid(ground, behind, soften(gap & grown(ground.part, 7), 0.8)).pixels, gone)


def _rough(ground: Ground, each: Random) -> Array:
    return fractal(each, (ground.size, ground.size), ground.size * each.uniform(0.05, 0.2), octaves=3, gain=0.5)


def _one(each: Random, mask: np.ndarray) -> tuple[int, int]:
    """(row, column) of one place of a mask."""
    places = np.argwhere(mask)
    row, column = places[int(each.integers(len(places)))]
    return int(row), int(column)


def _behind(ground: Ground, each: Random) -> Array | None:
    """The background as it would show under the part: what lies around it, smoothed, with as much noise."""
    if ground.part is None:
        return None
    seen = cv2.erode((~ground.part).astype(np.float32), np.ones((5, 5), np.uint8), borderValue=1)
    if cv2.erode(seen, np.ones((9, 9), np.uint8)).sum() < 50:
        return None
    reach = ground.size / 8
    smooth = soften(ground.pixels * seen[..., None], reach) / (soften(seen, reach)[..., None] + 1e-3)
    noise = float((ground.pixels - soften(ground.pixels, 4))[seen > 0].std())
    return smooth + each.normal(0, 0.7 * noise, (ground.size, ground.size, 1)).astype(np.float32)


Defect = Callable[[Ground, Random], Change | None]

DEFECTS: dict[Defect, float] = {
    texture: 0.16,
    moved_piece: 0.12,
    scratch: 0.09,
    crack: 0.07,
    fibre: 0.07,
    specks: 0.10,
    stain: 0.08,
    tint: 0.06,
    blurred: 0.03,
    warped: 0.07,
    dent: 0.05,
    broken_off: 0.06,
    split: 0.04,
}
"""How likely each kind is."""


def mixture(names: tuple[str, ...] | None = None) -> dict[Defect, float]:
    """How likely each kind is: the named ones alike, or all of `DEFECTS`.

    Raises:
        InputError: there is no kind of that name.
    """
    if names is None:
        return DEFECTS
    known = {kind.__name__: kind for kind in DEFECTS}
    if unknown := sorted(set(names) - set(known)):
        raise InputError(f"derive.defects: unknown kind of defect {unknown[0]!r}; use {', '.join(known)}")
    return {known[name]: 1.0 for name in names}
