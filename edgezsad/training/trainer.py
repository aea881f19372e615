"""Train a readout, and the last stages of the backbone if configured: on a laptop, on a GPU, or under `torchrun`.

Training can be interrupted at any moment and continues from the last saved state. Only the noise on the features is
random, and it depends on the seed, the step and the position in the batch alone: on one machine's CPU, with the same
number of threads, an interrupted run ends with the same bytes, and a distributed run trains on the same batches.
"""

import copy
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from lightning_fabric.loggers import TensorBoardLogger
from lightning_fabric.plugins.environments import LightningEnvironment
from safetensors import SafetensorError, safe_open
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgezsad.config import Profile, Training
from edgezsad.data.loading import split_source, subsample_evenly
from edgezsad.errors import CheckError, InputError
from edgezsad.files import progress, read_json, save_tensors, versions, write_json, written_beside
from edgezsad.metrics.image_metrics import auroc, best_balanced, best_f1
from edgezsad.model.backbone import Backbone, reset_attention_bias_cache
from edgezsad.model.detector import CheckpointInfo, Detector, build_readout, save_checkpoint
from edgezsad.model.edgeglr import GlobalLocalReadout
from edgezsad.model.self_reference import SelfReferenceReadout
from edgezsad.training.inputs import Example, Inputs, training_plan
from edgezsad.training.losses import (
    Loss,
    compute_loss,
    fit_global_score,
    fit_scale,
    learning_rate,
    make_optimiser,
    moving_average,
    rarity_midpoint,
)

RECIPE = 1
"""Version of the training recipe; increase it if a change of the code changes what is trained. States of another
version are not continued."""
LOG_EVERY = 10
SCALE_IMAGES = 512
"""Images that the scale of the features is computed from if features are not cached."""
NO_EFFECT = {"save_every", "workers", "device"}
"""Settings that may differ in a run that continues another."""
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
FIXED = (_BatchNorm, nn.Dropout, DropPath)
"""Stay in eval mode: statistics of small batches of few categories are worse than ImageNet's and differ per device."""
HEADS = ("score", "global_score", "correction")


@dataclass(frozen=True)
class Trained:
    """Checkpoint, training curve (step, learning rate, loss terms, gain) and metrics of one seed; AUROC in percent."""

    checkpoint: Path
    curve: pd.DataFrame
    metrics: dict[str, float | int | str]


class TrainableModel(nn.Module):
    """A readout, behind the backbone if its last `tuned_stages` stages learn; their inputs are then pixels."""

    def __init__(self, readout: GlobalLocalReadout, backbone: Backbone | None = None, tuned_stages: int = 0):
        super().__init__()
        self.readout, self.backbone = readout, backbone
        self.stages: list[nn.Module] = []
        if backbone is not None:
            self.stages = backbone.stages()[-tuned_stages:]
            backbone.requires_grad_(False)
            for stage in self.stages:
                stage.requires_grad_(True)

    def features(self, inputs: list[Tensor]) -> list[Tensor]:
        """Compute the features of an example's inputs."""
        return inputs if self.backbone is None else self.backbone(inputs[0])

    def forward(self, inputs: list[Tensor]) -> dict[str, Tensor]:
        """Compute the outputs that are trained."""
        return self.readout.training_outputs(self.features(inputs))

    def train(self, mode: bool = True) -> "TrainableModel":
        """Set train or eval mode; frozen parts and `FIXED` layers stay in eval mode."""
        super().train(mode)
        if mode and self.backbone is not None:
            learning = {id(part) for stage in self.stages for part in stage.modules()}
            for part in self.backbone.modules():
                if id(part) not in learning or isinstance(part, FIXED):
                    part.training = False
        return self

    def tuned(self) -> dict[str, Tensor]:
        """Return the weights of the backbone that learned, by their names in it."""
        named = () if self.backbone is None else self.backbone.named_parameters()
        return {name: value for name, value in named if value.requires_grad}


