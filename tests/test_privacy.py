"""Scoring stays on the machine: ONNX Runtime's telemetry is off and the home folder stays clean."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def test_predict_writes_nothing_to_the_home_folder(tmp_path: Path):
    home, image = tmp_path / "home", tmp_path / "part.png"
    home.mkdir()
    Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(image)
    left_out = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    environment |= {"HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "edgezsad.cli", "predict", str(image)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [path.name for path in home.rglob("*")]


def test_telemetry_is_disabled_even_if_the_caller_enables_it():
    code = "import os, edgezsad; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
