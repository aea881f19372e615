"""Families that fill the image: woven, printed, granular, ground, grown and real textures."""

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from synthetic.fields import axes, bevel, box, capsule, cells, colour, cover, fractal, mixed, smooth, step, streaks
from synthetic.scene import Array, Component, Random, Scene, Size, family, sheet


@family("scratch", "crack", "stain", "spots", "dent", "hole", "thread", "discoloured", "smear", "abrasion", "foreign")
def leather(style: Random, each: Random, size: Size) -> Scene:
    """Cells with creases between them, two sizes mixed, softly glossy."""
    skin, gloss, spacing = colour(style, 0.12, 0.6, 0.6), style.uniform(0, 0.35), style.uniform(5, 14)
    distance, label, count = cells(each, size, spacing)
    fine, _, _ = cells(each, size, max(spacing * 0.45, 3))
    height = -distance * (spacing * 0.5) - fine * (spacing * 0.1)
    shade = 1 + 0.06 * smooth(each, size, 40) - 0.25 * step(distance, 0.3, 0.75)
    shade += 0.03 * each.standard_normal(count, dtype=np.float32)[label]
    return sheet(skin * shade[..., None], cv2.GaussianBlur(height, (0, 0), 0.9), gloss)


@family("scratch", "crack", "stain", "dent", "hole", "discoloured", "smear", "abrasion", "thread", "spots")
def wood(style: Random, each: Random, size: Size) -> Scene:
    """Annual rings cut lengthwise, with pores along the grain."""
    light = colour(style, 0.45, 0.8, 0.2) * np.array([1.0, 0.76, 0.5], np.float32) ** style.uniform(0.4, 1)
    dark, angle = light * style.uniform(0.5, 0.8), style.uniform(0, np.pi) + each.normal(0, 0.05)
    period, v = style.uniform(9, 30), axes(size, angle, _origin(each, size))[1]
    bent = v / period + 0.9 * streaks(each, size, 150, 50, angle)
    grain = streaks(each, size, 40, 1.4, angle)
    share = np.clip(0.55 * (bent % 1) ** 2 + 0.16 * grain + 0.12 * streaks(each, size, 120, 12, angle) + 0.15, 0, 1)
    return sheet(mixed(light, dark, share), 0.25 * grain, style.uniform(0, 0.3))


@family("scratch", "crack", "stain", "spots", "hole", "discoloured", "smear", "foreign", "thread")
def tiles(style: Random, each: Random, size: Size) -> Scene:
    """Square or brick-bonded glazed tiles with joints; each tile has its own tone."""
    face, joint = colour(style, 0.35, 0.85), colour(style, 0.15, 0.6, 0.1)
    width = style.uniform(0.17, 0.5) * min(size)
    across = width * style.choice([1.0, 1.6])
    bond, gap, angle = style.choice([0.0, 0.5]), style.uniform(1.2, 3.5), style.uniform(-0.8, 0.8)
    u, v = axes(size, angle + each.normal(0, 0.03), _origin(each, size))
    row = np.floor(v / width)
    u = u + np.float32(bond * across) * (row % 2)
    column = np.floor(u / np.float32(across))
    tone = np.sin(row * 12.9898 + column * 78.233 + each.uniform(0, 6)) * style.uniform(0, 0.07)
    u, v = u - (column + 0.5) * np.float32(across), v - (row + 0.5) * width
    distance = box(u, v, across / 2 - gap, width / 2 - gap, 2)
    albedo = face * (1 + tone + style.uniform(0, 0.1) * fractal(each, size, 50))[..., None]
    grout = 1 + 0.05 * smooth(each, size, 2)
    scene = sheet(joint * grout[..., None], 0.2 * smooth(each, size, 2), 0.0)
    scene.lay(cover(distance, 1.5), albedo, bevel(distance, 4, 2.5), style.uniform(0.1, 0.5), 0.0)
    return scene


