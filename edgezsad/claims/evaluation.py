"""Evaluate the claims of `claims.yaml` against the results files of a run.

An incomplete result confirms no claim; what was not measured is "not run", with what it needs.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from pathlib import Path
from statistics import median
from typing import Any

from edgezsad.errors import CheckError, InputError
from edgezsad.files import parse_yaml, reported
from edgezsad.run import Run

STATUSES = ("holds", "fails", "not run")


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
    compute: list[str] = field(default_factory=list)
    complete_if: dict[str, Any] = field(default_factory=dict)
    partial_may_fail: bool = False
    verdicts: str = ""
    profiles: list[str] = field(default_factory=lambda: ["mini", "folder", "paper"])

    def holds(self, value: float) -> bool:
        """Return whether a value exceeds the bound, or for "equals" differs from it, by at most the tolerance."""
        sign, difference = {"at most": 1, "at least": -1}.get(self.comparison), value - self.bound
        return math.isfinite(value) and (sign * difference if sign else abs(difference)) <= self.tolerance


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim with our number, the status, the reason if it was not run, and the profile of the run."""

    claim: Claim
    ours: float | None
    status: str
    reason: str
    profile: str


def check_claims(run: Run, claims: Iterable[Claim] = ()) -> list[ClaimVerdict]:
    """Evaluate claims, all by default, against the results files of a run; InputError if a number is missing."""
    return [_verdict(run, claim) for claim in claims or CLAIMS.values()]


def require_claims(verdicts: Iterable[ClaimVerdict]) -> None:
    """Raise a `CheckError` that lists every claim that fails with our number and the bound."""
    failed = [v for v in verdicts if v.status == "fails"]
    if failed:
        ours = [v.reason or f"{v.ours:.6g} {v.claim.unit}" for v in failed]
        bounds = [f"{v.claim.comparison} {v.claim.bound:g}" for v in failed]
        texts = [f"{v.claim.name}: {our}, {bound}" for v, our, bound in zip(failed, ours, bounds, strict=True)]
        raise CheckError(f"{len(failed)} claim(s) fail: {'; '.join(texts)}; see the claims page")


def _verdict(run: Run, claim: Claim) -> ClaimVerdict:
    def not_run(reason: str) -> ClaimVerdict:
        return ClaimVerdict(claim, None, "not run", reason, run.profile.profile)

    # The paper's graph depends on neither images nor training, so a rehearsal measures it.
    if run.profile.rehearsal is not None and claim.page != "07_efficiency" and claim.group != "published":
        return not_run(f"this was a rehearsal; needs {claim.needs}")
    if run.profile.profile not in claim.profiles:
        return not_run(f"needs {claim.needs}")
    value = FUNCTIONS[claim.compute[0]](*claim.compute[1:]) if claim.compute else _number(run, claim.value)
    holds = value is not None and claim.holds(value)
    if claim.verdicts and (failed := _result(run, claim.verdicts).get("failed")):
        reason = "; ".join(f"{target}, {text}" for target, text in failed.items())
        return ClaimVerdict(claim, None, "fails", reason, run.profile.profile)
    if claim.verdicts and not holds:
        tested = _result(run, claim.verdicts)
        if any(tested["verdicts"].values()) and not tested["verdicts"]["not equivalent"]:
            needed = f", needs about {tested['images_needed']:,} images of a set" if tested["images_needed"] else ""
            return not_run(f"undecided: sets are too small{needed}")
    if value is None:
        return not_run(f"needs {claim.needs}")
    missing = (CONDITIONS[name](run, claim, argument) for name, argument in claim.complete_if.items())
    if (reason := next(filter(None, missing), "")) and (holds or not claim.partial_may_fail):
        return not_run(f"incomplete: {reason}")
    return ClaimVerdict(claim, value, "holds" if holds else "fails", "", run.profile.profile)


def _result(run: Run, path: str) -> Any:
    """Return one part of a results file; the path starts with the file's name."""
    name, _, keys = path.partition(".")
    tree = run.read_result(name, NOTEBOOKS[name])
    if tree.get("profile") != run.profile.profile:
        raise _invalid(run, path, f"made by profile {tree.get('profile')}, not {run.profile.profile}")
    try:
        return reduce(getitem, keys.split(".") if keys else [], tree)
    except (KeyError, TypeError):
        raise _invalid(run, path, f"missing {keys}") from None


