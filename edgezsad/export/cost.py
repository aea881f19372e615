"""Count parameters and floating point operations the way the paper counts them, and build the paper's graph.

Cost does not depend on the weights, so the paper's graph is built with seeded random weights on any CPU.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgezsad.config import Model
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.int8 import to_int8
from edgezsad.export.lint import backend_table, describe, lint
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model.detector import build_detector

GIGA = 1e9
MEGA = 1e6


@dataclass(frozen=True)
class Cost:
    """Cost of one image.

    Attributes:
        parameters: in millions.
        gflops: 10^9 floating point operations of convolutions and matrix products; a multiply-add is two.
        by_operator: `gflops` by PyTorch operator, for instance {"convolution": 9.12, "addmm": 33.07}.
    """

    parameters: float
    gflops: float
    by_operator: dict[str, float]


@dataclass(frozen=True)
class PaperGraph:
    """Cost and files of the paper's graph.

    Attributes:
        backbone: cost without the readout.
        detector: cost with it.
        files: one row per precision: nodes, parameters (millions), megabytes, lint findings.
        operators: counts of the FP32 graph.
        findings: problems that the lint found in any precision.
        backends: see `backend_table`.
        paths: ONNX files in FP32 and FP16.
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
        """Cost of the readout in MFLOPs."""
        return 1000 * (self.detector.gflops - self.backbone.gflops)


def count_cost(module: nn.Module, size: int) -> Cost:
    """Count a network's cost at (1, 3, size, size) without computing anything.

    Args:
        module: takes an image; it is not changed.
        size: input height and width in pixels.
    """
    # The meta device has shapes and no values. Entering train mode empties TinyViT's cache of biases.
    shell = copy.deepcopy(module).to("meta").train().eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        shell(torch.zeros(1, 3, size, size, device="meta"))
    total = counter.get_flop_counts()["Global"]
    by_operator = {str(operator).rpartition(".")[2]: flops / GIGA for operator, flops in total.items()}
    return Cost(sum(p.numel() for p in module.parameters()) / MEGA, counter.get_total_flops() / GIGA, by_operator)


def build_paper_graph(model: Model, folder: Path | str) -> PaperGraph:
    """Build the detector of `model`, count it, and export it to `folder` in FP32, FP16 and INT8.

    The INT8 file is calibrated on noise: only its size and operators mean something. Equal models give equal files.
    """
    folder = Path(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        detector = build_detector(model)
        for name, parameter in detector.named_parameters():
            # Zero at first, and equal tables are stored once: the file would be smaller than a trained one.
            if name.endswith("attention_biases"):
                nn.init.normal_(parameter, std=0.1)
    metadata = {"weights": f"{model.weights}: this file is for counting and linting; its scores mean nothing"}
    fp32 = export_onnx(detector, folder / f"{model.backbone}-fp32.onnx", model.size, metadata)
    fp16 = to_fp16(fp32, folder / f"{model.backbone}-fp16.onnx")
    noise = np.random.default_rng(0).integers(0, 256, (model.size, model.size, 3), dtype=np.uint8)
    int8 = to_int8(fp32, folder / f"{model.backbone}-int8.onnx", [noise])
    rows, findings = [], []
    for precision, path in {"fp32": fp32, "fp16": fp16, "int8": int8}.items():
        problems = lint(path)
        findings += [f"{precision}: {problem}" for problem in problems]
        rows.append(file_row(precision, path) | {"findings": len(problems)})
    paths = {"fp32": fp32, "fp16": fp16}
    return PaperGraph(
        backbone=count_cost(detector.backbone, model.size),
        detector=count_cost(detector, model.size),
        files=pd.DataFrame(rows),
        operators=describe(fp32)["operators"],
        findings=findings,
        backends=backend_table(paths),
        paths=paths,
    )


def file_row(precision: str, path: Path) -> dict[str, object]:
    """Return a row for tables of files: precision, nodes, parameters (millions) and megabytes."""
    facts = describe(path)
    return {
        "precision": precision,
        "nodes": facts["nodes"],
        "parameters": facts["parameters"] / MEGA,
        "megabytes": facts["bytes"] / MEGA,
    }


def cost_table(graph: PaperGraph, published_gflops: float) -> pd.DataFrame:
    """Cost of the backbone, the readout and both, next to the published number."""
    both, backbone = graph.detector, graph.backbone
    rows = [
        ("backbone", backbone.parameters, backbone.gflops, published_gflops),
        ("readout", both.parameters - backbone.parameters, both.gflops - backbone.gflops, None),
        ("both", both.parameters, both.gflops, None),
    ]
    return pd.DataFrame(rows, columns=["part", "parameters", "GFLOPs", "paper: GFLOPs"])