@family("scratch", "crack", "stain", "hole", "discoloured", "smear", "abrasion", "spots", "foreign")
def hammered(style: Random, each: Random, size: Size) -> Scene:
    """Painted or bare metal with hammered dimples."""
    spacing, paint = style.uniform(12, 34), colour(style, 0.2, 0.7, 0.3)
    distance, label, count = cells(each, size, spacing, 0.35)
    height = cv2.GaussianBlur(np.minimum(distance, 0.6) ** 2 * (spacing * 0.5), (0, 0), spacing / 12)
    tone = 1 + 0.02 * each.standard_normal(count, dtype=np.float32)[label] + 0.03 * smooth(each, size, 60)
    return sheet(paint * tone[..., None], height, style.uniform(0.2, 0.7))


@family("scratch", "stain", "spots", "discoloured", "smear", "abrasion", "distorted", "missing", "misplaced", "thread")
def printed_sheet(style: Random, each: Random, size: Size) -> Scene:
    """Paper or foil with one mark printed again and again on a grid."""
    ground, ink = colour(style, 0.6, 0.95, 0.3), colour(style, 0.05, 0.5, 0.9)
    pitch, angle = style.uniform(0.11, 0.2) * min(size), style.uniform(-0.5, 0.5) + each.normal(0, 0.02)
    mark = _mark(style, pitch * style.uniform(0.5, 0.8), ink)
    scene = sheet(ground * (1 + 0.02 * fractal(each, size, 30))[..., None], 0.12 * smooth(each, size, 1.5))
    scene.gloss += style.uniform(0, 0.4)
    scene.components = _grid(size, mark, pitch, pitch * style.uniform(1, 1.5), angle, each, style.choice([0.0, 0.5]))
    return scene


@family("crack", "stain", "spots", "hole", "discoloured", "smear", "scratch", "foreign", "abrasion")
def terrazzo(style: Random, each: Random, size: Size) -> Scene:
    """Chips of two or three stones in a binder, polished."""
    binder, stones = colour(style, 0.4, 0.85, 0.2), [colour(style, 0.15, 0.9, 0.4) for _ in range(3)]
    spacing, share = style.uniform(6, 18), style.uniform(0.3, 0.8)
    distance, label, count = cells(each, size, spacing)
    kind, tone = each.random(count)[label], each.normal(1, 0.08, count).astype(np.float32)[label]
    palette = np.stack([*stones, binder])
    pick = np.where(kind < share, (kind * 97 % 3).astype(int), 3)
    chip = np.where(pick < 3, distance < each.uniform(0.2, 0.5, count)[label], False)
    # The border of cells is polygonal; a blur of under a pixel stands for the edge of a cut stone.
    albedo = np.where(chip[..., None], palette[pick] * tone[..., None], binder).astype(np.float32)
    albedo = cv2.GaussianBlur(albedo, (0, 0), 0.7) * (1 + 0.02 * smooth(each, size, 2))[..., None]
    return sheet(albedo, 0.05 * smooth(each, size, 3), style.uniform(0.05, 0.5))


@family("scratch", "stain", "dent", "smear", "thread", "discoloured", "distorted", "foreign", "spots")
def perforated(style: Random, each: Random, size: Size) -> Scene:
    """A sheet with rows of punched holes, over a dark ground."""
    face, pitch = colour(style, 0.3, 0.85, 0.4), style.uniform(14, 34)
    radius, stagger, square = pitch * style.uniform(0.22, 0.36), style.choice([0.0, 0.5]), style.random() < 0.3
    angle = style.uniform(0, np.pi / 2) + each.normal(0, 0.03)
    u, v = axes(size, angle, _origin(each, size))
    row = np.floor(v / pitch)
    du = (u + np.float32(stagger * pitch) * (row % 2)) % pitch - (pitch / 2)
    dv = v - (row + 0.5) * pitch
    hole = box(du, dv, radius, radius, 1) if square else np.hypot(du, dv) - radius
    scene = sheet(face * (1 + 0.03 * fractal(each, size, 40))[..., None], 0.1 * smooth(each, size, 2), 0.3)
    scene.lay(cover(hole, 1.2), face * style.uniform(0.05, 0.25), -3.0, 0.0, 0.0)
    return scene


