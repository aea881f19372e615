"""Evaluate the recipe on sets of photographs that it was not trained on: each set of the source is left out in turn.

    OMP_NUM_THREADS=1 python benchmarks/photographs.py --config configs/photographs.yaml --data FOLDER

writes benchmarks/results/photographs.json. It needs the manifests and the features of the profile's run (notebooks
01_data and 02_features). For each set of photographs and each seed, a readout is trained on everything else and tested
on all test images of the set. No target is used. Trained seeds are kept in the run's folder, with every image's scores.

    ... --variant NAME --readout '{"kind": "edgeglr"}'

measures the recipe with another readout and adds it to the file; `--one-view` without test-time augmentation.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from recording import RESULTS, machine, save

from edgezsad.config import READOUTS, DataSet, Profile, format_validation_errors, load_profile
from edgezsad.data.images import decode_mask
from edgezsad.data.loading import Sample, subsample_evenly
from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.errors import EdgeZSADError, InputError
from edgezsad.files import progress, read_json, sha256_of_bytes, write_json
from edgezsad.metrics.benchmark_tables import category_seed
from edgezsad.metrics.image_metrics import auroc
from edgezsad.metrics.intervals import bootstrap, bootstrap_pixels, interval, multiplicities
from edgezsad.metrics.pixel_metrics import pixel_metrics
from edgezsad.model.backbone import Backbone
from edgezsad.run import Run
from edgezsad.source.render import SourceImages, plain_images, rotate_and_mirror
from edgezsad.training.features import Features, cache_features, read_features
from edgezsad.training.inputs import CachedInputs, Example, training_inputs, training_plan
from edgezsad.training.trainer import TrainableModel, Trainer, training_key

PACKAGES = ("lightning-fabric", "numpy", "scipy", "timm", "torch")
RECIPE = "recipe"
HEADS = {"image_auroc": "score", "ranking_auroc": "global_score", "correction_auroc": "correction"}
"""Of the readout's output, by what is made of each."""
WAYS = {
    "score: global score, corrected by the map": "image_auroc",
    "global only: global score": "ranking_auroc",
    "local only: correction by the map": "correction_auroc",
}


def photographs(profile: Profile) -> list[DataSet]:
    """The sources that are no generated sets.

    Raises:
        InputError: there are fewer than two.
    """
    sets = [item for item in profile.data.source if item.generated is None]
    if len(sets) < 2:
        raise InputError("data.source: fewer than two sets of photographs; one must be left when another is left out")
    return sets


def rows_without(group: np.ndarray, name: str) -> np.ndarray:
    """Rows of all sets but one; groups are data set and category with a slash between.

    Raises:
        InputError: the set has no rows, so that nothing would be left out.
    """
    mine = np.char.startswith(group.astype(str), f"{name}/")
    if not mine.any():
        raise InputError(f"data.source: no images of {name} to leave out")
    return np.flatnonzero(~mine)


def fit(
    profile: Profile,
    inputs: CachedInputs,
    backbone: Backbone,
    seed: int,
    fitted: np.ndarray,
    ready: Callable[[Trainer], None] = lambda trainer: None,
    measured_on: int | None = None,
) -> TrainableModel:
    """Train one seed on some rows, as `edgezsad.training.trainer.train` does on all of them.

    Args:
        profile: model and recipe.
        inputs: of the source.
        backbone: of the inputs.
        seed: of the first weights, the order and the noise.
        fitted: the rows.
        ready: may change the trainer's models.
        measured_on: how many of the rows the scale of features and cues is taken from; all of them when left out.
    """
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    trainer = Trainer(profile, inputs, backbone, seed, fabric)
    ready(trainer)
    trainer.fit_source(subsample_evenly(fitted, measured_on or len(fitted)))
    order = training_plan(inputs, fitted, profile.training, seed, profile.data.shares)
    steps = range(profile.training.steps)
    for step, example in zip(steps, inputs.steps(order, steps, 0, 1), strict=True):
        trainer.step(step, example)
    return trainer.average.module.eval()


def read_by_readout(learner: TrainableModel, example: Example) -> list[torch.Tensor]:
    """The features that the readout takes of an example."""
    return example.inputs if learner.backbone is None else learner.backbone(example.inputs[0])


