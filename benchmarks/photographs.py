"""How good a recipe is on photographs of sets that it has not seen: each set of the source is left out in turn.

    OMP_NUM_THREADS=1 python benchmarks/photographs.py --config configs/photographs.yaml --data FOLDER

writes benchmarks/results/photographs.json. It needs the manifests and the features of the profile's run (notebooks
01_data and 02_features). For each set of photographs among the profile's sources and each seed, a readout is trained on
everything else, and tested on all test images of the set, as they are. No target is touched: a recipe is chosen here,
and its targets are looked at afterwards. What has been trained is kept in the run's folder, with every image's scores.

    ... --variant NAME --readout '{"kind": "edgeglr"}'

measures the recipe with another readout, and adds it to the file under its name; `--one-look` without the second look.
"""

import argparse
import json
import os
import sys
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from scipy.stats import rankdata

from edgezsad.config import READOUTS, DataSet, Profile, SelfReferenceConfig, format_validation_errors, load_profile
from edgezsad.data.images import decode_mask
from edgezsad.data.loading import Sample, subsample_evenly
from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.errors import EdgeZSADError, InputError
from edgezsad.files import read_json, sha256_of_bytes, versions, write_json
from edgezsad.metrics.image_metrics import auroc
from edgezsad.metrics.pixel_metrics import pixel_metrics
from edgezsad.model.backbone import Backbone
from edgezsad.progress import progress
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import cpu_name
from edgezsad.source.render import rotate_and_mirror
from edgezsad.source.source_images import SourceImages, plain_images
from edgezsad.training.features import Features, cache_features, read_features
from edgezsad.training.inputs import CachedInputs, Example, training_inputs, training_plan
from edgezsad.training.trainer import TrainableModel, Trainer, source_shares, training_key

PACKAGES = ("lightning-fabric", "numpy", "scipy", "timm", "torch")
RECIPE = "recipe"
HEADS = {"image_auroc": "score", "ranking_auroc": "global_score", "correction_auroc": "correction"}
"""Of the readout's output, by what is made of each."""
REPLICATES, LEVEL = 1000, 95
"""Of the intervals; percent."""
TOP = 0.01
"""Share of the cells that the mean of the highest is taken of."""
POOLINGS = {
    "softmax mean": lambda flat: (_softmax(flat) * flat).sum(axis=1),
    "hard max": lambda flat: flat.max(axis=1),
    "mean of the highest 1%": lambda flat: np.sort(flat, axis=1)[:, -max(1, round(TOP * flat.shape[1])) :].mean(axis=1),
    "mean of all cells": lambda flat: flat.mean(axis=1),
}
"""How a map, (N, cells), becomes a number for each image; the recipe's first."""
PEAK = next(iter(POOLINGS))


def _softmax(flat: np.ndarray) -> np.ndarray:
    weight = np.exp(flat - flat.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


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
    order = training_plan(inputs, fitted, profile.training, seed, source_shares(profile))
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
    look: Callable[[str, Example, np.ndarray, np.ndarray], None] = lambda category, example, maps, drawn: None,
    second: CachedInputs | None = None,
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, list[float]]]]:
    """Metrics in percent of a set's test images, by category; no pixel metric where there are no masks.

    With them every image's label and what each head says of it, by category.

    Args:
        learner: trained without the set.
        inputs: features of the photographs as they are, in the order of the manifests that they come from.
        manifest: of the set.
        pixels: height and width at which maps and masks are compared; None for no pixel metrics, which take long.
        look: is shown every category's images, some at a time, with their maps and what the spatial head has drawn of
            these, (B, h, w).
        second: of the same photographs turned (`TurnedImages`), where they are looked at twice.
    """
    entries = {f"{manifest.name}/{entry.id}": entry for entry in manifest.entries if entry.split == "test"}
    result, said = {}, {}
    for category in sorted({entry.category for entry in entries.values()}):
        group = f"{manifest.name}/{category}"
        rows = np.array([row for row in np.flatnonzero(inputs.group == group) if inputs.parent[row] in entries])
        heads: dict[str, list[np.ndarray]] = {name: [] for name in (*HEADS, *POOLINGS)}
        maps: list[np.ndarray] = []
        masks: list[np.ndarray | None] = []
        # Not strict: what is repeated has no end.
        for pair in zip(inputs.read(rows), second.read(rows) if second else repeat(None), strict=False):
            example = pair[0]
            looks = [read_by_readout(learner, one) for one in pair if one]
            output = learner.readout(*looks)
            for name, head in HEADS.items():
                heads[name].append(getattr(output, head).numpy())
            own = learner.readout.local_map(*looks)
            look(category, example, output.map.squeeze(1).numpy(), own.squeeze(1).numpy())
            for name, pool in POOLINGS.items():
                heads[name].append(pool(own.flatten(1).numpy()))
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
        result[category] = {name: round(float(value), 2) for name, value in found.items()}
    return result, said


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


def corrected(ranking: np.ndarray, pooled: np.ndarray, readout: SelfReferenceConfig) -> np.ndarray:
    """The score that the readout's gain and limit make of a ranking and a pooled map."""
    return ranking + readout.correction_limit * np.tanh(readout.correction_gain * pooled)


def put_together(row: dict[str, Any], readout: SelfReferenceConfig) -> dict[str, Any]:
    """A row with the image scores that the readout's gain and limit make of the ranking and the map's peak."""
    for category, said in row["scores"].items():
        ranking, peak = np.array(said["ranking_auroc"]), np.array(said[PEAK])
        score = corrected(ranking, peak, readout)
        said["image_auroc"] = score.tolist()
        row["categories"][category]["image_auroc"] = round(100 * float(fast_auroc(np.array(said["label"]), score)), 2)
    return row


