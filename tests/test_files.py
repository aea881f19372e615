"""Files are written whole or not at all."""

import errno
import json
import math
import os
import sys
from pathlib import Path

import pytest

from edgezsad.errors import InputError
from edgezsad.files import growing_csv, read_json, shipped, write_json, write_text, written_beside


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, error: type[BaseException]) -> None:
    path = write_text(tmp_path / "a.txt", "old")
    with pytest.raises(error), written_beside(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_the_old_file_stands_until_the_block_ends(tmp_path: Path) -> None:
    path = write_text(tmp_path / "deep" / "er" / "a.npz", "old")
    with written_beside(path) as temporary:
        assert temporary.parent == path.parent
        # Writers such as NumPy's choose their format by the suffix.
        assert temporary.suffix == ".npz"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [item.name for item in path.parent.iterdir()] == ["a.npz"]
    # mkstemp makes private files.
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_full_disk_is_said_of_the_file_that_was_wanted(tmp_path: Path) -> None:
    """Writing to an open file says no name, and renaming the temporary one."""
    for name in (None, "temporary"):
        with pytest.raises(OSError) as caught, written_beside(tmp_path / "a.csv") as temporary:
            error = OSError(errno.ENOSPC, "No space left on device")
            error.filename = None if name is None else str(temporary)
            raise error
        assert caught.value.filename == str(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError) as caught, written_beside(tmp_path / "a.csv"):
        (tmp_path / "other.csv").read_text()
    assert caught.value.filename == str(tmp_path / "other.csv")


def test_an_error_without_a_number_keeps_its_text_and_no_arrow(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, written_beside(tmp_path / "a.png"):
        raise OSError("cannot write this mode")
    assert str(caught.value) == f"[Errno None] cannot write this mode: '{tmp_path}/a.png'"


def test_a_table_is_partial_until_its_last_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, part = tmp_path / "new" / "t.csv", tmp_path / "new" / "t.csv.part"
    with growing_csv(path, ("a", "b")) as add:
        add({"a": 1, "b": math.nan})
        assert part.read_text() == "a,b\n1,\n" and not path.exists()
    assert path.read_text() == "a,b\n1,\n" and not part.exists()
    with pytest.raises(SystemExit), growing_csv(path, ("a", "b")) as add:
        add({"a": 2, "b": 3})
        sys.exit(1)
    assert (path.read_text(), part.read_text()) == ("a,b\n1,\n", "a,b\n2,3\n")
    assert capsys.readouterr().err == f"{part}: incomplete, holds the rows so far\n"


def test_nothing_but_a_regular_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    write_text(tmp_path / "file", "x")
    for name, reason in (("pipe", "not a regular file"), ("folder", "is a folder"), ("file/x", "is not a folder")):
        with pytest.raises(InputError, match=reason):
            write_text(tmp_path / name, "y")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "folder", "pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_folders_of_the_checkout_and_of_a_built_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgezsad.files.__file__", str(tmp_path / "edgezsad" / "files.py"))
    (tmp_path / "data_manifests").mkdir()
    assert shipped("data_manifests") == tmp_path.resolve() / "edgezsad" / "data_manifests"
    (tmp_path / "pyproject.toml").touch()
    assert shipped("data_manifests") == tmp_path.resolve() / "data_manifests"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_rejects_what_json_cannot_hold(tmp_path: Path, number: float) -> None:
    path = write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"deep": [{"x": number}]})
    assert json.loads(path.read_text()) == {"x": 1}


def test_a_json_key_given_twice(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": {"b": 1, "c": 2, "b": 3}}')
    with pytest.raises(InputError, match="the key 'b' is given twice"):
        read_json(tmp_path / "a.json", "write it again")
