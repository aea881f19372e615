"""Score parts of images: large ones in overlapping tiles, and regions given by masks.

Tiles are cut from the image at its own resolution. Their maps are blended with weights that add up to one, so that a
tile's border leaves no seam; the image score is the highest of its tiles, each scored as an image would be.

`--roi` masks what is scored, `--ignore` what is not. Pixels outside get the mean colour of those inside before the
image is scored, so that nothing there can raise the score; the map has its lowest value there.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgezsad.data.images import decode_mask, prepare
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_file
from edgezsad.scoring.score_file import Scorer

TILES, REGION = "tiles", "region"
"""Metadata keys of a part's detector: the number of tiles along the longer side of an image, and its masks."""

OVERLAP = 0.25  # of a tile with the next one, at least
REDUCED = 1.3  # a tile of `auto` is at most this many times as large as the network's input
MOST_TILES = 64  # along the longer side
MOST_CELLS = 512  # height and width of a blended map
Span = tuple[int, int]


def parse_tiles(text: str) -> int | None:
    """Parse a number of tiles along the longer side; None is "auto", other text an `InputError`."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_TILES):
        raise InputError(f"--tiles {text:.20}: expected auto, or a number from 1 to {MOST_TILES}")
    return int(text)


def automatic(longer: int, size: int) -> int:
    """Return the smallest number of tiles along a side of `longer` pixels for a network of `size` pixels."""
    return min(MOST_TILES, max(1, math.ceil((longer / (REDUCED * size) - OVERLAP) / (1 - OVERLAP))))


def spans(height: int, width: int, count: int) -> tuple[list[Span], list[Span]]:
    """Return first and last + 1 row, and column, of the tiles of an image with `count` tiles along the longer side."""
    side = max(height, width) / (count - (count - 1) * OVERLAP)

    def along(length: int) -> list[Span]:
        number = max(1, math.ceil((length / side - OVERLAP) / (1 - OVERLAP) - 1e-9))
        tile = min(math.ceil(side), length)
        return [(int(start), int(start) + tile) for start in np.linspace(0, length - tile, number).round()]

    return along(height), along(width)


def cut(
    image: np.ndarray, size: int, count: int, kept: np.ndarray | None = None
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield row, column and pixels of the tiles of an image (H, W, 3), each resized to (size, size, 3) uint8.

    Tiles without pixels that are `kept`, (H, W) bool, are left out.
    """
    rows, columns = spans(*image.shape[:2], count)
    for row, (top, bottom) in enumerate(rows):
        for column, (left, right) in enumerate(columns):
            if kept is None or kept[top:bottom, left:right].any():
                yield row, column, prepare(image[top:bottom, left:right], size)


def blending(tiles: list[Span], cells: int, side: int) -> list[np.ndarray]:
    """Return for each tile along an axis the matrix (side, cells) that adds its map to that of the image.

    It interpolates linearly, and weights a tile less towards its borders; all weights of a cell add up to one.
    """
    centres = (np.arange(side) + 0.5) * tiles[-1][1] / side
    weights = np.array([np.clip(np.minimum(centres - start, stop - centres), 0, None) for start, stop in tiles])
    matrices = []
    for (start, stop), weight in zip(tiles, weights / weights.sum(axis=0), strict=True):
        at = np.clip((centres - start) / (stop - start) * cells - 0.5, 0, cells - 1)
        hat = np.clip(1 - np.abs(at[:, None] - np.arange(cells)), 0, None)
        matrices.append(np.float32(weight[:, None] * hat))
    return matrices


class TiledScorer:
    """A scorer of images of any size (its `size` is None) by another one for their tiles.

    `count` tiles along the longer side; None: as many as each image needs. A map is square, as those of other scorers.
    """

    size = None

    def __init__(self, scorer: Scorer, count: int | None):
        self.scorer, self.count = scorer, count

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scorer, name)

    def score(self, image: np.ndarray, kept: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Score an image, (H, W, 3) uint8 RGB; returns the highest score of its tiles and the (h, h) blended map."""
        count = self.count or automatic(max(image.shape[:2]), self.scorer.size)
        (rows, columns), best, merged = spans(*image.shape[:2], count), -math.inf, None
        for row, column, tile in cut(image, self.scorer.size, count, kept):
            score, anomaly_map = self.scorer.score(tile)
            if merged is None:
                cells = len(anomaly_map)
                side = min(MOST_CELLS, round(cells * (count - (count - 1) * OVERLAP)))
                down, across = (blending(along, cells, side) for along in (rows, columns))
                merged = np.zeros((side, side), np.float32)
            # A score that is not finite is kept: the image has none then.
            best = max(best, score) if math.isfinite(score) else math.nan
            merged += down[row] @ anomaly_map @ across[column].T
        return best, merged


@dataclass(frozen=True)
class Regions:
    """Masks, not black where they apply: one file for all images, or a folder with NAME.png for each NAME.jpg."""

    roi: Path | None = None
    ignore: Path | None = None

    def __bool__(self) -> bool:
        return self.roi is not None or self.ignore is not None

    def record(self) -> str:
        """Name the masks, with the SHA-256 of one for all images; "" without any."""
        kinds = {
            f"{name} {path.name}": "one for each image" if path.is_dir() else sha256_of_file(path)
            for name, path in vars(self).items()
            if path
        }
        return "; ".join(f"{mask} ({kind})" for mask, kind in kinds.items())

    def blank(self, path: Path, image: np.ndarray) -> np.ndarray:
        """Fill the pixels of the image file `path` (H, W, 3) that are not scored; returns those that are, (H, W) bool.

        An InputError if a mask is missing, of another size, or leaves nothing.
        """
        kept = np.ones(image.shape[:2], bool)
        for masks, scored in ((self.roi, True), (self.ignore, False)):
            if masks:
                found = [one for one in masks.iterdir() if one.stem == path.stem] if masks.is_dir() else [masks]
                if not found:
                    raise InputError(f"{masks}: no mask for {path.name}; expected {path.stem}.png")
                kept &= decode_mask(found[0], kept.shape) == scored
        if not kept.any():
            raise InputError(f"{self.roi or self.ignore}: nothing of {path} is left to score; check the masks")
        image[~kept] = image[kept].mean(axis=0).round()
        return kept


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


def wrapped(scorer: Scorer, tiles: str, regions: Regions, name: object) -> Scorer:
    """Wrap a scorer in tiles, those of a part's detector or as given ("" is none), and in regions.

    An InputError if a part's detector, from the file `name`, was adapted to others than are given.
    """
    metadata = getattr(scorer, "metadata", {})
    recorded = metadata.get(TILES, "")
    if "references" in metadata:
        if tiles not in ("", recorded, "auto" if recorded else ""):
            found = f"tiles ({recorded} along the longer side)" if recorded else "whole images"
            raise InputError(f"{name}: adapted to {found}; leave out --tiles, or adapt again with --tiles {tiles}")
        if metadata.get(REGION, "") != regions.record():
            found = f"with {metadata[REGION]}" if REGION in metadata else "without a mask"
            got = regions.record() or "none"
            raise InputError(f"{name}: adapted {found}, got {got}; give the same --roi and --ignore to both")
    count = parse_tiles(recorded or tiles or "1")
    scorer = scorer if count == 1 else TiledScorer(scorer, count)
    return RegionScorer(scorer, regions) if regions else scorer
