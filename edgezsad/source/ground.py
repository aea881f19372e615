"""The image that a synthetic defect is put on: its part, random positions, shapes, colours and lines."""

from dataclasses import dataclass

import cv2
import numpy as np

PART_LEAST, PART_MOST = 0.05, 0.85
"""Fraction of the image that a part covers."""

Array = np.ndarray
Random = np.random.Generator


@dataclass(frozen=True)
class Ground:
    """The image that a defect is put on: pixels float32 (S, S, 3), 0 to 255; the part's mask, or None if unknown."""

    pixels: Array
    part: Array | None

    @property
    def size(self) -> int:
        """Side in pixels."""
        return len(self.pixels)

    def position(self, random: Random) -> Array:
        """Draw a point (x, y), nearly always on the part if it is known."""
        if self.part is not None and random.random() < 0.9:
            points = np.argwhere(self.part)
            return points[int(random.integers(len(points)))][::-1].astype(float)
        return random.uniform(0.04, 0.96, 2) * self.size

    def length(self, random: Random) -> float:
        """Draw a length in pixels, 6 to 50 percent of the side."""
        return self.size * float(np.exp(random.uniform(np.log(0.06), np.log(0.5))))

    def grid(self) -> Array:
        """Return row and column of every pixel, two (S, S) arrays."""
        return np.mgrid[0 : self.size, 0 : self.size].astype(np.float32)

    def jagged(self, random: Random) -> Array:
        """Draw the roughness of a fracture, (S, S) pixels."""
        field = fractal(random, self.size, self.size * random.uniform(0.05, 0.2))
        return random.uniform(0, 0.05) * self.size * field

    def blob(self, random: Random, radius: tuple[float, float] = (0.015, 0.13), roughness: float = 0.5) -> "Blob":
        """Draw a spot with a radius in a range of fractions of the image's side, up to three times as long as wide."""
        x, y = self.position(random)
        length = self.size * float(np.exp(random.uniform(*np.log(radius))))
        angle, squash = random.uniform(0, np.pi), np.sqrt(np.exp(random.uniform(0, np.log(3))))
        rows, columns = self.grid()
        along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
        distance = np.hypot(along / squash, across * squash) / length - 1
        distance += 0.5 * roughness * fractal(random, self.size, max(length * 0.8, 3))
        return Blob(distance.astype(np.float32), length, x, y)

    def blend(self, above: Array, cover: Array) -> Array:
        """Blend `above` into the image with opacity `cover`, (S, S)."""
        return self.pixels + (above - self.pixels) * cover[..., None]

    def draw_lines(self, random: Random, lines: Array, colour: Array | None = None) -> Array:
        """Blend lines, uint8 (S, S), into the image, on the part only if it is known; a random colour if None."""
        if colour is None:
            colour = self.other_colour(random, lines / np.float32(255))
        cover = smoothed(lines, random.uniform(0.4, 1.2))
        cover = cover / max(float(cover.max()), 1e-3)
        if self.part is not None:
            cover = cover * smoothed(self.part, 1)
        return self.blend(colour, cover * random.uniform(0.4, 1))

    def other_colour(self, random: Random, cover: Array) -> Array:
        """Draw a colour (3,) that differs from the mean under `cover`."""
        own = (self.pixels * cover[..., None]).sum(axis=(0, 1)) / max(float(cover.sum()), 1e-3)
        for _ in range(10):
            if random.random() < 0.4:
                colour = own * np.exp(random.choice([-1, 1]) * random.uniform(0.3, 1.2))
            else:
                colour = random.uniform(0, 255) * (1 + random.uniform(0, 0.9) * random.uniform(-1, 1, 3))
            colour = np.clip(colour, 0, 255)
            if np.abs(colour - own).max() > 35:
                break
        return colour.astype(np.float32)

    def background(self, random: Random) -> Array | None:
        """Extrapolate the background under the part, with its noise; None without a part or with too little around."""
        if self.part is None:
            return None
        seen = cv2.erode((~self.part).astype(np.float32), np.ones((5, 5), np.uint8), borderValue=1)
        if cv2.erode(seen, np.ones((9, 9), np.uint8)).sum() < 50:
            return None
        reach = self.size / 8
        smooth = smoothed(self.pixels * seen[..., None], reach) / (smoothed(seen, reach)[..., None] + 1e-3)
        noise = float((self.pixels - smoothed(self.pixels, 4))[seen > 0].std())
        return smooth + random.normal(0, 0.7 * noise, (self.size, self.size, 1)).astype(np.float32)


