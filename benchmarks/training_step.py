"""Speed of the paper's training step on a GPU: `python benchmarks/training_step.py`.

On a machine with an NVIDIA GPU that computes in bf16, with a checkout and these packages:

    pip install "torch>=2.11" timm torchvision numpy pydantic pyyaml safetensors tqdm
    PYTHONPATH=. python benchmarks/training_step.py

The step: forward under bf16 autocast, the recipe's loss, backward, AdamW, on TinyViT-21M at 512 x 512 with all weights
trainable; pixels are random and in memory. Each row is a process (`one_step.py`). MFU is the model's FLOPs an image
times images a second, divided by the measured speed of bf16 matrix products on the same device.

Without a GPU, or with --tiny, a small model runs on the processor, which only shows that the script works. Rows of a
GPU stay in benchmarks/results/training_step.json until they are measured again.
"""

import argparse
import json
import math
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from one_step import MODES, PAPER, shape
from recording import RESULTS, run_script, save
from torch.utils.flop_counter import FlopCounterMode

from edgezsad.config import load_profile
from edgezsad.files import progress, read_json, versions
from edgezsad.model.detector import build_detector

HERE = Path(__file__).resolve().parent
COMMAND = "python benchmarks/training_step.py"
NOT_RUN = f"not run; needs an NVIDIA GPU with bf16: {COMMAND}"
TINY = "small model on a processor: shows that the script runs, not the speed of a GPU"
GOAL = 0.3
PACKAGES = ("torch", "timm", "numpy")
BATCHES = {"paper": (16, 32, 64, 128), "tiny": (4,)}
COMPARED = ("eager", "channels_last", "compile", "compile, channels_last")
TRIED = tuple(name for name in MODES if name not in COMPARED)
# Attention kernels are compared at the recipe's batch, and not on a processor, which lacks them.
TRIED_AT = 64
PLANS = {
    "paper": [(mode, batch) for mode in COMPARED for batch in BATCHES["paper"]] + [(mode, TRIED_AT) for mode in TRIED],
    "tiny": [(mode, batch) for mode in COMPARED[:3] for batch in BATCHES["tiny"]],
}
CEILINGS = {"paper": {"side": 8192, "tries": 5}, "tiny": {"side": 512, "tries": 3}}
# Compilation for a GPU takes minutes.
LIMIT_SECONDS = 1800


def convolution_backward(grad_out: Any, inputs: Any, weight: Any, *rest: Any, out_shape: Any = None, **_: Any) -> int:
    """Count the FLOPs of a convolution's gradients: those of the forward pass for each gradient that is needed.

    PyTorch's formula ignores groups in the weight's gradient and overcounts the depthwise convolutions of TinyViT
    hundreds of times. Arguments are shapes; the last of `rest` says which gradients are needed.
    """
    wanted = rest[-1]
    return 2 * math.prod(grad_out) * math.prod(weight[1:]) * sum(bool(item) for item in wanted[:2])


def flops(name: str) -> dict[str, Any]:
    """Count FLOPs an image, forward and for training; a multiplication and an addition are two.

    Counted at batch 2 on the meta device: matrix products, convolutions and attention, not elementwise work.
    """
    model, _ = shape(name)
    corrected = {torch.ops.aten.convolution_backward: convolution_backward}
    with torch.device("meta"):
        detector = build_detector(model).train().requires_grad_(True)
        pixels = torch.empty(2, 3, model.size, model.size)
        with FlopCounterMode(display=False, custom_mapping=corrected) as counter:
            output = detector.readout(detector.backbone(pixels))
            forward = counter.get_total_flops()
            (output.score.sum() + output.map.sum()).backward()
    return {
        "backbone": model.backbone,
        "size": model.size,
        "parameters": sum(item.numel() for item in detector.parameters()),
        "forward_gflops_an_image": forward / 2 / 1e9,
        "training_gflops_an_image": counter.get_total_flops() / 2 / 1e9,
        "counted": "torch.utils.flop_counter on the meta device, batch 2, forward and backward; grouped convolutions' "
        "gradients counted here, since PyTorch's counter leaves groups out",
    }


