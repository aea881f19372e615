"""Random fields, enlarged from small random grids, and shapes as signed distances, negative inside."""

import cv2
import numpy as np

from synthetic.scene import Array, Random, Size


def smooth(rng: Random, size: Size, cell: float | tuple[float, float]) -> Array:
    """A random field (H, W), standard deviation about 1, that varies over `cell` pixels (or (down, across))."""
    down, across = cell if isinstance(cell, tuple) else (cell, cell)
    # The grid is a little larger than the image and cut at random, so that its lattice never shows.
    rows, columns = int(np.ceil(size[0] / max(down, 1))) + 3, int(np.ceil(size[1] / max(across, 1))) + 3
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    if down <= 1 and across <= 1:
        return np.ascontiguousarray(grid[: size[0], : size[1]])
    shift_y, shift_x = rng.random(2)
    turn = np.array([[1 / max(across, 1), 0, shift_x + 0.5], [0, 1 / max(down, 1), shift_y + 0.5]], np.float64)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(grid, turn, (size[1], size[0]), flags=flags, borderMode=cv2.BORDER_REFLECT) * 1.3


def fractal(rng: Random, size: Size, cell: float, octaves: int = 4, gain: float = 0.55) -> Array:
    """Sum of random fields (H, W), each twice as fine and `gain` times as strong; standard deviation about 1."""
    total, weight, power = np.zeros(size, np.float32), 1.0, 0.0
    for _ in range(octaves):
        total += np.float32(weight) * smooth(rng, size, cell)
        power += weight**2
        weight, cell = weight * gain, cell / 2
        if cell < 1:
            break
    return total / np.float32(np.sqrt(power))


def streaks(rng: Random, size: Size, length: float, width: float, angle: float) -> Array:
    """A random field (H, W) drawn out along `angle` (radians): `length` and `width` of a streak in pixels."""
    side = int(np.hypot(*size)) + 4
    field = smooth(rng, (side, side), (width, length))
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), -np.degrees(angle), 1.0)
    turn[:, 2] += (size[1] / 2 - side / 2, size[0] / 2 - side / 2)
    return cv2.warpAffine(field, turn, (size[1], size[0]), borderMode=cv2.BORDER_REFLECT)


def cells(rng: Random, size: Size, spacing: float, jitter: float = 0.45) -> tuple[Array, np.ndarray, int]:
    """Cells around scattered points: distance (H, W) to the nearest in units of `spacing`, number (H, W), and count."""
    rows, columns = int(size[0] / spacing) + 2, int(size[1] / spacing) + 2
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    # Every second row is shifted by half a cell, so that the cells are six-sided rather than square.
    x = x + 0.5 * (y % 2)
    y, x = ((c + rng.uniform(-jitter, jitter, c.shape)) * spacing for c in (y, x))
    inside = (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])
    points = np.full(size, 255, np.uint8)
    points[y[inside].astype(int), x[inside].astype(int)] = 0
    distance, label = cv2.distanceTransformWithLabels(points, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return distance / np.float32(spacing), label, int(label.max()) + 1


def axes(size: Size, angle: float = 0.0, centre: tuple[float, float] | None = None) -> tuple[Array, Array]:
    """Coordinates (u, v), each (H, W), in pixels from `centre` (x, y; the middle when left out), turned by `angle`."""
    cx, cy = centre or (size[1] / 2, size[0] / 2)
    y = (np.arange(size[0], dtype=np.float32) - np.float32(cy))[:, None]
    x = (np.arange(size[1], dtype=np.float32) - np.float32(cx))[None, :]
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * c + y * s, y * c - x * s


def step(value: Array, low: float, high: float) -> Array:
    """Smooth step from 0 at `low` to 1 at `high` (`low` may be the larger)."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def cover(distance: Array, soft: float = 1.0) -> Array:
    """Opacity of a shape from its signed distance in pixels, with an edge `soft` pixels wide."""
    return np.clip(np.float32(0.5) - distance / np.float32(soft), 0, 1)


def bevel(distance: Array, width: float, rise: float) -> Array:
    """Height of a body whose edge rises over `width` pixels to `rise` pixels, as a quarter round."""
    t = np.clip(-distance / np.float32(width), 0, 1)
    return np.float32(rise) * np.sqrt(np.maximum(t * (2 - t), 0))


def box(u: Array, v: Array, half_u: float, half_v: float, corner: float = 0.0) -> Array:
    """Signed distance of a rectangle with rounded corners."""
    du, dv = np.abs(u) - np.float32(half_u - corner), np.abs(v) - np.float32(half_v - corner)
    return np.hypot(np.maximum(du, 0), np.maximum(dv, 0)) + np.minimum(np.maximum(du, dv), 0) - np.float32(corner)


def sector_angle(angle: Array, count: int) -> Array:
    """Return the angle from the middle of the nearest of `count` sectors."""
    part = np.float32(2 * np.pi / count)
    return (angle + part / 2) % part - part / 2


def polygon(u: Array, v: Array, sides: int, radius: float, corner: float = 0.0) -> Array:
    """Signed distance (nearly) of a regular polygon with inner radius `radius`."""
    along = np.hypot(u, v)
    flat = along * np.cos(sector_angle(np.arctan2(v, u), sides)) - np.float32(radius)
    return np.maximum(flat, along - np.float32(radius / np.cos(np.pi / sides) - corner))


def capsule(u: Array, v: Array, half: float, radius: float) -> Array:
    """Signed distance of a stick along u: half its straight length, and its radius."""
    return np.hypot(np.maximum(np.abs(u) - np.float32(half), 0), v) - np.float32(radius)


def colour(rng: Random, low: float = 0.15, high: float = 0.85, saturation: float = 0.5) -> Array:
    """A random reflectance (3,) of a lightness between `low` and `high`; `saturation` at most."""
    light = rng.uniform(low, high)
    hue = rng.normal(size=3)
    hue -= hue.mean()
    hue /= np.abs(hue).max() + 1e-6
    return np.clip(light * (1 + saturation * rng.random() * hue), 0.02, 0.97).astype(np.float32)


def mixed(first: Array, second: Array, share: Array) -> Array:
    """Colours (3,) and (3,) blended by `share` (H, W): (H, W, 3)."""
    return first + (second - first) * share[..., None]
