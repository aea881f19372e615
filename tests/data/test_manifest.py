"""Manifests: what is written is read back, and damage is found and named."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgezsad.cli import app
from edgezsad.config import DataSet
from edgezsad.data import manifest as manifest_module
from edgezsad.data.layouts import HEATMAP
from edgezsad.data.manifest import (
    Entry,
    Manifest,
    fingerprint,
    index_dataset,
    read_manifest,
    write_manifest,
)
from edgezsad.errors import InputError

NORMAL = Entry("bolt/test/good/000.png", "bolt", "test", 0, "good", "", 640, 480, "a" * 64, "")
DEFECTIVE = Entry(
    "bolt/test/scratch/000.png", "bolt", "test", 1, "scratch", "bolt/mask.png", 640, 480, "b" * 64, "c" * 64
)
TWO = Manifest("bolts", Path("data"), (NORMAL, DEFECTIVE))


@pytest.mark.parametrize("name", ["a, b.png", 'a"b.png', " a .png", "größe 日本.png", "#1 [x]*?.png"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    manifest = replace(TWO, name=name, root=tmp_path, entries=(replace(NORMAL, id=name, category=name), DEFECTIVE))
    again = read_manifest(write_manifest(manifest, tmp_path / "m.csv"), tmp_path, name)
    assert again == manifest and again.sha256 == manifest.sha256


def test_hash_follows_content_only(tmp_path: Path) -> None:
    assert replace(TWO, name="other", root=tmp_path).sha256 == TWO.sha256
    assert replace(TWO, entries=(NORMAL, replace(DEFECTIVE, label=0))).sha256 != TWO.sha256
    path = write_manifest(TWO, tmp_path / "m.csv")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_manifest(path, "data").sha256 == TWO.sha256


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0], lines[2], lines[1], lines[3]],
        lambda lines: [lines[0], lines[1], lines[1], *lines[2:]],
        lambda lines: [*lines, lines[1]],
        lambda lines: [line.replace("640", "641") for line in lines],
        lambda lines: [*lines[:2], "x.png,1", lines[3]],
    ],
)
def test_a_truncated_or_changed_file_is_rejected(tmp_path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = write_manifest(TWO, tmp_path / "m.csv")
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(InputError, match="01_data") as caught:
        read_manifest(path, "data")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_every_cut_in_the_file_is_found(tmp_path: Path) -> None:
    path = write_manifest(TWO, tmp_path / "m.csv")
    whole = path.read_bytes()
    # Without its last line end the file is complete.
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_manifest(path, "data")


# The hash cache -------------------------------------------------------------------------------------------------------

ITEM = DataSet(name="bolts", layout="mvtec", root=Path("set"))
LONG_AGO = 1_600_000_000
REPOSITORY = Path(__file__).resolve().parents[2]


def draw(path: Path, value: int, when: int = LONG_AGO) -> None:
    """A small image; its file's size is the same for every value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 9), value, np.uint8)).save(path, format="BMP")
    os.utime(path, (when, when))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for number in range(10):
        draw(root / f"bolt/train/good/{number}.bmp", number)
    for number in range(2):
        draw(root / f"bolt/test/bent/{number}.bmp", 100 + number)
        draw(root / f"bolt/ground_truth/bent/{number}_mask.bmp", 200)
    return root


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    names: list[str] = []
    measure = manifest_module.measure

    def counted(path: Path, *rest: object) -> tuple[int, int, str]:
        names.append(path.name)
        return measure(path, *rest)

    monkeypatch.setattr(manifest_module, "measure", counted)
    return names


CHANGES = {
    "nothing": (lambda root: None, []),
    "content and time": (lambda root: draw(root / "bolt/train/good/3.bmp", 77, LONG_AGO + 5), ["3.bmp"]),
    "a mask": (lambda root: draw(root / "bolt/ground_truth/bent/1_mask.bmp", 9, LONG_AGO + 5), ["1_mask.bmp"]),
    "a mask removed": (lambda root: (root / "bolt/ground_truth/bent/1_mask.bmp").unlink(), []),
    "renamed": (lambda root: (root / "bolt/train/good/3.bmp").rename(root / "bolt/train/good/x.bmp"), ["x.bmp"]),
    "removed": (lambda root: (root / "bolt/train/good/3.bmp").unlink(), []),
    "added": (lambda root: draw(root / "bolt/train/good/99.bmp", 3), ["99.bmp"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_only_changed_files_are_read(root: Path, tmp_path: Path, reads: list[str], change: str) -> None:
    manifest = tmp_path / "bolts.csv"
    index_dataset(ITEM, root, manifest)
    assert len(reads) == 14
    reads.clear()
    act, expected = CHANGES[change]
    act(root)
    found = index_dataset(ITEM, root, manifest)
    assert reads == expected
    assert found == index_dataset(ITEM, root)


CHILD = """
import sys, time
from pathlib import Path
from edgezsad.config import DataSet
from edgezsad.data import manifest
manifest.SAVE_FILES = 10
measure = manifest.measure
def slowly(path, *rest):
    time.sleep(0.02)
    return measure(path, *rest)
manifest.measure = slowly
manifest.index_dataset(DataSet(name="bolts", layout="mvtec", root=Path("set")), sys.argv[1], Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_index_continues_where_it_was_saved(tmp_path: Path, reads: list[str]) -> None:
    root, manifest, cache = tmp_path / "set", tmp_path / "bolts.csv", tmp_path / "bolts.csv.cache.json"
    for number in range(100):
        draw(root / f"bolt/train/good/{number:02}.bmp", number)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, root, manifest], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    while child.poll() is None and not cache.exists():
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "the child ended before it could be killed"
    index_dataset(ITEM, root, manifest)
    assert 0 < len(reads) < 100


@pytest.mark.parametrize("name", ["bolt/test/bent/0.bmp" + HEATMAP, "bolt/train/good/._0.bmp", "docs/a.png"])
def test_files_that_the_index_ignores_do_not_change_the_fingerprint(root: Path, name: str) -> None:
    before, listed = fingerprint(ITEM, root), index_dataset(ITEM, root)
    draw(root / name, 1)
    assert index_dataset(ITEM, root) == listed
    assert fingerprint(ITEM, root) == before


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "nothing"])
def test_images_that_change_change_the_fingerprint(root: Path, change: str) -> None:
    before = fingerprint(ITEM, root)
    CHANGES[change][0](root)
    assert fingerprint(ITEM, root) != before


def test_command_writes_the_manifest(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["data", "index", "any", str(root)])
    assert done.exit_code == 0, done.exception
    assert "12 images, 2 defective, 2 with a mask" in done.stdout
    manifest = read_manifest("set.csv", root, "any")
    assert manifest.entries == index_dataset(ITEM, root).entries
    assert manifest.sha256 in done.stdout
