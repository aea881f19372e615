"""Speed of the near-duplicate search: `python benchmarks/duplicates.py` compares 150,000 thumbnails with 20,000.

Some targets are sources in another orientation with noise, which the search must find; the others are random.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from recording import RESULTS, machine, save

from edgezsad.data.duplicates import ORIENTATIONS, SIDE, near_duplicates, oriented

SOURCES, TARGETS, PLANTED = 150_000, 20_000, 2_000


def thumbnails(generator: np.random.Generator, count: int) -> np.ndarray:
    """Generate smooth random thumbnails with mean zero, (count, SIDE, SIDE) int8."""
    coarse = generator.normal(0, 30, (count, 8, 8)).astype(np.float32)
    values = coarse.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values += generator.integers(-3, 4, values.shape, dtype=np.int8)
    return values.clip(-127, 127).round().astype(np.int8)


def search(sources: int, targets: int, planted: int, workers: int) -> dict[str, Any]:
    """Plant pairs, search, and count what was found."""
    generator = np.random.default_rng(0)
    source, target = thumbnails(generator, sources), thumbnails(generator, targets)
    rows, of = (generator.choice(count, planted, replace=False).tolist() for count in (targets, sources))
    pairs = dict(zip(rows, of, strict=True))
    for row, of in pairs.items():
        target[row] = oriented(source[of], row % ORIENTATIONS)
    begin = time.perf_counter()
    found, candidates = near_duplicates(source, target, workers)
    seconds = time.perf_counter() - begin
    right = sum(pairs.get(pair.target) == pair.source for pair in found)
    return {
        "sources": sources,
        "targets": targets,
        "views": ORIENTATIONS,
        "seconds": round(seconds, 1),
        "candidates": candidates,
        "planted": planted,
        "found": right,
        "others": len(found) - right,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", type=float, default=1, help="share of all images, to try the script")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS / "duplicates.json")
    options = parser.parse_args()
    about = machine("numpy", "opencv-python-headless")
    counts = [max(8, int(options.part * count)) for count in (SOURCES, TARGETS, PLANTED)]
    found = search(*counts, options.workers)
    print(found)
    about["machine"] = {"workers": options.workers, "cores": about["cores"], "processor": about["cpu"]}
    save(options.output, about | {"search": found})


if __name__ == "__main__":
    main()
