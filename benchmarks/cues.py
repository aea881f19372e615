"""What each cue of the ranking is worth on photographs of sets that it has not seen, and each part of the source.

    OMP_NUM_THREADS=1 python benchmarks/cues.py --config configs/photographs.yaml --data FOLDER

writes benchmarks/results/cues.json. It needs what benchmarks/photographs.py needs. Each set of photographs is left out
in turn; the scale of the features and the weights of the cues are fitted to what remains, and the set's test images are
ranked. There is one answer, so that there are no seeds; the intervals are those of the images: of each category and
label, they are drawn again with replacement, for a variant and for the recipe alike. No target is touched.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import LEVEL, REPLICATES, drawn_again, fast_auroc, photographs, plain_features, rows_without

from edgezsad.config import load_profile
from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import EdgeZSADError, InputError
from edgezsad.files import versions, write_json
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import build_detector
from edgezsad.model.self_reference import NAMES
from edgezsad.progress import progress
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import cpu_name
from edgezsad.training.inputs import CachedInputs, training_inputs
from edgezsad.training.losses import fit_global_score
from edgezsad.training.trainer import fit_scale

RECIPE = "recipe"
MIRRORS = tuple(range(3))
EVERY = tuple(range(len(NAMES)))


@dataclass(frozen=True)
class Variant:
    """One thing changed: which cues, from which rows of the source, whether they count alike or weights are fitted, and
    whether channels are clipped as the profile says or not at all.
    """

    cues: tuple[int, ...] = EVERY
    source: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda sets, real: np.ones(len(sets), dtype=bool)
    alike: bool = True
    clipped: bool = True


def without(*left_out: int) -> tuple[int, ...]:
    """All cues but these."""
    return tuple(one for one in EVERY if one not in left_out)


def variants() -> dict[str, Variant]:
    """What is compared."""
    found = {
        RECIPE: Variant(),
        "fitted weights": Variant(alike=False),
        "fitted weights, generated images only": Variant(source=lambda sets, real: ~real, alike=False),
        "fitted weights, photographs only": Variant(source=lambda sets, real: real, alike=False),
        "generated images only": Variant(source=lambda sets, real: ~real),
        "photographs only": Variant(source=lambda sets, real: real),
        "unclipped channels": Variant(clipped=False),
        "no symmetry": Variant(without(*MIRRORS)),
        "symmetry only": Variant(MIRRORS),
    }
    found |= {f"no {NAMES[one]}": Variant(without(one)) for one in EVERY}
    found |= {f"{NAMES[one]} only": Variant((one,)) for one in EVERY}
    return found


def fitted_weight(variant: Variant, cues: np.ndarray, label: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(K,) weights of the variant's cues."""
    return fit_global_score(cues[:, variant.cues], label, group, variant.alike)[0].numpy()


