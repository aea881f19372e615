"""`make` depends on its arguments alone; a killed run goes on, and a run at work is left alone."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROFILE = """
profile: folder
title: tiny
run: runs/tiny
seeds: [0]
data:
  root: data
  source: [{name: source, layout: mvtec, root: source}]
  targets: [{name: cloth, layout: mvtec, root: cloth}]
model: {backbone: tf_efficientnet_lite0, weights: package, size: 128}
"""
SNAKEFILE = """
rule all:
    input: expand("runs/tiny/{number}.txt", number=range(4))
rule one:
    output: "runs/tiny/{number}.txt"
    shell: "mktemp; echo half > {output}; sleep 0.2; seq {wildcards.number} 99 > {output}"
"""
HOSTILE = {
    "DATA": "/caller",
    "CONFIG": "/caller",
    "LIMIT": "7",
    "GPUS": "1",
    "PYTHONPATH": "/caller",
    "PIP_TARGET": "/caller",
    "PIP_DRY_RUN": "1",
    "SNAKEMAKE_PROFILE": "/caller",
    "PIP_INDEX_URL": "https://mirror.example",
}
SHOW = ("-f", "Makefile", "-f", "show.mk", "show")


def make(folder: Path, *arguments: str, **variables: str) -> str:
    """Run make in a folder; variables of a make that runs this test do not count."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")} | variables
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile and an environment that seems to be installed, its Python the one of this test."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "show.mk").write_text("show:\n\t@env\n")
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    (folder / "edgezsad").write_text(f"#!{folder}/python\n")
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def test_variables_of_the_caller_do_not_count(checkout: Path) -> None:
    assert "/caller" not in make(checkout, "-n", "book", **HOSTILE)
    assert '--graph "configs/mini.yaml" "gpus=0"' in make(checkout, "-n", "book", **HOSTILE)
    passed = dict(line.partition("=")[::2] for line in make(checkout, *SHOW, **HOSTILE).splitlines())
    assert passed["EDGEZSAD_DATA"] == passed["EDGEZSAD_LIMIT"] == ""
    assert not {"PYTHONPATH", "PIP_TARGET", "PIP_DRY_RUN", "SNAKEMAKE_PROFILE"} & set(passed)
    # Where packages come from is the caller's choice.
    assert passed["PIP_INDEX_URL"] == "https://mirror.example"


def test_arguments_count(checkout: Path) -> None:
    printed = make(checkout, *SHOW, "DATA=my photos", "LIMIT=2")
    assert {"EDGEZSAD_DATA=my photos", "EDGEZSAD_LIMIT=2"} <= set(printed.splitlines())
    assert '--graph "other.yaml" "gpus=1"' in make(checkout, "-n", "book", "CONFIG=other.yaml", "GPUS=1")


@pytest.mark.parametrize("broken", [False, True])
def test_a_moved_or_broken_environment_is_installed_again(checkout: Path, broken: bool) -> None:
    assert "-m venv" not in make(checkout, "-n", "book")
    if broken:
        (checkout / ".venv" / "bin" / "python").unlink()
        (checkout / ".venv" / "bin" / "python").symlink_to("/nowhere/python")
    else:
        checkout = checkout.rename(checkout.with_name("moved"))
    printed = make(checkout, "-n", "book")
    assert "was moved, or its Python does not start" in printed
    assert "-m venv --clear .venv" in printed


def test_a_linked_environment_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv").rename(checkout / "elsewhere")
    (checkout / ".venv").symlink_to(checkout / "elsewhere")
    (checkout / "elsewhere" / "bin" / "edgezsad").write_text("#!/another/python\n")
    assert "-m venv" not in make(checkout, "-n", "book")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A graph of four jobs, each of which leaves a temporary file."""
    (tmp_path / "tiny.yaml").write_text(PROFILE)
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    for name in ("source", "cloth"):
        (tmp_path / "data" / name).mkdir(parents=True)
    return tmp_path


def start(project: Path) -> subprocess.Popen[str]:
    """Start the graph in a process group of its own, without a home folder."""
    environment = {key: value for key, value in os.environ.items() if key != "HOME"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "edgezsad.execute", "--graph", "tiny.yaml"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=project, env=environment, start_new_session=True, **pipes)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not appear"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_graph_goes_on_and_leaves_no_temporary_files(project: Path) -> None:
    folder, before = project / "runs" / "tiny", set(Path(tempfile.gettempdir()).glob("tmp.*"))
    for number in range(4):
        running = start(project)
        wait_for(folder / ".tmp")
        wait_for(folder / f"{number}.txt")
        time.sleep(0.1 * number)
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    last = start(project)
    last.communicate()
    assert last.returncode == 0
    for number in range(4):
        assert (folder / f"{number}.txt").read_text() == "".join(f"{line}\n" for line in range(number, 100))
    # Those of the killed starts are gone, and none was elsewhere.
    assert len(list((folder / ".tmp").glob("tmp.*"))) <= 4
    assert set(Path(tempfile.gettempdir()).glob("tmp.*")) == before


@pytest.mark.slow
def test_a_run_at_work_is_left_alone(project: Path) -> None:
    first = start(project)
    wait_for(project / "runs" / "tiny" / ".tmp")
    second = start(project)
    line = f"{project}/runs/tiny: process {first.pid}, or a notebook that it started, is at work on this run"
    assert second.communicate()[1] == f"error: {line}; wait for it or stop it\n"
    assert second.returncode == 1
    first.communicate()
    assert first.returncode == 0


@pytest.mark.slow
def test_a_notebook_that_outlives_its_graph_keeps_the_lock(project: Path) -> None:
    lock = project / "runs" / "tiny" / ".lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(f"{'12345':<20}")
    code = "from edgezsad.execute import share_lock; share_lock(); print('shared', flush=True); input()"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "EDGEZSAD_LOCK": str(lock)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as notebook:
        assert notebook.stdout.readline() == "shared\n"
        graph = start(project)
        assert "process 12345, or a notebook that it started" in graph.communicate()[1]
        notebook.communicate("\n")
    assert notebook.returncode == 0


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs /sys, in which even root makes no folder")
def test_a_read_only_run_folder_is_one_line(project: Path) -> None:
    (project / "tiny.yaml").write_text(PROFILE.replace("runs/tiny", "/sys/tiny"))
    graph = start(project)
    assert graph.communicate()[1] == "error: /sys/tiny: Operation not permitted; fix it and try again\n"
    assert graph.returncode == 2
