"""Reading back arrays that can be made again: all of them as they were written, or none."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def read_again(path: Path | str, like: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, np.ndarray] | None:
    """The arrays of an `.npz` file that holds what can be made again, without pickles.

    Args:
        path: the file.
        like: by name, the type of each array ("U" stands for text of any length) and its shape behind the first axis.

    Returns:
        The arrays by name; None where the file is missing, damaged in any way, or holds other types or shapes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # Whole members: their checksums are then compared, whatever length the array's own header claims.
            members = {name: io.BytesIO(archive.read(f"{name}.npy")) for name in like}
        arrays = {name: np.lib.format.read_array(data, allow_pickle=False) for name, data in members.items()}
    except Exception:
        # Damaged bytes lead to whatever error they happen to: BadZipFile, zlib.error, NotImplementedError, TypeError...
        return None
    if all(_is_like(arrays[name], *wanted) for name, wanted in like.items()):
        return arrays
    return None


def _is_like(array: np.ndarray, kind: str, shape: tuple[int, ...]) -> bool:
    same = array.dtype.kind == "U" if kind == "U" else array.dtype == np.dtype(kind)
    return same and array.ndim == 1 + len(shape) and array.shape[1:] == shape