class Trainer:
    """One seed's training in memory; `average.module`, the moving average of `model`, is the result."""

    def __init__(self, profile: Profile, inputs: Inputs, backbone: Backbone, seed: int, fabric: Fabric):
        self.config, self.inputs, self.fabric, self.seed = profile.training, inputs, fabric, seed
        torch.manual_seed(seed)
        readout = build_readout(backbone.channels, backbone.strides, profile.model.readout, profile.model.size)
        # A copy: the next seed starts from the same backbone.
        learning = copy.deepcopy(inputs.backbone)
        self.model = TrainableModel(readout, learning, self.config.tuned_stages).to(fabric.device)
        self.optimiser = make_optimiser(readout, self.model.stages, self.config)
        self._wrapped, self._wrapped_optimiser = fabric.setup(self.model, self.optimiser)
        self.average = moving_average(self.model, self.config.ema)
        self._generator = torch.Generator()

    @torch.no_grad()
    def fit_source(self, rows: np.ndarray) -> None:
        """Fit the scale of the features, and the global score if it is not trained, to rows of the source."""
        if self.inputs.backbone is not None:
            rows = subsample_evenly(rows, SCALE_IMAGES)
        readout = self.model.eval().readout
        fit_scale(readout, (self._features(example) for example in self.inputs.read(rows)))
        if isinstance(readout, SelfReferenceReadout):
            found = [
                (*(one.cpu() for one in readout.self_reference(self._features(example))), example.mask_fraction)
                for example in self.inputs.read(rows)
            ]
            scores, rarity, fraction = (torch.cat(parts) for parts in zip(*found, strict=True))
            fitted = fit_global_score(scores.numpy(), self.inputs.label[rows], self.inputs.group[rows])
            readout.ranking.set(*fitted)
            readout.rarity_middle.fill_(rarity_midpoint(rarity, fraction))
        self.average = moving_average(self.model, self.config.ema)

    def step(self, number: int, example: Example) -> Loss:
        """Take one step on this rank's part of the batch; raises CheckError if its loss or gradient is not finite."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["share"] * learning_rate(number, self.config)
        loss = self.loss(number, example)
        self._wrapped_optimiser.zero_grad()
        self.fabric.backward(loss.total)
        gradients = [one.grad for one in self.model.parameters() if one.grad is not None]
        # In FP16 the gradient scaler skips a step whose gradient overflows.
        finite = bool(self.scaler()) or torch.nn.utils.get_total_norm(gradients).isfinite()
        if not (loss.total.isfinite() and finite):
            names = ", ".join(self.inputs.name(row) for row in example.rows[:3])
            raise CheckError(
                f"seed {self.seed}: the loss or its gradient is not finite at step {number}; check its images "
                f"({names}, ...) or lower training.learning_rate"
            )
        self._wrapped_optimiser.step()
        self.average.update_parameters(self.model)
        return loss

    def loss(self, number: int, example: Example) -> Loss:
        """Compute the loss of a step over all ranks: the ranking loss compares all pairs of the whole batch."""
        self.model.readout.set_noise(self._noise(number))
        self._wrapped.train()
        outputs = self._wrapped(self.fabric.to_device(example.inputs))
        outputs = {name: self._gather(value.float()) for name, value in outputs.items()}
        label, fraction = (self._gather(self.fabric.to_device(one)) for one in (example.label, example.mask_fraction))
        return compute_loss(outputs, label, fraction, self.config)

    def scaler(self) -> dict[str, Any]:
        """Return the state of the gradient scaler of FP16; empty in other precisions."""
        return self.fabric.strategy.precision.state_dict()

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that changes while training, by name."""
        state = self.optimiser.state_dict()["state"]
        return {
            **{f"model/{name}": value for name, value in self.model.state_dict().items()},
            **{f"average/{name}": value for name, value in self.average.state_dict().items()},
            **{f"optimiser/{number}/{key}": value for number, one in state.items() for key, value in one.items()},
        }

    def restore(self, tensors: dict[str, Tensor], scaler: dict[str, Any]) -> None:
        """Restore what `tensors` and `scaler` returned."""
        parts: dict[str, dict[str, Tensor]] = {"optimiser": {}}
        for name, value in tensors.items():
            part, key = name.split("/", 1)
            parts.setdefault(part, {})[key] = value
        self.model.load_state_dict(parts["model"])
        self.average.load_state_dict(parts["average"])
        reset_attention_bias_cache(self.model)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimiser"].items():
            number, key = name.split("/")
            state.setdefault(int(number), {})[key] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        if scaler:
            self.fabric.strategy.precision.load_state_dict(scaler)

    def _features(self, example: Example) -> list[Tensor]:
        return self.model.features(self.fabric.to_device(example.inputs))

    def _noise(self, step: int) -> Callable[[Tensor], Tensor]:
        """Return a sampler of this rank's part of the whole batch's noise; on the CPU, as GPUs give other numbers."""
        rank, ranks = self.fabric.global_rank, self.fabric.world_size
        self._generator.manual_seed(self.seed * 2**32 + step)

        def sample(like: Tensor) -> Tensor:
            noise = torch.randn((len(like) * ranks, *like.shape[1:]), generator=self._generator)
            return noise[rank::ranks].to(like.device, like.dtype)

        return sample

    def _gather(self, part: Tensor) -> Tensor:
        """Concatenate (B, ...) of all ranks in the order of the batch; gradients flow back to their ranks."""
        if self.fabric.world_size == 1:
            return part
        return self.fabric.all_gather(part, sync_grads=part.requires_grad).transpose(0, 1).flatten(0, 1)


