"""What each choice of the profile of photographs is worth, on sets of photographs that were left out of the source.

    OMP_NUM_THREADS=1 python benchmarks/photographs_ablations.py --config configs/photographs.yaml --data FOLDER

writes benchmarks/results/photographs_ablations.json. It needs what benchmarks/photographs.py needs. Every variant
changes one thing (benchmarks/photographs_arms.py) and takes the same steps with the same batch, but those marked as not
of equal cost; every set of photographs is left out in turn with every seed. Intervals are those of the images
(benchmarks/photographs_resampled.py). What has been trained is kept in the run's folder, so that an interrupted
benchmark goes on; `--only NAME ...` measures some variants, with what they are compared with, and adds them to the
file. `--steps` and `--measured-on` make all trainings shorter, the recipe's too. A variant that needs other features
(input size, backbone, images without randomisation) makes them at its start.
"""

import argparse
import json
import multiprocessing
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import LEVEL, PACKAGES, PEAK, REPLICATES, TOP, features_in, fit, photographs, rows_without, tested
from photographs_arms import RECIPE, Arm, arms, changed, kept_rows, kinds
from photographs_parts import of_parts, reused
from photographs_resampled import BINS, Row, compared, of_cells, of_images

from edgezsad.config import load_profile
from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import EdgeZSADError, InputError
from edgezsad.files import read_json, sha256_of_bytes, versions, write_json
from edgezsad.model.backbone import Backbone
from edgezsad.model.self_reference import ContextHead
from edgezsad.progress import progress
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import cpu_name
from edgezsad.source.prepare import prepare_data
from edgezsad.source.source_images import SourceImages, plain_images, source_images
from edgezsad.training.inputs import CachedInputs, ImageInputs, Inputs, training_inputs
from edgezsad.training.losses import FULL_FRACTION
from edgezsad.training.trainer import Trainer, training_key

OUTPUT = Path(__file__).parent / "results" / "photographs_ablations.json"
TUNING_STEPS = 50
MEASURES = ("image_auroc", "map_auroc", "cell_auroc")


def blind_to(strides: tuple[int, ...], trainer: Trainer) -> None:
    """Let the map alone read these strides and no other: what it reads of the others is zero.

    Raises:
        InputError: the map has no head that reads all strides together.
    """
    for readout in (trainer.model.readout, trainer.average.module.readout):
        if not isinstance(readout.context, ContextHead):
            raise InputError("model.readout.context: strides can be left out of the map with context only; set it")

        def zeroed(_: torch.nn.Module, given: tuple, kept: tuple = (8, 16, 32)) -> tuple:
            return ([x if one in strides else torch.zeros_like(x) for x, one in zip(given[0], kept, strict=True)],)

        readout.context.register_forward_pre_hook(zeroed)


def cached(images: SourceImages, backbone: Backbone, size: int, folder: Path) -> CachedInputs:
    """Features of the images from a folder of their own.

    Raises:
        InputError: what lies there was made by another backbone or size.
    """
    found = features_in(folder, images, backbone, size)
    if (found.info.backbone_sha256, found.info.size) != (backbone.sha256(), size):
        raise InputError(f"{folder}: made by another backbone or size; delete it")
    return CachedInputs(found)


@dataclass(frozen=True)
class Given:
    """What the command line says of every training.

    Attributes:
        config: path of the profile.
        data: folder of the photographs.
        steps: of every training in place of the profile's; None for these.
        measured_on: rows of the source that the scale of features and cues is taken from; None for all.
        tuning_steps: of the pair with a tuned backbone.
    """

    config: str
    data: str | None = None
    steps: int | None = None
    measured_on: int | None = None
    tuning_steps: int = TUNING_STEPS

    def base(self) -> Run:
        """The profile's run."""
        profile = load_profile(self.config, self.data)
        if self.steps:
            profile = profile.model_copy(update={"training": profile.training.model_copy(update={"steps": self.steps})})
        return Run(profile)

    def arms(self) -> dict[str, Arm]:
        """Every variant by its name."""
        return {arm.name: arm for arm in arms(FULL_FRACTION, self.tuning_steps)}


