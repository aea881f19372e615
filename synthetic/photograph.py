"""Light and camera: render a scene's layers to an image."""

from dataclasses import dataclass

import cv2
import numpy as np

from synthetic.fields import axes
from synthetic.scene import Array, Random, Scene

Pixels = np.ndarray  # (H, W, 3) uint8, RGB


@dataclass(frozen=True)
class Conditions:
    """Light and camera of an image."""

    azimuth: float  # of the lamp, in radians
    elevation: float
    ambient: float  # share of ambient light, 0 to 1
    falloff: tuple[float, float]  # (right, down) relative change of brightness over half the image
    glare: tuple[float, float]  # (x, y) of the lamp's reflection, in half images from the centre
    sharpness: float  # exponent of the highlight
    shadow: float  # strength of the cast shadow, 0 to 1
    colour: Array  # (3, 3) colour transform
    level: float  # target of the mean brightness
    vignette: float  # relative loss of light in the corners
    blur: float  # standard deviation in pixels
    noise: float  # standard deviation on a brightness scale from 0 to 1


def draw_conditions(style: Random, each: Random, wild: bool) -> Conditions:
    """Draw the conditions of one image; `style` is shared by a category, `each` differs, `wild` widens the ranges."""
    width = 2.2 if wild else 1.0
    return Conditions(
        azimuth=style.uniform(0, 2 * np.pi) + each.normal(0, 0.12),
        elevation=np.radians(style.uniform(25, 70)),
        ambient=style.uniform(0.3, 0.75),
        falloff=tuple(np.clip(each.normal(style.normal(0, 0.06 * width), 0.03, 2), -0.4, 0.4)),
        glare=tuple(style.uniform(-1.2, 1.2, 2) + each.normal(0, 0.15, 2)),
        sharpness=style.uniform(6, 40),
        shadow=style.uniform(0.1, 0.6),
        colour=_colours(style, each, wild),
        level=np.clip(style.uniform(0.3, 0.62) * each.normal(1, 0.035), 0.22, 0.7),
        vignette=abs(style.normal(0, 0.08 * width)),
        blur=style.uniform(0.3, 1.5 if wild else 0.8) * each.uniform(0.9, 1.15),
        noise=float(np.exp(style.uniform(np.log(0.004), np.log(0.03 if wild else 0.012)))),
    )


def expose(scene: Scene, how: Conditions, gain: float | None = None) -> tuple[Array, float]:
    """Render a scene without noise, (H, W, 3), 0 to 1, at an exposure (`gain`; default: near `how.level`)."""
    rows, columns = scene.size
    slope_x, slope_y = (cv2.Sobel(scene.height, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (1, 0))
    up = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    lamp_x, lamp_y = np.cos(how.elevation) * np.cos(how.azimuth), np.cos(how.elevation) * np.sin(how.azimuth)
    lamp_z = np.sin(how.elevation)
    facing = (np.float32(lamp_z) - slope_x * np.float32(lamp_x) - slope_y * np.float32(lamp_y)) * up
    light = np.float32(how.ambient) + np.float32((1 - how.ambient) / lamp_z) * np.maximum(facing, 0)
    # One shadow for everything that stands off the ground: the lifted layer, moved away from the lamp and softened.
    if how.shadow > 0 and scene.lift.any():
        move = np.array([[1, 0, -9 * lamp_x], [0, 1, -9 * lamp_y]])
        cast = cv2.warpAffine(scene.lift, move, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
        cast = cv2.GaussianBlur(cast, (0, 0), 4)
        light *= 1 - np.float32(how.shadow) * np.clip(cast - scene.lift, 0, 1)
    x, y = axes((rows, columns))
    x, y = x / np.float32(columns / 2), y / np.float32(rows / 2)
    light *= 1 + np.float32(how.falloff[0]) * x + np.float32(how.falloff[1]) * y
    light *= 1 - np.float32(how.vignette) * (x * x + y * y) / 2
    # The highlight: brightest where a slope turns the surface towards the lamp's reflection.
    tilt_x = slope_x + np.float32(0.35) * (x - np.float32(how.glare[0]))
    tilt_y = slope_y + np.float32(0.35) * (y - np.float32(how.glare[1]))
    shine = scene.gloss * np.exp(np.float32(-how.sharpness / 2) * (tilt_x * tilt_x + tilt_y * tilt_y))
    image = cv2.transform(scene.albedo * light[..., None], how.colour)
    image += np.float32(0.5) * shine[..., None]
    if gain is None:
        # Bring the mean to the wanted level, but leave the bright parts below saturation.
        bright = float(np.quantile(image[::4, ::4], 0.98))
        gain = float(np.clip(min(how.level / max(float(image.mean()), 1e-3), 0.95 / max(bright, 1e-3)), 0.4, 2.5))
    image *= np.float32(gain)
    # A soft shoulder instead of a hard clip, as cameras have.
    bright = np.flatnonzero(image > 0.8)
    image.ravel()[bright] = 0.8 + 0.2 * np.tanh((image.ravel()[bright] - 0.8) * 5)
    np.maximum(image, 0, out=image)
    return cv2.GaussianBlur(image, (0, 0), how.blur), gain


def develop(image: Array, how: Conditions, each: Random) -> Pixels:
    """Add sensor noise, mostly equal in the three colours, and round to 8 bits."""
    rows, columns = image.shape[:2]
    noise = each.standard_normal((rows, columns), dtype=np.float32)[..., None]
    tint = each.standard_normal((rows // 2 + 1, columns // 2 + 1, 3), dtype=np.float32)
    tint = cv2.resize(tint, (columns, rows), interpolation=cv2.INTER_LINEAR)
    # Shot noise: brighter pixels are noisier.
    strength = np.float32(how.noise) * (np.float32(0.6) + np.float32(0.6) * image)
    return np.clip((image + strength * (noise + np.float32(0.5) * tint)) * 255 + 0.5, 0, 255).astype(np.uint8)


def _colours(style: Random, each: Random, wild: bool) -> Array:
    """Draw a (3, 3) colour transform: white balance; with `wild` also hue, saturation and sometimes grey."""
    white = np.diag(np.exp(style.normal(0, 0.1 if wild else 0.04, 3) + each.normal(0, 0.01, 3)))
    if not wild:
        return white.astype(np.float32)
    grey = np.full((3, 3), 1 / 3)
    hue = style.uniform(0, 2 * np.pi)
    c, s = np.cos(hue), np.sin(hue) / np.sqrt(3)
    # Turn about the grey axis (Rodrigues).
    turn = c * np.eye(3) + (1 - c) * grey + s * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    saturation = style.choice([0.0, style.uniform(0.15, 0.6), style.uniform(0.6, 1.2)], p=[0.2, 0.45, 0.35])
    return (white @ (grey + saturation * (turn - grey))).astype(np.float32)
