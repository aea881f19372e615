"""Claims: each statement that a number can bear out, its reported value, ours, and whether it holds.

The paper's own claims need the paper profile or a board; what a mini run can check are the derived ones (cost,
operators, identities) and this package's promises about itself. A mini number never stands in for a paper number.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from edgezsad import reported
from edgezsad.errors import CheckError, InputError
from edgezsad.run import Run

Status = Literal["holds", "fails", "not run"]

NOTHING = "nothing"
"""What arithmetic on published numbers needs."""

# What a rehearsal computes as a run would: the paper's graph does not depend on images or training.
REHEARSED = ("07_efficiency",)


@dataclass(frozen=True)
class Claim:
    """One row of the claims table.

    Attributes:
        name: short, unique.
        statement: what is claimed.
        by: "paper", or "package" for this package's own promise.
        reported: the reported value or bound.
        comparison: "equals" (within tolerance), "at most" or "at least" (beyond the bound by at most the tolerance).
        tolerance: in the value's unit.
        unit: of the values.
        profiles: those that can bear it out.
        value: reads our number from a run's results; None when the run says it was not run.
        needs: what it takes when the profile at hand cannot check it.
        page: the notebook that computes it.
    """

    name: str
    statement: str
    by: Literal["paper", "package"]
    reported: float
    comparison: Literal["equals", "at most", "at least"]
    tolerance: float
    unit: str
    profiles: tuple[str, ...]
    value: Callable[[Run], float | None]
    needs: str
    page: str


@dataclass(frozen=True)
class Verdict:
    """A claim with our number and its status; `reason` says what a claim that was not run needs."""

    claim: Claim
    ours: float | None
    status: Status
    reason: str

    def as_json(self) -> dict[str, object]:
        """For the results file."""
        claim = self.claim
        return {
            "name": claim.name,
            "by": claim.by,
            "reported": claim.reported,
            "ours": self.ours,
            "unit": claim.unit,
            "comparison": claim.comparison,
            "tolerance": claim.tolerance,
            "status": self.status,
            "reason": self.reason,
            "page": claim.page,
        }


def judge(claim: Claim, ours: float | None) -> bool:
    """Whether a number bears the claim out; a number that is not finite bears out nothing."""
    if ours is None or not math.isfinite(ours):
        return False
    difference = ours - claim.reported
    if claim.comparison == "equals":
        return abs(difference) <= claim.tolerance
    return (difference if claim.comparison == "at most" else -difference) <= claim.tolerance


def check(run: Run, claims: "Iterable[Claim] | None" = None) -> list[Verdict]:
    """Judge every claim against a run's results files.

    Raises:
        InputError: a results file that the profile should have is missing; the notebook that makes it is named.
    """
    verdicts = []
    for claim in CLAIMS if claims is None else claims:
        if run.profile.rehearsal is not None and claim.page not in REHEARSED and claim.needs != NOTHING:
            verdicts.append(Verdict(claim, None, "not run", f"this was a rehearsal; needs {claim.needs}"))
            continue
        if run.profile.profile not in claim.profiles:
            verdicts.append(Verdict(claim, None, "not run", f"needs {claim.needs}"))
            continue
        ours = claim.value(run)
        if ours is None:
            verdicts.append(Verdict(claim, None, "not run", f"needs {claim.needs}"))
        else:
            verdicts.append(Verdict(claim, ours, "holds" if judge(claim, ours) else "fails", ""))
    return verdicts


def require(verdicts: list[Verdict]) -> None:
    """Raise if a claim fails.

    Raises:
        CheckError: naming every claim that fails, with our number and the reported one.
    """
    failed = [verdict for verdict in verdicts if verdict.status == "fails"]
    if failed:
        what = "; ".join(
            f"{v.claim.name}: {v.ours:.6g} {v.claim.unit}, {v.claim.comparison} {v.claim.reported:g}" for v in failed
        )
        raise CheckError(f"{len(failed)} claim(s) fail: {what}; see the claims page")


def claims_table(verdicts: list[Verdict]) -> pd.DataFrame:
    """The claims as a table, one row each, the status in words."""
    return pd.DataFrame(
        [
            {
                "claim": verdict.claim.statement,
                "by": verdict.claim.by,
                "reported": f"{verdict.claim.comparison} {verdict.claim.reported:g} {verdict.claim.unit}",
                "tolerance": f"{verdict.claim.tolerance:g}",
                "ours": None if verdict.ours is None else f"{verdict.ours:.4g}",
                "status": verdict.status + (f": {verdict.reason}" if verdict.reason else ""),
                "page": verdict.claim.page,
            }
            for verdict in verdicts
        ]
    )


def _result(notebook: str, *keys: str, name: str = "") -> Callable[[Run], Any]:
    """Read one number from a results file of `notebook`, the one of its own name by default; None: "not run"."""
    name = name or notebook.partition("_")[2]

    def read(run: Run) -> Any:
        value = run.read_result(name, notebook)
        made_by = value.get("profile") if isinstance(value, dict) else None
        if made_by not in (None, run.profile.profile):
            raise InputError(
                f"{run.result_path(name)}: made by profile {made_by}, not {run.profile.profile}; "
                f"run notebook {notebook} again"
            )
        for key in keys:
            try:
                value = value[key]
            except (KeyError, TypeError):
                path = run.result_path(name)
                raise InputError(f"{path}: no {'.'.join(keys)} in it; run notebook {notebook} again") from None
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InputError(
                f"{run.result_path(name)}: {'.'.join(keys)} is not a number; run notebook {notebook} again"
            )
        return value

    return read


def _accuracy(benchmark: str, metric: str, value: float) -> Claim:
    title = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "pixel_aupro": "PRO"}[metric]
    return Claim(
        name=f"{benchmark} {title}",
        statement=f"{title} on {benchmark}, target unseen, mean of three seeds",
        by="paper",
        reported=value,
        comparison="equals",
        tolerance=1.0,
        unit="%",
        profiles=("paper",),
        value=_result("06_benchmarks", "by_benchmark", benchmark, metric, "mean"),
        needs=f"the paper profile: Real-IAD, {benchmark} and days of computing",
        page="06_benchmarks",
    )


def _board(name: str, statement: str, value: float, unit: str, tolerance: float, needs: str, page: str) -> Claim:
    """A claim that only a board can bear out; this package does not read boards' results yet."""
    return Claim(name, statement, "paper", value, "at most", tolerance, unit, (), lambda run: None, needs, page)


