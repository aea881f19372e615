"""Measure one method in a new process, so that memory is its own and threads of libraries do not compete.

    python benchmarks/worker.py metrics NAME IMAGES RUNS    an implementation of metrics.py; prints a line of JSON
    python benchmarks/worker.py latency JSON                a method of latency.py; see `serve`

Packages are imported only when they are needed.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

WARM_UP, RUNS, BUDGET = 12, 5, 25.0
PRODUCTS = 6


def memory() -> float:
    """Return the peak memory of this process in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would include the parent's peak.
        rows = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(rows["VmHWM"].split()[0]) * 1024 / 1e6
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


def processors_busy() -> float | None:
    """Return the busy seconds of all processors since the machine started; None if unknown."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def run_competitor(name: str, images: int, runs: int) -> dict[str, Any]:
    """Time an implementation up to `runs` times or `BUDGET` seconds; memory in MB above the bare interpreter."""
    bare = memory()
    from competitors import COMPETITORS, Made

    competitor = COMPETITORS[name]
    # ADEval imports more when called.
    for module in competitor.modules:
        import_module(module)
    imported = memory()
    made = Made(images)
    competitor.run(Made(min(images, WARM_UP if competitor.ours else 2)))
    seconds: list[float] = []
    values: dict[str, float] = {}
    while not seconds or (len(seconds) < runs and sum(seconds) + min(seconds) < BUDGET):
        start = time.perf_counter()
        values = competitor.run(made)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "imports_mb": imported - bare, "peak_mb": memory() - bare, "values": values}


def forward_of(job: dict[str, Any]) -> Callable[[], float]:
    """Return a function that computes the score of one image, or a matrix product."""
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, job["size"], job["size"])).astype(np.float32)
    if job["kind"] in ("onnx", "product, ONNX Runtime"):
        # First: it disables ONNX Runtime's telemetry.
        import edgezsad  # noqa: F401, I001
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = job["threads"], 4
        session = onnxruntime.InferenceSession(job["graph"], options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        given = pixels if job["kind"] == "onnx" else pixels[0, 0] / 255
        return lambda: float(session.run(None, {name: given})[0].flat[0])

    import torch

    torch.set_num_threads(job["threads"])
    if job["kind"] == "product, PyTorch":
        matrix = torch.randn(job["size"], job["size"])
        return lambda: (matrix @ matrix)[0, 0].item()
    from latency_models import network

    model = network(job["name"])

    def forward() -> float:
        with torch.inference_mode():
            return model(torch.from_numpy(pixels))[0].item()

    return forward


def serve(job: dict[str, Any]) -> None:
    """Compute one image and print peak memory and score; then print the seconds of one image for each line of input."""
    bare = memory()
    forward = forward_of(job)
    score = forward()
    print(json.dumps({"score": score, "peak_mb": memory() - bare}), flush=True)
    repeats = PRODUCTS if job["kind"].startswith("product") else 1
    for _ in sys.stdin:
        busy, own, start = processors_busy(), time.process_time(), time.perf_counter()
        for _ in range(repeats):
            forward()
        seconds, own = time.perf_counter() - start, time.process_time() - own
        others = None if busy is None else max(processors_busy() - busy - own, 0) / seconds
        print(json.dumps({"seconds": seconds / repeats, "others": others}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "metrics":
        print(json.dumps(run_competitor(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        serve(json.loads(sys.argv[2]))
