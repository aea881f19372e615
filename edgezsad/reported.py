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


@dataclass(frozen=True)
class FieldMethod:
    """What a zero-shot method of the field reports; None where it is not reported, percent where it is accuracy.

    Attributes:
        method, backbone: its name, and what it computes features with.
        mvtec, visa: image AUROC.
        parameters: in millions.
        milliseconds: an image, on a machine of its authors' or its reviewers': a GPU, never the one at hand.
        tower: whether every image goes through a ViT-L image tower, so that the tower's cost is the least it can cost.
        source: of the numbers. Tables of the field disagree, so none goes without.
    """

    method: str
    backbone: str
    mvtec: float | None
    visa: float | None
    parameters: float | None
    milliseconds: float | None
    tower: bool
    source: str


_TABLES = "READMEs of VisualAD, MuSc and AdaptCLIP"

FIELD = (
    FieldMethod("WinCLIP", "ViT-B/16+, 240 px", 91.8, 78.1, 208, 201, False, _TABLES),
    FieldMethod("APRIL-GAN", "ViT-L", 86.1, 78.0, None, None, True, _TABLES),
    FieldMethod("AnomalyCLIP", "ViT-L", 91.5, 82.1, 433.6, 155, True, _TABLES),
    FieldMethod("AdaCLIP", "ViT-L", 92.0, 79.7, 439.7, 212, True, _TABLES),
    FieldMethod("AA-CLIP", "ViT-L", 90.9, 79.2, None, None, True, f"{_TABLES}; its own paper: VisA 84.6"),
    FieldMethod("Bayes-PFL", "ViT-L", 92.2, 86.8, None, None, True, _TABLES),
    FieldMethod("AdaptCLIP-Zero", "ViT-L", 93.5, 84.8, 428.6, 162, True, "README of AdaptCLIP"),
    FieldMethod("MoECLIP", "ViT-L", 93.9, 83.6, None, None, True, _TABLES),
    FieldMethod("VisualAD", "CLIP ViT-L", 92.2, 84.7, None, None, True, "README of VisualAD"),
    FieldMethod("AnomalyVFM", "RADIO", 96.4, None, None, None, False, "anomalib's page on AnomalyVFM"),
    FieldMethod("MuSc (a batch of test images)", "ViT-L, 518 px", 97.8, 92.8, None, 955, True, "README of MuSc"),
)
"""Image AUROC without any image of the target, and what an image costs where that is told."""
