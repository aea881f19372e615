"""Watching a folder: each complete file once, also after a kill; growing and damaged files; a clean end."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgezsad.errors import InputError
from edgezsad.predict import Decision, HeatMaps
from edgezsad.results import COLUMNS, watch

REPOSITORY = Path(__file__).resolve().parent.parent


class Brightness:
    """The score is the mean pixel value."""

    size = 4

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        return float(image.mean()), image[:2, :2, 0].astype(np.float32)


def write_image(path: Path, level: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 9, 3), level, np.uint8)).save(path)
    return path


def rows_of(table: Path) -> list[dict[str, str]]:
    if not table.exists():
        return []
    with open(table, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def until(true: Callable[[], object], seconds: float = 60) -> None:
    """Wait; a loaded machine may take long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Watch tmp_path/in with tmp_path/t.csv while a function runs in a thread, then end as Ctrl-C does."""
    monkeypatch.setattr("edgezsad.results.POLL", 0.02)
    monkeypatch.setattr("edgezsad.results.PATIENCE", 2)

    def run(act: Callable[[], None], **options: object) -> None:
        (tmp_path / "in").mkdir(exist_ok=True)
        failed: list[BaseException] = []

        def acting() -> None:
            try:
                act()
            except BaseException as error:
                failed.append(error)
            finally:
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=acting)
        thread.start()
        arguments = {"table": tmp_path / "t.csv"} | options
        watch(tmp_path / "in", Brightness(), Decision(50, "given"), **arguments)
        thread.join()
        assert not failed, failed

    yield run


def test_growing_files_are_waited_for_and_damaged_ones_reported_once(tmp_path: Path, session: Callable[..., None]):
    noise = np.random.default_rng(0).integers(90, 110, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    table, growing = tmp_path / "t.csv", tmp_path / "in" / "growing.png"

    def act() -> None:
        write_image(tmp_path / "in" / "sub" / "early.png", 10)
        for end in range(8, len(whole) - 200, 200):
            growing.write_bytes(whole[:end])
            time.sleep(0.03)
            assert not any(row["path"].endswith("growing.png") for row in rows_of(table))
        growing.write_bytes(whole)
        (tmp_path / "in" / "bad.png").write_bytes(whole[:300])
        until(lambda: len(rows_of(table)) == 3)
        # Damaged first and replaced later: the new content is scored.
        (tmp_path / "in" / "bad.png").write_bytes(whole)
        until(lambda: len(rows_of(table)) == 4)
        time.sleep(0.2)

    session(act)
    found = [(Path(row["path"]).name, row["verdict"], bool(row["error"])) for row in rows_of(table)]
    assert sorted(found[:3]) == [
        ("bad.png", "", True),
        ("early.png", "normal", False),
        ("growing.png", "defective", False),
    ]
    assert found[3:] == [("bad.png", "defective", False)]
    assert len(list((tmp_path / "in").rglob("*.png"))) == 3


def test_heat_maps_are_not_scored_nor_anything_twice(
    tmp_path: Path, session: Callable[..., None], capsys: pytest.CaptureFixture[str]
):
    table, folder = tmp_path / "t.csv", tmp_path / "in"
    write_image(folder / 'a "quoted"\nname.png')
    write_image(folder / "b.png", 10)
    session(lambda: until(lambda: len(rows_of(table)) == 2), heatmaps=HeatMaps(folder / "maps", folder))
    assert len(list(folder.rglob("*.heatmap.png"))) == 2
    assert capsys.readouterr().err.endswith("1 defective, 1 normal\n")
    # A row that was cut off is dropped, its image scored again.
    table.write_bytes(table.read_bytes()[:-4])
    session(lambda: until(lambda: table.read_bytes().endswith(b"\n") and len(rows_of(table)) == 2), as_json=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and set(json.loads(lines[0])) >= {"path", "score", "verdict", "size", "modified_ns"}
    assert len({row["path"] for row in rows_of(table)}) == 2
    session(lambda: time.sleep(0.3))
    assert len(rows_of(table)) == 2 and capsys.readouterr().err.endswith("no new images\n")


def test_another_table_is_not_continued(tmp_path: Path, command: Callable[..., tuple[int, str, str]]):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not written by --watch"):
        watch(tmp_path, Brightness(), Decision(), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "a,b\n1,2\n"
    for arguments in (["--watch", tmp_path], ["--watch", tmp_path, "--json", "--compare"], []):
        code, _, errors = command("predict", *arguments)
        assert code == 2 and len(errors.splitlines()) == 1


@pytest.mark.slow
def test_a_killed_command_continues_where_it_was(tmp_path: Path):
    for number in range(12):
        write_image(tmp_path / "in" / f"{number}.png", 10 * number)
    table = tmp_path / "t.csv"
    command = [sys.executable, "-m", "edgezsad.cli", "predict", "--watch", "in", "--csv", "t.csv", "--json"]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    killed = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)
    until(lambda: len(rows_of(table)) >= 4)
    killed.kill()
    killed.communicate()
    before = rows_of(table)
    again = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)
    until(lambda: len(rows_of(table)) >= 12)
    write_image(tmp_path / "in" / "late.png")
    until(lambda: len(rows_of(table)) >= 13)
    again.terminate()
    printed, errors = again.communicate()
    assert again.returncode == 0 and "Traceback" not in errors
    assert errors.splitlines()[-1].endswith(f"{13 - len(before)} uncalibrated")
    found = rows_of(table)
    assert tuple(found[0]) == COLUMNS and found[: len(before)] == before
    assert len(found) == len({row["path"] for row in found}) == 13
    assert [json.loads(line)["path"] for line in printed.splitlines()] == [row["path"] for row in found[len(before) :]]
