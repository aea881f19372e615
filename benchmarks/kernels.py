"""Where the time of a training step goes: shares by kind of kernel, from PyTorch's profiler."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

# The first kind one of whose words occurs in a kernel's name has it, in this order: a convolution computed as a matrix
# product is a convolution, and attention's own products are attention.
KINDS = {
    "optimiser": ("adam", "multi_tensor", "foreach", "::lerp", "::addc"),
    "attention": ("fmha", "flash", "attention", "sdpa", "softmax", "sdp"),
    "normalisation": ("batch_norm", "batchnorm", "bn_", "layer_norm", "layernorm", "gammabeta", "cub_norm"),
    "convolution": (
        "conv", "fprop", "dgrad", "wgrad", "cudnn", "im2col", "nchwtonhwc", "nhwctonchw", "depthwise", "mkldnn",
    ),
    "matrix product": ("gemm", "nvjet", "cutlass", "cublas", "gemv", "splitk", "::mm", "::bmm", "::addmm", "matmul"),
    "indexing": ("index", "gather", "scatter", "radix", "sort"),
    # The compiler fuses normalisation, sums and what lies between them into one kernel.
    "reductions, fused": ("triton_red", "triton_per"),
    "reductions": ("reduce", "::sum", "::mean"),
    "elementwise": (
        "elementwise", "triton_poi", "vectorized", "gelu", "copy", "memcpy", "memset", "fill", "catarray", "::add",
        "::mul", "::div", "::sub", "::normal", "randn", "distribution", "pow", "sqrt",
    ),
}  # fmt: skip
STEPS = 5


def kind(name: str) -> str:
    """Which kind of work a kernel, or on a processor an operator, does."""
    low = name.lower()
    return next((kind for kind, words in KINDS.items() if any(word in low for word in words)), "other")


def shares(kernels: Iterable[tuple[str, float, float]]) -> dict[str, float]:
    """Shares of the time from the first kernel's start to the last one's end; they and "idle" add up to one.

    Args:
        kernels: (name, start, end), any unit, in any order. Where kernels overlap, the earlier one has the time.
    """
    busy: dict[str, float] = {}
    ordered = sorted(kernels, key=lambda item: item[1])
    if not ordered:
        return {}
    first = free = ordered[0][1]
    for name, start, end in ordered:
        spent = max(0.0, end - max(start, free))
        busy[kind(name)] = busy.get(kind(name), 0.0) + spent
        free = max(free, end)
    total = free - first
    found = {name: value / total for name, value in sorted(busy.items(), key=lambda item: -item[1])}
    return found | {"idle": 1 - sum(busy.values()) / total}


def where_time_goes(step: Callable[[], Any], device: str, warm_up: int) -> dict[str, Any]:
    """Shares of time by kind, and the ten kernels that take longest, over a few steps.

    On a GPU the kernels' own times and the gaps between them; on a processor the operators' own times, without gaps.
    """
    for _ in range(warm_up + 1):
        step()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    if device == "cuda":
        torch.cuda.synchronize()
    with profile(activities=activities) as recorded:
        for _ in range(STEPS):
            step()
        if device == "cuda":
            torch.cuda.synchronize()
    if device == "cuda":
        kernels = [
            (event.name, event.time_range.start, event.time_range.end)
            for event in recorded.events()
            # Spans such as the optimiser's whole step lie over the kernels that they cover.
            if event.device_type == torch.autograd.DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
        ]
    else:
        # One after the other, as if there were one core: only the lengths count.
        kernels, free = [], 0.0
        for event in recorded.key_averages():
            kernels.append((event.key, free, free + event.self_cpu_time_total))
            free += event.self_cpu_time_total
    total = sum(end - start for _, start, end in kernels)
    if not total:
        raise RuntimeError("the profiler saw no kernel; on some machines it needs permission to read counters")
    by_name: dict[str, float] = {}
    for name, start, end in kernels:
        by_name[name] = by_name.get(name, 0.0) + end - start
    longest = sorted(by_name.items(), key=lambda item: -item[1])[:10]
    return {
        "steps": STEPS,
        "shares": shares(kernels),
        "longest": [{"kernel": name[:120], "kind": kind(name), "share": value / total} for name, value in longest],
    }
