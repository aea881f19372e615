"""Costs agree with a hand computation, and with the paper's figure for its backbone."""

import pytest
import timm
import torch
from torch import nn

from edgezsad.export.cost import count_cost


def test_small_network_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    cost = count_cost(network, 16)
    convolution, product = 2 * 3 * 9 * 8 * 8 * 8, 2 * 8 * 5
    assert cost.parameters == pytest.approx((3 * 9 * 8 + 8 + 8 * 5 + 5) / 1e6)
    assert cost.gflops == pytest.approx((convolution + product) / 1e9)


@pytest.mark.slow
def test_paper_backbone() -> None:
    network = timm.create_model("tiny_vit_21m_512", features_only=True, pretrained=False).eval()
    cost = count_cost(network, 512)
    assert cost.gflops == pytest.approx(53.766, abs=0.001)
    assert cost.parameters == pytest.approx(20.69, abs=0.005)
    # Counting leaves the network as it was.
    assert not network.training and next(network.parameters()).device == torch.device("cpu")
