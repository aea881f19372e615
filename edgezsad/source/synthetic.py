"""A synthetic defect on the photograph of a normal part, with its mask: what a source without defects can be given."""

from functools import cache

import cv2
import numpy as np

from edgezsad.data.loading import Picture
from edgezsad.source.shapes import Random, part_of, soften
from edgezsad.source.synthetic_defects import Change, Ground, mixture

ATTEMPTS = 12
"""How often a defect that is too faint, too small or too large is drawn anew."""

LEAST_AREA, MOST_AREA = 0.0006, 0.2
"""Share of the image that a defect covers."""

TEXTURES = ("brick", "grass", "gravel", "coins", "moon", "coffee", "chelsea", "rocket", "page", "camera")
"""Pictures that scikit-image carries, from which pieces are pasted."""


def with_synthetic_defect(picture: Picture, each: Random, names: tuple[str, ...] | None = None) -> Picture:
    """Put a defect on a picture.

    Args:
        picture: uint8 (S, S, 3), of a normal part.
        each: decides everything.
        names: kinds of defects (`edgezsad.source.synthetic_defects.mixture`).

    Returns:
        The picture with a bool (S, S) mask that is never empty.
    """
    return synthetic_defect(picture, each, names)[0]


def synthetic_defect(picture: Picture, each: Random, names: tuple[str, ...] | None = None) -> tuple[Picture, str]:
    """The same, with the name of the kind that was drawn; "spot" where none was accepted."""
    pixels = picture.pixels.astype(np.float32)
    ground = Ground(pixels, part_of(picture.pixels), textures())
    likely = mixture(names)
    kinds, weights = list(likely), np.array(list(likely.values()))
    for _ in range(ATTEMPTS):
        kind = kinds[int(each.choice(len(kinds), p=weights / weights.sum()))]
        if (change := kind(ground, each)) is not None and (found := _accepted(ground, change)) is not None:
            return found, kind.__name__
    # A plain spot shows on everything.
    mask = np.zeros(pixels.shape[:2], np.uint8)
    cv2.circle(mask, each.integers(len(pixels) // 4, len(pixels) * 3 // 4, 2).tolist(), len(pixels) // 20, 1, -1)
    inside = mask > 0
    pixels[inside] = np.where(pixels[inside] > 100, pixels[inside] * 0.4, pixels[inside] + 100)
    return Picture(pixels.astype(np.uint8), inside), "spot"


@cache
def textures() -> tuple[np.ndarray, ...]:
    """Pictures to paste from, uint8 (H, W, 3), the shorter side 512 pixels."""
    from skimage import data  # slow to import, and only these defects need it

    return tuple(_at_512(getattr(data, name)()) for name in TEXTURES)


def _at_512(image: np.ndarray) -> np.ndarray:
    colour = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    scale = 512 / min(image.shape[:2])
    return cv2.resize(colour, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _accepted(ground: Ground, change: Change) -> Picture | None:
    """The changed picture and where it differs; None where the defect can hardly be seen, or covers too much."""
    changed = np.clip(change.pixels, 0, 255).astype(np.float32)
    difference = np.abs(changed - ground.pixels).max(axis=2)
    if change.mask is not None:
        mask = change.mask & (cv2.dilate((difference > 6).astype(np.uint8), np.ones((11, 11), np.uint8)) > 0)
        return Picture(changed.astype(np.uint8), mask) if mask.sum() >= 20 else None
    near = cv2.blur(difference, (3, 3))
    peak = float(near.max())
    if peak < 12:
        return None
    mask = (near > max(6, 0.25 * peak)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    share = float(mask.mean())
    # What hides a defect is the texture around it; a small one must stand out more to be found at all.
    grey = ground.pixels.mean(axis=2)
    detail = soften(np.abs(grey - soften(grey, 4)), 8)
    seen = float(difference[mask].mean() / (detail[mask].mean() + 2))
    if not LEAST_AREA <= share <= MOST_AREA or seen < (1.0 if share > 0.01 else 1.7):
        return None
    return Picture(changed.astype(np.uint8), mask)
