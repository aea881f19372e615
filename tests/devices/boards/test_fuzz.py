"""Results that were damaged at random, always in the same way: an error of one line, or the right answer."""

import contextlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgezsad.devices.ingest.take import ingest
from edgezsad.devices.latency import read_latency
from edgezsad.errors import EdgeZSADError
from edgezsad.scoring.score_file import read_scores

ROUNDS = 40


def damage(data: bytes, chance: random.Random) -> bytes:
    """One of the things that happen to files."""
    kind = chance.randrange(6)
    place = chance.randrange(len(data) + 1)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]
    if kind == 2:
        return data[:place] + data[place + chance.randrange(1, 40) :]
    if kind == 3:
        return data[:place] + chance.randbytes(chance.randrange(1, 40)) + data[place:]
    if kind == 4:
        words = [b"nan", b"-inf", b"1e999", b"null", b"\x00", b"\xff\xfe", b"{", b"]", b"\t", b"\n", b"-1", b"9" * 400]
        return data[:place] + chance.choice(words) + data[place + chance.randrange(4) :]
    half = len(data) // 2
    return data[half:] + data[:half]


def check(bench: Any, path: Path, out: Path, whole: Any) -> bool:
    """Ingest; whatever was taken is what the whole result gives. Returns whether anything was refused."""
    shutil.rmtree(out, ignore_errors=True)
    try:
        taken = ingest(path, bench.run, out)
    except EdgeZSADError as error:
        assert "\n" not in str(error) and len(str(error)) < 500
        assert not out.exists()
        return True
    assert set(taken.scores) | set(taken.refused) == {"bolts", "nuts"} | ({"latency"} & set(taken.refused))
    for faults in taken.refused.values():
        assert faults and all("\n" not in fault for fault in faults)
    for name, file in taken.scores.items():
        scores, wanted = read_scores(file), read_scores(whole.scores[name])
        assert np.array_equal(scores.score, wanted.score) and np.array_equal(scores.map, wanted.map)
        assert np.array_equal(scores.image_id, wanted.image_id)
    if taken.latency:
        assert read_latency(out / "latency.json") == whole.latency
    return bool(taken.refused)


@pytest.mark.parametrize("name", ["jetson", "rb5"])
def test_damaged_archives(bench: Any, returned: dict[str, Path], tmp_path: Path, name: str):
    whole = ingest(returned[name], bench.run, tmp_path / "whole")
    data = returned[name].read_bytes()
    chance = random.Random(f"archive {name}")
    refused = 0
    for _ in range(ROUNDS):
        (tmp_path / "r.tar").write_bytes(damage(data, chance))
        refused += check(bench, tmp_path / "r.tar", tmp_path / "out", whole)
    # Bytes of padding, of logs and of dates may change without harm; most damage is seen.
    assert refused > ROUNDS / 3


@pytest.mark.parametrize("name", ["jetson", "rb5"])
def test_damaged_files(
    bench: Any, returned: dict[str, Path], unpacked: Callable[[str], Path], tmp_path: Path, name: str
):
    whole = ingest(returned[name], bench.run, tmp_path / "whole")
    folder = unpacked(name)
    skipped = {".log"}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in skipped)
    chance = random.Random(f"files {name}")
    refused = 0
    for number in range(2 * ROUNDS):
        path = files[number % len(files)] if number < len(files) else chance.choice(files)
        data = path.read_bytes()
        path.write_bytes(damage(data, chance))
        refused += check(bench, folder, tmp_path / "out", whole)
        path.write_bytes(data)
    assert refused > ROUNDS


@pytest.mark.parametrize("name", ["jetson", "rb5"])
def test_damage_behind_good_hashes_is_an_error_of_one_line(
    bench: Any, unpacked: Callable[[str], Path], results: ModuleType, tmp_path: Path, name: str
):
    """Whoever writes the hashes anew gets as far as the readers of each format; there is no right answer to check."""
    folder = unpacked(name)
    whole = shutil.copytree(folder, tmp_path / "whole")
    names = ["kit.json", "images.tsv", "facts.tsv", "commands.tsv"]
    names += (
        ["times.json", "profile.json", "time.tsv", "outputs/bolts/000002.json", "outputs/nuts/000008.json"]
        if name == "jetson"
        else ["time/time.tsv", "time/profile.csv", "chunks/0000/input_list.txt", "chunks/0001/Result_2/map.raw"]
    )
    chance = random.Random(f"sealed {name}")
    ended = {"taken": 0, "refused": 0}
    for number in range(2 * ROUNDS):
        file = names[number % len(names)]
        (folder / file).write_bytes(damage((whole / file).read_bytes(), chance))
        # The seal itself reads tables, which may be damaged.
        with contextlib.suppress(UnicodeDecodeError, IndexError, OSError):
            results.seal(folder)
        try:
            taken = ingest(folder, bench.run, tmp_path / "out")
            ended["refused" if taken.refused else "taken"] += 1
        except EdgeZSADError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
            ended["refused"] += 1
        for name in {*names, *results.SEALED, "outputs.tsv", "chunks/0000/outputs.tsv", "chunks/0001/outputs.tsv"}:
            if (whole / name).exists():
                shutil.copy(whole / name, folder / name)
    assert ended["refused"] > ROUNDS / 2