def in_a_process(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job of `one_step` in a new process, whose failure does not end the run."""
    command = [sys.executable, str(HERE / "one_step.py"), json.dumps(job)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"status": f"failed: took longer than {LIMIT_SECONDS} s"}
    if done.returncode < 0:
        return {"status": f"failed: the process was ended by signal {-done.returncode} (out of memory?)"}
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return {"status": f"failed: {(done.stderr.strip().splitlines() or ['no answer'])[-1][:200]}"}


def gpu() -> str | None:
    """Return the name of a GPU that computes in bf16, None without one."""
    if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.cuda.get_device_name()
    return None


def processor() -> str:
    """Return the processor's name."""
    # A GPU machine need not have ONNX Runtime, which this module imports.
    from edgezsad.scoring.onnx_scorer import cpu_name

    return cpu_name()


def measure(name: str, device: str, title: str, plan: list[tuple[str, int]]) -> dict[str, Any]:
    """Measure a plan (modes and batches) on one device, its ceiling, and profiles of the best steps."""
    of = {
        "shape": name,
        "device": title,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(*PACKAGES) | ({"cuda": torch.version.cuda} if device == "cuda" else {}),
        **({"says": TINY} if name == "tiny" else {}),
    }
    job = {"shape": name, "device": device}
    limit = in_a_process(job | {"job": "ceiling"} | CEILINGS[name])
    counted = flops(name)
    rows = []
    for mode, batch in progress(plan, "training step", unit="row"):
        found = in_a_process(job | {"job": "step", "mode": mode, "batch": batch})
        if found["status"] == "ok":
            rate = found["images_per_second"] = 1000 * batch / found["milliseconds"]
            tflops = counted["training_gflops_an_image"] * rate / 1000
            found["mfu"] = tflops / limit["bf16_tflops"] if limit["status"] == "ok" else None
        rows.append(of | {"mode": mode, "batch": batch} | found)
    done = [row for row in rows if row["status"] == "ok"]
    groups = done, [row for row in done if row["mode"] == "eager"]
    fastest = [max(group, key=lambda row: row["images_per_second"]) for group in groups if group]
    profiles = []
    for mode, batch in dict.fromkeys((row["mode"], row["batch"]) for row in fastest):
        chosen = {"mode": mode, "batch": batch}
        profiles.append(of | chosen | in_a_process(job | {"job": "profile"} | chosen))
    return {"flops": {name: counted}, "ceilings": [of | limit], "rows": rows, "profiles": profiles}


def merged(earlier: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Merge results: new rows replace those of the same device, shape, mode and batch; all tiny rows are replaced."""
    paper = load_profile(PAPER)
    tiny = any(item["shape"] == "tiny" for item in new["rows"])
    parts: dict[str, Any] = {}
    for part, keys in (("ceilings", ()), ("rows", ("mode", "batch")), ("profiles", ("mode", "batch"))):
        replaced = {tuple(item[key] for key in ("device", "shape", *keys)) for item in new[part]}
        kept = [
            item
            for item in earlier.get(part, [])
            if tuple(item[key] for key in ("device", "shape", *keys)) not in replaced
            and not (tiny and item["shape"] == "tiny")
        ]
        parts[part] = sorted([*kept, *new[part]], key=lambda item: item["shape"])
    measured = any(row["shape"] == "paper" for row in parts["rows"])
    return {
        "what": "one training step, pixels in memory: forward under bf16 autocast, loss, backward, AdamW; all tuned",
        "command": COMMAND,
        "goal": {"mfu": GOAL},
        "gpu": "measured" if measured else NOT_RUN,
        "plan": [{"mode": mode, "batches": [b for m, b in PLANS["paper"] if m == mode]} for mode in MODES],
        "cost": {"seeds": len(paper.seeds), "steps": paper.training.steps},
        "flops": {"paper": flops("paper")} | earlier.get("flops", {}) | new["flops"],
        **parts,
    }


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="a small model on the processor, even where there is a GPU")
    parser.add_argument("--modes", nargs="+", choices=MODES, help="instead of the plan's")
    parser.add_argument("--batches", nargs="+", type=int, help="batch sizes instead of the plan's, each at least 2")
    parser.add_argument("--output", type=Path, default=RESULTS / "training_step.json")
    options = parser.parse_args()
    earlier = read_json(options.output, "delete it and measure again") if options.output.exists() else {}
    name = gpu()
    tiny = options.tiny or name is None
    if tiny and not options.tiny:
        print("no NVIDIA GPU with bf16 here: the tiny shape on the processor", file=sys.stderr)
    plan = PLANS["tiny" if tiny else "paper"]
    if options.modes or options.batches:
        modes, batches = (list(dict.fromkeys(column)) for column in zip(*plan, strict=True))
        plan = [(mode, batch) for mode in options.modes or modes for batch in options.batches or batches]
    new = measure("tiny", "cpu", processor(), plan) if tiny else measure("paper", "cuda", name, plan)
    result = merged(earlier, new)
    save(options.output, result)
    for row in new["rows"]:
        speed = f"{row['images_per_second']:.1f} images/s" if row["status"] == "ok" else row["status"]
        print(f"{row['device']}, {row['shape']}, {row['mode']}, batch {row['batch']}: {speed}")
    print(f"GPU: {result['gpu']}")


if __name__ == "__main__":
    run_script(main)
