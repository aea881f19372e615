"""How long one image takes on the CPU: PyTorch as timm gives it, each remedy on top of the last, and ONNX Runtime.

    python benchmarks/forward.py                 writes benchmarks/results/forward.json

Every method does the same work: one image through a detector with random weights, to its score and map. Each one has a
process of its own, because PyTorch reads some of its settings once; the processes take turns in every round, while all
others sleep. It is measured twice: with whatever else runs on the machine, and with one more process that keeps a core
busy, as a step of the graph beside this one does. How many cores others used meanwhile stands beside every number.
"""

import argparse
import copy
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from quiet import _busy
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from edgezsad.config import EdgeGLRConfig
from edgezsad.export.onnx_export import export_onnx
from edgezsad.files import versions, write_json
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import Detector, build_readout
from edgezsad.scoring.onnx_scorer import cpu_name, cpu_session

MODELS = (("tiny_vit_21m_512", 512, (16, 32)), ("tf_efficientnet_lite0", 256, (8, 16, 32)))
TINY = (("tiny_vit_5m_224", 64, (16, 32)),)
# What is done to the environment and to the model; each method does what the ones before it do, and its own.
STEPS = {
    "PyTorch, as timm gives it": "",
    "+ threads that wait sleep": "sleep",
    "+ large pages": "pages",
    "+ channels last": "last",
}
SECONDS_FOR_CEILING = 3


def detector(name: str, size: int, strides: tuple[int, ...], steps: list[str]) -> nn.Module:
    """A detector with the same random weights in every process, changed by the steps."""
    torch.manual_seed(0)
    backbone = Backbone(name, "random", strides)
    made = Detector(backbone, build_readout(backbone.channels, backbone.strides, EdgeGLRConfig(), size), size)
    return made.to(memory_format=torch.channels_last) if "last" in steps else made


def image(size: int) -> np.ndarray:
    """Pixels (1, 3, size, size), 0..255."""
    return np.random.default_rng(0).integers(0, 256, (1, 3, size, size)).astype(np.float32)


def worker(job: dict) -> None:
    """Answer each line of standard input: "pass" with seconds of one image, "profile" with the costliest operators."""
    forward: Callable[[], float]
    if job["kind"] == "onnx":
        session = cpu_session(job["graph"], job["threads"])
        pixels = image(job["size"])

        def forward() -> float:
            return float(session.run(["score"], {"image": pixels})[0][0])
    else:
        torch.set_num_threads(job["threads"])
        model = detector(job["name"], job["size"], tuple(job["strides"]), job["steps"])
        tensor = torch.from_numpy(image(job["size"]))
        if "last" in job["steps"]:
            tensor = tensor.contiguous(memory_format=torch.channels_last)

        def forward() -> float:
            with torch.inference_mode():
                return model(tensor)[0].item()

    score = [forward() for _ in range(2)][-1]
    print(json.dumps({"score": score}), flush=True)
    for line in sys.stdin:
        print(json.dumps(costly(forward) if line.strip() == "profile" else timed(forward)), flush=True)


def timed(forward: Callable[[], float]) -> dict:
    """One image: seconds, the processor's seconds, page faults, and cores that others used meanwhile."""
    before, busy, start = resource.getrusage(resource.RUSAGE_SELF), _busy(), time.perf_counter()
    forward()
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    others = None if busy is None else max(_busy() - busy - own, 0) / seconds
    return {"seconds": seconds, "cpu": own, "faults": after.ru_minflt - before.ru_minflt, "others": others}


