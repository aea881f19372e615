"""Cache of source features, computed once by the frozen backbone and shared by all seeds.

On disk: one array per stride (`stride08.npy`, ...), `mask_fraction.npy`, and `features.json`, what they were made from.
"""

import copy
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from edgezsad.data.loading import in_order
from edgezsad.errors import InputError, one_line
from edgezsad.files import progress, read_json, record_written, sha256_of_bytes, sha256_of_file, verified, write_json
from edgezsad.model.backbone import Backbone
from edgezsad.source.render import SourceImages

FEATURE_RECIPE = 1  # increase it if a change of the code changes the features
REMEDY = "run notebook 02_features"


class CacheInfo(BaseModel):
    """What a feature cache was made from; `features_sha256` is the hash of its arrays."""

    model_config = ConfigDict(extra="forbid")

    recipe: int
    backbone: str
    backbone_sha256: str
    size: int
    strides: tuple[int, ...]
    source_sha256: str
    images: int
    features_sha256: str


@dataclass(frozen=True)
class Features:
    """Cached features of N images; label, group and parent are those of `SourceImages`."""

    maps: list[np.ndarray]  # one (N, C, h, w) float16 array per stride, finest first
    mask_fraction: np.ndarray  # (N, h, w) defective fraction of cells; NaN of a defective image without mask
    label: np.ndarray
    group: np.ndarray
    parent: np.ndarray
    info: CacheInfo

    def __len__(self) -> int:
        return len(self.label)


def cache_features(sources: SourceImages, backbone: Backbone, size: int, folder: Path | str) -> Features:
    """Compute and write the features of every source image at `size` x `size` pixels; returns them as read back."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "features.json").unlink(missing_ok=True)
    count, cells = len(sources), size // backbone.strides[0]
    paths = [*(folder / f"stride{stride:02d}.npy" for stride in backbone.strides), folder / "mask_fraction.npy"]
    unfinished = [path.with_name(f"{path.name}.part") for path in paths]
    maps = [
        np.lib.format.open_memmap(path, "w+", np.float16, (count, channels, size // stride, size // stride))
        for path, channels, stride in zip(unfinished, backbone.channels, backbone.strides, strict=False)
    ]
    fraction = np.lib.format.open_memmap(unfinished[-1], "w+", np.float32, (count, cells, cells))
    extract = feature_extractor(backbone, size)
    samples = in_order(lambda row: sources.read(row, size), range(count), workers=2)
    for row, sample in enumerate(progress(samples, "source features", total=count)):
        # A value beyond float16 becomes infinite, which is reported with the image's name.
        with np.errstate(over="ignore"):
            features = [one.astype(np.float16) for one in extract(sample.pixels)]
        if not all(np.isfinite(one).all() for one in features):
            problem = f"features of {backbone.name} do not fit into float16"
            raise InputError(f"{sources.name(row)}: {problem}; use another backbone")
        for stored, one in zip(maps, features, strict=True):
            stored[row] = one
        if sources.label[row]:
            fraction[row] = np.nan if sample.mask is None else cell_mask_fraction(sample.mask, cells)
    for path, part, stored in zip(paths, unfinished, (*maps, fraction), strict=True):
        stored.flush()
        record_written(path, part)
        part.replace(path)
    # Written last: an interrupted cache is never read.
    hashes = {"backbone_sha256": backbone.sha256(), "source_sha256": sources.sha256}
    hashes["features_sha256"] = sha256_of_bytes("\n".join(map(sha256_of_file, paths)).encode())
    made_from = {"backbone": backbone.name, "size": size, "strides": backbone.strides, "images": count}
    write_json(folder / "features.json", CacheInfo(recipe=FEATURE_RECIPE, **made_from, **hashes).model_dump())
    return read_features(folder, sources)


def feature_extractor(backbone: nn.Module, size: int) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return a function from (size, size, 3) uint8 pixels to one (C, h, w) float32 map per stride, by ONNX Runtime."""
    # ONNX Runtime is about twice as fast on a CPU as PyTorch.
    # A fresh copy without cached attention biases (`edgezsad.model.backbone.reset_attention_bias_cache`).
    module = copy.deepcopy(backbone).train().eval()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = str(Path(folder) / "backbone.onnx")
        example = (torch.zeros(1, 3, size, size),)
        torch.onnx.export(module, example, path, dynamo=True, opset_version=18, external_data=False, verbose=False)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def extract(pixels: np.ndarray) -> list[np.ndarray]:
        image = pixels.transpose(2, 0, 1)[None].astype(np.float32)
        return [one[0] for one in session.run(None, {name: image})]

    return extract


def read_features(folder: Path | str, sources: SourceImages) -> Features:
    """Open a feature cache, memory-mapped; raises InputError if incomplete, outdated or of other source images."""
    folder = Path(folder)
    record = read_json(folder / "features.json", REMEDY)
    try:
        info = CacheInfo.model_validate(record)
        maps = [np.load(verified(folder / f"stride{stride:02d}.npy"), mmap_mode="r") for stride in info.strides]
        fraction = np.load(verified(folder / "mask_fraction.npy"))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{folder}: damaged feature cache ({one_line(error, 120)}); {REMEDY}") from None
    if (info.recipe, info.source_sha256, info.images) != (FEATURE_RECIPE, sources.sha256, len(sources)):
        raise InputError(f"{folder}: made from other source images or by another version; {REMEDY}")
    expected = [(len(sources), info.size // stride, info.size // stride) for stride in info.strides]
    found = [(len(stored), *stored.shape[2:]) for stored in maps]
    if found != expected or fraction.shape != expected[0]:
        raise InputError(f"{folder}: damaged feature cache (shapes of arrays differ from its record); {REMEDY}")
    return Features(maps, fraction, sources.label, sources.group, sources.parent, info)


def cell_mask_fraction(mask: np.ndarray, cells: int) -> np.ndarray:
    """Compute the exact defective fraction of each cell of an (H, W) bool mask: a thin scratch leaves a small one."""
    # INTER_AREA averages exactly only where it shrinks.
    times = -(-cells // min(mask.shape))
    large = mask.repeat(times, 0).repeat(times, 1).astype(np.float32)
    return cv2.resize(large, (cells, cells), interpolation=cv2.INTER_AREA).clip(0, 1)
