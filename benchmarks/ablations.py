"""Ablations of the training recipe, measured on families that were not trained on.

    OMP_NUM_THREADS=1 python benchmarks/ablations.py          writes benchmarks/results/ablations.json

It needs the source's manifest and features in the run of the profile (notebooks 01_data and 02_features). For each
seed some generated families are held out and the others trained on. Every variant changes one thing and takes the same
steps with the same batch from the same initial weights; it is compared with the full recipe on the same held-out
images. Results of finished trainings are kept in the run's folder, so that an interrupted benchmark continues.
"""

import argparse
import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from recording import RESULTS, machine, run_script, save, stored

from edgezsad.config import Profile
from edgezsad.errors import InputError
from edgezsad.files import progress
from edgezsad.metrics.image_metrics import auroc
from edgezsad.metrics.intervals import interval
from edgezsad.model.backbone import Backbone
from edgezsad.run import open_run
from edgezsad.training.inputs import Inputs, training_inputs, training_plan
from edgezsad.training.losses import FULL_FRACTION, moving_average
from edgezsad.training.trainer import TrainableModel, Trainer, training_key

PACKAGES = ("lightning-fabric", "numpy", "timm", "torch")
FULL = "full recipe"
UNEVEN = "uneven source"
MEASURES = ("image_auroc", "pixel_auroc")
HELD_OUT = 5
"""Families held out for each seed."""
RESAMPLES = 9999
NO_END = 1_000_000
"""Steps of a cosine schedule that is constant over the steps trained here."""


@dataclass(frozen=True)
class Arm:
    """One training: the recipe with one thing changed.

    Attributes:
        rate: learning rate, in units of the profile's.
        balanced: every family is equally likely; otherwise every image.
        coverage: factor on the defective fraction of each cell. The loss treats a cell as fully defective from
            `FULL_FRACTION` on, so this factor makes the fraction itself the target.
        uneven: families have very different numbers of images.
        averages: other moving averages of the weights of the same training.
        against: the variant that it is compared with.
    """

    name: str
    training: dict[str, float] = field(default_factory=dict)
    readout: dict[str, float] = field(default_factory=dict)
    rate: float = 1.0
    balanced: bool = True
    constant: bool = False
    coverage: float = 1.0
    uneven: bool = False
    averages: tuple[float, ...] = ()
    against: str = FULL


ARMS = (
    Arm(FULL, averages=(0.0, 0.9, 0.95, 0.98, 0.99, 0.995)),
    Arm("no ranking loss", {"ranking_weight": 0.0}),
    Arm("no global loss", {"global_weight": 0.0}),
    Arm("no map loss", {"map_weight": 0.0}),
    Arm("noise 0", readout={"noise": 0.0}),
    Arm("noise 1", readout={"noise": 1.0}),
    Arm("no weight decay", {"weight_decay": 0.0}),
    Arm("constant learning rate", constant=True),
    Arm("half the learning rate", rate=0.5),
    Arm("double the learning rate", rate=2.0),
    Arm("map target: strict share", coverage=FULL_FRACTION),
    # Generated families are equally large, so this shows the effect of another random order alone.
    Arm("images equally likely", balanced=False),
    Arm(UNEVEN, uneven=True),
    Arm(f"{UNEVEN}, images equally likely", balanced=False, uneven=True, against=UNEVEN),
)


def average_name(ema: float) -> str:
    """Name a variant that differs in the moving average alone."""
    return f"moving average {ema:g}" if ema else "no moving average"


def held_out_families(group: np.ndarray, seed: int, count: int = HELD_OUT) -> list[str]:
    """Return the families that a seed holds out; seeds take consecutive parts of one shuffled order."""
    names = np.random.default_rng(0).permutation(np.unique(group))
    if count >= len(names):
        raise InputError(f"data.source: {len(names)} families, {count} to hold out; add families to the profile")
    return sorted(str(name) for name in np.roll(names, -seed * count)[:count])