@torch.inference_mode()
def tested(
    learner: TrainableModel,
    inputs: CachedInputs,
    manifest: Manifest,
    pixels: int | None,
    second: CachedInputs | None = None,
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, list[float]]]]:
    """Metrics in percent of a set's test images, by category; no pixel metric where there are no masks.

    With them every image's label and what each head says of it, by category.

    Args:
        learner: trained without the set.
        inputs: features of the photographs as they are, in the order of the manifests that they come from.
        manifest: of the set.
        pixels: height and width at which maps and masks are compared; None for no pixel metrics, which take long.
        second: of the same photographs turned (`TurnedImages`), where they are looked at twice.
    """
    entries = {f"{manifest.name}/{entry.id}": entry for entry in manifest.entries if entry.split == "test"}
    result, said = {}, {}
    for category in sorted({entry.category for entry in entries.values()}):
        group = f"{manifest.name}/{category}"
        rows = np.array([row for row in np.flatnonzero(inputs.group == group) if inputs.parent[row] in entries])
        heads: dict[str, list[np.ndarray]] = {name: [] for name in HEADS}
        cells: list[tuple[np.ndarray, np.ndarray]] = []
        maps: list[np.ndarray] = []
        masks: list[np.ndarray | None] = []
        # Not strict: what is repeated has no end.
        for pair in zip(inputs.read(rows), second.read(rows) if second else repeat(None), strict=False):
            example = pair[0]
            looks = [read_by_readout(learner, one) for one in pair if one]
            output = learner.readout(*looks)
            for name, head in HEADS.items():
                heads[name].append(getattr(output, head).numpy())
            cells.append((output.map.squeeze(1).numpy(), example.mask_fraction.numpy()))
            for row, one in zip(example.rows, output.map.squeeze(1).numpy(), strict=True) if pixels else ():
                entry = entries[str(inputs.parent[row])]
                if entry.label and not entry.mask:
                    continue
                shape = (entry.height, entry.width)
                maps.append(one)
                masks.append(decode_mask(manifest.root / entry.mask, shape) if entry.mask else None)
        every = {name: np.concatenate(scores) for name, scores in heads.items()}
        found = {name: 100 * auroc(inputs.label[rows], every[name]) for name in HEADS}
        said[category] = {"label": inputs.label[rows].tolist()}
        said[category] |= {name: [round(float(value), 5) for value in values] for name, values in every.items()}
        if any(mask is not None for mask in masks):
            metrics = pixel_metrics(maps, masks, pixels)
            found |= {"pixel_auroc": 100 * metrics.auroc, "aupro": 100 * metrics.aupro}
        said[category]["cells"] = cells_of(inputs.label[rows], *map(np.concatenate, zip(*cells, strict=True)), category)
        result[category] = {name: round(float(value), 2) for name, value in found.items()}
    return result, said


def cells_of(label: np.ndarray, maps: np.ndarray, fraction: np.ndarray, category: str) -> list[float]:
    """Compute the AUROC of a category's map cells, then that of each resample; empty where no mask is known.

    Args:
        label: (N,) of the images.
        maps: (N, h, w).
        fraction: (N, h, w) masked fraction of each cell; NaN throughout an image whose mask is unknown.
        category: seeds the resamples.
    """
    known = ~np.isnan(fraction).any(axis=(1, 2))
    # Sums of areas miss zero by a rounding error.
    masks = fraction[known] > 1e-6
    if not masks.any():
        return []
    times = np.vstack([np.ones(known.sum()), multiplicities(label[known], seed=category_seed(category))])
    return bootstrap_pixels([maps[known]], masks, maps.shape[1], times).auroc[0].round(5).tolist()


def replicates_of(rows: list[dict[str, Any]], measure: str) -> np.ndarray:
    """AUROC of a measure, then of each resample of the images, (1 + B,): mean over seeds and categories, then sets."""
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
    """Compare two measures on the same images: mean in percent, difference in points with its interval.

    Raises:
        InputError: the two were measured on other sets or seeds.
    """
    if {(row["set"], row["seed"]) for row in rows} != {(row["set"], row["seed"]) for row in against}:
        raise InputError("variants were measured on other sets or seeds; measure both again")
    values = replicates_of(rows, measure)
    apart = 100 * (values - replicates_of(against, other))
    low, high = interval(apart[1:])
    found = {"mean": 100 * values[0], "difference": apart[0], "low": low, "high": high}
    return {name: round(float(value), 2) for name, value in found.items()}


def mean_of_sets(rows: list[dict[str, Any]], measure: str) -> float:
    """The mean over sets of the mean over seeds of the mean over categories that have the measure."""
    by_set: dict[str, list[float]] = {}
    for row in rows:
        values = [found[measure] for found in row["categories"].values() if measure in found]
        if values:
            by_set.setdefault(row["set"], []).append(float(np.mean(values)))
    return float(np.mean([np.mean(values) for values in by_set.values()]))


def with_readout(profile: Profile, changed: dict[str, Any]) -> Profile:
    """The profile with some values of its readout replaced, and checked again.

    Raises:
        InputError: it has no such value.
    """
    raw = profile.model_dump(mode="json")
    if not isinstance(changed, dict):
        raise InputError(f'--readout: {changed!r} names no value; give JSON such as {{"clip": null}}')
    raw["model"]["readout"] = merged_readout(raw["model"]["readout"], changed)
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"--readout: {format_validation_errors(error)}") from None


