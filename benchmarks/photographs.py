"""Evaluate the recipe on sets of photographs that it was not trained on: each set of the source is left out in turn.

    OMP_NUM_THREADS=1 python benchmarks/photographs.py --config configs/photographs.yaml --data FOLDER

writes benchmarks/results/photographs.json. It needs the manifests and the features of the profile's run (notebooks
01_data and 02_features). For each set of photographs and each seed, a readout is trained on all other sets and tested
on the test images of the set. Results of finished trainings are kept in the run's folder, with the score of each image.

    ... --variant NAME --readout '{"kind": "edgeglr"}'

adds the recipe with another readout to the file; `--one-view` measures without test-time augmentation.
"""

import argparse
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from recording import RESULTS, machine, run_script, save, stored

from edgezsad.config import READOUTS, DataSet, Profile, format_validation_errors, load_profile
from edgezsad.data.images import decode_mask
from edgezsad.data.loading import Sample
from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.errors import InputError
from edgezsad.files import progress, read_json, sha256_of_bytes
from edgezsad.metrics.benchmark_tables import category_seed
from edgezsad.metrics.image_metrics import auroc
from edgezsad.metrics.intervals import bootstrap, bootstrap_pixels, interval, multiplicities
from edgezsad.metrics.pixel_metrics import pixel_metrics
from edgezsad.model.backbone import Backbone
from edgezsad.run import Run
from edgezsad.source.render import SourceImages, plain_images, rotate_and_mirror
from edgezsad.training.features import Features, cache_features, read_features
from edgezsad.training.inputs import CachedInputs, training_inputs, training_plan
from edgezsad.training.trainer import TrainableModel, Trainer, training_key

PACKAGES = ("lightning-fabric", "numpy", "scipy", "timm", "torch")
RECIPE = "recipe"
HEADS = {"image_auroc": "score", "ranking_auroc": "global_score", "correction_auroc": "correction"}
"""The field of the readout's output behind each measure."""
WAYS = {
    "score: global score, corrected by the map": "image_auroc",
    "global only: global score": "ranking_auroc",
    "local only: correction by the map": "correction_auroc",
}


def photographs(profile: Profile) -> list[DataSet]:
    """Return the sources that are photographs, at least two."""
    sets = [item for item in profile.data.source if item.generated is None]
    if len(sets) < 2:
        raise InputError("data.source: fewer than two sets of photographs; one must be left when another is left out")
    return sets


def rows_without(group: np.ndarray, name: str) -> np.ndarray:
    """Return the rows of all sets but one; groups are data set and category, separated by a slash."""
    mine = np.char.startswith(group.astype(str), f"{name}/")
    if not mine.any():
        raise InputError(f"data.source: no images of {name} to leave out")
    return np.flatnonzero(~mine)


def fit(profile: Profile, inputs: CachedInputs, backbone: Backbone, seed: int, rows: np.ndarray) -> TrainableModel:
    """Train one seed on some rows, as `edgezsad.training.trainer.train` does on all of them."""
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    trainer = Trainer(profile, inputs, backbone, seed, fabric)
    trainer.fit_source(rows)
    plan = training_plan(inputs, rows, profile.training, seed, profile.data.shares)
    steps = range(profile.training.steps)
    for step, example in zip(steps, inputs.steps(plan, steps, 0, 1), strict=True):
        trainer.step(step, example)
    return trainer.average.module.eval()


