"""Two processes that divide a batch train as one process that takes it whole."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("planted.py")
STEPS = 40


def started(folder: Path, *launcher: str) -> None:
    command = [sys.executable, *launcher, str(SCRIPT), "train", str(folder), str(STEPS)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    started(tmp_path / "one")
    started(tmp_path / "two", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    one, two = (pd.read_csv(tmp_path / name / "curve.csv") for name in ("one", "two"))
    assert list(one["step"]) == list(two["step"]) == [0, 10, 20, 30, 39]
    terms = ["total", "image", "ranking", "global", "map"]
    # Sums in another order; the loss itself falls from 3 to a hundredth of it.
    assert (one[terms] - two[terms]).abs().to_numpy().max() < 1e-5
    first, second = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    for name, value in first.items():
        assert torch.allclose(value, second[name], atol=1e-4), name