def merged_readout(readout: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """Replace some values of a readout's settings; those that its new kind does not have are dropped."""
    known = READOUTS[changed.get("kind", readout["kind"])].model_fields if changed.get("kind") in READOUTS else readout
    return {name: value for name, value in readout.items() if name in known} | changed


def features_in(folder: Path, images: SourceImages, backbone: Backbone, size: int) -> Features:
    """Features of the images from a folder; computed where they are not there yet."""
    try:
        return read_features(folder, images)
    except InputError:
        return cache_features(images, backbone, size, folder)


class TurnedImages:
    """Images turned by 180 degrees once they have been resized, as a second look sees them."""

    def __init__(self, images: SourceImages):
        self._images = images
        self.label, self.group, self.parent = images.label, images.group, images.parent
        self.sha256 = sha256_of_bytes(f"{images.sha256} turned".encode())

    def __len__(self) -> int:
        return len(self._images)

    def read(self, row: int, size: int) -> Sample:
        """The image of a row and its mask, both turned."""
        return rotate_and_mirror(self._images.read(row, size), 2)

    def name(self, row: int) -> str:
        """The image's own."""
        return self._images.name(row)


def plain_features(run: Run, sets: list[DataSet], backbone: Backbone) -> Features:
    """Features of the photographs as they are, whatever the source derives from them; computed once."""
    images = plain_images([read_run_manifest(run, item) for item in sets])
    return features_in(run.folder / "photographs", images, backbone, run.profile.model.size)


def second_look(run: Run, sets: list[DataSet], backbone: Backbone) -> CachedInputs:
    """The same features of a second look, computed once."""
    images = TurnedImages(plain_images([read_run_manifest(run, item) for item in sets]))
    return CachedInputs(features_in(run.folder / "photographs_turned", images, backbone, run.profile.model.size))


def main() -> int:
    """Leave each set out with every seed, and write what was found; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="configs/photographs.yaml")
    parser.add_argument("--data", help="folder of the photographs")
    parser.add_argument("--variant", default=RECIPE, help="name under which the result is kept")
    parser.add_argument(
        "--readout", type=json.loads, default={}, help="values of the readout in place of the profile's"
    )
    parser.add_argument("--one-view", action="store_true", help="no test-time augmentation")
    parser.add_argument("--output", type=Path, default=RESULTS / "photographs.json")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        run = Run(load_profile(options.config, options.data))
        profile, sets = with_readout(run.profile, options.readout), photographs(run.profile)
        if options.one_view:
            profile = profile.model_copy(update={"model": profile.model.model_copy(update={"tta": "none"})})
        backbone = Backbone(profile.model.backbone, profile.model.weights, profile.model.strides)
        inputs = training_inputs(run, backbone)
        if not isinstance(inputs, CachedInputs):
            raise InputError("training.tuned_stages: this benchmark takes a frozen backbone; set it to 0")
        plain = CachedInputs(plain_features(run, sets, backbone))
        second = second_look(run, sets, backbone) if profile.model.tta == "rot180" else None
        rows = []
        jobs = [(item, seed) for seed in profile.seeds for item in sets]
        for item, seed in progress(jobs, "sets left out", len(jobs), "training"):
            made_with = training_key(profile, inputs, seed) | {
                "left_out": item.name,
                "pixels": profile.evaluation.pixels,
            }
            key = sha256_of_bytes(json.dumps(made_with, sort_keys=True).encode())[:16]
            path = run.folder / "left_out" / f"{key}.json"
            if not path.exists():
                learner = fit(profile, inputs, backbone, seed, rows_without(inputs.group, item.name))
                found, said = tested(
                    learner, plain, read_run_manifest(run, item), profile.evaluation.pixels, second=second
                )
                write_json(path, {"set": item.name, "seed": seed, "categories": found, "scores": said})
            rows.append(read_json(path, "delete it, and run benchmarks/photographs.py again"))
        measures = (*HEADS, "pixel_auroc", "aupro")
        result = {
            **machine(*PACKAGES),
            "model": profile.model.model_dump(mode="json"),
            "training": profile.training.model_dump(mode="json"),
            "source_sha256": inputs.source_sha256,
            "mean_over_sets": {name: round(mean_of_sets(rows, name), 2) for name in measures},
            "heads": [
                {"way": way, "image_auroc": (found := compared(rows, name, rows, "image_auroc"))["mean"]} | found
                for way, name in WAYS.items()
            ],
            "rows": [{key: row[key] for key in ("set", "seed", "categories")} for row in rows],
        }
        everything = read_json(options.output, "delete it") if options.output.exists() else {}
        variants = everything.get("variants", {}) | {options.variant: result}
        what = "each set of photographs left out of the source in turn and tested on; percent"
        save(options.output, {"what": what, "variants": variants})
        print(json.dumps(result["mean_over_sets"]))
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
