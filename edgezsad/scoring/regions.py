"""Score a region of the images: `--roi` masks what is scored, `--ignore` what is not.

Pixels outside get the mean colour of those inside before the image is scored, so that nothing there can raise the
score, also where a network sees the whole image; the map has its lowest value there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgezsad.data.images import decode_mask
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_file
from edgezsad.scoring.score_file import Scorer

REGION = "region"
"""Metadata key of the masks of a part's detector."""


@dataclass(frozen=True)
class Regions:
    """Masks, not black where they apply: one file for all images, or a folder with NAME.png for each NAME.jpg."""

    roi: Path | None = None
    ignore: Path | None = None

    def __bool__(self) -> bool:
        return self.roi is not None or self.ignore is not None

    def record(self) -> str:
        """Name the masks, with the SHA-256 of one for all images; "" without any."""
        masks = [(name, path) for name, path in vars(self).items() if path]
        kinds = ["one for each image" if path.is_dir() else sha256_of_file(path) for _, path in masks]
        return "; ".join(f"{name} {path.name} ({kind})" for (name, path), kind in zip(masks, kinds, strict=True))

    def blank(self, path: Path, image: np.ndarray) -> np.ndarray:
        """Fill the pixels of the image file `path` (H, W, 3) that are not scored; returns those that are, (H, W) bool.

        An InputError if a mask is missing, of another size, or leaves nothing.
        """
        kept = np.ones(image.shape[:2], bool)
        for masks, scored in ((self.roi, True), (self.ignore, False)):
            if masks:
                kept &= decode_mask(_mask_of(masks, path), kept.shape) == scored
        if not kept.any():
            raise InputError(f"{self.roi or self.ignore}: nothing of {path} is left to score; check the masks")
        image[~kept] = image[kept].mean(axis=0).round()
        return kept


def _mask_of(masks: Path, image: Path) -> Path:
    found = sorted(masks.glob("*")) if masks.is_dir() else [masks]
    for path in found:
        if not masks.is_dir() or path.stem == image.stem:
            return path
    raise InputError(f"{masks}: no mask for {image.name}; expected {image.stem}.png")


class RegionScorer:
    """A scorer whose images come with the pixels that are scored."""

    def __init__(self, scorer: Scorer, regions: Regions):
        self.scorer, self.regions, self.region = scorer, regions, regions.record()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scorer, name)

    def score(self, image: np.ndarray, kept: np.ndarray) -> tuple[float, np.ndarray]:
        """Score a blanked image, of which `kept` (H, W) are the pixels that count before it was resized."""
        score, anomaly_map = self.scorer.score(image) if self.size else self.scorer.score(image, kept)
        share = cv2.resize(np.float32(kept), anomaly_map.shape[::-1], interpolation=cv2.INTER_AREA)
        inside = share >= min(0.5, float(share.max()))
        return score, np.where(inside, anomaly_map, anomaly_map[inside].min())


def with_regions(scorer: Scorer, regions: Regions, name: object) -> Scorer:
    """Wrap a scorer; a part's detector, from the file `name`, needs the masks that it was adapted with."""
    metadata, wanted = getattr(scorer, "metadata", {}), regions.record()
    if "references" in metadata and metadata.get(REGION, "") != wanted:
        found = f"with {metadata[REGION]}" if REGION in metadata else "without a mask"
        raise InputError(f"{name}: adapted {found}, got {wanted or 'none'}; give the same --roi and --ignore to both")
    return RegionScorer(scorer, regions) if regions else scorer
