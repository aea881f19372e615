"""Families of parts that lie on a background: machined, moulded, assembled, printed and eaten."""

from collections.abc import Callable

import cv2
import numpy as np

from synthetic.fields import (
    Random,
    axes,
    bevel,
    box,
    capsule,
    colour,
    cover,
    fractal,
    polygon,
    smooth,
    step,
    streaks,
)
from synthetic.registry import family
from synthetic.scene import Array, Component, Scene, Size

Along = Callable[[float, float], float]
MACHINED = ("scratch", "chip", "dent", "stain", "spots", "crack", "abrasion", "discoloured")
MOULDED = ("scratch", "chip", "stain", "crack", "hole", "discoloured", "smear", "thread", "foreign")


def table(style: Random, each: Random, size: Size) -> Scene:
    """What parts lie on: an even, cloudy, striped or grainy ground on which nothing counts as a defect."""
    ground = colour(style, 0.05, 0.9, 0.35)
    kind = int(style.integers(0, 4))
    tone = np.float32(0.02) * fractal(each, size, 90)
    if kind == 1:
        tone = tone + np.float32(0.07) * fractal(each, size, 30, 5, 0.7)
    elif kind == 2:
        tone = tone + np.float32(0.06) * streaks(each, size, 120, 1.5, style.uniform(0, np.pi))
    elif kind == 3:
        tone = tone + np.float32(0.05) * smooth(each, size, 1.5)
    albedo = np.clip(ground * (1 + tone)[..., None], 0.01, 1)
    zero = np.zeros(size, np.float32)
    return Scene(albedo, zero.copy(), zero + np.float32(0.05), zero.copy(), zero.copy(), albedo.copy())


def pose(style: Random, each: Random, size: Size, fill: float, turn: float = np.pi) -> tuple[Array, Array, float]:
    """Where a part lies: coordinates (u, v) in pixels from its centre, and its half size in pixels.

    `fill` is the share of the image's shorter side that the part takes; `turn` how far it may be turned (radians).
    """
    half = 0.5 * fill * min(size) * style.uniform(0.85, 1.05) * each.uniform(0.97, 1.03)
    room = max(min(size) / 2 - half, 0) * 0.6 + 3
    centre = (size[1] / 2 + each.uniform(-room, room), size[0] / 2 + each.uniform(-room, room))
    u, v = axes(size, each.uniform(-turn, turn), centre)
    return u, v, float(half)


def put(scene: Scene, shape: Array, albedo: Array, height: Array, gloss: float) -> Scene:
    """Lay a part whose outline is the signed distance `shape` on the table, and let defects lie well inside it."""
    on = cover(shape, 1.4)
    scene.lay(on, np.clip(albedo, 0.01, 1), height, gloss)
    scene.region = np.maximum(scene.region, cover(shape + 1.0))
    return scene


def finish(style: Random, each: Random, size: Size, tone: Array, u: Array, v: Array) -> Array:
    """A part's own colour (H, W, 3) from its base `tone` (3,): cast, turned, brushed or moulded."""
    kind = int(style.integers(0, 4))
    if kind == 0:
        grain = 0.05 * fractal(each, size, 6, 3, 0.8)
    elif kind == 1:
        # Turned: the same profile all the way round, so it depends on the radius only.
        profile = cv2.GaussianBlur(each.standard_normal((1, 1024), dtype=np.float32), (0, 0), 0.8)[0]
        grain = 0.07 * profile[np.minimum(np.hypot(u, v) * 1.3, 1023).astype(int)]
    elif kind == 2:
        grain = 0.05 * streaks(each, size, 90, 1.3, style.uniform(0, np.pi))
    else:
        grain = 0.015 * smooth(each, size, 2)
    return tone * (1 + grain + 0.02 * smooth(each, size, 60))[..., None]


def piece(
    outline: Array, albedo: Array, rise: float, rim: float, gloss: float, x: float, y: float, angle: float = 0.0
) -> Component:
    """A component from its signed distance (h, w), its colour (3,) or (h, w, 3), height and rounding in pixels."""
    whole = np.broadcast_to(np.asarray(albedo, np.float32), (*outline.shape, 3)).copy()
    return Component(whole, cover(outline), bevel(outline, rim, rise), gloss, float(x), float(y), float(angle))


def patch(width: float, height: float) -> tuple[Array, Array]:
    """Coordinates for a component of that size in pixels, with a border."""
    n, m = int(height) + 5, int(width) + 5
    return axes((n, m), 0.0, ((m - 1) / 2, (n - 1) / 2))


# ---- what a source may use -------------------------------------------------------------------------------------


