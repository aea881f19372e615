"""Measure the choices of the profile of photographs on sets of photographs that were left out of the source.

    OMP_NUM_THREADS=1 python benchmarks/photographs_ablations.py --config configs/photographs.yaml --data FOLDER

writes benchmarks/results/photographs_ablations.json. It needs what photographs.py needs. Every variant changes one
setting and takes the same steps with the same batch, unless marked as not of equal cost; every set is left out in turn
with every seed, and tested with one view. Trained variants are kept in the run's folder, so that an interrupted
benchmark continues.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import PACKAGES, compared, fit, merged_readout, photographs, plain_features, rows_without, tested
from recording import RESULTS, machine, save

from edgezsad.config import Profile, load_profile
from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import EdgeZSADError, InputError
from edgezsad.files import progress, read_json, sha256_of_bytes, write_json
from edgezsad.metrics.intervals import LEVEL, REPLICATES
from edgezsad.model.backbone import Backbone
from edgezsad.run import Run
from edgezsad.training.inputs import CachedInputs, training_inputs
from edgezsad.training.trainer import training_key

RECIPE = "recipe"
MEASURES = {"image_auroc": "image_auroc", "map_auroc": "correction_auroc", "cell_auroc": "cells"}
"""By the name in the results, the measure of `photographs.replicates_of`."""


@dataclass(frozen=True)
class Arm:
    """A variant: the recipe with one change.

    Attributes:
        name: of the variant.
        training, readout: settings in place of the profile's.
        factor: settings of the training in units of the profile's.
        sources: "generated" or "photographs": only these images of the source.
        against: the variant that it is compared with.
        equal_cost: whether it takes about as long to train.
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
    """Return (N,) bool: the source rows that a variant trains on.

    Args:
        arm: the variant.
        profile: says which sets are generated.
        group: (N,) str, data set and category with a slash between.

    Raises:
        InputError: the variant leaves out nothing, or everything.
    """
    if not arm.sources:
        return np.ones(len(group), dtype=bool)
    names = [item.name for item in profile.data.source if item.generated]
    generated = np.isin([str(one).partition("/")[0] for one in group], names)
    keep = generated if arm.sources == "generated" else ~generated
    if keep.all() or not keep.any():
        raise InputError(f"{arm.name}: leaves out {'nothing' if keep.all() else 'everything'} of this source")
    return keep


def measured(run: Run, profile: Profile, arm: Arm, inputs: CachedInputs, plain: CachedInputs) -> list[dict[str, Any]]:
    """Train every seed of a variant without each set and test it there; what was trained before is read."""
    backbone = Backbone(profile.model.backbone, profile.model.weights, profile.model.strides)
    keep = np.flatnonzero(kept_rows(arm, profile, inputs.group))
    rows = []
    for seed in profile.seeds:
        for item in photographs(profile):
            fitted = np.intersect1d(rows_without(inputs.group, item.name), keep)
            key = training_key(profile, inputs, seed) | {"left_out": item.name, "sources": arm.sources}
            path = run.folder / "ablations_photographs" / f"{sha256_of_bytes(json.dumps(key).encode())[:16]}.json"
            if not path.exists():
                learner = fit(profile, inputs, backbone, seed, fitted)
                _, said = tested(learner, plain, read_run_manifest(run, item), None)
                write_json(path, {"set": item.name, "seed": seed, "scores": said})
            rows.append(read_json(path, "delete it, and run benchmarks/photographs_ablations.py again"))
    return rows


def entry(arm: Arm, rows: list[dict[str, Any]], against: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the results of a variant."""
    found = {name: compared(rows, measure, against, measure) for name, measure in MEASURES.items()}
    return {"variant": arm.name, "against": arm.against, "equal_cost": arm.equal_cost} | found


def main() -> int:
    """Measure all variants, and write the file after each; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="configs/photographs.yaml")
    parser.add_argument("--data", help="folder of the photographs")
    parser.add_argument("--steps", type=int, help="of every training, the recipe's too (default: the profile's)")
    parser.add_argument("--output", type=Path, default=RESULTS / "photographs_ablations.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        profile = load_profile(options.config, options.data)
        if options.steps:
            training = profile.training.model_copy(update={"steps": options.steps})
            profile = profile.model_copy(update={"training": training})
        run, sets = Run(profile), photographs(profile)
        backbone = Backbone(profile.model.backbone, profile.model.weights, profile.model.strides)
        inputs = training_inputs(run, backbone)
        plain = CachedInputs(plain_features(run, sets, backbone))
        rows: dict[str, list[dict[str, Any]]] = {}
        entries = []
        for arm in progress(ARMS, "ablations", len(ARMS), "variant"):
            rows[arm.name] = measured(run, changed(profile, arm), arm, inputs, plain)
            entries.append(entry(arm, rows[arm.name], rows[arm.against]))
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
            save(options.output, about | {"rows": entries})
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
