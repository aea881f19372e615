"""Export every trained seed to ONNX in FP32, FP16 and INT8, lint the graphs, and prove parity from the FP32 file."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from edgezsad.data.images import load
from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.errors import CheckError
from edgezsad.export.calibration import SourceSample, source_sample
from edgezsad.export.fp16 import read_rounding, to_fp16
from edgezsad.export.int8 import prepare, write_int8
from edgezsad.export.lint import check_lint, describe
from edgezsad.export.onnx_export import export_onnx
from edgezsad.export.sensitivity import Sensitivity, sensitivity
from edgezsad.model.backbone import Backbone
from edgezsad.model.detector import graph_metadata, load_detector
from edgezsad.progress import progress
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.score_run import subset
from edgezsad.scoring.torch_scorer import TorchScorer

REHEARSED = 2
"""Layers that a rehearsal's sweep tries alone: random weights put all above the limit, and two show how it goes."""
PARITY = 1e-4
"""Largest allowed difference of a score (logit), PyTorch against the exported FP32 file, from the same image bytes."""


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        graphs: one row a file: seed, precision, nodes, parameters (millions), megabytes, weights rounded to zero.
        operators: counts of the FP32 graph, most frequent first.
        parity: one row a compared image: seed, image, both scores, difference of the score and largest of the map.
        sensitivity: what INT8 costs layer by layer, of the first seed; its
            choice serves all, as they share their backbone or begin with the same.
    """

    graphs: pd.DataFrame
    operators: dict[str, int]
    parity: pd.DataFrame
    sensitivity: Sensitivity


def export_seeds(run: Run, images_per_target: int = 4) -> Exported:
    """Export all seeds of a run.

    Raises:
        InputError: a checkpoint is missing or belongs to another model.
        CheckError: a graph has an operator that devices lack, or scores differ from PyTorch's by more than `PARITY`.
    """
    files, parity = [], []
    sample = source_sample(run)
    swept: Sensitivity | None = None
    apart = None if run.profile.rehearsal is None else REHEARSED
    model = run.profile.model
    backbone = Backbone(model.backbone, model.weights, model.strides)
    samples = [
        subset(read_run_manifest(run, item).select("test"), images_per_target) for item in run.profile.data.targets
    ]
    for seed in progress(run.profile.seeds, "export", unit="seed"):
        detector, info = load_detector(run.checkpoint(seed), backbone, expected=model)
        metadata = graph_metadata(detector, info)
        fp32 = export_onnx(detector, run.onnx(seed, "fp32"), detector.size, metadata)
        fp16 = to_fp16(fp32, run.onnx(seed, "fp16"))
        swept = export_int8(fp32, run.onnx(seed, "int8"), sample, swept, apart)
        for precision, path in (("fp32", fp32), ("fp16", fp16), ("int8", run.onnx(seed, "int8"))):
            check_lint(path)
            facts = describe(path)
            size = {"parameters": facts["parameters"] / 1e6, "megabytes": facts["bytes"] / 1e6}
            zeroed = read_rounding(path).zeroed if precision == "fp16" else 0
            files.append({"seed": seed, "precision": precision, "nodes": facts["nodes"]} | size | {"zeroed": zeroed})
        parity += compare(TorchScorer(detector), OnnxScorer(fp32), samples, seed)
    table = pd.DataFrame(parity)
    worst = table.loc[table["score_difference"].idxmax()]
    if not worst["score_difference"] <= PARITY:
        raise CheckError(
            f"{run.onnx(int(worst['seed']), 'fp32')}: score of {worst['image']} differs from PyTorch's by "
            f"{worst['score_difference']:.2g}, more than {PARITY:g}; look at the export"
        )
    assert swept is not None
    return Exported(pd.DataFrame(files), describe(run.onnx(run.profile.seeds[0], "fp32"))["operators"], table, swept)


def export_int8(
    fp32: Path, target: Path, sample: SourceSample, swept: Sensitivity | None, apart: int | None = None
) -> Sensitivity:
    """Write the INT8 twin of a graph without the layers that cost too much.

    Args:
        fp32: the graph.
        target: the file to write.
        sample: of the source.
        swept: which layers these are, where another seed's graph has shown it; else this one is swept.
        apart: see `edgezsad.export.sensitivity.sensitivity`.

    Returns:
        which they are.
    """
    with tempfile.TemporaryDirectory(prefix="edgezsad-int8-") as folder:
        prepared = prepare(fp32, sample.calibration, Path(folder), sample.source_sha256)
        swept = swept or sensitivity(prepared, sample.held_out, apart=apart)
        write_int8(prepared, target, swept.left_out)
    return swept


def compare(first: TorchScorer, second: OnnxScorer, samples: list[Manifest], seed: int) -> list[dict[str, object]]:
    """Score the same image files, from their bytes on, by two runtimes; one row an image."""
    rows: list[dict[str, object]] = []
    for manifest in samples:
        for entry in manifest.entries:
            score, anomaly_map = first.score(load(manifest.path(entry), first.detector.size))
            other_score, other_map = second.score(load(manifest.path(entry), second.size))
            rows.append(
                {
                    "seed": seed,
                    "image": f"{manifest.name}/{entry.id}",
                    "pytorch": score,
                    "onnx": other_score,
                    "score_difference": abs(score - other_score),
                    "map_difference": float(np.abs(anomaly_map - other_map).max()),
                }
            )
    return rows
