"""The log beside a manifest saves reading and never changes the manifest, whatever happened to it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgezsad.cli import app
from edgezsad.config import DataSet
from edgezsad.data import indexing
from edgezsad.data.indexing import Indexed, cache_path, index_again
from edgezsad.data.layouts import index
from edgezsad.data.manifest import read_manifest
from edgezsad.errors import InputError

ITEM = DataSet(name="bolts", layout="mvtec", root=Path("set"))
LONG_AGO = 1_600_000_000
REPOSITORY = Path(__file__).resolve().parents[2]


def draw(path: Path, value: int, when: int = LONG_AGO) -> None:
    """A small image; its file's size is the same for every value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 9), value, np.uint8)).save(path, format="BMP")
    os.utime(path, (when, when))


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")
    os.utime(path, (LONG_AGO, LONG_AGO))


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
def cache(tmp_path: Path) -> Path:
    return tmp_path / "bolts.csv.cache.jsonl"


def indexed(root: Path, cache: Path, workers: int = 1) -> Indexed:
    """Index, and compare with an index that knows no log."""
    result = index_again(ITEM, root, cache, workers)
    assert result.manifest == index(ITEM, root)
    return result


@pytest.mark.parametrize("workers", [1, 3])
def test_a_second_run_reads_nothing(root: Path, cache: Path, workers: int):
    assert indexed(root, cache, workers).read == 12
    before = cache.read_bytes()
    assert len(before.splitlines()) == 12
    assert indexed(root, cache, workers).read == 0
    assert cache.read_bytes() == before