def train(profile: Profile, inputs: Inputs, backbone: Backbone, seed: int, folder: Path | str) -> Trained:
    """Train one seed, or continue an interrupted run.

    Args:
        profile: model and recipe.
        inputs: of the source.
        backbone: frozen, or the one that `inputs` reads images for.
        seed: of the initial weights, the order and the noise.
        folder: receives checkpoint, curve, metrics, TensorBoard's `logs` and the saved state.

    Raises:
        InputError: the source lacks normal or defective images, or another run is training into the folder.
        CheckError: a loss or gradient is not finite.
    """
    folder = Path(folder)
    if len(set(inputs.label)) < 2:
        raise InputError("data.source: needs normal and defective images; add a folder that has both")
    first_process = int(os.environ.get("RANK", 0)) == 0
    with locked(folder) if first_process else nullcontext():
        made_with = training_key(profile, inputs, seed)
        # Only the first process looks for a state, so that all start from the same one.
        start = find_state(folder, made_with) if first_process else 0
        fabric = make_fabric(profile.training, folder / "logs", start)
        start = fabric.broadcast(start)
        trainer = Trainer(profile, inputs, backbone, seed, fabric)
        fitted, held = split_source(inputs.label, inputs.group, inputs.parent, profile.training.validation)
        curve: list[dict[str, float]] = []
        if start:
            tensors, header = read_state(folder)
            trainer.restore(tensors, header["scaler"])
            curve = header["curve"]
        else:
            trainer.fit_source(fitted)
        plan = training_plan(inputs, fitted, profile.training, seed, source_shares(profile))
        _run_steps(trainer, plan, range(start, profile.training.steps), curve, folder, made_with)
        if first_process:
            with written_beside(folder / "curve.csv") as temporary:
                pd.DataFrame(curve).to_csv(temporary, index=False, lineterminator="\n")
            _finish(trainer, profile, backbone, fitted, held, folder)
        fabric.barrier()
    metrics = read_json(folder / "metrics.json", "train this seed again")
    return Trained(folder / "checkpoint.safetensors", pd.DataFrame(curve), metrics)


