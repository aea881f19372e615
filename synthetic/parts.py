"""Families of parts without components: machined, moulded, cast, baked."""

import cv2
import numpy as np

from synthetic.fields import axes, bevel, box, colour, cover, fractal, polygon, sector_angle, smooth, step, streaks
from synthetic.scene import Array, Random, Scene, Size, family

MACHINED = ("scratch", "chip", "dent", "stain", "spots", "crack", "abrasion", "discoloured")
MOULDED = ("scratch", "chip", "stain", "crack", "hole", "discoloured", "smear", "thread", "foreign")


def table(style: Random, each: Random, size: Size) -> Scene:
    """Make an even, cloudy, striped or grainy ground for parts, without defects."""
    ground, kind = colour(style, 0.05, 0.9, 0.35), int(style.integers(0, 4))
    tone = 0.02 * fractal(each, size, 90)
    if kind == 1:
        tone = tone + 0.07 * fractal(each, size, 30, 5, 0.7)
    elif kind == 2:
        tone = tone + 0.06 * streaks(each, size, 120, 1.5, style.uniform(0, np.pi))
    elif kind == 3:
        tone = tone + 0.05 * smooth(each, size, 1.5)
    albedo = np.clip(ground * (1 + tone)[..., None], 0.01, 1)
    zero = np.zeros(size, np.float32)
    return Scene(albedo, zero.copy(), zero + 0.05, zero.copy(), zero.copy(), albedo.copy())


def pose(style: Random, each: Random, size: Size, fill: float, turn: float = np.pi) -> tuple[Array, Array, float]:
    """Draw the pose of a part that fills that share of the side: coordinates (u, v) and half size in pixels."""
    half = 0.5 * fill * min(size) * style.uniform(0.85, 1.05) * each.uniform(0.97, 1.03)
    room = max(min(size) / 2 - half, 0) * 0.6 + 3
    centre = (size[1] / 2 + each.uniform(-room, room), size[0] / 2 + each.uniform(-room, room))
    u, v = axes(size, each.uniform(-turn, turn), centre)
    return u, v, float(half)


def put(scene: Scene, shape: Array, albedo: Array, height: Array, gloss: float) -> Scene:
    """Put a part with the signed distance `shape` on the table, and allow defects inside it."""
    on = cover(shape, 1.4)
    scene.lay(on, np.clip(albedo, 0.01, 1), height, gloss)
    scene.region = np.maximum(scene.region, cover(shape + 1.0))
    return scene


def finish(style: Random, each: Random, size: Size, tone: Array, u: Array, v: Array) -> Array:
    """Draw a part's colour, (H, W, 3), from its base `tone`, (3,): cast, turned, brushed or moulded."""
    kind = int(style.integers(0, 4))
    if kind == 0:
        grain = 0.05 * fractal(each, size, 6, 3, 0.8)
    elif kind == 1:
        profile = cv2.GaussianBlur(each.standard_normal((1, 1024), dtype=np.float32), (0, 0), 0.8)[0]
        grain = 0.07 * profile[np.minimum(np.hypot(u, v) * 1.3, 1023).astype(int)]
    elif kind == 2:
        grain = 0.05 * streaks(each, size, 90, 1.3, style.uniform(0, np.pi))
    else:
        grain = 0.015 * smooth(each, size, 2)
    return tone * (1 + grain + 0.02 * smooth(each, size, 60))[..., None]


@family(*MACHINED)
def gear(style: Random, each: Random, size: Size) -> Scene:
    """A toothed wheel with a bore, a hub and sometimes holes in its web."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, style.uniform(0.65, 0.92))
    teeth, depth = int(style.integers(9, 30)), half * style.uniform(0.07, 0.16)
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    tooth = np.tanh(3 * np.sin(angle * teeth)) * (depth / 2)
    shape = np.maximum(radius - (half - depth / 2) - tooth, (half * style.uniform(0.12, 0.3)) - radius)
    hub = np.abs(radius - half * 0.55) - (half * style.uniform(0.1, 0.2))
    height = bevel(shape, 4, 5) - step(hub, 1.5, -1.5) * style.uniform(0.5, 3)
    if spokes := int(style.choice([0, 0, 3, 4, 5, 6])):
        turned = sector_angle(angle, spokes)
        along = radius * np.cos(turned) - half * 0.55
        shape = np.maximum(shape, (half * 0.11) - np.hypot(along, radius * np.sin(turned)))
    albedo = finish(style, each, size, colour(style, 0.3, 0.75, 0.2), u, v)
    return put(scene, shape, albedo, height, style.uniform(0.1, 0.6))


@family(*MOULDED)
def cap(style: Random, each: Random, size: Size) -> Scene:
    """A round screw cap from above: ribbed skirt, stepped and domed top, sometimes a raised mark."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, style.uniform(0.6, 0.92))
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    rib = np.sin(angle * int(style.integers(24, 70))) * step(radius, half * 0.86, half * 0.9)
    shape = radius - half
    height = bevel(shape, half * 0.12, half * 0.1) + bevel(radius - half * 0.84, half * 0.06, half * 0.06)
    height = height - step(radius, half * 0.6, half * 0.57) * style.uniform(-2, 2) + rib * 0.8
    tone = colour(style, 0.1, 0.9, 0.9)
    if style.random() < 0.5:
        mark = np.abs(polygon(u, v, int(style.integers(3, 7)), half * 0.3)) - half * 0.04
        height = height + cover(mark, 2) * 1.5
    albedo = tone * (1 + 0.01 * smooth(each, size, 2))[..., None]
    return put(scene, shape, albedo, height, style.uniform(0.1, 0.7))


