"""Ablations of the recipe for photographs, measured on sets of photographs left out of the source.

    OMP_NUM_THREADS=1 python benchmarks/photographs_ablations.py --config configs/photographs.yaml --data FOLDER

writes benchmarks/results/photographs_ablations.json. It needs what photographs.py needs. Every variant changes one
setting and takes the same steps with the same batch, unless marked as not of equal cost; every set is left out in turn
with every seed, and tested without test-time augmentation. An interrupted benchmark continues.
"""

import argparse
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import (
    PACKAGES,
    RECIPE,
    compared,
    fit,
    merged_readout,
    photograph_features,
    photographs,
    rows_without,
    tested,
)
from recording import RESULTS, machine, run_script, save, stored

from edgezsad.config import DataSet, Profile, load_profile
from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import InputError
from edgezsad.files import progress
from edgezsad.metrics.intervals import LEVEL, REPLICATES
from edgezsad.model.backbone import Backbone
from edgezsad.run import Run
from edgezsad.training.inputs import CachedInputs, training_inputs
from edgezsad.training.trainer import training_key

MEASURES = {"image_auroc": "image_auroc", "map_auroc": "correction_auroc", "cell_auroc": "cells"}
"""By the name in the results, the measure of `photographs.replicates_of`."""


@dataclass(frozen=True)
class Arm:
    """A variant: the recipe with one change.

    Attributes:
        factor: factors on settings of the training.
        sources: "generated" or "photographs": train on these images only.
        against: the variant that it is compared with.
        equal_cost: training takes about as long as that of the recipe.
    """

    name: str
    training: dict[str, Any] = field(default_factory=dict)
    readout: dict[str, Any] = field(default_factory=dict)
    factor: dict[str, float] = field(default_factory=dict)
    sources: str = ""
    against: str = RECIPE
    equal_cost: bool = True


ARMS = (
    Arm(RECIPE),
    Arm("generated images only", sources="generated"),
    Arm("photographs only", sources="photographs"),
    Arm("map without self-similarity", readout={"self_similarity": []}),
    # The head with context alone reads self-similarity, so both lack it here.
    Arm(
        "map without context or self-similarity",
        readout={"context": 0, "self_similarity": []},
        against="map without self-similarity",
    ),
    Arm("cues of unclipped channels", readout={"clip": None}),
    Arm("noise 0", readout={"noise": 0.0}),
    Arm("noise 1", readout={"noise": 1.0}),
    Arm("no moving average", training={"ema": 0.0}),
    Arm("half the learning rate", factor={"learning_rate": 0.5}),
    Arm("double the learning rate", factor={"learning_rate": 2.0}),
    Arm("half the steps", factor={"steps": 0.5}, equal_cost=False),
    Arm("double the steps", factor={"steps": 2.0}, equal_cost=False),
    Arm("ranking: features", readout={"kind": "edgeglr"}),
    Arm(
        "ranking: features, no ranking loss",
        readout={"kind": "edgeglr"},
        training={"ranking_weight": 0.0},
        against="ranking: features",
    ),
)


def changed(profile: Profile, arm: Arm) -> Profile:
    """Return the profile with the settings of a variant, with one view."""
    raw = profile.model_dump(mode="json")
    for name, factor in arm.factor.items():
        raw["training"][name] = type(raw["training"][name])(raw["training"][name] * factor)
    raw["training"] |= arm.training
    raw["model"] |= {"readout": merged_readout(raw["model"]["readout"], arm.readout), "tta": "none"}
    return Profile.model_validate(raw)


def kept_rows(arm: Arm, profile: Profile, group: np.ndarray) -> np.ndarray:
    """Return (N,) bool: the source rows that a variant trains on."""
    if not arm.sources:
        return np.ones(len(group), dtype=bool)
    names = [item.name for item in profile.data.source if item.generated]
    generated = np.isin([str(one).partition("/")[0] for one in group], names)
    keep = generated if arm.sources == "generated" else ~generated
    if keep.all() or not keep.any():
        raise InputError(f"{arm.name}: leaves out {'nothing' if keep.all() else 'everything'} of this source")
    return keep


def measured(run: Run, profile: Profile, arm: Arm, inputs: CachedInputs, plain: CachedInputs) -> list[dict[str, Any]]:
    """Train every seed of a variant without each set and test it there."""
    backbone = Backbone(profile.model.backbone, profile.model.weights, profile.model.strides)
    keep = np.flatnonzero(kept_rows(arm, profile, inputs.group))

    def measure(item: DataSet, seed: int) -> dict[str, Any]:
        rows = np.intersect1d(rows_without(inputs.group, item.name), keep)
        learner = fit(profile, inputs, backbone, seed, rows)
        _, said = tested(learner, [plain], read_run_manifest(run, item), None)
        return {"set": item.name, "seed": seed, "scores": said}

    rows = []
    for seed in profile.seeds:
        for item in photographs(profile):
            key = training_key(profile, inputs, seed) | {"left_out": item.name, "sources": arm.sources}
            rows.append(stored(run.folder / "ablations_photographs", key, partial(measure, item, seed)))
    return rows


def main() -> None:
    """Measure all variants, and write the file after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="configs/photographs.yaml")
    parser.add_argument("--data", help="folder of the photographs")
    parser.add_argument("--steps", type=int, help="of every training, the recipe's too (default: the profile's)")
    parser.add_argument("--output", type=Path, default=RESULTS / "photographs_ablations.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    profile = load_profile(options.config, options.data)
    if options.steps:
        training = profile.training.model_copy(update={"steps": options.steps})
        profile = profile.model_copy(update={"training": training})
    run, sets = Run(profile), photographs(profile)
    backbone = Backbone(profile.model.backbone, profile.model.weights, profile.model.strides)
    inputs, plain = training_inputs(run, backbone), photograph_features(run, sets, backbone)
    about = {
        "what": "each set of photographs left out of the source in turn and tested on; percent",
        **machine(*PACKAGES),
        "seeds": list(profile.seeds),
        "steps": profile.training.steps,
        "measured_on": len(inputs.label),
        "readout": profile.model.readout.model_dump(mode="json"),
        "sets": [item.name for item in sets],
        "wanted": [one.name for one in ARMS],
        "interval": f"{LEVEL:.0%} of {REPLICATES} resamples of the images within each category and label",
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    entries = []
    for arm in progress(ARMS, "ablations", len(ARMS), "variant"):
        rows[arm.name] = measured(run, changed(profile, arm), arm, inputs, plain)
        found = {
            name: compared(rows[arm.name], measure, rows[arm.against], measure) for name, measure in MEASURES.items()
        }
        entries.append({"variant": arm.name, "against": arm.against, "equal_cost": arm.equal_cost} | found)
        save(options.output, about | {"rows": entries})


if __name__ == "__main__":
    run_script(main)
