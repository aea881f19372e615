"""An interrupted run ends with the same bytes as an uninterrupted one; two processes train as one."""

import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from edgezsad.errors import InputError
from edgezsad.training.inputs import CachedInputs
from edgezsad.training.trainer import NO_STATE, find_state, lock, train, training_key

SCRIPT = Path(__file__).with_name("planted.py")
STEPS = 100
KILLS = 5
RESULTS = ("checkpoint.safetensors", "curve.csv", "metrics.json", "state.safetensors")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    planted: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    context = multiprocessing.get_context("forkserver")
    # With everything imported already, a run starts in milliseconds.
    context.set_forkserver_preload(["edgezsad.training.trainer"])

    def run(folder: Path, kill_after: float | None = None) -> bool:
        process = context.Process(target=planted.run, args=(folder, STEPS))
        process.start()
        process.join(kill_after)
        process.kill()
        process.join()
        return process.exitcode == 0

    assert run(tmp_path / "first")
    begun = time.monotonic()
    assert run(tmp_path / "whole")
    length = time.monotonic() - begun
    expected = {name: (tmp_path / "whole" / name).read_bytes() for name in RESULTS}
    moments = random.Random(0)
    folder, continued = tmp_path / "killed", 0
    for _ in range(KILLS):
        if run(folder, moments.uniform(0.3, 0.9) * length):
            shutil.rmtree(folder)
        continued += (folder / "state.safetensors").exists()
    assert continued >= 1
    assert run(folder)
    assert {name: (folder / name).read_bytes() for name in RESULTS} == expected


@pytest.fixture(scope="module")
def stopped(planted: ModuleType, backbone: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory):
    """A folder where a run of 40 steps stopped after 30, its profile, its inputs, and the uninterrupted checkpoint."""
    folder = tmp_path_factory.mktemp("stopped")
    profile = planted.small_profile(folder, steps=40, save_every=10)
    features = planted.planted(backbone)
    with pytest.raises(KeyboardInterrupt):
        train(profile, planted.stopping(CachedInputs(features), 33), backbone, 0, folder / "seed")
    whole = train(profile, CachedInputs(features), backbone, 0, folder / "whole").checkpoint.read_bytes()
    return folder / "seed", profile, CachedInputs(features), whole


@pytest.fixture
def interrupted(stopped, tmp_path: Path):
    shutil.copytree(stopped[0], tmp_path / "seed")
    return tmp_path / "seed", *stopped[1:]


def test_a_run_continues_from_the_saved_state(interrupted, backbone: torch.nn.Module) -> None:
    folder, profile, inputs, whole = interrupted
    assert not (folder / "metrics.json").exists()
    seen = []

    class Watching(CachedInputs):
        def steps(self, plan, steps, rank, world_size):
            seen.extend(steps)
            return super().steps(plan, steps, rank, world_size)

    trained = train(profile, Watching(inputs.features), backbone, 0, folder)
    assert seen == list(range(30, 40))
    assert trained.checkpoint.read_bytes() == whole
    assert list(trained.curve["step"]) == [0, 10, 20, 30, 39]
    # A finished run takes no step again, and writes its results if a workflow deleted them.
    trained.checkpoint.unlink()
    seen.clear()
    assert train(profile, Watching(inputs.features), backbone, 0, folder).checkpoint.read_bytes() == whole
    assert seen == []


@pytest.mark.parametrize("damage", ["header", "cut"])
def test_a_damaged_state_starts_again_with_a_warning(interrupted, backbone: torch.nn.Module, damage: str) -> None:
    folder, profile, inputs, whole = interrupted
    path = folder / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[20] ^= damage == "header"
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    with pytest.warns(UserWarning, match=r"state\.safetensors: damaged state.*starts from the first step"):
        trained = train(profile, inputs, backbone, 0, folder)
    assert trained.checkpoint.read_bytes() == whole


def test_only_settings_or_features_with_an_effect_start_again(interrupted, backbone: torch.nn.Module) -> None:
    folder, profile, inputs, _ = interrupted
    other = profile.model_copy(update={"training": profile.training.model_copy(update={"ema": 0.5})})
    assert find_state(folder, training_key(profile, inputs, 0))[1]["step"] == 30
    with pytest.warns(UserWarning, match="made with another training; training starts from the first step"):
        trained = train(other, inputs, backbone, 0, folder)
    assert trained.checkpoint.read_bytes() == train(other, inputs, backbone, 0, folder / "x").checkpoint.read_bytes()
    # Results of other features are removed.
    info = inputs.features.info.model_copy(update={"features_sha256": "other"})
    changed = CachedInputs(replace(inputs.features, info=info))
    with pytest.warns(UserWarning, match="made with another content"):
        assert find_state(folder, training_key(other, changed, 0)) == NO_STATE
    assert not [name for name in RESULTS if (folder / name).exists()]
    # Settings without effect may change.
    training = profile.training.model_copy(update={"save_every": 3, "workers": 1})
    same = training_key(profile.model_copy(update={"training": training}), inputs, 0)
    assert same == training_key(profile, inputs, 0)


def test_a_second_run_into_the_same_folder_is_rejected(interrupted, backbone: torch.nn.Module) -> None:
    folder, profile, inputs, _ = interrupted
    before = (folder / "state.safetensors").read_bytes()
    with lock(folder), pytest.raises(InputError, match="another run is training into it"):
        train(profile, inputs, backbone, 0, folder)
    assert (folder / "state.safetensors").read_bytes() == before
    train(profile, inputs, backbone, 0, folder)


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
def test_two_processes_train_as_one_with_the_whole_batch(planted: ModuleType, tmp_path: Path) -> None:
    planted.run(tmp_path / "one", 20)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    command = [sys.executable, *launcher, str(SCRIPT), str(tmp_path / "two"), "20"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (pd.read_csv(tmp_path / name / "curve.csv") for name in ("one", "two"))
    assert list(one["step"]) == list(two["step"]) == [0, 10, 19]
    terms = ["total", "ranking", "global", "map"]
    assert (one[terms] - two[terms]).abs().to_numpy().max() < 1e-5
    first, second = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    for name, value in first.items():
        # AdamW enlarges the rounding errors of gradients near zero, as those of the offset are in the first steps.
        assert torch.allclose(value, second[name], atol=1e-3), name