def compared(scores: dict[str, dict[str, np.ndarray]], label: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """A row for each variant: AUROC of each set and the mean of the sets, and its difference from the recipe.

    Args:
        scores: of each variant, of each category ("SET/CATEGORY"), (N,).
        label: of each category.
    """
    sets = sorted({name.partition("/")[0] for name in label})

    def means(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        by_set = {one: np.mean([values[name] for name in values if name.startswith(f"{one}/")], axis=0) for one in sets}
        return by_set | {"mean": np.mean(list(by_set.values()), axis=0)}

    drawn = {name: drawn_again(values, name) for name, values in label.items()}
    whole, again = {}, {}
    for variant, found in scores.items():
        whole[variant] = {name: 100 * fast_auroc(label[name], score) for name, score in found.items()}
        again[variant] = means(
            {name: 100 * fast_auroc(label[name][drawn[name]], score[drawn[name]]) for name, score in found.items()}
        )["mean"]
    rows = []
    for variant in scores:
        low, high = np.percentile(again[variant] - again[RECIPE], [50 - LEVEL / 2, 50 + LEVEL / 2])
        averages = {name: round(float(value), 2) for name, value in means(whole[variant]).items()}
        rows.append(
            {
                "variant": variant,
                "sets": averages,
                "categories": {name: round(value, 2) for name, value in whole[variant].items()},
                "difference": round(averages["mean"] - round(float(means(whole[RECIPE])["mean"]), 2), 2),
                "low": round(float(low), 2),
                "high": round(float(high), 2),
            }
        )
    return rows


@torch.inference_mode()
def numbers(readout: torch.nn.Module, inputs: CachedInputs, rows: np.ndarray) -> dict[bool, np.ndarray]:
    """(N, K) cues of some rows, by whether channels are clipped."""
    found: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    clip = readout.scores.clip
    for example in inputs.read(rows):
        for clipped, values in found.items():
            readout.scores.clip = clip if clipped else None
            values.append(readout.self_reference(example.inputs)[0])
    readout.scores.clip = clip
    return {clipped: torch.cat(values).numpy() for clipped, values in found.items()}


def main() -> int:
    """Leave each set out, fit and rank with every variant, and write what was found; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="configs/photographs.yaml")
    parser.add_argument("--data", help="folder of the photographs")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "cues.json")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        run = Run(load_profile(options.config, options.data))
        profile, sets = run.profile, photographs(run.profile)
        if profile.model.readout.kind != "self_reference":
            raise InputError(f"{options.config}: readout.kind is not self_reference; there is nothing to measure")
        backbone = Backbone(profile.model.backbone, profile.model.weights, profile.model.strides)
        inputs = training_inputs(run, backbone)
        plain = CachedInputs(plain_features(run, sets, backbone))
        generated = [item.name for item in profile.data.source if item.generated]
        every = variants()
        scores: dict[str, dict[str, np.ndarray]] = {name: {} for name in every}
        weights: list[np.ndarray] = []
        label: dict[str, np.ndarray] = {}
        for item in progress(sets, "sets left out", len(sets), "set"):
            readout = build_detector(profile.model, backbone).readout.eval()
            fitted = rows_without(inputs.group, item.name)
            fit_scale(readout, (example.inputs for example in inputs.read(fitted)))
            source, y, group = numbers(readout, inputs, fitted), inputs.label[fitted], inputs.group[fitted]
            set_of = np.array([str(one).partition("/")[0] for one in group])
            real = ~np.isin(set_of, generated)
            entries = {
                f"{item.name}/{entry.id}" for entry in read_run_manifest(run, item).entries if entry.split == "test"
            }
            tests = np.array([row for row in range(len(plain.label)) if str(plain.parent[row]) in entries])
            target = numbers(readout, plain, tests)
            for name, variant in every.items():
                rows = variant.source(set_of, real)
                of = source[variant.clipped]
                weight = fitted_weight(variant, of[rows], y[rows], group[rows])
                if name == RECIPE:
                    weights.append(weight * np.mean([of[group == one].std(axis=0) for one in np.unique(group)], axis=0))
                score = target[variant.clipped][:, variant.cues] @ weight
                for category in np.unique(plain.group[tests]):
                    scores[name][str(category)] = score[plain.group[tests] == category]
                    label[str(category)] = plain.label[tests][plain.group[tests] == category]
        result = {
            "what": "ranking by cues, each set of photographs left out of the source in turn; image AUROC in percent",
            "date": datetime.now(UTC).date().isoformat(),
            "cpu": cpu_name(),
            "versions": versions("numpy", "scipy", "timm", "torch"),
            "source_sha256": inputs.source_sha256,
            "interval": f"{LEVEL}% of {REPLICATES} resamples of the images within each category and label",
            "weights": {
                name: round(float(value), 3) for name, value in zip(NAMES, np.mean(weights, axis=0), strict=True)
            },
            "rows": compared(scores, label),
        }
        write_json(options.output, result)
        print(json.dumps(result["rows"][0]["sets"]))
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
