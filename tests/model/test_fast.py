"""The fast copy of a backbone gives the same features, and leaves the backbone alone."""

import copy
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgezsad.config import Readout
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import Detector
from edgezsad.model.fast import AGREEMENT, difference, fast_copy
from edgezsad.model.readout import EdgeGLR
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.torch_scorer import TorchScorer

LITE0, TINY = "tf_efficientnet_lite0", "tiny_vit_5m_224"


def shaken(model: nn.Module) -> nn.Module:
    """Normalisations and attention biases with other values than those they start with, which hide a wrong folding."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.3, generator=generator)
                part.running_var.uniform_(0.3, 2, generator=generator)
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.normal_(0, 0.3, generator=generator)
            if hasattr(part, "attention_biases"):
                part.attention_biases.normal_(0, 1, generator=generator)
    return model


def make(name: str) -> Backbone:
    torch.manual_seed(0)
    return shaken(Backbone(name, "random", (8, 16, 32)))


@pytest.fixture(scope="module", params=[LITE0, TINY])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return make(request.param)


@pytest.mark.parametrize("side", [32, 96, 224])
@torch.inference_mode()
def test_features_are_the_same(backbone: Backbone, side: int) -> None:
    # At 224 the last windows of TinyViT are whole; at 32 and 96 they are padded.
    fast = fast_copy(backbone)
    assert fast is not backbone
    image = torch.rand(2, 3, side, side) * 255
    for found, wanted in zip(fast(image), backbone(image), strict=True):
        assert found.shape == wanted.shape
        assert found.dtype == torch.float32
        assert difference(found, wanted) <= AGREEMENT


def test_every_normalisation_is_folded(backbone: Backbone) -> None:
    count = sum(isinstance(part, nn.BatchNorm2d) for part in backbone.modules())
    assert count > 10
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fast_copy(backbone).modules())


def test_the_backbone_stays_as_it_was(backbone: Backbone) -> None:
    before, sha256 = copy.deepcopy(backbone), backbone.sha256()
    structure = str(backbone)
    fast_copy(backbone)
    assert backbone.sha256() == sha256
    assert str(backbone) == structure
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(backbone(image), before(image), strict=True))
    # Nothing is left on it that would keep it from training or export.
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in backbone.modules())
    sum(each.sum() for each in copy.deepcopy(backbone).train()(image)).backward()


def test_export_takes_the_plain_backbone_afterwards(tmp_path: Path) -> None:
    backbone = make(LITE0)
    detector = Detector(backbone, EdgeGLR(backbone.channels, backbone.strides, Readout()), 64)
    scorer = TorchScorer(detector)
    image = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8).numpy()
    score, _ = scorer.score(image)
    exported, _ = OnnxScorer(export_onnx(detector, tmp_path / "a.onnx", 64)).score(image)
    assert exported == pytest.approx(score, abs=1e-4)


@torch.inference_mode()
def test_attention_takes_the_fused_kernel() -> None:
    plain = make(TINY)
    image = torch.rand(1, 3, 64, 64) * 255

    def kernels(model: nn.Module) -> set[str]:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
            model(image)
        return {event.key for event in found.key_averages() if "scaled_dot_product" in event.key}

    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in kernels(fast_copy(plain))
    # When this fails, PyTorch or timm has mended it, and the four axes are no longer needed.
    assert "aten::_scaled_dot_product_attention_math" in kernels(plain)


@torch.inference_mode()
def test_weights_loaded_after_a_pass_are_those_that_count() -> None:
    backbone = make(TINY)
    image = torch.rand(1, 3, 64, 64) * 255
    backbone(image)
    other = {
        name: tensor * 2 if name.endswith("attention_biases") else tensor
        for name, tensor in backbone.state_dict().items()
    }
    fresh = copy.deepcopy(backbone).train().eval()
    fresh.load_state_dict(other)
    backbone.load_state_dict(other)
    for found, wanted in zip(fast_copy(backbone)(image), fresh(image), strict=True):
        assert difference(found, wanted) <= AGREEMENT


def test_scores_are_those_of_the_plain_detector(backbone: Backbone) -> None:
    readout = EdgeGLR(backbone.channels, backbone.strides, Readout())
    detector = Detector(backbone, readout, 64)
    sha256 = detector.sha256()
    image = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        wanted, wanted_map = detector(image.permute(2, 0, 1)[None].float())
    scorer = TorchScorer(detector)
    score, anomaly_map = scorer.score(image.numpy())
    assert score == pytest.approx(wanted.item(), abs=1e-4)
    assert torch.allclose(torch.from_numpy(anomaly_map), wanted_map[0, 0], atol=1e-4)
    assert scorer.detector_sha256 == detector.sha256() == sha256


class Used(nn.Module):
    """A convolution whose output goes to its normalisation and past it."""

    name = "used"

    def __init__(self, refuses: bool = False):
        super().__init__()
        self.conv, self.norm, self.refuses = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), refuses
        shaken(self).eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        if self.refuses and image.shape[-1] != 32:
            raise AssertionError("takes 32 x 32 alone")
        made = self.conv(image)
        return [made + self.norm(made)]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Used(), r"used: its features would differ by .* of their largest value"),
        (Used(refuses=True), "used: takes 32 x 32 alone"),
        (Used().to("meta"), "used is not on the CPU"),
    ],
    ids=["used elsewhere", "refuses", "device"],
)
def test_what_cannot_be_made_fast_is_left_and_told(model: nn.Module, reason: str) -> None:
    with pytest.warns(UserWarning, match=f"the plain backbone is used, which is slower: {reason}"):
        assert fast_copy(model) is model


def test_no_warning_where_nothing_is_wrong(backbone: Backbone) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fast_copy(backbone)


def test_the_package_sets_what_pytorch_reads_and_obeys_the_user() -> None:
    show = "import os, edgezsad; print(os.environ['OMP_WAIT_POLICY'], os.environ['THP_MEM_ALLOC_ENABLE'])"

    def shown(environment: dict[str, str]) -> list[str]:
        command = [sys.executable, "-c", show]
        found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return found.stdout.split()

    plain = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "THP_MEM_ALLOC_ENABLE")}
    assert shown(plain) == ["PASSIVE", "1"]
    assert shown(plain | {"OMP_WAIT_POLICY": "ACTIVE", "THP_MEM_ALLOC_ENABLE": "0"}) == ["ACTIVE", "0"]
