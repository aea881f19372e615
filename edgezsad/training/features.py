"""Source features, computed once by the frozen backbone and shared by all seeds.

On disk: one float16 array a stride (`stride08.npy`, ...), the target maps (`coverage.npy`) and `features.json`, which
says what they were made from; a cache made from anything else is refused. Arrays are opened memory-mapped.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from edgezsad.data.loading import in_order
from edgezsad.errors import InputError
from edgezsad.files import read_json, sha256_of_bytes, sha256_of_file, write_json, written_beside
from edgezsad.model.backbone import Backbone
from edgezsad.model.fast import fast_copy
from edgezsad.progress import progress
from edgezsad.source.source_images import SourceImages

REMEDY = "run notebook 02_features"
MOST_AT_A_TIME = 4
"""Images that the backbone works on at the same time, at most; at 512 pixels each takes some hundred megabytes."""


class CacheInfo(BaseModel):
    """What a feature cache was made from."""

    model_config = ConfigDict(extra="forbid")

    backbone: str
    backbone_sha256: str
    size: int
    strides: tuple[int, ...]
    source_sha256: str
    images: int
    features_sha256: str
    """Of the arrays: what is trained on them depends on nothing else of the images."""


@dataclass(frozen=True)
class Features:
    """Cached source features.

    Attributes:
        maps: one (N, C, h, w) float16 array for each stride, finest first.
        coverage: (N, h, w) float32 at the finest stride, the defective share of each cell; NaN throughout an image
            whose mask is unknown (defective, without a mask).
        label: (N,) int64.
        group: (N,) str, data set and category, for stratified sampling.
        parent: (N,) str, the image file that a row comes from, shared by rows derived from one image.
        info: what they were made from.
    """

    maps: list[np.ndarray]
    coverage: np.ndarray
    label: np.ndarray
    group: np.ndarray
    parent: np.ndarray
    info: CacheInfo

    def __len__(self) -> int:
        return len(self.label)


def cache_features(sources: SourceImages, backbone: Backbone, size: int, folder: Path | str) -> Features:
    """Compute and write the features of every source image; returns them as read back.

    Args:
        sources: the images.
        backbone: frozen, on the CPU. A fast copy of it does the work, several images at a time; features agree within
            float16's rounding.
        size: input height and width.
        folder: receives the files; the record is written last, so a cache cut short is never taken for whole.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "features.json").unlink(missing_ok=True)
    count = len(sources)
    finest = size // backbone.strides[0]
    shapes = [
        (count, channels, size // stride, size // stride)
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]
    paths = [folder / f"stride{stride:02d}.npy" for stride in backbone.strides]
    maps = [
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        for path, shape in zip(paths, shapes, strict=True)
    ]
    coverage = np.zeros((count, finest, finest), dtype=np.float32)
    fast = fast_copy(backbone)
    with one_thread_an_image() as workers:
        found = in_order(lambda row: _features_of(sources, row, size, fast), range(count), workers)
        for row, (halves, mask) in enumerate(progress(found, "source features", total=count)):
            for stored, half in zip(maps, halves, strict=True):
                if not np.isfinite(half).all():
                    raise InputError(
                        f"{sources.name(row)}: features of {backbone.name} do not fit into float16; "
                        "use another backbone"
                    )
                stored[row] = half
            if sources.label[row]:
                coverage[row] = np.nan if mask is None else cell_coverage(mask, finest)
    for stored in maps:
        stored.flush()
    with written_beside(folder / "coverage.npy") as temporary:
        np.save(temporary, coverage)
    info = CacheInfo(
        backbone=backbone.name,
        backbone_sha256=backbone.sha256(),
        size=size,
        strides=backbone.strides,
        source_sha256=sources.sha256,
        images=count,
        features_sha256=sha256_of_bytes(
            "\n".join(sha256_of_file(path) for path in (*paths, folder / "coverage.npy")).encode()
        ),
    )
    write_json(folder / "features.json", info.model_dump())
    return read_features(folder, sources)


@contextmanager
def one_thread_an_image() -> Iterator[int]:
    """Divide PyTorch's threads among images; gives how many images there are at a time.

    Two threads on one image of 256 x 256 take as long as one does, since they wait for each other at every layer.
    """
    threads = torch.get_num_threads()
    workers = min(threads, MOST_AT_A_TIME)
    # Threads that are started from here on have this number.
    torch.set_num_threads(max(1, threads // workers))
    try:
        yield workers
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def _features_of(
    sources: SourceImages, row: int, size: int, fast: nn.Module
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Features of one image, (C, h, w) float16 for each stride, and its mask."""
    picture = sources.read(row, size)
    pixels = torch.from_numpy(picture.pixels).permute(2, 0, 1)[None].float()
    # A value beyond float16 becomes infinite, which is told with the image's name.
    with np.errstate(over="ignore"):
        return [one[0].numpy().astype(np.float16) for one in fast(pixels)], picture.mask


def read_features(folder: Path | str, sources: SourceImages) -> Features:
    """Open a feature cache, memory-mapped.

    Raises:
        InputError: missing, cut short, or made from other source images.
    """
    folder = Path(folder)
    try:
        info = CacheInfo.model_validate(read_json(folder / "features.json", REMEDY))
        maps = [np.load(folder / f"stride{stride:02d}.npy", mmap_mode="r") for stride in info.strides]
        coverage = np.load(folder / "coverage.npy")
    except ValidationError:
        raise InputError(f"{folder / 'features.json'}: not a feature cache's record; {REMEDY}") from None
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: damaged feature cache ({error}); {REMEDY}") from None
    if info.source_sha256 != sources.sha256 or info.images != len(sources):
        raise InputError(f"{folder}: made from other source images; {REMEDY} again")
    cells = [info.size // stride for stride in info.strides]
    wanted = [(len(sources), side, side) for side in cells]
    found = [(len(stored), *stored.shape[2:]) for stored in maps]
    if found != wanted or coverage.shape != wanted[0]:
        raise InputError(f"{folder}: damaged feature cache (arrays of other shapes than its record says); {REMEDY}")
    return Features(maps, coverage, sources.label, sources.group, sources.parent, info)


def feature_table(backbone: Backbone, features: Features) -> pd.DataFrame:
    """One row a stride: channels, height and width of the map, megabytes of the cache."""
    return pd.DataFrame(
        [
            {
                "stride": stride,
                "channels": channels,
                "map": f"{stored.shape[2]} x {stored.shape[3]}",
                "images": len(features),
                "megabytes": stored.nbytes / 1e6,
            }
            for stride, channels, stored in zip(backbone.strides, backbone.channels, features.maps, strict=True)
        ]
    )


def cell_coverage(mask: np.ndarray, cells: int) -> np.ndarray:
    """Defective share of each cell.

    Args:
        mask: (H, W) bool.
        cells: cells along each side, whatever the mask's height and width.

    Returns:
        (cells, cells) float32 in [0, 1]; exact area averages, so a thin scratch leaves a small share, not nothing.
    """
    # The integral image, read at fractional positions, gives the exact area of every cell.
    integral = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    integral[1:, 1:] = mask.cumsum(0, dtype=np.float64).cumsum(1)
    for axis in (0, 1):
        length = mask.shape[axis]
        position = np.arange(cells + 1) * (length / cells)
        low = np.minimum(position.astype(int), length - 1)
        part = np.expand_dims(position - low, 1 - axis)
        integral = integral.take(low, axis) * (1 - part) + integral.take(low + 1, axis) * part
    area = (mask.shape[0] / cells) * (mask.shape[1] / cells)
    share = np.diff(np.diff(integral, axis=0), axis=1) / area
    # Differences of sums may miss 0 and 1 by a rounding error.
    return share.clip(0, 1).astype(np.float32)
