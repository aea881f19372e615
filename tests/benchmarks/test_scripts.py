"""Benchmark scripts in their smallest mode: they run, and their numbers agree with each other."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
FOUR = {"auroc", "average_precision", "f1_max", "aupro"}


def results_of(script: str, out: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *arguments, "--output", str(out)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.mark.slow
def test_pixel_metrics_agree_with_other_implementations(tmp_path: Path) -> None:
    found = results_of("metrics", tmp_path / "out.json", "--images", "3", "--runs", "1")
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows["one_pass"]["values"]) == set(rows["one_sort"]["values"]) == FOUR
    bounds = {"one_pass": 1e-4, "one_sort": 0, "scikit_learn": 1e-9, "steps": 1e-3, "loop": 0, "adeval": 0.01}
    for name, row in rows.items():
        if row["status"] != "ok":
            assert name == "adeval" and "make bench" in row["status"]
            continue
        assert 0 < row["seconds_min"] <= row["seconds_median"] and 0 < row["imports_mb"] <= row["peak_mb"]
        assert max(row["differences"].values()) <= bounds[name], name


@pytest.mark.slow
def test_every_runtime_gives_the_same_score(tmp_path: Path) -> None:
    small = ("--tiny", "--rounds", "1", "--passes", "1", "--threads", "1")
    found = results_of("latency", tmp_path / "out.json", *small)
    assert [model["name"] for model in found["models"]] == ["paper", "tower"]
    for model in found["models"]:
        done = {(row["method"], row["precision"]): row for row in model["rows"] if row["status"] == "ok"}
        full = done["ONNX Runtime", "FP32"]
        assert done["PyTorch, as timm gives it", "FP32"]["score"] == pytest.approx(full["score"], abs=1e-4)
        assert done["ONNX Runtime", "FP16"]["score"] == pytest.approx(full["score"], abs=2e-2)
        assert done["ONNX Runtime", "FP16"]["file_mb"] < 0.6 * full["file_mb"]


@pytest.mark.slow
def test_near_duplicates_are_found(tmp_path: Path) -> None:
    search = results_of("duplicates", tmp_path / "out.json", "--part", "0.01")["search"]
    assert (search["found"], search["others"]) == (search["planted"], 0)


@pytest.mark.slow
def test_checkpoint_rows_and_speed(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    folder = tmp_path / "Plates" / "plate"
    mask = np.zeros((96, 96), np.uint8)
    mask[40:56, 20:36] = 255
    for name in ("test/good/0", "test/good/1", "test/spot/0", "test/spot/1"):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(90, 110, (96, 96), dtype=np.uint8)
        Image.fromarray(np.maximum(pixels, mask) if "spot" in name else pixels).save(path)
    (folder / "ground_truth" / "spot").mkdir(parents=True)
    for number in range(2):
        Image.fromarray(mask).save(folder / "ground_truth" / "spot" / f"{number}_mask.png")
    benchmark = script("checkpoint")
    found = benchmark.measure(tmp_path, ("Plates",), [benchmark.GRAPH, benchmark.GRAPH])
    (row,) = found["rows"]
    assert (row["set"], row["category"], row["images"], row["defective"]) == ("Plates", "plate", 4, 2)
    assert row["image_auroc"] == 100 and row["pixel_auroc"] > 90
    assert found["recipe"][0]["image_auroc"] == {"mean": 100, "sd": 0} and found["recipe"][0]["seeds"] == 2
