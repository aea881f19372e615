"""Render one image and its mask, determined by seed, set, family, split and number alone."""

import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from synthetic.defects import COMPONENT_KINDS, with_defect
from synthetic.photograph import Conditions, Pixels, develop, draw_conditions, expose
from synthetic.randomise import distract
from synthetic.scene import Array, Random, Scene, Size, find

ATTEMPTS = 8  # draws of a defect that is too faint, too small or too large before a plain stain is used
LEAST_AREA, MOST_AREA = 0.0007, 0.14  # fraction of the image that a defect covers


@dataclass(frozen=True)
class Address:
    """What determines an image."""

    seed: int  # the profile's `data.seed`
    set: str
    family: str
    split: str
    index: int  # counts the normal images of a split, and the defective ones
    size: Size
    wild: bool  # strong domain randomisation

    def random(self, purpose: str, shared: bool = False) -> Random:
        """Return a generator for one purpose; `shared` ones are equal for all images of the category."""
        words = (self.set, self.family, purpose) if shared else (self.set, self.family, purpose, self.split)
        keys = [self.seed % 2**32, *(zlib.crc32(word.encode()) for word in words)]
        return np.random.default_rng(keys if shared else [*keys, self.index])


def defect_of(address: Address) -> str:
    """Return the kind of defect of a defective image: a category takes its kinds in turn."""
    kinds = find(address.family).defects
    turn = int(address.random("kinds", shared=True).integers(len(kinds)))
    return kinds[(address.index + turn) % len(kinds)]


def normal_image(address: Address) -> Pixels:
    """Render a normal image, (H, W, 3) uint8."""
    scene, how = _scene(address, "normal")
    image, _ = expose(scene.assembled(), how)
    return develop(image, how, address.random("normal noise"))


def defective_image(address: Address) -> tuple[Pixels, np.ndarray]:
    """Render a defective image, (H, W, 3) uint8, and its mask, (H, W) bool, never empty."""
    image, mask, _, how = _defective(address)
    return develop(image, how, address.random("defective noise")), mask


def mask_of(change: Array) -> np.ndarray:
    """Threshold the change of an image, (H, W), relative to its peak; close small gaps and drop single pixels."""
    peak = float(cv2.blur(change, (3, 3)).max())
    mask = (change > max(0.014, 0.22 * peak)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    count, label, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= 6
    large[0] = False
    return large[label] if count > 1 else mask.astype(bool)


def _defective(address: Address) -> tuple[Array, np.ndarray, Array, Conditions]:
    """Return image, mask and the image without defect (both without noise), and their conditions."""
    scene, how = _scene(address, "defective")
    kind, each = defect_of(address), address.random("defect")
    normal, gain = expose(scene.assembled(), how)
    # Noise and texture hide a defect.
    grey = cv2.transform(normal, np.full((1, 3), 1 / 3, np.float32))
    detail = cv2.GaussianBlur(np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 4)), (0, 0), 8)
    hiding = how.noise + 0.7 * detail
    strength = float(each.beta(1.2, 1.2))
    for attempt in range(ATTEMPTS + 1):
        if attempt == ATTEMPTS:
            kind, strength = "stain", 1.0
        if kind in COMPONENT_KINDS and not scene.components:
            kind = "stain"
        image, _ = expose(with_defect(kind, scene, each, strength), how, gain)
        change = np.abs(image - normal).max(axis=2)
        mask = mask_of(change)
        share = float(mask.mean())
        seen = float(change[mask].mean() / hiding[mask].mean()) if share else 0.0
        # A small defect must stand out more than a large one to be found at all.
        needed = 1.1 if share > 0.01 else 1.9
        if LEAST_AREA <= share <= MOST_AREA and seen >= needed:
            break
        if seen < needed:
            strength = min(1.0, strength + 0.25)
    if not mask.any():
        # Nothing shows on a black scene, for instance: change a disc in the middle.
        middle = normal.shape[1] // 2, normal.shape[0] // 2
        mask = cv2.circle(np.zeros_like(grey, np.uint8), middle, max(min(grey.shape) // 20, 2), 1, -1) > 0
        image = np.where(mask[..., None], np.where(normal > 0.4, normal * 0.4, normal + 0.4), normal)
    return image, mask, normal, how


def _scene(address: Address, role: str) -> tuple[Scene, Conditions]:
    """Return a normal scene, not yet assembled, with its light and camera."""
    # With domain randomisation every image has its own style.
    style = address.random(f"{role} style") if address.wild else address.random("style", shared=True)
    each = address.random(role)
    scene, how = find(address.family).render(style, each, address.size), draw_conditions(style, each, address.wild)
    if address.wild:
        distract(scene, address.random(f"{role} distractors"))
    return scene, how
