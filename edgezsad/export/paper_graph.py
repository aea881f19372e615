"""The paper's graph without its weights, built, counted, exported and linted on any CPU: cost needs no weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from edgezsad import reported
from edgezsad.config import Model
from edgezsad.export.cost import Cost, count
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.int8 import to_int8
from edgezsad.export.lint import backend_table, describe, lint
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model.detector import build_detector


@dataclass(frozen=True)
class PaperGraph:
    """What the paper's graph costs.

    Attributes:
        backbone, detector: parameters and GFLOPs without and with the readout.
        files: one row a precision: nodes, parameters (millions), megabytes, lint findings.
        operators: counts of the FP32 graph.
        findings: of the lint, all precisions; empty when every operator is on the allow-list.
        backends: what the backends' lists say, one row a precision and backend; see `backend_table`.
        paths: the ONNX files of the precisions that boards are given.
    """

    backbone: Cost
    detector: Cost
    files: pd.DataFrame
    operators: dict[str, int]
    findings: list[str]
    backends: pd.DataFrame
    paths: dict[str, Path]

    @property
    def readout_mflops(self) -> float:
        """What the readout adds, in MFLOPs."""
        return 1000 * (self.detector.gflops - self.backbone.gflops)


def paper_graph(model: Model, folder: Path | str) -> PaperGraph:
    """Build the detector of `model`, count it, and export it to `folder` in FP32, FP16 and INT8.

    Without trained weights there is nothing to calibrate: the INT8 file's ranges come from a noise image, and its size
    and operators are all that it shows.
    """
    folder = Path(folder)
    detector = build_detector(model)
    spread_biases(detector)
    metadata = {"weights": f"{model.weights}: this file is for counting and linting; its scores mean nothing"}
    fp32 = export_onnx(detector, folder / f"{model.backbone}-fp32.onnx", model.size, metadata)
    fp16 = to_fp16(fp32, folder / f"{model.backbone}-fp16.onnx")
    noise = np.random.default_rng(0).integers(0, 256, (model.size, model.size, 3), dtype=np.uint8)
    int8 = to_int8(fp32, folder / f"{model.backbone}-int8.onnx", [noise])
    rows, findings = [], []
    # What boards are given; INT8 is for the host so far.
    paths = {"fp32": fp32, "fp16": fp16}
    for precision, path in (paths | {"int8": int8}).items():
        facts, problems = describe(path), lint(path)
        findings += [f"{precision}: {problem}" for problem in problems]
        rows.append(
            {
                "precision": precision,
                "nodes": facts["nodes"],
                "parameters": facts["parameters"] / 1e6,
                "megabytes": facts["bytes"] / 1e6,
                "findings": len(problems),
            }
        )
    return PaperGraph(
        count(detector.backbone, model.size),
        count(detector, model.size),
        pd.DataFrame(rows),
        describe(fp32)["operators"],
        findings,
        backend_table(paths),
        paths,
    )


def spread_biases(module: nn.Module) -> None:
    """Give TinyViT's position biases different values, in place, as training would.

    They start at zero; equal tables are stored once in a file, which then looks smaller than a trained one.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("attention_biases"):
                parameter.normal_(std=0.1, generator=generator)


def cost_table(graph: PaperGraph) -> pd.DataFrame:
    """Cost of the backbone, of the readout and of both, beside the published figure."""
    readout = graph.detector.parameters - graph.backbone.parameters
    return pd.DataFrame(
        [
            {"part": "backbone", "parameters": graph.backbone.parameters, "GFLOPs": graph.backbone.gflops}
            | {"paper: GFLOPs": reported.GFLOPS},
            {"part": "readout", "parameters": readout, "GFLOPs": graph.readout_mflops / 1000, "paper: GFLOPs": None},
            {"part": "both", "parameters": graph.detector.parameters, "GFLOPs": graph.detector.gflops}
            | {"paper: GFLOPs": None},
        ]
    )