def _run_steps(
    trainer: Trainer, plan: Any, steps: range, curve: list[dict[str, float]], folder: Path, made_with: dict[str, Any]
) -> None:
    config, fabric = trainer.config, trainer.fabric
    examples = trainer.inputs.steps(plan, steps, fabric.global_rank, fabric.world_size)
    total, done = config.steps * config.batch, steps.start * config.batch
    shown = fabric.is_global_zero
    with progress(None, f"seed {trainer.seed}", total, initial=done, disable=not shown) as bar:
        for step, example in zip(steps, examples, strict=True):
            loss = trainer.step(step, example)
            last = step == config.steps - 1
            if step % LOG_EVERY == 0 or last:
                terms = {name: term.item() for name, term in loss.terms.items()}
                row = {"learning_rate": learning_rate(step, config), "total": loss.total.item(), **terms}
                row["gain"] = trainer.model.readout.gain.item()
                curve.append({"step": step, **row})
                fabric.log_dict(row, step)
            bar.set_postfix_str(f"loss {curve[-1]['total']:.3f}", refresh=False)
            bar.update(config.batch)
            if shown and ((step + 1) % config.save_every == 0 or last):
                header = {"step": step + 1, "made_with": made_with, "curve": curve, "scaler": trainer.scaler()}
                save_tensors(folder / "state.safetensors", trainer.tensors(), {"edgezsad": json.dumps(header)})
    for logger in fabric.loggers:
        logger.finalize("success")


def _finish(
    trainer: Trainer, profile: Profile, backbone: Backbone, fitted: np.ndarray, held: np.ndarray, folder: Path
) -> None:
    """Validate, and write checkpoint and metrics."""
    inputs, result = trainer.inputs, trainer.average.module.eval()
    both = len(set(inputs.label[held])) == 2
    rows = subsample_evenly(held if both else fitted, inputs.most_validated)
    detector = Detector(result.backbone or backbone, result.readout, profile.model.size, profile.model.tta)
    metrics: dict[str, float | int | str] = {
        "seed": trainer.seed,
        "steps": profile.training.steps,
        "source_images": len(inputs.label),
        **validate(detector.to(trainer.fabric.device), inputs, rows),
        "validated_on": "held-out source images" if both else "the training images: too few to hold out",
    }
    info = CheckpointInfo(
        model=profile.model,
        backbone_sha256=inputs.backbone_sha256,
        profile=profile.profile,
        seed=trainer.seed,
        source_sha256=inputs.source_sha256,
        threshold=metrics["threshold"],
    )
    save_checkpoint(folder / "checkpoint.safetensors", result.readout, info, result.tuned())
    write_json(folder / "metrics.json", metrics)


@torch.inference_mode()
def validate(detector: Detector, inputs: Inputs, rows: np.ndarray) -> dict[str, float]:
    """Compute the AUROC in percent of the score and of each head on some rows, and the threshold.

    The scores are those of the detector that is used, including its test-time augmentation. The threshold has the best
    F1, or for self-reference scores the best balanced accuracy: their level differs between parts, and on overlapping
    scores the best F1 calls every image defective.
    """
    device = next(detector.readout.parameters()).device
    if inputs.backbone is None and detector.tta == "none":
        outputs = [detector.readout([one.to(device) for one in example.inputs]) for example in inputs.read(rows)]
    else:
        outputs = [detector.output(pixels.to(device)) for pixels in inputs.read_pixels(rows)]
    label = inputs.label[rows]
    heads = {name: torch.cat([getattr(one, name).float().cpu() for one in outputs]).numpy() for name in HEADS}
    result = {f"validation_auroc_{name}": 100 * auroc(label, values) for name, values in heads.items()}
    balanced = isinstance(detector.readout, SelfReferenceReadout)
    threshold = best_balanced(label, heads["score"]) if balanced else best_f1(label, heads["score"]).threshold
    return result | {"threshold": threshold, "gain": detector.readout.gain.item()}


