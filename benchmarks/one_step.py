"""One measurement of a training step in a process of its own; prints its result as a line of JSON.

    python benchmarks/one_step.py '{"job": "step", "shape": "tiny", "device": "cpu", "mode": "eager", "batch": 2}'

`training_step.py` starts it for each row: a full memory, a failed compilation or a lost device ends one row only.
Jobs: "step" times the step, "profile" measures where its time goes, "ceiling" how fast the device multiplies matrices.
"""

import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from edgezsad.config import Model, Training, load_profile
from edgezsad.model.detector import build_detector
from edgezsad.training.losses import compute_loss

PAPER = Path(__file__).resolve().parents[1] / "configs" / "paper.yaml"
GIB = 2**30


@dataclass(frozen=True)
class Mode:
    """A way to run the step: memory layout, compilation, attention kernel (None: PyTorch's choice)."""

    channels_last: bool = False
    compiled: bool = False
    attention: SDPBackend | None = None


MODES = {
    "eager": Mode(),
    "channels_last": Mode(channels_last=True),
    "compile": Mode(compiled=True),
    "compile, channels_last": Mode(channels_last=True, compiled=True),
    "attention: math": Mode(attention=SDPBackend.MATH),
    "attention: efficient": Mode(attention=SDPBackend.EFFICIENT_ATTENTION),
    "attention: cudnn": Mode(attention=SDPBackend.CUDNN_ATTENTION),
}


# Steps before the clock starts, rounds, and steps of each round.
TIMINGS = {"paper": (10, 5, 10), "tiny": (1, 3, 2)}
# Words in kernel names; the first match counts: a convolution computed as a matrix product is a convolution.
KINDS = {
    "optimiser": ("adam", "multi_tensor", "foreach", "::lerp", "::addc"),
    "attention": ("fmha", "flash", "attention", "sdpa", "softmax", "sdp"),
    "normalisation": ("batch_norm", "batchnorm", "bn_", "layer_norm", "layernorm", "gammabeta", "cub_norm"),
    "convolution": (
        "conv", "fprop", "dgrad", "wgrad", "cudnn", "im2col", "nchwtonhwc", "nhwctonchw", "depthwise", "mkldnn",
    ),
    "matrix product": ("gemm", "nvjet", "cutlass", "cublas", "gemv", "splitk", "::mm", "::bmm", "::addmm", "matmul"),
    "indexing": ("index", "gather", "scatter", "radix", "sort"),
    # The compiler fuses normalisation, sums and everything between them into one kernel.
    "reductions, fused": ("triton_red", "triton_per"),
    "reductions": ("reduce", "::sum", "::mean"),
    "elementwise": (
        "elementwise", "triton_poi", "vectorized", "gelu", "copy", "memcpy", "memset", "fill", "catarray", "::add",
        "::mul", "::div", "::sub", "::normal", "randn", "distribution", "pow", "sqrt",
    ),
}  # fmt: skip
PROFILED_STEPS = 5


def shape(name: str) -> tuple[Model, Training]:
    """Return the paper's model and recipe with random weights; "tiny" is a small model for a processor."""
    paper = load_profile(PAPER)
    model = paper.model.model_copy(update={"weights": "random"})
    if name == "tiny":
        model = model.model_copy(update={"backbone": "tiny_vit_5m_224", "size": 64})
    return model, paper.training


