"""What the paper and others report, each number with its source: the only place where a reported number is written.

EdgeZSAD: arXiv 2606.16119 v1. Its six benchmarks beyond MVTec-AD and VisA are not named, and no row of the others is
published in what we could read; a missing value is None, shown as "not published".
"""

from dataclasses import dataclass

PAPER = "arXiv:2606.16119v1"


@dataclass(frozen=True)
class ReportedAccuracy:
    """Percent; None where not published."""

    method: str
    backbone: str
    benchmark: str
    image_auroc: float | None
    pixel_auroc: float | None
    pixel_pro: float | None
    source: str


EDGEZSAD = {
    "MVTec-AD": ReportedAccuracy("EdgeZSAD", "TinyViT-21M-512", "MVTec-AD", 91.6, 79.3, 67.8, PAPER),
    "VisA": ReportedAccuracy("EdgeZSAD", "TinyViT-21M-512", "VisA", 88.2, 92.9, 74.2, PAPER),
}

GFLOPS = 53.77
"""At 512 x 512, as 2 x multiply-accumulate: the bare backbone."""

SOURCE_IMAGES = 216_917
SOURCE_STEPS = 2_000
DRIFT_POINTS = 0.2
"""The paper's bound on image-AUROC drift, on all six device-rescored benchmarks."""


@dataclass(frozen=True)
class ReportedLatency:
    """Milliseconds an image, batch 1."""

    device: str
    runtime: str
    milliseconds: float
    frames_per_second: float | None
    needs: str


JETSON = ReportedLatency(
    "Jetson Orin Nano Super",
    "TensorRT FP16",
    32.83,
    30.46,
    "a Jetson Orin Nano Super with JetPack 6.2 (TensorRT 10.3)",
)
RB5 = ReportedLatency("RB5 Gen2 (QCS8550)", "QNN GPU FP16", 139.97, None, "an RB5 Gen2 board with the QNN SDK")
