"""EdgeGLR: the map only corrects the global score, by a bounded amount that starts at zero."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from edgezsad.config import EdgeGLRConfig, Profile
from edgezsad.model.detector import build_readout
from edgezsad.model.edgeglr import CentredFeatures, EdgeGLR, Output, rotate180

CHANNELS, STRIDES = (5, 7, 9), (8, 16, 32)


def readout(seed: int = 0, **config: float) -> EdgeGLR:
    torch.manual_seed(seed)
    return build_readout(CHANNELS, STRIDES, EdgeGLRConfig(**config), 64).eval()


def features(seed: int = 1, images: int = 3, size: int = 64, scale: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        scale * torch.randn(images, channels, size // stride, size // stride, generator=generator)
        for channels, stride in zip(CHANNELS, STRIDES, strict=True)
    ]


def forward(module: EdgeGLR, maps: list[torch.Tensor]) -> Output:
    with torch.inference_mode():
        return module(maps)


def test_training_starts_from_the_global_score_alone() -> None:
    module = readout()
    output = forward(module, features())
    assert torch.equal(output.score, output.global_score)
    assert (output.correction == 0).all()
    assert output.global_score.std() > 0
    # Zero must not be a dead end: the gain has a gradient.
    outputs = module.training_outputs(features())
    (outputs["score"] * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert module.gain.grad.abs() > 1e-4
    assert module.global_head.weight.grad.abs().max() > 0


def test_correction_compares_the_hot_part_of_the_map_with_the_rest_of_the_image() -> None:
    module = readout(correction_limit=2.5)
    with torch.no_grad():
        module.gain.fill_(0.3)
        module.offset.fill_(-0.7)
    output = forward(module, features())
    for row in range(3):
        logits = output.map[row].numpy().astype(np.float64).ravel()
        share = np.exp(0.5 * (logits - logits.max()))
        hot = (logits * share).sum() / share.sum() - logits.mean()
        level = 1 + np.abs(logits - logits.mean()).mean()
        assert float(output.correction[row]) == pytest.approx(2.5 * np.tanh(0.3 * (hot / level - 0.7)), abs=1e-5)
    torch.testing.assert_close(output.score, output.global_score + output.correction)


@given(
    gain=st.floats(-(2.0**66), 2.0**66, width=32),
    offset=st.floats(-(2.0**50), 2.0**50, width=32),
    limit=st.floats(0.01, 20),
    scale=st.sampled_from([0.0, 1.0, 1e4]),
    seed=st.integers(0, 5),
)
def test_correction_is_bounded(gain: float, offset: float, limit: float, scale: float, seed: int) -> None:
    module = readout(seed, correction_limit=limit)
    with torch.no_grad():
        module.gain.fill_(gain)
        module.offset.fill_(offset)
    output = forward(module, features(seed, scale=scale))
    assert output.correction.isfinite().all()
    assert (output.correction.abs() <= limit * (1 + 1e-6)).all()


def test_the_score_does_not_depend_on_the_level_of_the_map() -> None:
    module = readout()
    with torch.no_grad():
        module.gain.fill_(0.3)
        before = forward(module, features())
        module.spatial_head.branches[0].out.bias.add_(5)
    after = forward(module, features())
    torch.testing.assert_close(after.map, before.map + 5)
    torch.testing.assert_close(after.score, before.score)


def test_the_global_head_does_not_train_the_spatial_head() -> None:
    module = readout()
    module.training_outputs(features())["global_score"].sum().backward()
    assert module.global_head.weight.grad.abs().max() > 0
    assert all(one.grad is None or not one.grad.any() for one in module.spatial_head.parameters())


def test_noise_is_added_in_training_mode_only() -> None:
    module = readout(noise=0.5)
    clean = forward(module, features())
    module.set_noise(torch.ones_like)
    assert torch.equal(forward(module, features()).score, clean.score)
    noisy = module.train().difference[0](features()[0])
    torch.testing.assert_close(noisy, module.eval().difference[0](features()[0]) + 0.5)


def test_centred_features_use_the_image_mean_and_the_source_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(10, 3, 4, 4, generator=generator) * torch.tensor([1.0, 20.0, 0.0]).view(1, 3, 1, 1) + 7
    module = CentredFeatures(3)
    own = maps - maps.mean((2, 3), keepdim=True)
    torch.testing.assert_close(module(maps), own)
    module.fit(torch.tensor([2.0, 20.0, 0.0]))
    # A channel without variance is not amplified.
    torch.testing.assert_close(module(maps), own / torch.tensor([2.0, 20.0, 1.0]).view(1, 3, 1, 1))
    torch.testing.assert_close(module(maps + 100), module(maps), atol=1e-4, rtol=1e-4)
    assert set(module.state_dict()) == {"scale"}


def test_the_papers_readout_costs_at_most_nine_mflops() -> None:
    config = Profile.model_fields["paper_graph"].default.readout
    assert config.local_channels == 4
    module = build_readout((384, 576), (16, 32), config, 512).eval()
    maps = [torch.zeros(1, 384, 32, 32), torch.zeros(1, 576, 16, 16)]
    with FlopCounterMode(display=False) as counter:
        module(maps)
    by_hand = 2 * (
        # Each stride: two projections, then the output; the coarse one's output has 2 x 2 channels.
        32 * 32 * (2 * 384 * 4 + 4 * 1) + 16 * 16 * (2 * 576 * 4 + 4 * 4)
        # The global head.
        + 2 * 4
    )  # fmt: skip
    assert counter.get_total_flops() == by_hand <= 9e6


def test_the_map_of_two_views_is_their_average_and_rotates_with_the_image() -> None:
    module = readout()
    first, second = features(1), features(2)
    with torch.inference_mode():
        both = module(first, second).map
        swapped = module(second, first).map
        torch.testing.assert_close(both, (module(first).map + rotate180(module(second).map)) / 2)
    torch.testing.assert_close(swapped, rotate180(both))
    assert torch.equal(rotate180(first[0]), first[0].flip(2, 3))
