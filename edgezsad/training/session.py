"""One seed's training in memory: what a step does, and everything that a saved state must hold to go on from there."""

import copy
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from edgezsad.config import Profile
from edgezsad.model.backbone import Backbone, reset_attention_bias_cache
from edgezsad.model.cues import CueRanking
from edgezsad.model.detector import build_detector
from edgezsad.model.readout import Output
from edgezsad.training import recipe
from edgezsad.training.inputs import Example, Inputs
from edgezsad.training.learner import Learner, Noise
from edgezsad.training.outcome import fit_scale, spread_out
from edgezsad.training.ranking import Middle, fit_ranking
from edgezsad.training.states import State, fill_optimiser, optimiser_tensors

SCALE_IMAGES = 512
"""Images that the scale of the features is taken from, where features are not cached."""


class NotFinite(Exception):
    """A step's loss or gradient is NaN or infinite; nothing has been changed by the step."""


class Session:
    """What trains, on whatever device Fabric gives.

    Attributes:
        learner: the module with the weights.
        average: its moving average; `average.module` is what is kept in the end.
    """

    def __init__(self, profile: Profile, inputs: Inputs, backbone: Backbone, seed: int, fabric: Fabric):
        self._config, self._inputs, self._fabric = profile.training, inputs, fabric
        torch.manual_seed(seed)
        readout = build_detector(profile.model, backbone).readout
        # A copy: the next seed starts from the backbone as it was.
        learning = copy.deepcopy(inputs.backbone)
        self.learner = Learner(readout, learning, self._config.tuned_stages).to(fabric.device)
        optimiser = recipe.optimiser(readout, self.learner.stages, self._config)
        self._model, self._optimiser = fabric.setup(self.learner, optimiser)
        self._raw_optimiser = optimiser
        self.average = recipe.averaged(self.learner, self._config)
        self._noise = Noise(seed, fabric.global_rank, fabric.world_size)

    @torch.inference_mode()
    def begin(self, fitted: np.ndarray) -> None:
        """Fit the scale of the features, and of cues, to rows of the source; not where a run goes on."""
        if self._inputs.backbone is not None:
            fitted = spread_out(fitted, SCALE_IMAGES)
        self.learner.eval()
        readout = self.learner.readout
        fit_scale(readout, (self._features(example) for example in self._inputs.read(fitted)))
        if isinstance(readout.ranking, CueRanking):
            # After the scale, in which the cues are measured.
            cues, middle = [], Middle()
            for example in self._inputs.read(fitted):
                numbers, rare = (one.cpu() for one in readout.read_cues(self._features(example)))
                cues.append(numbers)
                middle.add(rare, example.coverage)
            readout.ranking.set(
                *fit_ranking(torch.cat(cues).numpy(), self._inputs.label[fitted], self._inputs.group[fitted])
            )
            readout.rarity_middle.fill_(middle.value())
        self.average.load_state_dict(recipe.averaged(self.learner, self._config).state_dict())

    def step(self, number: int, example: Example) -> recipe.Loss:
        """Take one step.

        Args:
            number: of the step.
            example: this rank's part of it.

        Raises:
            NotFinite: the loss or the gradient is NaN or infinite; weights and optimiser are as before.
        """
        recipe.set_rates(self._raw_optimiser, number, self._config)
        value, norm = self.gradient(number, example)
        # In FP16 the scaler leaves out a step whose gradient is too large, and goes on with a smaller scale. Once it is
        # below one, the scale was not what made the gradient infinite, and no step would ever be taken again.
        if not torch.isfinite(value.total) or (not torch.isfinite(norm) and self.scaler().get("scale", 0.0) < 1):
            raise NotFinite
        self._optimiser.step()
        self.average.update_parameters(self.learner)
        return value

    def gradient(self, number: int, example: Example) -> tuple[recipe.Loss, Tensor]:
        """The loss of a step and the norm of its gradient, (), which is left on the weights."""
        value = self.loss(number, example)
        self._optimiser.zero_grad()
        self._fabric.backward(value.total)
        gradients = [one.grad for one in self.learner.parameters() if one.grad is not None]
        return value, torch.nn.utils.get_total_norm(gradients) / self.scaler().get("scale", 1.0)

    def loss(self, number: int, example: Example) -> recipe.Loss:
        """What a step minimises, over all ranks: pairs are ranked across the whole batch, wherever its images are."""
        self.learner.readout.draw_noise(self._noise.at(number))
        self._model.train()
        output = self._model(self._fabric.to_device(example.inputs))
        everyones = Output(*(self._of_all_ranks(part.float()) for part in output))
        label, coverage = (self._of_all_ranks(self._fabric.to_device(one)) for one in (example.label, example.coverage))
        return recipe.loss(everyones, label, coverage, self._config)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes while training, by name."""
        parts = {
            "learner": self.learner.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": optimiser_tensors(self._raw_optimiser),
            "random": {"cpu": torch.get_rng_state()},
        }
        if self._fabric.device.type == "cuda":
            parts["random"]["gpu"] = torch.cuda.get_rng_state(self._fabric.device)
        return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    def scaler(self) -> dict[str, Any]:
        """The state of the scaler of gradients in FP16; empty in other precisions."""
        return self._fabric.strategy.precision.state_dict()

    def restore(self, state: State) -> None:
        """Put everything back as it was when the state was saved."""
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in state.tensors.items():
            part, key = name.split("/", 1)
            parts.setdefault(part, {})[key] = value
        self.learner.load_state_dict(parts["learner"])
        self.average.load_state_dict(parts["average"])
        reset_attention_bias_cache(self.learner)
        fill_optimiser(self._raw_optimiser, parts.get("optimiser", {}))
        torch.set_rng_state(parts["random"]["cpu"])
        if "gpu" in parts["random"] and self._fabric.device.type == "cuda":
            torch.cuda.set_rng_state(parts["random"]["gpu"], self._fabric.device)
        if state.record.scaler:
            self._fabric.strategy.precision.load_state_dict(state.record.scaler)

    def _features(self, example: Example) -> list[Tensor]:
        on_device = self._fabric.to_device(example.inputs)
        return on_device if self.learner.backbone is None else self.learner.backbone(on_device[0])

    def _of_all_ranks(self, part: Tensor) -> Tensor:
        """(B, ...) of every rank as one, in the order of the step's images; gradients flow back to their ranks."""
        if self._fabric.world_size == 1:
            return part
        gathered = self._fabric.all_gather(part, sync_grads=part.requires_grad)
        return gathered.transpose(0, 1).flatten(0, 1)
