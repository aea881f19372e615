"""The variants of benchmarks/photographs_ablations.py: each changes one thing of the profile, whatever it holds."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from photographs import merged_readout

from edgezsad.config import DataSet, Profile
from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import InputError
from edgezsad.run import Run
from edgezsad.source.derive import read_derived
from edgezsad.source.render import render_crop
from edgezsad.source.source_images import derived_path
from edgezsad.source.synthetic_defects import synthetic_defect

RECIPE = "recipe"
OWN = "defects of photographs"
"""What a photograph's own defect counts as: its folder's name says no more than that it is defective."""
FAMILIES = {
    "cracks and scratches": ("crack", "scratch", "cut", "split", "abrasion"),
    "missing material": ("chip", "hole", "missing", "broken_off"),
    "stains and colour": ("discoloured", "smear", "spots", "stain", "tint", "specks", "spot", "blurred"),
    "foreign bodies": ("foreign", "thread", "fibre"),
    "geometry": ("dent", "distorted", "misplaced", "wrong", "warped", "moved_piece"),
    "pasted textures": ("texture",),
}
"""Kinds of generated and synthetic defects, by what they look like; each kind in one family."""
FEATURES = {"kind": "edgeglr"}
"""Of the readout."""


@dataclass(frozen=True)
class Arm:
    """One training: the recipe with one thing changed.

    Attributes:
        name: of the variant.
        training, readout, model: settings in place of the profile's.
        factor: settings of the training in units of the profile's.
        sources: "generated" or "photographs": only these of the source.
        without: family of defects whose rows are left out.
        generated: settings of the generated sets in place of the profile's.
        map_strides: the only strides that the map reads; empty for all.
        coverage: what the defective share of a cell is multiplied by.
        against: the variant that it is compared with.
        equal_cost: whether it takes as long to train, about.
        asked: whether it is measured only when named.
    """

    name: str
    training: dict[str, Any] = field(default_factory=dict)
    readout: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    factor: dict[str, float] = field(default_factory=dict)
    sources: str = ""
    without: str = ""
    generated: dict[str, Any] = field(default_factory=dict)
    map_strides: tuple[int, ...] = ()
    coverage: float = 1.0
    against: str = RECIPE
    equal_cost: bool = True
    asked: bool = False


def arms(full_coverage: float, tuning_steps: int) -> tuple[Arm, ...]:
    """All variants; one that a profile already is shows no difference.

    Args:
        full_coverage: the share from which on the recipe calls a cell fully defective.
        tuning_steps: of the pair of a frozen and a tuned backbone.
    """
    few = f"recipe, {tuning_steps} steps"
    return (
        Arm(RECIPE),
        Arm("generated images only", sources="generated"),
        Arm("photographs only", sources="photographs"),
        *(Arm(f"no {family}", without=family) for family in FAMILIES),
        Arm("no colour and light randomisation", generated={"randomise": False}),
        *(Arm(f"{size} pixels", model={"size": size}, equal_cost=False) for size in (224, 448)),
        Arm("backbone: lite2", model={"backbone": "tf_efficientnet_lite2"}, equal_cost=False),
        Arm("map from strides 16 and 32", map_strides=(16, 32)),
        Arm("map from strides 8 and 16", map_strides=(8, 16)),
        Arm("map without self-similarity", readout={"self_similarity": []}),
        # Self-similarity is read by the head with context alone, so that both lack it here.
        Arm(
            "map without context or self-similarity",
            readout={"context": 0, "self_similarity": []},
            against="map without self-similarity",
        ),
        Arm("cues of unclipped channels", readout={"clip": None}),
        Arm("noise 0", readout={"noise": 0.0}),
        Arm("noise 1", readout={"noise": 1.0}),
        Arm("map target: strict share", coverage=full_coverage),
        Arm("no moving average", training={"ema": 0.0}),
        Arm("half the learning rate", factor={"learning_rate": 0.5}),
        Arm("double the learning rate", factor={"learning_rate": 2.0}),
        Arm("half the steps", factor={"steps": 0.5}, equal_cost=False),
        Arm("double the steps", factor={"steps": 2.0}, equal_cost=False),
        Arm("ranking: features", readout=FEATURES),
        Arm(
            "ranking: features, no ranking loss",
            readout=FEATURES,
            training={"ranking_weight": 0.0},
            against="ranking: features",
        ),
        Arm(few, training={"steps": tuning_steps}, equal_cost=False, asked=True),
        Arm(
            f"last stage tuned, {tuning_steps} steps",
            training={"steps": tuning_steps, "tuned_stages": 1},
            against=few,
            equal_cost=False,
            asked=True,
        ),
    )


def changed(profile: Profile, arm: Arm) -> Profile:
    """The profile with an arm's settings, checked again."""
    raw = profile.model_dump(mode="json")
    for name, factor in arm.factor.items():
        raw["training"][name] = type(raw["training"][name])(raw["training"][name] * factor)
    raw["training"] |= arm.training
    raw["model"] |= arm.model
    raw["model"]["readout"] = merged_readout(raw["model"]["readout"], arm.readout)
    for item in raw["data"]["source"]:
        if item.get("generated"):
            item["generated"] |= arm.generated
    return Profile.model_validate(raw)


