"""Arrays that can be made again are read as they were written, or not at all."""

import random
from pathlib import Path

import numpy as np
import pytest

from edgezsad.files import read_arrays

LIKE = {"names": ("U", ()), "values": ("i4", (2,))}
ARRAYS = {"names": np.array(["a", "bc", "d"]), "values": np.arange(6, dtype=np.int32).reshape(3, 2)}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_any_flipped_bit_or_cut_is_noticed(tmp_path: Path, save) -> None:
    path, damaged = tmp_path / "good.npz", tmp_path / "damaged.npz"
    save(path, **ARRAYS)
    good, chance = path.read_bytes(), random.Random(0)
    for trial in range(3000):
        data = bytearray(good)
        if trial % 10:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        else:
            del data[chance.randrange(len(data)) :]
        damaged.write_bytes(data)
        read = read_arrays(damaged, LIKE)
        assert read is None or all(np.array_equal(read[name], ARRAYS[name]) for name in ARRAYS)
    assert read_arrays(path, LIKE) is not None


@pytest.mark.parametrize(
    "other",
    [
        {"values": np.zeros((3, 3), np.int32)},
        {"values": np.zeros((3, 2))},
        {"values": np.array([[1, "x"]], dtype=object)},
        {"names": np.array([b"a"])},
        {"names": np.array("a")},
    ],
)
def test_other_types_shapes_and_pickles_are_refused(tmp_path: Path, other: dict) -> None:
    np.savez(tmp_path / "other.npz", allow_pickle=True, **(ARRAYS | other))
    assert read_arrays(tmp_path / "other.npz", LIKE) is None
    assert read_arrays(tmp_path / "missing.npz", LIKE) is None