@family(*MACHINED, "thread")
def washer(style: Random, each: Random, size: Size) -> Scene:
    """A flat ring, plain, stepped or tabbed."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, style.uniform(0.55, 0.9))
    radius, inner = np.hypot(u, v), half * style.uniform(0.3, 0.7)
    shape = np.maximum(radius - half, inner - radius)
    if style.random() < 0.4:
        shape = np.minimum(shape, np.maximum(box(u - half, v, half * 0.2, half * 0.12, 2), inner - radius))
    height = bevel(shape, style.uniform(2, 9), style.uniform(2, 6))
    albedo = finish(style, each, size, colour(style, 0.1, 0.8, 0.4), u, v)
    return put(scene, shape, albedo, height, style.uniform(0, 0.7))


@family("scratch", "chip", "stain", "dent", "spots", "discoloured", "crack", "foreign")
def screw(style: Random, each: Random, size: Size) -> Scene:
    """A screw from the side: head, shank and thread."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.92)
    shank, head = half * style.uniform(0.13, 0.22), half * style.uniform(0.28, 0.42)
    pitch = half * style.uniform(0.06, 0.13)
    wave = np.abs(((u + v * np.float32(0.35)) / np.float32(pitch)) % 1 - 0.5) * 2
    threaded = step(u, -half * 0.3, -half * 0.25)
    body = np.abs(v) - np.float32(shank) * (1 - step(u, half * 0.75, half)) + threaded * wave * np.float32(pitch * 0.3)
    shape = np.maximum(body, np.abs(u) - np.float32(half * 0.97))
    block = box(u + np.float32(half * 0.8), v, half * 0.17, head, half * style.uniform(0.01, 0.15))
    shape = np.minimum(shape, block)
    width = np.where(block < 0, np.float32(head), np.float32(shank))
    height = np.sqrt(np.maximum(width**2 - v**2, 0)) * 0.6 + threaded * (1 - wave) * np.float32(pitch * 0.35)
    albedo = colour(style, 0.2, 0.7, 0.35) * (1 + 0.03 * smooth(each, size, 2) - 0.3 * threaded * wave)[..., None]
    return put(scene, shape, albedo, height, style.uniform(0.2, 0.8))


@family("scratch", "dent", "stain", "spots", "discoloured", "abrasion", "chip", "smear")
def medal(style: Random, each: Random, size: Size) -> Scene:
    """A struck disc: a raised border with beads round a raised figure of a few lobes."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, style.uniform(0.7, 0.92), 0.4)
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    shape, lobes, twist = radius - half, int(style.integers(3, 8)), style.uniform(0, 0.02)
    figure = radius - (half * 0.4) * (1 + 0.45 * np.cos(lobes * (angle + radius * twist)))
    turned = sector_angle(angle, int(style.integers(20, 44)))
    bead = np.hypot(radius - half * 0.8, turned * radius) - half * 0.035
    height = bevel(shape, 4, 4) + step(radius, half * 0.88, half * 0.91) * 3
    height = height + bevel(figure, half * 0.1, 5) + bevel(bead, half * 0.035, 2)
    albedo = finish(style, each, size, colour(style, 0.3, 0.75, 0.5), u, v)
    return put(scene, shape, albedo, height, style.uniform(0.2, 0.7))


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
    scene.region *= 1 - mouth  # no defects in the opening
    return scene


@family(*MACHINED, "foreign", "hole")
def casting(style: Random, each: Random, size: Size) -> Scene:
    """A cast plate of irregular outline with a few round bosses and bored holes."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.85, 0.6)
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    wobble = sum(style.uniform(0, 0.16 / k) * np.cos(k * angle + style.uniform(0, 6)) for k in range(2, 6))
    shape = radius - (half * 0.85) * (1 + np.asarray(wobble, np.float32))
    height, tone = bevel(shape, style.uniform(3, 10), 6), colour(style, 0.2, 0.7, 0.25)
    bores, first = int(style.integers(1, 5)), style.uniform(0, 2 * np.pi)
    for k in range(bores):
        direction, away = first + 2 * np.pi * (k + style.uniform(-0.2, 0.2)) / bores, half * style.uniform(0.35, 0.5)
        near = np.hypot(u - np.float32(away * np.cos(direction)), v - np.float32(away * np.sin(direction)))
        bore = half * style.uniform(0.06, 0.16)
        height = height + bevel(near - bore * 2, 4, 3 if k % 2 else 0.01)
        shape = np.maximum(shape, bore - near)
    height = height + 0.3 * fractal(each, size, 5, 3, 0.8)
    albedo = tone * (1 + 0.05 * fractal(each, size, 12, 4, 0.7))[..., None]
    return put(scene, shape, albedo, height, style.uniform(0.05, 0.5))


