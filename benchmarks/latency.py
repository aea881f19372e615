"""Cost of one image on this host: this package's two models, and the image tower that ViT-L methods use.

    python benchmarks/latency.py                 writes benchmarks/results/latency.json

PyTorch and ONNX Runtime in each precision, on one thread and on all. Every method has its own process. Methods with the
same number of threads take turns with FP32 matrix products, the floor; ratios to the floor and to the tower are taken
within a round, so that drift of the machine's speed cancels.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from latency_models import files, network, networks
from onnx import TensorProto, helper, numpy_helper
from recording import RESULTS, machine, run_script, save

from edgezsad.errors import CheckError
from edgezsad.export.cost import count_cost
from edgezsad.files import sha256_of_file
from edgezsad.scoring.onnx_scorer import cores

HERE = Path(__file__).parent
NAMES = ("mini", "paper", "tower")
TORCH, ONNX = "PyTorch, as timm gives it", "ONNX Runtime"
GOALS = {"floor": 1.40, "tower": 15.0}
"""Bounds for the paper's graph by ONNX Runtime in FP32: times the floor, times as fast as the tower."""


@dataclass
class Method:
    """One model by one runtime; `job` is the argument of its process."""

    model: str
    title: str
    precision: str
    threads: int
    job: dict[str, Any]
    passes: int = 1
    file: Path | None = None
    status: str = "ok"
    started: dict[str, float] = field(default_factory=dict)
    rounds: list[list[dict[str, float]]] = field(default_factory=list)

    @property
    def medians(self) -> list[float]:
        """Median seconds of an image in each round."""
        return [statistics.median(one["seconds"] for one in passes) for passes in self.rounds]


class Process:
    """A process of worker.py."""

    def __init__(self, job: dict[str, Any]):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, str(HERE / "worker.py"), "latency", json.dumps(job)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)
        self.started = self._answer()

    def time_image(self) -> dict[str, float]:
        self.process.stdin.write("pass\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, float]:
        line = self.process.stdout.readline()
        if not line:
            raise CheckError("latency: the process of a method ended; see its message above")
        return json.loads(line)


def methods(model: str, graphs: dict[str, Path | str], threads: int, passes: int) -> list[Method]:
    """Return all methods for a model; one that cannot run has the reason as its status."""
    chosen = networks()[model]
    job = {"size": chosen.size, "threads": threads}
    found = [Method(model, TORCH, "FP32", threads, job | {"kind": "PyTorch", "name": model})]
    for precision, graph in graphs.items():
        method = Method(model, ONNX, precision, threads, job | {"kind": "onnx", "graph": str(graph)})
        if isinstance(graph, Path):
            method.file, method.passes = graph, passes if chosen.ours else 1
        else:
            method.status = graph
        found.append(method)
    return found


def take_turns(chosen: list[Method], rounds: int) -> None:
    """Time every method that can run, each in its process, round by round."""
    with contextlib.ExitStack() as stack:
        running: list[tuple[Method, Process]] = []
        for method in chosen:
            if method.status == "ok":
                process = Process(method.job)
                stack.callback(process.close)
                method.started = process.started
                running.append((method, process))
        for _ in range(rounds):
            for method, process in running:
                method.rounds.append([process.time_image() for _ in range(method.passes)])


def products(side: int, folder: Path, threads: int) -> list[Method]:
    """Return FP32 products of two square matrices by both libraries."""
    graph = folder / f"product-{side}.onnx"
    matrix = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in ("left", "product")]
    node = helper.make_node("MatMul", ["left", "right"], ["product"])
    made = helper.make_graph([node], "product", sides[:1], sides[1:], [numpy_helper.from_array(matrix, "right")])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), graph)
    job = {"size": side, "threads": threads}
    jobs = {"PyTorch": {}, "ONNX Runtime": {"graph": str(graph)}}
    return [
        Method("product", name, "FP32", threads, job | {"kind": f"product, {name}"} | more)
        for name, more in jobs.items()
    ]