@family(*MACHINED)
def gear(style: Random, each: Random, size: Size) -> Scene:
    """A toothed wheel with a bore, a hub and sometimes holes in its web."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, style.uniform(0.65, 0.92))
    teeth, depth = int(style.integers(9, 30)), half * style.uniform(0.07, 0.16)
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    tooth = np.tanh(3 * np.sin(angle * teeth)) * np.float32(depth / 2)
    shape = np.maximum(
        radius - np.float32(half - depth / 2) - tooth, np.float32(half * style.uniform(0.12, 0.3)) - radius
    )
    hub = np.abs(radius - np.float32(half * 0.55)) - np.float32(half * style.uniform(0.1, 0.2))
    height = bevel(shape, 4, 5) - step(hub, 1.5, -1.5) * np.float32(style.uniform(0.5, 3))
    spokes = int(style.choice([0, 0, 3, 4, 5, 6]))
    if spokes:
        part = np.float32(2 * np.pi / spokes)
        turned = (angle + part / 2) % part - part / 2
        along = radius * np.cos(turned) - np.float32(half * 0.55)
        shape = np.maximum(shape, np.float32(half * 0.11) - np.hypot(along, radius * np.sin(turned)))
    return put(
        scene, shape, finish(style, each, size, colour(style, 0.3, 0.75, 0.2), u, v), height, style.uniform(0.1, 0.6)
    )


@family(*MOULDED)
def cap(style: Random, each: Random, size: Size) -> Scene:
    """A round screw cap from above: ribbed skirt, stepped and domed top, sometimes a raised mark."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, style.uniform(0.6, 0.92))
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    ribs = int(style.integers(24, 70))
    rib = np.sin(angle * ribs) * step(radius, half * 0.86, half * 0.9)
    shape = radius - np.float32(half)
    height = bevel(shape, half * 0.12, half * 0.1) + bevel(radius - np.float32(half * 0.84), half * 0.06, half * 0.06)
    height = height - step(radius, half * 0.6, half * 0.57) * np.float32(style.uniform(-2, 2)) + rib * np.float32(0.8)
    tone = colour(style, 0.1, 0.9, 0.9)
    if style.random() < 0.5:
        mark = np.abs(polygon(u, v, int(style.integers(3, 7)), half * 0.3)) - np.float32(half * 0.04)
        height = height + cover(mark, 2) * np.float32(1.5)
    albedo = tone * (1 + 0.01 * smooth(each, size, 2))[..., None]
    return put(scene, shape, albedo, height, style.uniform(0.1, 0.7))


@family(*MACHINED, "thread")
def washer(style: Random, each: Random, size: Size) -> Scene:
    """A flat ring, plain, stepped or tabbed."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, style.uniform(0.55, 0.9))
    radius = np.hypot(u, v)
    inner = half * style.uniform(0.3, 0.7)
    shape = np.maximum(radius - np.float32(half), np.float32(inner) - radius)
    if style.random() < 0.4:
        shape = np.minimum(shape, np.maximum(box(u - np.float32(half), v, half * 0.2, half * 0.12, 2), inner - radius))
    height = bevel(shape, style.uniform(2, 9), style.uniform(2, 6))
    tone = colour(style, 0.1, 0.8, 0.4)
    return put(scene, shape, finish(style, each, size, tone, u, v), height, style.uniform(0, 0.7))


@family("scratch", "chip", "stain", "dent", "spots", "discoloured", "crack", "foreign")
def screw(style: Random, each: Random, size: Size) -> Scene:
    """A screw from the side: head, shank and thread."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.92)
    shank, head, pitch = (
        half * style.uniform(0.13, 0.22),
        half * style.uniform(0.28, 0.42),
        half * style.uniform(0.06, 0.13),
    )
    lead = u + v * np.float32(0.35)
    wave = np.abs((lead / np.float32(pitch)) % 1 - 0.5) * 2
    threaded = step(u, -half * 0.3, -half * 0.25)
    body = np.abs(v) - np.float32(shank) * (1 - step(u, half * 0.75, half)) + threaded * wave * np.float32(pitch * 0.3)
    shape = np.maximum(body, np.abs(u) - np.float32(half * 0.97))
    block = box(u + np.float32(half * 0.8), v, half * 0.17, head, half * style.uniform(0.01, 0.15))
    shape = np.minimum(shape, block)
    width = np.where(block < 0, np.float32(head), np.float32(shank))
    height = np.sqrt(np.maximum(width**2 - v**2, 0)) * 0.6 + threaded * (1 - wave) * np.float32(pitch * 0.35)
    tone = colour(style, 0.2, 0.7, 0.35)
    albedo = tone * (1 + 0.03 * smooth(each, size, 2) - 0.3 * threaded * wave)[..., None]
    return put(scene, shape, albedo, height, style.uniform(0.2, 0.8))