@torch.inference_mode()
def tested(
    learner: TrainableModel, views: list[CachedInputs], manifest: Manifest, pixels: int | None
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, list[float]]]]:
    """Test a model on a set that it was not trained on.

    Args:
        learner: the model.
        views: features of the photographs, and for test-time augmentation those of the rotated ones.
        manifest: of the set.
        pixels: height and width at which maps and masks are compared; None: no pixel metrics.

    Returns:
        By category, metrics in percent; and labels, scores and the AUROC of map cells.
    """
    entries = {f"{manifest.name}/{entry.id}": entry for entry in manifest.entries if entry.split == "test"}
    group, parent, label = views[0].group, views[0].parent, views[0].label
    result, said = {}, {}
    for category in sorted({entry.category for entry in entries.values()}):
        rows = np.flatnonzero((group == f"{manifest.name}/{category}") & np.isin(parent, list(entries)))
        parts: dict[str, list[np.ndarray]] = {}
        for examples in zip(*(view.read(rows) for view in views), strict=True):
            output = learner.readout(*(learner.features(example.inputs) for example in examples))
            found = {name: getattr(output, head) for name, head in HEADS.items()}
            found |= {"map": output.map.squeeze(1), "fraction": examples[0].mask_fraction}
            for name, values in found.items():
                parts.setdefault(name, []).append(values.numpy())
        every = {name: np.concatenate(values) for name, values in parts.items()}
        maps, fraction = every.pop("map"), every.pop("fraction")
        metrics = {name: 100 * auroc(label[rows], scores) for name, scores in every.items()}
        said[category] = {"label": label[rows].tolist(), "cells": cells_of(label[rows], maps, fraction, category)}
        said[category] |= {name: scores.astype(float).round(5).tolist() for name, scores in every.items()}
        shown = [entries[str(name)] for name in parent[rows]]
        if pixels and any(entry.mask for entry in shown):
            known = [row for row, entry in enumerate(shown) if entry.mask or not entry.label]
            masks = [
                decode_mask(manifest.root / entry.mask, (entry.height, entry.width)) if entry.mask else None
                for entry in (shown[row] for row in known)
            ]
            pixel = pixel_metrics(maps[known], masks, pixels)
            metrics |= {"pixel_auroc": 100 * pixel.auroc, "aupro": 100 * pixel.aupro}
        result[category] = {name: round(float(value), 2) for name, value in metrics.items()}
    return result, said


def cells_of(label: np.ndarray, maps: np.ndarray, fraction: np.ndarray, category: str) -> list[float]:
    """Compute the AUROC of map cells and of its resamples; empty where no mask is known.

    `maps` and `fraction`, the masked fraction of each cell, are (N, h, w); NaN where an image's mask is unknown.
    """
    known = ~np.isnan(fraction).any(axis=(1, 2))
    # Sums of areas miss zero by a rounding error.
    masks = fraction[known] > 1e-6
    if not masks.any():
        return []
    times = np.vstack([np.ones(known.sum()), multiplicities(label[known], seed=category_seed(category))])
    return bootstrap_pixels([maps[known]], masks, maps.shape[1], times)["pixel_auroc"][0].round(5).tolist()


def replicates_of(rows: list[dict[str, Any]], measure: str) -> np.ndarray:
    """Compute the AUROC of a measure and of its B resamples, (1 + B,): mean over seeds and categories, then sets."""
    by_set: dict[str, list[np.ndarray]] = {}
    for row in rows:
        for category, said in row["scores"].items():
            if measure == "cells":
                values = np.array(said["cells"], dtype=float)
            else:
                again = bootstrap(said["label"], said[measure], seed=category_seed(category)).auroc
                values = np.append(auroc(said["label"], said[measure]), again)
            if len(values):
                by_set.setdefault(row["set"], []).append(values)
    return np.mean([np.mean(values, axis=0) for values in by_set.values()], axis=0)


def compared(rows: list[dict[str, Any]], measure: str, against: list[dict[str, Any]], other: str) -> dict[str, float]:
    """Compare two measures on the same images: mean in percent, difference in points with its interval."""
    if {(row["set"], row["seed"]) for row in rows} != {(row["set"], row["seed"]) for row in against}:
        raise InputError("variants were measured on other sets or seeds; measure both again")
    values = replicates_of(rows, measure)
    apart = 100 * (values - replicates_of(against, other))
    low, high = interval(apart[1:])
    found = {"mean": 100 * values[0], "difference": apart[0], "low": low, "high": high}
    return {name: round(float(value), 2) for name, value in found.items()}


def mean_of_sets(rows: list[dict[str, Any]], measure: str) -> float:
    """Average a measure over categories that have it, then seeds, then sets."""
    by_set: dict[str, list[float]] = {}
    for row in rows:
        values = [found[measure] for found in row["categories"].values() if measure in found]
        if values:
            by_set.setdefault(row["set"], []).append(float(np.mean(values)))
    return float(np.mean([np.mean(values) for values in by_set.values()]))


def with_readout(profile: Profile, changed: dict[str, Any]) -> Profile:
    """Return the profile with some settings of its readout replaced, validated again."""
    raw = profile.model_dump(mode="json")
    if not isinstance(changed, dict):
        raise InputError(f'--readout: {changed!r} names no value; give JSON such as {{"clip": null}}')
    raw["model"]["readout"] = merged_readout(raw["model"]["readout"], changed)
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"--readout: {format_validation_errors(error)}") from None


