"""Distractors: things that look odd but are not defects. A source shows them so that a detector ignores them."""

import cv2
import numpy as np

from synthetic.fields import axes, colour, cover, fractal, smooth, step, streaks
from synthetic.scene import Random, Scene


def distract(scene: Scene, each: Random) -> None:
    """Change a scene in place by none, one or a few distractors, for normal and defective images."""
    is_surface = float(scene.region.mean()) > 0.98
    for distractor, chance in ((_pool, 0.2), (_soft_shadow, 0.2), (_marks, 0.15), (_grooves, 0.12)):
        if each.random() < chance:
            distractor(scene, each)
    if is_surface and each.random() < 0.25:
        _boundary(scene, each)


def _pool(scene: Scene, each: Random) -> None:
    """A broad patch of higher gloss: the lamp's reflection shows there."""
    scene.gloss += each.uniform(0.1, 0.5) * step(smooth(each, scene.size, 0.4 * min(scene.size)), 0, 1.5)


def _soft_shadow(scene: Scene, each: Random) -> None:
    """The shadow of something outside the image: a soft, straight edge."""
    side = min(scene.size)
    u = axes(scene.size, each.uniform(0, 2 * np.pi))[0] + (each.uniform(-0.3, 0.3) * side)
    scene.albedo *= (1 - each.uniform(0.1, 0.4) * step(u, 0, side * each.uniform(0.1, 0.5)))[..., None]


def _marks(scene: Scene, each: Random) -> None:
    """Regular print: a row or grid of equal dots, bars or rings on the whole surface or part."""
    pitch, angle = each.uniform(0.1, 0.3) * min(scene.size), each.uniform(0, np.pi)
    u, v = axes(scene.size, angle, (each.random() * scene.size[1], each.random() * scene.size[0]))
    # One row only, or a grid.
    near_u = u % pitch - (pitch / 2)
    near_v = v if each.random() < 0.5 else v % pitch - (pitch / 2)
    radius = pitch * each.uniform(0.08, 0.25)
    disc = np.hypot(near_u, near_v) - radius
    bar = np.maximum(np.abs(near_u) - radius, np.abs(near_v) - max(radius * 0.35, 1))
    shape = (disc, np.abs(disc) - max(radius * 0.2, 1), bar)[int(each.integers(0, 3))]
    scene.tint(cover(shape) * scene.region * each.uniform(0.3, 0.9), colour(each, 0.1, 0.9, 0.8))


def _grooves(scene: Scene, each: Random) -> None:
    """A few straight, parallel seams or raised lines that run from edge to edge."""
    pitch, width = each.uniform(0.2, 0.6) * min(scene.size), each.uniform(1, 4)
    u = axes(scene.size, each.choice([0, np.pi / 2]) + each.normal(0, 0.1))[0] + (each.random() * pitch)
    line = cover(np.abs(u % pitch - (pitch / 2)) - width, width) * scene.region
    scene.height += line * each.uniform(-2, 2)
    scene.albedo *= (1 - each.uniform(-0.1, 0.3) * line)[..., None]


def _boundary(scene: Scene, each: Random) -> None:
    """The surface ends inside the image: beyond a straight edge is a table, without defects."""
    u = axes(scene.size, each.uniform(0, 2 * np.pi))[0] - (each.uniform(0.28, 0.45) * min(scene.size))
    on = cover(u, 1.5)
    ground = 1 + 0.04 * fractal(each, scene.size, 30)
    if each.random() < 0.5:
        ground += 0.06 * streaks(each, scene.size, 100, 1.5, each.uniform(0, np.pi))
    scene.behind = np.clip(colour(each, 0.05, 0.9, 0.4) * ground[..., None], 0.01, 1)
    scene.albedo += (scene.behind - scene.albedo) * (1 - on)[..., None]
    scene.height *= on
    scene.gloss *= on
    scene.lift = cv2.max(scene.lift, on)
    scene.region = cover(u + 2) * scene.region
    inside = [tuple(np.clip((c.y, c.x), 0, np.array(scene.size) - 1).astype(int)) for c in scene.components]
    scene.components = [c for c, at in zip(scene.components, inside, strict=True) if scene.region[at] > 0.5]