@family("scratch", "dent", "stain", "spots", "discoloured", "abrasion", "chip", "smear")
def medal(style: Random, each: Random, size: Size) -> Scene:
    """A struck disc: a raised border with beads round a raised figure of a few lobes."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, style.uniform(0.7, 0.92), 0.4)
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    shape = radius - np.float32(half)
    lobes, twist = int(style.integers(3, 8)), style.uniform(0, 0.02)
    figure = radius - np.float32(half * 0.4) * (1 + 0.45 * np.cos(lobes * (angle + radius * np.float32(twist))))
    beads = int(style.integers(20, 44))
    part = np.float32(2 * np.pi / beads)
    turned = (angle + part / 2) % part - part / 2
    bead = np.hypot(radius - np.float32(half * 0.8), turned * radius) - np.float32(half * 0.035)
    height = bevel(shape, 4, 4) + step(radius, half * 0.88, half * 0.91) * 3
    height = height + bevel(figure, half * 0.1, 5) + bevel(bead, half * 0.035, 2)
    albedo = finish(style, each, size, colour(style, 0.3, 0.75, 0.5), u, v)
    return put(scene, shape, albedo, height, style.uniform(0.2, 0.7))


@family("missing", "misplaced", "missing", "scratch", "stain", "foreign", "discoloured", "chip")
def connector(style: Random, each: Random, size: Size) -> Scene:
    """A moulded housing with rows of metal pins."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.9, 0.08)
    rows, columns = int(style.integers(1, 5)), int(style.integers(5, 12))
    pitch = 1.7 * half / columns
    tall = min(pitch * rows * 0.6 + pitch * 0.3, half)
    shape = box(u, v, half, tall, half * 0.06)
    well = box(u, v, half * 0.95, tall - half * 0.06, half * 0.03)
    height = bevel(shape, 3, 6) - step(well, 1, -1) * 4
    tone = colour(style, 0.04, 0.85, 0.5)
    put(scene, shape, tone * (1 + 0.04 * smooth(each, size, 1.6))[..., None], height, style.uniform(0.05, 0.4))
    metal, side = colour(style, 0.55, 0.9, 0.3), pitch * style.uniform(0.3, 0.5)
    square = style.random() < 0.5
    x, y = patch(side, side)
    outline = box(x, y, side / 2, side / 2, 1) if square else np.hypot(x, y) - np.float32(side / 2)
    to_x, to_y, angle = _placer(u, v)
    for row in range(rows):
        for column in range(columns):
            du, dv = (column - (columns - 1) / 2) * pitch, (row - (rows - 1) / 2) * min(pitch * 1.2, 2 * tall / rows)
            scene.components.append(piece(outline, metal, 4, side / 3, 0.7, to_x(du, dv), to_y(du, dv), angle))
    return scene