def merged_readout(readout: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """Replace some settings of a readout; settings that a new kind does not have are dropped."""
    known = READOUTS[changed.get("kind", readout["kind"])].model_fields if changed.get("kind") in READOUTS else readout
    return {name: value for name, value in readout.items() if name in known} | changed


def features_in(folder: Path, images: SourceImages, backbone: Backbone, size: int) -> Features:
    """Read the features of images from a folder, or compute and store them."""
    try:
        return read_features(folder, images)
    except InputError:
        return cache_features(images, backbone, size, folder)


class RotatedImages:
    """Source images, rotated by 180 degrees after resizing, as test-time augmentation does."""

    def __init__(self, images: SourceImages):
        self._images = images
        self.label, self.group, self.parent = images.label, images.group, images.parent
        self.sha256 = sha256_of_bytes(f"{images.sha256} rotated".encode())

    def __len__(self) -> int:
        return len(self._images)

    def read(self, row: int, size: int) -> Sample:
        return rotate_and_mirror(self._images.read(row, size), 2)

    def name(self, row: int) -> str:
        return self._images.name(row)


def photograph_features(run: Run, sets: list[DataSet], backbone: Backbone, rotated: bool = False) -> CachedInputs:
    """Return features of the photographs without augmentation, or rotated by 180 degrees; computed once."""
    images = plain_images([read_run_manifest(run, item) for item in sets])
    folder = run.folder / ("photographs_rotated" if rotated else "photographs")
    images = RotatedImages(images) if rotated else images
    return CachedInputs(features_in(folder, images, backbone, run.profile.model.size))


def main() -> None:
    """Leave each set out with every seed and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="configs/photographs.yaml")
    parser.add_argument("--data", help="folder of the photographs")
    parser.add_argument("--variant", default=RECIPE, help="name under which the result is kept")
    parser.add_argument("--readout", type=json.loads, default={}, help="settings that replace the readout's, as JSON")
    parser.add_argument("--one-view", action="store_true", help="no test-time augmentation")
    parser.add_argument("--output", type=Path, default=RESULTS / "photographs.json")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    run = Run(load_profile(options.config, options.data))
    profile, sets = with_readout(run.profile, options.readout), photographs(run.profile)
    if options.one_view:
        profile = profile.model_copy(update={"model": profile.model.model_copy(update={"tta": "none"})})
    pixels = profile.evaluation.pixels
    backbone = Backbone(profile.model.backbone, profile.model.weights, profile.model.strides)
    inputs = training_inputs(run, backbone)
    if not isinstance(inputs, CachedInputs):
        raise InputError("training.tuned_stages: this benchmark needs a frozen backbone; set it to 0")
    rotations = (False, True) if profile.model.tta == "rot180" else (False,)
    views = [photograph_features(run, sets, backbone, rotated) for rotated in rotations]

    def measure(item: DataSet, seed: int) -> dict[str, Any]:
        learner = fit(profile, inputs, backbone, seed, rows_without(inputs.group, item.name))
        found, said = tested(learner, views, read_run_manifest(run, item), pixels)
        return {"set": item.name, "seed": seed, "categories": found, "scores": said}

    rows = []
    jobs = [(item, seed) for seed in profile.seeds for item in sets]
    for item, seed in progress(jobs, "sets left out", len(jobs), "training"):
        key = training_key(profile, inputs, seed) | {"left_out": item.name, "pixels": pixels}
        rows.append(stored(run.folder / "left_out", key, partial(measure, item, seed)))
    heads = {way: compared(rows, name, rows, "image_auroc") for way, name in WAYS.items()}
    result = {
        **machine(*PACKAGES),
        "model": profile.model.model_dump(mode="json"),
        "training": profile.training.model_dump(mode="json"),
        "source_sha256": inputs.source_sha256,
        "mean_over_sets": {name: round(mean_of_sets(rows, name), 2) for name in (*HEADS, "pixel_auroc", "aupro")},
        "heads": [{"way": way, "image_auroc": found["mean"]} | found for way, found in heads.items()],
        "rows": [{key: row[key] for key in ("set", "seed", "categories")} for row in rows],
    }
    everything = read_json(options.output, "delete it") if options.output.exists() else {}
    variants = everything.get("variants", {}) | {options.variant: result}
    what = "each set of photographs left out of the source in turn and tested on; percent"
    save(options.output, {"what": what, "variants": variants})
    print(json.dumps(result["mean_over_sets"]))


if __name__ == "__main__":
    run_script(main)
