"""A backbone that learns: which parts are trained, how fast, what is saved, and that training continues."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from edgezsad.config import Model, Profile, Training
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import load_detector, read_checkpoint
from edgezsad.scoring.torch_scorer import torch_scorers
from edgezsad.training.inputs import ImageInputs, training_plan
from edgezsad.training.losses import make_optimiser
from edgezsad.training.trainer import TrainableModel, train

SIZE = 64


# With batch statistics, and with attention whose biases are cached between calls.
@pytest.fixture(scope="module", params=["tf_efficientnet_lite0", "tiny_vit_5m_224"])
def model(request: pytest.FixtureRequest) -> Model:
    return Model(backbone=request.param, weights="random", size=SIZE, strides=(16, 32))


@pytest.fixture
def backbone(model: Model) -> Backbone:
    return Backbone(model.backbone, model.weights, model.strides)


@pytest.fixture
def inputs(planted: ModuleType, backbone: Backbone) -> ImageInputs:
    return ImageInputs(planted.Images(24), backbone, SIZE, 2)


@pytest.fixture
def profile(planted: ModuleType, model: Model, tmp_path: Path) -> Profile:
    training = {"steps": 4, "batch": 4, "warmup": 1, "tuned_stages": 2, "backbone_rate": 0.5, "save_every": 2}
    return planted.small_profile(tmp_path, **training).model_copy(update={"model": model})


@pytest.mark.slow
def test_the_last_stages_learn_are_saved_and_are_scored_with(
    profile: Profile, model: Model, backbone: Backbone, inputs: ImageInputs, tmp_path: Path
) -> None:
    before = backbone.sha256()
    paths = [train(profile, inputs, backbone, seed, tmp_path / str(seed)).checkpoint for seed in (0, 1)]
    # The next seed starts from the same backbone.
    assert backbone.sha256() == before
    checkpoint = read_checkpoint(paths[0])
    assert checkpoint.info.backbone_sha256 == before
    named = dict(backbone.named_parameters())
    last_two = {id(parameter) for stage in backbone.stages()[-2:] for parameter in stage.parameters()}
    assert {id(named[name]) for name in checkpoint.tuned} == last_two
    moved = [name for name, value in checkpoint.tuned.items() if not torch.equal(value, named[name])]
    assert len(moved) > 0.9 * len(checkpoint.tuned)
    # A loaded detector has a backbone of its own, with the tuned weights.
    detector, _ = load_detector(paths[0], backbone, expected=model)
    assert detector.backbone is not backbone
    pixels = inputs.images.pixels[1]
    first, second = (scorer.score(pixels)[0] for scorer in torch_scorers(paths, model))
    with torch.inference_mode():
        score, _ = detector(torch.from_numpy(pixels).permute(2, 0, 1)[None].float())
    assert first == pytest.approx(score.item(), abs=1e-5) and first != second


@pytest.mark.slow
def test_training_continues_to_the_bit(
    planted: ModuleType, profile: Profile, backbone: Backbone, inputs: ImageInputs, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(profile, planted.stopping(inputs, 3), backbone, 0, tmp_path / "cut")
    continued = train(profile, inputs, backbone, 0, tmp_path / "cut")
    whole = train(profile, inputs, backbone, 0, tmp_path / "whole")
    assert continued.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert continued.curve.equals(whole.curve)


def test_fixed_layers_stay_in_eval_mode(backbone: Backbone) -> None:
    learner = TrainableModel(nn.Identity(), backbone, tuned_stages=2).train()
    learning = {id(part) for stage in learner.stages for part in stage.modules()}
    for part in backbone.modules():
        fixed = isinstance(part, nn.modules.batchnorm._BatchNorm) or type(part).__name__ in ("DropPath", "Dropout")
        assert part.training == (id(part) in learning and not fixed)
    learner.eval()
    assert not any(part.training for part in learner.modules())


def test_rates_fall_stage_by_stage_towards_the_image(profile: Profile, backbone: Backbone) -> None:
    config = profile.training.model_copy(update={"tuned_stages": 3, "layer_decay": 0.5})
    learner = TrainableModel(nn.Linear(2, 2), backbone, tuned_stages=3)
    chosen = make_optimiser(learner.readout, learner.stages, config)
    group_of = {id(parameter): group for group in chosen.param_groups for parameter in group["params"]}
    full = group_of[id(learner.readout.weight)]["share"]
    for share, stage in zip((0.125, 0.25, 0.5), learner.stages, strict=True):
        assert {group_of[id(parameter)]["share"] / full for parameter in stage.parameters()} == {share}


def test_images_are_augmented_in_training_and_not_in_validation(planted: ModuleType, backbone: torch.nn.Module) -> None:
    inputs = ImageInputs(planted.Images(24), backbone, SIZE, 2)
    pixels = torch.from_numpy(inputs.images.pixels).permute(0, 3, 1, 2).float()
    (read,) = inputs.read(np.array([0, 3]))
    assert torch.equal(read.inputs[0], pixels[[0, 3]])
    plan, stride, changed = training_plan(inputs, np.arange(24), Training(batch=8), 0), backbone.strides[0], 0
    for example in inputs.steps(plan, range(6), 0, 1):
        for row, image, mask_fraction in zip(example.rows, example.inputs[0], example.mask_fraction, strict=True):
            changed += not torch.equal(image, pixels[row])
            # The mask is changed with its image: the brightest cells are the defective ones.
            bright = nn.functional.avg_pool2d((image[None] > 254).float().amin(1, keepdim=True), stride)[0, 0]
            assert mask_fraction.isnan().all() if row == 1 else torch.allclose(bright, mask_fraction, atol=0.02)
    assert changed > 0.7 * 48
