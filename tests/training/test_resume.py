"""A run that is killed, at any moment and as often as one likes, ends with the same bytes as one that is not."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from edgezsad.errors import InputError
from edgezsad.training.inputs import CachedInputs
from edgezsad.training.states import DamagedState, locked
from edgezsad.training.train import train

STEPS = 150
KILLS = 20
RESULTS = ("checkpoint.safetensors", "curve.csv", "metrics.json")


class Server:
    """Starts runs in milliseconds (see planted.py)."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("planted.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout.readline() == "ready\n"

    def run(self, folder: Path, kill_after: float | None = None) -> bool:
        """Train into a folder; killed by force after some seconds. True if it came to its end."""
        self._process.stdin.write(f"{folder} {STEPS}\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        if kill_after is not None:
            timer = threading.Timer(kill_after, _kill, [child])
            timer.start()
        status = int(self._process.stdout.readline())
        if kill_after is not None:
            timer.cancel()
        assert status in (0, signal.SIGKILL)
        return status == 0

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        # It came to its end at the same moment.
        return


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def bytes_of(folder: Path) -> dict[str, bytes]:
    """The results, and the tensors of the last state: weights, average, optimiser, random numbers."""
    found = {name: (folder / name).read_bytes() for name in RESULTS}
    return found | {"state": (folder / "states" / f"step-{STEPS:07d}.safetensors").read_bytes()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, which this system has not")
def test_killed_at_twenty_random_moments_it_ends_with_the_same_bytes(server: Server, tmp_path: Path) -> None:
    begun = time.monotonic()
    assert server.run(tmp_path / "whole")
    length = time.monotonic() - begun
    wanted = bytes_of(tmp_path / "whole")
    moments = random.Random(0)
    kills, continued, runs = 0, 0, 0
    while kills < KILLS:
        folder = tmp_path / f"killed{runs}"
        runs += 1
        while not server.run(folder, None if kills >= KILLS else moments.uniform(0, 0.6) * length):
            kills += 1
            continued += any((folder / "states").glob("step-*.json"))
        assert bytes_of(folder) == wanted
        # What was lost in the middle of writing is tidied away.
        assert {path.suffix for path in (folder / "states").iterdir()} == {".json", ".safetensors", ""}
    # Not every kill came before the first state was saved: how many did is the machine's affair.
    assert continued >= 1


@pytest.fixture
def interrupted(planted: ModuleType, backbone: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder where a run of 40 steps stopped after 30, its profile and its inputs."""
    profile = planted.small_profile(tmp_path, steps=40, save_every=10)
    inputs = CachedInputs(planted.planted(backbone))

    class Stopped(Exception):
        pass

    class Stopping(CachedInputs):
        def steps(self, *arguments):
            for number, example in enumerate(super().steps(*arguments)):
                if number == 33:
                    raise Stopped
                yield example

    with pytest.raises(Stopped):
        train(profile, Stopping(inputs.features), backbone, 0, tmp_path / "seed")
    return tmp_path / "seed", profile, inputs


def whole(interrupted, backbone: torch.nn.Module) -> bytes:
    folder, profile, inputs = interrupted
    return train(profile, inputs, backbone, 0, folder.with_name("whole")).checkpoint.read_bytes()


def states(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "states").glob("step-*"))


def test_two_states_are_kept_and_the_newest_is_continued(interrupted, backbone: torch.nn.Module) -> None:
    folder, profile, inputs = interrupted
    assert states(folder) == [f"step-00000{step}.{kind}" for step in (20, 30) for kind in ("json", "safetensors")]
    seen = []

    class Watching(CachedInputs):
        def steps(self, plan, steps, rank, ranks):
            seen.extend(steps)
            return super().steps(plan, steps, rank, ranks)

    trained = train(profile, Watching(inputs.features), backbone, 0, folder)
    assert seen == list(range(30, 40))
    assert trained.checkpoint.read_bytes() == whole(interrupted, backbone)
    assert list(trained.curve["step"]) == [0, 10, 20, 30, 39]


@pytest.mark.parametrize("damage", ["tensors", "head", "cut", "record", "step", "curve", "gone"])
def test_a_damaged_state_is_passed_over_with_a_warning(interrupted, backbone: torch.nn.Module, damage: str) -> None:
    folder, profile, inputs = interrupted
    record = folder / "states" / "step-0000030.json"
    tensors = record.with_suffix(".safetensors")
    content = bytearray(tensors.read_bytes())
    if damage in ("tensors", "head"):
        content[-5 if damage == "tensors" else 20] ^= 1
        tensors.write_bytes(content)
    elif damage in ("step", "curve"):
        # One bit, after which it is JSON as before and says something else.
        text = record.read_text()
        before = '"step": 30' if damage == "step" else '"step": 20'
        assert text.count(before) == 1
        record.write_text(text.replace(before, before[:-1] + "2"))
    elif damage == "cut":
        tensors.write_bytes(content[: len(content) // 2])
    elif damage == "gone":
        tensors.unlink()
    else:
        record.write_text("{")
    with pytest.warns(DamagedState, match="step-0000030.*and an older one tried"):
        trained = train(profile, inputs, backbone, 0, folder)
    assert trained.checkpoint.read_bytes() == whole(interrupted, backbone)


def test_the_curve_can_be_read_before_the_end(interrupted) -> None:
    with open(interrupted[0] / "curve.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    # As far as the last saved state.
    assert [int(row["step"]) for row in rows] == [0, 10, 20]
    assert not (interrupted[0] / "metrics.json").exists()


def test_all_states_damaged_begins_anew(interrupted, backbone: torch.nn.Module) -> None:
    folder, profile, inputs = interrupted
    for path in (folder / "states").glob("*.safetensors"):
        path.write_bytes(b"")
    with pytest.warns(DamagedState):
        trained = train(profile, inputs, backbone, 0, folder)
    assert trained.checkpoint.read_bytes() == whole(interrupted, backbone)


def test_other_settings_begin_anew_and_say_what_differs(interrupted, backbone: torch.nn.Module) -> None:
    folder, profile, inputs = interrupted
    other = profile.model_copy(update={"training": profile.training.model_copy(update={"ema": 0.5})})
    with pytest.warns(
        DamagedState, match="made with another training; training starts anew, and the states so far are in"
    ):
        trained = train(other, inputs, backbone, 0, folder)
    assert trained.checkpoint.read_bytes() == train(other, inputs, backbone, 0, folder / "x").checkpoint.read_bytes()
    # What was trained so far is not lost.
    aside = sorted(path.name for path in (folder / "states" / "before").iterdir())
    assert aside == [f"step-00000{step}.{kind}" for step in (20, 30) for kind in ("json", "safetensors")]


def test_other_features_begin_anew(interrupted, backbone: torch.nn.Module) -> None:
    folder, profile, inputs = interrupted
    info = inputs.features.info.model_copy(update={"features_sha256": "other"})
    other = CachedInputs(replace(inputs.features, maps=[2 * one for one in inputs.features.maps], info=info))
    with pytest.warns(DamagedState, match="made with another content"):
        trained = train(profile, other, backbone, 0, folder)
    assert trained.checkpoint.read_bytes() == train(profile, other, backbone, 0, folder / "x").checkpoint.read_bytes()


def test_results_of_other_settings_do_not_stay_beside_a_new_run(interrupted, backbone: torch.nn.Module) -> None:
    folder, profile, inputs = interrupted
    train(profile, inputs, backbone, 0, folder)
    other = profile.model_copy(update={"training": profile.training.model_copy(update={"ema": 0.5})})

    class Broken(CachedInputs):
        def steps(self, *arguments):
            raise RuntimeError("stopped")

    with pytest.warns(DamagedState), pytest.raises(RuntimeError, match="stopped"):
        train(other, Broken(inputs.features), backbone, 0, folder)
    assert not [name for name in RESULTS if (folder / name).exists()]


def test_damaged_states_do_not_crowd_out_good_ones(interrupted, backbone: torch.nn.Module) -> None:
    folder, profile, inputs = interrupted
    for path in (folder / "states").glob("*.safetensors"):
        path.write_bytes(b"")

    class Stopped(Exception):
        pass

    class Stopping(CachedInputs):
        def steps(self, *arguments):
            for number, example in enumerate(super().steps(*arguments)):
                if number == 15:
                    raise Stopped
                yield example

    with pytest.warns(DamagedState), pytest.raises(Stopped):
        train(profile, Stopping(inputs.features), backbone, 0, folder)
    assert states(folder) == ["step-0000010.json", "step-0000010.safetensors"]


def test_settings_without_effect_may_change(interrupted, backbone: torch.nn.Module, recwarn) -> None:
    folder, profile, inputs = interrupted
    training = profile.training.model_copy(update={"save_every": 3, "workers": 1})
    trained = train(profile.model_copy(update={"training": training}), inputs, backbone, 0, folder)
    assert not [one for one in recwarn if issubclass(one.category, DamagedState)]
    assert trained.checkpoint.read_bytes() == whole(interrupted, backbone)


def test_a_finished_run_takes_no_step_again(interrupted, backbone: torch.nn.Module) -> None:
    folder, profile, inputs = interrupted
    first = train(profile, inputs, backbone, 0, folder).checkpoint.read_bytes()
    (folder / "checkpoint.safetensors").unlink()

    class Closed(CachedInputs):
        def steps(self, plan, steps, rank, ranks):
            assert not list(steps)
            return iter(())

    assert train(profile, Closed(inputs.features), backbone, 0, folder).checkpoint.read_bytes() == first


def test_what_a_killed_writer_left_is_removed(interrupted, backbone: torch.nn.Module) -> None:
    folder, profile, inputs = interrupted
    left = folder / "states" / ".step-0000031.abc.safetensors"
    unrecorded = folder / "states" / "step-0000035.safetensors"
    left.write_bytes(b"half")
    unrecorded.write_bytes(b"whole, but its record was never written")
    train(profile, inputs, backbone, 0, folder)
    assert not left.exists()
    assert not unrecorded.exists()


def test_a_second_run_into_the_same_folder_refuses(interrupted, backbone: torch.nn.Module) -> None:
    folder, profile, inputs = interrupted
    before = states(folder)
    with locked(folder / "states"), pytest.raises(InputError, match="another run is training into it"):
        train(profile, inputs, backbone, 0, folder)
    assert states(folder) == before
    # The lock went with its holder.
    train(profile, inputs, backbone, 0, folder)


def test_a_record_is_plain_and_complete(interrupted) -> None:
    folder = interrupted[0]
    record = json.loads((folder / "states" / "step-0000030.json").read_text())
    assert record["step"] == 30
    assert [row["step"] for row in record["curve"]] == [0, 10, 20]
    assert record["made_with"]["training"]["steps"] == 40
    assert set(record["made_with"]) == {
        "model",
        "training",
        "shares",
        "seed",
        "source",
        "content",
        "backbone",
        "code",
        "packages",
    }
