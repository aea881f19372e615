"""Images as a board's tools read them: raw float32, 1 x 3 x S x S, 0..255, as `ndarray.tofile` writes them.

They are made by the one preprocessing of every runtime, on the host: the board only unpacks. At 512 px such a file has
3.1 MB. As gzip it has about 0.7 MB for a photograph, less than the same pixels as bytes, and every board can unpack it
without Python; the fastest level is used, because the smallest takes five times as long and saves a third.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgezsad.data.images import load
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_bytes, sha256_of_file
from edgezsad.scoring.onnx_scorer import as_tensor

LEVEL = 1
CANARY_NAMES = ("canary-a", "canary-b")


@dataclass(frozen=True)
class Picture:
    """One image of the kit.

    Attributes:
        number: of the image in the kit, from 0, over all targets.
        target: the data set.
        id: the manifest's.
        data: raw float32, little endian.
    """

    number: int
    target: str
    id: str
    data: bytes

    @property
    def sha256(self) -> str:
        """Of the raw data, which is what the model is given."""
        return sha256_of_bytes(self.data)

    @property
    def key(self) -> str:
        """The number as file names have it: trtexec takes no comma, colon or blank in a file's name."""
        return key(self.number)


def key(number: int) -> str:
    """The number of an image as file names have it."""
    return f"{number:06d}"


def raw(image: np.ndarray) -> bytes:
    """(S, S, 3) uint8 RGB to the bytes of its tensor."""
    return as_tensor(image, image.shape[0]).astype("<f4").tobytes()


def picture_data(manifest: Manifest, entry: Entry, size: int) -> bytes:
    """The raw data of a manifest's image.

    Raises:
        InputError: the image is missing or damaged, or is not the one that the manifest lists.
    """
    path = manifest.path(entry)
    image = load(path, size)
    if sha256_of_file(path) != entry.sha256:
        raise InputError(f"{path}: not the image that the manifest lists; run notebook 01_data again")
    return raw(image)


def pictures(manifests: list[Manifest], size: int) -> Iterator[Picture]:
    """All images, target after target, each in its manifest's order; one at a time."""
    number = 0
    for manifest in manifests:
        for entry in manifest.entries:
            yield Picture(number, manifest.name, entry.id, picture_data(manifest, entry, size))
            number += 1


def packed(data: bytes) -> bytes:
    """Compressed; equal data gives equal bytes."""
    return gzip.compress(data, LEVEL, mtime=0)


def canary(name: str, size: int) -> np.ndarray:
    """A picture that stands first ("canary-a") or last ("canary-b") in every list of the RB5.

    They are unlike each other and any photograph: slanted stripes, and a bright disc on noise.

    Returns:
        uint8 (size, size, 3).
    """
    y, x = np.mgrid[:size, :size] / size
    if name == CANARY_NAMES[0]:
        grey = 128 + 100 * np.sin(2 * np.pi * (9 * x + 5 * y))
    else:
        noise = np.random.default_rng(0).normal(0, 25, (size, size))
        grey = 60 + noise + 170 * (np.hypot(x - 0.6, y - 0.4) < 0.2)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