@family("scratch", "stain", "dent", "smear", "thread", "hole", "discoloured", "distorted", "spots", "foreign")
def corrugated(style: Random, each: Random, size: Size) -> Scene:
    """Parallel ribs, round or flat, as of sheet metal, card or rubber matting."""
    face, period = colour(style, 0.25, 0.8, 0.4), style.uniform(7, 28)
    angle, sharp = style.uniform(0, np.pi) + each.normal(0, 0.03), style.uniform(0.6, 2.5)
    v = axes(size, angle, _origin(each, size))[1]
    wave = np.tanh(sharp * np.sin(2 * np.pi * v / period + 0.15 * smooth(each, size, 90)))
    tone = 1 + 0.1 * wave + 0.03 * streaks(each, size, 60, 3, angle) + 0.03 * smooth(each, size, 50)
    return sheet(face * tone[..., None], wave * (period * 0.12), style.uniform(0, 0.5))


@family("crack", "stain", "hole", "discoloured", "scratch", "abrasion", "smear", "spots", "foreign")
def concrete(style: Random, each: Random, size: Size) -> Scene:
    """Cast stone or plaster: fractal tone, grains and a few pores."""
    stone, rough, cell = colour(style, 0.35, 0.8, 0.15), style.uniform(0.03, 0.12), style.uniform(20, 90)
    tone = fractal(each, size, cell, 6, style.uniform(0.5, 0.85))
    grain = smooth(each, size, style.uniform(1, 2.5))
    pores = step(smooth(each, size, 5), 2.4, 2.9) * style.uniform(0, 0.6)
    albedo = stone * ((1 + rough * tone + 0.05 * grain) * (1 - 0.5 * pores))[..., None]
    return sheet(albedo, style.uniform(0.2, 0.8) * (grain + tone) - 2 * pores)


@family("stain", "hole", "dent", "discoloured", "smear", "cut", "foreign", "thread", "abrasion")
def foam(style: Random, each: Random, size: Size) -> Scene:
    """Open cells of many sizes between thin walls."""
    wall, spacing = colour(style, 0.4, 0.9, 0.4), style.uniform(6, 16)
    distance, label, count = cells(each, size, spacing, 0.5)
    pit = step(distance, 0.55, 0.2) * each.uniform(0.3, 1, count).astype(np.float32)[label]
    tone = 1 - 0.55 * pit + 0.04 * smooth(each, size, 50)
    return sheet(wall * tone[..., None], -pit * (spacing * 0.3))


@family("thread", "stain", "hole", "discoloured", "cut", "distorted", "smear", "spots")
def knit(style: Random, each: Random, size: Size) -> Scene:
    """Columns of V-shaped stitches, plain or in coloured bands."""
    yarn, second = colour(style, 0.2, 0.8, 0.6), colour(style, 0.2, 0.8, 0.6)
    pitch, band = style.uniform(11, 24), style.choice([0, 0, 3, 5])
    u, v = axes(size, style.uniform(0, np.pi) + each.normal(0, 0.03), _origin(each, size))
    u, v = u + 1.0 * smooth(each, size, 40), v + 1.0 * smooth(each, size, 40)
    across = u % pitch / pitch - 0.5
    lean = v / (pitch * 0.75) + np.abs(across) * 1.1
    along = lean % 1 - 0.5
    profile = np.maximum(1 - 4 * along**2, 0) * np.maximum(1 - (np.abs(np.abs(across) - 0.25) * 3.6) ** 2, 0)
    fuzz = 0.06 * smooth(each, size, 1.5)
    base = mixed(yarn, second, (np.floor(lean) % (2 * band) < band).astype(np.float32)) if band else yarn
    return sheet(base * (0.45 + 0.6 * profile + fuzz)[..., None], profile * (pitch * 0.2))


@family("scratch", "stain", "spots", "discoloured", "smear", "abrasion", "distorted", "hole")
def striped_film(style: Random, each: Random, size: Size) -> Scene:
    """Glossy film or card printed with stripes of a few widths and colours."""
    inks = np.stack([colour(style, 0.15, 0.9, 0.8) for _ in range(4)])
    widths, order = style.uniform(5, 34, 8), style.integers(0, 4, 8)
    v = axes(size, style.uniform(0, np.pi) + each.normal(0, 0.02), _origin(each, size))[1]
    edges = np.concatenate([[0], np.cumsum(widths)]).astype(np.float32)
    place = v % edges[-1]
    albedo = np.broadcast_to(inks[order[-1]], (*size, 3)).copy()
    for low, high, ink in zip(edges[:-1], edges[1:], inks[order], strict=True):
        on = np.clip(place - low + 0.5, 0, 1) * np.clip(high - place + 0.5, 0, 1)
        albedo += (ink - albedo) * on[..., None]
    albedo *= (1 + 0.015 * smooth(each, size, 2))[..., None]
    return sheet(albedo, 0.3 * smooth(each, size, 45), style.uniform(0.1, 0.6))


