"""Synthetic defects on images of normal parts, with masks.

Pasting a texture in an irregular shape is what DRAEM (Zavrtanik et al., 2021) trains with, moving a piece of the image
itself what CutPaste (Li et al., 2021) does; the code and the other kinds are ours. Shapes are put on the part if known.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from edgezsad.data.loading import Sample
from edgezsad.errors import InputError

ATTEMPTS = 12  # draws of a defect before a plain spot is used
PART_AREA, DEFECT_AREA = (0.05, 0.85), (0.0006, 0.2)  # smallest and largest fraction of the image
TEXTURES = ("brick", "grass", "gravel", "coins", "moon", "coffee", "chelsea", "rocket", "page", "camera")
"""Images shipped with scikit-image, from which pieces are pasted."""

Array, Random = np.ndarray, np.random.Generator
# Returns the changed pixels, with a mask if the change itself does not show it; None if impossible.
Kind = Callable[["Ground", Random], "Array | tuple[Array, Array] | None"]


def synthetic_defect(sample: Sample, random: Random, names: tuple[str, ...] | None = None) -> tuple[Sample, str]:
    """Put a defect of a kind in `names` on an image; return it with its mask, never empty, and the kind or "spot"."""
    pixels = sample.pixels.astype(np.float32)
    ground = Ground(pixels, segment_part(sample.pixels))
    weights = kind_weights(names)
    kinds, chances = list(weights), np.array(list(weights.values()))
    for _ in range(ATTEMPTS):
        kind = kinds[int(random.choice(len(kinds), p=chances / chances.sum()))]
        change = kind(ground, random)
        if change is not None and (accepted := _accept(ground, change)) is not None:
            return accepted, kind.__name__
    x, y = random.uniform(0.25, 0.75, 2) * len(pixels)
    spot = np.hypot(*axes(pixels.shape[:2], centre=(x, y))) < len(pixels) / 20
    pixels[spot] = np.where(pixels[spot] > 100, pixels[spot] * 0.4, pixels[spot] + 100)
    return Sample(pixels.astype(np.uint8), spot), "spot"


def kind_weights(names: tuple[str, ...] | None = None) -> dict[Kind, float]:
    """Return the kinds with their probabilities: those in `names` (InputError if unknown), equally likely, or all."""
    known = {kind.__name__: kind for kind in DEFECTS}
    if unknown := sorted(set(names or ()) - set(known)):
        raise InputError(f"derive.defects: unknown kind of defect {unknown[0]!r}; use {', '.join(known)}")
    return DEFECTS if names is None else {known[name]: 1.0 for name in names}


def _accept(ground: "Ground", change: Array | tuple[Array, Array]) -> Sample | None:
    """Return the changed image with its mask; None if the defect is hardly visible, too small or too large."""
    changed, mask = change if isinstance(change, tuple) else (change, None)
    changed = np.clip(changed, 0, 255).astype(np.float32)
    difference = np.abs(changed - ground.pixels).max(axis=2)
    if mask is not None:
        mask = mask & grown(difference > 6, 11)
        return Sample(changed.astype(np.uint8), mask) if mask.sum() >= 20 else None
    near = cv2.blur(difference, (3, 3))
    mask = (near > max(6, 0.25 * float(near.max()))).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    area = float(mask.mean())
    if near.max() < 12 or not DEFECT_AREA[0] <= area <= DEFECT_AREA[1]:
        return None
    # Texture hides a defect; a small one must stand out more to be found at all.
    grey = ground.pixels.mean(axis=2)
    detail = blur(np.abs(grey - blur(grey, 4)), 8)
    visible = difference[mask].mean() >= (1.0 if area > 0.01 else 1.7) * (detail[mask].mean() + 2)
    return Sample(changed.astype(np.uint8), mask) if visible else None


@dataclass(frozen=True)
class Ground:
    """The image that a defect is put on: pixels float32 (S, S, 3), 0 to 255; the part's mask, or None if unknown."""

    pixels: Array
    part: Array | None

    @property
    def size(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int]:
        return self.size, self.size

    def position(self, random: Random) -> Array:
        """Draw a point (x, y), nearly always on the part if it is known."""
        if self.part is not None and random.random() < 0.9:
            points = np.argwhere(self.part)
            return points[int(random.integers(len(points)))][::-1].astype(float)
        return random.uniform(0.04, 0.96, 2) * self.size

    def length(self, random: Random, least: float = 0.06, most: float = 0.5) -> float:
        """Draw a length in pixels, in a range of fractions of the side."""
        return self.size * float(np.exp(random.uniform(np.log(least), np.log(most))))

    def blob(self, random: Random, least: float, most: float, roughness: float) -> tuple[Array, float, Array]:
        """Draw an irregular spot: signed distance (S, S), negative inside, radius and centre (x, y), all in pixels."""
        centre, radius = self.position(random), self.length(random, least, most)
        squash = np.sqrt(np.exp(random.uniform(0, np.log(3))))
        along, across = axes(self.shape, random.uniform(0, np.pi), centre)
        rough = 0.5 * radius * roughness * fractal(random, self.shape, max(radius * 0.8, 3))
        return np.hypot(along / squash, across * squash) - radius + rough, radius, centre

    def jagged(self, random: Random) -> Array:
        """Draw the roughness of a fracture, (S, S) pixels."""
        field = fractal(random, self.shape, self.size * random.uniform(0.05, 0.2))
        return random.uniform(0, 0.05) * self.size * field

    def blend(self, above: Array, opacity: Array) -> Array:
        """Blend `above` into the image with an opacity, (S, S)."""
        return self.pixels + (above - self.pixels) * opacity[..., None]

    def draw_lines(self, random: Random, lines: Array, dark: float = 0.0, beyond: bool = False) -> Array:
        """Blend lines, uint8 (S, S), into the image in a random colour, or darkened; `beyond` the part if wanted."""
        colour = self.pixels * dark if dark else self.other_colour(random, lines / np.float32(255))
        opacity = blur(lines, random.uniform(0.4, 1.2))
        opacity = opacity / max(float(opacity.max()), 1e-3)
        if self.part is not None and not beyond:
            opacity = opacity * blur(self.part, 1)
        return self.blend(colour, opacity * random.uniform(0.4, 1))

    def other_colour(self, random: Random, opacity: Array) -> Array:
        """Draw a colour (3,) that differs from the mean under an opacity."""
        own = (self.pixels * opacity[..., None]).sum(axis=(0, 1)) / max(float(opacity.sum()), 1e-3)
        step = random.uniform(35, 160) * (1 + random.uniform(0, 0.9) * random.uniform(-1, 1, 3))
        return np.clip(own + (step if own.mean() < random.uniform(60, 200) else -step), 0, 255).astype(np.float32)

    def background(self, random: Random) -> Array | None:
        """Extrapolate the background under the part, with its noise; None without a part or with too little around."""
        if self.part is None or (~grown(self.part, 13)).sum() < 50:
            return None
        seen = (~grown(self.part, 5)).astype(np.float32)
        smooth = blur(self.pixels * seen[..., None], self.size / 8) / (blur(seen, self.size / 8)[..., None] + 1e-3)
        noise = float((self.pixels - blur(self.pixels, 4))[seen > 0].std())
        return smooth + random.normal(0, 0.7 * noise, (*self.shape, 1)).astype(np.float32)


