"""Families of assemblies: parts with components that can be missing, misplaced or wrong."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from synthetic.fields import axes, bevel, box, capsule, colour, cover, polygon, smooth, step
from synthetic.parts import pose, put, table
from synthetic.scene import Array, Component, Random, Scene, Size, family


def piece(outline: Array, albedo: Array, rise: float, rim: float, gloss: float) -> Component:
    """Make a component from its signed distance (h, w), colour (3,) or (h, w, 3), height and rounding in pixels."""
    whole = np.broadcast_to(np.asarray(albedo, np.float32), (*outline.shape, 3)).copy()
    return Component(whole, cover(outline), bevel(outline, rim, rise), gloss)


def patch(width: float, height: float) -> tuple[Array, Array]:
    """Return coordinates for a component of that size in pixels, with a border."""
    n, m = int(height) + 5, int(width) + 5
    return axes((n, m), 0.0, ((m - 1) / 2, (n - 1) / 2))


def _frame(u: Array, v: Array) -> tuple[Callable[[float, float], tuple[float, float]], float]:
    """Return a function from a part's coordinates to the image's (x, y), and the part's angle in degrees for cv2."""
    ux, uy = float(u[0, 1] - u[0, 0]), float(u[1, 0] - u[0, 0])
    cx = float(-(u[0, 0] * ux + -v[0, 0] * uy))
    cy = float(-(u[0, 0] * uy + v[0, 0] * ux))
    angle = -float(np.degrees(np.arctan2(uy, ux)))
    return lambda a, b: (float(cx + a * ux - b * uy), float(cy + a * uy + b * ux)), angle


def _placer(scene: Scene, u: Array, v: Array) -> Callable[..., None]:
    """Return a function that puts a component at a part's coordinates (a, b), rotated by `turn` degrees."""
    to_image, angle = _frame(u, v)

    def place(item: Component, a: float, b: float, turn: float = 0.0) -> None:
        x, y = to_image(a, b)
        scene.components.append(replace(item, x=x, y=y, angle=float(angle + turn)))

    return place


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
    outline = box(x, y, side / 2, side / 2, 1) if square else np.hypot(x, y) - (side / 2)
    place, pin = _placer(scene, u, v), piece(outline, metal, 4, side / 3, 0.7)
    for row in range(rows):
        for column in range(columns):
            du, dv = (column - (columns - 1) / 2) * pitch, (row - (rows - 1) / 2) * min(pitch * 1.2, 2 * tall / rows)
            place(pin, du, dv)
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
    near_u, near_v = ((c + half * 0.93) % pitch - (pitch / 2) for c in (u, v))
    hollow = np.hypot(near_u, near_v) - pitch * 0.46
    inside = step(box(u, v, half * 0.93, half * 0.93), 1, -1)
    height = bevel(shape, 4, 4) - inside * step(hollow, 2, -3) * 4
    put(scene, shape, tray * (1 + 0.01 * smooth(each, size, 3))[..., None], height, style.uniform(0.1, 0.5))
    x, y = patch(side, side)
    outline = box(x, y, side / 2, side / 2, side * 0.15) if square else np.hypot(x, y) - (side / 2)
    place = _placer(scene, u, v)
    for row in range(number):
        for column in range(number):
            du, dv = ((k - (number - 1) / 2) * pitch + each.normal(0, 0.02) * pitch for k in (column, row))
            item = piece(outline, np.clip(sweet * each.normal(1, 0.03), 0, 1), side * 0.2, side * 0.3, 0.4)
            place(item, du, dv, each.uniform(-8, 8) if square else 0)
    return scene