@family(*MOULDED)
def button(style: Random, each: Random, size: Size) -> Scene:
    """A sewing button: a dished disc with a rim and two to four holes, plain or marbled."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, style.uniform(0.55, 0.92))
    radius = np.hypot(u, v)
    shape, holes = radius - half, int(style.choice([2, 4, 4]))
    height = bevel(shape, half * 0.2, half * 0.12) - bevel(radius - half * 0.65, half * 0.2, half * 0.07)
    for k in range(holes):
        turn, away = 2 * np.pi * k / holes, half * 0.22
        near = np.hypot(u - np.float32(away * np.cos(turn)), v - np.float32(away * np.sin(turn)))
        shape = np.maximum(shape, (half * 0.1) - near)
    marble = np.float32(style.choice([0.02, 0.02, 0.15])) * fractal(each, size, 40)
    return put(scene, shape, colour(style, 0.08, 0.9, 0.8) * (1 + marble)[..., None], height, style.uniform(0.1, 0.7))


@family("scratch", "chip", "dent", "stain", "discoloured", "crack")
def hex_nut(style: Random, each: Random, size: Size) -> Scene:
    """A hexagon nut from above with a chamfer and a threaded bore."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.8)
    radius, outline = np.hypot(u, v), polygon(u, v, 6, half * 0.85, half * 0.04)
    shape = np.maximum(outline, (half * 0.42) - radius)
    height = np.minimum(bevel(outline, 3, 8), 8 - 0.45 * np.maximum(radius - half * 0.8, 0))
    thread = step(radius, half * 0.55, half * 0.53)
    height = height - 4 * thread + thread * np.sin(radius * 1.1) * 0.8
    lines = 0.05 * streaks(each, size, 50, 1.2, each.uniform(0, np.pi))
    albedo = np.array([0.5, 0.5, 0.48], np.float32) * (1 + lines + 0.05 * smooth(each, size, 30))[..., None]
    return put(scene, shape, albedo, height, 0.4)


