"""Kinds of defect. Each changes a scene's layers; the mask is where the rendered image changes."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from synthetic.fields import axes, colour, cover, fractal, smooth, step, streaks
from synthetic.scene import Array, Component, Random, Scene

Apply = Callable[[Scene, Random, float], None]  # (assembled scene to change, random numbers, strength 0 to 1)


def with_defect(kind: str, scene: Scene, each: Random, strength: float) -> Scene:
    """Return a copy of `scene`, assembled and with one defect of a strength from 0 (hardly visible) to 1."""
    if kind in COMPONENT_KINDS:
        rows, columns = scene.size
        inside = [k for k, c in enumerate(scene.components) if 8 < c.x < columns - 8 and 8 < c.y < rows - 8]
        which = int(each.choice(inside or range(len(scene.components))))
        new = COMPONENT_KINDS[kind](scene.components[which], each, strength)
        before, after = scene.components[:which], scene.components[which + 1 :]
        return replace(scene, components=[*before, *([new] if new else []), *after]).assembled()
    changed = scene.assembled()
    KINDS[kind](changed, each, strength)
    np.clip(changed.albedo, 0.01, 1, out=changed.albedo)
    return changed


def scratch(scene: Scene, each: Random, strength: float) -> None:
    """One to three nearly straight, thin lines, brighter or darker, with a slight groove."""
    lines, angle = np.zeros(scene.size, np.uint8), each.uniform(0, np.pi)
    (x, y), length = _place(scene, each), _reach(scene, each, 0.06, 0.45)
    for _ in range(int(each.choice([1, 1, 2, 3]))):
        path = _path(each, x, y, angle + each.normal(0, 0.12), length * each.uniform(0.6, 1), 0.015)
        _draw(lines, path, int(each.choice([1, 1, 2])))
        x, y = x + each.normal(0, 0.03) * length, y + each.normal(0, 0.03) * length
    on = _on(scene, lines) * (0.7 + (1 - 0.7) * step(smooth(each, scene.size, 14), -1, 1))
    sign = 1 if each.random() < 0.6 else -1
    scene.tint(on, np.clip(scene.albedo * (1 + sign * (0.15 + 0.6 * strength)) + sign * 0.12 * strength, 0.01, 1))
    scene.height -= on * (0.5 + 1.2 * strength)


def crack(scene: Scene, each: Random, strength: float) -> None:
    """A jagged dark line that thins out and branches."""
    lines, (x, y) = np.zeros(scene.size, np.uint8), _place(scene, each)
    angle, length = each.uniform(0, 2 * np.pi), _reach(scene, each, 0.1, 0.45)
    trunk = _path(each, x, y, angle, length, 0.22, 2.5)
    _draw(lines, trunk[: len(trunk) * 2 // 3], 2 if length > 0.15 * min(scene.size) else 1)
    _draw(lines, trunk, 1)
    for _ in range(int(each.integers(0, 4))):
        start = trunk[each.integers(len(trunk) // 4, len(trunk))]
        branch = _path(each, *start, angle + each.choice([-1, 1]) * each.uniform(0.4, 1.1), length * 0.35, 0.25, 2.5)
        _draw(lines, branch, 1)
    on = _on(scene, lines)
    scene.tint(on, scene.albedo * (0.75 - 0.6 * strength))
    scene.height -= on * (0.6 + 1.8 * strength)
    scene.gloss *= 1 - on


def thread(scene: Scene, each: Random, strength: float) -> None:
    """A fibre or hair on the surface, with a thin shadow."""
    lines, (x, y) = np.zeros(scene.size, np.uint8), _place(scene, each)
    path = _path(each, x, y, each.uniform(0, 2 * np.pi), _reach(scene, each, 0.15, 0.6), each.uniform(0.05, 0.15), 5)
    _draw(lines, cv2.blur(path.astype(np.float32), (1, 5)), int(each.choice([1, 2, 2, 3])))
    on = _on(scene, lines)
    soft = cv2.GaussianBlur(on, (0, 0), 1.5)
    shadow = cv2.warpAffine(soft, np.float32([[1, 0, 2], [0, 1, 2]]), scene.size[::-1]) * scene.region
    scene.albedo *= (1 - (0.15 + 0.4 * strength) * shadow)[..., None]
    scene.tint(on * (0.5 + 0.5 * strength), _unlike(scene, each, on, 0.25 + 0.5 * strength))
    scene.height += soft * 1.5


def cut(scene: Scene, each: Random, strength: float) -> None:
    """A slit: a long dark lens with raised lips."""
    centre, length = _place(scene, each), _reach(scene, each, 0.04, 0.18)
    u, v = axes(scene.size, each.uniform(0, np.pi), centre)
    bend = v + (each.uniform(-0.15, 0.15) / length) * u * u
    width = (length * each.uniform(0.06, 0.16) + 0.7) * (1 - (u / length) ** 2)
    inside = cover(np.abs(bend) - width, 1.5) * (np.abs(u) < length) * scene.region
    lips = cover(np.abs(bend) - width - 3, 4) * (np.abs(u) < length) * scene.region - inside
    scene.tint(inside * (0.45 + 0.55 * strength), scene.behind * 0.6)
    scene.height += np.clip(lips, 0, 1) * 1.5 - inside * 2.5


def stain(scene: Scene, each: Random, strength: float) -> None:
    """A spot of liquid or grease: irregular, often with a darker rim where it dried."""
    blob, edge = _blob(scene, each, _reach(scene, each, 0.02, 0.13), 0.35)
    rim = np.float32(each.choice([0.0, 0.0, 0.8])) * np.exp(-((edge / 2.5) ** 2))
    dye = 1 - (0.12 + 0.55 * strength) * (1 - colour(each, 0.1, 0.9, 0.8))
    share = blob * (0.6 + 0.15 * fractal(each, scene.size, 12)) + rim * blob
    scene.albedo *= 1 - np.clip(share, 0, 1.3)[..., None] * (1 - dye)
    scene.gloss += each.uniform(-0.1, 0.2) * blob


def spots(scene: Scene, each: Random, strength: float) -> None:
    """A few small specks of dirt or spatter, close together."""
    x, y = _place(scene, each)
    deviation, specks = _reach(scene, each, 0.03, 0.12), np.zeros(scene.size, np.uint8)
    for _ in range(int(each.integers(2, 9))):
        centre = np.round((np.array([x, y]) + each.normal(0, deviation / 2, 2)) * 16).astype(int) / 16
        radius = int(16 * each.uniform(1.0, max(0.012 * min(scene.size), 1.3)))
        squash = (radius / 8, int(radius * each.uniform(0.5, 1)) / 8)
        cv2.ellipse(specks, (centre.tolist(), squash, each.uniform(0, 180)), 255, -1, cv2.LINE_AA)
    on = _on(scene, specks)
    scene.tint(on * (0.35 + 0.65 * strength), _unlike(scene, each, on, 0.3 + 0.4 * strength))
    scene.height += cv2.GaussianBlur(on, (0, 0), 1) * each.uniform(0, 2)


def discoloured(scene: Scene, each: Random, strength: float) -> None:
    """A patch whose colour has shifted: overheated, faded, yellowed. No edge, no relief."""
    blob, _ = _blob(scene, each, _reach(scene, each, 0.05, 0.17), 0.25, soft=0.5)
    shift = each.normal(size=3)
    shift = shift / np.abs(shift).max() * each.uniform(0.5, 1) + each.uniform(-0.5, 0.5)
    scene.albedo *= 1 + blob[..., None] * (0.1 + 0.5 * strength) * shift.astype(np.float32)


def smear(scene: Scene, each: Random, strength: float) -> None:
    """Paint, glue or grease wiped along one direction."""
    angle, centre, long = each.uniform(0, np.pi), _place(scene, each), _reach(scene, each, 0.06, 0.22)
    wide = long * each.uniform(0.15, 0.4)
    u, v = axes(scene.size, angle, centre)
    trace = streaks(each, scene.size, long, max(wide * 0.25, 1.5), angle)
    body = 1 - (u / long) ** 2 - (v / wide) ** 2
    on = step(body + 0.35 * trace, 0.1, 0.7) * (0.7 + 0.3 * np.tanh(trace)) * scene.region
    scene.tint(on * (0.2 + 0.6 * strength), _unlike(scene, each, on, 0.2 + 0.4 * strength))
    scene.gloss += each.uniform(-0.2, 0.3) * on
    scene.height += on * trace * 0.3


def abrasion(scene: Scene, each: Random, strength: float) -> None:
    """A rubbed patch: the texture is worn off and fine parallel scratches take its place."""
    blob, _ = _blob(scene, each, _reach(scene, each, 0.04, 0.14), 0.4, soft=0.35)
    flat = cv2.GaussianBlur(scene.albedo, (0, 0), 5)
    fine = streaks(each, scene.size, 30, 1.3, each.uniform(0, np.pi))
    tone = 1 + (0.06 + 0.25 * strength) * fine + np.float32(each.choice([-1, 1]) * (0.03 + 0.2 * strength))
    share = blob * (0.5 + 0.5 * strength)
    scene.tint(share, np.clip(flat * tone[..., None], 0.01, 1))
    level = cv2.GaussianBlur(scene.height, (0, 0), 4) + 0.4 * fine
    scene.height += (level - scene.height) * share
    scene.gloss *= 1 - 0.6 * share


def distorted(scene: Scene, each: Random, strength: float) -> None:
    """The pattern itself is pulled out of place; colour and relief stay what they were."""
    radius = _reach(scene, each, 0.06, 0.16)
    u, v = axes(scene.size, 0.0, _place(scene, each))
    pull = np.exp(-(u * u + v * v) / (radius**2)) * scene.region
    direction, size = each.uniform(0, 2 * np.pi), radius * (0.2 + 0.5 * strength)
    twist = each.uniform(-0.8, 0.8) * (0.3 + strength)
    rows, columns = np.mgrid[0 : scene.size[0], 0 : scene.size[1]].astype(np.float32)
    to_x = columns - pull * (np.float32(size * np.cos(direction)) + twist * v)
    to_y = rows - pull * (np.float32(size * np.sin(direction)) - twist * u)
    for name in ("albedo", "height", "gloss"):
        moved = cv2.remap(getattr(scene, name), to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        setattr(scene, name, moved)


def dent(scene: Scene, each: Random, strength: float) -> None:
    """A dent or bulge: only the shading and the highlight tell."""
    centre, radius = _place(scene, each), _reach(scene, each, 0.025, 0.1)
    u, v = axes(scene.size, each.uniform(0, np.pi), centre)
    squash = each.uniform(1, 2.2)
    bowl = np.exp(-((u / radius) ** 2 + (v * (squash / radius)) ** 2) * 1.5)
    sign = -1 if each.random() < 0.7 else 1
    scene.height += bowl * scene.region * (sign * radius * (0.15 + 0.75 * strength))


def hole(scene: Scene, each: Random, strength: float) -> None:
    """A pit or hole: dark inside, with a rim that catches the light."""
    radius = _reach(scene, each, 0.012, 0.06)
    blob, edge = _blob(scene, each, radius, 0.2)
    rim = np.exp(-((edge / max(radius * 0.25, 1.5)) ** 2)) * scene.region
    scene.tint(blob * (0.3 + 0.7 * strength), scene.behind * 0.45)
    scene.height += rim * 1.5 - blob * (2 + 3 * strength)
    scene.gloss *= 1 - blob


def chip(scene: Scene, each: Random, strength: float) -> None:
    """A piece broken off at the edge of the part: the background shows, and a bright fresh fracture."""
    inside = (scene.region > 0.5).astype(np.uint8)
    depth = cv2.distanceTransform(cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_REPLICATE), cv2.DIST_L2, 3)
    near = np.flatnonzero(((depth[1:-1, 1:-1] > 0) & (depth[1:-1, 1:-1] < 3)).ravel())
    centre = divmod(int(each.choice(near)), scene.size[1])[::-1] if near.size else _place(scene, each)
    radius = _reach(scene, each, 0.02, 0.08)
    blob, edge = _blob(scene, each, radius, 0.3, centre=centre)
    fracture = np.exp(-((np.maximum(edge, 0) / (1 + radius * 0.2)) ** 2)) * scene.region * (1 - blob)
    scene.tint(fracture * (0.3 + 0.5 * strength), np.clip(scene.albedo * 1.5 + 0.08, 0, 1))
    gone = blob * (0.75 + 0.25 * strength)
    scene.tint(gone, scene.behind)
    for layer in (scene.height, scene.lift, scene.gloss):
        layer *= 1 - gone


def foreign(scene: Scene, each: Random, strength: float) -> None:
    """A splinter, chip or crumb that does not belong: an angular body with its own colour and shadow."""
    (x, y), radius = _place(scene, each), _reach(scene, each, 0.015, 0.06)
    turn = np.sort(each.uniform(0, 2 * np.pi, int(each.integers(4, 8))))
    arm = radius * each.uniform(0.5, 1.3, turn.size)
    points = np.stack([x + arm * np.cos(turn), y + arm * np.sin(turn) * each.uniform(0.4, 1)], axis=1)
    body = np.zeros(scene.size, np.uint8)
    cv2.fillPoly(body, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    on = _on(scene, body)
    tone = 1 + 0.1 * smooth(each, scene.size, max(radius / 2, 2))
    own = np.clip(_unlike(scene, each, on, 0.2 + 0.5 * strength) * tone[..., None], 0.01, 1)
    scene.tint(on * (0.6 + 0.4 * strength), own)
    scene.height += cv2.GaussianBlur(on, (0, 0), 1.2) * (radius * 0.4)
    scene.lift += on * 0.7


_KINDS = scratch, crack, thread, cut, stain, spots, discoloured, smear, abrasion, distorted, dent, hole, chip, foreign
KINDS: dict[str, Apply] = {kind.__name__: kind for kind in _KINDS}


def missing(old: Component, each: Random, strength: float) -> None:
    """A component is missing."""


def misplaced(old: Component, each: Random, strength: float) -> Component:
    """A component is shifted and rotated."""
    way, far = each.uniform(0, 2 * np.pi), min(old.cover.shape) * (0.2 + 0.4 * strength)
    x, y = old.x + far * np.cos(way), old.y + far * np.sin(way)
    return replace(old, x=x, y=y, angle=old.angle + float(each.choice([-1, 1]) * each.uniform(15, 35 + 50 * strength)))


def wrong(old: Component, each: Random, strength: float) -> Component:
    """A component of another colour."""
    shift = each.normal(size=3)
    shift = (shift / np.abs(shift).max() * (0.15 + 0.35 * strength)).astype(np.float32)
    return replace(old, albedo=np.clip(old.albedo + shift, 0.02, 1))


COMPONENT_KINDS = {f.__name__: f for f in (missing, misplaced, wrong)}


def _place(scene: Scene, each: Random) -> tuple[float, float]:
    """A random point (x, y) on the part, not quite at the image's border."""
    (rows, columns), margin = scene.size, min(scene.size) // 16
    inner = scene.region[margin : rows - margin, margin : columns - margin] > 0.9
    spots = np.flatnonzero(inner.ravel())
    if not spots.size:
        return columns / 2, rows / 2
    where = int(each.choice(spots))
    return float(where % inner.shape[1] + margin), float(where // inner.shape[1] + margin)


def _reach(scene: Scene, each: Random, low: float, high: float) -> float:
    """A length in pixels between two shares of the image's shorter side; small ones are commoner."""
    return float(min(scene.size) * np.exp(each.uniform(np.log(low), np.log(high))))


def _blob(
    scene: Scene, each: Random, radius: float, rough: float, soft: float = 0.12, centre: tuple | None = None
) -> tuple[Array, Array]:
    """An irregular patch on the part: its opacity (H, W), and the distance from its outline in pixels."""
    u, v = axes(scene.size, each.uniform(0, np.pi), centre or _place(scene, each))
    squash = each.uniform(1, 2)
    wobble = fractal(each, scene.size, max(radius * 0.8, 3), 3)
    edge = np.sqrt(u * u / squash + v * v * squash) - radius * (1 + rough * np.clip(wobble, -2, 2))
    width = max(radius * soft * 2, 1.2)
    return step(edge, width / 2, -width / 2) * scene.region, edge


def _path(each: Random, x: float, y: float, angle: float, length: float, bend: float, pace: float = 3.0) -> np.ndarray:
    """A wandering line of points (N, 2), one every `pace` pixels, that turns by about `bend` radians at each."""
    count = max(int(length / pace), 3)
    turn = angle + np.cumsum(each.normal(0, bend, count))
    steps = pace * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    # Start half way back, so that the line is centred on its point.
    return np.array([x, y]) + np.cumsum(steps, axis=0) - steps.sum(axis=0) * 0.4


def _draw(canvas: np.ndarray, path: np.ndarray, width: int) -> None:
    """A smooth line on an 8-bit canvas, to a sixteenth of a pixel."""
    cv2.polylines(canvas, [np.round(path * 16).astype(np.int32)], False, 255, width, cv2.LINE_AA, 4)


def _on(scene: Scene, drawn: np.ndarray) -> Array:
    """A drawing as opacity (H, W), only on the part."""
    return drawn.astype(np.float32) / 255 * scene.region


def _unlike(scene: Scene, each: Random, on: Array, distance: float) -> Array:
    """A colour (3,) that differs from that under `on` by about `distance`."""
    under = (scene.albedo * on[..., None]).sum(axis=(0, 1)) / max(float(on.sum()), 1e-3)
    way = each.normal(0, 0.35, 3) + (1 if under.mean() < each.uniform(0.25, 0.75) else -1)
    return np.clip(under + way / np.abs(way).max() * distance, 0.02, 0.95).astype(np.float32)