def thinned(rows: np.ndarray, group: np.ndarray, label: np.ndarray, least: float = 1 / 16) -> np.ndarray:
    """Thin out rows: the share that a family keeps falls logarithmically from all to `least`."""
    names = np.random.default_rng(1).permutation(np.unique(group[rows]))
    kept = []
    for name, share in zip(names, np.geomspace(1, least, len(names)), strict=True):
        for value in (0, 1):
            mine = rows[(group[rows] == name) & (label[rows] == value)]
            kept.append(mine[: max(1, round(share * len(mine)))])
    return np.sort(np.concatenate(kept))


def changed(profile: Profile, arm: Arm) -> Profile:
    """Return the profile with an arm's settings."""
    training = {"learning_rate": profile.training.learning_rate * arm.rate, **arm.training}
    if arm.constant:
        training |= {"warmup": 0, "steps": NO_END}
    model = profile.model.model_copy(update={"readout": profile.model.readout.model_copy(update=arm.readout)})
    return profile.model_copy(update={"training": profile.training.model_copy(update=training), "model": model})


def fit(
    profile: Profile, inputs: Inputs, backbone: Backbone, arm: Arm, seed: int, fitted: np.ndarray
) -> dict[str, TrainableModel]:
    """Train one seed of an arm on the rows `fitted`; return the model of each variant."""
    arms = changed(profile, arm)
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    trainer = Trainer(arms, inputs, backbone, seed, fabric)
    trainer.fit_source(fitted)
    averages = {
        average_name(ema): moving_average(trainer.model, ema) for ema in arm.averages if ema != profile.training.ema
    }
    plan = training_plan(inputs, fitted, arms.training, seed)
    if not arm.balanced:
        plan = replace(plan, group=np.full(len(inputs.group), "all"))
    # The profile's steps: those of a constant schedule are longer.
    steps = range(profile.training.steps)
    for step, example in zip(steps, inputs.steps(plan, steps, 0, 1), strict=True):
        trainer.step(step, replace(example, mask_fraction=example.mask_fraction * arm.coverage))
        for average in averages.values():
            average.update_parameters(trainer.model)
    return {name: model.module.eval() for name, model in ({arm.name: trainer.average} | averages).items()}


@torch.inference_mode()
def tested(learner: TrainableModel, inputs: Inputs, families: Iterable[str]) -> dict[str, dict[str, float]]:
    """Compute image and pixel AUROC of each family, percent; a pixel is a cell of the finest stride."""
    result: dict[str, dict[str, float]] = {measure: {} for measure in MEASURES}
    for family in families:
        rows = np.flatnonzero(inputs.group == family)
        score, cells, defective = [], [], []
        for example in inputs.read(rows):
            output = learner.readout(example.inputs)
            known = ~example.mask_fraction.isnan()
            score.append(output.score.numpy())
            cells.append(output.map.squeeze(1)[known].numpy())
            defective.append((example.mask_fraction[known] > 0).numpy().astype(int))
        name = family.rsplit("/", 1)[-1]
        result["image_auroc"][name] = round(100 * auroc(inputs.label[rows], np.concatenate(score)), 4)
        result["pixel_auroc"][name] = round(100 * auroc(np.concatenate(defective), np.concatenate(cells)), 4)
    return result


def rows_of(profile: Profile, inputs: Inputs, backbone: Backbone, arm: Arm, seed: int, count: int) -> list[dict]:
    """Train one seed of an arm and test it on the held-out families; return one row for each variant."""
    families = held_out_families(inputs.group, seed, count)
    fitted = np.flatnonzero(~np.isin(inputs.group, families))
    if arm.uneven:
        fitted = thinned(fitted, inputs.group, inputs.label)
    learners = fit(profile, inputs, backbone, arm, seed, fitted)
    return [
        {"variant": name, "seed": seed, "images": len(fitted), **tested(learner, inputs, families)}
        for name, learner in learners.items()
    ]


