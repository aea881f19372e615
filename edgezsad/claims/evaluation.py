"""Evaluate the claims of `claims.yaml` against the results files of a run.

A number confirms a claim only for the profiles that the claim names, and only if the result is complete: a mini number
never stands for one of the paper's. What was not measured is "not run", with what it needs.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from edgezsad import reported
from edgezsad.errors import CheckError, InputError
from edgezsad.files import read_json
from edgezsad.run import Run

STATUSES = ("holds", "fails", "not run")
GROUPS = {
    "paper": "stated by the paper",
    "published": "follows from published numbers alone",
    "package": "promised by this package",
}


@dataclass(frozen=True)
class Claim:
    """One row of `claims.yaml`, which explains the fields; paths into `reported.yaml` are resolved."""

    name: str
    statement: str
    group: str
    bound: float
    comparison: str
    unit: str
    needs: str
    page: str
    tolerance: float = 0.0
    value: str = ""
    compute: tuple[str, ...] = ()
    complete_if: dict[str, Any] = field(default_factory=dict)
    partial_may_fail: bool = False
    verdicts: str = ""
    profiles: tuple[str, ...] = ("mini", "folder", "paper")

    def holds(self, value: float) -> bool:
        """Return whether a number confirms the claim; one that is not finite never does."""
        excess = {"at most": 1, "at least": -1}.get(self.comparison)
        difference = value - self.bound
        return math.isfinite(value) and (excess * difference if excess else abs(difference)) <= self.tolerance


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim with our number, the status, the reason if it was not run, and the profile of the run."""

    claim: Claim
    ours: float | None
    status: str
    reason: str
    profile: str


def check_claims(run: Run, claims: Iterable[Claim] | None = None) -> list[ClaimVerdict]:
    """Evaluate claims, all by default, against the results files of a run.

    Raises:
        InputError: a results file is missing, of another profile or without the number.
    """
    return [_verdict(run, claim) for claim in (CLAIMS.values() if claims is None else claims)]


def require_claims(verdicts: Iterable[ClaimVerdict]) -> None:
    """Raise a `CheckError` that lists every claim that fails with our number and the bound."""
    failed = [each for each in verdicts if each.status == "fails"]
    if failed:
        texts = (f"{v.claim.name}: {v.ours:.6g} {v.claim.unit}, {v.claim.comparison} {v.claim.bound:g}" for v in failed)
        raise CheckError(f"{len(failed)} claim(s) fail: {'; '.join(texts)}; see the claims page")


def _verdict(run: Run, claim: Claim) -> ClaimVerdict:
    def not_run(reason: str) -> ClaimVerdict:
        return ClaimVerdict(claim, None, "not run", reason, run.profile.profile)

    # The paper's graph depends on neither images nor training, so a rehearsal measures it.
    if run.profile.rehearsal is not None and claim.page != "07_efficiency" and claim.group != "published":
        return not_run(f"this was a rehearsal; needs {claim.needs}")
    if run.profile.profile not in claim.profiles:
        return not_run(f"needs {claim.needs}")
    value = FUNCTIONS[claim.compute[0]](run, *claim.compute[1:]) if claim.compute else _number(run, claim.value)
    fails = value is None or not claim.holds(value)
    tested = _result(run, claim.verdicts) if claim.verdicts and fails else {"verdicts": {}}
    undecided = any(tested["verdicts"].values()) and not tested["verdicts"]["not equivalent"]
    if value is None and not undecided:
        return not_run(f"needs {claim.needs}")
    missing = (CONDITIONS[name](run, claim, argument) for name, argument in claim.complete_if.items())
    if (reason := next(filter(None, missing), "")) and not (fails and claim.partial_may_fail and not undecided):
        return not_run(f"incomplete: {reason}")
    if undecided:
        needed = tested.get("images_needed")
        return not_run(
            "undecided: sets are too small" + (f", needs about {needed:,} images of a set" if needed else "")
        )
    return ClaimVerdict(claim, value, "fails" if fails else "holds", "", run.profile.profile)


def _lookup(tree: Any, path: str) -> Any:
    """Return the part of nested mappings at a path; KEY=VALUE selects a row of a list."""
    for key in path.split("."):
        name, _, wanted = key.partition("=")
        tree = next(row for row in tree if row[name] == wanted) if wanted else tree[key]
    return tree


