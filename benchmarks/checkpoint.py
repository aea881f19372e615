"""Accuracy and speed of the shipped checkpoint, for its card (book/model-card.md).

    python benchmarks/checkpoint.py --data FOLDER [--recipe runs/photographs/seeds/*/*.safetensors]

writes benchmarks/results/checkpoint.json. FOLDER holds AWS-LookoutVision, BSData and MVTec-AD, each in MVTec layout:
the sets that the checkpoint has not seen. Metrics are those of `edgezsad evaluate`; speed is that of `edgezsad predict`
from its start to the first score, and images per second afterwards. `--recipe` names checkpoints of the same recipe
trained on all four sets of photographs, one for each seed; they are measured on MVTec-AD.
"""

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from recording import RESULTS, machine, run_script, save

from edgezsad.errors import InputError
from edgezsad.evaluate import PIXELS, evaluate, find_test_images
from edgezsad.files import sha256_of_bytes
from edgezsad.metrics.benchmark_tables import METRICS
from edgezsad.model import CHECKPOINT, GRAPH, UNSEEN
from edgezsad.predict import find_images, load_scorer

PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "pillow")
ROUNDS = 3


def speed(folder: Path) -> dict[str, float]:
    """Time `edgezsad predict FOLDER`: seconds to the first score, photographs per second afterwards; the best round."""
    photographs = len(find_images([folder])[0])
    if photographs < 2:
        raise InputError(f"{folder}: {photographs} photographs; expected at least 2")
    command = [sys.executable, "-u", "-m", "edgezsad.cli", "predict", str(folder)]
    first, rate = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            begun = time.perf_counter()
            lines = sum(1 for _ in process.stdout)
            ended = time.perf_counter()
        if process.returncode or lines != photographs - 1:
            raise InputError(f"{folder}: `edgezsad predict` scored {lines + 1} of {photographs}; see its errors")
        first.append(begun - start)
        rate.append(lines / (ended - begun))
    return {"first_score_seconds": round(min(first), 2), "photographs_per_second": round(max(rate), 1)}


def over_seeds(data: Path, name: str, checkpoints: list[Path]) -> list[dict[str, Any]]:
    """Compute mean and standard deviation over checkpoints of each metric and category of a set, percent."""
    manifests = find_test_images([data / name])
    tables = pd.DataFrame(
        [
            row
            for path in checkpoints
            for row in evaluate(lambda *_, path=path: load_scorer(checkpoint=path), manifests).rows[:-1]
        ]
    )
    rows: list[dict[str, Any]] = []
    for category, table in tables.groupby("category", sort=False):
        row: dict[str, Any] = {"set": name, "category": category, "seeds": len(table)}
        for metric in METRICS:
            mean, deviation = table[metric].mean(), table[metric].std()
            row[metric] = {"mean": mean, "sd": deviation} if math.isfinite(mean + deviation) else None
        rows.append(row)
    return rows


def measure(data: Path, names: tuple[str, ...] = UNSEEN, recipe: Sequence[Path] = ()) -> dict[str, Any]:
    """Measure metrics of the sets, speed on the first category, and `recipe`, checkpoints, on the last set."""
    opened = load_scorer()
    found: Any = evaluate(lambda *_: opened, find_test_images([data / name for name in names])).as_json()["rows"]
    # Without the mean and without folders of this machine.
    rows = [{"set": Path(row.pop("folder")).name} | row for row in found[:-1]]
    timed = rows[0]["category"]
    return {
        "what": "the committed checkpoint on sets that it has not seen; percent",
        **machine(*PACKAGES),
        "graph_sha256": sha256_of_bytes(GRAPH.read_bytes()),
        "graph_megabytes": GRAPH.stat().st_size / 1e6,
        "checkpoint_megabytes": CHECKPOINT.stat().st_size / 1e6,
        "threshold": opened[0].threshold,
        "pixels": PIXELS,
        "rows": rows,
        "recipe": over_seeds(data, names[-1], list(recipe)) if recipe else [],
        "speed": {"of": f"{names[0]}, {timed}"} | speed(data / names[0] / timed / "test"),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets")
    parser.add_argument("--recipe", type=Path, nargs="*", default=[], help="checkpoints of the recipe on all four sets")
    parser.add_argument("--output", type=Path, default=RESULTS / "checkpoint.json")
    options = parser.parse_args()
    save(options.output, measure(options.data, recipe=options.recipe))


if __name__ == "__main__":
    run_script(main)
