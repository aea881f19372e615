"""A mini run and a paper run with complete results files; each test changes one number."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgezsad.config import Profile
from edgezsad.run import Run

NOTHING = {"status": "not run", "missing": [], "verdicts": {}, "images_needed": 0, "rows": []}
NO_BOARD = {"board": NOTHING | {"drift_points_below": None}, "board_latency": {"median_ms": None}}


class PlantedRun(Run):
    def drift_rows(self) -> list[dict[str, Any]]:
        return [
            {"target": item.name, "seed": seed, "images": 40, "points": 0.05, "spearman": 0.9995}
            for item in self.profile.data.targets for seed in self.profile.seeds
        ]  # fmt: skip

    def plant(self, name: str, *keys: str | int, value: Any) -> None:
        whole = part = json.loads(self.result_path(name).read_text())
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        self.result_path(name).write_text(json.dumps(whole))


def accuracy(image_auroc: float, pixel_auroc: float, pixel_aupro: float) -> dict[str, dict[str, Any]]:
    return {name: {"mean": mean, "left_out": []} for name, mean in locals().items()}


def fill(run: PlantedRun) -> PlantedRun:
    """Write results that confirm every claim, without a board."""
    targets = run.profile.data.targets
    drift = NOTHING | {"smallest_spearman": 0.9995, "largest_drift_points_of_the_mean": 0.1, "rows": run.drift_rows()}
    published = "yes" if run.profile.profile == "paper" else None
    sets = [item.name for item in (*run.profile.data.source, *targets)]
    values: dict[str, dict[str, Any]] = {
        "data": {
            "no_leak": {"source_images": 100, "target_images": 80, "unproven_images": 0},
            "overlaps": 0, "derived_images": 216_917,
            "sets": [{"set": name, "test": 40, "same as published": published} for name in sets],
        },
        "export": {"largest_score_difference": 2e-5},
        "efficiency": {
            "paper_graph": {
                "backbone_gflops": 53.77, "detector_gflops": 53.775, "backbone_parameters_millions": 20.69,
                "readout_mflops": 8.9, "lint_findings": 0, "backend_findings": 0, "backends": [{"findings": 0}] * 6,
                "fp32_onnx_megabytes": 84, "fp16_onnx_megabytes": 42, "fp16_dlc_megabytes": 43, "dlc_partitions": 1,
            }
        },
        "latency": {
            "times_the_floor": 1.2, "times_as_fast_as_the_tower": 17.0, "tower_parameters_millions": 304.3,
            "tower_times_the_gflops": 18.8,
        },
        "training": {"fewest_steps": 2000},
        "int8": drift,
        "references": {
            "calibrated_false_alarms": 7.0, "uncalibrated_false_alarms": 50.0, "categories": 11,
            "times_the_operations": 1.4, "part_megabytes": 10.8,
        },
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
def mini(make_profile: Callable[..., Profile], tmp_path: Path) -> PlantedRun:
    return fill(PlantedRun(make_profile(tmp_path)))


@pytest.fixture
def paper(make_profile: Callable[..., Profile], tmp_path: Path) -> PlantedRun:
    names = ("MVTec-AD", "VisA", "BTAD", "MPDD", "KolektorSDD2", "DTD-Synthetic")
    targets = [{"name": name, "layout": "mvtec", "root": name, "stands_for": name} for name in names]
    source = [{"name": "Real-IAD", "layout": "real_iad", "root": "Real-IAD"}]
    data = {"root": "somewhere", "source": source, "targets": targets}
    model = {"backbone": "tiny_vit_21m_512", "weights": "random", "size": 512, "strides": [16, 32]}
    return fill(PlantedRun(make_profile(tmp_path, profile="paper", seeds=[0, 1, 2], data=data, model=model)))