def _result(run: Run, path: str) -> Any:
    """Return one part of a results file; the path starts with the file's name."""
    name, _, keys = path.partition(".")
    again = f"run notebook {NOTEBOOKS[name]} again"
    tree = run.read_result(name, NOTEBOOKS[name])
    try:
        if tree["profile"] != run.profile.profile:
            raise InputError(
                f"{run.result_path(name)}: made by profile {tree['profile']}, not {run.profile.profile}; {again}"
            )
        return _lookup(tree, keys) if keys else tree
    except (KeyError, TypeError, StopIteration):
        raise InputError(f"{run.result_path(name)}: missing {keys}; {again}") from None


def _number(run: Run, path: str) -> float | None:
    value = _result(run, path)
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        name, _, keys = path.partition(".")
        raise InputError(f"{run.result_path(name)}: {keys} is not a number; run notebook {NOTEBOOKS[name]} again")
    return value


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _peers(benchmark: str, metric: str) -> list[float]:
    """Return what methods that see one image at a time report on a benchmark, each method once."""
    rows = [row for row in reported.FIELD_ACCURACY if row.benchmark == benchmark and row.alone and not row.rerun]
    return [value for row in rows if (value := getattr(row, metric)) is not None]


def _points_ahead(run: Run, benchmark: str, metric: str, of: str) -> float:
    others = {"max": max, "median": median}[of](_peers(benchmark, metric))
    return getattr(reported.EDGEZSAD[benchmark], metric) - others


def _parameter_ratio(run: Run) -> float:
    towers = [cost.parameters for cost in reported.FIELD_COSTS if cost.backbone == "ViT-L" and cost.parameters]
    return min(towers) / reported.BACKBONE_MILLIONS


def _complete_seeds(run: Run) -> int:
    """Count the seeds that scored every target."""
    rows = _result(run, "benchmarks.seeds")
    targets = {item.name for item in run.profile.data.targets}
    return sum({row["target"] for row in rows if row["seed"] == seed} >= targets for seed in {r["seed"] for r in rows})


def _benchmarks_scored(run: Run) -> int:
    """Count the benchmarks with a defined image AUROC whose sets are as published."""
    found = _result(run, "benchmarks.by_benchmark")
    targets = {item.stands_for: item.name for item in run.profile.data.targets if item.stands_for in found}
    return sum(
        found[benchmark]["image_auroc"]["mean"] is not None and not _not_as_published(run, [name])
        for benchmark, name in targets.items()
    )


def _training_steps(run: Run) -> int:
    """Return the number of training steps; where seeds differ, that of the seed farthest from the published one."""
    remedy = "run notebook 03_training for this seed"
    steps = [read_json(run.seed_folder(seed) / "metrics.json", remedy)["steps"] for seed in run.profile.seeds]
    return max(steps, key=lambda each: abs(each - reported.SOURCE_STEPS))


FUNCTIONS: dict[str, Callable[..., float]] = {
    "points_ahead": _points_ahead,
    "points_behind": lambda run, *arguments: -_points_ahead(run, *arguments),
    "parameter_ratio": _parameter_ratio,
    "frames_per_second": lambda run, board: 1000 / reported.REPORTED["boards"][board]["milliseconds"],
    "complete_seeds": _complete_seeds,
    "benchmarks_scored": _benchmarks_scored,
    "training_steps": _training_steps,
}
"""Values that are computed instead of read, by the name that `claims.yaml` uses."""


def _not_as_published(run: Run, names: Iterable[str]) -> str:
    """Return which of these data sets differ from the published numbers of images."""
    same = {row["set"]: row["same as published"] or "no published numbers" for row in _result(run, "data.sets")}
    wrong = [f"{name} ({same.get(name)})" for name in names if not str(same.get(name)).startswith("yes")]
    return f"not the published sets: {_listed(wrong)}" if wrong else ""


def _other_model(run: Run) -> str:
    model, paper = run.profile.model, run.profile.paper_graph
    if (model.backbone, model.size) == (paper.backbone, paper.size):
        return ""
    return f"another model: {model.backbone} at {model.size} px, not {paper.backbone} at {paper.size} px"


