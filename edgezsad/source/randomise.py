"""Domain randomisation, which is how we read the "DR" of Real-IAD-DR: light, colour, blur, noise, background, turns.

Each change leaves the label right, and the mask follows the only ones that move pixels, mirroring and turning. All
strengths are settings (`edgezsad.config.Randomise`). Pixels are made by floating-point arithmetic: the same row gives
the same pixels with the same versions of NumPy and OpenCV, and may differ by a level between versions.
"""

import cv2
import numpy as np

from edgezsad.config import Randomise
from edgezsad.data.loading import Picture

REFERENCE = 512
"""Blur is given in pixels of an image of this size."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

BACKGROUND_TOLERANCE = 24
"""Levels by which a channel of the background may differ from the border's median."""
BACKGROUND_BORDER = 0.9
"""Share of the border that must look alike for it to be a background."""
BACKGROUND_AREA = 0.1
"""Share of the image that the background takes at least, and the part likewise."""
ONE_PART = 0.9
"""Share of all that is no background that must hang together: the stains of a plain surface are no part."""


def randomise(picture: Picture, config: Randomise, generator: np.random.Generator) -> Picture:
    """Change a picture at random.

    Args:
        picture: with a mask of the size of its pixels, or None.
        config: how strongly.
        generator: decides everything.
    """
    pixels = picture.pixels.astype(np.float32)
    if picture.mask is not None and generator.random() < config.background:
        pixels = _other_background(picture, pixels, generator)
    for change in (_light, _gradient, _white_balance, _saturation, _blur, _noise):
        if generator.random() < config.chance:
            pixels = change(pixels, config, generator)
    changed = Picture(np.rint(pixels).clip(0, 255).astype(np.uint8), picture.mask)
    return turned(changed, int(generator.integers(8))) if config.turn else changed


def turned(picture: Picture, way: int) -> Picture:
    """One of the eight ways to turn and mirror a square, 0 to 7: `way % 4` quarter turns, then mirrored from 4 on."""

    def turn(values: np.ndarray) -> np.ndarray:
        values = np.rot90(values, way % 4)
        return np.ascontiguousarray(values[:, ::-1] if way >= 4 else values)

    return Picture(turn(picture.pixels), None if picture.mask is None else turn(picture.mask))


def background_of(pixels: np.ndarray, defect: np.ndarray) -> np.ndarray | None:
    """Where the background is: what looks like the border's median and is connected with the border.

    Args:
        pixels: uint8 (H, W, 3).
        defect: bool (H, W), the mask; a defect counts neither as background nor as the part.

    Returns:
        bool (H, W), or None where it is not clear: the border is not of one colour, or what is left is no single part.
    """
    frame = np.zeros(pixels.shape[:2], dtype=bool)
    width = max(1, min(frame.shape) // 64)
    frame[:width] = frame[-width:] = frame[:, :width] = frame[:, -width:] = True
    distance = np.abs(pixels - np.median(pixels[frame], axis=0).astype(np.float32)).max(axis=2)
    alike = distance <= BACKGROUND_TOLERANCE
    if alike[frame].mean() < BACKGROUND_BORDER:
        return None
    regions = cv2.connectedComponents(alike.astype(np.uint8))[1]
    background = alike & np.isin(regions, np.unique(regions[frame & alike])) & ~defect
    part = ~background & ~defect
    if min(background.mean(), part.mean()) < BACKGROUND_AREA:
        return None
    sizes = cv2.connectedComponentsWithStats(part.astype(np.uint8))[2][1:, cv2.CC_STAT_AREA]
    return background if sizes.max() >= ONE_PART * part.sum() else None


def _other_background(picture: Picture, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Another colour and a soft pattern behind the part; no pixel of a defect is touched."""
    background = background_of(picture.pixels, picture.mask)
    if background is None:
        return pixels
    size = pixels.shape[1], pixels.shape[0]
    colour = generator.uniform(10, 245, 3) + generator.normal(0, 8, (6, 6, 3))
    behind = cv2.resize(colour.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    # Soft on the background's side of the edge alone, so that the part stays as it is.
    cover = cv2.GaussianBlur(background.astype(np.float32), (0, 0), 1.0) * background
    return pixels + (behind - pixels) * cover[..., None]


def _light(pixels: np.ndarray, config: Randomise, generator: np.random.Generator) -> np.ndarray:
    return pixels * np.float32(1 + generator.uniform(-config.gain, config.gain))


def _gradient(pixels: np.ndarray, config: Randomise, generator: np.random.Generator) -> np.ndarray:
    angle, strength = generator.uniform(0, 2 * np.pi), generator.uniform(0, config.gradient)
    height, width = pixels.shape[:2]
    across = (
        np.cos(angle) * np.linspace(-0.5, 0.5, width)[None] + np.sin(angle) * np.linspace(-0.5, 0.5, height)[:, None]
    )
    return pixels * (1 + strength * across / np.sqrt(2)).astype(np.float32)[..., None]


def _white_balance(pixels: np.ndarray, config: Randomise, generator: np.random.Generator) -> np.ndarray:
    return pixels * (1 + generator.uniform(-config.white_balance, config.white_balance, 3)).astype(np.float32)


def _saturation(pixels: np.ndarray, config: Randomise, generator: np.random.Generator) -> np.ndarray:
    grey = (pixels @ _LUMA)[..., None]
    return grey + (pixels - grey) * np.float32(1 + generator.uniform(-config.saturation, config.saturation))


def _blur(pixels: np.ndarray, config: Randomise, generator: np.random.Generator) -> np.ndarray:
    sigma = generator.uniform(0, config.blur) * pixels.shape[0] / REFERENCE
    # Below a tenth of a pixel a blur changes nothing.
    return cv2.GaussianBlur(pixels, (0, 0), sigma) if sigma > 0.1 else pixels


def _noise(pixels: np.ndarray, config: Randomise, generator: np.random.Generator) -> np.ndarray:
    sigma = np.float32(generator.uniform(0, config.noise))
    return pixels + sigma * generator.standard_normal(pixels.shape, dtype=np.float32)
