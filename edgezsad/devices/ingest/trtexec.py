"""What `trtexec` writes, of TensorRT 10.x and 11.x (samples/common/sampleReporting.cpp): outputs, times, profile.

Outputs have six significant digits: that is how finely a board's scores can be compared with the host's.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgezsad.errors import InputError

_NOT_FINITE = re.compile(r"(?<![\w\"])([-+]?)(nan|inf|infinity)\b(?:\([^)]*\))?", re.IGNORECASE)


@dataclass(frozen=True)
class Layer:
    """One layer of a profile: its name, average milliseconds, and share of the whole in percent."""

    name: str
    milliseconds: float
    percent: float


def read_output(data: bytes, map_shape: tuple[int, int], what: str) -> tuple[float, np.ndarray]:
    """The output of one image (`--exportOutput`).

    Args:
        data: the file.
        map_shape: (height, width) that the map must have.
        what: the file's name, for errors.

    Returns:
        The score and the (height, width) float32 map.

    Raises:
        InputError: damaged, of other tensors or shapes, of a wrong length, or not finite.
    """
    found = _json(data, what)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InputError(f"{what}: not an output of trtexec")
    names = [item.get("name") for item in found]
    if sorted(map(str, names)) != ["map", "score"]:
        raise InputError(f"{what}: has the tensors {names!a:.80}, not score and map")
    tensors = {str(item["name"]): _tensor(item, what) for item in found}
    height, width = map_shape
    if tensors["score"].size != 1:
        raise InputError(f"{what}: score has {tensors['score'].size} values, not 1")
    if tensors["map"].shape[-2:] != map_shape or tensors["map"].size != height * width:
        shape = "x".join(map(str, tensors["map"].shape))
        raise InputError(f"{what}: map is {shape}, not 1x1x{height}x{width}")
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise InputError(f"{what}: {name} has values that are not finite")
    return float(tensors["score"].ravel()[0]), tensors["map"].reshape(map_shape)


def read_times(data: bytes, what: str) -> list[float]:
    """The compute time of every iteration (`--exportTimes`), milliseconds.

    `computeMs` alone is comparable between versions: what `latencyMs` counts is not the same in 10.x and 11.x.

    Raises:
        InputError: damaged, or a time is missing or no positive number.
    """
    found = _json(data, what)
    if not isinstance(found, list) or not found or not all(isinstance(item, dict) for item in found):
        raise InputError(f"{what}: not a list of times of trtexec")
    times = []
    for number, item in enumerate(found):
        value = item.get("computeMs")
        if not _is_number(value) or not np.isfinite(value) or not 0 < value < 1e9:
            raise InputError(f"{what}: iteration {number} has no computeMs that is a time")
        times.append(float(value))
    return times


def read_profile(data: bytes, what: str) -> list[Layer]:
    """Times by layer (`--exportProfile`).

    Raises:
        InputError: damaged.
    """
    found = _json(data, what)
    if not isinstance(found, list) or not found or not isinstance(found[0], dict) or "count" not in found[0]:
        raise InputError(f"{what}: not a profile of trtexec")
    layers = []
    for item in found[1:]:
        if not isinstance(item, dict) or not all(_is_number(item.get(key)) for key in ("averageMs", "percentage")):
            raise InputError(f"{what}: a layer has no times")
        layers.append(Layer(str(item.get("name")), float(item["averageMs"]), float(item["percentage"])))
    return layers


def _json(data: bytes, what: str) -> Any:
    try:
        # C++ streams write nan and inf, which JSON has no word for; they are to be found by name, not as damage.
        text = _NOT_FINITE.sub(lambda found: "NaN" if found[2].lower() == "nan" else "Infinity", data.decode("utf-8"))
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{what}: damaged or cut off, not JSON") from None


def _tensor(item: dict[str, Any], what: str) -> np.ndarray:
    name, dimensions, values = item["name"], item.get("dimensions"), item.get("values")
    if not isinstance(dimensions, str) or not re.fullmatch(r"[1-9][0-9]{0,8}(x[1-9][0-9]{0,8}){0,7}", dimensions):
        raise InputError(f"{what}: {name} has no dimensions")
    if not isinstance(values, list) or not all(map(_is_number, values)):
        raise InputError(f"{what}: {name} has values that are not numbers")
    shape = tuple(map(int, dimensions.split("x")))
    count = 1
    for axis in shape:
        count *= axis
    if count != len(values):
        raise InputError(f"{what}: {name} has {len(values)} values, {dimensions} needs {count}")
    try:
        with np.errstate(over="ignore"):
            return np.array(values, dtype=np.float64).astype(np.float32).reshape(shape)
    except (OverflowError, ValueError):
        raise InputError(f"{what}: {name} has values beyond any output") from None


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not isinstance(value, int) or abs(value) < 1 << 100
