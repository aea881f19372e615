"""One measurement of a training step, in a process of its own: the last line on standard output is its answer as JSON.

    python benchmarks/one_step.py '{"job": "step", "shape": "tiny", "device": "cpu", "mode": "eager", "batch": 2}'

`training_step.py` starts it, once for each row: a full memory, a failed compilation or a lost device ends one row only.
Jobs: "step" times the step, "profile" says where its time goes, "ceiling" how fast the device multiplies matrices.
"""

import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from edgezsad.config import Model, Training, load_profile
from edgezsad.model.detector import Detector, build_detector
from edgezsad.training.losses import compute_loss

PAPER = Path(__file__).resolve().parents[1] / "configs" / "paper.yaml"
GIB = 2**30


@dataclass(frozen=True)
class Mode:
    """A way to run the same step: memory layout, compilation, which kernel does attention (None: PyTorch's choice)."""

    channels_last: bool = False
    compiled: bool = False
    attention: SDPBackend | None = None


MODES = {
    "eager": Mode(),
    "channels_last": Mode(channels_last=True),
    "compile": Mode(compiled=True),
    "compile, channels_last": Mode(channels_last=True, compiled=True),
    # What could be tried: the same eager step with attention done by one kernel or another.
    "attention: math": Mode(attention=SDPBackend.MATH),
    "attention: efficient": Mode(attention=SDPBackend.EFFICIENT_ATTENTION),
    "attention: cudnn": Mode(attention=SDPBackend.CUDNN_ATTENTION),
}


@dataclass(frozen=True)
class Timing:
    """How long is measured: steps before the clock starts, rounds, and steps in each round."""

    warm_up: int
    rounds: int
    steps: int


TIMINGS = {"paper": Timing(10, 5, 10), "tiny": Timing(1, 3, 2)}


def shape(name: str) -> tuple[Model, Training]:
    """The paper's model and recipe with random weights; "tiny" is a small relative of it for a processor."""
    profile = load_profile(PAPER)
    model = profile.model.model_copy(update={"weights": "random"})
    if name == "tiny":
        model = model.model_copy(update={"backbone": "tiny_vit_5m_224", "size": 64})
    return model, profile.training


def objective(outputs: dict[str, Tensor], label: Tensor, coverage: Tensor, config: Training) -> Tensor:
    """The loss, as training computes it: in FP32."""
    return compute_loss({name: value.float() for name, value in outputs.items()}, label, coverage, config).total


def synthetic(batch: int, model: Model, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (B, 3, S, S), 0..255, labels (B,), every other one defective, coverage (B, h, w); all on the device."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (batch, 3, model.size, model.size), generator=generator, dtype=torch.uint8)
    label = torch.arange(batch) % 2
    cells = model.size // model.strides[0]
    coverage = torch.zeros(batch, cells, cells)
    coverage[label == 1, : cells // 2, : cells // 2] = 0.5
    return pixels.to(device).float(), label.to(device), coverage.to(device)


def tuned(model: Model, device: str, mode: Mode) -> Detector:
    """The detector with everything trainable, backbone included."""
    torch.manual_seed(0)
    detector = build_detector(model).to(device)
    if mode.channels_last:
        detector = detector.to(memory_format=torch.channels_last)
    return detector.train().requires_grad_(True)


def step_of(name: str, device: str, mode: Mode, batch: int) -> Callable[[], Tensor]:
    """One whole training step, ready to be called; it gives the loss, still on the device."""
    model, training = shape(name)
    detector = tuned(model, device, mode)
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
        value = objective(outputs, label, coverage, training)
        value.backward()
        optimiser.step()
        return value.detach()

    return step


def timed(step: Callable[[], Tensor], device: str, timing: Timing) -> dict[str, Any]:
    """Milliseconds a step: the median of several rounds, and the fastest and slowest of them.

    The first call, where compilation happens, is timed apart. Memory is what tensors took at the most during one of
    the later steps (`peak_gib`), and what the process took from the device in all (`reserved_gib`).
    """
    first = _seconds(step, 1, device)
    for _ in range(timing.warm_up):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    rounds = [1000 * _seconds(step, timing.steps, device) / timing.steps for _ in range(timing.rounds)]
    value = step().item()
    if not math.isfinite(value):
        raise ArithmeticError(f"the loss is {value} after {timing.warm_up + timing.rounds * timing.steps + 2} steps")
    return {
        "milliseconds": statistics.median(rounds),
        "milliseconds_fastest": min(rounds),
        "milliseconds_slowest": max(rounds),
        "rounds": timing.rounds,
        "steps_a_round": timing.steps,
        "first_step_seconds": first,
        **_memory(device),
    }


def _seconds(step: Callable[[], Tensor], times: int, device: str) -> float:
    """Seconds for some steps in a row: by events on the GPU's own clock, or by the wall clock of a processor."""
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
    """The device's measured limits: bf16 matrix products, TFLOP/s, and copying, GB/s read and written together.

    The product of two square matrices of `side`, the best of several tries; a step cannot use more than that.
    """
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


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job; what goes wrong becomes a status in words."""
    device = job["device"]
    # Every batch has the same shape, so that trying each convolution's algorithms once is worth it.
    torch.backends.cudnn.benchmark = True
    try:
        if job["job"] == "ceiling":
            found = ceiling(device, job["side"], job["tries"])
        else:
            step = step_of(job["shape"], device, MODES[job["mode"]], job["batch"])
            if job["job"] == "profile":
                from kernels import where_time_goes

                found = where_time_goes(step, device, TIMINGS[job["shape"]].warm_up)
            else:
                found = timed(step, device, TIMINGS[job["shape"]])
    except Exception as error:
        # Whatever a device or a compiler may raise; the row says what it was.
        return {"status": reason(error)}
    return {"status": "ok", **found}


def reason(error: BaseException) -> str:
    """Why a row has no numbers, in one line that names no folder of the machine."""
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower():
        return "out of memory"
    words = [word if word.count("/") < 2 else "..." for word in text.split()]
    return f"failed: {type(error).__name__}: {' '.join(words)}"[:240]


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
