"""Train a readout, and the last stages of the backbone if configured: on a laptop, on a GPU, or under `torchrun`.

An interrupted training continues from the last saved state. The order and the noise depend on the seed, the step and
the position in the batch alone: on one machine's CPU, with the same number of threads, an interrupted run ends with
the same bytes, and a distributed run trains on the same batches.
"""

import copy
import json
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from safetensors import SafetensorError, safe_open
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgezsad.config import Profile, Training
from edgezsad.data.loading import split_source, subsample_evenly
from edgezsad.errors import CheckError, InputError, one_line
from edgezsad.files import parse_json, progress, read_json, save_tensors, versions, write_csv, write_json
from edgezsad.metrics.image_metrics import auroc, best_balanced
from edgezsad.model.backbone import Backbone, reset_attention_bias_cache
from edgezsad.model.detector import CheckpointInfo, DetectorModule, build_readout, save_checkpoint
from edgezsad.model.edgeglr import GlobalLocalReadout
from edgezsad.model.self_reference import COUNTS, SelfReferenceReadout
from edgezsad.training import losses
from edgezsad.training.inputs import Example, Inputs, training_plan

TRAINING_RECIPE = 2  # increase it if a change of the code changes what is trained
LOG_EVERY = 10
SCALE_IMAGES = 512  # that the scale of the features is computed from if features are not cached
NO_EFFECT = {"save_every", "workers", "device"}  # may differ in a run that continues another
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
FIXED = (_BatchNorm, nn.Dropout, DropPath)
"""Stay in eval mode: statistics of small batches of few categories are worse than ImageNet's and differ per device."""
STATE = "state.safetensors"
NO_STATE: tuple[dict[str, Tensor], dict[str, Any]] = ({}, {"step": 0})  # tensors and header
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
            self.stages = backbone.requires_grad_(False).stages()[-tuned_stages:]
            nn.ModuleList(self.stages).requires_grad_(True)

    def features(self, inputs: list[Tensor]) -> list[Tensor]:
        """Return the readout's features of `Example.inputs`: the inputs themselves, or the backbone's maps of them."""
        return inputs if self.backbone is None else self.backbone(inputs[0])

    def forward(self, inputs: list[Tensor]) -> dict[str, Tensor]:
        return self.readout.training_outputs(self.features(inputs))

    def train(self, mode: bool = True) -> "TrainableModel":
        """Set the mode of readout and learning stages; modules of `FIXED` types and all other stages stay in eval."""
        super().train(mode)
        if self.backbone is not None:
            self.backbone.eval()
        for part in (part for stage in self.stages for part in stage.modules()):
            part.training = mode and not isinstance(part, FIXED)
        return self

    def tuned(self) -> dict[str, Tensor]:
        """Return the weights of the backbone that learned, by their names in it."""
        named = () if self.backbone is None else self.backbone.named_parameters()
        return {name: value for name, value in named if value.requires_grad}