def _accuracy(run: Run, claim: Claim, argument: list[str]) -> str:
    """Require the paper's model, the published sets, every category and the published number of seeds."""
    benchmark, metric = argument
    names = [item.name for item in run.profile.data.targets if item.stands_for == benchmark]
    if text := _other_model(run) or _not_as_published(run, names):
        return text
    undefined = _result(run, "benchmarks.undefined")
    if left_out := [category for name in names for category in undefined[name].get(metric, [])]:
        return f"the mean leaves out {_listed(left_out)}"
    seeds = _complete_seeds(run)
    return "" if seeds >= reported.RUNS else f"{seeds} of {reported.RUNS} seeds"


def _board(run: Run, claim: Claim, path: str) -> str:
    """Require the paper's model and a board that scored every image of six published benchmarks."""
    found, targets = _result(run, path), [item.name for item in run.profile.data.targets]
    if text := _other_model(run):
        return text
    if found["status"] == "suspicious":
        return "a drift of exactly zero, as by a silent fallback to the host; run the board again"
    if found["missing"]:
        return f"needs the board's scores of {_listed(found['missing'])}"
    if len(targets) < reported.BENCHMARKS:
        return f"{len(targets)} of {reported.BENCHMARKS} benchmarks"
    whole = {row["set"]: row["test"] for row in _result(run, "data.sets")}
    if cut := [row["target"] for row in found["rows"] if row["images"] < whole[row["target"]]]:
        return f"the board scored only some images of {_listed(cut)}"
    return _not_as_published(run, targets)


def _every_target(run: Run, claim: Claim, column: str) -> str:
    """Require a value of every target and seed in the rows of the claim's results file."""
    name = claim.value.partition(".")[0]
    found = {(row["target"], row["seed"]) for row in _result(run, f"{name}.rows") if row.get(column) is not None}
    # The emulator is slow and scores one seed.
    seeds = (run.profile.evaluation.emulator.seed,) if name == "rb5_drift" else run.profile.seeds
    wanted = [(item.name, seed) for item in run.profile.data.targets for seed in seeds]
    lacking = [f"{target} seed {seed}" for target, seed in wanted if (target, seed) not in found]
    return f"no value of {_listed(lacking)}" if lacking else ""


def _within(run: Run, claim: Claim, limits: dict[str, tuple[float, float]]) -> str:
    """Require numbers, or lengths of lists, within limits."""
    for path, (low, high) in limits.items():
        found = _result(run, path)
        found = len(found) if isinstance(found, list) else found
        if not low <= found <= high:
            return f"{path} is {found:,}, expected {f'at least {low}' if found < low else f'at most {high}'}"
    return ""


CONDITIONS: dict[str, Callable[[Run, Claim, Any], str]] = {
    "paper_model": lambda run, claim, argument: _other_model(run),
    "accuracy": _accuracy,
    "as_published": lambda run, claim, role: _not_as_published(run, [i.name for i in getattr(run.profile.data, role)]),
    "board": _board,
    "every_target": _every_target,
    "within": _within,
}
"""Conditions of a complete result, by the name that `claims.yaml` uses: each returns what is missing, or nothing."""


def _load() -> tuple[dict[str, str], dict[str, Claim]]:
    """Read `claims.yaml`: the notebook of each results file, and the claims by name."""
    content = yaml.safe_load(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8"))
    claims = {}
    for row in content["claims"]:
        page = content["results"].get(row.get("value", "").partition(".")[0])
        row = {"page": page, **row}
        for key in ("bound", "needs"):
            if re.match(r"(paper|boards)\.", str(row[key])):
                row[key] = _lookup(reported.REPORTED, row[key])
        if isinstance(tolerance := row.get("tolerance"), str):
            row["tolerance"] = float(tolerance.rstrip("%")) / 100 * row["bound"]
        row |= {key: tuple(row[key]) for key in ("compute", "profiles") if key in row}
        claims[row["name"]] = Claim(**{**row, "statement": row["statement"].format(bound=f"{row['bound']:g}")})
    return content["results"], claims


NOTEBOOKS, CLAIMS = _load()
"""Notebook of each results file, and the claims by name."""