@cache
def opened(given: Given, name: str) -> tuple[Run, Inputs, Inputs, Backbone]:
    """An arm's run, its source, the photographs as they are, and its backbone; features are made if they must be."""
    base, arm = given.base(), given.arms()[name]
    run, sets = Run(changed(base.profile, arm)), photographs(base.profile)
    model = run.profile.model
    backbone = Backbone(model.backbone, model.weights, model.strides)
    folder = base.folder / "ablations_photographs"
    plain = plain_images([read_run_manifest(base, item) for item in sets])
    if run.profile.training.tuned_stages:
        workers = run.profile.training.workers
        return run, training_inputs(run, backbone), ImageInputs(plain, backbone, model.size, workers), backbone
    if arm.generated:
        own = folder / _slug(arm.name)
        place = run.profile.data.model_copy(update={"generated_root": own / "data"})
        run = Run(run.profile.model_copy(update={"run": own, "data": place}))
        if not (run.features / "features.json").exists():
            prepare_data(run, workers=1)
        inputs = cached(source_images(run), backbone, model.size, run.features)
    elif arm.model:
        inputs = cached(source_images(run), backbone, model.size, folder / _slug(arm.name) / "features")
    else:
        inputs = training_inputs(run, backbone)
    own_plain = folder / _slug(arm.name) if arm.model else base.folder
    return run, inputs, cached(plain, backbone, model.size, own_plain / "photographs"), backbone


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


@cache
def _kinds(given: Given) -> np.ndarray:
    return kinds(given.base())


def measured(given: Given, job: tuple[str, str, int]) -> Row:
    """Train one seed of an arm without one set, and test it there; or read what an earlier start found."""
    name, left_out, seed = job
    torch.set_num_threads(1)
    arm = given.arms()[name]
    run, inputs, plain, backbone = opened(given, name)
    kind = _kinds(given) if arm.without else None
    keep = kept_rows(arm, run.profile, inputs.group, kind)
    fitted = np.intersect1d(rows_without(inputs.group, left_out), np.flatnonzero(keep))
    settings = {name: value for name, value in asdict(arm).items() if name not in ("name", "against", "asked")}
    made_with = training_key(run.profile, inputs, seed) | {
        "arm": settings,
        "left_out": left_out,
        "rows": sha256_of_bytes(fitted.tobytes()),
        "measured_on": given.measured_on,
        "resampled": [REPLICATES, BINS, TOP],
    }
    key = sha256_of_bytes(json.dumps(made_with, sort_keys=True).encode())[:16]
    path = given.base().folder / "ablations_photographs" / f"{key}.json"
    if not path.exists():
        if arm.coverage != 1 and isinstance(inputs, CachedInputs):
            features = inputs.features
            inputs = CachedInputs(
                type(features)(**{**vars(features), "mask_fraction": features.mask_fraction * arm.coverage})
            )
        blind = partial(blind_to, arm.map_strides) if arm.map_strides else lambda trainer: None
        learner = fit(run.profile, inputs, backbone, seed, fitted, blind, given.measured_on)
        item = next(one for one in photographs(run.profile) if one.name == left_out)
        write_json(path, {"set": left_out, "seed": seed} | _tested(learner, plain, run, item))
    return read_json(path, "delete it, and run benchmarks/photographs_ablations.py again")


def _tested(learner: Any, plain: Inputs, run: Run, item: Any) -> dict[str, Any]:
    seen: dict[str, list[tuple[np.ndarray, ...]]] = {}

    def look(category: str, example: Any, maps: np.ndarray, drawn: np.ndarray) -> None:
        seen.setdefault(category, []).append((maps, drawn, example.mask_fraction.numpy()))

    manifest, readout = read_run_manifest(run, item), run.profile.model.readout
    found, said = tested(learner, plain, manifest, None, look)
    whole: dict[str, dict[str, float]] = {}
    again: dict[str, dict[str, list[float]]] = {}

    def keep(measure: str, category: str, pair: tuple[float, list[float | None]] | None) -> None:
        if pair is not None:
            whole.setdefault(measure, {})[category], again.setdefault(measure, {})[category] = pair

    for category, scores in said.items():
        label = np.array(scores["label"], dtype=int)
        maps, drawn, coverage = (np.concatenate(parts) for parts in zip(*seen[category], strict=True))
        keep("image_auroc", category, of_images(label, np.array(scores["image_auroc"]), category))
        keep("map_auroc", category, of_images(label, np.array(scores[PEAK]), category))
        keep("cell_auroc", category, of_cells(label, maps, coverage, category))
        for name, pair in of_parts(scores, maps, drawn, coverage, readout, category):
            keep(name, category, pair)
    return {"whole": whole, "again": again, "categories": found}


