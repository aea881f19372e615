"""Gain and cost of `--tiles auto`: line-scan strips (a folder of photographs), and large generated images.

    OMP_NUM_THREADS=1 python benchmarks/tiles.py --strips FOLDER

writes benchmarks/results/tiles.json. FOLDER has one category in MVTec layout. Photographs of 2,000 pixels and more with
small defects are in no set that we may use: such images are generated, with strokes of 12 to 30 pixels on half of them.
"""

import argparse
import math
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from parts import draws
from PIL import Image
from recording import RESULTS, machine, run_script, save, stored

from edgezsad.data.images import decode_image, prepare
from edgezsad.evaluate import evaluate, find_test_images
from edgezsad.metrics.benchmark_tables import METRICS
from edgezsad.predict import load_scorer
from edgezsad.references import adapt
from synthetic.image import Address, normal_image

SETTINGS = {"counts": [0, 4, 8], "large": {"side": 2000, "references": 2, "good": 3, "defective": 3}}


def measured(folder: Path, references: list[Path], tiles: str) -> dict[str, Any]:
    """Evaluate the images of a folder: metrics in percent, and megapixels per second of one core."""
    with TemporaryDirectory() as scratch:
        options = {"rotations": "none", "tiles": tiles}
        part = adapt(references, Path(scratch) / "part.onnx", **options).path if references else None
        scorer, decision = load_scorer(checkpoint=part, tiles="" if part else tiles)
        row = evaluate(lambda *_: (scorer, decision), find_test_images([folder])).rows[0]
    image = decode_image(next(folder.rglob("test/good/*")))
    prepared, start, runs = image if scorer.size is None else prepare(image, scorer.size), time.process_time(), 5
    for _ in range(runs):
        scorer.score(prepared)
    seconds = (time.process_time() - start) / runs
    found = {name: row[name] for name in (*METRICS, "images", "defective", "missed", "false_alarms")}
    return {name: None if math.isnan(value) else value for name, value in found.items()} | {
        "seconds": seconds,
        "megapixels_per_second": image.shape[0] * image.shape[1] / 1e6 / seconds,
    }


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def large_images(folder: Path, side: int, **counts: int) -> None:
    """Generate caps, good ones and those with a stroke on the cap, with masks."""
    for name, count in zip(("train/good", "test/good", "test/stroke"), counts.values(), strict=True):
        for number in range(count):
            image = normal_image(Address(0, "large", "cap", name, number, (side, side), wild=False))
            if "stroke" in name:
                mask, random = np.zeros((side, side), np.uint8), np.random.default_rng(number)
                angle, length = random.uniform(0, np.pi), random.uniform(12, 30)
                along, towards = (np.array([np.cos(each), np.sin(each)]) for each in (angle, 9 * angle))
                middle = side / 2 + random.uniform(0.05, 0.25) * side * towards
                ends = [(middle + half * along).round().astype(int).tolist() for half in (-length / 2, length / 2)]
                cv2.line(mask, *ends, 255, 3)
                image = np.where(mask[..., None] > 0, np.clip(image.astype(int) - 60, 0, 255), image).astype(np.uint8)
                _write(folder / "ground_truth" / "stroke" / f"{number}_mask.png", mask)
            _write(folder / name / f"{number}.png", image)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--strips", type=Path, required=True, help="a category of strips in MVTec layout")
    parser.add_argument("--output", type=Path, default=RESULTS / "tiles.json")
    options, kept, rows = parser.parse_args(), Path("runs/tiles"), []
    large, pool = kept / "large", sorted((options.strips / "train" / "good").iterdir())
    if not large.is_dir():
        large_images(large, **SETTINGS["large"])
    chosen = {count: [pool[row] for row in draws(count, len(pool), 1)[0]] for count in SETTINGS["counts"]}
    jobs = [("strips", options.strips, references) for references in chosen.values()]
    for name, folder, references in [*jobs, ("large", large, sorted((large / "train" / "good").iterdir()))]:
        for tiles in ("", "auto"):
            key = {"set": name, "references": len(references), "tiles": tiles}
            rows.append(key | stored(kept, key | SETTINGS, partial(measured, folder, references, tiles)))
    what = "metrics in percent; seconds of one core for an image, and megapixels per second of one core"
    save(options.output, {"what": what, **machine("numpy", "onnxruntime", "pillow")} | {"rows": rows}, speed=False)


if __name__ == "__main__":
    run_script(main)
