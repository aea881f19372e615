"""The search for near-duplicates: its speed, and what it finds of copies and reports of different images.

    python benchmarks/leak.py                              writes benchmarks/results/leak.json
    python benchmarks/leak.py --photographs FOLDER         also on a folder of images, at any depth

Copies are looked up among all other images; every image is also compared with the other images of its own data set, and
of other data sets, which are different images.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from edgezsad.config import load_profile
from edgezsad.data.duplicates import CORRELATION, ORIENTATIONS, RADIUS, SIDE, near_duplicates, thumbnail
from edgezsad.data.layouts import images_below
from edgezsad.files import read_json, versions, write_json
from edgezsad.progress import progress
from edgezsad.scoring.onnx_scorer import cpu_name

SOURCES, TARGETS = 150_000, 20_000
PLANTED = 2_000

Turn = Image.Transpose
Change = Callable[[Image.Image], Image.Image]


def scaled(factor: float) -> Change:
    """Resize by a factor."""
    return lambda image: image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS
    )


def brighter(gain: float, offset: float = 0) -> Change:
    """Multiply and add."""
    return lambda image: image.point(lambda value: value * gain + offset)


COPIES: dict[str, tuple[Change, int | None]] = {
    "PNG": (lambda image: image, None),
    "JPEG 75": (lambda image: image, 75),
    "JPEG 40": (lambda image: image, 40),
    "60 % of the size": (scaled(0.6), None),
    "175 %, JPEG 90": (scaled(1.75), 90),
    "256 x 256": (lambda image: image.resize((256, 256), Image.Resampling.LANCZOS), None),
    "values times 0.9": (brighter(0.9), None),
    "values times 1.1, plus 4": (brighter(1.1, 4), None),
    "mirrored, 70 %, JPEG 75": (lambda image: scaled(0.7)(image.transpose(Turn.FLIP_LEFT_RIGHT)), 75),
    "rotated by 90 degrees, JPEG 80": (lambda image: image.transpose(Turn.ROTATE_90), 80),
    "rotated by 180 degrees": (lambda image: image.transpose(Turn.ROTATE_180), None),
}
"""Name: what is done, and the JPEG quality, or PNG."""


def search(sources: int, targets: int, planted: int, workers: int) -> dict[str, float]:
    """Search unrelated smooth thumbnails; `planted` targets are sources in a random orientation, with noise."""
    generator = np.random.default_rng(0)
    source, target = (_thumbnails(generator, number) for number in (sources, targets))
    for row, pick in enumerate(generator.choice(sources, planted, replace=False)):
        turned = np.rot90(source[pick], int(generator.integers(4)))
        target[row] = np.clip(turned + generator.normal(0, 1, turned.shape), -127, 127)
    began, used = time.perf_counter(), time.process_time()
    found, candidates = near_duplicates(source, target, workers)
    return {
        "sources": sources, "targets": targets, "views": len(ORIENTATIONS),
        "seconds": round(time.perf_counter() - began, 1), "processor_seconds": round(time.process_time() - used, 1),
        "candidates": candidates, "planted": planted,
        "found": sum(one.target < planted for one in found), "others": sum(one.target >= planted for one in found),
    }  # fmt: skip


def _thumbnails(generator: np.random.Generator, number: int) -> np.ndarray:
    coarse = generator.normal(0, 1, (number, 8, 8)).astype(np.float32)
    smooth = np.stack([cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for one in coarse])
    smooth -= smooth.mean(axis=(1, 2), keepdims=True)
    return np.clip(smooth * (32 / smooth.std(axis=(1, 2), keepdims=True)), -127, 127).astype(np.int8)


def speed(workers: int, side: int = 1024, images: int = 24) -> dict[str, float]:
    """Thumbnails a second of JPEGs and PNGs."""
    generator = np.random.default_rng(0)
    rates: dict[str, float] = {"side": side}
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("jpeg", "png"):
            paths = []
            for number in range(images):
                values = cv2.resize(generator.normal(128, 40, (64, 64, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
                paths.append(Path(folder, f"{number}.{ending}"))
                noise = generator.normal(0, 2, values.shape)
                Image.fromarray((values + noise).clip(0, 255).astype(np.uint8)).save(paths[-1])
            began = time.perf_counter()
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(thumbnail, paths))
            rates[f"{ending}_images_per_second"] = round(images / (time.perf_counter() - began), 1)
    return rates


def on_images(root: Path, most: int, workers: int) -> dict[str, object]:
    """Copies that are found, and different images that are reported; a data set is a folder in `root`."""
    names = [name for name in images_below(root) if not any(part in name for part in ("ground_truth", "_GT", "Masks"))]
    sets = sorted({name.partition("/")[0] for name in names})
    with ThreadPoolExecutor(workers) as pool:
        small = np.stack(list(progress(pool.map(thumbnail, [root / name for name in names]), "thumbnails", len(names))))
        of_set = np.array([name.partition("/")[0] for name in names])
        chosen = np.linspace(0, len(names) - 1, min(most, len(names))).astype(int)
        copies = []
        with tempfile.TemporaryDirectory() as folder:
            for name, (change, quality) in COPIES.items():
                make = partial(_copy, Path(folder), change, quality)
                made = np.stack(list(pool.map(make, chosen, [root / names[row] for row in chosen])))
                pairs = [near_duplicates(small[[row]], made[[place]]) for place, row in enumerate(chosen)]
                back = [near_duplicates(made[[place]], small[[row]]) for place, row in enumerate(chosen)]
                copies.append(
                    {
                        "copy": name,
                        "images": len(chosen),
                        "found_in_target": sum(bool(found) for found, _ in pairs),
                        "found_in_source": sum(bool(found) for found, _ in back),
                        "least_correlation": round(min(one.correlation for found, _ in pairs for one in found), 4),
                    }
                )
    different = []
    for one in sets:
        rows = np.flatnonzero(of_set == one)
        within = [near_duplicates(small[np.delete(rows, place)], small[[row]]) for place, row in enumerate(rows)]
        pairs = len(rows) * (len(rows) - 1) // 2
        different.append({"one": one, "other": one, "pairs": pairs, "reported": sum(bool(f) for f, _ in within)})
        for other in sets[sets.index(one) + 1 :]:
            found, _ = near_duplicates(small[rows], small[of_set == other], workers)
            pairs = len(rows) * int((of_set == other).sum())
            different.append({"one": one, "other": other, "pairs": pairs, "reported": len(found)})
    return {"images": len(names), "copies": copies, "different": different}


def _copy(folder: Path, change: Change, quality: int | None, number: int, path: Path) -> np.ndarray:
    copy = folder / f"{number}.{'jpg' if quality else 'png'}"
    with Image.open(path) as image:
        options = {"quality": quality} if quality else {"compress_level": 1}
        change(image.convert("RGB")).save(copy, **options)
    return thumbnail(copy)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photographs", type=Path, help="folder of data sets")
    parser.add_argument("--most", type=int, default=200, help="images that are copied")
    parser.add_argument("--workers", type=int, default=2, help="threads")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "leak.json")
    arguments = parser.parse_args()
    earlier = read_json(arguments.output, "") if arguments.output.exists() else {}
    generated = load_profile("configs/mini.yaml").run / "data"
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"processor": cpu_name(), "cores": os.cpu_count(), "workers": arguments.workers},
        "versions": versions("numpy", "pillow"),
        "settings": {"radius": RADIUS, "correlation": CORRELATION, "side": SIDE},
        "search": search(SOURCES, TARGETS, PLANTED, arguments.workers),
        "speed": speed(arguments.workers),
        "generated": on_images(generated, arguments.most, arguments.workers) if generated.is_dir() else None,
        "photographs": earlier.get("photographs"),
    }
    if arguments.photographs:
        result["photographs"] = on_images(arguments.photographs, arguments.most, arguments.workers)
    print(write_json(arguments.output, result).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