CHANGES = {
    "content and time": (lambda root: draw(root / "bolt/train/good/3.bmp", 77, LONG_AGO + 5), 1),
    "an older time": (lambda root: draw(root / "bolt/train/good/3.bmp", 77, LONG_AGO - 5), 1),
    "size": (lambda root: lengthen(root / "bolt/train/good/3.bmp"), 1),
    "a mask": (lambda root: draw(root / "bolt/ground_truth/bent/1_mask.bmp", 9, LONG_AGO + 5), 1),
    "a mask gone": (lambda root: (root / "bolt/ground_truth/bent/1_mask.bmp").unlink(), 1),
    "renamed": (lambda root: (root / "bolt/train/good/3.bmp").rename(root / "bolt/train/good/33.bmp"), 1),
    "another label": (lambda root: (root / "bolt/test/bent").rename(root / "bolt/test/good"), 2),
    "removed": (lambda root: (root / "bolt/train/good/3.bmp").unlink(), 0),
    "added": (lambda root: draw(root / "bolt/train/good/99.bmp", 3), 1),
    "two swapped": (
        lambda root: [
            (root / "bolt/train/good/3.bmp").rename(root / "x"),
            draw(root / "bolt/train/good/3.bmp", 4, LONG_AGO + 1),
            (root / "x").rename(root / "bolt/train/good/4.bmp"),
            os.utime(root / "bolt/train/good/4.bmp", (LONG_AGO + 2, LONG_AGO + 2)),
        ],
        2,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_changed_is_read(root: Path, cache: Path, change: str):
    indexed(root, cache)
    act, read = CHANGES[change]
    act(root)
    assert indexed(root, cache).read == read
    assert indexed(root, cache).read == 0
    images = [json.loads(line)["row"]["found"]["image"] for line in cache.read_bytes().splitlines()]
    assert images == [entry.id for entry in index(ITEM, root).entries]


def test_files_of_one_size_and_time_that_change_places(root: Path, cache: Path):
    """Between normal and defective: nothing but the name's last change and the place on the disk tells."""
    for folder, value in (("good", 5), ("bent", 6)):
        draw(root / f"bolt/test/{folder}/7.bmp", value)
    indexed(root, cache)
    good, bent = (root / f"bolt/test/{folder}/7.bmp" for folder in ("good", "bent"))
    good.rename(root / "x")
    bent.rename(good)
    (root / "x").rename(bent)
    assert indexed(root, cache).read == 2


def test_two_folders_that_change_places(root: Path, cache: Path):
    """Their files are not touched: only the place on the disk tells."""
    for number in range(2):
        draw(root / f"bolt/test/good/{number}.bmp", 30 + number)
        (root / f"bolt/ground_truth/bent/{number}_mask.bmp").unlink()
    indexed(root, cache)
    (root / "bolt/test/good").rename(root / "x")
    (root / "bolt/test/bent").rename(root / "bolt/test/good")
    (root / "x").rename(root / "bolt/test/bent")
    assert indexed(root, cache).read == 4


def test_lines_of_a_run_beside_this_one_are_tidied(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    read = indexing.read_entry
    beside: list[Path] = [cache]

    def meanwhile(*arguments):
        if beside:
            beside.pop()
            index_again(ITEM, root, cache)
        return read(*arguments)

    monkeypatch.setattr(indexing, "read_entry", meanwhile)
    index_again(ITEM, root, cache)
    assert len(cache.read_bytes().splitlines()) == 12


def test_a_log_that_is_complete_is_only_read(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    indexed(root, cache)
    modes: list[str] = []

    def opened(path: Path, mode: str, **options):
        modes.append(mode)
        return open(path, mode, **options)

    monkeypatch.setattr(indexing, "open", opened, raising=False)
    assert index_again(ITEM, root, cache).read == 0
    assert set(modes) == {"rb"}


def test_the_log_of_another_folder_is_not_used(root: Path, cache: Path, tmp_path: Path):
    indexed(root, cache)
    other = tmp_path / "other"
    for path in [path for path in root.rglob("*") if path.is_file()]:
        draw(other / path.relative_to(root), 250)
    assert indexed(other, cache).read == 12


def test_a_file_that_just_changed_is_read_again(root: Path, cache: Path):
    draw(root / "bolt/train/good/3.bmp", 3, int(time.time()))
    result = indexed(root, cache)
    assert (result.read, result.unsettled) == (12, 1)
    # The same size and the same time, to the nanosecond: only distrust finds this.
    stamp = (root / "bolt/train/good/3.bmp").stat()
    draw(root / "bolt/train/good/3.bmp", 4)
    os.utime(root / "bolt/train/good/3.bmp", ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
    assert indexed(root, cache).read == 1


def test_another_version_of_the_log_is_not_used(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    indexed(root, cache)
    monkeypatch.setattr(indexing, "VERSION", indexing.VERSION + 1)
    assert indexed(root, cache).read == 12


@pytest.mark.parametrize("workers", [1, 3])
def test_a_damaged_image_is_named_and_the_others_are_kept(root: Path, cache: Path, workers: int):
    (root / "bolt/train/good/9.bmp").write_bytes(b"no image")
    for _ in range(2):
        with pytest.raises(InputError, match=r"9\.bmp"):
            index_again(ITEM, root, cache, workers)
    draw(root / "bolt/train/good/9.bmp", 9)
    assert indexed(root, cache).read < 12


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named_even_if_it_was_known(root: Path, cache: Path):
    indexed(root, cache)
    draw(root / "bolt/train/good/9.bmp", 10, LONG_AGO + 5)
    (root / "bolt/train/good/9.bmp").chmod(0)
    with pytest.raises(InputError, match=r"9\.bmp"):
        index_again(ITEM, root, cache)


def test_a_full_disk_is_named(root: Path, cache: Path):
    cache.symlink_to("/dev/full")
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(InputError, match=r"cache\.jsonl: No space left"):
        index_again(ITEM, root, cache)


# Damage to the log ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [b"", b"\n\n", b"\xff\xfe\n", b"{}\n", b"[]\n", b"null\n", b'{"check": 1, "row": 2}\n', b"[" * 100_000 + b"\n",
     b'{"check": "", "row": {"found": {"image": "bolt/train/good/3.bmp"}}}\n', b"\0" * 4096],
)  # fmt: skip
def test_foreign_lines_are_passed_over(root: Path, cache: Path, line: bytes):
    indexed(root, cache)
    good = cache.read_bytes()
    cache.write_bytes(line + good + line)
    # What has no line end swallows the line behind it.
    assert indexed(root, cache).read == (0 if line.endswith(b"\n") or not line else 1)
    assert cache.read_bytes() == good


def test_a_cut_last_line(root: Path, cache: Path):
    indexed(root, cache)
    good = cache.read_bytes()
    for cut in (1, 20, len(good.splitlines()[-1]), len(good.splitlines()[-1]) + 1):
        cache.write_bytes(good[:-cut])
        assert indexed(root, cache).read == (0 if cut == 1 else 1)
        assert sorted(cache.read_bytes().splitlines()) == sorted(good.splitlines())


def test_flipped_bytes_never_reach_the_manifest(root: Path, cache: Path):
    indexed(root, cache)
    good = cache.read_bytes()
    chance = random.Random(0)
    for _ in range(200):
        damaged = bytearray(good)
        for _ in range(chance.randint(1, 5)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        cache.write_bytes(damaged)
        result = indexed(root, cache)
        assert result.read <= 10


def test_a_changed_hash_in_the_log_is_not_believed(root: Path, cache: Path):
    indexed(root, cache)
    lines = [json.loads(line) for line in cache.read_bytes().splitlines()]
    lines[0]["row"]["entry"]["sha256"] = "0" * 64
    cache.write_text("\n".join(json.dumps(line) for line in lines))
    assert indexed(root, cache).read == 1


# A kill ---------------------------------------------------------------------------------------------------------------

CHILD = """
import sys, time
from pathlib import Path
from edgezsad.data import indexing
from edgezsad.config import DataSet
read = indexing.read_entry
def slowly(*arguments):
    time.sleep(0.02)
    return read(*arguments)
indexing.read_entry = slowly
item = DataSet(name="bolts", layout="mvtec", root=Path("set"))
indexing.index_again(item, Path(sys.argv[1]), Path(sys.argv[2]), workers=2)
"""


@pytest.mark.parametrize("lines", [1, 7])
def test_what_was_read_before_a_kill_is_kept(tmp_path: Path, cache: Path, lines: int):
    root = tmp_path / "set"
    for number in range(60):
        draw(root / f"bolt/train/good/{number:02}.bmp", number)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, root, cache], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    while child.poll() is None and (not cache.exists() or cache.read_bytes().count(b"\n") < lines):
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "the child ended before it could be killed"
    kept = cache.read_bytes().count(b"\n")
    assert lines <= kept < 60
    assert indexed(root, cache).read == 60 - kept
    assert indexed(root, cache).read == 0


# The command ----------------------------------------------------------------------------------------------------------


def test_command_writes_the_manifest(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["data", "index", "any", str(root)])
    assert done.exit_code == 0, done.exception
    assert "12 images, 2 defective, 2 with a mask; 12 read, 0 unchanged" in done.stdout
    assert "`data check`" in done.stdout
    done = CliRunner().invoke(app, ["data", "index", "any", str(root), "--workers", "2"])
    assert "0 read, 12 unchanged" in done.stdout
    manifest = read_manifest("set.csv", root, "any")
    assert manifest.entries == index(ITEM, root).entries
    assert manifest.sha256 in done.stdout
    assert cache_path("set.csv").is_file()
    draw(root / "bolt/train/good/new.bmp", 3, int(time.time()) + 100)
    done = CliRunner().invoke(app, ["data", "index", "any", str(root)])
    assert "1 changed within seconds" in done.stdout


def test_command_with_another_file(root: Path, tmp_path: Path):
    out = tmp_path / "deep" / "bolts.csv"
    assert CliRunner().invoke(app, ["data", "index", "any", str(root), "--out", str(out)]).exit_code == 0
    assert read_manifest(out, root).entries == index(ITEM, root).entries


def test_command_refuses_what_is_no_file_before_it_reads(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    os.mkfifo(tmp_path / "log.csv.cache.jsonl")
    before = sorted(tmp_path.iterdir())
    for name in ("", "folder", "pipe.csv", "log.csv", "pipe.csv/x.csv"):
        done = CliRunner().invoke(app, ["data", "index", "any", str(root), "--out", name])
        assert isinstance(done.exception, InputError), name
        assert name in str(done.exception) or name == "log.csv"
        assert sorted(tmp_path.iterdir()) == before


def test_a_stopped_command_says_that_it_may_go_on(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(indexing, "read_entry", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    done = CliRunner().invoke(app, ["data", "index", "any", str(root)])
    assert done.exit_code != 0
    assert "the same command goes on where it was" in done.stderr


def test_command_on_nothing(tmp_path: Path):
    done = CliRunner().invoke(app, ["data", "index", "any", str(tmp_path / "none"), "--out", str(tmp_path / "x.csv")])
    assert isinstance(done.exception, InputError)
    assert not (tmp_path / "x.csv").exists()
