"""Speed of loading images for training, compared with Pillow, torchvision and OpenCV.

    python benchmarks/loading.py                 writes benchmarks/results/loading.json

Every method decodes a JPEG of 1024 x 1024, resizes it to 512 x 512, normalises it and puts it into a batch of float32.
The JPEGs are generated and read from disk. The methods take turns in every round, so that load by other processes slows
all of them.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from recording import RESULTS, machine, save
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from edgezsad.data.images import load
from edgezsad.data.loading import in_order, load_fast

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PACKAGES = ("numpy", "opencv-python-headless", "pillow", "torch", "torchvision")
# Images a second, with two workers on two cores.
GOAL = 120


def photograph(seed: int, side: int) -> np.ndarray:
    """Generate an image with detail of several sizes, some sharp edges and noise: (side, side, 3) uint8."""
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
    """Load with torchvision: its decoder and antialiased resize."""
    planes = decode_jpeg(read_file(str(path)), mode=ImageReadMode.RGB)
    resized = v2.functional.resize(planes, [size, size], antialias=True)
    return v2.functional.normalize(resized.float(), list(MEAN), list(STD))


def with_opencv(path: Path, size: int) -> torch.Tensor:
    """Load with OpenCV: its decoder and area resize."""
    image = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return normalise(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA))


def normalise(pixels: np.ndarray) -> torch.Tensor:
    """Normalise (H, W, 3) uint8 to (3, H, W) float32."""
    planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float()
    return planes.sub_(torch.tensor(MEAN)[:, None, None]).div_(torch.tensor(STD)[:, None, None])


METHODS: dict[str, Callable[[Path, int], torch.Tensor]] = {
    "edgezsad, fast (training)": lambda path, size: normalise(load_fast(path, size)),
    "edgezsad, exact (scores): plain Pillow": lambda path, size: normalise(load(path, size)),
    "torchvision": with_torchvision,
    "OpenCV": with_opencv,
}


def timed(
    method: Callable[[Path, int], torch.Tensor], paths: Sequence[Path], size: int, workers: int, batch: int
) -> tuple[float, float]:
    """Load all images in batches; return images per second and processor milliseconds per image."""
    started, worked = time.perf_counter(), time.process_time()
    part = []
    for one in in_order(lambda path: method(path, size), paths, workers):
        part.append(one)
        if len(part) == batch:
            torch.stack(part)
            part = []
    seconds, processor = time.perf_counter() - started, time.process_time() - worked
    return len(paths) / seconds, 1000 * processor / len(paths)


def difference(paths: list[Path], size: int) -> dict[str, float]:
    """Compare fast and exact loading, in levels of 255."""
    values = np.stack([np.abs(load_fast(path, size).astype(int) - load(path, size)) for path in paths])
    percentile = float(np.percentile(values, 99))
    return {"mean": float(values.mean()), "percentile_99": percentile, "largest": int(values.max())}


def measure(images: int, side: int, size: int, rounds: int, batch: int) -> dict[str, Any]:
    """Generate the JPEGs and time every method with one and with two workers."""
    about = machine(*PACKAGES)
    # A worker is one thread.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number:03d}.jpg" for number in range(images)]
        for number, path in enumerate(paths):
            Image.fromarray(photograph(number, side)).save(path, quality=90)
        rates: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for workers in (1, 2):
                for name, method in METHODS.items():
                    rate = timed(method, paths, size, workers, batch)
                    rates.setdefault((name, workers), []).append(rate)
        return {
            "what": f"decode JPEGs of {side} x {side}, quality 90, resize to {size} x {size}, normalise, batch",
            "goal": f"at least {GOAL} images a second with 2 workers on 2 cores",
            **about,
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
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--output", type=Path, default=RESULTS / "loading.json")
    options = parser.parse_args()
    result = measure(options.images, side=1024, size=512, rounds=options.rounds, batch=16)
    save(options.output, result)


if __name__ == "__main__":
    main()
