"""The benchmark of the forward pass runs, and every method gives the same score."""

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
    out = tmp_path_factory.mktemp("benchmark") / "forward.json"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(ROOT / "benchmarks" / "forward.py"), "--tiny", "--rounds", "1", "--output", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "channels last" in done.stdout
    return json.loads(out.read_text())


def test_every_method_gives_the_same_score(tiny: dict[str, Any]) -> None:
    assert tiny["matrix_product_gflop_per_second"] > 0
    assert {"torch", "timm", "onnxruntime"} <= set(tiny["versions"])
    assert len(tiny["models"]) == 1
    for model in tiny["models"]:
        assert model["floor_milliseconds"] > 0
        assert list(model["beside"]) == ["what runs anyway", "and one busy process"]
        for rows in model["beside"].values():
            assert len(rows) == 9
            assert [row["score"] for row in rows] == pytest.approx([rows[0]["score"]] * 9, abs=1e-4)
            assert all(row["milliseconds_lowest"] <= row["milliseconds_median"] for row in rows)


def test_the_costliest_operators_are_named_before_and_after(tiny: dict[str, Any]) -> None:
    before, after = tiny["models"][0]["operators_self_milliseconds"].values()
    # The costliest ones alone are listed, and which these are before depends on the machine.
    for found in (before, after):
        assert 0 < len(found) <= 8
        assert list(found.values()) == sorted(found.values(), reverse=True)
    # After, normalisation is folded and attention is one kernel: neither takes any time at all.
    assert not {"aten::native_batch_norm", "aten::_softmax"} & set(after)
