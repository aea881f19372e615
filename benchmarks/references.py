"""Accuracy of detectors adapted by reference images, and of `--compare`, on photographs of real parts.

    OMP_NUM_THREADS=1 python benchmarks/references.py --data FOLDER [--patchcore] [--times]

writes benchmarks/results/references.json. FOLDER has sets in MVTec layout. References are drawn from a pool of good
images of each category, which are not tested. `--patchcore` adds PatchCore of anomalib (`patchcore.py`) with the same
references. `--times` adds times and memory, measured on an idle machine, to the file that exists.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from parts import MANY, Part, draws, parts_in
from patchcore import PATCHCORE, PatchCore, gflops_ratio, times
from recording import RESULTS, machine, run_script, save, stored

from edgezsad.data.images import decode_mask, load, measure
from edgezsad.files import progress, read_json, sha256_of_file
from edgezsad.metrics.benchmark_tables import category_seed
from edgezsad.metrics.calibration import estimate
from edgezsad.metrics.image_metrics import auroc, decisions
from edgezsad.metrics.intervals import bootstrap, interval
from edgezsad.metrics.pixel_metrics import enlarge, pixel_metrics
from edgezsad.model import DETAIL_SHARE, DETAIL_WEIGHT, GRAPH, OWN_WEIGHT, REFERENCES, SEEN, SMALLEST
from edgezsad.references import MOST_PATCHES, Describer, Description, compare, leave_one_out, score_of, select_patches
from edgezsad.scoring.onnx_scorer import OnnxScorer

PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "pillow", "torch")
SETTINGS = {"pool": 16, "draws": 5, "images": 40, "images_of_many": 20, "pixels": 256, "replicates": 200}
SETTINGS |= {"calibrated_on": 10, "calibrations": 3, "batch": 30, "batches": 8} | PATCHCORE
COUNTS, SHARES = (1, 2, 4, 8), (5, 10, 30)
UNCOUNTED = ("DeepPCB",)  # each image shows another layout
HELD_OUT = ("MVTec-AD",)  # the method was chosen without it
PAIRS = {"pixel": ("pixel_auroc_4", "aupro_4"), "errors": ("false_alarms", "misses")}
PAIRS |= {"errors_single": ("false_alarms_single", "misses_single")}
Measures = dict[tuple[str, ...], np.ndarray]
"""By the keys in the file: a value, (1,), or followed by those of resampled images for each draw, (1 + B,)."""


class Remembering:
    """A `Description` that computes its distances to another one only once."""

    def __init__(self, one: Description):
        self.one, self.own, self.bank, self.offset = one, one.own, self, None
        self.known: dict[int, np.ndarray] = {}

    def distances(self, other: "Remembering", _: None) -> np.ndarray:
        if id(other) not in self.known:
            self.known[id(other)] = self.one.distances(other.one.bank, other.one.offset)
        return self.known[id(other)]


def fine_map(distance: np.ndarray, one: Description, detector_map: np.ndarray) -> np.ndarray:
    """Add the detail of the detector's map (h, w) to distances of patches, as `ReferenceDetector` does."""
    side = int(len(distance) ** 0.5)
    enlarged, coarse = (enlarge(values.reshape(side, side), 2 * side) for values in (distance, one.detector_map))
    squared = enlarged**2 + DETAIL_WEIGHT * (detector_map - coarse)
    return np.sqrt(np.maximum(squared, SMALLEST)) + DETAIL_SHARE * detector_map


