"""Test the shipped detector's recipe, and variants of it, on sets of photographs that it was not trained on.

    OMP_NUM_THREADS=1 python benchmarks/photographs.py --data FOLDER

writes benchmarks/results/photographs.json. FOLDER has sets in MVTec layout, as for checkpoint.py; the benchmark needs
the manifests and features of the profile's run (notebooks 01_data and 02_features). Each set of photographs of the
source is left out of the training in turn and tested; all other sets are tested after training on the whole source.
Trainings that have finished are kept in the run's folder, so that an interrupted benchmark continues.
"""

import argparse
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from recording import RESULTS, machine, run_script, save, stored

from edgezsad.config import READOUTS, Profile, load_profile
from edgezsad.data.images import decode_mask
from edgezsad.data.loading import Sample
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import InputError
from edgezsad.evaluate import find_test_images
from edgezsad.files import progress, sha256_of_bytes
from edgezsad.metrics.benchmark_tables import category_seed
from edgezsad.metrics.image_metrics import auroc
from edgezsad.metrics.intervals import LEVEL, REPLICATES, bootstrap, bootstrap_pixels, interval, multiplicities
from edgezsad.metrics.pixel_metrics import pixel_metrics
from edgezsad.model import SEEN, UNSEEN
from edgezsad.model.backbone import Backbone
from edgezsad.model.edgeglr import Output
from edgezsad.model.self_reference import COUNTS
from edgezsad.run import Run
from edgezsad.source.render import SourceImages, plain_images, rotate_and_mirror
from edgezsad.training.features import Features, cache_features, read_features
from edgezsad.training.inputs import CachedInputs, training_inputs, training_plan
from edgezsad.training.losses import fit_global_score
from edgezsad.training.trainer import TrainableModel, Trainer, training_key

PACKAGES = ("lightning-fabric", "numpy", "scipy", "timm", "torch")
RECIPE, WHOLE = "recipe", "nothing"
HELD_OUT = "MVTec-AD"  # nothing is chosen on it
UNCOUNTED = ("DeepPCB",)  # each good image shows another layout
HEADS = {"image_auroc": "score", "global_auroc": "global_score", "correction_auroc": "correction"}
"""The field of the readout's output behind each measure."""
WAYS = {
    "score: global score, corrected by the map": "image_auroc",
    "global score alone": "global_auroc",
    "correction by the map alone": "correction_auroc",
}
MEASURES = {"image_auroc": "image_auroc", "map_auroc": "correction_auroc", "cell_auroc": "cells"}
FIELDS = (*HEADS, "cells")
SUMS = {
    RECIPE: COUNTS,
    "own distance once": (1, 1, 1, 1, 1),
    "own distance twice": (1, 1, 1, 2, 1),
    "own distance four times": (1, 1, 1, 4, 1),
    "without own distance": (1, 1, 1, 0, 1),
    "without dispersion": (1, 1, 1, 3, 0),
    "dispersion twice": (1, 1, 1, 3, 2),
    "without asymmetries": (0, 0, 0, 3, 1),
    "asymmetries alone": (1, 1, 1, 0, 0),
    "own distance alone": (0, 0, 0, 1, 0),
    "dispersion alone": (0, 0, 0, 0, 1),
}
"""How often each of the comparisons (`NAMES` in `edgezsad.model.self_reference`) counts in a global score."""


@dataclass(frozen=True)
class Arm:
    """The recipe with one change, compared with another variant; all train as many steps with the same batch size.

    `generated`: trained on generated images only.
    """

    name: str
    readout: dict[str, Any] = field(default_factory=dict)
    generated: bool = False
    against: str = RECIPE


ARMS = (
    Arm(RECIPE),
    Arm("generated images only", generated=True),
    Arm("score learned from features", readout={"kind": "edgeglr"}),
    Arm("map without self-similarity", readout={"self_similarity": []}),
    # The head with context alone reads self-similarity, so both lack it here.
    Arm(
        "map without context or self-similarity",
        readout={"context": 0, "self_similarity": []},
        against="map without self-similarity",
    ),
)


def changed(profile: Profile, arm: Arm) -> Profile:
    """Return the profile with the settings of a variant; settings that a new kind of readout lacks are dropped."""
    raw = profile.model_dump(mode="json")
    readout = raw["model"]["readout"]
    known = READOUTS[arm.readout.get("kind", readout["kind"])].model_fields
    raw["model"]["readout"] = {name: value for name, value in readout.items() if name in known} | arm.readout
    return Profile.model_validate(raw)


