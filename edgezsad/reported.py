"""What the paper and others report, each number with its source: the one place where a reported number is written.

EdgeZSAD: arXiv 2606.16119 v1. Its six benchmarks beyond MVTec-AD and VisA are not named, and no row of the others is
published in what we could read; a missing value is None, shown as "not published".
"""

from dataclasses import dataclass

PAPER = "arXiv:2606.16119v1"


@dataclass(frozen=True)
class ReportedAccuracy:
    """What a method reports on a benchmark; percent, None where not published or not in the source.

    Attributes:
        source: of the numbers, in words. Tables of the field disagree, so none goes without.
        cite: the source's keys in `book/references.bib`.
        own: the key of the method's own paper, where the source is another.
        alone: whether the method sees one image at a time, rather than a batch of the target's.
        rerun: whether somebody else ran the method again.
    """

    method: str
    backbone: str
    benchmark: str
    image_auroc: float | None
    pixel_auroc: float | None
    pixel_pro: float | None
    source: str
    cite: str = "edgezsad"
    own: str = ""
    alone: bool = True
    rerun: bool = False


EDGEZSAD = {
    "MVTec-AD": ReportedAccuracy("EdgeZSAD", "TinyViT-21M-512", "MVTec-AD", 91.6, 79.3, 67.8, PAPER),
    "VisA": ReportedAccuracy("EdgeZSAD", "TinyViT-21M-512", "VisA", 88.2, 92.9, 74.2, PAPER),
}

GFLOPS = 53.77
"""At 512 x 512, as 2 x multiply-accumulate: the bare backbone."""

SOURCE_IMAGES = 216_917
SOURCE_STEPS = 2_000
RUNS = 3
"""Independent runs behind each number."""
BENCHMARKS = 6
"""Industrial benchmarks; two of them are named."""
BACKBONE_MILLIONS = 21
"""Parameters by the backbone's name, TinyViT-21M."""
VIT_L_PARAMETERS_MILLIONS = 300
"""Parameters of the ViT-L backbones that the paper sets out from, as it rounds them."""
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


_OWN = "own paper"
_TABLES = "READMEs of VisualAD, MuSc and AdaptCLIP"
_VISUALAD = "README of VisualAD"
_ADAPTCLIP = "README of AdaptCLIP"
_ANOMALIB = "anomalib's page of AnomalyVFM"

