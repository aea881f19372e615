"""Accuracy and speed of the shipped checkpoint, for its card (book/model-card.md).

    python benchmarks/checkpoint.py --data FOLDER [--times]

writes benchmarks/results/checkpoint.json. FOLDER holds the sets that the checkpoint has not seen (`UNSEEN` in
`edgezsad.model`), each in MVTec layout. Metrics are those of `edgezsad evaluate`; speed is that of `edgezsad predict`
from its start to the first score, and images per second afterwards; `--times` measures it alone, on an idle machine,
and adds it to the file that exists.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from recording import RESULTS, machine, run_script, save

from edgezsad.errors import InputError
from edgezsad.evaluate import PIXELS, evaluate, find_test_images
from edgezsad.files import read_json, sha256_of_file
from edgezsad.model import CHECKPOINT, GRAPH, UNSEEN
from edgezsad.predict import find_images, load_scorer

PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "pillow")
ROUNDS = 3


def speed(folder: Path) -> dict[str, float]:
    """Time `edgezsad predict FOLDER`: seconds to the first score, photographs per second afterwards; the best round."""
    photographs = len(find_images([folder])[0])
    if photographs < 2:
        raise InputError(f"{folder}: {photographs} photographs; expected at least 2")
    # As JSON: text is printed by rank, after the last image.
    command = [sys.executable, "-u", "-m", "edgezsad.cli", "predict", str(folder), "--json"]
    first, rate = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            printed = process.stdout.readline()
            begun = time.perf_counter()
            printed += process.stdout.read()
            ended = time.perf_counter()
        if process.returncode or len(json.loads(printed)) != photographs:
            raise InputError(
                f"{folder}: `edgezsad predict` did not score all of {photographs}; run it alone to see why"
            )
        first.append(begun - start)
        rate.append((photographs - 1) / (ended - begun))
    return {"first_score_seconds": round(min(first), 2), "photographs_per_second": round(max(rate), 1)}


def measure(data: Path, names: tuple[str, ...] = UNSEEN) -> dict[str, Any]:
    """Measure metrics of the sets."""
    opened = load_scorer()
    found: Any = evaluate(lambda *_: opened, find_test_images([data / name for name in names])).as_json()["rows"]
    # Without the mean and without folders of this machine.
    rows = [{"set": Path(row.pop("folder")).name} | row for row in found[:-1]]
    return {
        "what": "the committed checkpoint on sets that it has not seen; percent",
        **machine(*PACKAGES),
        "graph_sha256": sha256_of_file(GRAPH),
        "graph_megabytes": GRAPH.stat().st_size / 1e6,
        "checkpoint_megabytes": CHECKPOINT.stat().st_size / 1e6,
        "threshold": opened[0].threshold,
        "pixels": PIXELS,
        "rows": rows,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets")
    parser.add_argument("--times", action="store_true", help="measure only the speed")
    parser.add_argument("--output", type=Path, default=RESULTS / "checkpoint.json")
    options = parser.parse_args()
    found = read_json(options.output, "run this benchmark without --times first") if options.output.exists() else {}
    if options.times:
        category = find_test_images([options.data / UNSEEN[0]])[0].entries[0].category
        timed = speed(options.data / UNSEEN[0] / category / "test")
        found["speed"] = {"of": f"{UNSEEN[0]}, {category}", "graph_sha256": sha256_of_file(GRAPH)} | timed
    else:
        # The speed of the graph that it names, until it is measured again.
        found = measure(options.data) | {"speed": found.get("speed")}
    save(options.output, found, speed=options.times)


if __name__ == "__main__":
    run_script(main)