class Trainer:
    """One seed's training in memory; `average.module`, the moving average of `model`, is the result."""

    def __init__(self, profile: Profile, inputs: Inputs, backbone: Backbone, seed: int, fabric: Fabric):
        self.profile, self.config, self.inputs, self.seed = profile, profile.training, inputs, seed
        self.fabric, self.to_device = fabric, fabric.to_device
        torch.manual_seed(seed)
        readout = build_readout(backbone.channels, backbone.strides, profile.model.readout, profile.model.size)
        # A copy: the next seed starts from the same backbone.
        model = TrainableModel(readout, copy.deepcopy(inputs.backbone), self.config.tuned_stages)
        self.model = model.to(fabric.device)
        self.optimiser = losses.make_optimiser(readout, self.model.stages, self.config)
        self._wrapped, self._wrapped_optimiser = fabric.setup(self.model, self.optimiser)
        self.average = losses.moving_average(self.model, self.config.ema)
        self.curve: list[dict[str, float]] = []

    @torch.no_grad()
    def fit_source(self, rows: np.ndarray) -> None:
        """Fit the scale of the features, and the global score if it is not trained, to rows of the source."""
        if self.inputs.backbone is not None:
            rows = subsample_evenly(rows, SCALE_IMAGES)
        readout = self.model.eval().readout
        pieces = (self.model.features(self.to_device(example.inputs)) for example in self.inputs.read(rows))
        losses.fit_scale(readout, pieces)
        if isinstance(readout, SelfReferenceReadout):
            found = []
            for example in self.inputs.read(rows):
                scores, rarity = readout.self_reference(self.model.features(self.to_device(example.inputs)))
                found.append((scores.cpu(), rarity.cpu(), example.mask_fraction))
            scores, rarity, fraction = (torch.cat(parts) for parts in zip(*found, strict=True))
            label, group = self.inputs.label[rows], self.inputs.group[rows]
            weight, bias = losses.fit_global_score(scores.numpy(), label, group, COUNTS)
            readout.ranking.load_state_dict({"weight": weight, "bias": bias})
            readout.rarity_middle.fill_(losses.rarity_midpoint(rarity, fraction))
        self.average = losses.moving_average(self.model, self.config.ema)

    def step(self, number: int, example: Example) -> losses.Loss:
        """Take one step on this rank's part of the batch; raises CheckError if its loss or gradient is not finite."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["share"] * losses.learning_rate(number, self.config)
        self.model.readout.set_noise(self._noise(number))
        self._wrapped.train()
        outputs = self._wrapped(self.to_device(example.inputs))
        # The ranking loss compares all pairs of the whole batch.
        outputs = {name: self._gather(value.float()) for name, value in outputs.items()}
        label, fraction = (self._gather(self.to_device(one)) for one in (example.label, example.mask_fraction))
        loss = losses.compute_loss(outputs, label, fraction, self.config)
        self._wrapped_optimiser.zero_grad()
        self.fabric.backward(loss.total)
        gradients = [one.grad for one in self.model.parameters() if one.grad is not None]
        if not (loss.total.isfinite() and torch.nn.utils.get_total_norm(gradients).isfinite()):
            remedy = f"check its images ({', '.join(self.inputs.parent[example.rows[:3]])}, ...)"
            problem = f"seed {self.seed}: the loss or its gradient is not finite at step {number}"
            raise CheckError(f"{problem}; {remedy} or lower training.learning_rate")
        self._wrapped_optimiser.step()
        self.average.update_parameters(self.model)
        return loss

    def record(self, step: int, loss: losses.Loss) -> None:
        """Add a row to the training curve."""
        terms = {"total": loss.total, **loss.terms, "gain": self.model.readout.gain}
        row = {"learning_rate": losses.learning_rate(step, self.config)}
        row |= {name: term.item() for name, term in terms.items()}
        self.curve.append({"step": step, **row})

    def save(self, folder: Path, step: int, made_with: dict[str, Any]) -> None:
        """Write everything that the steps from `step` on depend on, atomically; `made_with` is the `training_key`."""
        state = self.optimiser.state_dict()["state"]
        tensors = {f"optimiser/{number}/{key}": value for number, one in state.items() for key, value in one.items()}
        for part, module in (("model", self.model), ("average", self.average)):
            tensors |= {f"{part}/{name}": value for name, value in module.state_dict().items()}
        header = {"step": step, "made_with": made_with, "curve": self.curve}
        save_tensors(folder / STATE, tensors, {"edgezsad": json.dumps(header)})
        write_csv(folder / "curve.csv", self.curve, list(self.curve[0]))

    def restore(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
        """Continue from a saved state (see `find_state`)."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}

        self.model.load_state_dict(part("model/"))
        self.average.load_state_dict(part("average/"))
        reset_attention_bias_cache(self.model)
        optimiser = self.optimiser.state_dict()
        for name, value in part("optimiser/").items():
            number, key = name.split("/")
            optimiser["state"].setdefault(int(number), {})[key] = value
        self.optimiser.load_state_dict(optimiser)
        self.curve = header["curve"]

    def _noise(self, step: int) -> Callable[[Tensor], Tensor]:
        """Return a sampler of this rank's part of the whole batch's noise; on the CPU, as GPUs give other numbers."""
        rank, ranks = self.fabric.global_rank, self.fabric.world_size
        generator = torch.Generator().manual_seed(self.seed * 2**32 + step)

        def sample(like: Tensor) -> Tensor:
            noise = torch.randn((len(like) * ranks, *like.shape[1:]), generator=generator)
            return noise[rank::ranks].to(like.device, like.dtype)

        return sample

    def _gather(self, part: Tensor) -> Tensor:
        """Concatenate (B, ...) of all ranks in the order of the batch; gradients flow back to their ranks."""
        if self.fabric.world_size == 1:
            return part
        return self.fabric.all_gather(part, sync_grads=part.requires_grad).transpose(0, 1).flatten(0, 1)


