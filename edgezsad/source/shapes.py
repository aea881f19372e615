"""Random fields and shapes on a square photograph: what synthetic defects are drawn with.

Unlike in `synthetic`, nothing is known of the photograph but its pixels, so that a shape needs a place: on
the part, where a part can be told from what lies behind it, or anywhere.
"""

from dataclasses import dataclass

import cv2
import numpy as np

Array = np.ndarray
Random = np.random.Generator

BORDER = 40
"""The border that shows the background is this part of the image's side wide."""
BORDER_SPREAD = 45
"""Levels by which most of the border may differ from its median if it is to be one background."""
PART_LEAST, PART_MOST = 0.05, 0.85
"""Share of the image that a part takes."""


def fractal(each: Random, size: tuple[int, int], cell: float, octaves: int = 3, gain: float = 0.5) -> Array:
    """Smooth random field (H, W) with a standard deviation of about 1.

    Args:
        each: random numbers.
        size: (H, W).
        cell: size of the coarsest features in pixels; each octave is twice as fine and `gain` times as strong.
        octaves: fields to add.
        gain: see `cell`.
    """
    total, weight, power = np.zeros(size, np.float32), 1.0, 0.0
    for _ in range(octaves):
        rows, columns = (int(np.ceil(length / cell)) + 3 for length in size)
        grid = each.standard_normal((rows, columns), dtype=np.float32)
        shift_y, shift_x = each.random(2)
        transform = np.array([[1 / cell, 0, shift_x + 0.5], [0, 1 / cell, shift_y + 0.5]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        total += np.float32(1.3 * weight) * cv2.warpAffine(
            grid, transform, size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        power += weight**2
        weight, cell = weight * gain, cell / 2
        if cell < 1:
            break
    return total / np.float32(np.sqrt(power))


def part_of(pixels: np.ndarray) -> np.ndarray | None:
    """Where the part lies: the largest region that looks unlike the border.

    Args:
        pixels: uint8 (S, S, 3).

    Returns:
        bool (S, S); None where the border is not of one colour, or where what is left is no part.
    """
    values = pixels.astype(np.float32)
    width = max(2, len(pixels) // BORDER)
    edges = values[:width], values[-width:], values[:, :width], values[:, -width:]
    border = np.concatenate([edge.reshape(-1, 3) for edge in edges])
    median = np.median(border, axis=0)
    spread = np.percentile(np.abs(border - median).max(axis=1), 85)
    if spread > BORDER_SPREAD:
        return None
    unlike = cv2.GaussianBlur(np.abs(values - median).max(axis=2), (0, 0), 2) > max(30, 1.5 * spread)
    unlike = cv2.morphologyEx(unlike.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(unlike)
    if count < 2:
        return None
    part = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return part if PART_LEAST <= part.mean() <= PART_MOST else None


def place(each: Random, size: int, part: np.ndarray | None) -> tuple[float, float]:
    """A point (x, y): nearly always on the part, if there is one."""
    if part is not None and each.random() < 0.9:
        rows, columns = np.nonzero(part)
        chosen = int(each.integers(len(rows)))
        return float(columns[chosen]), float(rows[chosen])
    x, y = each.uniform(0.04, 0.96, 2) * size
    return float(x), float(y)


@dataclass(frozen=True)
class Blob:
    """An irregular spot.

    Attributes:
        distance: (S, S) from its edge, negative inside, in units of the radius.
        radius: in pixels.
        centre: (x, y).
    """

    distance: Array
    radius: float
    centre: tuple[float, float]

    def cover(self, softness: float) -> Array:
        """(S, S) opacity whose edge is `softness` pixels wide."""
        return np.clip(0.5 - self.distance * np.float32(self.radius / max(softness, 1e-3)), 0, 1)


def blob(
    each: Random,
    size: int,
    part: np.ndarray | None,
    radius: tuple[float, float] = (0.015, 0.13),
    roughness: float = 0.5,
) -> Blob:
    """A spot with a radius between two shares of the image's side, up to three times as long as wide."""
    x, y = place(each, size, part)
    length = size * float(np.exp(each.uniform(*np.log(radius))))
    angle, squash = each.uniform(0, np.pi), np.sqrt(np.exp(each.uniform(0, np.log(3))))
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    distance = np.hypot(along / squash, across * squash) / length - 1
    distance += 0.5 * roughness * fractal(each, (size, size), max(length * 0.8, 3), octaves=3, gain=0.5)
    return Blob(distance.astype(np.float32), length, (x, y))


def line(each: Random, start: tuple[float, float], angle: float, length: float, bend: float) -> np.ndarray:
    """Points (N, 2) of a wandering line; `bend` is how much it turns from step to step, in radians."""
    (x, y), turn, stride = start, each.normal(0, bend * 0.3), 3.0
    points = [(x, y)]
    for _ in range(max(2, int(length / stride))):
        turn = 0.9 * turn + each.normal(0, bend * 0.35)
        angle += turn
        x, y = x + stride * np.cos(angle), y + stride * np.sin(angle)
        points.append((x, y))
    return np.array(points, np.float32)


def stroke(size: int, points: np.ndarray, thickness: int) -> Array:
    """(S, S) opacity of a line of some pixels' thickness."""
    drawn = np.zeros((size, size), np.uint8)
    cv2.polylines(drawn, [np.round(points * 16).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4)
    return drawn.astype(np.float32) / 255


def soften(values: np.ndarray, sigma: float) -> Array:
    """A Gaussian blur of an array or mask, (S, S) or (S, S, 3), as float32."""
    return cv2.GaussianBlur(values.astype(np.float32), (0, 0), sigma)


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask (S, S), enlarged by half of `pixels` on every side."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((pixels, pixels), np.uint8)) > 0