@family("scratch", "stain", "spots", "discoloured", "dent", "smear", "hole", "foreign", "thread", "abrasion")
def moulded_plastic(style: Random, each: Random, size: Size) -> Scene:
    """Eroded or smooth moulding, one colour, sometimes with a speckle."""
    face, grain = colour(style, 0.08, 0.9, 0.5), style.uniform(1.2, 4)
    relief = smooth(each, size, grain) * style.uniform(0.02, 0.5)
    speckle = step(smooth(each, size, 2.2), 1.5, 2) * np.float32(style.choice([0, 0, 0.4]))
    tone = 1 + 0.015 * fractal(each, size, 80)
    return sheet(mixed(face, colour(style), speckle) * tone[..., None], relief, style.uniform(0, 0.6))


@family("thread", "stain", "hole", "cut", "distorted", "discoloured", "smear", "spots")
def woven_cloth(style: Random, each: Random, size: Size) -> Scene:
    """Plain or twill weave of two yarns, each thread a little different."""
    warp, weft = colour(style, 0.35, 0.7, 0.3), colour(style, 0.35, 0.7, 0.3)
    pitch, twill = style.uniform(7, 11), int(style.integers(2, 4))
    u, v = axes(size, each.normal(0, 0.05), _origin(each, size))
    u, v = u + 1.2 * smooth(each, size, 50), v + 1.2 * smooth(each, size, 50)
    i, j = np.floor(u / np.float32(pitch)).astype(int), np.floor(v / np.float32(pitch)).astype(int)
    du, dv = u / np.float32(pitch) - i - 0.5, v / np.float32(pitch) - j - 0.5
    over = (i + j) % twill == 0
    thread_tone = each.normal(0, 0.04, 512).astype(np.float32)
    round_u, round_v = 1 - 3.4 * du**2, 1 - 3.4 * dv**2
    height = np.where(over, round_u * (1 - dv**2), round_v * (1 - du**2) * 0.9)
    tone = 0.6 + 0.45 * height + np.where(over, thread_tone[i % 512], thread_tone[j % 512])
    tone = tone + 0.05 * smooth(each, size, 1.2)
    return sheet(np.where(over[..., None], warp, weft) * tone[..., None], height * np.float32(pitch * 0.22))


@family("stain", "hole", "cut", "thread", "foreign", "discoloured", "abrasion")
def felt(style: Random, each: Random, size: Size) -> Scene:
    """A mat of fibres lying in all directions."""
    ground = colour(style, 0.35, 0.65, 0.35)
    tone = sum(streaks(each, size, 26, 1.3, angle) for angle in each.uniform(0, np.pi, 5)) / 2.2
    return sheet(ground * (1 + 0.13 * tone + 0.05 * fractal(each, size, 40))[..., None], 0.5 * tone)


@family("scratch", "spots", "crack", "stain", "dent", "abrasion")
def ground_metal(style: Random, each: Random, size: Size) -> Scene:
    """Metal ground in one direction, under raking light; unevenly worn, as a real ground face is."""
    angle, tone = np.pi / 2 + style.normal(0, 0.02), style.uniform(0.4, 0.5)
    lines = 0.7 * streaks(each, size, 220, 1.2, angle) + 0.4 * streaks(each, size, 60, 1.0, angle)
    broad = 0.6 * streaks(each, size, 500, 25, angle) + 0.4 * smooth(each, size, 60)
    value = tone * (1 + 0.07 * lines + 0.07 * broad + 0.02 * smooth(each, size, 1))
    return sheet(value[..., None] * np.array([1, 0.99, 0.96], np.float32), 0.12 * lines, 0.25)


