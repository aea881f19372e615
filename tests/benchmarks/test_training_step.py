"""Benchmark of the training step: it runs without a GPU, and results measured on one are kept."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("training_step")


@pytest.mark.slow
def test_a_tiny_run_keeps_results_of_a_gpu(benchmark: ModuleType, tmp_path: Path) -> None:
    gpu = {"shape": "paper", "device": "a GPU", "date": "2026-01-02", "mode": "eager", "batch": 64, "status": "ok"}
    old = gpu | {"shape": "tiny", "device": "old"}
    made = {"rows": [gpu, old], "ceilings": [gpu | {"bf16_tflops": 700.0}], "profiles": [gpu], "flops": {}}
    out = tmp_path / "out.json"
    out.write_text(json.dumps(benchmark.merged({}, made)), encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks" / "training_step.py"), "--tiny", "--output", str(out)]
    command += ["--modes", "attention: cudnn", "eager", "--batches", "2"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["gpu"] == "measured"
    assert all(made[part][0] in found[part] for part in ("rows", "ceilings", "profiles"))
    # A processor has no such kernel; the run continues.
    failed, ran = (row for row in found["rows"] if row["shape"] == "tiny")
    assert failed["status"].startswith("failed: RuntimeError: No viable backend")
    assert 0 < ran["milliseconds_fastest"] <= ran["milliseconds"] <= ran["milliseconds_slowest"]
    assert 0 < ran["mfu"] < 1


@pytest.mark.parametrize("groups", [1, 8])
def test_flops_of_a_convolutions_gradients(benchmark: ModuleType, groups: int) -> None:
    mapping = {torch.ops.aten.convolution_backward: benchmark.convolution_backward}
    layer = torch.nn.Conv2d(8, 8, 3, padding=1, groups=groups, bias=False)
    image = torch.zeros(2, 8, 5, 5, requires_grad=True)
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        layer(image).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * (2 * 8 * 5 * 5) * (8 // groups * 9)


def test_shares_of_kernels_that_overlap_and_wait(script: Callable[[str], ModuleType]) -> None:
    kernels = [("cutlass_gemm", 0, 4), ("vectorized_elementwise_kernel", 3, 6), ("fused_adam", 8, 10)]
    found = script("one_step").shares(reversed(kernels))
    assert found == pytest.approx({"matrix product": 0.4, "elementwise": 0.2, "optimiser": 0.2, "idle": 0.2})
