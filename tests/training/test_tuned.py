"""A backbone that learns: which of its parts move, how fast, what is saved, and that it can be continued."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from edgezsad.config import Model, Profile, Training
from edgezsad.data.loading import Sample
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import load_detector, read_checkpoint
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.torch_scorer import torch_scorers
from edgezsad.training.inputs import ImageInputs, training_plan
from edgezsad.training.losses import make_optimiser
from edgezsad.training.trainer import TrainableModel, train

SIZE = 64
MODELS = {
    # With statistics of batches, and with attention whose biases are kept between calls.
    "tf_efficientnet_lite0": Model(backbone="tf_efficientnet_lite0", weights="random", size=SIZE, strides=(16, 32)),
    "tiny_vit_5m_224": Model(backbone="tiny_vit_5m_224", weights="random", size=SIZE, strides=(16, 32)),
}


class Made:
    """Grey noise; a defect is a bright square, and the mask of one is unknown."""

    sha256 = "made"

    def __init__(self, count: int = 24) -> None:
        generator = np.random.default_rng(0)
        self.pixels = generator.integers(90, 160, (count, SIZE, SIZE, 3), dtype=np.uint8)
        self.label = (np.arange(count) % 2).astype(np.int64)
        self.masks = np.zeros((count, SIZE, SIZE), dtype=bool)
        for row in np.flatnonzero(self.label):
            top, left = generator.integers(0, SIZE - 16, 2)
            self.pixels[row, top : top + 16, left : left + 16] = 255
            self.masks[row, top : top + 16, left : left + 16] = True
        self.group = np.array(["g"] * count)
        self.parent = np.array([f"{row}.png" for row in range(count)])

    def __len__(self) -> int:
        return len(self.label)

    def read(self, row: int, size: int) -> Sample:
        return Sample(self.pixels[row], None if row == 1 else self.masks[row])

    def name(self, row: int) -> str:
        return str(self.parent[row])


@pytest.fixture(scope="module", params=list(MODELS))
def tuned(request: pytest.FixtureRequest) -> tuple[Model, Backbone]:
    model = MODELS[request.param]
    return model, Backbone(model.backbone, model.weights, model.strides)


@pytest.fixture
def profile(planted: ModuleType, tuned: tuple[Model, Backbone], tmp_path: Path) -> Profile:
    training = {"steps": 6, "batch": 4, "warmup": 1, "tuned_stages": 2, "backbone_rate": 0.5, "save_every": 3}
    return planted.small_profile(tmp_path, **training).model_copy(update={"model": tuned[0]})


def test_the_last_stages_learn_and_nothing_else_moves(
    profile: Profile, tuned: tuple[Model, Backbone], tmp_path: Path
) -> None:
    model, backbone = tuned
    before = backbone.sha256()
    trained = train(profile, ImageInputs(Made(), backbone, SIZE, 2), backbone, 0, tmp_path / "seed")
    # The next seed starts from the same backbone.
    assert backbone.sha256() == before
    checkpoint = read_checkpoint(trained.checkpoint)
    named = dict(backbone.named_parameters())
    last_two = {id(parameter) for stage in backbone.stages()[-2:] for parameter in stage.parameters()}
    assert {id(named[name]) for name in checkpoint.tuned} == last_two
    moved = [name for name, value in checkpoint.tuned.items() if not torch.equal(value, named[name])]
    assert len(moved) > 0.9 * len(checkpoint.tuned)
    assert checkpoint.info.backbone_sha256 == before
    # Whoever loads it gets the tuned weights, in a backbone of its own.
    detector, _ = load_detector(trained.checkpoint, backbone, expected=model)
    assert detector.backbone is not backbone
    mine = dict(detector.backbone.named_parameters())
    assert all(torch.equal(mine[name], value) for name, value in checkpoint.tuned.items())
    assert backbone.sha256() == before


def test_it_is_exported_and_scored_as_it_was_trained(
    profile: Profile, tuned: tuple[Model, Backbone], tmp_path: Path
) -> None:
    model, backbone = tuned
    made = Made()
    inputs = ImageInputs(made, backbone, SIZE, 2)
    paths = [train(profile, inputs, backbone, seed, tmp_path / str(seed)).checkpoint for seed in (0, 1)]
    scorers = torch_scorers(paths, model, threads=1)
    assert all(scorer.timed for scorer in scorers)
    scores = [scorer.score(made.pixels[1])[0] for scorer in scorers]
    assert scores[0] != scores[1]
    for path, score in zip(paths, scores, strict=True):
        graph = export_onnx(load_detector(path)[0], path.with_suffix(".onnx"), SIZE)
        assert OnnxScorer(graph).score(made.pixels[1])[0] == pytest.approx(score, abs=1e-4)


def test_it_is_continued_to_the_bit(profile: Profile, tuned: tuple[Model, Backbone], tmp_path: Path) -> None:
    _, backbone = tuned

    class Stopped(Exception):
        pass

    class Stopping(ImageInputs):
        def steps(self, plan, steps, rank, ranks):
            for number, example in zip(steps, super().steps(plan, steps, rank, ranks), strict=True):
                if number == 4:
                    raise Stopped
                yield example

    inputs = ImageInputs(Made(), backbone, SIZE, 2)
    with pytest.raises(Stopped):
        train(profile, Stopping(Made(), backbone, SIZE, 1), backbone, 0, tmp_path / "cut")
    continued = train(profile, inputs, backbone, 0, tmp_path / "cut")
    whole = train(profile, inputs, backbone, 0, tmp_path / "whole")
    assert continued.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert continued.curve.equals(whole.curve)


def test_what_is_fixed_stays_fixed_while_training(tuned: tuple[Model, Backbone]) -> None:
    model, _ = tuned
    backbone = Backbone(model.backbone, model.weights, model.strides)
    learner = TrainableModel(nn.Identity(), backbone, tuned_stages=2).train()
    learning = {id(part) for stage in learner.stages for part in stage.modules()}
    for part in backbone.modules():
        fixed = isinstance(part, nn.modules.batchnorm._BatchNorm) or type(part).__name__ in ("DropPath", "Dropout")
        assert part.training == (id(part) in learning and not fixed)
    learner.eval()
    assert not any(part.training for part in learner.modules())


def test_rates_fall_stage_by_stage_towards_the_image(profile: Profile, tuned: tuple[Model, Backbone]) -> None:
    model, _ = tuned
    backbone = Backbone(model.backbone, model.weights, model.strides)
    config = profile.training.model_copy(update={"tuned_stages": 3, "layer_decay": 0.5})
    learner = TrainableModel(nn.Linear(2, 2), backbone, tuned_stages=3)
    chosen = make_optimiser(learner.readout, learner.stages, config)
    rate_of = {id(parameter): group["share"] for group in chosen.param_groups for parameter in group["params"]}
    decay_of = {id(one): group["weight_decay"] for group in chosen.param_groups for one in group["params"]}
    full = rate_of[id(learner.readout.weight)]
    for share, stage in zip((0.125, 0.25, 0.5), learner.stages, strict=True):
        assert {rate_of[id(parameter)] / full for parameter in stage.parameters()} == {share}
    for parameter in learner.parameters():
        if parameter.requires_grad:
            assert decay_of[id(parameter)] == (config.weight_decay if parameter.ndim > 1 else 0)


def test_images_are_turned_in_training_and_left_alone_in_validation(tuned: tuple[Model, Backbone]) -> None:
    _, backbone = tuned
    made = Made()
    inputs = ImageInputs(made, backbone, SIZE, 2)
    (read,) = [example for example in inputs.read(np.array([0, 3])) if len(example.rows) == 2]
    assert torch.equal(read.inputs[0][1].permute(1, 2, 0).byte(), torch.from_numpy(made.pixels[3]))
    order = training_plan(inputs, np.arange(len(made)), Training(batch=8), 0)
    examples = list(inputs.steps(order, range(6), 0, 1))
    turned = 0
    for example in examples:
        for row, pixels, mask_fraction in zip(example.rows, example.inputs[0], example.mask_fraction, strict=True):
            same = torch.equal(pixels.permute(1, 2, 0).byte(), torch.from_numpy(made.pixels[row]))
            turned += not same
            if row == 1:
                assert mask_fraction.isnan().all()
            else:
                # The mask was turned with its image: the brightest cells are the covered ones.
                bright = nn.functional.avg_pool2d((pixels[None] > 254).float().amin(1, keepdim=True), 16)[0, 0]
                assert torch.allclose(bright, mask_fraction, atol=0.02)
    assert turned > 0.7 * 48
