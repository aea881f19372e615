"""What the search for near-duplicates finds, what it leaves alone, and how long it takes.

    python benchmarks/leak.py                          speed alone
    python benchmarks/leak.py --photographs FOLDER     and what it finds on FOLDER/DATA SET/CATEGORY/{train,test}/...

Writes benchmarks/results/leak.json; without photographs, what an earlier run measured on them stays in it.

Speed: 150,000 hashes against 20,000 in all eight views, with some planted within the radius; and fingerprints of images
of 1024 x 1024 made here. Photographs: copies of some are made in every way named below and looked up, with the copy in
the target and with the copy in the source; then all different photographs are compared, across data sets and within.
Faint images: fine textures and small spots of which a small picture shows next to nothing, made here; the same is done.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from edgezsad.data.fingerprints import Fingerprints, fingerprint, stacked
from edgezsad.data.hamming import near
from edgezsad.data.leak import Disjoint
from edgezsad.data.perceptual import BITS, RADIUS, VIEWS, at_finer_scale, near_duplicates
from edgezsad.files import read_json, versions, write_json
from edgezsad.progress import progress
from edgezsad.scoring.onnx_scorer import cpu_name

PACKAGES = ("numba", "numpy", "pillow", "scipy")
SOURCES, TARGETS, PLANTED = 150_000, 20_000, 2_000
JPEGS, JPEG_SIDE = 200, 1024

Filter = Image.Resampling
Turn = Image.Transpose
Change = Callable[[Image.Image], Image.Image]


def scaled(factor: float, image: Image.Image, how: Image.Resampling = Filter.LANCZOS) -> Image.Image:
    """An image with both sides times a factor."""
    return image.resize((round(image.width * factor), round(image.height * factor)), how)


def curve(function: Callable[[float], float], image: Image.Image) -> Image.Image:
    """An image with every value from 0 to 255 through a function, cut off at 255."""
    return image.point([round(min(255, function(value))) for value in range(256)] * 3)


COPIES: dict[str, tuple[Change, dict, tuple[int, ...]]] = {
    "PNG": (lambda i: i, {}, (0,)),
    "JPEG 95": (lambda i: i, {"quality": 95}, (0,)),
    "JPEG 75": (lambda i: i, {"quality": 75}, (0,)),
    "JPEG 60": (lambda i: i, {"quality": 60}, (0,)),
    "half size": (partial(scaled, 0.5), {}, (0,)),
    "0.7 of the size, JPEG 85": (partial(scaled, 0.7, how=Filter.BICUBIC), {"quality": 85}, (0,)),
    "1.5 times the size": (partial(scaled, 1.5, how=Filter.BILINEAR), {}, (0,)),
    "256 x 256": (lambda i: i.resize((256, 256), Filter.BILINEAR), {}, (0,)),
    "grey": (lambda i: i.convert("L"), {}, (0,)),
    "mirrored left to right": (lambda i: i.transpose(Turn.FLIP_LEFT_RIGHT), {}, (1,)),
    "mirrored top to bottom": (lambda i: i.transpose(Turn.FLIP_TOP_BOTTOM), {}, (2,)),
    "turned by 90 degrees": (lambda i: i.transpose(Turn.ROTATE_90), {}, (5, 6)),
    "turned by 180 degrees": (lambda i: i.transpose(Turn.ROTATE_180), {}, (3,)),
    "mirrored and turned": (lambda i: i.transpose(Turn.TRANSVERSE), {}, (4, 7)),
    "64 x 64, mirrored, JPEG 60": (
        lambda i: i.transpose(Turn.FLIP_LEFT_RIGHT).resize((64, 64)), {"quality": 60}, (1,),
    ),
    "values times 0.9": (partial(curve, lambda v: 0.9 * v), {}, (0,)),
    "values times 1.1": (partial(curve, lambda v: 1.1 * v), {}, (0,)),
    "values plus 10": (partial(curve, lambda v: v + 10), {}, (0,)),
    "gamma 0.9": (partial(curve, lambda v: 255 * (v / 255) ** 0.9), {}, (0,)),
    "mirrored, half size, JPEG 75": (
        lambda i: scaled(0.5, i.transpose(Turn.FLIP_LEFT_RIGHT)), {"quality": 75}, (1,),
    ),
    "turned, 0.7 of the size, times 0.93, JPEG 60": (
        lambda i: curve(lambda v: 0.93 * v, scaled(0.7, i.transpose(Turn.ROTATE_90))), {"quality": 60}, (5, 6),
    ),
}  # fmt: skip
"""Name: what is done, how it is saved (PNG where there is no quality), and which of the `VIEWS` undo it."""


def search(workers: int, seed: int = 0) -> dict[str, object]:
    """Time of the search, and how many planted pairs it finds."""
    generator = np.random.default_rng(seed)
    words = (4, SOURCES), (4, len(VIEWS) * TARGETS)
    codes, wanted = (generator.integers(0, 2**64, shape, dtype=np.uint64) for shape in words)
    rows = generator.choice(SOURCES, PLANTED, replace=False)
    columns = generator.choice(wanted.shape[1], PLANTED, replace=False)
    for row, column in zip(rows, columns, strict=True):
        flipped = np.zeros(256, dtype=bool)
        flipped[generator.choice(BITS, generator.integers(0, RADIUS + 1), replace=False)] = True
        wanted[:, column] = codes[:, row] ^ np.packbits(flipped).view(np.uint64)
    near(codes[:, :9], wanted[:, :9], RADIUS)
    parts = np.array_split(wanted, 100, axis=1)
    begin, busy = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(workers) as pool:
        results = list(progress(pool.map(partial(near, codes, radius=RADIUS), parts), "search", len(parts), "part"))
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    starts = np.cumsum([0, *(part.shape[1] for part in parts)])
    pairs = {
        (int(row), int(column + start))
        for start, (found, places, _) in zip(starts, results, strict=False)
        for row, column in zip(found, places, strict=True)
    }
    planted = set(zip(rows.tolist(), columns.tolist(), strict=True))
    return {
        "sources": SOURCES, "targets": TARGETS, "views": len(VIEWS), "seconds": round(seconds, 1),
        "processor_seconds": round(busy, 1), "planted": PLANTED, "found": len(planted & pairs),
        "others": len(pairs - planted),
    }  # fmt: skip


def sheet(seed: int, side: int, grain: float, height: float, weave: float = 0, shade: float = 0) -> Image.Image:
    """A grey sheet: grain of a size in pixels and a height in levels, a weave and a shading that all of them share."""
    generator = np.random.default_rng(seed)
    cells = round(side / grain)
    image = generator.normal(128, height, (cells, cells)).astype(np.float32)
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    place = np.arange(side)
    image += weave * np.outer(*[np.sin(2 * np.pi * place / 8)] * 2)
    image -= shade * np.add.outer(*[(2 * place / side - 1) ** 2] * 2)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def spot(seed: int) -> Image.Image:
    """A dark field with a small spot."""
    image = np.full((1024, 1024), 20, dtype=np.uint8)
    row, column = np.random.default_rng(seed).integers(50, 950, 2)
    image[row : row + 6, column : column + 12] = 90
    return Image.fromarray(image)


FAINT: dict[str, Callable[[int], Image.Image]] = {
    "noise of 10 levels": lambda seed: sheet(seed, 512, 1, 10),
    "noise of 20 levels": lambda seed: sheet(seed, 512, 1, 20),
    "noise of 5 levels, 1024 pixels": lambda seed: sheet(seed, 1024, 1, 5),
    "noise of 2 levels": lambda seed: sheet(seed, 512, 1, 2),
    "grain of 3 pixels": lambda seed: sheet(seed, 512, 3, 7),
    "one weave, noise of 8 levels": lambda seed: sheet(seed, 512, 1, 8, weave=40),
    "one shading, noise of 6 levels": lambda seed: sheet(seed, 512, 1, 6, shade=1.5),
    "dark field with a spot": spot,
}
FAINT_COPIES = (
    "JPEG 95", "JPEG 75", "JPEG 60", "half size", "256 x 256", "values times 0.9",
    "mirrored, half size, JPEG 75", "turned by 90 degrees",
)  # fmt: skip


def faint(each: int, workers: int) -> dict[str, object]:
    """What is found of copies of faint images, how many are said to be lost, and what is reported of different ones."""
    kinds, sets, every = [], [], []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        for place, (kind, make) in enumerate(FAINT.items()):
            paths = [Path(folder) / f"{place}-{seed}.png" for seed in range(each)]
            for seed, path in enumerate(paths):
                # No seed twice: the same noise is the same picture, whatever its height.
                make(1000 * place + seed).save(path)
            originals = stacked(list(pool.map(fingerprint, paths)))
            found = {}
            for name in FAINT_COPIES:
                change, options, _ = COPIES[name]
                made = stacked(list(pool.map(partial(_copy, Path(folder), change, options), enumerate(paths))))
                ending = "jpg" if options else "png"
                confirm = at_finer_scale(paths, [Path(folder) / f"copy{number}.{ending}" for number in range(each)])
                matches, _ = near_duplicates(originals, made, workers, confirm=confirm)
                found[name] = sum(match.source == match.target for match in matches)
            kinds.append({"kind": kind, "images": each, "faint": int(originals.faint.sum()),
                          "lost": int(originals.lost.sum()), "found": found})  # fmt: skip
            sets.append(originals)
            every += paths
        images = stacked([row for originals in sets for row in originals.rows()])
        results = [_among_others(images, row, every) for row in range(len(images))]
    return {"kinds": kinds, "pairs_of_different": len(images) * (len(images) - 1) // 2,
            "reported": sum(len(found) for found, _ in results)}  # fmt: skip


def picture(seed: int, side: int) -> Image.Image:
    """Detail of several sizes and a camera's noise."""
    generator = np.random.default_rng(seed)
    image = generator.normal(128, 2, (side, side, 3)).astype(np.float32)
    for cells, height in ((4, 50), (16, 25), (128, 10)):
        coarse = generator.normal(0, height, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def speed(workers: int) -> dict[str, object]:
    """Fingerprints a second, of JPEG and of PNG."""
    result: dict[str, object] = {"side": JPEG_SIDE}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        for name, number, options in (("jpeg", JPEGS, {"quality": 90}), ("png", JPEGS // 5, {"compress_level": 3})):
            paths = [Path(folder) / f"{seed}.{name}" for seed in range(number)]
            for seed, path in enumerate(paths):
                picture(seed, JPEG_SIDE).save(path, **options)
            begin, busy = time.perf_counter(), time.process_time()
            list(pool.map(fingerprint, paths))
            result[f"{name}_images_per_second"] = round(number / (time.perf_counter() - begin), 1)
            result[f"{name}_processor_milliseconds"] = round(1000 * (time.process_time() - busy) / number, 2)
    return result


def copies(paths: list[Path], each: int, workers: int) -> list[dict[str, object]]:
    """What is found of copies of `each` photographs of every category."""
    by_category: dict[Path, list[Path]] = {}
    for path in paths:
        by_category.setdefault(path.parents[2], []).append(path)
    generator = np.random.default_rng(0)
    chosen = [group[n] for group in by_category.values() for n in generator.permutation(len(group))[:each]]
    rows = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        originals = stacked(list(pool.map(fingerprint, chosen)))
        for name, (change, options, views) in COPIES.items():
            make = partial(_copy, Path(folder), change, options)
            made = progress(pool.map(make, enumerate(chosen)), name, len(chosen))
            rows.append({"copy": name, **_looked_up(originals, stacked(list(made)), {VIEWS[n] for n in views})})
    return rows


def _copy(folder: Path, change: Change, options: dict, numbered: tuple[int, Path]) -> tuple:
    number, path = numbered
    copy = folder / f"copy{number}.{'jpg' if options else 'png'}"
    with Image.open(path) as image:
        change(image.convert("RGB")).save(copy, **(options or {"compress_level": 1}))
    return fingerprint(copy)


def _looked_up(originals: Fingerprints, made: Fingerprints, relations: set[str]) -> dict[str, object]:
    """Each copy against its own original, both ways."""
    found, named, matches = [0, 0], 0, []
    for row in range(len(made)):
        pair = originals.take(np.array([row])), made.take(np.array([row]))
        for way, (source, target) in enumerate((pair, pair[::-1])):
            hits, _ = near_duplicates(source, target)
            found[way] += len(hits)
            named += sum(hit.relation in relations for hit in hits)
            matches += hits
    return {
        "images": len(made), "found_in_target": found[0], "found_in_source": found[1], "relation_right": named,
        "largest_distance": max(match.distance for match in matches),
        "least_correlation": round(min(match.correlation for match in matches), 3),
        "largest_residual": round(max(match.residual for match in matches), 2),
    }  # fmt: skip


def different(sets: dict[str, Fingerprints], workers: int) -> list[dict[str, object]]:
    """Different photographs: candidates and verified pairs, across data sets and within each."""
    rows = []
    names = list(sets)
    for place, one in enumerate(names):
        for other in names[place:]:
            if one == other:
                results = [_among_others(sets[one], row) for row in range(len(sets[one]))]
                matches = [match for found, _ in results for match in found]
                # Each pair is seen from both of its sides.
                candidates, pairs = sum(number for _, number in results) // 2, len(results) * (len(results) - 1) // 2
            else:
                matches, candidates = near_duplicates(sets[one], sets[other], workers)
                pairs = len(sets[one]) * len(sets[other])
            rows.append(
                {"one": one, "other": other, "pairs": pairs, "candidates": candidates, "reported": len(matches)}
            )
    return rows


def _among_others(images: Fingerprints, row: int, paths: list[Path] | None = None) -> tuple[list, int]:
    others = np.delete(np.arange(len(images)), row)
    confirm = at_finer_scale([paths[other] for other in others], [paths[row]]) if paths else None
    return near_duplicates(images.take(others), images.take(np.array([row])), confirm=confirm)


def photographs(root: Path, each: int, workers: int) -> dict[str, object]:
    """Everything that is measured on photographs."""
    paths = sorted(
        path
        for split in ("train", "test")
        for path in root.glob(f"*/*/{split}/*/*")
        if path.suffix.lower() in (".png", ".jpg", ".jpeg")
    )
    sets = {name: [path for path in paths if path.parents[3].name == name] for name in _names(paths)}
    with ThreadPoolExecutor(workers) as pool:
        known = {name: stacked(list(pool.map(fingerprint, group))) for name, group in sets.items()}
    return {
        "images": {name: len(group) for name, group in sets.items()},
        "copies": copies(paths, each, workers),
        "different": different(known, workers),
    }


def _names(paths: Iterable[Path]) -> list[str]:
    return sorted({path.parents[3].name for path in paths})


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photographs", type=Path, help="folder of data sets in MVTec-AD's layout")
    parser.add_argument("--each", type=int, default=6, help="photographs of every category that are copied")
    parser.add_argument("--faint", type=int, default=20, help="faint images of each kind")
    parser.add_argument("--workers", type=int, default=2, help="threads")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "leak.json")
    arguments = parser.parse_args()
    earlier = read_json(arguments.output, "") if arguments.output.exists() else {}
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"processor": cpu_name(), "cores": os.cpu_count(), "workers": arguments.workers},
        "versions": versions(*PACKAGES),
        "settings": {k: v for k, v in asdict(Disjoint(0, 0)).items() if k.startswith(("method", "radius", "l"))},
        "search": search(arguments.workers),
        "speed": speed(arguments.workers),
        "faint": faint(arguments.faint, arguments.workers),
        "photographs": earlier.get("photographs"),
    }
    if arguments.photographs:
        result["photographs"] = photographs(arguments.photographs, arguments.each, arguments.workers)
    print(write_json(arguments.output, result).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
