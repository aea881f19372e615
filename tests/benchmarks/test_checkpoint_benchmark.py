"""The committed checkpoint's benchmark: every category has a row, nothing of the machine, and a measured speed."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def benchmark(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("checkpoint")


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for kind in ("good", "spot"):
        for number in range(2):
            pixels = generator.integers(90, 110, (96, 96, 3), dtype=np.uint8)
            mask = np.zeros((96, 96), np.uint8)
            if kind == "spot":
                pixels[40:56, 20:36] = 250
                mask[40:56, 20:36] = 255
                write(tmp_path / f"Plates/plate/ground_truth/spot/{number}_mask.png", mask)
            write(tmp_path / f"Plates/plate/test/{kind}/{number}.png", pixels)
    return tmp_path


@pytest.mark.slow
def test_rows_threshold_and_speed(benchmark: ModuleType, sets: Path) -> None:
    found = benchmark.measure(sets, ("Plates",), [benchmark.GRAPH, benchmark.GRAPH])
    (row,) = found["rows"]
    assert (row["set"], row["category"], row["images"], row["defective"]) == ("Plates", "plate", 4, 2)
    # A white spot on grey is as plain as a defect can be.
    assert row["image_auroc"] == 100 and row["pixel_auroc"] > 90
    assert str(sets) not in json.dumps(found)
    # Two that are the same do not differ.
    assert found["recipe"][0]["image_auroc"] == {"mean": 100, "sd": 0} and found["recipe"][0]["seeds"] == 2
    assert found["threshold"] == benchmark.load_scorer()[1]
    assert found["speed"]["first_score_seconds"] > 0 and found["speed"]["photographs_per_second"] > 0
