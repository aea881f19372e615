"""What this package promises of itself: cost, operators and files of the paper's graph, and how well runtimes agree."""

from collections.abc import Callable
from typing import Literal

from edgezsad import reported
from edgezsad.claims.claim import ANY, CPU, Claim
from edgezsad.claims.paper import COST
from edgezsad.claims.readers import Value, missing_rows, number, result, results
from edgezsad.export.lint import BACKENDS
from edgezsad.run import Run

_QNN = "the onnxruntime-qnn package (Linux x86-64)"


def _promise(
    name: str,
    statement: str,
    comparison: Literal["equals", "at most", "at least"],
    bound: float,
    unit: str,
    value: Value,
    page: str,
    needs: str = CPU,
    profiles: tuple[str, ...] = ANY,
) -> Claim:
    """A promise has no tolerance: its bound is ours to choose."""
    return Claim(name, statement, "package", bound, comparison, 0.0, unit, profiles, value, needs, page)


def _all_seeds(notebook: str, columns: tuple[str, ...]) -> Callable[[Run], str]:
    """A drift table must have every target with every seed, with numbers."""
    return lambda run: missing_rows(results(run, notebook, "rows"), run, run.profile.seeds, columns)


def _emulated(run: Run) -> str:
    """The emulator scores every target, with one seed."""
    return missing_rows(
        results(run, "09_rb5_drift", "rows"), run, (run.profile.evaluation.emulator.seed,), ("spearman",)
    )


def _lists_read(run: Run) -> str:
    """Findings are nothing only if every list was held against both precisions."""
    rows = results(run, *COST, "backends")
    return "" if len(rows) == 2 * len(BACKENDS) else f"{len(rows)} of {2 * len(BACKENDS)} comparisons"


def _file_megabytes(precision: str) -> Value:
    """Size of one of the paper graph's ONNX files."""

    def read(run: Run) -> float | str | None:
        found = [row["megabytes"] for row in results(run, *COST, "files") if row["precision"] == precision]
        return found[0] if found else f"incomplete: no {precision} file"

    return read


def _host_drift(run: Run) -> float | str | None:
    """FP16's drift on the host; a set in which one pair of images is more than the bound can not fail."""
    page = "08_jetson_drift"
    points = number(run, page, "largest_drift_points_of_the_mean")
    if points is None:
        return None
    if points > reported.DRIFT_POINTS and results(run, page, "verdicts")["not equivalent"]:
        return points
    if missing := _all_seeds(page, ("points",))(run):
        return f"incomplete: {missing}"
    if points <= reported.DRIFT_POINTS:
        return points
    return "undecided: in these sets one pair of images is more than the bound"


def _overlaps(run: Run) -> float | str | None:
    """Images of the source that are also targets; images of which the search can promise nothing prove nothing."""
    page = "01_data"
    overlaps, proof = number(run, page, "overlaps"), results(run, page, "no_leak")
    if overlaps:
        return overlaps
    if not proof["source_images"] or not proof["target_images"]:
        return "incomplete: nothing to compare"
    unproven = proof["unproven_images"]
    return f"undecided: {unproven:,} images too faint or small to compare" if unproven else overlaps