def heads_compared(rows: list[dict[str, Any]], readout: SelfReferenceConfig) -> list[dict[str, Any]]:
    """What ranks images best: the ranking alone, the map alone, their plain sum, or the score that is reported.

    Where cues rank, also the score with the map pooled otherwise: no training knows how it is pooled.

    Differences are from the score, with intervals: images are drawn again with replacement within each category and
    label, alike for all seeds and for both of a pair.
    """
    ways = {
        "score: ranking, corrected by the map": lambda one: one["image_auroc"],
        "global only: ranking": lambda one: one["ranking_auroc"],
        "local only: peak of what the spatial head draws": lambda one: one[PEAK],
        "plain sum: ranking + peak": lambda one: one["ranking_auroc"] + one[PEAK],
    }
    if readout.kind == "self_reference":
        ways |= {
            f"score, the map pooled by its {name}": lambda one, name=name: corrected(
                one["ranking_auroc"], one[name], readout
            )
            for name in POOLINGS
            if name != PEAK
        }
    first = next(iter(ways))
    whole: dict[str, list[float]] = {name: [] for name in ways}
    again: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for one_set in sorted({row["set"] for row in rows}):
        per_category: dict[str, dict[str, list[tuple[float, np.ndarray]]]] = {}
        for row in (row for row in rows if row["set"] == one_set):
            for category, said in row["scores"].items():
                said = {name: np.array(values) for name, values in said.items()}
                drawn = drawn_again(said["label"].astype(int), category)
                for name, way in ways.items():
                    score = way(said)
                    replicates = fast_auroc(said["label"][drawn], score[drawn])
                    value = (float(fast_auroc(said["label"], score)), replicates)
                    per_category.setdefault(category, {}).setdefault(name, []).append(value)
        for name in ways:
            values = [pair for found in per_category.values() for pair in found[name]]
            whole[name].append(float(np.mean([value for value, _ in values])))
            again[name].append(np.mean([replicates for _, replicates in values], axis=0))
    found = []
    for name in ways:
        difference = np.mean(again[name], axis=0) - np.mean(again[first], axis=0)
        low, high = np.percentile(difference, [50 - LEVEL / 2, 50 + LEVEL / 2])
        mean = np.mean(whole[name])
        found.append(
            {
                "way": name,
                "image_auroc": round(100 * float(mean), 2),
                "difference": round(100 * float(mean - np.mean(whole[first])), 2),
                "low": round(100 * float(low), 2),
                "high": round(100 * float(high), 2),
            }
        )
    return found


@lru_cache(maxsize=64)
def _drawn(label: bytes, category: str) -> np.ndarray:
    # Twelve trainings, several measures of each: drawing costs as much as ranking.
    generator = np.random.default_rng(zlib.crc32(category.encode()))
    parts = [np.flatnonzero(np.frombuffer(label, bool) == one) for one in (0, 1)]
    # One draw after the other, as the recorded intervals were drawn.
    return np.stack([np.concatenate([generator.choice(part, len(part)) for part in parts]) for _ in range(REPLICATES)])


def drawn_again(label: np.ndarray, category: str) -> np.ndarray:
    """(R, N) rows drawn again with replacement within each label; the same at every call for a category."""
    return _drawn(label.astype(bool).tobytes(), category)


def fast_auroc(label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """As the package's, many times as fast for few images: (..., N) and (..., N) to (...)."""
    defective = label.sum(axis=-1)
    rank = (rankdata(score, axis=-1) * label).sum(axis=-1)
    return (rank - defective * (defective + 1) / 2) / (defective * (label.shape[-1] - defective))


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
    parser.add_argument("--one-look", action="store_true", help="no second look, where the profile takes one")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "photographs.json")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        run = Run(load_profile(options.config, options.data))
        profile, sets = with_readout(run.profile, options.readout), photographs(run.profile)
        if options.one_look:
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
                "pooled": list(POOLINGS),
                "pixels": profile.evaluation.pixels,
            }
            if profile.model.readout.kind == "self_reference":
                # Without effect on what is trained: the score is put together from its parts below.
                for name in ("correction_gain", "correction_limit"):
                    del made_with["model"]["readout"][name]
            key = sha256_of_bytes(json.dumps(made_with, sort_keys=True).encode())[:16]
            path = run.folder / "left_out" / f"{key}.json"
            if not path.exists():
                learner = fit(profile, inputs, backbone, seed, rows_without(inputs.group, item.name))
                found, said = tested(
                    learner, plain, read_run_manifest(run, item), profile.evaluation.pixels, second=second
                )
                write_json(path, {"set": item.name, "seed": seed, "categories": found, "scores": said})
            row = read_json(path, "delete it, and run benchmarks/photographs.py again")
            rows.append(
                put_together(row, profile.model.readout) if profile.model.readout.kind == "self_reference" else row
            )
        measures = (*HEADS, "pixel_auroc", "aupro")
        result = {
            "date": datetime.now(UTC).date().isoformat(),
            "cpu": cpu_name(),
            "versions": versions(*PACKAGES),
            "model": profile.model.model_dump(mode="json"),
            "training": profile.training.model_dump(mode="json"),
            "source_sha256": inputs.source_sha256,
            "mean_over_sets": {name: round(mean_of_sets(rows, name), 2) for name in measures},
            "heads": heads_compared(rows, profile.model.readout),
            "rows": [{key: row[key] for key in ("set", "seed", "categories")} for row in rows],
        }
        everything = read_json(options.output, "delete it") if options.output.exists() else {}
        variants = everything.get("variants", {}) | {options.variant: result}
        what = "each set of photographs left out of the source in turn and tested on; percent"
        write_json(options.output, {"what": what, "variants": variants})
        print(json.dumps(result["mean_over_sets"]))
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
