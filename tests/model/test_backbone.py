"""Backbones: packaged weights land where they belong, and whatever cannot be had is said in one line."""

import copy
from pathlib import Path

import huggingface_hub.constants
import pytest
import skimage.data
import timm
import torch

from edgezsad.data.images import prepare
from edgezsad.errors import InputError
from edgezsad.model.backbone import Backbone, packaged_weights

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return Backbone(LITE0, "package", (32, 8, 16))


def photograph(name: str) -> torch.Tensor:
    """The middle square of one of scikit-image's photographs, (1, 3, 224, 224), 0..255."""
    image = getattr(skimage.data, name)()
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = prepare(image[top : top + side, left : left + side], 224)
    return torch.from_numpy(square).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize(
    ("name", "classes", "sure"),
    [("chelsea", [281, 282, 285], 0.8), ("coffee", [967], 0.9), ("rocket", [657], 0.2)],
    ids=["a cat: tabby, tiger or Egyptian", "espresso", "missile"],
)
@torch.inference_mode()
def test_packaged_weights_know_what_is_on_a_photograph(
    lite0: Backbone, name: str, classes: list[int], sure: float
) -> None:
    # Only a right mapping recognises a photograph; a permuted one gives one of 1000 classes by chance.
    classifier = timm.create_model(LITE0, pretrained=False).eval()
    classifier.load_state_dict(packaged_weights(LITE0), strict=True)
    share = classifier((photograph(name) - lite0.mean) / lite0.std).softmax(dim=1)[0]
    assert int(share.argmax()) in classes
    assert share[classes].sum() > sure


@torch.inference_mode()
def test_feature_maps_are_those_of_the_whole_network(lite0: Backbone) -> None:
    classifier = timm.create_model(LITE0, pretrained=False).eval()
    classifier.load_state_dict(packaged_weights(LITE0), strict=True)
    image = photograph("coffee")
    maps = lite0(image)
    assert lite0.strides == (8, 16, 32)
    assert [tuple(each.shape) for each in maps] == [
        (1, channels, 224 // stride, 224 // stride)
        for channels, stride in zip(lite0.channels, lite0.strides, strict=True)
    ]
    normalised = (image - lite0.mean) / lite0.std
    tapped = classifier.forward_intermediates(normalised, indices=[2, 3, 4], intermediates_only=True)
    for ours, theirs in zip(maps, tapped, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_backbone_starts_in_eval_mode_and_its_hash_follows_its_weights(lite0: Backbone) -> None:
    assert not any(part.training for part in lite0.modules())
    before = lite0.sha256()
    other = copy.deepcopy(lite0)
    assert other.sha256() == before
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-3
    assert other.sha256() != before


def test_unknown_backbone_gives_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"model\.backbone: timm has no 'tiny_vit_21_512'; did you mean 'tiny_vit_21m_5"
    ):
        Backbone("tiny_vit_21_512", "random", (16, 32))


def test_missing_strides_are_named_with_those_there_are() -> None:
    words = r"model\.strides: tiny_vit_5m_224 has no feature maps at strides \(2, 16\), only \(4, 8, 16, 32\)"
    with pytest.raises(InputError, match=words):
        Backbone("tiny_vit_5m_224", "random", (16, 2))


def test_hub_weights_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Offline and with an empty cache.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError) as caught:
        Backbone(LITE0, "hub", (8, 16))
    assert str(caught.value).startswith(f"model.weights: the hub weights of {LITE0} are not available (")


def test_random_weights_are_the_same_every_time_and_leave_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    first, after = Backbone("tiny_vit_5m_224", "random", (16, 32)).sha256(), torch.rand(1)
    torch.manual_seed(4)
    assert Backbone("tiny_vit_5m_224", "random", (16, 32)).sha256() == first
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after)