FIELD_ACCURACY = (
    ReportedAccuracy("WinCLIP", "CLIP ViT-B/16+", "MVTec-AD", 91.8, 85.1, 64.6, _OWN, "winclip"),
    ReportedAccuracy("WinCLIP", "", "MVTec-AD", 90.4, 82.3, 62.0, _VISUALAD, "visualad", rerun=True),
    ReportedAccuracy("APRIL-GAN", "CLIP ViT-L", "MVTec-AD", 86.1, 87.6, 44.0, _OWN, "aprilgan"),
    ReportedAccuracy("APRIL-GAN", "", "MVTec-AD", 86.1, 87.5, 43.7, _VISUALAD, "visualad", rerun=True),
    ReportedAccuracy("AnomalyCLIP", "CLIP ViT-L", "MVTec-AD", 91.5, 91.1, 81.4, _OWN, "anomalyclip"),
    ReportedAccuracy("AnomalyCLIP", "", "MVTec-AD", 91.6, 91.0, 81.7, _VISUALAD, "visualad", rerun=True),
    ReportedAccuracy("AdaCLIP", "CLIP ViT-L", "MVTec-AD", 92.0, 88.5, 47.6, _VISUALAD, "visualad", "adaclip"),
    ReportedAccuracy(
        "AA-CLIP", "CLIP ViT-L", "MVTec-AD", 90.9, 91.6, None, _TABLES, "visualad,musc,adaptclip", "aaclip"
    ),
    ReportedAccuracy(
        "Bayes-PFL", "CLIP ViT-L", "MVTec-AD", 92.2, 91.9, None, _TABLES, "visualad,musc,adaptclip", "bayespfl"
    ),
    ReportedAccuracy(
        "MoECLIP", "CLIP ViT-L", "MVTec-AD", 93.9, 92.5, None, _TABLES, "visualad,musc,adaptclip", "moeclip"
    ),
    ReportedAccuracy("AdaptCLIP-Zero", "CLIP ViT-L", "MVTec-AD", 93.5, None, None, _ADAPTCLIP, "adaptclip"),
    ReportedAccuracy("VisualAD", "CLIP ViT-L", "MVTec-AD", 92.2, 90.8, 87.5, _VISUALAD, "visualad"),
    ReportedAccuracy("AnomalyVFM", "RADIO", "MVTec-AD", 96.4, 91.9, 87.1, _ANOMALIB, "anomalyvfm"),
    ReportedAccuracy("MuSc", "ViT-L, 518 px", "MVTec-AD", 97.8, 97.3, 93.8, _OWN, "musc", alone=False),
    ReportedAccuracy("WinCLIP", "CLIP ViT-B/16+", "VisA", 78.1, 79.6, 56.8, _OWN, "winclip"),
    ReportedAccuracy("WinCLIP", "", "VisA", 75.6, 73.2, 51.1, _VISUALAD, "visualad", rerun=True),
    ReportedAccuracy("APRIL-GAN", "CLIP ViT-L", "VisA", 78.0, 94.2, 86.8, _OWN, "aprilgan"),
    ReportedAccuracy("APRIL-GAN", "", "VisA", 77.4, 93.8, 86.5, _VISUALAD, "visualad", rerun=True),
    ReportedAccuracy("AnomalyCLIP", "CLIP ViT-L", "VisA", 82.1, 95.5, 87.0, _OWN, "anomalyclip"),
    ReportedAccuracy("AnomalyCLIP", "", "VisA", 81.0, 95.4, 86.4, _VISUALAD, "visualad", rerun=True),
    ReportedAccuracy("AdaCLIP", "CLIP ViT-L", "VisA", 79.7, 95.1, 71.3, _VISUALAD, "visualad", "adaclip"),
    ReportedAccuracy(
        "AA-CLIP",
        "CLIP ViT-L",
        "VisA",
        79.2,
        None,
        None,
        f"{_TABLES}; its own paper: 84.6",
        "visualad,musc,adaptclip",
        "aaclip",
    ),
    ReportedAccuracy(
        "Bayes-PFL", "CLIP ViT-L", "VisA", 86.8, None, None, _TABLES, "visualad,musc,adaptclip", "bayespfl"
    ),
    ReportedAccuracy("MoECLIP", "CLIP ViT-L", "VisA", 83.6, None, None, _TABLES, "visualad,musc,adaptclip", "moeclip"),
    ReportedAccuracy("AdaptCLIP-Zero", "CLIP ViT-L", "VisA", 84.8, None, None, _ADAPTCLIP, "adaptclip"),
    ReportedAccuracy("VisualAD", "CLIP ViT-L", "VisA", 84.7, 95.8, 91.0, _VISUALAD, "visualad"),
    ReportedAccuracy("MuSc", "ViT-L, 518 px", "VisA", 92.8, 98.8, 92.7, _OWN, "musc", alone=False),
)
"""Image AUROC, pixel AUROC and PRO without any image of the target, as each source has it; a re-run has no backbone."""

OTHER_SETS = ("BTAD", "KolektorSDD2", "DAGM2007", "DTD-Synthetic")
OTHER_IMAGE_AUROC = {
    "WinCLIP": (68.2, 93.5, 91.8, 95.1),
    "APRIL-GAN": (73.7, 90.4, 94.4, 85.5),
    "AnomalyCLIP": (88.7, 91.9, 98.0, 93.7),
    "AdaCLIP": (90.0, 94.9, 98.3, 92.1),
    "VisualAD": (94.9, 98.0, 99.5, 97.5),
}
"""Percent on `OTHER_SETS`, all from the README of VisualAD, which evaluated the other methods itself."""

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