PACKAGE: tuple[Claim, ...] = (
    _promise(
        "readout cost",
        "The readout adds at most 9 MFLOPs, about what the rounding of the published figure leaves room for "
        "(convolutions and matrix products)",
        "at most",
        9.0,
        "MFLOPs",
        result(*COST, "readout_mflops"),
        "07_efficiency",
    ),
    _promise(
        "compute beside ViT-L",
        "The image tower of CLIP ViT-L/14 at 518 px takes at least 18 times the operations of the paper's graph (a "
        "recorded count)",
        "at least",
        18.0,
        "times",
        result("07_efficiency", "tower_times_the_gflops", name="latency"),
        "07_efficiency",
    ),
    *(
        _promise(
            f"host latency, {short}",
            f"The paper's graph at 512 x 512 by ONNX Runtime in FP32, all cores, {statement} (recorded: date and "
            "machine stand on the page)",
            comparison,
            bound,
            "times",
            result("07_efficiency", key, name="latency"),
            "07_efficiency",
        )
        for short, statement, bound, comparison, key in (
            ("floor", "takes what its operations take in matrix products", 1.35, "at most", "times_the_floor"),
            ("tower", "is as fast as a CLIP ViT-L/14 tower at 518 px", 16.0, "at least", "times_as_fast_as_the_tower"),
        )
    ),
    _promise(
        "no Resize",
        "The paper's graph with our readout exports without Resize, which stopped DINOv2-L on the RB5, or any other "
        "operator outside the allow-list",
        "at most",
        0,
        "findings",
        result(*COST, "lint_findings"),
        "07_efficiency",
    ),
    _promise(
        "operator lists",
        "The operator lists of TensorRT, QNN GPU and QNN HTP have nothing against the paper's graph, FP32 or FP16",
        "at most",
        0,
        "findings",
        result(*COST, "backend_findings", unless=_lists_read, worst=True),
        "07_efficiency",
    ),
    _promise(
        "FP32 ONNX size",
        "The paper's graph takes at most 85 MB as an FP32 ONNX file: four bytes a parameter and little else",
        "at most",
        85.0,
        "MB",
        _file_megabytes("fp32"),
        "07_efficiency",
    ),
    _promise(
        "FP16 ONNX size",
        "The paper's graph takes at most 46 MB as an FP16 ONNX file",
        "at most",
        46.0,
        "MB",
        result(*COST, "fp16_onnx_megabytes"),
        "07_efficiency",
    ),
    _promise(
        "one QNN partition",
        "The paper's graph is one partition for QNN, FP32 and FP16, with nothing left to the CPU",
        "equals",
        1,
        "partitions",
        result(*COST, "dlc_partitions"),
        "07_efficiency",
        _QNN,
    ),
    _promise(
        "FP16 DLC size",
        "The paper's graph takes at most 60 MB as an FP16 DLC",
        "at most",
        60.0,
        "MB",
        result(*COST, "fp16_dlc_megabytes"),
        "07_efficiency",
        _QNN,
    ),
    _promise(
        "host parity",
        "ONNX Runtime FP32 gives PyTorch's score from the same image bytes",
        "at most",
        1e-4,
        "logit",
        result("04_export", "largest_score_difference"),
        "04_export",
    ),
    _promise(
        "host FP16 ranking",
        "FP16 on the host keeps PyTorch's ranking on every target with every seed (Spearman)",
        "at least",
        0.999,
        "Spearman",
        result("08_jetson_drift", "smallest_spearman", unless=_all_seeds("08_jetson_drift", ("spearman",)), worst=True),
        "08_jetson_drift",
    ),
    _promise(
        "host FP16 drift",
        "FP16 on the host moves the image AUROC of every target by less than the paper's bound for boards (mean over "
        "seeds; which sets are large enough to show it by the test of equivalence stands on the page)",
        "at most",
        reported.DRIFT_POINTS,
        "points",
        _host_drift,
        "08_jetson_drift",
    ),
    _promise(
        "host INT8 drift",
        "INT8 on the host moves no target's image AUROC, mean over seeds, by this much",
        "at most",
        1.0,
        "points",
        result("14_int8", "largest_drift_points_of_the_mean", unless=_all_seeds("14_int8", ("points",)), worst=True),
        "14_int8",
        "the mini profile, whose targets have images enough to tell",
        ("mini",),
    ),
    _promise(
        "QNN emulator ranking",
        "FP16 by the QNN HTP emulator keeps the host's ranking on a subset of every target (Spearman)",
        "at least",
        0.99,
        "Spearman",
        result("09_rb5_drift", "smallest_spearman", unless=_emulated, worst=True),
        "09_rb5_drift",
        _QNN,
    ),
    _promise(
        "no leak",
        "No source image is also a target image, by content hash or as a near-duplicate",
        "at most",
        0,
        "images",
        _overlaps,
        "01_data",
    ),
)