@dataclass(frozen=True)
class Blob:
    """An irregular spot: distance (S, S) from its edge in units of the radius, negative inside; radius; centre."""

    distance: Array
    radius: float
    x: float
    y: float

    def cover(self, softness: float) -> Array:
        """Opacity (S, S) with an edge `softness` pixels wide."""
        return np.clip(0.5 - self.distance * (self.radius / max(softness, 1e-3)), 0, 1)


def segment_part(pixels: Array, single: bool = False) -> Array | None:
    """Segment the part: the largest region that differs from the border's median colour.

    Args:
        pixels: uint8 (S, S, 3).
        single: return None if there are other regions, of together more than a tenth of the foreground.

    Returns:
        bool (S, S); None if the border has several colours or the region is too small or too large.
    """
    values = pixels.astype(np.float32)
    width = max(2, len(pixels) // 40)
    edges = values[:width], values[-width:], values[:, :width], values[:, -width:]
    border = np.concatenate([edge.reshape(-1, 3) for edge in edges])
    median = np.median(border, axis=0)
    deviation = np.percentile(np.abs(border - median).max(axis=1), 85)
    if deviation > 45:
        return None
    differs = smoothed(np.abs(values - median).max(axis=2), 2) > max(30, 1.5 * deviation)
    differs = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(differs)
    if count < 2:
        return None
    part = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    if single and part.sum() < 0.9 * (labels > 0).sum():
        return None
    return part if PART_LEAST <= part.mean() <= PART_MOST else None


def fractal(random: Random, size: int, cell: float) -> Array:
    """Sum of three smooth random fields, (S, S), standard deviation about 1; the coarsest varies over `cell` pixels."""
    total, weight, power = np.zeros((size, size), np.float32), 1.0, 0.0
    for _ in range(3):
        grid = random.standard_normal([int(np.ceil(size / cell)) + 3] * 2, dtype=np.float32)
        shift_x, shift_y = random.random(2) + 0.5
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        zoom = np.array([[1 / cell, 0, shift_x], [0, 1 / cell, shift_y]])
        total += weight * 1.3 * cv2.warpAffine(grid, zoom, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)
        power += weight**2
        weight, cell = weight / 2, cell / 2
        if cell < 1:
            break
    return total / np.float32(np.sqrt(power))


def wander(random: Random, start: Array, angle: float, length: float, bend: float) -> Array:
    """Draw the points (N, 2) of a wandering line; `bend` is the change of direction per step, in radians."""
    turn, points = random.normal(0, bend * 0.3), [np.asarray(start, float)]
    for _ in range(max(2, int(length / 3))):
        turn = 0.9 * turn + random.normal(0, bend * 0.35)
        angle += turn
        points.append(points[-1] + (3 * np.cos(angle), 3 * np.sin(angle)))
    return np.array(points)


def stroke(canvas: Array, path: Array, thickness: int) -> None:
    """Draw a line in white on a uint8 canvas."""
    cv2.polylines(canvas, [np.round(path * 16).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4)


def smoothed(values: Array, sigma: float) -> Array:
    """Blur an array or a mask, returning float32."""
    return cv2.GaussianBlur(values.astype(np.float32), (0, 0), sigma)


def grown(mask: Array, pixels: int) -> Array:
    """Dilate a mask by half of `pixels` on every side."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((pixels, pixels), np.uint8)) > 0
