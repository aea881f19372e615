"""The pictures in a replica: soft colours that differ from path to path, and a blob where the mask is."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

GRID = 8
"""Each picture is a grid of so many colours a side, drawn larger: two of them are also unlike to a perceptual hash."""

_OPTIONS = {".png": {"compress_level": 1}, ".jpg": {"quality": 90}, ".bmp": {}}


def write_image(path: Path, key: str, size: tuple[int, int], defective: bool, grey: bool = False) -> None:
    """Write one picture in the format of its ending; a defective one has its blob in the opposite colours.

    Args:
        path: the file.
        key: decides the colours and the blob.
        size: (height, width) in pixels.
        defective: whether the blob is in it.
        grey: one channel instead of three.
    """
    channels = 1 if grey else 3
    # Not numpy's random numbers: a new generator for each file would take longer than everything else.
    digest = hashlib.shake_128(key.encode()).digest(GRID * GRID * channels)
    grid = np.frombuffer(digest, np.uint8).reshape(GRID, GRID, channels)
    soft = Image.fromarray(grid[..., 0] if grey else grid).resize(size[::-1], Image.Resampling.BILINEAR)
    if defective:
        pixels = np.array(soft)
        blob = blob_of(key, size)
        pixels[blob] = 255 - pixels[blob]
        soft = Image.fromarray(pixels)
    _save(soft, path)


def write_mask(path: Path, key: str, size: tuple[int, int], value: int) -> None:
    """Write the mask of the picture with the same key, with `value` in the blob: 0 leaves it empty."""
    _save(Image.fromarray(blob_of(key, size).astype(np.uint8) * np.uint8(value)), path)


def blob_of(key: str, size: tuple[int, int]) -> np.ndarray:
    """Where a picture's defect is: an ellipse inside it; bool (height, width), at least one pixel True."""
    height, width = size
    draw = np.frombuffer(hashlib.shake_128(f"{key}/blob".encode()).digest(4), np.uint8) / 255
    y, x = height * (0.25 + 0.5 * draw[0]), width * (0.25 + 0.5 * draw[1])
    rows, columns = np.ogrid[:height, :width]
    tall, wide = height * (0.08 + 0.12 * draw[2]), width * (0.08 + 0.12 * draw[3])
    blob = ((rows - y) / tall) ** 2 + ((columns - x) / wide) ** 2 < 1
    blob[int(y), int(x)] = True
    return blob


def _save(image: Image.Image, path: Path) -> None:
    image.save(path, **_OPTIONS[path.suffix.lower()])