def train(profile: Profile, inputs: Inputs, backbone: Backbone, seed: int, folder: Path | str) -> Trained:
    """Train one seed, or continue an interrupted run; results and the saved state go into `folder`.

    Raises InputError if the source lacks a class or another run uses the folder, CheckError if a loss is not finite.
    """
    folder, config = Path(folder), profile.training
    first_process = int(os.environ.get("RANK", 0)) == 0
    with lock(folder) if first_process else nullcontext():
        made_with = training_key(profile, inputs, seed)
        # Only the first process looks for a state, so that all start from the same one.
        state = find_state(folder, made_with) if first_process else NO_STATE
        fabric = make_fabric(config)
        tensors, header = fabric.broadcast(state)
        trainer = Trainer(profile, inputs, backbone, seed, fabric)
        fitted, held = split_source(inputs.label, inputs.group, inputs.parent, config.validation)
        plan = training_plan(inputs, fitted, config, seed, profile.data.shares)
        if tensors:
            trainer.restore(tensors, header)
        else:
            trainer.fit_source(fitted)
        steps = range(header["step"], config.steps)
        examples = inputs.steps(plan, steps, fabric.global_rank, fabric.world_size)
        total, done = config.steps * config.batch, steps.start * config.batch
        with progress(None, f"seed {seed}", total, initial=done, disable=not first_process) as bar:
            for step, example in zip(steps, examples, strict=True):
                loss = trainer.step(step, example)
                last = step == config.steps - 1
                if step % LOG_EVERY == 0 or last:
                    trainer.record(step, loss)
                bar.set_postfix_str(f"loss {trainer.curve[-1]['total']:.3f}", refresh=False)
                bar.update(config.batch)
                if first_process and ((step + 1) % config.save_every == 0 or last):
                    trainer.save(folder, step + 1, made_with)
        if first_process:
            _finish(trainer, backbone, fitted, held, folder)
        fabric.barrier()
    metrics = read_json(folder / "metrics.json", "train this seed again")
    return Trained(folder / "checkpoint.safetensors", pd.DataFrame(trainer.curve), metrics)