def rows_without(group: np.ndarray, name: str) -> np.ndarray:
    """Return the rows of all sets but one; groups are data set and category, separated by a slash."""
    mine = np.char.startswith(group.astype(str), f"{name}/")
    if not mine.any() and name != WHOLE:
        raise InputError(f"data.source: no images of {name} to leave out")
    return np.flatnonzero(~mine)


def fitted(profile: Profile, inputs: CachedInputs, backbone: Backbone, seed: int, rows: np.ndarray) -> Trainer:
    """Return a trainer that has fitted to some rows what is not trained by gradient descent."""
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    trainer = Trainer(profile, inputs, backbone, seed, fabric)
    trainer.fit_source(rows)
    return trainer


def fit(profile: Profile, inputs: CachedInputs, backbone: Backbone, seed: int, rows: np.ndarray) -> TrainableModel:
    """Train one seed on some rows, as `edgezsad.training.trainer.train` does on all of them."""
    trainer = fitted(profile, inputs, backbone, seed, rows)
    plan = training_plan(inputs, rows, profile.training, seed, profile.data.shares)
    steps = range(profile.training.steps)
    for step, example in zip(steps, inputs.steps(plan, steps, 0, 1), strict=True):
        trainer.step(step, example)
    return trainer.average.module.eval()


def outputs(readout: Any, views: Sequence[list[torch.Tensor]], arm: Arm) -> dict[str, Output]:
    """Read the features of both views; the recipe also with what needs no training of its own left out."""
    whole = readout(*views)
    if arm.name != RECIPE:
        return {arm.name: whole}
    share = readout.map_ranking * whole.global_score[:, None, None, None]
    return {
        RECIPE: whole,
        "one view": readout(views[0]),
        "map without rarity": replace(whole, map=readout.local_map(*views) + share),
        "map without the global score": replace(whole, map=whole.map - share),
    }


@torch.inference_mode()
def tested(
    learner: TrainableModel, views: Sequence[CachedInputs], manifest: Manifest, pixels: int, arm: Arm
) -> dict[str, dict[str, Any]]:
    """Test a model on a set; `views` are the features of the images and of the rotated ones.

    Returns by variant (see `outputs`) and category: metrics in percent, labels, scores, and the AUROC of map cells; of
    the recipe pixel metrics too, at `pixels` a side.
    """
    entries = {f"{manifest.name}/{entry.id}": entry for entry in manifest.entries}
    result: dict[str, dict[str, Any]] = {}
    for category in sorted({entry.category for entry in entries.values()}):
        rows = np.flatnonzero(views[0].group == f"{manifest.name}/{category}")
        parts: dict[str, dict[str, list[np.ndarray]]] = {}
        for examples in zip(*(view.read(rows) for view in views), strict=True):
            features = [learner.features(example.inputs) for example in examples]
            for variant, output in outputs(learner.readout, features, arm).items():
                values = {name: getattr(output, head) for name, head in HEADS.items()} | {"map": output.map.squeeze(1)}
                for name, value in values.items():
                    parts.setdefault(variant, {}).setdefault(name, []).append(value.numpy())
        shown, label = [entries[str(name)] for name in views[0].parent[rows]], views[0].label[rows]
        fraction = views[0].features.mask_fraction[rows]
        for variant, part in parts.items():
            every = {name: np.concatenate(values) for name, values in part.items()}
            maps = every.pop("map")
            metrics = {name: 100 * auroc(label, scores) for name, scores in every.items()}
            if variant == RECIPE and any(entry.mask for entry in shown):
                metrics |= pixels_of(maps, shown, manifest.root, pixels)
            said = {name: scores.astype(float).round(5).tolist() for name, scores in every.items()}
            said |= {"label": label.tolist(), "cells": cells_of(label, maps, fraction, category)}
            rounded = {name: round(float(value), 2) for name, value in metrics.items()}
            result.setdefault(variant, {})[category] = {"metrics": rounded} | said
    return result


def pixels_of(maps: np.ndarray, shown: Sequence[Entry], root: Path, pixels: int) -> dict[str, float]:
    """Compute pixel metrics in percent; defective images without a mask do not count."""
    known = [row for row, entry in enumerate(shown) if entry.mask or not entry.label]
    masks = [
        decode_mask(root / entry.mask, (entry.height, entry.width)) if entry.mask else None
        for entry in (shown[row] for row in known)
    ]
    found = pixel_metrics(maps[known], masks, pixels)
    return {"pixel_auroc": 100 * found.auroc, "aupro": 100 * found.aupro}


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


