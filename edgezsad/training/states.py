"""Saved states of a run: whatever a run needs to go on as if it had never been cut off.

A state is a safetensors file and a JSON record with that file's hash and its own, which is written last: without its
record a state does not exist, and with it both can be checked. The last two are kept, so that one may be damaged.
"""

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edgezsad.errors import InputError
from edgezsad.files import read_json, save_tensors, sha256_of_bytes, sha256_of_file, write_json

KEPT = 2


class Record(BaseModel):
    """What a state's JSON file says.

    Attributes:
        step: the next step to take.
        made_with: everything that the weights depend on; a state made with anything else is not continued.
        sha256: of the tensors' file.
        record_sha256: of the other fields, whose values may be damaged and still be JSON.
        curve: the rows of the training curve up to here.
        scaler: of gradients in FP16; empty in other precisions.
        images: in a state that failed, the images of the step that did.
    """

    model_config = ConfigDict(extra="forbid")

    step: int
    made_with: dict[str, Any]
    sha256: str
    curve: list[dict[str, int | float]]
    scaler: dict[str, int | float] = {}
    images: list[str] = []
    record_sha256: str = ""

    def own_sha256(self) -> str:
        """What `record_sha256` must be."""
        facts = self.model_dump(exclude={"record_sha256"})
        return sha256_of_bytes(json.dumps(facts, sort_keys=True).encode())


@dataclass(frozen=True)
class State:
    """A state in memory: the path of its record, the record, and tensors by name."""

    path: Path
    record: Record
    tensors: dict[str, Tensor]


class DamagedState(UserWarning):
    """A state was passed over for an older one."""


def save_state(folder: Path, name: str, tensors: dict[str, Tensor], **facts: Any) -> Path:
    """Write one state; returns the path of its record.

    Args:
        folder: of the states.
        name: without an ending.
        tensors: by name.
        **facts: the fields of `Record` but for the hash.
    """
    path = folder / f"{name}.safetensors"
    digest = save_tensors(path, tensors)
    record = Record(sha256=digest, **facts)
    record.record_sha256 = record.own_sha256()
    return write_json(path.with_suffix(".json"), record.model_dump())


def load_state(path: Path) -> State:
    """Read one state by the path of its record.

    Raises:
        InputError: it is missing or damaged.
    """
    remedy = "train this seed again"
    try:
        record = Record.model_validate(read_json(path, remedy))
    except ValidationError:
        raise InputError(f"{path}: not the record of a saved state; {remedy}") from None
    if record.record_sha256 != record.own_sha256():
        raise InputError(f"{path}: not what was written (another hash); {remedy}")
    tensors = path.with_suffix(".safetensors")
    try:
        if sha256_of_file(tensors) != record.sha256:
            raise InputError(f"{tensors}: not what its record says (another hash); {remedy}")
        return State(path, record, load_file(tensors))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{tensors}: can not be read ({' '.join(str(error).split())[:120]}); {remedy}") from None


class States:
    """The states of one seed in a folder of their own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, step: int, tensors: dict[str, Tensor], **facts: Any) -> None:
        """Save the state before `step` and remove all but the last two."""
        save_state(self.folder, f"step-{step:07d}", tensors, step=step, **facts)
        for record in self._records()[:-KEPT]:
            self._remove(record)

    def newest(self, made_with: dict[str, Any]) -> State | None:
        """The newest state that is whole, if there is one; with a warning, damaged ones are removed.

        States that were made with anything else are set aside, in a folder `before`, which holds one such set.
        """
        self._tidy()
        for path in reversed(self._records()):
            try:
                state = load_state(path)
            except InputError as error:
                warnings.warn(f"{error}; it is removed, and an older one tried", DamagedState, stacklevel=2)
                # Else it would count as one of the two that are kept.
                self._remove(path)
                continue
            if state.record.made_with == made_with:
                return state
            aside = self._set_aside()
            warnings.warn(
                f"{path}: made with another {differences(state.record.made_with, made_with)}; training starts anew, "
                f"and the states so far are in {aside}",
                DamagedState,
                stacklevel=2,
            )
            return None
        return None

    def _set_aside(self) -> Path:
        """Move all states, which may be days of work, to where the next such move replaces them."""
        aside = self.folder / "before"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for path in self.folder.glob("step-*"):
            path.replace(aside / path.name)
        return aside

    def _records(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.json"))

    def _remove(self, record: Path) -> None:
        # The record first: a file without one is no state, a record without its file would be a damaged one.
        record.unlink(missing_ok=True)
        record.with_suffix(".safetensors").unlink(missing_ok=True)

    def _tidy(self) -> None:
        """Remove what a run that was killed while writing left behind."""
        for path in self.folder.glob(".step-*"):
            path.unlink(missing_ok=True)
        for path in self.folder.glob("step-*.safetensors"):
            if not path.with_suffix(".json").exists():
                path.unlink(missing_ok=True)


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The names of what two runs were made with differently, for a sentence."""
    return ", ".join(name for name in now if before.get(name) != now[name]) or "record"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder against a second run; the system lets go of it when the process ends, however it ends.

    Raises:
        InputError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder}: another run is training into it; wait for its end, or give another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's tensors by name; its rates are the schedule's and need not be kept."""
    state = optimiser.state_dict()["state"]
    return {f"{number}.{key}": value for number, one in state.items() for key, value in one.items()}


def fill_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put `optimiser_tensors` back."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
