"""A mini run and a paper run with every results file that claims read, complete; tests spoil one thing each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgezsad.config import Profile
from edgezsad.files import write_json
from edgezsad.run import Run

SETS = ("MVTec-AD", "VisA", "BTAD", "MPDD", "KolektorSDD2", "DTD-Synthetic")
NO_BOARD = {
    "board": {"status": "not run", "drift_points_below": None, "missing": [], "verdicts": {}, "rows": []},
    "board_latency": {"status": "not run", "median_ms": None},
}
BOARD = {
    "status": "ok",
    "missing": [],
    "drift_points_below": 0.11,
    "verdicts": {"equivalent": 6, "not equivalent": 0, "undecided": 0},
    "images_needed": 0,
}


class Planted(Run):
    """A run whose results can be overwritten."""

    def drift_rows(self, images: int = 40) -> list[dict[str, Any]]:
        """A drift table without a gap."""
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
        """A board's result, complete but for what is changed."""
        self.plant(page, "board", value=BOARD | {"rows": self.drift_rows()} | changes)


def accuracy(*means: float) -> dict[str, dict[str, float]]:
    """Image AUROC, pixel AUROC and PRO, as the benchmark table has them."""
    return {
        name: {"mean": mean} for name, mean in zip(("image_auroc", "pixel_auroc", "pixel_aupro"), means, strict=True)
    }


def fill(run: Planted) -> Planted:
    """Write good results of everything, as the pages write them where there is no board."""
    targets = run.profile.data.targets
    rows = run.drift_rows()
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
                "backbone_gflops": 53.77,
                "detector_gflops": 53.775,
                "backbone_parameters_millions": 20.69,
                "readout_mflops": 8.9,
                "lint_findings": 0,
                "backend_findings": 0,
                "backends": [{"findings": 0}] * 6,
                "files": [{"precision": "fp32", "megabytes": 83.9}],
                "fp16_onnx_megabytes": 41.9,
                "fp16_dlc_megabytes": 43.0,
                "dlc_partitions": 1,
            }
        },
        "int8": {"largest_drift_points_of_the_mean": 0.1, "rows": rows},
        "latency": {
            "times_the_floor": 1.2,
            "times_as_fast_as_the_tower": 17.0,
            "tower_parameters_millions": 304.3,
            "tower_times_the_gflops": 18.8,
        },
        # Where the emulator is not to be had.
        "jetson_drift": {
            "smallest_spearman": 0.9995, "largest_drift_points_of_the_mean": 0.1, "verdicts": {}, "rows": rows,
        } | NO_BOARD,
        "rb5_drift": {"smallest_spearman": None, "rows": []} | NO_BOARD,
        "benchmarks": {
            "by_benchmark": {item.stands_for: accuracy(90.0, 90.0, 90.0) for item in targets}
            | {"MVTec-AD": accuracy(91.0, 79.0, 67.0), "VisA": accuracy(88.0, 93.0, 75.0)},
            "undefined": {item.name: {} for item in targets},
            "seeds": [{"target": item.name, "seed": seed} for item in targets for seed in run.profile.seeds],
        },
    }  # fmt: skip
    for name, value in values.items():
        run.write_result(name, value)
    for seed in run.profile.seeds:
        write_json(run.seed_folder(seed) / "metrics.json", {"steps": 2000})
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