def _invalid(run: Run, path: str, text: str) -> InputError:
    name = path.partition(".")[0]
    return InputError(f"{run.result_path(name)}: {text}; run notebook {NOTEBOOKS[name]} again")


def _number(run: Run, path: str) -> float | None:
    """Return a number of a results file, or the length of a list or mapping; None where it is null."""
    value = _result(run, path)
    value = len(value) if isinstance(value, list | dict) else value
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise _invalid(run, path, f"{path.partition('.')[2]} is not a number")
    return value


def _points_ahead(benchmark: str, metric: str, of: str) -> float:
    """Compare the paper with the methods that see one image at a time, each as reported by its authors."""
    rows = [row for row in reported()["accuracy"] if row["benchmark"] == benchmark and row.get("alone", True)]
    others = [row[metric] for row in rows if metric in row and not row.get("rerun")]
    return reported()["paper"]["accuracy"][benchmark][metric] - {"max": max, "median": median}[of](others)


def _parameter_ratio() -> float:
    vit_l = [sum(row["millions"]) for row in reported()["costs"] if row["backbone"] == "ViT-L" and "millions" in row]
    return min(vit_l) / reported()["paper"]["backbone_millions"]


FUNCTIONS: dict[str, Callable[..., float]] = {
    "points_ahead": _points_ahead,
    "points_behind": lambda *arguments: -_points_ahead(*arguments),
    "parameter_ratio": _parameter_ratio,
    "frames_per_second": lambda board: 1000 / reported()["boards"][board]["milliseconds"],
}
"""Arithmetic on published numbers, by the name that `claims.yaml` uses."""


def _paper_model(run: Run, claim: Claim, argument: bool) -> str:
    own, paper = (f"{each.backbone} at {each.size} px" for each in (run.profile.model, run.profile.paper_graph))
    return "" if own == paper else f"another model: {own}, not {paper}"


def _as_published(run: Run, claim: Claim, which: str) -> str:
    """Require the published numbers of images of the source, the targets or the sets that stand for a benchmark."""
    data = run.profile.data
    sets = {"source": data.source, "targets": data.targets}.get(which)
    names = [item.name for item in sets or [item for item in data.targets if item.stands_for == which]]
    same = {row["set"]: row["same as published"] or "no published numbers" for row in _result(run, "data.sets")}
    wrong = [f"{name} ({same.get(name)})" for name in names if not str(same.get(name)).startswith("yes")]
    return f"not the published sets: {', '.join(wrong)}" if wrong else ""


def _every_target(run: Run, claim: Claim, column: str) -> str:
    """Require a value for every target and seed in the claim's drift table; of `images`, those of the whole set."""
    found = _result(run, claim.value.rpartition(".")[0])
    if found["status"] == "suspicious":
        return "a drift of exactly zero, as by a silent fallback to the host; run the board again"
    least = {row["set"]: row["test"] for row in _result(run, "data.sets")} if column == "images" else {}
    rows = [row for row in found["rows"] if row[column] is None or row[column] < least.get(row["target"], -math.inf)]
    missing = ", ".join([*found["missing"], *(f"{row['target']} seed {row['seed']}" for row in rows)])
    return f"missing {column} of {missing}" if missing else ""


def _within(run: Run, claim: Claim, limits: dict[str, tuple[float, float]]) -> str:
    """Require numbers, or lengths of lists, within limits."""
    for path, (low, high) in limits.items():
        found = _number(run, path)
        if not low <= found <= high:
            return f"{path} is {found:,}, expected {f'at least {low}' if found < low else f'at most {high}'}"
    return ""


CONDITIONS = {each.__name__[1:]: each for each in (_paper_model, _as_published, _every_target, _within)}
"""Conditions of a complete result, by the name that `claims.yaml` uses: each returns what is missing, or nothing."""


def _load() -> tuple[dict[str, str], dict[str, str], dict[str, Claim]]:
    content = parse_yaml(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8"))
    claims = {}
    for row in content["claims"]:
        row = {"page": content["results"].get(row.get("value", "").partition(".")[0]), **row}
        if isinstance(row["bound"], str):
            row["bound"] = reduce(getitem, row["bound"].split("."), reported())
        claims[row["name"]] = Claim(**{**row, "statement": row["statement"].format(bound=f"{row['bound']:g}")})
    return content["groups"], content["results"], claims


GROUPS, NOTEBOOKS, CLAIMS = _load()
"""Titles of the groups, notebook of each results file, and the claims by name."""