ANY = ("mini", "folder", "paper")

CLAIMS: tuple[Claim, ...] = (
    *(
        _accuracy(benchmark, metric, value)
        for benchmark, row in reported.EDGEZSAD.items()
        for metric, value in (
            ("image_auroc", row.image_auroc),
            ("pixel_auroc", row.pixel_auroc),
            ("pixel_aupro", row.pixel_pro),
        )
        if value is not None
    ),
    Claim(
        "source images",
        "Images derived from Real-IAD (how is our reading: the paper gives name, number and 2,000 steps)",
        "paper",
        reported.SOURCE_IMAGES,
        "equals",
        0,
        "images",
        ("paper",),
        _result("01_data", "derived_images"),
        "the paper profile: Real-IAD",
        "01_data",
    ),
    Claim(
        "GFLOPs",
        "The paper's graph costs 53.77 GFLOPs at 512 x 512 (backbone, 2 x MAC)",
        "paper",
        reported.GFLOPS,
        "equals",
        0.01,
        "GFLOPs",
        ANY,
        _result("07_efficiency", "paper_graph", "backbone_gflops"),
        "nothing but a CPU",
        "07_efficiency",
    ),
    Claim(
        "readout cost",
        "The readout adds at most what the published figure leaves room for (convolutions and matrix products)",
        "package",
        9.0,
        "at most",
        0.0,
        "MFLOPs",
        ANY,
        _result("07_efficiency", "paper_graph", "readout_mflops"),
        "nothing but a CPU",
        "07_efficiency",
    ),
    Claim(
        "no Resize",
        "The paper's graph with our readout exports without Resize or any other operator outside the allow-list",
        "package",
        0,
        "at most",
        0.0,
        "findings",
        ANY,
        _result("07_efficiency", "paper_graph", "lint_findings"),
        "nothing but a CPU",
        "07_efficiency",
    ),
    *(
        Claim(
            f"host latency, {short}",
            f"The paper's graph at 512 x 512 by ONNX Runtime in FP32, all cores, {statement} (recorded: date and "
            "machine stand on the page)",
            "package",
            bound,
            comparison,
            0.0,
            "times",
            ANY,
            _result("07_efficiency", key, name="latency"),
            "nothing but a CPU",
            "07_efficiency",
        )
        for short, statement, bound, comparison, key in (
            ("floor", "takes what its operations take in matrix products", 1.35, "at most", "times_the_floor"),
            ("tower", "is as fast as a CLIP ViT-L/14 tower at 518 px", 16.0, "at least", "times_as_fast_as_the_tower"),
        )
    ),
    Claim(
        "frames a second",
        "32.83 ms an image is 30.46 frames a second (arithmetic on the paper's own numbers)",
        "paper",
        reported.JETSON.frames_per_second or 0.0,
        "equals",
        0.005,
        "FPS",
        ANY,
        lambda run: 1000 / reported.JETSON.milliseconds,
        NOTHING,
        "08_jetson_drift",
    ),
    _board(
        "Jetson latency",
        "TensorRT FP16 on Jetson Orin Nano Super",
        reported.JETSON.milliseconds,
        "ms",
        0.05 * reported.JETSON.milliseconds,
        reported.JETSON.needs,
        "08_jetson_drift",
    ),
    _board(
        "RB5 latency",
        "QNN GPU FP16 on RB5 Gen2",
        reported.RB5.milliseconds,
        "ms",
        0.05 * reported.RB5.milliseconds,
        reported.RB5.needs,
        "09_rb5_drift",
    ),
    _board(
        "Jetson drift",
        "Image-AUROC drift on all six benchmarks, TensorRT FP16",
        reported.DRIFT_POINTS,
        "points",
        0.0,
        f"{reported.JETSON.needs} and the paper's data sets",
        "08_jetson_drift",
    ),
    _board(
        "RB5 drift",
        "Image-AUROC drift on all six benchmarks, QNN GPU FP16",
        reported.DRIFT_POINTS,
        "points",
        0.0,
        f"{reported.RB5.needs} and the paper's data sets",
        "09_rb5_drift",
    ),
    Claim(
        "host parity",
        "ONNX Runtime FP32 gives PyTorch's score from the same image bytes",
        "package",
        1e-4,
        "at most",
        0.0,
        "logit",
        ANY,
        _result("04_export", "largest_score_difference"),
        "nothing but a CPU",
        "04_export",
    ),
    Claim(
        "host FP16 ranking",
        "FP16 on the host keeps PyTorch's ranking on every target with every seed (Spearman)",
        "package",
        0.999,
        "at least",
        0.0,
        "Spearman",
        ANY,
        _result("08_jetson_drift", "smallest_spearman"),
        "nothing but a CPU",
        "08_jetson_drift",
    ),
    Claim(
        "host INT8 drift",
        "INT8 on the host moves no target's image AUROC, mean over seeds, by this much",
        "package",
        1.0,
        "at most",
        0.0,
        "points",
        ("mini",),
        _result("14_int8", "largest_drift_points_of_the_mean"),
        "the mini profile, whose targets have images enough to tell",
        "14_int8",
    ),
    Claim(
        "QNN emulator ranking",
        "FP16 by the QNN HTP emulator keeps the host's ranking on a subset of every target (Spearman)",
        "package",
        0.99,
        "at least",
        0.0,
        "Spearman",
        ANY,
        _result("09_rb5_drift", "smallest_spearman"),
        "the onnxruntime-qnn package (Linux x86-64)",
        "09_rb5_drift",
    ),
    Claim(
        "no leak",
        "No source image is also a target image, by content hash or as a near-duplicate",
        "package",
        0,
        "at most",
        0.0,
        "images",
        ANY,
        _result("01_data", "overlaps"),
        "nothing but a CPU",
        "01_data",
    ),
)
