"""A frozen backbone made as fast as PyTorch can be on a CPU, for features and scores; never for training or export.

It is a copy: the backbone it was made from keeps its weights, its hash and its gradients. Three things differ, and none
of them moves a feature by more than rounding does: each batch normalisation becomes part of the convolution before it,
weights and images are laid out with their channels last, and TinyViT's attention takes PyTorch's fused kernel.
`benchmarks/forward.py` says what each of them is worth.
"""

import copy
import warnings

import torch
from timm.models.tiny_vit import Attention
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

AGREEMENT = 1e-4
"""Largest difference from the plain backbone, as a share of a map's largest value; float16 rounds to 5e-4."""
PROBE = 64
"""Side of the image on which both are compared, in pixels; small, so that a single photograph pays little for it."""


@torch.no_grad()
def fast_copy(backbone: nn.Module) -> nn.Module:
    """A copy of `backbone` that gives the same features in less time.

    Args:
        backbone: frozen, in eval mode, on the CPU; takes (B, 3, H, W) and gives a list of feature maps. Not changed.

    Returns:
        the copy, compared with `backbone` on one image; or, with a warning that says why, `backbone` itself where they
        disagree, where it is on another device, or where it does not take a small image.
    """
    name = getattr(backbone, "name", type(backbone).__name__)
    if any(parameter.device.type != "cpu" for parameter in backbone.parameters()):
        return _as_it_is(backbone, f"{name} is not on the CPU")
    fast = copy.deepcopy(backbone)
    for module in fast.modules():
        # It may be of weights that were there before (see `reset_attention_bias_cache`).
        if isinstance(module, Attention):
            module.attention_bias_cache = {}
    image = torch.rand(1, 3, PROBE, PROBE, generator=torch.Generator().manual_seed(0)) * 255
    try:
        wanted = fold_batch_norms(fast, image)
        give_attention_four_axes(fast)
        fast = fast.to(memory_format=torch.channels_last)
        found = fast(image)
    # A backbone may refuse the small image in any way: AssertionError, RuntimeError, ValueError, ...
    except Exception as error:
        return _as_it_is(backbone, f"{name}: {' '.join(str(error).split())[:120]}")
    apart = max(difference(a, b) for a, b in zip(found, wanted, strict=True))
    if not apart <= AGREEMENT:
        return _as_it_is(backbone, f"{name}: its features would differ by {apart:.1g} of their largest value")
    return fast


def difference(found: Tensor, wanted: Tensor) -> float:
    """Largest difference of two feature maps, as a share of the largest value of `wanted`."""
    return ((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12)).item()


@torch.no_grad()
def fold_batch_norms(model: nn.Module, image: Tensor) -> list[Tensor]:
    """Put each normalisation into the convolution before it, in place; what timm's one does beside (activation) stays.

    Args:
        model: in eval mode.
        image: any that the model takes; one pass over it shows which normalisation takes which convolution's output.

    Returns:
        what the model gave for the image before the change.
    """
    pairs, given = _watch(model, image)
    for conv_name, norm_name in pairs:
        conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        rest = [part for part in norm.children() if not isinstance(part, nn.Identity)]
        model.set_submodule(norm_name, nn.Sequential(*rest))
    return given


def _watch(model: nn.Module, image: Tensor) -> tuple[list[tuple[str, str]], list[Tensor]]:
    """Names of convolutions, each with the batch normalisation that takes its output; and the model's own output.

    Watching a pass works for every backbone, whatever it calls its parts and in whichever order it uses them.
    """
    made: dict[int, tuple[str, Tensor]] = {}
    pairs: list[tuple[str, str]] = []

    def convolved(name: str, output: Tensor) -> None:
        # The tensor is kept, so that no other one can have its id during the pass.
        made[id(output)] = (name, output)

    def normalising(name: str, given: Tensor) -> None:
        if id(given) in made:
            pairs.append((made[id(given)][0], name))

    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(lambda _, given, output, name=name: convolved(name, output)))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(lambda _, given, name=name: normalising(name, given[0])))
    try:
        given = model(image)
    finally:
        for hook in hooks:
            hook.remove()
    # A module that is used twice cannot be one with two neighbours.
    single = [
        (conv, norm)
        for conv, norm in pairs
        if sum(conv == other for other, _ in pairs) == sum(norm == other for _, other in pairs) == 1
    ]
    return single, given


def give_attention_four_axes(model: nn.Module) -> None:
    """Let TinyViT's attention use the fused kernel, in place.

    timm hands its biases over as (heads, N, N). PyTorch's fused CPU kernel takes a mask of two or four axes alone; for
    three, attention falls back to one step after another, each through a matrix of heads x N x N.
    """
    for module in model.modules():
        if isinstance(module, Attention):
            biases = module.get_attention_biases(module.attention_biases.device).detach().clone()
            biases = biases[None] if biases.dim() == 3 else biases
            module.get_attention_biases = lambda device, biases=biases: biases


def _as_it_is(backbone: nn.Module, reason: str) -> nn.Module:
    warnings.warn(f"the plain backbone is used, which is slower: {reason}", stacklevel=3)
    return backbone