def scores_of(part: Part, settings: dict[str, Any]) -> dict[str, Any]:
    """Compute scores of the tested images for each draw of references, and metrics of maps, batches and thresholds."""
    describer, scorer, label = Describer(), OnnxScorer(GRAPH), part.label
    pool, tested = (
        [describer.describe(load(path, describer.size)) for path in some] for some in (part.pool, part.tested)
    )
    single = [scorer.score(load(path, scorer.size)) for path in part.tested]
    masks = [mask and decode_mask(mask, measure(path)[:2]) for mask, path in zip(part.masks, part.tested, strict=True)]
    known = [row for row, mask in enumerate(masks) if mask is not None or not label[row]]
    found: dict[str, Any] = {"single": [[score for score, _ in single]], "pixel": []}
    found["errors_single"] = [errors(label, found["single"][0], scorer.threshold)]

    def distances(rows: np.ndarray) -> list[np.ndarray]:
        bank, offset = select_patches([pool[row] for row in rows], MOST_PATCHES)
        return [one.distances(np.float32(bank), offset) + OWN_WEIGHT * one.own for one in tested]

    for count in COUNTS:
        found[f"k{count}"] = []
        for rows in draws(count, len(pool), settings["draws"]):
            apart = distances(rows)
            found[f"k{count}"].append([score_of(one) for one in apart])
            if count == 4 and any(mask is not None for mask in masks):
                maps = [fine_map(apart[row], tested[row], single[row][1]) for row in known]
                pixel = pixel_metrics(maps, [masks[row] for row in known], settings["pixels"])
                found["pixel"].append((pixel.auroc, pixel.aupro))
    found["errors"] = []
    for rows in draws(settings["calibrated_on"], len(pool), settings["calibrations"]):
        threshold = estimate(leave_one_out([pool[row] for row in rows]))
        found["errors"].append(errors(label, [score_of(one) for one in distances(rows)], threshold))
    batch = [Remembering(one) for one in tested]
    good, bad = (np.flatnonzero(label == kind)[: settings["batch"]] for kind in (0, 1))
    for share in SHARES:
        random, number = np.random.default_rng(share), max(1, round(share * len(good) / (100 - share)))
        chosen = [[*good, *random.choice(bad, min(number, len(bad)), False)] for _ in range(settings["batches"])]
        values = [auroc(label[rows], compare([batch[row] for row in rows]).scores) for rows in chosen]
        found[f"batch{share}"] = float(np.mean(values))
    return found


def errors(label: np.ndarray, scores: list[float], threshold: float | None) -> tuple[float, float]:
    """Return the shares of false alarms and of misses."""
    decided = decisions(label, scores, threshold)
    return decided.false_alarms / decided.normal, decided.missed / decided.defective


def measures_of(part: Part, own: dict[str, Any], other: dict[str, Any], count: int) -> Measures:
    """Compute the measures of a category from scores; image AUROC with `count` resamples of images for each draw."""

    def resampled(scores: list[list[float]]) -> np.ndarray:
        again = [bootstrap(part.label, one, count, category_seed(part.category)).auroc for one in scores]
        return np.concatenate([[np.mean([auroc(part.label, one) for one in scores])], *again])

    found: Measures = {("single",): resampled(own["single"])[:1]}
    found |= {("k", str(number)): resampled(own[f"k{number}"]) for number in COUNTS}
    found |= {("batch", str(share)): np.array([own[f"batch{share}"]]) for share in SHARES}
    for name, both in PAIRS.items():
        # Not every category has masks.
        for one, values in zip(both, zip(*own[name], strict=True), strict=bool(own[name])):
            found[(one,)] = np.mean(values, keepdims=True)
    for name, scores in other.items():
        number, ratio = name[1:].split(", ")
        found["patchcore", number, ratio] = resampled(scores)
        same = resampled(own[f"k{number}"][: len(scores)])
        found["difference", number, ratio] = same - found["patchcore", number, ratio]
    return found


def mean_of_sets(rows: Sequence[tuple[Part, Measures]]) -> dict[str, Any]:
    """Average each measure over the categories of a set that have it, then over sets."""
    values: dict[tuple[str, ...], dict[str, list[np.ndarray]]] = {}
    for part, found in rows:
        for name, value in found.items():
            values.setdefault(name, {}).setdefault(part.set if part.set in MANY else part.category, []).append(value)
    means = {name: np.mean([np.mean(each, axis=0) for each in sets.values()], axis=0) for name, sets in values.items()}
    return {"sets": len(values["single",])} | nested(means)


