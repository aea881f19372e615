"""Two processes that divide a batch train as one process that takes it whole."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from edgezsad.training.states import load_state, locked

SCRIPT = Path(__file__).with_name("planted.py")
STEPS = 40


TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def begun(folder: Path, *launcher: str, what: str = "train") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, str(SCRIPT), what, str(folder), str(STEPS)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def started(folder: Path, *launcher: str) -> None:
    done = begun(folder, *launcher)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    started(tmp_path / "one")
    started(tmp_path / "two", *TWO)
    one, two = (pd.read_csv(tmp_path / name / "curve.csv") for name in ("one", "two"))
    assert list(one["step"]) == list(two["step"]) == [0, 10, 20, 30, 39]
    terms = ["total", "image", "ranking", "global", "map"]
    # Sums in another order; the loss itself falls from 3 to a hundredth of it.
    assert (one[terms] - two[terms]).abs().to_numpy().max() < 1e-5
    first, second = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    for name, value in first.items():
        assert torch.allclose(value, second[name], atol=1e-4), name


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
def test_a_step_that_fails_in_one_process_is_kept_before_any_of_them_ends(tmp_path: Path) -> None:
    done = begun(tmp_path / "seed", *TWO, what="fail")
    assert done.returncode != 0
    assert "not finite at step 7" in done.stderr
    # The first process writes for seconds; torchrun ends it as soon as the other one has gone.
    state = load_state(tmp_path / "seed" / "states" / "failed.json")
    assert (state.record.step, len(state.record.images)) == (7, 16)


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
def test_two_processes_refuse_a_folder_that_another_run_holds(tmp_path: Path) -> None:
    with locked(tmp_path / "seed" / "states"):
        done = begun(tmp_path / "seed", *TWO)
    assert done.returncode != 0
    assert "another run is training into it" in done.stderr
    assert not (tmp_path / "seed" / "curve.csv").exists()