def replicates_of(rows: Sequence[dict[str, Any]], measure: str) -> np.ndarray:
    """Compute the AUROC of a measure and of its B resamples, (1 + B,): mean over seeds and categories, then sets."""
    by_set: dict[str, list[np.ndarray]] = {}
    for row in (one for one in rows if one["set"] not in UNCOUNTED):
        for category, said in row["found"].items():
            if measure == "cells":
                values = np.array(said["cells"], dtype=float)
            else:
                again = bootstrap(said["label"], said[measure], seed=category_seed(category)).auroc
                values = np.append(auroc(said["label"], said[measure]), again)
            if len(values):
                by_set.setdefault(row["set"], []).append(values)
    return np.mean([np.mean(values, axis=0) for values in by_set.values()], axis=0)


def compared(values: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """Compare two results of `replicates_of`: mean in percent, difference in points with its interval."""
    apart = 100 * (values - others)
    low, high = interval(apart[1:])
    found = {"mean": 100 * values[0], "difference": apart[0], "low": low, "high": high}
    return {name: round(float(value), 2) for name, value in found.items()}


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


def features_in(folder: Path, images: SourceImages | RotatedImages, backbone: Backbone, size: int) -> Features:
    """Read the features of images from a folder, or compute and store them."""
    try:
        return read_features(folder, images)
    except InputError:
        return cache_features(images, backbone, size, folder)


class Trial:
    """What all trainings share: the run, its source, and the features of the tested images in both views."""

    def __init__(self, config: str, data: str):
        profile = load_profile(config, data)
        self.run, self.profile = Run(profile), profile
        self.backbone = Backbone(profile.model.backbone, profile.model.weights, profile.model.strides)
        self.inputs = training_inputs(self.run, self.backbone)
        names = [name for name in (*SEEN, *UNSEEN) if name != HELD_OUT]
        self.manifests = {one.name: one for one in find_test_images([Path(data, name) for name in names])}
        images, folder = plain_images([*self.manifests.values()]), self.run.folder / "photographs"
        both = {"plain": images, "rotated": RotatedImages(images)}
        size = profile.model.size
        self.views = [CachedInputs(features_in(folder / name, one, self.backbone, size)) for name, one in both.items()]
        sources = {group.partition("/")[0] for group in self.inputs.group}
        # The sets tested after leaving out each set of the source, or nothing.
        self.jobs = {name: [name] for name in names if name in sources}
        self.jobs[WHOLE] = [name for name in names if name not in sources]

    def measure(self, arm: Arm, left_out: str, seed: int) -> list[dict[str, Any]]:
        """Train one seed of a variant without a set, and test it."""
        profile, rows = changed(self.profile, arm), rows_without(self.inputs.group, left_out)
        if arm.generated:
            sets = [item.name for item in profile.data.source if item.generated]
            rows = rows[np.isin([group.partition("/")[0] for group in self.inputs.group[rows]], sets)]
        key = training_key(profile, self.inputs, seed) | {"arm": asdict(arm), "left_out": left_out}

        def compute() -> list[dict[str, Any]]:
            learner, pixels = fit(profile, self.inputs, self.backbone, seed, rows), profile.evaluation.pixels
            sets = [*chain(*self.jobs.values())] if arm.generated else self.jobs[left_out]
            return [
                {"set": name, "seed": seed, "variant": variant, "found": found}
                for name in sets
                for variant, found in tested(learner, self.views, self.manifests[name], pixels, arm).items()
            ]

        return stored(self.run.folder / "left_out", key, compute)

    @torch.inference_mode()
    def global_scores(self) -> list[dict[str, Any]]:
        """Compare the recipe's global score with other sums of the comparisons; no gradient trains them."""
        rows: dict[str, list[dict[str, Any]]] = {}
        unclipped = changed(self.profile, Arm("", readout={"clip": None}))
        ways = (self.profile, SUMS), (unclipped, {"channels not clipped": COUNTS})
        for (profile, sums), (left_out, sets) in product(ways, self.jobs.items()):
            source = rows_without(self.inputs.group, left_out)
            readout = fitted(profile, self.inputs, self.backbone, 0, source).model.readout
            scores = np.concatenate([readout.self_reference(one.inputs)[0] for one in self.inputs.read(source)])
            label, group = self.inputs.label[source], self.inputs.group[source]
            mine = np.flatnonzero(np.isin([one.partition("/")[0] for one in self.views[0].group], sets))
            both = zip(*(view.read(mine) for view in self.views), strict=True)
            found = np.concatenate([readout.self_reference(*(one.inputs for one in pair))[0] for pair in both])
            for name, counts in sums.items():
                used = np.flatnonzero(counts)
                weight, _ = fit_global_score(scores[:, used], label, group, [counts[one] for one in used])
                rows.setdefault(name, []).extend(self._by_category(mine, found[:, used] @ weight.numpy(), sets))
        values = {name: replicates_of(one, "score") for name, one in rows.items()}
        return [
            {"variant": name} | compared(value, values[RECIPE]) | {"sets": sets_of(rows[name], "score")}
            for name, value in values.items()
        ]

    def _by_category(self, mine: np.ndarray, scores: np.ndarray, sets: Sequence[str]) -> list[dict[str, Any]]:
        """Arrange scores of the test images `mine` as `measure` does."""
        label, group = self.views[0].label[mine], self.views[0].group[mine]
        result = []
        for name in sets:
            found = {}
            for one in np.unique(group[np.char.startswith(group.astype(str), f"{name}/")]):
                found[one.partition("/")[2]] = {"label": label[group == one], "score": scores[group == one]}
            result.append({"set": name, "found": found})
        return result


def sets_of(rows: Sequence[dict[str, Any]], measure: str) -> dict[str, float]:
    """Return the image AUROC of each set, percent: mean over categories and seeds."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["set"], []).extend(auroc(one["label"], one[measure]) for one in row["found"].values())
    return {name: round(100 * float(np.mean(each)), 2) for name, each in values.items()}


@cache
def opened(config: str, data: str) -> Trial:
    """Open the trial once in each process."""
    torch.set_num_threads(1)
    return Trial(config, data)


def _job(config: str, data: str, job: tuple[Arm, str, int]) -> list[dict[str, Any]]:
    return opened(config, data).measure(*job)


def main() -> None:
    """Train and test every variant, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="configs/checkpoint.yaml")
    parser.add_argument("--data", required=True, help="folder of the photographs")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, each on one thread")
    parser.add_argument("--output", type=Path, default=RESULTS / "photographs.json")
    options = parser.parse_args()
    # For the processes that are started; more threads than cores make PyTorch wait for itself.
    os.environ["OMP_NUM_THREADS"] = "1"
    about, trial = machine(*PACKAGES), opened(options.config, options.data)
    profile = trial.profile
    # A training on generated images only leaves nothing out.
    without = [(arm, name) for arm in ARMS for name in trial.jobs if name == WHOLE or not arm.generated]
    jobs = [(arm, name, seed) for arm, name in without for seed in profile.seeds]
    rows: dict[str, list[dict[str, Any]]] = {}
    # New interpreters: PyTorch's threads do not survive a fork.
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        found = pool.map(partial(_job, options.config, options.data), jobs)
        for row in (one for made in progress(found, "trainings", len(jobs), "training") for one in made):
            rows.setdefault(row["variant"], []).append(row)
    values = {(name, measure): replicates_of(row, measure) for name, row in rows.items() for measure in FIELDS}
    score, against = values[RECIPE, "image_auroc"], {arm.name: arm.against for arm in ARMS}
    result = {
        "what": "the shipped detector's recipe on sets of photographs that it was not trained on; percent",
        **about,
        "model": profile.model.model_dump(mode="json"),
        "training": profile.training.model_dump(mode="json"),
        "seeds": list(profile.seeds),
        "source_sha256": trial.inputs.source_sha256,
        "images": len(trial.inputs.label),
        "not_in_means": UNCOUNTED,
        "interval": f"{LEVEL:.0%} of {REPLICATES} resamples of the images within each category and label",
        "rows": [
            {"set": row["set"], "seed": row["seed"], "category": category} | found["metrics"]
            for row in rows[RECIPE]
            for category, found in row["found"].items()
        ],
        "heads": [{"way": way} | compared(values[RECIPE, name], score) for way, name in WAYS.items()],
        "ablations": [
            {
                "variant": name,
                "against": (other := against.get(name, RECIPE)),
                "sets": sets_of(rows[name], "image_auroc"),
            }
            | {title: compared(values[name, one], values[other, one]) for title, one in MEASURES.items()}
            for name in rows
        ],
        "global_scores": trial.global_scores(),
    }
    save(options.output, result, speed=False)


if __name__ == "__main__":
    run_script(main)