def nested(found: Measures) -> dict[str, Any]:
    """Return measures by their keys, those with resamples as mean and interval."""
    row: dict[str, Any] = {}
    for (*outer, last), values in found.items():
        inner = row
        for name in outer:
            inner = inner.setdefault(name, {})
        mean, low, high = (round(float(value), 4) for value in (values[0], *interval(values[1:])))
        inner[last] = {"mean": mean, "low": low, "high": high} if len(values) > 1 else mean
    return row


def measured(parts: Sequence[Part], settings: dict[str, Any], other: PatchCore | None, kept: Path) -> dict[str, Any]:
    """Measure all categories, and their means over sets; scores are kept in a folder.

    After a change of `edgezsad.references` that folder must be deleted.
    """
    graphs = [sha256_of_file(path) for path in (GRAPH, REFERENCES)]
    rows: list[tuple[Part, Measures]] = []
    for part in progress(parts, "measure", unit="category"):
        key = {"part": f"{part.set}/{part.category}", "settings": settings}
        own, theirs = stored(kept, key | {"graphs": graphs}, partial(scores_of, part, settings)), {}
        earlier = sum(row[0].set == part.set for row in rows)
        if other and part.set not in UNCOUNTED and not (part.set in MANY and earlier >= settings["patchcore_of_many"]):
            theirs = stored(kept, key | {"method": "patchcore"}, partial(other.scores_of, part, settings))
        rows.append((part, measures_of(part, own, theirs, settings["replicates"])))
    counted = [row for row in rows if row[0].set not in UNCOUNTED]
    without = {"all": (), "not_trained_on": SEEN, "without_held_out": HELD_OUT}
    means = {name: mean_of_sets([row for row in counted if row[0].set not in sets]) for name, sets in without.items()}
    categories = [
        {"set": part.set, "category": part.category, "counted": part.set not in UNCOUNTED, "images": len(part.tested)}
        | {"trained_on": part.set in SEEN}
        | nested(found)
        for part, found in rows
    ]
    return {"settings": settings, "categories": categories, "means": means}


def keep_patchcore(found: dict[str, Any], before: dict[str, Any]) -> None:
    """Keep PatchCore's results, and the difference from the checkpoint of that time."""
    rows = {name: (found["means"][name], mean) for name, mean in before["means"].items()}
    mine = {(row["set"], row["category"]): row for row in found["categories"]}
    rows |= {key: (mine[key], row) for row in before["categories"] if (key := (row["set"], row["category"])) in mine}
    for new, old in rows.values():
        new |= {key: old[key] for key in ("patchcore", "difference") if key in old}
    found["patchcore_commit"] = before.get("patchcore_commit", before["commit"])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets")
    parser.add_argument("--patchcore", action="store_true", help="measure anomalib's PatchCore too")
    parser.add_argument("--times", action="store_true", help="measure only times and memory")
    parser.add_argument("--output", type=Path, default=RESULTS / "references.json")
    options = parser.parse_args()
    parts, packages = list(parts_in(options.data, SETTINGS)), PACKAGES + ("anomalib",) * options.patchcore
    if options.times:
        found = read_json(options.output, "run this benchmark without --times first")
        found["times"] = machine(*packages) | times(parts[0].pool + parts[0].tested, options.patchcore)
    else:
        what = "image AUROC, pixel AUROC, AUPRO and shares of errors; intervals are over images and draws of references"
        found = {"what": what, **machine(*packages), "gflops_ratio": gflops_ratio()}
        found |= measured(parts, SETTINGS, PatchCore() if options.patchcore else None, Path("runs/references"))
        before = read_json(options.output, "delete it") if options.output.is_file() else {}
        if before and not options.patchcore:
            keep_patchcore(found, before)
        # Times stay until they are measured again; they name their own commit.
        if "times" in before:
            found["times"] = before["times"]
    save(options.output, found, speed=options.times)


if __name__ == "__main__":
    run_script(main)
