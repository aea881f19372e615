"""Synthetic defects on images of normal parts, with masks.

Pasting a texture in an irregular shape is what DRAEM (Zavrtanik et al., 2021) trains with, moving a piece of the image
itself what CutPaste (Li et al., 2021) does; the code and the other kinds are ours. Only pixels are known of an image,
not its geometry or light: a shape lies on the part where the part can be segmented, else anywhere.
"""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

from edgezsad.data.loading import Sample
from edgezsad.errors import InputError
from edgezsad.source.ground import Array, Ground, Random, fractal, grown, segment_part, smoothed, stroke, wander

ATTEMPTS = 12
"""Draws of a defect before a plain spot is used."""

LEAST_AREA, MOST_AREA = 0.0006, 0.2
"""Fraction of the image that a defect covers."""

TEXTURES = ("brick", "grass", "gravel", "coins", "moon", "coffee", "chelsea", "rocket", "page", "camera")
"""Images shipped with scikit-image, from which pieces are pasted."""


Kind = Callable[[Ground, Random], "Array | tuple[Array, Array] | None"]
"""Returns the changed pixels, with a mask if the change itself does not show it; None if impossible."""


def synthetic_defect(sample: Sample, random: Random, names: tuple[str, ...] | None = None) -> tuple[Sample, str]:
    """Put a synthetic defect on an image of a normal part.

    Args:
        sample: uint8 (S, S, 3).
        random: decides everything.
        names: kinds of defects (see `kind_weights`).

    Returns:
        The image with a bool (S, S) mask that is never empty, and the kind; "spot" if no draw was accepted.
    """
    pixels = sample.pixels.astype(np.float32)
    ground = Ground(pixels, segment_part(sample.pixels))
    weights = kind_weights(names)
    kinds, chances = list(weights), np.array(list(weights.values()))
    for _ in range(ATTEMPTS):
        kind = kinds[int(random.choice(len(kinds), p=chances / chances.sum()))]
        change = kind(ground, random)
        if change is not None and (accepted := _accept(ground, change)) is not None:
            return accepted, kind.__name__
    mask = np.zeros(pixels.shape[:2], np.uint8)
    cv2.circle(mask, random.integers(len(pixels) // 4, len(pixels) * 3 // 4, 2).tolist(), len(pixels) // 20, 1, -1)
    inside = mask > 0
    pixels[inside] = np.where(pixels[inside] > 100, pixels[inside] * 0.4, pixels[inside] + 100)
    return Sample(pixels.astype(np.uint8), inside), "spot"


def kind_weights(names: tuple[str, ...] | None = None) -> dict[Kind, float]:
    """Return the kinds with their probabilities: those in `names` with equal ones, or all of `DEFECTS`.

    Raises:
        InputError: unknown kind.
    """
    if names is None:
        return DEFECTS
    known = {kind.__name__: kind for kind in DEFECTS}
    if unknown := sorted(set(names) - set(known)):
        raise InputError(f"derive.defects: unknown kind of defect {unknown[0]!r}; use {', '.join(known)}")
    return {known[name]: 1.0 for name in names}


@cache
def textures() -> tuple[Array, ...]:
    """Load the images to paste from, uint8 (H, W, 3), scaled to a shorter side of 512 pixels."""
    from skimage import data  # slow to import

    found = []
    for image in (getattr(data, name)() for name in TEXTURES):
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
        scale = 512 / min(image.shape[:2])
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        found.append(cv2.resize(image, None, fx=scale, fy=scale, interpolation=way))
    return tuple(found)


def _accept(ground: Ground, change: Array | tuple[Array, Array]) -> Sample | None:
    """Return the changed image with its mask; None if the defect is hardly visible, too small or too large."""
    changed, mask = change if isinstance(change, tuple) else (change, None)
    changed = np.clip(changed, 0, 255).astype(np.float32)
    difference = np.abs(changed - ground.pixels).max(axis=2)
    if mask is not None:
        mask = mask & grown(difference > 6, 11)
        return Sample(changed.astype(np.uint8), mask) if mask.sum() >= 20 else None
    near = cv2.blur(difference, (3, 3))
    peak = float(near.max())
    if peak < 12:
        return None
    mask = (near > max(6, 0.25 * peak)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    area = float(mask.mean())
    # Texture hides a defect; a small one must stand out more to be found at all.
    grey = ground.pixels.mean(axis=2)
    detail = smoothed(np.abs(grey - smoothed(grey, 4)), 8)
    contrast = float(difference[mask].mean() / (detail[mask].mean() + 2))
    if not LEAST_AREA <= area <= MOST_AREA or contrast < (1.0 if area > 0.01 else 1.7):
        return None
    return Sample(changed.astype(np.uint8), mask)


def texture(ground: Ground, random: Random) -> Array:
    """Another material in an irregular shape, more or less transparent."""
    source = textures()[int(random.integers(len(TEXTURES)))]
    side = int(random.uniform(0.25, 1.0) * min(source.shape[:2]))
    top, left = (int(random.integers(0, length - side + 1)) for length in source.shape[:2])
    piece = cv2.resize(source[top : top + side, left : left + side], (ground.size, ground.size)).astype(np.float32)
    piece = np.rot90(piece, int(random.integers(4)))
    if random.random() < 0.5:
        piece = piece * random.uniform(0.5, 1.4) + random.uniform(-40, 40)
    gain = np.exp(random.normal(0, 0.25, 3)) if random.random() < 0.5 else np.ones(3)
    cover = ground.blob(random, roughness=random.uniform(0.3, 1)).cover(random.uniform(1, 4))
    return ground.blend(np.clip(piece * gain, 0, 255), cover * random.uniform(0.35, 1))


def moved_piece(ground: Ground, random: Random) -> Array:
    """A piece of the image itself, rotated, scaled and brightened, at a wrong position."""
    spot = ground.blob(random, roughness=random.uniform(0, 0.8))
    x, y = ground.position(random)
    move = cv2.getRotationMatrix2D((x, y), random.uniform(-180, 180), float(np.exp(random.uniform(-0.4, 0.4))))
    move[:, 2] += spot.x - x, spot.y - y
    piece = cv2.warpAffine(ground.pixels, move, (ground.size, ground.size), borderMode=cv2.BORDER_REFLECT)
    piece = np.clip(piece * random.uniform(0.6, 1.4) + random.uniform(-30, 30, 3), 0, 255)
    return ground.blend(piece, spot.cover(random.uniform(1, 3)))


def scratch(ground: Ground, random: Random) -> Array:
    """One to three nearly straight lines side by side."""
    start, angle, length = ground.position(random), random.uniform(0, 2 * np.pi), ground.length(random)
    lines = np.zeros((ground.size, ground.size), np.uint8)
    for _ in range(int(random.choice([1, 1, 2, 3]))):
        offset = start + random.normal(0, 0.02 * ground.size, 2)
        path = wander(random, offset, angle + random.normal(0, 0.1), length * random.uniform(0.5, 1), 0.02)
        stroke(lines, path, int(random.choice([1, 1, 2, 2, 3, 5])))
    return ground.draw_lines(random, lines)


def crack(ground: Ground, random: Random) -> Array:
    """A jagged line with branches, mostly dark."""
    angle, length = random.uniform(0, 2 * np.pi), ground.length(random)
    trunk, thickness = wander(random, ground.position(random), angle, length, 0.5), int(random.choice([1, 2, 2, 3]))
    lines = np.zeros((ground.size, ground.size), np.uint8)
    stroke(lines, trunk, thickness)
    for _ in range(int(random.integers(0, 4))):
        turn = random.choice([-1, 1]) * random.uniform(0.4, 1.3)
        branch = wander(random, trunk[int(random.integers(len(trunk)))], angle + turn, length * 0.4, 0.5)
        stroke(lines, branch, max(1, thickness - 1))
    dark = ground.pixels * random.uniform(0.05, 0.5)
    return ground.draw_lines(random, lines, None if random.random() < 0.3 else dark)


def fibre(ground: Ground, random: Random) -> Array:
    """A hair or thread across the part, also beyond its edge."""
    path = wander(random, ground.position(random), random.uniform(0, 2 * np.pi), 1.3 * ground.length(random), 0.12)
    lines = np.zeros((ground.size, ground.size), np.uint8)
    stroke(lines, path, int(random.choice([1, 2, 2, 3, 4])))
    return Ground(ground.pixels, None).draw_lines(random, lines)


def specks(ground: Ground, random: Random) -> Array:
    """Dirt: one or a few small grains close together."""
    middle, deviation = ground.position(random), ground.size * random.uniform(0.01, 0.12)
    grains = np.zeros((ground.size, ground.size), np.uint8)
    for _ in range(int(random.choice([1, 1, 2, 3, 5, 8]))):
        radius = max(1.2, ground.size * float(np.exp(random.uniform(np.log(0.004), np.log(0.022)))))
        centre = np.round((middle + random.normal(0, deviation, 2)) * 16).astype(int).tolist()
        axes = int(radius * 16), int(radius * 16 * random.uniform(0.3, 1))
        cv2.ellipse(grains, centre, axes, random.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA, 4)
    cover = smoothed(grains, random.uniform(0.5, 1.5)) / 255 * random.uniform(0.5, 1)
    return ground.blend(ground.other_colour(random, cover), cover)


def stain(ground: Ground, random: Random) -> Array:
    """A darker or lighter spot, sometimes with a dried rim."""
    spot = ground.blob(random, (0.02, 0.16), random.uniform(0.2, 0.9))
    gain = np.exp(-random.choice([-1, 1, 1]) * random.uniform(0.15, 1.1) * random.uniform(0.4, 1, 3))
    uneven = np.clip(1 + 0.3 * fractal(random, ground.size, 10), 0.3, 1.7)
    cover = spot.cover(spot.radius * random.uniform(0.2, 0.8)) * uneven
    changed = ground.pixels * (1 + cover[..., None] * (gain - 1))
    if random.random() < 0.3:
        rim = np.exp(-((spot.distance * spot.radius / random.uniform(1.5, 4)) ** 2))
        changed = changed * (1 - 0.4 * rim[..., None])
    return changed


def tint(ground: Ground, random: Random) -> Array:
    """Paint with a sharp edge; the shading shows through."""
    cover = ground.blob(random, (0.02, 0.16), random.uniform(0.2, 0.9)).cover(random.uniform(1, 3))
    light = ground.pixels.mean(axis=2, keepdims=True)
    mean = max(float((light[..., 0] * cover).sum() / max(cover.sum(), 1e-3)), 20)
    colour = ground.other_colour(random, cover) * (light / mean) ** random.uniform(0, 1)
    return ground.blend(colour, cover * random.uniform(0.35, 1))


def blurred(ground: Ground, random: Random) -> Array:
    """A region without texture."""
    spot = ground.blob(random, (0.03, 0.15))
    smooth = smoothed(ground.pixels, spot.radius * random.uniform(0.25, 0.7)) * random.uniform(0.8, 1.2)
    return ground.blend(smooth, spot.cover(spot.radius * 0.2))


def warped(ground: Ground, random: Random) -> Array:
    """A region pulled and twisted out of shape."""
    x, y = ground.position(random)
    radius = ground.size * random.uniform(0.05, 0.16)
    rows, columns = ground.grid()
    right, down = columns - x, rows - y
    pull = np.exp(-(((right**2 + down**2) / radius**2) ** random.uniform(1, 2)))
    angle, far, twist = random.uniform(0, 2 * np.pi), radius * random.uniform(0.25, 0.8), random.uniform(-1.2, 1.2)
    to_x = (columns - pull * (far * np.cos(angle) + twist * down)).astype(np.float32)
    to_y = (rows - pull * (far * np.sin(angle) - twist * right)).astype(np.float32)
    return cv2.remap(ground.pixels, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def dent(ground: Ground, random: Random) -> Array:
    """A dent, bulge or pit: one side lighter, the other darker."""
    spot = ground.blob(random, (0.015, 0.08), 0.3)
    depth = smoothed(spot.cover(spot.radius * random.uniform(0.4, 1)), max(1.0, spot.radius * 0.15))
    light = random.uniform(0, 2 * np.pi)
    slope_x, slope_y = cv2.Sobel(depth, cv2.CV_32F, 1, 0), cv2.Sobel(depth, cv2.CV_32F, 0, 1)
    shade = slope_x * np.cos(light) + slope_y * np.sin(light)
    changed = ground.pixels * np.exp(shade / (np.abs(shade).max() + 1e-6) * random.uniform(0.3, 1.3))[..., None]
    if random.random() < 0.5:
        changed = changed * (1 - depth * random.uniform(0.1, 0.9))[..., None]
    return changed


def broken_off(ground: Ground, random: Random) -> tuple[Array, Array] | None:
    """A piece of the part is gone and the background shows.

    The mask is the fracture alone: what is missing farther away cannot be distinguished from background.
    """
    behind = ground.background(random)
    if behind is None:
        return None
    rows, columns = ground.grid()
    jagged = (
        random.uniform(0, 0.05) * ground.size * fractal(random, ground.size, ground.size * random.uniform(0.05, 0.2))
    )
    if random.random() < 0.5:
        angle = random.uniform(0, 2 * np.pi)
        along = columns * np.cos(angle) + rows * np.sin(angle)
        beyond = along + jagged > np.percentile(along[ground.part], random.uniform(45, 96))
    else:
        outline = np.argwhere(ground.part & grown(~ground.part, 5))
        y, x = outline[int(random.integers(len(outline)))]
        beyond = np.hypot(columns - x, rows - y) + jagged < ground.size * random.uniform(0.03, 0.16)
    gone = beyond & ground.part
    edge = grown(gone, 3) & ground.part & ~beyond
    if not 0.004 * gone.size <= gone.sum() <= 0.75 * ground.part.sum() or edge.sum() < 5:
        return None
    # The part's shadow goes with it.
    changed = ground.blend(behind, smoothed(grown(gone, 23) & beyond, 1))
    if random.random() < 0.5:
        fresh = smoothed(grown(edge, 3), 1) * (ground.part & ~beyond)
        changed = changed * (1 + fresh * random.uniform(-0.4, 0.5))[..., None]
    return changed, grown(edge, 11)


def split(ground: Ground, random: Random) -> tuple[Array, Array] | None:
    """A wedge-shaped gap through the part, in which the background shows."""
    behind = ground.background(random)
    if behind is None:
        return None
    rows, columns = ground.grid()
    angle = random.uniform(0, 2 * np.pi)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    middle = np.percentile(along[ground.part], random.uniform(25, 75))
    near = across[ground.part & (np.abs(along - middle) < 4)]
    if len(near) < 10:
        return None
    share = (across - near.min()) / (near.max() - near.min() + 1e-3)
    narrow, wide = ground.size * random.uniform(-0.02, 0.03), ground.size * random.uniform(0.015, 0.08)
    width = np.maximum(0, narrow + (wide - narrow) * (share if random.random() < 0.5 else 1 - share))
    jagged = (
        random.uniform(0, 0.05) * ground.size * fractal(random, ground.size, ground.size * random.uniform(0.05, 0.2))
    )
    gap = np.abs(along - middle + jagged) < width / 2
    gone = gap & ground.part
    if gone.sum() < 0.002 * gone.size:
        return None
    return ground.blend(behind, smoothed(gap & grown(ground.part, 7), 0.8)), gone


DEFECTS: dict[Kind, float] = {
    texture: 0.16, moved_piece: 0.12, scratch: 0.09, crack: 0.07, fibre: 0.07, specks: 0.10, stain: 0.08, tint: 0.06,
    blurred: 0.03, warped: 0.07, dent: 0.05, broken_off: 0.06, split: 0.04,
}  # fmt: skip
"""Probability of each kind."""