def summary(method: Method, gflop: float, floor: list[float], tower: list[float]) -> dict[str, Any]:
    """Return a row of the table; `floor` and `tower` are seconds in each round, of a GFLOP and of the tower."""
    row = {"method": method.title, "precision": method.precision, "threads": method.threads, "status": method.status}
    row["file_mb"] = method.file.stat().st_size / 1e6 if method.file else None
    row["graph_sha256"] = sha256_of_file(method.file) if method.file else None
    if method.status != "ok":
        return row
    seconds = [one["seconds"] for passes in method.rounds for one in passes]
    others = [one["others"] for passes in method.rounds for one in passes if one["others"] is not None]
    pairs = list(zip(method.medians, floor, tower, strict=True))
    return row | {
        "peak_mb": round(method.started["peak_mb"]),
        "milliseconds_median": round(1000 * statistics.median(seconds), 2),
        "milliseconds_p95": round(1000 * float(np.percentile(seconds, 95)), 2),
        "milliseconds_lowest": round(1000 * min(seconds), 2),
        "passes": len(seconds),
        "times_the_floor": round(statistics.median(own / (gflop * unit) for own, unit, _ in pairs), 3),
        "times_as_fast_as_the_tower": round(statistics.median(other / own for own, _, other in pairs), 2),
        "cores_used_by_others_median": round(statistics.median(others), 2) if others else None,
        "score": method.started["score"],
    }


def measure(prefix: str, folder: Path, side: int, rounds: dict[int, int], passes: int) -> dict[str, Any]:
    """Measure all models and methods; `rounds` gives the number of rounds for each number of threads."""
    names = [prefix + name for name in NAMES if prefix + name in networks()]
    graphs = {name: files(name, folder) for name in names}
    costs = {name: count_cost(network(name), networks()[name].size) for name in names}
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    speeds = []
    for threads, number in rounds.items():
        rulers = products(side, folder, threads)
        chosen = rulers + [one for name in names for one in methods(name, graphs[name], threads, passes)]
        take_turns(chosen, number)
        gflop = 2 * side**3 / 1e9
        # The floor is the faster of the two libraries.
        floor = [min(both) / gflop for both in zip(*(ruler.medians for ruler in rulers), strict=True)]
        tower = next(one for one in chosen if (one.model, one.title, one.precision) == (names[-1], ONNX, "FP32"))
        for method in chosen[len(rulers) :]:
            tables[method.model].append(summary(method, costs[method.model].gflops, floor, tower.medians))
        speeds.append(
            {"threads": threads, "rounds": number, "faster": round(statistics.median(1 / unit for unit in floor), 1)}
            | {ruler.title: round(statistics.median(gflop / one for one in ruler.medians), 1) for ruler in rulers}
        )
    return {
        "matrix_product_gflop_per_second": speeds,
        "models": [
            {
                "name": name.removeprefix(prefix),
                "title": networks()[name].title,
                "backbone": networks()[name].backbone,
                "size": networks()[name].size,
                "gflop": round(costs[name].gflops, 2),
                "parameters_millions": round(costs[name].parameters, 2),
                "rows": rows,
            }
            for name, rows in tables.items()
        ],
    }


def goals(models: list[dict[str, Any]], threads: int) -> dict[str, dict[str, Any]]:
    """Return the bounds on the paper's graph on all threads, and the measurements."""
    rows = next(model["rows"] for model in models if model["name"] == "paper")
    row = next(one for one in rows if (one["method"], one["precision"], one["threads"]) == (ONNX, "FP32", threads))
    return {
        "times the floor": {"at most": GOALS["floor"], "measured": row["times_the_floor"]},
        "times as fast as the tower": {"at least": GOALS["tower"], "measured": row["times_as_fast_as_the_tower"]},
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="on all threads; on one thread half as many")
    parser.add_argument("--threads", type=int, nargs="+", help="numbers of threads; all and one")
    parser.add_argument("--passes", type=int, default=4, help="of each of our models in a round; of the tower one")
    parser.add_argument("--tiny", action="store_true", help="small models and images, for the tests")
    parser.add_argument("--output", type=Path, default=RESULTS / "latency.json")
    options = parser.parse_args()
    asked = sorted(set(options.threads or (cores(), 1)), reverse=True)
    rounds = {number: options.rounds if number > 1 else (options.rounds + 1) // 2 for number in asked}
    prefix = "tiny-" if options.tiny else ""
    about = machine("torch", "timm", "onnxruntime", "onnx", "numpy")
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(prefix, Path(folder), 128 if options.tiny else 1024, rounds, options.passes)
    what = "one image, batch 1, through backbone and readout with random weights, decoded and resized before"
    result = {"what": what, **about, **measured, "goals": goals(measured["models"], asked[0])}
    print("goals:", result["goals"])
    save(options.output, result)


if __name__ == "__main__":
    run_script(main)
