"""The loop that makes a checkpoint, its metrics and its training curve: on a laptop, on a GPU, or under `torchrun`.

A run may end at any moment, also by force: the next one continues from the last saved state, and on one machine's CPU,
with the same number of threads, ends with the same bytes as if nothing had happened.
"""

import json
import os
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from edgezsad.config import Profile
from edgezsad.errors import CheckError, InputError
from edgezsad.files import read_json, sha256_of_bytes, versions, write_json, written_beside
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import CheckpointInfo, save_checkpoint
from edgezsad.progress import meter
from edgezsad.training import recipe
from edgezsad.training.device import make_fabric, precision_of
from edgezsad.training.inputs import Inputs
from edgezsad.training.outcome import split, spread_out, validate
from edgezsad.training.session import NotFinite, Session
from edgezsad.training.states import State, States, differences, load_state, locked, save_state

LOG_EVERY = 10
STATES = "states"
"""The folder of saved states, in that of the seed."""
FAILED = "failed"
"""The name of the state saved before a step whose loss is not finite."""
RESULTS = ("checkpoint.safetensors", "curve.csv", "metrics.json")
WITHOUT_EFFECT = {"save_every", "workers", "device"}
"""Settings that may differ in a run that continues another; what `device` makes of the precision may not."""
NAMES_SHOWN = 3
PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Trained:
    """What training made.

    Attributes:
        checkpoint: path of the safetensors file.
        curve: one row every few steps: step, learning_rate, total, each loss term, gain.
        metrics: seed, steps, validation AUROC (percent) of the score and of each head, on which
            images, threshold, gain.
    """

    checkpoint: Path
    curve: pd.DataFrame
    metrics: dict[str, float | int | str]


def train(profile: Profile, inputs: Inputs, backbone: Backbone, seed: int, folder: Path | str) -> Trained:
    """Train one seed, or continue where an earlier run of it was cut off.

    Args:
        profile: model and recipe.
        inputs: of the source.
        backbone: frozen, or the one that `inputs` reads images for.
        seed: of the initial weights, the order and the noise.
        folder: receives `checkpoint.safetensors`, `curve.csv`, `metrics.json`, the saved `states` and TensorBoard's
            `logs`; the curve and the logs as training goes on.

    Raises:
        InputError: the source lacks normal or defective images, or another run is training into the folder.
        CheckError: a loss or gradient is not finite; the step and its images are named, the state before it is kept.
    """
    folder = Path(folder)
    if len(set(inputs.label)) < 2:
        raise InputError("data.source: needs normal and defective images; add a folder that has both")
    first_process = int(os.environ.get("RANK", 0)) == 0
    with locked(folder / STATES) if first_process else nullcontext():
        loop = _Loop(profile, inputs, backbone, seed, folder)
        loop.run()
        if first_process:
            loop.finish()
        loop.fabric.barrier()
    metrics = read_json(folder / "metrics.json", "train this seed again")
    return Trained(folder / "checkpoint.safetensors", pd.DataFrame(loop.curve), metrics)


def reproduce(
    profile: Profile, inputs: Inputs, backbone: Backbone, seed: int, folder: Path | str
) -> tuple[recipe.Loss, float]:
    """The loss and the gradient's norm of the step that was not finite, computed again from the state before it.

    The parameters are those of `train`; it takes one process, whatever the number that failed.

    Raises:
        InputError: no step failed there, or the run was made with other settings, data or code.
    """
    path = Path(folder) / STATES / f"{FAILED}.json"
    if not path.exists():
        raise InputError(f"{path}: there is none: no step of this seed has failed, or it was trained again since")
    if "WORLD_SIZE" in os.environ:
        raise InputError(f"{path}: is looked at by one process; run it without torchrun")
    state = load_state(path)
    made_with = everything_that_matters(profile, inputs, seed)
    if state.record.made_with != made_with:
        raise InputError(f"{path}: made with another {differences(state.record.made_with, made_with)}; train again")
    loop = _Loop(profile, inputs, backbone, seed, Path(folder), state)
    step = state.record.step
    (example,) = inputs.steps(loop.plan, [step], rank=0, ranks=1)
    value, norm = loop.session.gradient(step, example)
    return value, norm.item()


def everything_that_matters(profile: Profile, inputs: Inputs, seed: int) -> dict[str, Any]:
    """What the weights depend on, in plain values: a state made with anything else is not continued."""
    training = json.loads(profile.training.model_dump_json(exclude=WITHOUT_EFFECT))
    code = [*sorted((PACKAGE / "training").glob("*.py")), *sorted((PACKAGE / "model").glob("*.py"))]
    code.append(PACKAGE / "data" / "plan.py")
    return {
        "model": json.loads(profile.model.model_dump_json()),
        "training": training | {"precision": precision_of(profile.training)},
        "shares": shares(profile),
        "seed": seed,
        "source": inputs.source_sha256,
        "content": inputs.content_sha256,
        "backbone": inputs.backbone_sha256,
        "code": sha256_of_bytes(b"".join(path.read_bytes() for path in code)),
        "packages": versions("torch", "timm", "numpy"),
    }


def shares(profile: Profile) -> dict[str, float] | None:
    """The sources' shares of a batch by name; None where the profile gives none."""
    given = {item.name: item.share for item in profile.data.source if item.share is not None}
    return given or None