@family("missing", "misplaced", "wrong", "stain", "chip", "foreign", "spots", "scratch")
def sweets_tray(style: Random, each: Random, size: Size) -> Scene:
    """A tray with hollows, each holding one round or square sweet or seal."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.96, 0.1)
    number = int(style.integers(3, 6))
    pitch = 1.86 * half / number
    shape = box(u, v, half, half, half * 0.08)
    sweet, tray = colour(style, 0.15, 0.9, 0.8), colour(style, 0.15, 0.9, 0.3)
    square, side = style.random() < 0.4, pitch * style.uniform(0.55, 0.8)
    near_u, near_v = ((c + np.float32(half * 0.93)) % np.float32(pitch) - np.float32(pitch / 2) for c in (u, v))
    hollow = np.hypot(near_u, near_v) - np.float32(pitch * 0.46)
    inside = step(box(u, v, half * 0.93, half * 0.93), 1, -1)
    height = bevel(shape, 4, 4) - inside * step(hollow, 2, -3) * 4
    put(scene, shape, tray * (1 + 0.01 * smooth(each, size, 3))[..., None], height, style.uniform(0.1, 0.5))
    x, y = patch(side, side)
    outline = box(x, y, side / 2, side / 2, side * 0.15) if square else np.hypot(x, y) - np.float32(side / 2)
    to_x, to_y, angle = _placer(u, v)
    for row in range(number):
        for column in range(number):
            du, dv = ((k - (number - 1) / 2) * pitch + each.normal(0, 0.02) * pitch for k in (column, row))
            tone = sweet * np.float32(each.normal(1, 0.03))
            turn = angle + (each.uniform(-8, 8) if square else 0)
            scene.components.append(
                piece(outline, np.clip(tone, 0, 1), side * 0.2, side * 0.3, 0.4, to_x(du, dv), to_y(du, dv), turn)
            )
    return scene


@family("chip", "crack", "stain", "spots", "scratch", "foreign", "smear")
def bottle_mouth(style: Random, each: Random, size: Size) -> Scene:
    """The mouth of a bottle or jar from above: bright and dark rings of glass."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, style.uniform(0.75, 0.95))
    radius = np.hypot(u, v)
    shape = radius - np.float32(half)
    glass, level = colour(style, 0.15, 0.6, 0.8), style.uniform(0.5, 1.5, 6)
    bounds = np.sort(style.uniform(0.35, 0.98, 5)) * half
    albedo = glass * np.ones((*size, 1), np.float32) * np.float32(level[0])
    height = bevel(shape, 5, 5)
    for bound, factor in zip(bounds[::-1], level[1:], strict=True):
        inner = cover(radius - np.float32(bound), 2.5)
        albedo = albedo + (glass * np.float32(factor) - albedo) * inner[..., None]
        height = height + cover(np.abs(radius - np.float32(bound)) - 2, 3) * 1.5
    mouth = cover(radius - np.float32(bounds[0]), 2)
    albedo = albedo + (glass * np.float32(0.2) - albedo) * mouth[..., None]
    # Reflections of the lamp fall on a few arcs of the rings; they belong to every good bottle.
    arcs = step(np.cos(np.arctan2(v, u) * style.integers(2, 4) + each.uniform(0, 6)), 0.7, 0.95)
    albedo = albedo * (1 + 0.35 * arcs * (1 - mouth))[..., None]
    put(scene, shape, albedo * (1 + 0.02 * smooth(each, size, 6))[..., None], height, style.uniform(0.2, 0.6))
    scene.region *= 1 - mouth  # the opening is no surface: nothing can be wrong there
    return scene


@family(*MACHINED, "foreign", "hole")
def casting(style: Random, each: Random, size: Size) -> Scene:
    """A cast plate of irregular outline with a few round bosses and bored holes."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.85, 0.6)
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    wobble = sum(style.uniform(0, 0.16 / k) * np.cos(k * angle + style.uniform(0, 6)) for k in range(2, 6))
    shape = radius - np.float32(half * 0.85) * (1 + np.asarray(wobble, np.float32))
    height, tone = bevel(shape, style.uniform(3, 10), 6), colour(style, 0.2, 0.7, 0.25)
    bores, first = int(style.integers(1, 5)), style.uniform(0, 2 * np.pi)
    for k in range(bores):
        direction, away = first + 2 * np.pi * (k + style.uniform(-0.2, 0.2)) / bores, half * style.uniform(0.35, 0.5)
        near = np.hypot(u - np.float32(away * np.cos(direction)), v - np.float32(away * np.sin(direction)))
        bore = half * style.uniform(0.06, 0.16)
        height = height + bevel(near - np.float32(bore * 2), 4, 3 if k % 2 else 0.01)
        shape = np.maximum(shape, np.float32(bore) - near)
    height = height + 0.3 * fractal(each, size, 5, 3, 0.8)
    albedo = tone * (1 + 0.05 * fractal(each, size, 12, 4, 0.7))[..., None]
    return put(scene, shape, albedo, height, style.uniform(0.05, 0.5))


@family("missing", "misplaced", "wrong", "stain", "scratch", "smear", "foreign", "discoloured")
def dial(style: Random, each: Random, size: Size) -> Scene:
    """A printed face: hour marks round the edge and rings or lines inside."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.94, 0.15)
    face, ink = colour(style, 0.05, 0.95, 0.3), colour(style, 0.05, 0.95, 0.8)
    if np.abs(face - ink).max() < 0.3:  # marks must be readable
        ink = np.where(face < 0.5, 0.9, 0.08).astype(np.float32)
    radius = np.hypot(u, v)
    shape = radius - np.float32(half)
    put(
        scene, shape, face * (1 + 0.015 * smooth(each, size, 3))[..., None], bevel(shape, 6, 6), style.uniform(0.1, 0.5)
    )
    scene.tint(cover(np.abs(radius - np.float32(half * 0.6)) - 1.2), ink)
    scene.tint(cover(radius - np.float32(half * 0.06)), ink)
    number, long, wide = int(style.integers(8, 25)), half * style.uniform(0.1, 0.2), half * style.uniform(0.03, 0.07)
    x, y = patch(2 * long, 2 * wide)
    outline = box(x, y, long * 0.95, wide, 1)
    to_x, to_y, angle = _placer(u, v)
    for k in range(number):
        turn = 2 * np.pi * k / number
        du, dv = half * 0.8 * np.cos(turn), half * 0.8 * np.sin(turn)
        item = piece(outline, ink, 0.0, 1, 0.1, to_x(du, dv), to_y(du, dv), angle - np.degrees(turn))
        item.lift = 0.0
        scene.components.append(item)
    return scene


