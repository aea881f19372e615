"""Everything stays on the machine: no telemetry, no name look-ups, nothing in the home folder."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
CELLS = ["config = ''", "import matplotlib.pyplot as plt, torch, onnxruntime; plt.plot([1, 2]); plt.show()"]
# Records look-ups by Python; those of libraries are seen where strace is installed.
HOOK = """
import os, sys
def hook(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        with open(os.environ["LOOKUPS"], "a") as stream:
            print(event, arguments, file=stream)
sys.addaudithook(hook)
"""
CONNECTION = re.compile(r"(connect|send\w+)\(.*sa_family=AF_INET")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["version", "predict", "notebook"])
def test_nothing_leaves_the_project(notebook: Callable[..., Path], command: str, tmp_path: Path) -> None:
    """The home folder stays empty, and no other machine is looked up or connected to."""
    home, trace, lookups, image = (tmp_path / name for name in ("home", "trace.txt", "lookups.txt", "part.png"))
    home.mkdir()
    Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(image)
    source = notebook(*CELLS)
    arguments = {
        "version": ["edgezsad.cli", "--version"],
        "predict": ["edgezsad.cli", "predict", str(image), "--csv", "t.csv"],
        "notebook": ["edgezsad.execute", str(source), str(tmp_path / "out" / "n.ipynb"), "config=configs/mini.yaml"],
    }[command]
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    kept = {key: os.environ[key] for key in ("PATH", "OMP_NUM_THREADS") if key in os.environ}
    kept |= {"HOME": str(home), "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path / 'hook'}", "LOOKUPS": str(lookups)}
    tracer = shutil.which("strace")
    tracing = [tracer, "-f", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(trace)] if tracer else []
    whole = [*tracing, sys.executable, "-m", *arguments]
    done = subprocess.run(whole, env=kept, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    assert not lookups.exists(), lookups.read_text()
    if tracer:
        assert not [line for line in trace.read_text().splitlines() if CONNECTION.search(line)]


def test_telemetry_is_disabled_even_if_the_caller_enables_it():
    code = "import os, edgezsad; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