class _Loop:
    """One run of one seed, begun or continued."""

    def __init__(
        self,
        profile: Profile,
        inputs: Inputs,
        backbone: Backbone,
        seed: int,
        folder: Path,
        state: State | None = None,
    ):
        self.profile, self.inputs, self.seed, self.folder = profile, inputs, seed, folder
        self.made_with = everything_that_matters(profile, inputs, seed)
        self.states = States(folder / STATES)
        config = profile.training
        # The first process alone looks for a state, so that all begin with the same one.
        first_process = int(os.environ.get("RANK", 0)) == 0
        if state is None and first_process:
            state = self.states.newest(self.made_with)
        if state is None and first_process:
            self._clear()
        self.fabric = make_fabric(config, folder / "logs", state.record.step if state else 0)
        path = self.fabric.broadcast(state.path if state else None)
        if path and not first_process:
            state = load_state(path)
        self.session = Session(profile, inputs, backbone, seed, self.fabric)
        self.fitted, self.held_out = split(inputs, config.validation)
        self.plan = recipe.plan(inputs.label, inputs.group, self.fitted, config, seed, shares(profile))
        self.first, self.curve = (state.record.step, state.record.curve) if state else (0, [])
        if state is None:
            self.session.begin(self.fitted)
        else:
            self.session.restore(state)

    def run(self) -> None:
        """Take the steps that are left."""
        config, fabric = self.profile.training, self.fabric
        left = range(self.first, config.steps)
        examples = self.inputs.steps(self.plan, left, fabric.global_rank, fabric.world_size)
        total, done = config.steps * config.batch, self.first * config.batch
        with meter(f"seed {self.seed}", total, start=done, shown=fabric.is_global_zero) as advance:
            for step, example in zip(left, examples, strict=True):
                try:
                    value = self.session.step(step, example)
                except NotFinite:
                    self._fail(step)
                if step % LOG_EVERY == 0 or step == config.steps - 1:
                    self._log(step, value)
                advance(config.batch, f"loss {self.curve[-1]['total']:.3f}")
                done = step + 1
                if fabric.is_global_zero and (done % config.save_every == 0 or done == config.steps):
                    self.states.save(done, self.session.tensors(), **self._facts())
                    self._write_curve()
        for logger in fabric.loggers:
            logger.finalize("success")

    def finish(self) -> None:
        """Validate, and write what training is for."""
        profile, inputs = self.profile, self.inputs
        # A small source may leave no image of one class to hold out; then it is followed on what it was fitted on.
        both = len(set(inputs.label[self.held_out])) == 2
        rows = spread_out(self.held_out if both else self.fitted, inputs.most_held_out)
        learner = self.session.average.module.eval()
        metrics: dict[str, float | int | str] = {
            "seed": self.seed,
            "steps": profile.training.steps,
            "source_images": len(inputs.label),
            **validate(learner, inputs, rows, self.fabric.device),
            "validated_on": "held-out source images" if both else "the fitted source images: too few to hold out",
        }
        self._write_curve()
        info = CheckpointInfo(
            model=profile.model,
            backbone_sha256=inputs.backbone_sha256,
            profile=profile.profile,
            seed=self.seed,
            source_sha256=inputs.source_sha256,
            threshold=metrics["threshold"],
        )
        save_checkpoint(self.folder / "checkpoint.safetensors", learner.readout, info, learner.tuned())
        write_json(self.folder / "metrics.json", metrics)
        self._forget_failure()

    def _clear(self) -> None:
        """Remove what an earlier run made: results of other settings must not lie beside this one's states."""
        for name in RESULTS:
            (self.folder / name).unlink(missing_ok=True)
        self._forget_failure()
        shutil.rmtree(self.folder / "logs", ignore_errors=True)

    def _forget_failure(self) -> None:
        for ending in ("json", "safetensors"):
            (self.states.folder / f"{FAILED}.{ending}").unlink(missing_ok=True)

    def _write_curve(self) -> None:
        with written_beside(self.folder / "curve.csv") as temporary:
            pd.DataFrame(self.curve).to_csv(temporary, index=False, lineterminator="\n")

    def _log(self, step: int, value: recipe.Loss) -> None:
        row = {
            "step": step,
            "learning_rate": recipe.learning_rate(step, self.profile.training),
            "total": value.total.item(),
            **{name: term.item() for name, term in value.terms.items()},
            "gain": self.session.learner.readout.gain.item(),
        }
        self.curve.append(row)
        self.fabric.log_dict({name: number for name, number in row.items() if name != "step"}, step)

    def _fail(self, step: int) -> None:
        names = [self.inputs.name(row) for row in self.plan.rows(step)]
        if self.fabric.is_global_zero:
            facts = self._facts() | {"step": step, "images": names}
            save_state(self.states.folder, FAILED, self.session.tensors(), **facts)
        # As soon as one process ends in an error, torchrun ends the others, also one that is still writing.
        self.fabric.barrier()
        raise CheckError(
            f"seed {self.seed}: the loss or its gradient is not finite at step {step} "
            f"({', '.join(names[:NAMES_SHOWN])}, ...: {self.states.folder / FAILED}.json names all its images); "
            "look at them, or lower training.learning_rate"
        ) from None

    def _facts(self) -> dict[str, Any]:
        return {"made_with": self.made_with, "curve": self.curve, "scaler": self.session.scaler()}