def synthetic(batch: int, model: Model, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return pixels (B, 3, S, S), 0..255, labels (B,) and defective fractions of cells (B, h, w) on the device."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (batch, 3, model.size, model.size), generator=generator, dtype=torch.uint8)
    label = torch.arange(batch) % 2
    cells = model.size // model.strides[0]
    coverage = torch.zeros(batch, cells, cells)
    coverage[label == 1, : cells // 2, : cells // 2] = 0.5
    return pixels.to(device).float(), label.to(device), coverage.to(device)


def step_of(name: str, device: str, mode: Mode, batch: int) -> Callable[[], Tensor]:
    """Return a function that runs one training step of all weights and returns the loss, on the device."""
    model, training = shape(name)
    torch.manual_seed(0)
    detector = build_detector(model).to(device)
    if mode.channels_last:
        detector = detector.to(memory_format=torch.channels_last)
    detector.train().requires_grad_(True)
    pixels, label, coverage = synthetic(batch, model, device)
    if mode.channels_last:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(
        detector.parameters(), lr=1e-4, weight_decay=training.weight_decay, fused=device == "cuda"
    )

    def forward(image: Tensor) -> dict[str, Tensor]:
        return detector.readout.training_outputs(detector.backbone(image))

    called = torch.compile(forward) if mode.compiled else forward

    def step() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        kernel = sdpa_kernel(mode.attention) if mode.attention else nullcontext()
        with torch.autocast(device, dtype=torch.bfloat16), kernel:
            outputs = called(pixels)
        outputs = {name: value.float() for name, value in outputs.items()}
        loss = compute_loss(outputs, label, coverage, training).total
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def timed(step: Callable[[], Tensor], device: str, warm_up: int, count: int, steps: int) -> dict[str, Any]:
    """Time a step: median, fastest and slowest round in milliseconds; the first call, which compiles, apart.

    `peak_gib` is the memory of tensors during the later steps, `reserved_gib` what the process took from the device.
    """
    first = _seconds(step, 1, device)
    for _ in range(warm_up):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    rounds = [1000 * _seconds(step, steps, device) / steps for _ in range(count)]
    value = step().item()
    if not math.isfinite(value):
        raise ArithmeticError(f"the loss is {value} after {warm_up + count * steps + 2} steps")
    return {
        "milliseconds": statistics.median(rounds),
        "milliseconds_fastest": min(rounds),
        "milliseconds_slowest": max(rounds),
        "rounds": count,
        "steps_a_round": steps,
        "first_step_seconds": first,
        **_memory(device),
    }


def _seconds(step: Callable[[], Tensor], times: int, device: str) -> float:
    """Time consecutive steps, by events of the GPU or by the wall clock of a processor."""
    if device != "cuda":
        begin = time.perf_counter()
        for _ in range(times):
            step()
        return time.perf_counter() - begin
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(times):
        step()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000


def _memory(device: str) -> dict[str, float]:
    if device == "cuda":
        return {
            "peak_gib": torch.cuda.max_memory_allocated() / GIB,
            "reserved_gib": torch.cuda.max_memory_reserved() / GIB,
        }
    # The whole process; macOS counts bytes, Linux kilobytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB}


def ceiling(device: str, side: int, tries: int) -> dict[str, Any]:
    """Measure the speed of bf16 products of two square matrices, TFLOP/s, and of copying, GB/s read and written."""
    one, other = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    out = torch.empty_like(one)
    size = 2**28 if device == "cuda" else 2**22
    source, target = torch.zeros(size, device=device), torch.empty(size, device=device)

    def best(call: Callable[[], Any]) -> float:
        _seconds(call, 3, device)
        return min(_seconds(call, 5, device) / 5 for _ in range(tries))

    return {
        "bf16_tflops": 2 * side**3 / best(lambda: torch.matmul(one, other, out=out)) / 1e12,
        "side": side,
        "tries": tries,
        "copy_gb_per_second": 2 * 4 * size / best(lambda: target.copy_(source)) / 1e9,
    }


def kind(name: str) -> str:
    """Return the kind of work of a kernel, or on a processor of an operator."""
    low = name.lower()
    return next((kind for kind, words in KINDS.items() if any(word in low for word in words)), "other")


def shares(kernels: Iterable[tuple[str, float, float]]) -> dict[str, float]:
    """Divide the time from the first start to the last end of (name, start, end) by kind; the rest is "idle".

    Time of overlap counts for the earlier kernel.
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
    """Profile a few steps; return the shares of time by kind of kernel, on a processor without idle time."""
    for _ in range(warm_up + 1):
        step()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    if device == "cuda":
        torch.cuda.synchronize()
    with profile(activities=activities) as recorded:
        for _ in range(PROFILED_STEPS):
            step()
        if device == "cuda":
            torch.cuda.synchronize()
    if device == "cuda":
        kernels = [
            (event.name, event.time_range.start, event.time_range.end)
            for event in recorded.events()
            # Annotations such as the optimiser's step cover kernels.
            if event.device_type == torch.autograd.DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
        ]
    else:
        # As if on one core: only the lengths count.
        kernels, free = [], 0.0
        for event in recorded.key_averages():
            kernels.append((event.key, free, free + event.self_cpu_time_total))
            free += event.self_cpu_time_total
    if not any(end > start for _, start, end in kernels):
        raise RuntimeError("the profiler recorded no kernel; it may need permission to read counters")
    return {"steps": PROFILED_STEPS, "shares": shares(kernels)}


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job; an error becomes the status."""
    device = job["device"]
    # All batches have one shape: cuDNN tries its convolution algorithms once.
    torch.backends.cudnn.benchmark = True
    try:
        if job["job"] == "ceiling":
            found = ceiling(device, job["side"], job["tries"])
        else:
            step = step_of(job["shape"], device, MODES[job["mode"]], job["batch"])
            if job["job"] == "profile":
                found = where_time_goes(step, device, TIMINGS[job["shape"]][0])
            else:
                found = timed(step, device, *TIMINGS[job["shape"]])
    except Exception as error:
        # A device or a compiler may raise anything.
        return {"status": reason(error)}
    return {"status": "ok", **found}


def reason(error: BaseException) -> str:
    """Describe an error in one line, without folders of the machine."""
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower():
        return "out of memory"
    words = [word if word.count("/") < 2 else "..." for word in text.split()]
    return f"failed: {type(error).__name__}: {' '.join(words)}"[:240]


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
