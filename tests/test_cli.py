"""The command line: wrong input is one line and exit code 2, whatever the command."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from edgezsad import cli

REPOSITORY = Path(__file__).resolve().parent.parent


def run(*arguments: str, folder: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgezsad.cli", *arguments]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": ""}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predict", "x.png", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["predict", "x.png", "--checkpoint", "nowhere.safetensors"], "nowhere.safetensors"),
        (["claims", "check", "--config", "wrong.yaml"], "did you mean seeds?"),
        (["lint", "nowhere.onnx"], "nowhere.onnx"),
        (["train", "--config", str(REPOSITORY / "configs" / "mini.yaml"), "--seed", "9"], "has the seeds 0, 1, 2"),
        (["profile", "nowhere.yaml"], "nowhere.yaml"),
        (["profile", "wrong.yaml"], "did you mean seeds?"),
        (["profile", str(REPOSITORY / "configs" / "folder.yaml")], "DATA=FOLDER"),
        (["profile", str(REPOSITORY / "configs" / "folder.yaml"), "--data-root", "my photos"], "my photos/source"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments: list[str], expected: str, tmp_path: Path):
    (tmp_path / "wrong.yaml").write_text("profile: mini\nseed: [0]\n")
    done = run(*arguments, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr


def test_a_good_profile_says_what_it_will_do():
    done = run("profile", "configs/mini.yaml")
    assert done.returncode == 0
    assert "trained on generated; tested on mvtec-standin" in done.stdout


def test_a_name_that_is_no_text_does_not_fail_a_command_that_is_done(tmp_path: Path):
    image = tmp_path / "set" / "bolt" / "train" / "good" / "0.png"
    image.parent.mkdir(parents=True)
    Image.new("L", (9, 9)).save(image)
    done = subprocess.run(
        [sys.executable, "-m", "edgezsad.cli", "data", "index", "any", "set", "--out", b"\xff.csv"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "", "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"\\udcff.csv: 1 images")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "Disk full", "a.csv"), "error: a.csv: Disk full; fix it and try again"),
        (OSError(28, "Disk full"), "error: Disk full; fix it and try again"),
        (OSError("decoder"), "error: decoder; fix it and try again"),
        (MemoryError(), "error: out of memory; use fewer workers, or smaller images"),
    ],
)
def test_errors_of_the_system_are_one_line(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fails() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"{line}\n"
