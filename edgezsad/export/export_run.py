"""Export every trained seed of a run to ONNX in FP32, FP16 and INT8, check the files, and measure parity.

Parity starts at the image file: both runtimes decode and resize the same bytes.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from edgezsad.data.images import load
from edgezsad.data.loading import subsample_evenly
from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.errors import CheckError, RuntimeUnavailable
from edgezsad.export.dlc import write_dlc
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.int8 import Quantiser, sweep
from edgezsad.export.lint import check_lint, describe
from edgezsad.export.onnx_export import export_onnx
from edgezsad.files import progress
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import graph_metadata, load_detector
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.score_run import subset
from edgezsad.scoring.torch_scorer import TorchScorer
from edgezsad.source.render import source_images

PARITY = 1e-4  # largest allowed difference of a score (logit) between PyTorch and the exported FP32 file
PARITY_IMAGES = 4  # of each target, about
CALIBRATION_IMAGES, SWEEP_IMAGES = 64, 16  # of the source, for INT8
REHEARSED = 2  # images and layers of the INT8 sweep in a rehearsal


@dataclass(frozen=True)
class Exported:
    """Files and checks of an export.

    `graphs` has one row per file: seed, precision, nodes, parameters (millions), megabytes. `operators` are counts of
    the FP32 graph. `parity` has one row per compared image. `sweep` (see `edgezsad.export.int8`) is of the first seed:
    all share their backbone.
    """

    graphs: pd.DataFrame
    operators: dict[str, int]
    parity: pd.DataFrame
    sweep: dict[str, Any]


def export_run(run: Run) -> Exported:
    """Export all seeds of a run; a CheckError if devices lack an operator, or PyTorch's scores differ over `PARITY`."""
    files, parity, swept = [], [], {}
    calibration, others, source_sha256 = sample_source(run)
    model = run.profile.model
    backbone = Backbone(model.backbone, model.weights, model.strides)
    targets = run.profile.data.targets
    samples = [subset(read_run_manifest(run, item).select("test"), PARITY_IMAGES) for item in targets]
    for seed in progress(run.profile.seeds, "export", unit="seed"):
        detector, info = load_detector(run.checkpoint(seed), backbone, expected=model)
        paths = {precision: run.onnx(seed, precision) for precision in ("fp32", "fp16", "int8")}
        export_onnx(detector, paths["fp32"], detector.size, graph_metadata(detector, info))
        to_fp16(paths["fp32"], paths["fp16"])
        with tempfile.TemporaryDirectory(prefix="edgezsad-int8-") as folder:
            quantiser = Quantiser(paths["fp32"], calibration, Path(folder), source_sha256)
            swept = swept or sweep(quantiser, others, REHEARSED if run.profile.rehearsal else None)
            quantiser.write(paths["int8"], swept["kept_fp32"])
        for precision, path in paths.items():
            check_lint(path)
            files.append({"seed": seed, "precision": precision} | describe(path))
        parity.append(compare_scores(TorchScorer(detector), OnnxScorer(paths["fp32"]), samples, seed))
    table = pd.concat(parity, ignore_index=True)
    worst = table.loc[table["score_difference"].idxmax()]
    if not worst["score_difference"] <= PARITY:
        raise CheckError(
            f"{run.onnx(int(worst['seed']), 'fp32')}: score of {worst['image']} differs from PyTorch's by "
            f"{worst['score_difference']:.2g}, more than {PARITY:g}; check the export"
        )
    graphs = pd.DataFrame(files)
    return Exported(graphs, graphs.pop("operators")[0], table, swept)


def sample_source(run: Run) -> tuple[list[np.ndarray], list[np.ndarray], str]:
    """Read two disjoint samples of a run's source for INT8: images for the ranges, others for the sweep.

    They are (S, S, 3) uint8, spaced evenly over sets and categories; a rehearsal reads few. The hash is the source's.
    """
    source = source_images(run)
    calibration, others = (REHEARSED, REHEARSED) if run.profile.rehearsal else (CALIBRATION_IMAGES, SWEEP_IMAGES)
    # One row of each image file, so that crops of one image are not in both samples.
    rows = np.sort(np.unique(source.parent, return_index=True)[1])

    def read(rows: np.ndarray, most: int) -> list[np.ndarray]:
        return [source.read(int(row), run.profile.model.size).pixels for row in subsample_evenly(rows, most)]

    return read(rows[::2], calibration), read(rows[1::2], others), source.sha256


def compare_scores(first: TorchScorer, second: OnnxScorer, samples: list[Manifest], seed: int) -> pd.DataFrame:
    """Score the same image files with two runtimes; one row per image."""
    rows = []
    for manifest in samples:
        for entry in manifest.entries:
            score, anomaly_map = first.score(load(manifest.path(entry), first.detector.size))
            other_score, other_map = second.score(load(manifest.path(entry), second.size))
            difference, map_difference = abs(score - other_score), float(np.abs(anomaly_map - other_map).max())
            rows.append((seed, f"{manifest.name}/{entry.id}", score, other_score, difference, map_difference))
    columns = ["seed", "image", "pytorch", "onnx", "score_difference", "map_difference"]
    return pd.DataFrame(rows, columns=columns)


def dlc_row(name: str, graph: Path, target: Path, folded: bool = False) -> dict[str, object]:
    """Write a graph as a DLC and return its row of a table; arguments and errors as for `write_dlc`."""
    columns = ("graph", "constants", "megabytes", "partitions", "operations", "most axes", "findings", "status")
    row = dict.fromkeys(columns) | {"graph": name, "constants": "expanded" if folded else "as in the graph"}
    try:
        record = write_dlc(graph, target, folded)
    except RuntimeUnavailable as reason:
        return row | {"status": f"not run: {reason}"}
    size, operations = target.stat().st_size / 1e6, sum(record.operations.values())
    row |= {"megabytes": size, "partitions": record.partitions, "operations": operations}
    return row | {"most axes": record.most_axes, "findings": len(record.gpu_findings), "status": "written"}