def summarised(arm: Arm, rows: list[Row], against: list[Row]) -> dict[str, Any]:
    """An arm's entry of the results."""
    entry = {"variant": arm.name, "against": arm.against, "equal_cost": arm.equal_cost}
    return entry | {measure: compared(rows, against, measure) for measure in MEASURES}


def chosen(by_name: dict[str, Arm], only: list[str]) -> list[Arm]:
    """The arms to measure, each after what it is compared with.

    Raises:
        InputError: no arm has such a name.
    """
    if unknown := [name for name in only if name not in by_name]:
        raise InputError(f"--only: no variant is called {unknown[0]!r}; use {', '.join(by_name)}")
    wanted = set(only) or {name for name, arm in by_name.items() if not arm.asked}
    while missing := {by_name[name].against for name in wanted} - wanted:
        wanted |= missing
    return [arm for name, arm in by_name.items() if name in wanted]


def _all(call: partial, jobs: list[tuple[str, str, int]], processes: int) -> Iterator[Row]:
    if processes == 1:
        yield from progress(map(call, jobs), "ablations", len(jobs), "training")
        return
    # A fresh interpreter each: PyTorch's threads do not survive a fork.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from progress(pool.map(call, jobs), "ablations", len(jobs), "training")


def main() -> int:
    """Measure variants and add them to the file, each as soon as it is done; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="configs/photographs.yaml")
    parser.add_argument("--data", help="folder of the photographs")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="variants to measure; all when left out")
    parser.add_argument("--processes", type=int, default=1, help="trainings at a time, each on one thread")
    parser.add_argument("--tuning-steps", type=int, default=TUNING_STEPS, help="of the pair with a tuned backbone")
    parser.add_argument("--steps", type=int, help="of every training, the recipe's too; the profile's when left out")
    parser.add_argument("--measured-on", type=int, help="rows that scales are taken from; all when left out")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    given = Given(options.config, options.data, options.steps, options.measured_on, options.tuning_steps)
    try:
        torch.set_num_threads(1)
        every = given.arms()
        measure = chosen(every, options.only)
        for arm in measure:
            # Features are made here, once, and not by several processes at a time.
            run, inputs, _, _ = opened(given, arm.name)
            if arm.name == RECIPE:
                profile = run.profile
                made_with = training_key(profile, inputs, seed=0) | {"seeds": list(profile.seeds)}
                made_with |= {"measured_on": given.measured_on}
        recipe_sha256 = sha256_of_bytes(json.dumps(made_with, sort_keys=True).encode())
        before = read_json(options.output, "delete it") if options.output.exists() else {}
        if before and before.get("recipe_sha256") != recipe_sha256:
            raise InputError(f"{options.output}: measured with another recipe; delete it, and measure all again")
        entries = {one["variant"]: one for one in before.get("rows", [])}
        sets = [item.name for item in photographs(profile)]
        jobs = [(arm.name, name, seed) for arm in measure for seed in profile.seeds for name in sets]
        call = partial(measured, given)
        rows: dict[str, list[Row]] = {}
        for (name, _, _), row in zip(jobs, _all(call, jobs, options.processes), strict=True):
            arm = every[name]
            rows.setdefault(arm.name, []).append(row)
            if len(rows[arm.name]) < len(sets) * len(profile.seeds):
                continue
            entries[arm.name] = summarised(arm, rows[arm.name], rows[arm.against])
            if arm.name == RECIPE:
                entries |= {one["variant"]: one for one in reused(rows[RECIPE])}
            result = {
                "what": "each set of photographs left out of the source in turn and tested on; percent",
                "date": datetime.now(UTC).date().isoformat(),
                "cpu": cpu_name(),
                "versions": versions(*PACKAGES),
                "recipe_sha256": recipe_sha256,
                "seeds": list(profile.seeds),
                "steps": profile.training.steps,
                "measured_on": given.measured_on or len(inputs.label),
                "readout": profile.model.readout.model_dump(mode="json"),
                "sets": sets,
                "wanted": list(every),
                "interval": f"{LEVEL}% of {REPLICATES} resamples of the images within each category and label",
                "rows": list(entries.values()),
            }
            write_json(options.output, result)
            one = entries[arm.name]["image_auroc"]
            print(
                f"{arm.name:40} {one['mean']:6.2f} {one['difference']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})"
            )
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