def make_fabric(config: Training, logs: Path, first_step: int = 0) -> Fabric:
    """Launch Fabric: one device in a plain process, one per process under `torchrun`."""
    gpu = uses_gpu(config)
    if config.device == "gpu" and not gpu:
        raise InputError("training.device: gpu, but PyTorch finds none; set it to auto or cpu")
    if config.precision == "fp16" and not gpu:
        raise InputError("training.precision: fp16 needs a GPU; set it to auto or fp32")
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    distributed = "TORCHELASTIC_RUN_ID" in os.environ
    fabric = Fabric(
        accelerator="cuda" if gpu else "cpu",
        devices=processes,
        num_nodes=int(os.environ.get("WORLD_SIZE", 1)) // processes if distributed else 1,
        strategy="ddp" if distributed else "auto",
        # Otherwise Fabric takes a batch job with several tasks for a distributed training.
        plugins=None if distributed else LightningEnvironment(),
        precision=PRECISIONS[resolve_precision(config)],
        loggers=TensorBoardLogger(logs, name="", version="", purge_step=first_step),
    )
    fabric.launch()
    return fabric


def resolve_precision(config: Training) -> str:
    """Return the precision of training on this machine: "fp32", "bf16" or "fp16"."""
    if config.precision != "auto":
        return config.precision
    return "bf16" if uses_gpu(config) and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def uses_gpu(config: Training) -> bool:
    """Return whether training runs on a GPU."""
    return torch.cuda.is_available() and config.device != "cpu"


def training_key(profile: Profile, inputs: Inputs, seed: int) -> dict[str, Any]:
    """Return what the weights depend on; a state of another key is not continued."""
    training = json.loads(profile.training.model_dump_json(exclude=NO_EFFECT))
    return {
        "recipe": RECIPE,
        "model": json.loads(profile.model.model_dump_json()),
        "training": training | {"precision": resolve_precision(profile.training)},
        "shares": source_shares(profile),
        "seed": seed,
        "source": inputs.source_sha256,
        "content": inputs.content_sha256,
        "backbone": inputs.backbone_sha256,
        "packages": versions("torch", "timm", "numpy"),
    }


def source_shares(profile: Profile) -> dict[str, float] | None:
    """Return the sources' shares of a batch by name; None if the profile has none."""
    shares = {item.name: item.share for item in profile.data.source if item.share is not None}
    return shares or None


def find_state(folder: Path, made_with: dict[str, Any]) -> int:
    """Return the step to continue from; 0, after removing old results, if there is no usable state."""
    path = folder / "state.safetensors"
    if path.is_file():
        try:
            _, header = read_state(folder)
            changed = [name for name, value in made_with.items() if header["made_with"].get(name) != value]
            if not changed:
                return header["step"]
            reason = f"made with another {', '.join(changed)}"
        except InputError as error:
            reason = str(error).partition(": ")[2]
        warnings.warn(f"{path}: {reason}; training starts from the first step", stacklevel=3)
    for name in ("state.safetensors", "checkpoint.safetensors", "curve.csv", "metrics.json"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "logs", ignore_errors=True)
    return 0


def read_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a saved state: its tensors, and its header with step, made_with, curve and scaler."""
    path = folder / "state.safetensors"
    try:
        with safe_open(path, framework="pt") as stream:
            header = json.loads(stream.metadata()["edgezsad"])
            return {name: stream.get_tensor(name) for name in stream.keys()}, header  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged state ({' '.join(str(error).split())[:120]}); delete it") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against a second run; the system releases the lock when the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder}: another run is training into it; wait for it, or use another folder") from None
    with lock:
        yield


def seed_summary(folders: dict[int, Path]) -> pd.DataFrame:
    """Tabulate the metrics of the seeds in these folders, their mean and their standard deviation (n - 1)."""
    rows = [read_json(folder / "metrics.json", "run notebook 03_training for this seed") for folder in folders.values()]
    names = [*(f"validation_auroc_{head}" for head in HEADS), "threshold", "gain"]
    table = pd.DataFrame([{"seed": str(row["seed"])} | {name: row[name] for name in names} for row in rows])
    ends = [{"seed": "mean", **table[names].mean()}]
    if len(rows) > 1:
        ends.append({"seed": "std", **table[names].std(ddof=1)})
    return pd.concat([table, pd.DataFrame(ends)], ignore_index=True)