@torch.inference_mode()
def _finish(trainer: Trainer, backbone: Backbone, fitted: np.ndarray, held: np.ndarray, folder: Path) -> None:
    """Validate the detector with its test-time augmentation, and write checkpoint and metrics."""
    inputs, model, result = trainer.inputs, trainer.profile.model, trainer.average.module.eval()
    both = len(set(inputs.label[held])) == 2
    rows = subsample_evenly(held if both else fitted, inputs.most_validated)
    if inputs.backbone is None and model.tta == "none":
        outputs = [result.readout(trainer.to_device(example.inputs)) for example in inputs.read(rows)]
    else:
        detector = trainer.to_device(DetectorModule(result.backbone or backbone, result.readout, model.size, model.tta))
        outputs = [detector.output(trainer.to_device(pixels)) for pixels in inputs.read_pixels(rows)]
    label = inputs.label[rows]
    heads = {name: torch.cat([getattr(one, name).float().cpu() for one in outputs]).numpy() for name in HEADS}
    # On overlapping scores the best F1 rejects every image.
    threshold = best_balanced(label, heads["score"])
    metrics = {
        "seed": trainer.seed,
        "steps": trainer.config.steps,
        "source_images": len(inputs.label),
        **{f"validation_auroc_{name}": 100 * auroc(label, values) for name, values in heads.items()},
        "threshold": threshold,
        "gain": result.readout.gain.item(),
        "validated_on": "held-out source images" if both else "the training images: too few to hold out",
    }
    hashes = {"backbone_sha256": inputs.backbone_sha256, "source_sha256": inputs.source_sha256}
    profile, seed = trainer.profile.profile, trainer.seed
    info = CheckpointInfo(model=model, profile=profile, seed=seed, threshold=threshold, **hashes)
    save_checkpoint(folder / "checkpoint.safetensors", result.readout, info, result.tuned())
    write_json(folder / "metrics.json", metrics)


def make_fabric(config: Training) -> Fabric:
    """Launch Fabric: one device in a plain process, one per process under `torchrun`."""
    device, precision = resolve_device(config)
    if config.device == "gpu" and device == "cpu":
        raise InputError("training.device: gpu, but PyTorch finds none; set it to auto or cpu")
    # The plain environment: otherwise Fabric takes a batch job with several tasks for a distributed training.
    processes: dict[str, Any] = {"devices": 1, "plugins": LightningEnvironment()}
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        processes = {"devices": devices, "num_nodes": int(os.environ["WORLD_SIZE"]) // devices, "strategy": "ddp"}
    fabric = Fabric(accelerator=device, precision=PRECISIONS[precision], **processes)
    fabric.launch()
    return fabric


def resolve_device(config: Training) -> tuple[str, str]:
    """Return the device, "cuda" or "cpu", and the precision, "fp32" or "bf16", that training uses."""
    gpu = torch.cuda.is_available() and config.device != "cpu"
    automatic = "bf16" if gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "cuda" if gpu else "cpu", automatic if config.precision == "auto" else config.precision


def training_key(profile: Profile, inputs: Inputs, seed: int) -> dict[str, Any]:
    """Return what the weights depend on; a state of another key is not continued."""
    precision = resolve_device(profile.training)[1]
    return {
        "recipe": TRAINING_RECIPE,
        "model": profile.model.model_dump(mode="json"),
        "training": profile.training.model_dump(mode="json", exclude=NO_EFFECT) | {"precision": precision},
        "shares": profile.data.shares,
        "seed": seed,
        "source": inputs.source_sha256,
        "content": inputs.content_sha256,
        "backbone": inputs.backbone_sha256,
        "packages": versions("torch", "timm", "numpy"),
    }


def find_state(folder: Path, made_with: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the state to continue from; if there is none of this training, remove old results."""
    path = folder / STATE
    if path.is_file():
        try:
            with safe_open(path, framework="pt") as stream:
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
                header = parse_json(stream.metadata()["edgezsad"])
            changed = [name for name, value in made_with.items() if header["made_with"].get(name) != value]
            if not changed:
                return tensors, header
            reason = f"made with another {', '.join(changed)}"
        except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
            reason = f"damaged state ({one_line(error)})"
        warnings.warn(f"{path}: {reason}; training starts from the first step", stacklevel=3)
    for name in (STATE, "checkpoint.safetensors", "curve.csv", "metrics.json"):
        (folder / name).unlink(missing_ok=True)
    return NO_STATE


def lock(folder: Path) -> AbstractContextManager:
    """Lock a folder against a second run; the system releases the lock when the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder}: another run is training into it; wait for it, or use another folder") from None
