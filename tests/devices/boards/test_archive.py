"""Archives from elsewhere: nothing in them writes outside, links, or grows; damage is one line."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgezsad.devices.ingest import archive
from edgezsad.devices.ingest.archive import opened, unpack
from edgezsad.devices.ingest.take import ingest
from edgezsad.errors import InputError


def member(name: str, size: int = 2, **changes: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def pack(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as packed:
        for info in members:
            packed.addfile(info, io.BytesIO(bytes(info.size)) if info.isreg() else None)
    return path


@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        (member("../kit.json"), "leads out"),
        (member("outputs/../../kit.json"), "leads out"),
        (member("/kit.json"), "leads out"),
        (member("outputs\\x.json"), "leads out"),
        (member("outputs/a\x1b[2J/x.json"), "leads out"),
        (member("kit.json", 0, type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
        (member("times.json", 0, type=tarfile.LNKTYPE, linkname="kit.json"), "is a link"),
        (member("times.json", 0, type=tarfile.CHRTYPE), "a device"),
        (member("times.json", 0, type=tarfile.FIFOTYPE), "a device"),
        (member("outputs//x/1.json"), "two spellings"),
        (member("outputs/x/1.json", 5 << 20), "has 5 MiB"),
    ],
)
def test_hostile_members_are_refused_before_anything_is_read(tmp_path: Path, hostile: tarfile.TarInfo, said: str):
    path = pack(tmp_path / "result.tar", hostile)
    folder = tmp_path / "inside" / "folder"
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match=said) as caught:
        unpack(path, folder)
    assert str(caught.value).isprintable()
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["folder", "inside", "result.tar"]


def test_a_name_that_comes_twice_is_refused(tmp_path: Path):
    path = pack(tmp_path / "r.tar", member("kit.json"), member("./kit.json"))
    with pytest.raises(InputError, match="there twice"), opened(path):
        pass


def test_a_sparse_file_of_any_size_is_refused(tmp_path: Path):
    info = member("times.json", 0, pax_headers={"GNU.sparse.size": str(1 << 50), "GNU.sparse.map": "0,0"})
    with tarfile.open(tmp_path / "r.tar", "w", format=tarfile.PAX_FORMAT) as packed:
        packed.addfile(info, io.BytesIO())
    with pytest.raises(InputError, match="sparse"), opened(tmp_path / "r.tar"):
        pass


def test_too_many_files_and_too_large_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = pack(tmp_path / "r.tar", *(member(f"outputs/x/{number}.json") for number in range(4)))
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    with pytest.raises(InputError, match="comes after 3 files"), opened(path):
        pass
    monkeypatch.setattr(archive, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="larger than any result"), opened(path):
        pass


def test_compressed_archives_are_not_opened(tmp_path: Path):
    """What grows a thousandfold as it is read is no result: boards pack plain tar."""
    pack(tmp_path / "r.tar", member("logs/build.log", 60 << 20))
    bomb = tmp_path / "bomb.tar.gz"
    bomb.write_bytes(gzip.compress((tmp_path / "r.tar").read_bytes()))
    with pytest.raises(InputError, match="not a whole tar archive"), opened(bomb):
        pass


def test_unknown_files_are_left_in_the_archive(tmp_path: Path):
    path = pack(
        tmp_path / "r.tar", member("kit.json"), member("run.sh"), member("outputs/x/a.so"), member("x/kit.json")
    )
    with opened(path) as folder:
        assert [entry.name for entry in folder.rglob("*") if entry.is_file()] == ["kit.json"]


@pytest.mark.parametrize("keep", [0, 100, 512, 700, 1024, 1536, -1024, -1])
def test_cut_off_archives_are_refused(tmp_path: Path, keep: int):
    path = pack(tmp_path / "r.tar", member("kit.json", 600), member("times.json", 600))
    data = path.read_bytes()
    whole = len(data) - 10240 + 2 * 1536 if len(data) == 10240 else None
    cut = data[:keep] if keep >= 0 else data[: 2 * 1536 + keep]
    assert whole is None or len(cut) < whole
    path.write_bytes(cut)
    with pytest.raises(InputError, match="copy it from the board again"), opened(path):
        pass


def test_a_header_that_is_damaged_does_not_end_the_archive_quietly(tmp_path: Path):
    path = pack(tmp_path / "r.tar", member("kit.json", 600), member("times.json", 600))
    data = bytearray(path.read_bytes())
    data[1536 + 10] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="cut off or damaged"), opened(path):
        pass


def test_folders_with_links_are_refused(tmp_path: Path, unpacked: Callable[[str], Path], bench: Any):
    folder = unpacked("jetson")
    (folder / "outputs" / "bolts" / "000000.json").unlink()
    (folder / "outputs" / "bolts" / "000000.json").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="is a link or no file"):
        ingest(folder, bench.run, tmp_path / "out")
    (folder / "outputs" / "bolts" / "000000.json").unlink()
    os.mkfifo(folder / "outputs" / "bolts" / "000000.json")
    with pytest.raises(InputError, match="is a link or no file"):
        ingest(folder, bench.run, tmp_path / "out")


def test_what_is_not_there_is_named(tmp_path: Path, bench: Any):
    with pytest.raises(InputError, match=r"none\.tar: no such result"):
        ingest(tmp_path / "none.tar", bench.run)
    with pytest.raises(InputError, match=r"kit\.json: missing; not a whole result"):
        ingest(tmp_path, bench.run)