@lru_cache(maxsize=4)
def _photograph(name: str) -> Array:
    """A real texture that scikit-image ships, (512, 512), 0 to 1."""
    from skimage import data  # slow to import, and only these three families need it

    return np.asarray(getattr(data, name)(), np.float32) / 255


def _real(name: str, tint: tuple[float, float, float], style: Random, each: Random, size: Size, turn: bool) -> Scene:
    """Cut a piece out of a real texture: shifted, mirrored, rotated, enlarged and tinted."""
    texture, scale = _photograph(name), each.uniform(0.95, 1.25)
    angle = each.uniform(0, 360) if turn else each.normal(0, 1.5)
    texture = texture[:, ::-1].copy() if each.integers(0, 2) else texture
    matrix = cv2.getRotationMatrix2D(tuple(each.uniform(170, 342, 2)), angle, scale)
    middle = matrix[:, :2] @ each.uniform(190, 322, 2) + matrix[:, 2]
    matrix[:, 2] += np.array([size[1] / 2, size[0] / 2]) - middle
    view = cv2.warpAffine(texture, matrix, size[::-1], borderMode=cv2.BORDER_REFLECT)
    shade = np.array(tint, np.float32) * style.uniform(0.95, 1.05)
    return sheet(view[..., None] * shade, (view - cv2.GaussianBlur(view, (0, 0), 6)) * 2)


@family("crack", "stain", "hole", "discoloured", "smear", "scratch")
def brick(style: Random, each: Random, size: Size) -> Scene:
    """The brick wall of scikit-image."""
    return _real("brick", (1.0, 0.72, 0.6), style, each, size, turn=False)


@family("stain", "foreign", "hole", "discoloured", "thread", "abrasion")
def grass(style: Random, each: Random, size: Size) -> Scene:
    """The lawn of scikit-image."""
    return _real("grass", (0.8, 1.0, 0.55), style, each, size, turn=True)


@family("stain", "foreign", "hole", "discoloured", "thread", "smear")
def gravel(style: Random, each: Random, size: Size) -> Scene:
    """The gravel of scikit-image."""
    return _real("gravel", (1.0, 0.95, 0.88), style, each, size, turn=True)


def _origin(each: Random, size: Size) -> tuple[float, float]:
    """Draw a point (x, y) of the image."""
    return size[1] * each.random(), size[0] * each.random()


def _mark(style: Random, side: float, ink: Array) -> Component:
    """A printed mark about `side` pixels wide: a ring, a disc, a bar, a cross or two bars."""
    n = max(int(side), 7) | 1
    u, v = axes((n, n), 0.0, (n / 2 - 0.5, n / 2 - 0.5))
    half = side / 2 - 1
    shapes = (
        np.abs(np.hypot(u, v) - half * 0.8) - half * 0.2,
        np.hypot(u, v) - half,
        capsule(u, v, half * 0.6, half * 0.35),
        np.minimum(box(u, v, half, half * 0.28), box(u, v, half * 0.28, half)),
        box(u, np.abs(v) - half * 0.5, half, half * 0.25),
    )
    shape, albedo = shapes[int(style.integers(0, 5))], np.broadcast_to(ink, (n, n, 3)).astype(np.float32)
    return Component(albedo, cover(shape), np.zeros((n, n), np.float32), 0.1, lift=0.0)


def _grid(
    size: Size, item: Component, across: float, down: float, angle: float, each: Random, stagger: float
) -> list[Component]:
    """Copies of `item` on a turned grid that covers the image, with a shift that differs between images."""
    reach = np.hypot(*size) / 2 + max(across, down)
    shift, placed = each.random(2), []
    for row in np.arange(-int(reach / down) - 1, int(reach / down) + 2):
        for column in np.arange(-int(reach / across) - 1, int(reach / across) + 2):
            u, v = (column + shift[0] + stagger * (row % 2)) * across, (row + shift[1]) * down
            x = size[1] / 2 + u * np.cos(angle) - v * np.sin(angle)
            y = size[0] / 2 + u * np.sin(angle) + v * np.cos(angle)
            if -across < x < size[1] + across and -down < y < size[0] + down:
                placed.append(replace(item, x=float(x), y=float(y), angle=-float(np.degrees(angle))))
    return placed
