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
from edgezsad.devices.boards import BOARDS
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
        value: reads our number from a run's results; None when the run says it was not run, or a text that says why
            there is none.
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
    value: Callable[[Run], float | str | None]
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
        if ours is None or isinstance(ours, str):
            verdicts.append(Verdict(claim, None, "not run", ours or f"needs {claim.needs}"))
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


def _host_drift(run: Run) -> float | str | None:
    """FP16's drift on the host; a set in which one pair of images is more than the bound can not fail."""
    points = _result("08_jetson_drift", "largest_drift_points_of_the_mean")(run)
    if points is None or points <= reported.DRIFT_POINTS:
        return points
    verdicts = run.read_result("jetson_drift", "08_jetson_drift")["verdicts"]
    return (
        points if verdicts["not equivalent"] else "undecided: in these sets one pair of images is more than the bound"
    )


_SHORT = {"jetson": "Jetson", "rb5": "RB5"}


def _board_drift(name: str, page: str) -> Claim:
    """Drift on a board: the claim holds if every benchmark passes the test of equivalence."""
    board, title = BOARDS[name], _SHORT[name]
    read = _result(page, "board", "drift_points_below")

    def value(run: Run) -> float | str | None:
        below = read(run)
        found = run.read_result(page.partition("_")[2], page)["board"]
        if found["status"] == "not run":
            return None
        if found["status"] == "suspicious":
            return "suspicious: a drift of exactly zero, as a silent fallback to the host gives; run the board again"
        if found["missing"]:
            return f"incomplete: needs the board's scores of {', '.join(found['missing'])}"
        verdicts = found["verdicts"]
        # A set too small to tell bears a claim neither out nor down.
        if below is None or (verdicts["undecided"] and not verdicts["not equivalent"]):
            more = f": needs about {found['images_needed']:,} images of a set" if found["images_needed"] else ""
            return f"undecided, sets are too small{more}"
        return below

    return Claim(
        f"{title} drift",
        f"Image-AUROC drift on all six benchmarks, {board.reported.runtime}: each lies below the bound by a test of "
        "equivalence at 5% (ours: the farthest end of the 90% intervals, over the seeds that it scored)",
        "paper",
        reported.DRIFT_POINTS,
        "at most",
        0.0,
        "points",
        ("paper",),
        value,
        f"{board.reported.needs} and the paper's data sets",
        page,
    )


def _board_latency(name: str, page: str) -> Claim:
    """Time of an image on a board."""
    board, title = BOARDS[name], _SHORT[name]
    return Claim(
        f"{title} latency",
        f"{board.reported.runtime} on {board.reported.device}, median",
        "paper",
        board.reported.milliseconds,
        "at most",
        0.05 * board.reported.milliseconds,
        "ms",
        # A mini model's time is no repetition of the paper's.
        ("paper",),
        _result(page, "board_latency", "median_ms"),
        board.reported.needs,
        page,
    )


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
        "operator lists",
        "The operator lists of TensorRT, QNN GPU and QNN HTP have nothing against the paper's graph, FP32 or FP16",
        "package",
        0,
        "at most",
        0.0,
        "findings",
        ANY,
        _result("07_efficiency", "paper_graph", "backend_findings"),
        "nothing but a CPU",
        "07_efficiency",
    ),
    Claim(
        "FP16 ONNX size",
        "The paper's graph takes at most 46 MB as an FP16 ONNX file",
        "package",
        46.0,
        "at most",
        0.0,
        "MB",
        ANY,
        _result("07_efficiency", "paper_graph", "fp16_onnx_megabytes"),
        "nothing but a CPU",
        "07_efficiency",
    ),
    Claim(
        "one QNN partition",
        "The paper's graph is one partition for QNN, FP32 and FP16, with nothing left to the CPU",
        "package",
        1,
        "equals",
        0,
        "partitions",
        ANY,
        _result("07_efficiency", "paper_graph", "dlc_partitions"),
        "the onnxruntime-qnn package (Linux x86-64)",
        "07_efficiency",
    ),
    Claim(
        "FP16 DLC size",
        "The paper's graph takes at most 60 MB as an FP16 DLC",
        "package",
        60.0,
        "at most",
        0.0,
        "MB",
        ANY,
        _result("07_efficiency", "paper_graph", "fp16_dlc_megabytes"),
        "the onnxruntime-qnn package (Linux x86-64)",
        "07_efficiency",
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
    _board_latency("jetson", "08_jetson_drift"),
    _board_latency("rb5", "09_rb5_drift"),
    _board_drift("jetson", "08_jetson_drift"),
    _board_drift("rb5", "09_rb5_drift"),
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
        "host FP16 drift",
        "FP16 on the host moves the image AUROC of every target by less than the paper's bound for boards (mean over "
        "seeds; which sets are large enough to show it by the test of equivalence stands on the page)",
        "package",
        reported.DRIFT_POINTS,
        "at most",
        0.0,
        "points",
        ANY,
        _host_drift,
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