def costly(forward: Callable[[], float]) -> dict:
    """Milliseconds of the operators that take longest by themselves."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        forward()
    events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)[:8]
    return {event.key: round(event.self_cpu_time_total / 1000, 1) for event in events}


class Process:
    """A worker in a process of its own."""

    def __init__(self, job: dict):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        # Empty is what PyTorch takes for not set; the package itself sets what is missing.
        environment["OMP_WAIT_POLICY"] = "PASSIVE" if "sleep" in job["steps"] else ""
        environment["THP_MEM_ALLOC_ENABLE"] = "1" if "pages" in job["steps"] else "0"
        command = [sys.executable, __file__, "--worker", json.dumps(job)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)
        self.score = json.loads(self.process.stdout.readline())["score"]

    def ask(self, what: str) -> dict:
        """The answer to one line."""
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self.process.stdin.close()
        self.process.wait()


def ceiling(side: int, cores: int) -> float:
    """GFLOP/s of FP32 products of two square matrices: the best on one core, times the cores.

    One core at its best is found beside other work too; all of them at once are not.
    """
    torch.set_num_threads(1)
    matrix, best, end = torch.randn(side, side), 0.0, time.perf_counter() + SECONDS_FOR_CEILING
    while time.perf_counter() < end:
        start = time.perf_counter()
        matrix @ matrix
        best = max(best, 2 * side**3 / (time.perf_counter() - start) / 1e9)
    return best * cores


def summary(name: str, threads: int, process: Process, passes: list[dict]) -> dict:
    """One row of the table."""
    seconds = [one["seconds"] for one in passes]
    others = [one["others"] for one in passes if one["others"] is not None]
    return {
        "method": name,
        "threads": threads,
        "milliseconds_median": round(1000 * statistics.median(seconds), 1),
        "milliseconds_lowest": round(1000 * min(seconds), 1),
        "milliseconds_highest": round(1000 * max(seconds), 1),
        "cpu_milliseconds_median": round(1000 * statistics.median(one["cpu"] for one in passes), 1),
        "page_faults_median": int(statistics.median(one["faults"] for one in passes)),
        "cores_used_by_others_median": round(statistics.median(others), 2) if others else None,
        "score": process.score,
    }


def measure(name: str, size: int, strides: tuple[int, ...], rounds: int, threads: int, gflops: float) -> dict:
    """All methods on one model."""
    model = detector(name, size, strides, [])
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.from_numpy(image(size)))
    with tempfile.TemporaryDirectory() as folder:
        graph = export_onnx(copy.deepcopy(model), Path(folder) / "graph.onnx", size)
        job = {"kind": "torch", "name": name, "size": size, "strides": strides, "graph": str(graph), "steps": []}
        chosen, jobs = [], {}
        for method, step in STEPS.items():
            chosen = [*chosen, *([step] if step else [])]
            jobs[method, threads] = job | {"steps": chosen, "threads": threads}
        jobs["all of these", 1] = job | {"steps": chosen, "threads": 1}
        for count in (threads, 1):
            jobs["ONNX Runtime", count] = job | {"kind": "onnx", "threads": count}
        processes = {key: Process(each) for key, each in jobs.items()}
        try:
            tables = {}
            for beside in ("what runs anyway", "and one busy process"):
                busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if "busy" in beside else None
                try:
                    passes = [{key: each.ask("pass") for key, each in processes.items()} for _ in range(rounds)]
                finally:
                    if busy:
                        busy.kill()
                        busy.wait()
                tables[beside] = [summary(*key, each, [one[key] for one in passes]) for key, each in processes.items()]
            keys = (next(iter(STEPS)), threads), (list(STEPS)[-1], threads)
            operators = {key[0]: processes[key].ask("profile") for key in keys}
        finally:
            for each in processes.values():
                each.close()
    gflop = counter.get_total_flops() / 1e9
    return {
        "backbone": name,
        "size": size,
        "gflop": round(gflop, 2),
        "floor_milliseconds": round(1000 * gflop / gflops, 1),
        "beside": tables,
        "operators_self_milliseconds": operators,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tiny", action="store_true", help="small models and images, for the tests")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "forward.json")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gflops = ceiling(128 if options.tiny else 1024, threads)
    result = {
        "what": "one image, batch 1, FP32, through backbone and readout with random weights",
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu_name(),
        "cores": threads,
        "versions": versions("torch", "timm", "onnxruntime", "numpy"),
        "load_average_before": round(load, 1),
        "rounds": options.rounds,
        "matrix_product_gflop_per_second": round(gflops, 1),
        "models": [measure(*model, options.rounds, threads, gflops) for model in (TINY if options.tiny else MODELS)],
    }
    for model in result["models"]:
        print(f"{model['backbone']} at {model['size']}: {model['gflop']} GFLOP, floor {model['floor_milliseconds']} ms")
        for beside, rows in model["beside"].items():
            print(f"  beside {beside}")
            for row in rows:
                numbers = f"{row['milliseconds_median']:8.1f} ms (lowest {row['milliseconds_lowest']:.1f})"
                numbers += f", CPU {row['cpu_milliseconds_median']:.1f} ms, others {row['cores_used_by_others_median']}"
                print(f"    {row['threads']} threads: {numbers}  {row['method']}")
    write_json(options.output, result)


if __name__ == "__main__":
    main()