@family("chip", "crack", "hole", "spots", "discoloured", "foreign", "stain")
def biscuit(style: Random, each: Random, size: Size) -> Scene:
    """A round baked biscuit: browned rim, docking holes and crumbs."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.9)
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    ruffle = (half * 0.02) * np.cos(angle * 22) + (half * 0.008) * smooth(each, size, 30)
    shape = radius - half * 0.96 - ruffle
    near_u, near_v = (np.abs(c % (half * 0.3) - half * 0.15) for c in (u, v))
    dock = np.maximum(np.hypot(near_u, near_v) - half * 0.028, radius - half * 0.72)
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
    shape = np.maximum(radius - half, (half * 0.2) - radius)
    turned = sector_angle(angle, 6)
    bolt = np.hypot(radius * np.cos(turned) - half * 0.72, radius * np.sin(turned)) - np.float32(half * 0.085)
    shape = np.maximum(shape, -bolt)
    profile = cv2.GaussianBlur(each.standard_normal((1, 2048), dtype=np.float32), (0, 0), 0.9)[0]
    marks = profile[np.minimum(radius * 2, 2047).astype(int)]
    # Turning marks scatter light along a bow tie, as on a compact disc.
    bow = 0.16 * np.cos(2 * (angle - each.uniform(0, np.pi)))
    height = bevel(shape, 3, 4) + step(radius, half * 0.47, half * 0.44) * 3 + 0.1 * marks
    albedo = np.float32([0.5, 0.5, 0.51]) * (1 + 0.06 * marks + bow)[..., None]
    return put(scene, shape, albedo, height, 0.35)


@family("scratch", "chip", "stain", "dent", "discoloured", "hole", "abrasion")
def bracket(style: Random, each: Random, size: Size) -> Scene:
    """A painted angle bracket with holes and a bend."""
    scene, (u, v, half) = table(style, each, size), pose(style, each, size, 0.9)
    one = box(u, v + half * 0.6, half * 0.9, half * 0.3, half * 0.08)
    shape = np.minimum(one, box(u + half * 0.6, v, half * 0.3, half * 0.9, half * 0.08))
    for du, dv in ((0.6, -0.6), (0.15, -0.6), (-0.6, 0.6), (-0.6, 0.15)):
        shape = np.maximum(shape, (half * 0.1) - np.hypot(u - du * half, v - dv * half))
    bend = step(u, -half * 0.32, -half * 0.26)
    albedo = colour(style, 0.15, 0.6, 0.5) * (1 + 0.02 * smooth(each, size, 1.5) - 0.1 * bend)[..., None]
    return put(scene, shape, albedo, bevel(shape, 4, 5) + 2 * bend + 0.15 * smooth(each, size, 4), 0.35)


@family("scratch", "dent", "stain", "abrasion", "chip", "discoloured")
def tubes(style: Random, each: Random, size: Size) -> Scene:
    """Drawn tubes lying side by side, seen from the side, their ends open."""
    scene = table(style, each, size)
    angle, radius = style.uniform(-0.4, 0.4) + each.normal(0, 0.06), 0.085 * min(size)
    u, v = axes(size, angle, (size[1] / 2 + each.normal(0, 6), size[0] / 2 + each.normal(0, 6)))
    for k in range(4):
        across = v - ((k - 1.5) * radius * 2.35 + each.normal(0, 1.5))
        along = u - (each.normal(0, 0.03) * min(size))
        shape = box(along, across, 0.38 * min(size), radius, 3)
        tone = np.float32([0.55, 0.53, 0.5]) * (1 + 0.05 * streaks(each, size, 120, 1.3, angle))[..., None]
        end = box(along - (0.38 * min(size)), across, radius * 0.25, radius * 0.8, 2)
        round_ = np.sqrt(np.maximum((radius**2) - across**2, 0)) * 0.8
        put(scene, shape, tone * (1 - 0.8 * cover(end, 3))[..., None], round_, 0.6)
    return scene


@family(*MOULDED)
def figurine(style: Random, each: Random, size: Size) -> Scene:
    """A rounded body with up to five limbs, each with or without a thicker end, and up to eight painted spots."""
    scene, side = table(style, each, size), min(size)
    centre = size[1] / 2 + each.normal(0, 0.03 * side), size[0] / 2 + each.normal(0, 0.03 * side)
    u, v = axes(size, each.uniform(-np.pi, np.pi), centre)
    half, squash = side * style.uniform(0.12, 0.24), float(np.exp(style.uniform(-0.5, 0.5)))
    if style.random() < 0.6:
        shape = np.hypot(u / squash, v * squash) - half
    else:
        shape = box(u, v, half * squash, half / squash, half * style.uniform(0.1, 0.5))
    limbs = int(style.integers(0, 6))
    for number in range(limbs):
        angle = 2 * np.pi * (number + style.normal(0, 0.15)) / limbs + each.normal(0, 0.05)
        length, width = side * style.uniform(0.18, 0.4), side * style.uniform(0.025, 0.07)
        shape = np.minimum(shape, _limb(u, v, angle, length, width, style))
    shape = cv2.GaussianBlur(shape, (0, 0), side * style.uniform(0.004, 0.012))
    tone = colour(style, 0.15, 0.9, 0.9) * (1 + style.uniform(0, 0.12) * fractal(each, size, side / 12))[..., None]
    for _ in range(int(style.integers(0, 9))):
        x, y = style.uniform(-0.6, 0.6, 2) * half
        radius = np.float32(side * style.uniform(0.008, 0.025))
        spot = np.hypot(u - np.float32(x * squash), v - np.float32(y / squash)) - radius
        tone = tone + (colour(style, 0.05, 0.95, 0.9) - tone) * cover(spot)[..., None]
    height = bevel(shape, half * style.uniform(0.3, 1), half * style.uniform(0.1, 0.4)) + smooth(each, size, side / 20)
    return put(scene, shape, tone, height, style.uniform(0.0, 0.8))


def _limb(u: Array, v: Array, angle: float, length: float, width: float, style: Random) -> Array:
    """Return the signed distance of a bent stick from the body's centre that widens or narrows to its end."""
    last, bend = style.uniform(0.6, 1.3), style.normal(0, 0.03)
    x = y = 0.0
    shape = np.full(u.shape, np.inf, np.float32)
    pieces = max(4, int(length / max(width, 2)) * 2)
    for number in range(pieces):
        share = number / (pieces - 1)
        radius = width * (1 + (last - 1) * share)
        shape = np.minimum(shape, np.hypot(u - np.float32(x), v - np.float32(y)) - radius)
        x, y = x + length / pieces * np.cos(angle), y + length / pieces * np.sin(angle)
        angle += bend
    if style.random() < 0.5:
        end = width * last * style.uniform(1.1, 1.9)
        shape = np.minimum(shape, np.hypot(u - np.float32(x), v - np.float32(y)) - end)
    return shape