def paired(rows: list[dict], variant: str, against: str, measure: str) -> np.ndarray:
    """Compute the differences `variant` minus `against` on the same images, in points: (seeds, families).

    Raises:
        InputError: a variant lacks a seed, or a seed was tested on other families.
    """
    first, second = (
        {row["seed"]: row[measure] for row in rows if row["variant"] == name} for name in (variant, against)
    )
    if first.keys() != second.keys() or any(first[seed].keys() != second[seed].keys() for seed in first):
        raise InputError(f"{variant}: other seeds or families than {against}; run benchmarks/ablations.py again")
    return np.array([[first[seed][name] - second[seed][name] for name in first[seed]] for seed in sorted(first)])


def summarised(rows: list[dict], against: dict[str, str]) -> list[dict]:
    """Return one row for each variant: mean and standard deviation over seeds, and the paired difference.

    The interval is a percentile bootstrap of the mean difference over seeds and families.
    """
    result = []
    for variant, other in against.items():
        entry: dict = {"variant": variant, "against": other}
        for measure in MEASURES:
            means = [np.mean([*row[measure].values()]) for row in rows if row["variant"] == variant]
            apart = paired(rows, variant, other, measure)
            drawn = np.random.default_rng(0).integers(0, apart.size, (RESAMPLES, apart.size))
            low, high = interval(apart.ravel()[drawn].mean(axis=1))
            numbers = {
                "mean": np.mean(means),
                "spread": np.std(means, ddof=1) if len(means) > 1 else 0.0,
                "difference": apart.mean(),
                "difference_spread": np.std(apart.mean(axis=1), ddof=1) if len(apart) > 1 else 0.0,
                "low": low,
                "high": high,
            }
            entry[measure] = {name: round(float(number), 4) for name, number in numbers.items()}
        result.append(entry)
    return result


def compared_with(arms: Iterable[Arm], ema: float) -> dict[str, str]:
    """Return each variant's reference, in the order of the table."""
    result = {}
    for arm in arms:
        result[arm.name] = arm.against
        result |= {average_name(other): arm.name for other in arm.averages if other != ema}
    return result


def _job(config: str, job: tuple[Arm, int]) -> list[dict]:
    arm, seed = job
    torch.set_num_threads(1)
    run, inputs, backbone = _opened(config)
    key = training_key(run.profile, inputs, seed) | {"arm": asdict(arm), "held_out": HELD_OUT}
    return stored(run.folder / "ablations", key, lambda: rows_of(run.profile, inputs, backbone, arm, seed, HELD_OUT))


def _opened(config: str) -> tuple:
    """Return the run, its cached features and its backbone."""
    run = open_run(config)
    model = run.profile.model
    backbone = Backbone(model.backbone, model.weights, model.strides)
    return run, training_inputs(run, backbone), backbone


def main() -> None:
    """Train every variant with every seed and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="configs/mini.yaml")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, each on one thread")
    parser.add_argument("--output", type=Path, default=RESULTS / "ablations.json")
    options = parser.parse_args()
    # For the processes that are started; more threads than cores make PyTorch wait for itself.
    os.environ["OMP_NUM_THREADS"] = "1"
    run, inputs, _ = _opened(options.config)
    about = machine(*PACKAGES)
    jobs = [(arm, seed) for arm in ARMS for seed in run.profile.seeds]
    # New interpreters: PyTorch's threads do not survive a fork.
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        done = progress(pool.map(partial(_job, options.config), jobs), "ablations", len(jobs), "training")
        rows = [row for found in done for row in found]
    result = {
        "what": "the recipe with one thing changed, on families that were not trained on; AUROC in percent",
        **about,
        "source_sha256": inputs.source_sha256,
        "backbone": run.profile.model.backbone,
        "training": run.profile.training.model_dump(mode="json"),
        "readout": run.profile.model.readout.model_dump(mode="json"),
        "families": len(np.unique(inputs.group)),
        "images": len(inputs.group),
        "held_out": HELD_OUT,
        "interval": f"95%, {RESAMPLES} resamples of the paired differences over seeds and families",
        "summary": summarised(rows, compared_with(ARMS, run.profile.training.ema)),
        "rows": rows,
    }
    save(options.output, result, speed=False)


if __name__ == "__main__":
    run_script(main)
