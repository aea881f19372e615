"""The benchmark of the latency on a host runs on small models, and every runtime gives a model's own score."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("benchmark") / "latency.json"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(ROOT / "benchmarks" / "latency.py"), "--tiny", "--output", str(out)]
    command += ["--rounds", "1", "--passes", "1", "--threads", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "goals: " in done.stdout
    return json.loads(out.read_text())


def test_every_runtime_gives_the_same_score(tiny: dict[str, Any]) -> None:
    assert [model["name"] for model in tiny["models"]] == ["mini", "paper", "tower"]
    for model in tiny["models"]:
        done = [row for row in model["rows"] if row["status"] == "ok"]
        full = [row["score"] for row in done if row["precision"] == "FP32"]
        assert len(full) == (2 if model["name"] == "tower" else 4)
        # A score of nothing would agree with itself.
        assert abs(full[0]) > 1e-3
        assert full == pytest.approx([full[0]] * len(full), abs=1e-4)
        (half,) = (row["score"] for row in done if row["precision"] == "FP16")
        assert half == pytest.approx(full[0], abs=2e-2) and half != full[0]


def test_cost_and_time_of_each(tiny: dict[str, Any]) -> None:
    assert tiny["matrix_product_gflop_per_second"][0]["faster"] > 0
    assert {"torch", "timm", "onnxruntime"} <= set(tiny["versions"])
    for model in tiny["models"]:
        assert model["gflop"] > 0 and model["parameters_millions"] > 1
        files = {row["precision"]: row["file_mb"] for row in model["rows"] if row["method"] == "ONNX Runtime"}
        assert files["FP16"] < 0.6 * files["FP32"]
        # Four bytes a parameter, and little beside.
        assert 4 * model["parameters_millions"] < files["FP32"] + 0.2 < 4.6 * model["parameters_millions"]
        for row in model["rows"]:
            if row["status"] != "ok":
                assert row["status"].startswith("not run: ")
                continue
            assert row["milliseconds_lowest"] <= row["milliseconds_median"] <= row["milliseconds_p95"]
            assert row["peak_mb"] > 10 and row["times_the_floor"] > 0
    tower = next(row for row in tiny["models"][-1]["rows"] if row["method"] == "ONNX Runtime")
    assert tower["times_as_fast_as_the_tower"] == 1


def test_the_goals_are_those_of_the_papers_graph(tiny: dict[str, Any]) -> None:
    rows = tiny["models"][1]["rows"]
    row = next(one for one in rows if (one["method"], one["precision"]) == ("ONNX Runtime", "FP32"))
    assert tiny["goals"] == {
        "times the floor": {"at most": 1.35, "measured": row["times_the_floor"]},
        "times as fast as the tower": {"at least": 16.0, "measured": row["times_as_fast_as_the_tower"]},
    }
