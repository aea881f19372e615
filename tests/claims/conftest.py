"""A mini run and a paper run with complete results files; each test changes one number."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgezsad.config import Profile
from edgezsad.run import Run

SETS = ("MVTec-AD", "VisA", "BTAD", "MPDD", "KolektorSDD2", "DTD-Synthetic")
NOTHING = {"status": "not run", "missing": [], "verdicts": {}, "images_needed": 0, "rows": []}
NO_BOARD = {"board": NOTHING | {"drift_points_below": None}, "board_latency": {"median_ms": None}}
DECIDED = {"equivalent": 6, "not equivalent": 0, "undecided": 0}
BOARD = NOTHING | {"status": "ok", "drift_points_below": 0.11, "verdicts": DECIDED}


class Planted(Run):
    """A run whose results can be overwritten."""

    def drift_rows(self, images: int = 40) -> list[dict[str, Any]]:
        return [
            {"target": item.name, "seed": seed, "images": images, "points": 0.05, "spearman": 0.9995}
            for item in self.profile.data.targets
            for seed in self.profile.seeds
        ]

    def plant(self, name: str, *keys: str | int, value: Any) -> None:
        """Overwrite one part of a results file."""
        whole = part = json.loads(self.result_path(name).read_text())
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        self.result_path(name).write_text(json.dumps(whole))

    def plant_board(self, page: str, **changes: Any) -> None:
        self.plant(page, "board", value=BOARD | {"rows": self.drift_rows()} | changes)


def accuracy(image_auroc: float, pixel_auroc: float, pixel_aupro: float) -> dict[str, dict[str, Any]]:
    """Return metrics of a benchmark as its results file has them."""
    return {name: {"mean": mean, "left_out": []} for name, mean in locals().items()}


def fill(run: Planted) -> Planted:
    """Write results that confirm every claim, without a board."""
    targets = run.profile.data.targets
    drift = BOARD | {"smallest_spearman": 0.9995, "largest_drift_points_of_the_mean": 0.1, "rows": run.drift_rows()}
    published = "yes" if run.profile.profile == "paper" else None
    sets = [item.name for item in (*run.profile.data.source, *targets)]
    proof = {"source_images": 100, "target_images": 80, "unproven_images": 0}
    values: dict[str, dict[str, Any]] = {
        "data": {
            "overlaps": 0,
            "no_leak": proof,
            "derived_images": 216_917,
            "sets": [{"set": name, "test": 40, "same as published": published} for name in sets],
        },
        "export": {"largest_score_difference": 2e-5},
        "efficiency": {
            "paper_graph": {
                "backbone_gflops": 53.77, "detector_gflops": 53.775, "backbone_parameters_millions": 20.69,
                "readout_mflops": 8.9, "lint_findings": 0, "backend_findings": 0, "backends": [{"findings": 0}] * 6,
                "fp32_onnx_megabytes": 83.9, "fp16_onnx_megabytes": 41.9, "fp16_dlc_megabytes": 43.0,
                "dlc_partitions": 1,
            }
        },
        "latency": {
            "times_the_floor": 1.2, "times_as_fast_as_the_tower": 17.0, "tower_parameters_millions": 304.3,
            "tower_times_the_gflops": 18.8,
        },
        "training": {"fewest_steps": 2000},
        "int8": drift,
        "jetson_drift": drift | NO_BOARD,
        # The emulator is not installed.
        "rb5_drift": NOTHING | {"smallest_spearman": None} | NO_BOARD,
        "benchmarks": {
            "by_benchmark": {item.stands_for: accuracy(90.0, 90.0, 90.0) for item in targets}
            | {"MVTec-AD": accuracy(91.0, 79.0, 67.0), "VisA": accuracy(88.0, 93.0, 75.0)},
            "runs": len(run.profile.seeds),
        },
    }  # fmt: skip
    for name, value in values.items():
        run.write_result(name, value)
    return run


@pytest.fixture
def mini(make_profile: Callable[..., Profile], tmp_path: Path) -> Planted:
    return fill(Planted(make_profile(tmp_path)))


@pytest.fixture
def paper(make_profile: Callable[..., Profile], tmp_path: Path) -> Planted:
    targets = [{"name": name, "layout": "mvtec", "root": name, "stands_for": name} for name in SETS]
    source = [{"name": "Real-IAD", "layout": "real_iad", "root": "Real-IAD"}]
    data = {"root": "somewhere", "source": source, "targets": targets}
    model = {"backbone": "tiny_vit_21m_512", "weights": "random", "size": 512, "strides": [16, 32]}
    return fill(Planted(make_profile(tmp_path, profile="paper", seeds=[0, 1, 2], data=data, model=model)))
