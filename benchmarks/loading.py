"""How fast images are loaded for training: ours against plain Pillow, torchvision and OpenCV, in one run.

    python benchmarks/loading.py                 writes benchmarks/results/loading.json

Every method does the same work: decode a JPEG of 1024 x 1024, resize it to 512 x 512, normalise it, and put it into a
batch of float32. The JPEGs are made here, smooth as photographs are, and read from disk. The methods take turns in
every round, so that a busy machine slows all of them down; the processor's time hardly depends on what else it does.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from edgezsad.data.images import load
from edgezsad.data.loading import in_order, load_fast
from edgezsad.files import versions, write_json
from edgezsad.scoring.onnx_scorer import cpu_name

Item = TypeVar("Item")

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PACKAGES = ("numpy", "opencv-python-headless", "pillow", "torch", "torchvision")
GOAL = 120
"""Images a second, with two workers on two cores."""


def photograph(seed: int, side: int) -> np.ndarray:
    """A smooth image with detail of several sizes, a few sharp edges and a camera's noise: uint8 (side, side, 3)."""
    generator = np.random.default_rng(seed)
    image = np.full((side, side, 3), 128, dtype=np.float32)
    for cells, height in ((4, 60), (16, 25), (64, 12), (256, 6)):
        coarse = generator.normal(0, height, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    for _ in range(6):
        left, top = (int(n) for n in generator.integers(0, side * 3 // 4, 2))
        width, height = (int(n) for n in generator.integers(side // 32, side // 4, 2))
        image[top : top + height, left : left + width] += generator.normal(0, 40, 3)
    image += generator.normal(0, 2, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def with_torchvision(path: Path, size: int) -> torch.Tensor:
    """Torchvision's own decoder and antialiased resize."""
    planes = decode_jpeg(read_file(str(path)), mode=ImageReadMode.RGB)
    resized = v2.functional.resize(planes, [size, size], antialias=True)
    return v2.functional.normalize(resized.float(), list(MEAN), list(STD))


def with_opencv(path: Path, size: int) -> torch.Tensor:
    """OpenCV's decoder and area resize."""
    image = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return normalise(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), MEAN, STD)


def normalise(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(H, W, 3) uint8 as (3, H, W) float32, less `mean`, over `std`, each in levels of 255."""
    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float()
    return planes.sub_(torch.tensor(mean)[:, None, None]).div_(torch.tensor(std)[:, None, None])


METHODS: dict[str, Callable[[Path, int], torch.Tensor]] = {
    "edgezsad, fast (training)": lambda path, size: normalise(load_fast(path, size), MEAN, STD),
    "edgezsad, exact (scores): plain Pillow": lambda path, size: normalise(load(path, size), MEAN, STD),
    "torchvision": with_torchvision,
    "OpenCV": with_opencv,
}


def write_images(folder: Path, images: int, side: int) -> list[Path]:
    """Write JPEGs and return their paths."""
    paths = [folder / f"{number:03d}.jpg" for number in range(images)]
    for number, path in enumerate(paths):
        Image.fromarray(photograph(number, side)).save(path, quality=90)
    return paths


def timed(
    method: Callable[[Item, int], torch.Tensor], items: Sequence[Item], size: int, workers: int, batch: int
) -> tuple[float, float]:
    """Load all images once, in batches: images a second, and the processor's milliseconds an image."""
    started, worked = time.perf_counter(), time.process_time()
    part = []
    for one in in_order(lambda item: method(item, size), items, workers):
        part.append(one)
        if len(part) == batch:
            torch.stack(part)
            part = []
    seconds, processor = time.perf_counter() - started, time.process_time() - worked
    return len(items) / seconds, 1000 * processor / len(items)


def difference(paths: list[Path], size: int) -> dict[str, float]:
    """How far the fast way is from the exact one, in levels of 255."""
    apart = [np.abs(load_fast(path, size).astype(int) - load(path, size)) for path in paths]
    values = np.stack(apart)
    return {
        "mean": float(values.mean()),
        "percentile_99": float(np.percentile(values, 99)),
        "largest": int(values.max()),
    }


def measure(images: int, side: int, size: int, rounds: int, batch: int) -> dict:
    """Make the JPEGs in a folder of their own and time every method with one and with two workers."""
    # A worker is one thread; more inside a library would count the same core twice.
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder), images, side)
        rates: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for workers in (1, 2):
                for name, method in METHODS.items():
                    rate = timed(method, paths, size, workers, batch)
                    rates.setdefault((name, workers), []).append(rate)
        return {
            "what": f"decode JPEGs of {side} x {side}, quality 90, resize to {size} x {size}, normalise, batch",
            "goal": f"at least {GOAL} images a second with 2 workers on 2 cores",
            "date": datetime.now(UTC).date().isoformat(),
            "cpu": cpu_name(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "versions": versions(*PACKAGES),
            "load_average_before": round(busy, 1),
            "images": images,
            "batch": batch,
            "rounds": rounds,
            "megabytes_a_file": sum(path.stat().st_size for path in paths) / images / 1e6,
            "images_per_second": [
                {
                    "method": name,
                    "workers": workers,
                    "median": round(statistics.median(rate for rate, _ in values), 1),
                    "lowest": round(min(values)[0], 1),
                    "highest": round(max(values)[0], 1),
                    "cpu_milliseconds_an_image": round(statistics.median(used for _, used in values), 2),
                }
                for (name, workers), values in sorted(rates.items(), key=lambda item: item[0][1])
            ],
            "fast_against_exact_levels": difference(paths, size),
        }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "loading.json")
    options = parser.parse_args()
    result = measure(options.images, side=1024, size=512, rounds=options.rounds, batch=16)
    for row in result["images_per_second"]:
        speed = f"{row['median']:7.1f} images/s ({row['lowest']} to {row['highest']})"
        speed += f", {row['cpu_milliseconds_an_image']} ms of CPU an image"
        print(f"workers {row['workers']}: {speed}  {row['method']}")
    print("fast against exact, levels of 255:", result["fast_against_exact_levels"])
    write_json(options.output, result)


if __name__ == "__main__":
    main()
