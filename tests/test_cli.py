"""The command line: wrong input is one line and exit code 2, whatever the command."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from edgezsad import cli

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIGS = REPOSITORY / "configs"
Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predict", "x.png", "--checkpoint", "nowhere.safetensors"], "nowhere.safetensors"),
        (["claims", "check", "--config", "wrong.yaml"], "did you mean seeds?"),
        (["lint", "nowhere.onnx"], "nowhere.onnx"),
        (["train", "--config", CONFIGS / "mini.yaml", "--seed", "9"], "has the seeds 0, 1, 2"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[object], expected: str, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text("profile: mini\nseed: [0]\n")
    code, _, errors = command(*arguments)
    assert code == 2 and len(errors.splitlines()) == 1
    assert errors.startswith("error: ") and expected in errors


def test_a_file_name_that_is_not_text(tmp_path: Path):
    image = tmp_path / "set" / "bolt" / "train" / "good" / "0.png"
    image.parent.mkdir(parents=True)
    Image.new("L", (9, 9)).save(image)
    command = [sys.executable, "-m", "edgezsad.cli", "data", "index", "any", "set", "--out", b"\xff.csv"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"\\udcff.csv: 1 images")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "Disk full", "a.csv"), "error: a.csv: Disk full; fix it and try again"),
        (OSError("decoder"), "error: decoder; fix it and try again"),
        (MemoryError(), "error: out of memory; use fewer workers, or smaller images"),
    ],
)
def test_errors_of_the_system_are_one_line(
    command: Command, error: Exception, line: str, monkeypatch: pytest.MonkeyPatch
):
    def fails() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fails)
    assert command() == (2, "", f"{line}\n")