def segment_part(pixels: Array, single: bool = False) -> Array | None:
    """Segment the part, bool (S, S): the largest region that differs from the median colour of the image's border.

    None if the border has several colours or the size is wrong; with `single` also if other regions are large.
    """
    values, width = pixels.astype(np.float32), max(2, len(pixels) // 40)
    border = np.ones(pixels.shape[:2], bool)
    border[width:-width, width:-width] = False
    far = np.abs(values - np.median(values[border], axis=0)).max(axis=2)
    deviation = np.percentile(far[border], 85)
    differs = (blur(far, 2) > max(30, 1.5 * deviation)).astype(np.uint8)
    differs = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(differs)
    if deviation > 45 or count < 2:
        return None
    part = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    if single and part.sum() < 0.9 * (labels > 0).sum():
        return None
    return part if PART_AREA[0] <= part.mean() <= PART_AREA[1] else None


def draw_line(
    canvas: Array, random: Random, start: Array, angle: float, length: float, bend: float, widths: list[int]
) -> Array:
    """Draw a wandering white line that turns by about `bend` radians per three pixels; return its points (N, 2)."""
    turn = random.normal(0, bend * 0.3)
    points = [start]
    for _ in range(max(2, int(length / 3))):
        turn = 0.9 * turn + random.normal(0, bend * 0.35)
        angle += turn
        points.append(points[-1] + (3 * np.cos(angle), 3 * np.sin(angle)))
    path = np.round(np.array(points) * 16).astype(np.int32)
    cv2.polylines(canvas, [path], False, 255, int(random.choice(widths)), cv2.LINE_AA, 4)
    return np.array(points)


def blur(values: Array, sigma: float) -> Array:
    """Blur an array or a mask, returning float32."""
    return cv2.GaussianBlur(values.astype(np.float32), (0, 0), sigma)


def grown(mask: Array, pixels: int) -> Array:
    """Dilate a mask by half of `pixels` on every side."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((pixels, pixels), np.uint8)) > 0


# `axes`, `cover` and `fractal` are not those of `synthetic`: an edit of the generator must not change a derived source.
def axes(shape: tuple[int, int], angle: float = 0.0, centre: tuple[float, float] = (0, 0)) -> tuple[Array, Array]:
    """Return the coordinates of every pixel from a centre (x, y), along an angle and across."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    x, y, cos, sin = columns - centre[0], rows - centre[1], np.cos(angle), np.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def cover(distance: Array, softness: float) -> Array:
    """Opacity of a shape from its signed distance, with an edge `softness` pixels wide."""
    return np.clip(0.5 - distance / max(softness, 1e-3), 0, 1)


def fractal(random: Random, shape: tuple[int, int], cell: float) -> Array:
    """Sum of three smooth random fields, standard deviation about 1; the coarsest varies over `cell` pixels."""
    total = np.zeros(shape, np.float32)
    for octave in range(3):
        zoom = 2**octave / cell
        grid = random.standard_normal([int(np.ceil(shape[0] * zoom)) + 3] * 2, dtype=np.float32)
        shift_x, shift_y = random.random(2) + 0.5
        move, flags = np.array([[zoom, 0, shift_x], [0, zoom, shift_y]]), cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        total += 0.5**octave * cv2.warpAffine(grid, move, shape, flags=flags, borderMode=cv2.BORDER_REFLECT)
    return total * np.float32(1.3 / 1.15)


@cache
def textures() -> tuple[Array, ...]:
    """Load the images to paste from, uint8 (H, W, 3)."""
    from skimage import data  # slow to import

    images = [getattr(data, name)() for name in TEXTURES]
    return tuple(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image for image in images)


def texture(ground: Ground, random: Random) -> Array:
    """Another material in an irregular shape, more or less transparent."""
    source = textures()[int(random.integers(len(TEXTURES)))]
    side = int(random.uniform(0.25, 1.0) * min(source.shape[:2]))
    top, left = (int(random.integers(0, length - side + 1)) for length in source.shape[:2])
    piece = cv2.resize(source[top : top + side, left : left + side], ground.shape).astype(np.float32)
    piece = np.rot90(piece, int(random.integers(4)))
    if random.random() < 0.5:
        piece = piece * random.uniform(0.5, 1.4) * np.exp(random.normal(0, 0.2, 3)) + random.uniform(-40, 40)
    distance, _, _ = ground.blob(random, 0.015, 0.13, random.uniform(0.3, 1))
    opacity = cover(distance, random.uniform(1, 4)) * random.uniform(0.35, 1)
    return ground.blend(np.clip(piece, 0, 255), opacity)


def moved_piece(ground: Ground, random: Random) -> Array:
    """A piece of the image itself, rotated, scaled and brightened, at a wrong position."""
    distance, _, centre = ground.blob(random, 0.015, 0.13, random.uniform(0, 0.8))
    taken = ground.position(random)
    move = cv2.getRotationMatrix2D(taken, random.uniform(-180, 180), float(np.exp(random.uniform(-0.4, 0.4))))
    move[:, 2] += centre - taken
    piece = cv2.warpAffine(ground.pixels, move, ground.shape, borderMode=cv2.BORDER_REFLECT)
    piece = np.clip(piece * random.uniform(0.6, 1.4) + random.uniform(-30, 30, 3), 0, 255)
    return ground.blend(piece, cover(distance, random.uniform(1, 3)))


def scratch(ground: Ground, random: Random) -> Array:
    """One to three nearly straight lines side by side."""
    start, angle, length = ground.position(random), random.uniform(0, 2 * np.pi), ground.length(random)
    lines = np.zeros(ground.shape, np.uint8)
    for _ in range(int(random.choice([1, 1, 2, 3]))):
        offset = start + random.normal(0, 0.02 * ground.size, 2)
        turned, part = angle + random.normal(0, 0.1), length * random.uniform(0.5, 1)
        draw_line(lines, random, offset, turned, part, 0.02, [1, 1, 2, 2, 3, 5])
    return ground.draw_lines(random, lines)


def crack(ground: Ground, random: Random) -> Array:
    """A jagged line with branches, mostly dark."""
    angle, length, lines = random.uniform(0, 2 * np.pi), ground.length(random), np.zeros(ground.shape, np.uint8)
    trunk = draw_line(lines, random, ground.position(random), angle, length, 0.5, [1, 2, 2, 3])
    for _ in range(int(random.integers(0, 4))):
        turn, start = random.choice([-1, 1]) * random.uniform(0.4, 1.3), trunk[int(random.integers(len(trunk)))]
        draw_line(lines, random, start, angle + turn, length * 0.4, 0.5, [1, 1, 2])
    return ground.draw_lines(random, lines, 0.0 if random.random() < 0.3 else random.uniform(0.05, 0.5))


def fibre(ground: Ground, random: Random) -> Array:
    """A hair or thread across the part, also beyond its edge."""
    lines, angle, length = np.zeros(ground.shape, np.uint8), random.uniform(0, 2 * np.pi), ground.length(random)
    draw_line(lines, random, ground.position(random), angle, 1.3 * length, 0.12, [1, 2, 2, 3, 4])
    return ground.draw_lines(random, lines, beyond=True)


def specks(ground: Ground, random: Random) -> Array:
    """Dirt: one or a few small grains close together."""
    middle, deviation = ground.position(random), ground.size * random.uniform(0.01, 0.12)
    grains = np.zeros(ground.shape, np.uint8)
    for _ in range(int(random.choice([1, 1, 2, 3, 5, 8]))):
        radius = max(1.2, ground.length(random, 0.004, 0.022))
        centre = np.round((middle + random.normal(0, deviation, 2)) * 16).astype(int).tolist()
        ellipse = int(radius * 16), int(radius * 16 * random.uniform(0.3, 1))
        cv2.ellipse(grains, centre, ellipse, random.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA, 4)
    opacity = blur(grains, random.uniform(0.5, 1.5)) / 255 * random.uniform(0.5, 1)
    return ground.blend(ground.other_colour(random, opacity), opacity)


def stain(ground: Ground, random: Random) -> Array:
    """A darker or lighter spot, sometimes with a dried rim."""
    distance, radius, _ = ground.blob(random, 0.02, 0.16, random.uniform(0.2, 0.9))
    gain = np.exp(-random.choice([-1, 1, 1]) * random.uniform(0.15, 1.1) * random.uniform(0.4, 1, 3))
    uneven = np.clip(1 + 0.3 * fractal(random, ground.shape, 10), 0.3, 1.7)
    opacity = cover(distance, radius * random.uniform(0.2, 0.8)) * uneven
    changed = ground.pixels * (1 + opacity[..., None] * (gain - 1))
    if random.random() < 0.3:
        changed = changed * (1 - 0.4 * np.exp(-((distance / random.uniform(1.5, 4)) ** 2))[..., None])
    return changed


def tint(ground: Ground, random: Random) -> Array:
    """Paint with a sharp edge; the shading shows through."""
    distance, _, _ = ground.blob(random, 0.02, 0.16, random.uniform(0.2, 0.9))
    opacity = cover(distance, random.uniform(1, 3))
    light = ground.pixels.mean(axis=2, keepdims=True)
    mean = max(float((light[..., 0] * opacity).sum() / max(opacity.sum(), 1e-3)), 20)
    colour = ground.other_colour(random, opacity) * (light / mean) ** random.uniform(0, 1)
    return ground.blend(colour, opacity * random.uniform(0.35, 1))


def blurred(ground: Ground, random: Random) -> Array:
    """A region without texture."""
    distance, radius, _ = ground.blob(random, 0.03, 0.15, 0.5)
    smooth = blur(ground.pixels, radius * random.uniform(0.25, 0.7)) * random.uniform(0.8, 1.2)
    return ground.blend(smooth, cover(distance, radius * 0.2))


def warped(ground: Ground, random: Random) -> Array:
    """A region pulled and twisted out of shape."""
    (x, y), radius = ground.position(random), ground.size * random.uniform(0.05, 0.16)
    right, down = axes(ground.shape, centre=(x, y))
    pull = np.exp(-(((right**2 + down**2) / radius**2) ** random.uniform(1, 2)))
    angle, far, twist = random.uniform(0, 2 * np.pi), radius * random.uniform(0.25, 0.8), random.uniform(-1.2, 1.2)
    to_x = (x + right - pull * (far * np.cos(angle) + twist * down)).astype(np.float32)
    to_y = (y + down - pull * (far * np.sin(angle) - twist * right)).astype(np.float32)
    return cv2.remap(ground.pixels, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def dent(ground: Ground, random: Random) -> Array:
    """A dent, bulge or pit: one side lighter, the other darker."""
    distance, radius, _ = ground.blob(random, 0.015, 0.08, 0.3)
    depth = blur(cover(distance, radius * random.uniform(0.4, 1)), max(1.0, radius * 0.15))
    light = random.uniform(0, 2 * np.pi)
    shade = cv2.Sobel(depth, cv2.CV_32F, 1, 0) * np.cos(light) + cv2.Sobel(depth, cv2.CV_32F, 0, 1) * np.sin(light)
    changed = ground.pixels * np.exp(shade / (np.abs(shade).max() + 1e-6) * random.uniform(0.3, 1.3))[..., None]
    if random.random() < 0.5:
        changed = changed * (1 - depth * random.uniform(0.1, 0.9))[..., None]
    return changed


def broken_off(ground: Ground, random: Random) -> tuple[Array, Array] | None:
    """A piece of the part is gone and the background shows; the mask is the fracture, as the rest is background."""
    behind = ground.background(random)
    if behind is None:
        return None
    if random.random() < 0.5:
        along = axes(ground.shape, random.uniform(0, 2 * np.pi))[0]
        depth = along - np.percentile(along[ground.part], random.uniform(45, 96))
    else:
        outline = np.argwhere(ground.part & grown(~ground.part, 5))
        y, x = outline[int(random.integers(len(outline)))]
        depth = ground.size * random.uniform(0.03, 0.16) - np.hypot(*axes(ground.shape, centre=(x, y)))
    beyond = depth > ground.jagged(random)
    gone = beyond & ground.part
    edge = grown(gone, 3) & ground.part & ~beyond
    if not 0.004 * gone.size <= gone.sum() <= 0.75 * ground.part.sum() or edge.sum() < 5:
        return None
    # The part's shadow goes with it.
    changed = ground.blend(behind, blur(grown(gone, 23) & beyond, 1))
    if random.random() < 0.5:
        fresh = blur(grown(edge, 3), 1) * (ground.part & ~beyond)
        changed = changed * (1 + fresh * random.uniform(-0.4, 0.5))[..., None]
    return changed, grown(edge, 11)


def split(ground: Ground, random: Random) -> tuple[Array, Array] | None:
    """A wedge-shaped gap through the part, in which the background shows."""
    behind = ground.background(random)
    if behind is None:
        return None
    along, across = axes(ground.shape, random.uniform(0, 2 * np.pi))
    middle = np.percentile(along[ground.part], random.uniform(25, 75))
    near = across[ground.part & (np.abs(along - middle) < 4)]
    if len(near) < 10:
        return None
    share = (across - near.min()) / (np.ptp(near) + 1e-3)
    narrow, wide = ground.size * random.uniform(-0.02, 0.03), ground.size * random.uniform(0.015, 0.08)
    width = np.maximum(0, narrow + (wide - narrow) * share)
    gap = np.abs(along - middle + ground.jagged(random)) < width / 2
    gone = gap & ground.part
    if gone.sum() < 0.002 * gone.size:
        return None
    return ground.blend(behind, blur(gap & grown(ground.part, 7), 0.8)), gone


DEFECTS: dict[Kind, float] = {
    texture: 0.16, moved_piece: 0.12, scratch: 0.09, crack: 0.07, fibre: 0.07, specks: 0.10, stain: 0.08, tint: 0.06,
    blurred: 0.03, warped: 0.07, dent: 0.05, broken_off: 0.06, split: 0.04,
}  # fmt: skip
"""Probability of each kind."""
