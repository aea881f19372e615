"""Numbers that the paper and others report, read from `claims/reported.yaml`, which holds each once with its source."""

from dataclasses import dataclass
from pathlib import Path

import yaml

REPORTED = yaml.safe_load(Path(__file__).with_name("claims").joinpath("reported.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class ReportedAccuracy:
    """Percent of one method on one benchmark; None where not published. The file explains the other fields."""

    method: str
    benchmark: str
    source: str
    cite: str
    backbone: str = ""
    image_auroc: float | None = None
    pixel_auroc: float | None = None
    pixel_pro: float | None = None
    own: str = ""
    alone: bool = True
    rerun: bool = False


@dataclass(frozen=True)
class ReportedLatency:
    """Milliseconds for an image on a board, batch 1, and what repeating the measurement needs."""

    device: str
    runtime: str
    milliseconds: float
    needs: str
    frames_per_second: float | None = None


@dataclass(frozen=True)
class ReportedCost:
    """Millions of parameters, part by part, and milliseconds for an image of one method on a GPU of the source."""

    method: str
    backbone: str
    where: str
    source: str
    cite: str
    milliseconds: float
    millions: tuple[float, ...] = ()

    @property
    def parameters(self) -> float | None:
        """Millions in all; None where not reported."""
        return round(sum(self.millions), 1) if self.millions else None


_PAPER = REPORTED["paper"]
PAPER: str = _PAPER["source"]
GFLOPS: float = _PAPER["gflops"]
SOURCE_IMAGES: int = _PAPER["source_images"]
SOURCE_STEPS: int = _PAPER["source_steps"]
RUNS: int = _PAPER["runs"]
BENCHMARKS: int = _PAPER["benchmarks"]
BACKBONE_MILLIONS: int = _PAPER["backbone_millions"]
VIT_L_PARAMETERS_MILLIONS: int = _PAPER["vit_l_millions"]
DRIFT_POINTS: float = _PAPER["drift_points"]
EDGEZSAD = {
    name: ReportedAccuracy("EdgeZSAD", name, PAPER, "edgezsad", _PAPER["backbone"], **values)
    for name, values in _PAPER["accuracy"].items()
}
JETSON, RB5 = (ReportedLatency(**REPORTED["boards"][name]) for name in ("jetson", "rb5"))
FIELD_ACCURACY = tuple(ReportedAccuracy(**row) for row in REPORTED["accuracy"])
FIELD_COSTS = tuple(ReportedCost(**row) for row in REPORTED["costs"])
OTHER_IMAGE_AUROC: dict[str, dict[str, float]] = REPORTED["other_image_auroc"]
