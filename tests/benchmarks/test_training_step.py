"""The benchmark of the training step: it runs without a GPU, keeps what one measured, claims nothing it has not."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"
RESULTS = FOLDER / "results"
HONEST = "not run; needs an NVIDIA GPU with bf16: python benchmarks/training_step.py"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The script as a module; its neighbours are imported by their bare names."""
    sys.path.insert(0, str(FOLDER))
    try:
        import training_step

        yield training_step
    finally:
        sys.path.remove(str(FOLDER))


def on_a_gpu(mode: str, batch: int, rate: float, status: str = "ok") -> dict[str, Any]:
    """A row as a GPU would leave it; its numbers are made up."""
    row = {"shape": "paper", "device": "a GPU", "date": "2026-01-02", "mode": mode, "batch": batch, "status": status}
    numbers = {"images_per_second": rate, "mfu": rate / 4000, "peak_gib": batch / 2}
    return row | (numbers if status == "ok" else {})


def measured(script: ModuleType) -> dict[str, Any]:
    """A results file with GPU rows and one of a processor."""
    rows = [
        on_a_gpu("eager", 64, 400.0),
        on_a_gpu("compile", 64, 800.0),
        on_a_gpu("eager", 128, 0, "out of memory"),
        {"shape": "tiny", "device": "old", "date": "2025-01-01", "mode": "compile", "batch": 4, "status": "failed: x"},
    ]
    of = {"shape": "paper", "device": "a GPU", "date": "2026-01-02", "status": "ok"}
    profiles = [of | {"mode": "eager", "batch": 64, "shares": {"matrix product": 0.75, "idle": 0.25}}]
    new = {"rows": rows, "ceilings": [of | {"bf16_tflops": 700.0}], "profiles": profiles, "flops": {}}
    return script.merged({}, new)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(FOLDER / "training_step.py"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tiny(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was in the file, and what a tiny run on the processor left in it: one mode runs, one cannot."""
    out = tmp_path_factory.mktemp("benchmark") / "training_step.json"
    before = measured(script)
    out.write_text(json.dumps(before), encoding="utf-8")
    done = run("--tiny", "--modes", "attention: cudnn", "eager", "--batches", "2", "--output", out)
    assert done.returncode == 0, done.stderr
    assert "GPU: measured" in done.stdout
    return before, json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_tiny_run_keeps_what_a_gpu_measured(tiny: tuple[dict[str, Any], dict[str, Any]]) -> None:
    before, after = tiny
    for part in ("rows", "ceilings", "profiles"):
        kept = [item for item in before[part] if item["shape"] == "paper"]
        assert [item for item in after[part] if item["shape"] == "paper"] == kept
        assert kept
    assert after["gpu"] == "measured"
    # Of the processor, only the new rows.
    assert [(row["mode"], row["batch"]) for row in after["rows"] if row["shape"] == "tiny"] == [
        ("attention: cudnn", 2),
        ("eager", 2),
    ]


@pytest.mark.slow
def test_a_tiny_run_gives_whole_rows(tiny: tuple[dict[str, Any], dict[str, Any]], script: ModuleType) -> None:
    failed, ran = (row for row in tiny[1]["rows"] if row["shape"] == "tiny")
    # No processor has such a kernel; the run went on after it.
    assert failed["status"].startswith("failed: RuntimeError: No viable backend")
    assert ran["status"] == "ok"
    assert ran["says"] == failed["says"] == script.TINY
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", ran["date"])
    assert ran["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert 0 < ran["milliseconds_fastest"] <= ran["milliseconds"] <= ran["milliseconds_slowest"]
    assert ran["images_per_second"] == pytest.approx(2000 / ran["milliseconds"])
    limit = next(item for item in tiny[1]["ceilings"] if item["shape"] == "tiny")
    flops = tiny[1]["flops"]["tiny"]["training_gflops_an_image"]
    share = flops * 1e9 * ran["images_per_second"] / (limit["bf16_tflops"] * 1e12)
    assert ran["mfu"] == pytest.approx(share)
    profile = next(item for item in tiny[1]["profiles"] if item["shape"] == "tiny")
    assert sum(profile["shares"].values()) == pytest.approx(1)
    assert {"matrix product", "convolution", "normalisation", "optimiser"} <= set(profile["shares"])


def test_mfu(script: ModuleType) -> None:
    # 100 GFLOP an image, 1,000 images a second: 100 of 400 TFLOP/s.
    assert script.mfu(100, 1000, 400) == pytest.approx(0.25)


@pytest.mark.slow
def test_flops_of_the_papers_step(script: ModuleType) -> None:
    found = script.flops("paper")
    # Gradients cost as much again for the weights and for the inputs, which the first layer has none of.
    assert 2.98 < found["training_gflops_an_image"] / found["forward_gflops_an_image"] < 3
    assert 20e6 < found["parameters"] < 22e6


@pytest.mark.parametrize("groups", [1, 8])
def test_flops_of_a_convolutions_gradients(script: ModuleType, groups: int) -> None:
    mapping = {torch.ops.aten.convolution_backward: script.convolution_backward}
    layer = torch.nn.Conv2d(8, 8, 3, padding=1, groups=groups, bias=False)
    image = torch.zeros(2, 8, 5, 5, requires_grad=True)
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        layer(image).sum().backward()
    forward = 2 * (2 * 8 * 5 * 5) * (8 // groups * 9)
    assert counter.get_total_flops() == 3 * forward


def test_shares_of_kernels_that_overlap_and_wait(script: ModuleType) -> None:
    import kernels

    recorded_kernels = [("cutlass_gemm", 0, 4), ("vectorized_elementwise_kernel", 3, 6), ("fused_adam", 8, 10)]
    found = kernels.shares(reversed(recorded_kernels))
    assert found == pytest.approx({"matrix product": 0.4, "elementwise": 0.2, "optimiser": 0.2, "idle": 0.2})
    assert kernels.shares([]) == {}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNT", "matrix product"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "matrix product"),
    ],
)
def test_kinds_of_kernels(script: ModuleType, name: str, kind: str) -> None:
    import kernels

    assert kernels.kind(name) == kind
