"""The benchmark leaves out what it tests on, and its means give every set the same weight."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgezsad.errors import InputError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "photographs.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("photographs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["photographs"] = module
    spec.loader.exec_module(module)
    return module


def test_a_set_is_left_out_whole_and_no_other(benchmark: ModuleType) -> None:
    group = np.array(["cells/a", "cells-2/a", "cells/b", "paper/a"])
    assert benchmark.rows_without(group, "cells").tolist() == [1, 3]
    with pytest.raises(InputError, match="no images of wood"):
        benchmark.rows_without(group, "wood")


def test_every_set_counts_alike(benchmark: ModuleType) -> None:
    rows = [
        {"set": "many", "seed": 0, "categories": {"a": {"image_auroc": 80.0}, "b": {"image_auroc": 100.0}}},
        {"set": "many", "seed": 1, "categories": {"a": {"image_auroc": 60.0}, "b": {"image_auroc": 80.0}}},
        {"set": "one", "seed": 0, "categories": {"c": {"image_auroc": 50.0, "pixel_auroc": 70.0}}},
    ]
    # (90 + 70) / 2 for the one set, 50 for the other.
    assert benchmark.mean_of_sets(rows, "image_auroc") == pytest.approx(65)
    # A set without masks is left out of the pixels' mean.
    assert benchmark.mean_of_sets(rows, "pixel_auroc") == pytest.approx(70)
