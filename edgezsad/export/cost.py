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


@dataclass(frozen=True)
class Cost:
    """Parameters in millions; 10^9 operations of convolutions and matrix products per image, a multiply-add is two."""

    parameters: float
    gflops: float


@dataclass(frozen=True)
class PaperGraph:
    """Costs of the paper's backbone, of its readout and of both; files of the graph, `paths` those in FP32 and FP16."""

    backbone: Cost
    readout: Cost
    detector: Cost
    files: pd.DataFrame
    operators: dict[str, int]
    findings: list[str]
    backends: pd.DataFrame
    paths: dict[str, Path]


def count_cost(module: nn.Module, size: int) -> Cost:
    """Count a network's cost at (1, 3, size, size) without computing anything or changing the network."""
    # The meta device has shapes and no values. Entering train mode empties TinyViT's cache of biases.
    shell = copy.deepcopy(module).to("meta").train().eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        shell(torch.zeros(1, 3, size, size, device="meta"))
    return Cost(sum(p.numel() for p in module.parameters()) / 1e6, counter.get_total_flops() / 1e9)


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
    paths = {"fp32": fp32, "fp16": fp16, "int8": int8}
    problems = {precision: lint(path) for precision, path in paths.items()}
    files = pd.DataFrame([{"precision": name} | describe(path) for name, path in paths.items()])
    files["findings"] = [len(found) for found in problems.values()]
    del paths["int8"]
    backbone, whole = count_cost(detector.backbone, model.size), count_cost(detector, model.size)
    return PaperGraph(
        backbone=backbone,
        readout=Cost(whole.parameters - backbone.parameters, whole.gflops - backbone.gflops),
        detector=whole,
        operators=files.pop("operators")[0],
        files=files,
        findings=[f"{precision}: {problem}" for precision, found in problems.items() for problem in found],
        backends=backend_table(paths),
        paths=paths,
    )