@family("missing", "misplaced", "wrong", "stain", "scratch", "smear", "foreign", "discoloured")
def dial(style: Random, each: Random, size: Size) -> Scene:
    """A printed face: hour marks round the edge and rings or lines inside."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.94, 0.15)
    face, ink = colour(style, 0.05, 0.95, 0.3), colour(style, 0.05, 0.95, 0.8)
    if np.abs(face - ink).max() < 0.3:  # marks must be readable
        ink = np.where(face < 0.5, 0.9, 0.08).astype(np.float32)
    radius = np.hypot(u, v)
    shape = radius - half
    albedo = face * (1 + 0.015 * smooth(each, size, 3))[..., None]
    put(scene, shape, albedo, bevel(shape, 6, 6), style.uniform(0.1, 0.5))
    scene.tint(cover(np.abs(radius - half * 0.6) - 1.2), ink)
    scene.tint(cover(radius - half * 0.06), ink)
    number, long, wide = int(style.integers(8, 25)), half * style.uniform(0.1, 0.2), half * style.uniform(0.03, 0.07)
    x, y = patch(2 * long, 2 * wide)
    mark = replace(piece(box(x, y, long * 0.95, wide, 1), ink, 0.0, 1, 0.1), lift=0.0)
    place = _placer(scene, u, v)
    for k in range(number):
        turn = 2 * np.pi * k / number
        place(mark, half * 0.8 * np.cos(turn), half * 0.8 * np.sin(turn), -np.degrees(turn))
    return scene


@family("missing", "misplaced", "wrong", "scratch", "stain", "smear", "crack", "spots")
def keypad(style: Random, each: Random, size: Size) -> Scene:
    """A panel with keys, each printed with its own sign."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.96, 0.06)
    columns, rows = int(style.integers(3, 5)), int(style.integers(3, 6))
    wide, tall = 1.8 * half / columns, 1.8 * half / rows
    panel, key, sign = colour(style, 0.05, 0.8, 0.4), colour(style, 0.1, 0.9, 0.6), colour(style, 0.05, 0.95, 0.6)
    shape = box(u, v, half, half, half * 0.07)
    albedo = panel * (1 + 0.03 * smooth(each, size, 1.5))[..., None]
    put(scene, shape, albedo, bevel(shape, 4, 4), style.uniform(0.05, 0.4))
    place = _placer(scene, u, v)
    for k in range(rows * columns):
        x, y = patch(wide * 0.8, tall * 0.8)
        item = piece(box(x, y, wide * 0.38, tall * 0.38, 3), key, 4, 4, 0.3)
        side = min(wide, tall) * 0.3
        # The sign of each key belongs to the category: it comes from `style`.
        mark = np.abs(polygon(x, y, int(style.integers(3, 8)), side * 0.5)) - side * 0.12
        mark = np.minimum(mark, box(x, y, side * style.random() * 0.5, side * 0.1))
        item.albedo += (sign - item.albedo) * cover(mark)[..., None]
        place(item, (k % columns - (columns - 1) / 2) * wide, (k // columns - (rows - 1) / 2) * tall)
    return scene


@family("crack", "chip", "spots", "discoloured", "missing", "scratch", "stain")
def tablet(style: Random, each: Random, size: Size) -> Scene:
    """A coated tablet with a score line, speckles and a printed code."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.88, 0.35)
    shape = capsule(u, v, half * 0.4, half * 0.52)
    height = bevel(shape, half * 0.4, half * 0.28) - cover(np.abs(u) - 2, 3) * 4
    speckle = step(smooth(each, size, 2.5), 1.7, 2.2) * 0.25
    albedo = colour(style, 0.7, 0.9, 0.2) * (1 - speckle + 0.012 * smooth(each, size, 3))[..., None]
    put(scene, shape, albedo, height, 0.2)
    place = _placer(scene, u, v)
    ink, side = colour(style, 0.1, 0.3, 0.8), half * 0.2
    for sign in range(4):
        shape = patch(side * 1.6, side * 2)[0].shape
        strokes = np.full(shape, 99, np.float32)
        for _ in range(3):
            a, b = style.uniform(-0.5, 0.5, 2) * side
            p, q = axes(shape, style.choice([0, np.pi / 2]), ((shape[1] - 1) / 2 + a, (shape[0] - 1) / 2 + b))
            strokes = np.minimum(strokes, capsule(p, q, side * 0.5, side * 0.13))
        place(replace(piece(strokes, ink, 0.0, 1, 0.1), lift=0.0), (sign - 1.5) * side * 1.8, 0)
    return scene


@family("missing", "misplaced", "wrong", "scratch", "stain", "foreign", "missing", "spots")
def circuit_board(style: Random, each: Random, size: Size) -> Scene:
    """A board with tracks, pads, chips, resistors and capacitors; the same layout on every board of the category."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.98, 0.05)
    shape = box(u, v, half, half * 0.8, 4)
    mask = np.array(style.choice([[0.05, 0.27, 0.12], [0.05, 0.14, 0.32], [0.07, 0.07, 0.08]]), np.float32)
    put(scene, shape, mask * (1 + 0.03 * smooth(each, size, 1.5))[..., None], bevel(shape, 2, 3), 0.3)
    place, (to_image, _) = _placer(scene, u, v), _frame(u, v)
    tracks = np.zeros(size, np.uint8)
    for _ in range(26):
        x, y = style.uniform(-0.9, 0.9) * half, style.uniform(-0.72, 0.72) * half
        points = [(x, y)]
        for _ in range(3):
            x, y = np.clip(x + style.normal(0, 0.35) * half, -0.9 * half, 0.9 * half), y
            points.append((x, y))
            y = np.clip(y + style.normal(0, 0.25) * half, -0.72 * half, 0.72 * half)
            points.append((x, y))
        line = (np.array([to_image(*p) for p in points]) * 16).round().astype(np.int32)
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
        turn = float(style.choice([0, 90])) + float(each.normal(0, 0.7))
        if kind == 3:
            x, y = patch(2 * long, 2 * long)
            item = piece(np.hypot(x, y) - long * 0.9, tin, 7, 3, 0.6)
            item.albedo -= 0.4 * cover(np.abs(x) - 1)[..., None]
        elif kind == 0:
            x, y = patch(2 * long, 2.3 * long)
            body = box(x, y, long, long * 0.85, 2)
            gaps = np.abs((x / (long * 0.22)) % 1 - 0.5) * long * 0.22 - 1.4
            pins = np.maximum(box(x, y, long * 0.9, long * 1.1), gaps)
            item = piece(np.minimum(body, pins), np.float32([0.09, 0.09, 0.1]), 5, 2, 0.2)
            item.albedo += (tin - item.albedo) * cover(-body)[..., None]
            item.albedo += 0.4 * cover(np.hypot(x + long * 0.75, y + long * 0.6) - long * 0.09)[..., None]
        else:
            x, y = patch(2 * long, 1.2 * long)
            body = np.float32([[0.08, 0.08, 0.09], [0.55, 0.4, 0.25]][kind - 1])
            item = piece(box(x, y, long, long * 0.5, 1), body, 4, 2, 0.3)
            item.albedo += (tin - item.albedo) * cover((long * 0.65) - np.abs(x))[..., None]
        place(item, du, dv, turn)
    return scene


@family("misplaced", "wrong", "missing", "dent", "stain", "spots", "crack", "hole")
def capsules(style: Random, each: Random, size: Size) -> Scene:
    """Two-coloured gelatine capsules lying loosely in rows."""
    scene = table(style, each, size)
    first, second = colour(style, 0.3, 0.8, 0.9), colour(style, 0.5, 0.9, 0.4)
    long, radius = 0.15 * min(size), 0.062 * min(size)
    x, y = patch(2 * long + 2, 2.4 * radius)
    body = capsule(x, y, long - radius, radius)
    lid = capsule(x - long * 0.3, y, long * 0.7 - radius, radius * 1.06)
    for row in range(3):
        for column in range(4):
            two = np.where((x > 0)[..., None], first, second) * each.normal(1, 0.02)
            item = piece(np.minimum(body, lid), np.clip(two, 0, 1), radius * 0.9, radius, 0.6)
            item.height += cover(lid) * 1.2
            item.x = size[1] * (column + 0.5) / 4 + each.normal(0, 0.015) * min(size)
            item.y = size[0] * (row + 0.5) / 3 + each.normal(0, 0.02) * min(size)
            item.angle, item.lift = 90 + each.normal(0, 18), 1.0
            scene.components.append(item)
    return scene


@family("scratch", "stain", "dent", "chip", "missing", "discoloured", "crack")
def slotted_plate(style: Random, each: Random, size: Size) -> Scene:
    """An enamelled plate with rows of slots and a rivet in each corner."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.95, 0.1)
    shape = box(u, v, half, half * 0.9, half * 0.08)
    pitch = half * 0.28
    slots = capsule(np.abs(u) - half * 0.36, v % pitch - (pitch / 2), half * 0.2, half * 0.05)
    slots = np.maximum(slots, np.abs(v) - half * 0.69)
    shape = np.maximum(shape, -slots)
    tone = 1 + 0.012 * smooth(each, size, 2) + 0.02 * smooth(each, size, 70)
    albedo = colour(style, 0.4, 0.75, 0.5) * tone[..., None]
    put(scene, shape, albedo, bevel(shape, 5, 5) + 0.15 * smooth(each, size, 9), 0.5)
    place, (x, y) = _placer(scene, u, v), patch(half * 0.16, half * 0.16)
    rivet = piece(np.hypot(x, y) - half * 0.075, np.float32([0.7, 0.68, 0.62]), 4, half * 0.06, 0.7)
    for du, dv in ((-0.85, -0.77), (0.85, -0.77), (-0.85, 0.77), (0.85, 0.77)):
        place(rivet, du * half, dv * half)
    return scene