def kept_rows(arm: Arm, profile: Profile, group: np.ndarray, kind: np.ndarray | None) -> np.ndarray:
    """(N,) bool: which rows of the source an arm trains on.

    Args:
        arm: what is left out.
        profile: says which sets are generated.
        group: (N,) str, data set and category with a slash between.
        kind: (N,) str, kind of each row's defect; empty where there is none. Only where defects are left out.

    Raises:
        InputError: nothing is left out, so that the arm would be the recipe again; or nothing is left.
    """
    keep = np.ones(len(group), dtype=bool)
    if arm.sources:
        names = [item.name for item in profile.data.source if item.generated]
        made = np.isin([str(one).partition("/")[0] for one in group], names)
        keep = made if arm.sources == "generated" else ~made
    if arm.without:
        if kind is None or arm.without not in FAMILIES:
            raise InputError(f"{arm.name}: no family of defects is called {arm.without!r}; use {', '.join(FAMILIES)}")
        keep = ~np.isin(kind, FAMILIES[arm.without])
    if (arm.sources or arm.without) and (keep.all() or not keep.any()):
        raise InputError(f"{arm.name}: leaves out {'nothing' if keep.all() else 'everything'} of this source")
    return keep


def kinds(run: Run) -> np.ndarray:
    """(N,) str, the kind of each source row's defect, in the source's order; empty where it has none.

    Raises:
        InputError: a generated or synthetic defect is of a kind that no family has.
    """
    found = [kind for item in run.profile.data.source for kind in _kinds_of(run, item)]
    known = {"", OWN, *(kind for family in FAMILIES.values() for kind in family)}
    if unknown := sorted(set(found) - known):
        raise InputError(f"benchmarks/photographs_arms.py: no family has the defect {unknown[0]!r}; add it to one")
    return np.array(found)


def _kinds_of(run: Run, item: DataSet) -> list[str]:
    manifest = read_run_manifest(run, item)
    entries = {entry.id: entry for entry in manifest.entries}

    def own(entry: Any) -> str:
        if not entry.label:
            return ""
        return entry.defect if item.generated else OWN

    if item.derive is None:
        return [own(entry) for entry in manifest.entries]
    found = []
    for row in read_derived(derived_path(run, item), manifest, item.derive, run.profile.data.seed).rows:
        if row.kind == "synthetic":
            crop = render_crop(row, manifest.root, entries, run.profile.model.size)
            random = np.random.default_rng([row.seed, 1])  # as `render` seeds it
            found.append(synthetic_defect(crop, random, item.derive.defects)[1])
        elif not row.label:
            found.append("")
        else:
            found.append(own(entries[row.donor or row.parent]))
    return found
