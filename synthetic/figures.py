"""A family of parts that no two images share: bodies with limbs, knobs and painted details, on a plain ground.

Machined parts end where their outline is smooth. These end in hands, tails and heads as well, all of them normal, so
that a detector cannot take whatever sticks out, or is painted on, for a defect.
"""

import cv2
import numpy as np

from synthetic.fields import Random, axes, bevel, box, colour, cover, fractal, smooth
from synthetic.parts import MOULDED, put, table
from synthetic.registry import family
from synthetic.scene import Array, Scene, Size


@family(*MOULDED)
def figurine(style: Random, each: Random, size: Size) -> Scene:
    """A rounded body with up to five limbs, each with or without a thicker end, and up to eight painted spots."""
    scene, side = table(style, each, size), min(size)
    centre = size[1] / 2 + each.normal(0, 0.03 * side), size[0] / 2 + each.normal(0, 0.03 * side)
    u, v = axes(size, each.uniform(-np.pi, np.pi), centre)
    half, squash = side * style.uniform(0.12, 0.24), float(np.exp(style.uniform(-0.5, 0.5)))
    if style.random() < 0.6:
        shape = np.hypot(u / np.float32(squash), v * np.float32(squash)) - np.float32(half)
    else:
        shape = box(u, v, half * squash, half / squash, half * style.uniform(0.1, 0.5))
    limbs = int(style.integers(0, 6))
    for number in range(limbs):
        angle = 2 * np.pi * (number + style.normal(0, 0.15)) / limbs + each.normal(0, 0.05)
        length, width = side * style.uniform(0.18, 0.4), side * style.uniform(0.025, 0.07)
        shape = np.minimum(shape, _limb(u, v, angle, length, width, style))
    shape = cv2.GaussianBlur(shape, (0, 0), side * style.uniform(0.004, 0.012))
    tone = (
        colour(style, 0.15, 0.9, 0.9)
        * (1 + np.float32(style.uniform(0, 0.12)) * fractal(each, size, side / 12))[..., None]
    )
    for _ in range(int(style.integers(0, 9))):
        x, y = style.uniform(-0.6, 0.6, 2) * half
        spot = np.hypot(u - np.float32(x * squash), v - np.float32(y / squash)) - np.float32(
            side * style.uniform(0.008, 0.025)
        )
        tone = tone + (colour(style, 0.05, 0.95, 0.9) - tone) * cover(spot)[..., None]
    height = bevel(shape, half * style.uniform(0.3, 1), half * style.uniform(0.1, 0.4)) + smooth(each, size, side / 20)
    return put(scene, shape, tone, height, style.uniform(0.0, 0.8))


def _limb(u: Array, v: Array, angle: float, length: float, width: float, style: Random) -> Array:
    """Signed distance of a bent stick from the body's centre outwards, that widens or narrows to its end."""
    last, bend = style.uniform(0.6, 1.3), style.normal(0, 0.03)
    x = y = 0.0
    shape = np.full(u.shape, np.inf, np.float32)
    pieces = max(4, int(length / max(width, 2)) * 2)
    for number in range(pieces):
        share = number / (pieces - 1)
        radius = width * (1 + (last - 1) * share)
        shape = np.minimum(shape, np.hypot(u - np.float32(x), v - np.float32(y)) - np.float32(radius))
        x, y = x + length / pieces * np.cos(angle), y + length / pieces * np.sin(angle)
        angle += bend
    if style.random() < 0.5:
        end = width * last * style.uniform(1.1, 1.9)
        shape = np.minimum(shape, np.hypot(u - np.float32(x), v - np.float32(y)) - np.float32(end))
    return shape