@family(*MOULDED)
def button(style: Random, each: Random, size: Size) -> Scene:
    """A sewing button: a dished disc with a rim and two to four holes, plain or marbled."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, style.uniform(0.55, 0.92))
    radius = np.hypot(u, v)
    shape, holes = radius - np.float32(half), int(style.choice([2, 4, 4]))
    height = bevel(shape, half * 0.2, half * 0.12) - bevel(radius - np.float32(half * 0.65), half * 0.2, half * 0.07)
    for k in range(holes):
        turn, away = 2 * np.pi * k / holes, half * 0.22
        near = np.hypot(u - np.float32(away * np.cos(turn)), v - np.float32(away * np.sin(turn)))
        shape = np.maximum(shape, np.float32(half * 0.1) - near)
    marble = np.float32(style.choice([0.02, 0.02, 0.15])) * fractal(each, size, 40)
    return put(scene, shape, colour(style, 0.08, 0.9, 0.8) * (1 + marble)[..., None], height, style.uniform(0.1, 0.7))


@family("missing", "misplaced", "wrong", "scratch", "stain", "smear", "crack", "spots")
def keypad(style: Random, each: Random, size: Size) -> Scene:
    """A panel with keys, each printed with its own sign."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.96, 0.06)
    columns, rows = int(style.integers(3, 5)), int(style.integers(3, 6))
    wide, tall = 1.8 * half / columns, 1.8 * half / rows
    panel, key, sign = colour(style, 0.05, 0.8, 0.4), colour(style, 0.1, 0.9, 0.6), colour(style, 0.05, 0.95, 0.6)
    shape = box(u, v, half, half, half * 0.07)
    put(
        scene,
        shape,
        panel * (1 + 0.03 * smooth(each, size, 1.5))[..., None],
        bevel(shape, 4, 4),
        style.uniform(0.05, 0.4),
    )
    to_x, to_y, angle = _placer(u, v)
    for k in range(rows * columns):
        x, y = patch(wide * 0.8, tall * 0.8)
        item = piece(box(x, y, wide * 0.38, tall * 0.38, 3), key, 4, 4, 0.3, 0, 0, angle)
        side = min(wide, tall) * 0.3
        # The sign of each key belongs to the category: it comes from `style`.
        mark = np.abs(polygon(x, y, int(style.integers(3, 8)), side * 0.5)) - np.float32(side * 0.12)
        mark = np.minimum(mark, box(x, y, side * style.random() * 0.5, side * 0.1))
        item.albedo += (sign - item.albedo) * cover(mark)[..., None]
        du, dv = (k % columns - (columns - 1) / 2) * wide, (k // columns - (rows - 1) / 2) * tall
        item.x, item.y = to_x(du, dv), to_y(du, dv)
        scene.components.append(item)
    return scene


# ---- what only a target uses -----------------------------------------------------------------------------------


@family("scratch", "chip", "dent", "stain", "discoloured", "crack")
def hex_nut(style: Random, each: Random, size: Size) -> Scene:
    """A hexagon nut from above with a chamfer and a threaded bore."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.8)
    radius = np.hypot(u, v)
    outline = polygon(u, v, 6, half * 0.85, half * 0.04)
    shape = np.maximum(outline, np.float32(half * 0.42) - radius)
    height = np.minimum(bevel(outline, 3, 8), 8 - 0.45 * np.maximum(radius - np.float32(half * 0.8), 0))
    thread = step(radius, half * 0.55, half * 0.53)
    height = height - 4 * thread + thread * np.sin(radius * np.float32(1.1)) * 0.8
    lines = 0.05 * streaks(each, size, 50, 1.2, each.uniform(0, np.pi))
    albedo = np.array([0.5, 0.5, 0.48], np.float32) * (1 + lines + 0.05 * smooth(each, size, 30))[..., None]
    return put(scene, shape, albedo, height, 0.4)


@family("crack", "chip", "spots", "discoloured", "missing", "scratch", "stain")
def tablet(style: Random, each: Random, size: Size) -> Scene:
    """A coated tablet with a score line, speckles and a printed code."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.88, 0.35)
    shape = capsule(u, v, half * 0.4, half * 0.52)
    height = bevel(shape, half * 0.4, half * 0.28) - cover(np.abs(u) - 2, 3) * 4
    speckle = step(smooth(each, size, 2.5), 1.7, 2.2) * 0.25
    albedo = colour(style, 0.7, 0.9, 0.2) * (1 - speckle + 0.012 * smooth(each, size, 3))[..., None]
    put(scene, shape, albedo, height, 0.2)
    to_x, to_y, angle = _placer(u, v)
    ink, side = colour(style, 0.1, 0.3, 0.8), half * 0.2
    for sign in range(4):
        shape = patch(side * 1.6, side * 2)[0].shape
        strokes = np.full(shape, 99, np.float32)
        for _ in range(3):
            a, b = style.uniform(-0.5, 0.5, 2) * side
            p, q = axes(shape, style.choice([0, np.pi / 2]), ((shape[1] - 1) / 2 + a, (shape[0] - 1) / 2 + b))
            strokes = np.minimum(strokes, capsule(p, q, side * 0.5, side * 0.13))
        du = (sign - 1.5) * side * 1.8
        item = piece(strokes, ink, 0.0, 1, 0.1, to_x(du, 0), to_y(du, 0), angle)
        item.lift = 0.0
        scene.components.append(item)
    return scene


@family("missing", "misplaced", "wrong", "scratch", "stain", "foreign", "missing", "spots")
def circuit_board(style: Random, each: Random, size: Size) -> Scene:
    """A board with tracks, pads, chips, resistors and capacitors; the same layout on every board of the category."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.98, 0.05)
    shape = box(u, v, half, half * 0.8, 4)
    mask = np.array(style.choice([[0.05, 0.27, 0.12], [0.05, 0.14, 0.32], [0.07, 0.07, 0.08]]), np.float32)
    put(scene, shape, mask * (1 + 0.03 * smooth(each, size, 1.5))[..., None], bevel(shape, 2, 3), 0.3)
    to_x, to_y, angle = _placer(u, v)
    # Tracks, on canvases four times as fine, drawn in the board's own coordinates.
    tracks = np.zeros(size, np.uint8)
    for _ in range(26):
        x, y = style.uniform(-0.9, 0.9) * half, style.uniform(-0.72, 0.72) * half
        points = [(x, y)]
        for _ in range(3):
            x, y = np.clip(x + style.normal(0, 0.35) * half, -0.9 * half, 0.9 * half), y
            points.append((x, y))
            y = np.clip(y + style.normal(0, 0.25) * half, -0.72 * half, 0.72 * half)
            points.append((x, y))
        line = np.array([[to_x(*p) * 16, to_y(*p) * 16] for p in points]).round().astype(np.int32)
        cv2.polylines(tracks, [line], False, 255, 2, cv2.LINE_AA, 4)
    track = tracks.astype(np.float32) / 255
    scene.tint(track, np.clip(mask * 1.7 + 0.03, 0, 1))
    scene.height += 0.5 * track
    tin = np.array([0.72, 0.72, 0.7], np.float32)
    taken: list[tuple[float, float, float]] = []
    for k in range(34):
        kind = 0 if k < 3 else int(style.integers(1, 4))
        long = half * (style.uniform(0.16, 0.24) if kind == 0 else style.uniform(0.06, 0.1))
        du, dv = style.uniform(-0.85, 0.85) * half, style.uniform(-0.65, 0.65) * half
        if any(np.hypot(du - a, dv - b) < long + c + 3 for a, b, c in taken):
            continue
        taken.append((du, dv, long))
        turn = angle + float(style.choice([0, 90])) + float(each.normal(0, 0.7))
        where = (to_x(du, dv), to_y(du, dv), turn)
        if kind == 3:
            x, y = patch(2 * long, 2 * long)
            item = piece(np.hypot(x, y) - np.float32(long * 0.9), tin, 7, 3, 0.6, *where)
            item.albedo -= np.float32(0.4) * cover(np.abs(x) - 1)[..., None]
        elif kind == 0:
            x, y = patch(2 * long, 2.3 * long)
            body = box(x, y, long, long * 0.85, 2)
            pins = np.maximum(
                box(x, y, long * 0.9, long * 1.1), np.abs((x / (long * 0.22)) % 1 - 0.5) * long * 0.22 - 1.4
            )
            item = piece(np.minimum(body, pins), np.float32([0.09, 0.09, 0.1]), 5, 2, 0.2, *where)
            item.albedo += (tin - item.albedo) * cover(-body)[..., None]
            dot = np.hypot(x + np.float32(long * 0.75), y + np.float32(long * 0.6)) - np.float32(long * 0.09)
            item.albedo += np.float32(0.4) * cover(dot)[..., None]
        else:
            x, y = patch(2 * long, 1.2 * long)
            body = np.float32([[0.08, 0.08, 0.09], [0.55, 0.4, 0.25]][kind - 1])
            item = piece(box(x, y, long, long * 0.5, 1), body, 4, 2, 0.3, *where)
            item.albedo += (tin - item.albedo) * cover(np.float32(long * 0.65) - np.abs(x))[..., None]
        scene.components.append(item)
    return scene


@family("misplaced", "wrong", "missing", "dent", "stain", "spots", "crack", "hole")
def capsules(style: Random, each: Random, size: Size) -> Scene:
    """Two-coloured gelatine capsules lying loosely in rows."""
    scene = table(style, each, size)
    first, second = colour(style, 0.3, 0.8, 0.9), colour(style, 0.5, 0.9, 0.4)
    long, radius = 0.15 * min(size), 0.062 * min(size)
    x, y = patch(2 * long + 2, 2.4 * radius)
    body = capsule(x, y, long - radius, radius)
    lid = capsule(x - np.float32(long * 0.3), y, long * 0.7 - radius, radius * 1.06)
    for row in range(3):
        for column in range(4):
            two = np.where((x > 0)[..., None], first, second) * np.float32(each.normal(1, 0.02))
            item = piece(np.minimum(body, lid), np.clip(two, 0, 1), radius * 0.9, radius, 0.6, 0, 0)
            item.height += cover(lid) * np.float32(1.2)
            item.x = size[1] * (column + 0.5) / 4 + each.normal(0, 0.015) * min(size)
            item.y = size[0] * (row + 0.5) / 3 + each.normal(0, 0.02) * min(size)
            item.angle, item.lift = 90 + each.normal(0, 18), 1.0
            scene.components.append(item)
    return scene


@family("chip", "crack", "hole", "spots", "discoloured", "foreign", "stain")
def biscuit(style: Random, each: Random, size: Size) -> Scene:
    """A round baked biscuit: browned rim, docking holes and crumbs."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.9)
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    ruffle = np.float32(half * 0.02) * np.cos(angle * 22) + np.float32(half * 0.008) * smooth(each, size, 30)
    shape = radius - np.float32(half * 0.96) - ruffle
    near_u, near_v = (np.abs(c % np.float32(half * 0.3) - np.float32(half * 0.15)) for c in (u, v))
    dock = np.maximum(np.hypot(near_u, near_v) - np.float32(half * 0.028), radius - np.float32(half * 0.72))
    crumb = fractal(each, size, 9, 4, 0.8)
    brown = step(radius, half * 0.6, half) * 0.35 + 0.05 * fractal(each, size, 50)
    albedo = np.float32([0.78, 0.58, 0.34]) * (1 - brown + 0.05 * crumb)[..., None]
    height = bevel(shape, half * 0.2, 7) + 0.35 * crumb - 3 * cover(dock, 2)
    return put(scene, shape, albedo * (1 - 0.4 * cover(dock, 2))[..., None], height, 0.05)


@family("scratch", "dent", "stain", "chip", "spots", "abrasion", "crack")
def turned_disc(style: Random, each: Random, size: Size) -> Scene:
    """A faced and drilled flange: fine turning marks, a collar and a circle of bolt holes."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.95)
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    shape = np.maximum(radius - np.float32(half), np.float32(half * 0.2) - radius)
    part = np.float32(2 * np.pi / 6)
    turned = (angle + part / 2) % part - part / 2
    bolt = np.hypot(radius * np.cos(turned) - np.float32(half * 0.72), radius * np.sin(turned)) - np.float32(
        half * 0.085
    )
    shape = np.maximum(shape, -bolt)
    profile = cv2.GaussianBlur(each.standard_normal((1, 2048), dtype=np.float32), (0, 0), 0.9)[0]
    marks = profile[np.minimum(radius * 2, 2047).astype(int)]
    # Turning marks scatter light along a bow tie, as on a compact disc.
    bow = 0.16 * np.cos(2 * (angle - each.uniform(0, np.pi)))
    height = bevel(shape, 3, 4) + step(radius, half * 0.47, half * 0.44) * 3 + 0.1 * marks
    albedo = np.float32([0.5, 0.5, 0.51]) * (1 + 0.06 * marks + bow)[..., None]
    return put(scene, shape, albedo, height, 0.35)


@family("scratch", "stain", "dent", "chip", "missing", "discoloured", "crack")
def slotted_plate(style: Random, each: Random, size: Size) -> Scene:
    """An enamelled plate with rows of slots and a rivet in each corner."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.95, 0.1)
    shape = box(u, v, half, half * 0.9, half * 0.08)
    pitch = half * 0.28
    slots = capsule(
        np.abs(u) - np.float32(half * 0.36), v % np.float32(pitch) - np.float32(pitch / 2), half * 0.2, half * 0.05
    )
    slots = np.maximum(slots, np.abs(v) - np.float32(half * 0.69))
    shape = np.maximum(shape, -slots)
    tone = colour(style, 0.4, 0.75, 0.5)
    albedo = tone * (1 + 0.012 * smooth(each, size, 2) + 0.02 * smooth(each, size, 70))[..., None]
    put(scene, shape, albedo, bevel(shape, 5, 5) + 0.15 * smooth(each, size, 9), 0.5)
    to_x, to_y, angle = _placer(u, v)
    x, y = patch(half * 0.16, half * 0.16)
    for du, dv in ((-0.85, -0.77), (0.85, -0.77), (-0.85, 0.77), (0.85, 0.77)):
        item = piece(
            np.hypot(x, y) - np.float32(half * 0.075), np.float32([0.7, 0.68, 0.62]), 4, half * 0.06, 0.7, 0, 0
        )
        item.x, item.y, item.angle = to_x(du * half, dv * half), to_y(du * half, dv * half), angle
        scene.components.append(item)
    return scene


@family("scratch", "chip", "stain", "dent", "discoloured", "hole", "abrasion")
def bracket(style: Random, each: Random, size: Size) -> Scene:
    """A painted angle bracket with holes and a bend."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.9)
    arm = half * 0.3
    one = box(u, v + np.float32(half * 0.6), half * 0.9, arm, half * 0.08)
    two = box(u + np.float32(half * 0.6), v, arm, half * 0.9, half * 0.08)
    shape = np.minimum(one, two)
    for du, dv in ((0.6, -0.6), (0.15, -0.6), (-0.6, 0.6), (-0.6, 0.15)):
        near = np.hypot(u - np.float32(du * half), v - np.float32(dv * half))
        shape = np.maximum(shape, np.float32(half * 0.1) - near)
    bend = step(u, -half * 0.32, -half * 0.26)
    tone = colour(style, 0.15, 0.6, 0.5)
    albedo = tone * (1 + 0.02 * smooth(each, size, 1.5) - 0.1 * bend)[..., None]
    return put(scene, shape, albedo, bevel(shape, 4, 5) + 2 * bend + 0.15 * smooth(each, size, 4), 0.35)


@family("scratch", "dent", "stain", "abrasion", "chip", "discoloured")
def tubes(style: Random, each: Random, size: Size) -> Scene:
    """Drawn tubes lying side by side, seen from the side, their ends open."""
    scene = table(style, each, size)
    number, angle = 4, style.uniform(-0.4, 0.4) + each.normal(0, 0.06)
    radius = 0.085 * min(size)
    centre = (size[1] / 2 + each.normal(0, 6), size[0] / 2 + each.normal(0, 6))
    u, v = axes(size, angle, centre)
    for k in range(number):
        across = v - np.float32((k - (number - 1) / 2) * radius * 2.35 + each.normal(0, 1.5))
        along = u - np.float32(each.normal(0, 0.03) * min(size))
        shape = box(along, across, 0.38 * min(size), radius, 3)
        grain = 0.05 * streaks(each, size, 120, 1.3, angle)
        tone = np.float32([0.55, 0.53, 0.5]) * (1 + grain)[..., None]
        end = box(along - np.float32(0.38 * min(size)), across, radius * 0.25, radius * 0.8, 2)
        round_ = np.sqrt(np.maximum(np.float32(radius**2) - across**2, 0)) * np.float32(0.8)
        put(scene, shape, tone * (1 - 0.8 * cover(end, 3))[..., None], round_, 0.6)
    return scene


# ---- help ------------------------------------------------------------------------------------------------------


def _placer(u: Array, v: Array) -> tuple[Along, Along, float]:
    """Functions from a part's own coordinates to the image's x and y, and the part's angle in degrees for cv2."""
    # u and v are linear in x and y, so three of their values hold the whole map.
    ux, uy = float(u[0, 1] - u[0, 0]), float(u[1, 0] - u[0, 0])
    cx = float(-(u[0, 0] * ux + -v[0, 0] * uy))
    cy = float(-(u[0, 0] * uy + v[0, 0] * ux))
    angle = -float(np.degrees(np.arctan2(uy, ux)))
    return lambda a, b: cx + a * ux - b * uy, lambda a, b: cy + a * uy + b * ux, angle
