"""Time one method in this fresh process: a model by one runtime on so many threads, or matrix products.

    python benchmarks/one_latency.py '{"kind": "onnx", "graph": "graph.onnx", "size": 512, "threads": 2}'

It prints a line of JSON once it has computed one image (peak memory, score), then answers every line of standard input
with the seconds of one image. What is not needed is not imported, so that memory is the method's own.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from one_run import memory
from quiet import _busy

PRODUCTS = 6


def image(size: int) -> np.ndarray:
    """Pixels (1, 3, size, size), 0..255."""
    return np.random.default_rng(0).integers(0, 256, (1, 3, size, size)).astype(np.float32)


def forward_of(job: dict[str, Any]) -> Callable[[], float]:
    """What computes one image, and gives its score; or, of matrix products, anything."""
    if job["kind"] == "onnx":
        from edgezsad.scoring.onnx_scorer import cpu_session

        session, pixels = cpu_session(job["graph"], job["threads"]), image(job["size"])
        return lambda: float(session.run(["score", "map"], {"image": pixels})[0][0])
    if job["kind"] in ("onnx, file as it is", "product, ONNX Runtime"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = job["threads"], 4
        session = onnxruntime.InferenceSession(job["graph"], options, providers=["CPUExecutionProvider"])
        name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
        pixels = image(job["size"]) if len(shape) == 4 else np.random.default_rng(1).random(shape, dtype=np.float32)
        return lambda: float(session.run(None, {name: pixels})[0].flat[0])

    # Before anything of the package, which sets what is not set in the environment: see `Process` in latency.py.
    import torch

    torch.set_num_threads(job["threads"])
    if job["kind"] == "product, PyTorch":
        matrix = torch.randn(job["size"], job["size"])
        return lambda: (matrix @ matrix)[0, 0].item()
    from latency_models import network

    model, pixels = network(job["name"], fast=job["kind"] == "PyTorch, fast"), torch.from_numpy(image(job["size"]))
    if job["kind"] == "PyTorch, fast":
        pixels = pixels.contiguous(memory_format=torch.channels_last)

    def forward() -> float:
        with torch.inference_mode():
            return model(pixels)[0].item()

    return forward


def main() -> None:
    """Start, compute once, then answer."""
    bare = memory()[1]
    job = json.loads(sys.argv[1])
    forward = forward_of(job)
    score = forward()
    print(json.dumps({"score": score, "peak_mb": memory()[1] - bare}), flush=True)
    repeats = PRODUCTS if job["kind"].startswith("product") else 1
    for _ in sys.stdin:
        busy, own, start = _busy(), time.process_time(), time.perf_counter()
        for _ in range(repeats):
            forward()
        seconds, own = time.perf_counter() - start, time.process_time() - own
        others = None if busy is None else max(_busy() - busy - own, 0) / seconds
        print(json.dumps({"seconds": seconds / repeats, "others": others}), flush=True)


if __name__ == "__main__":
    main()
