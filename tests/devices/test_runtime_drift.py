"""The drift pages: one runtime against the host over all targets and seeds, or the reason why not."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgezsad.config import Profile
from edgezsad.devices.changes import MEAN
from edgezsad.devices.run import runtime_drift
from edgezsad.errors import CheckError, InputError
from edgezsad.run import Run
from edgezsad.scoring.score_file import ScoreFile, write_not_run, write_scores

LABEL = [0, 0, 1, 1]
HOST = np.array([0.0, 2, 1, 3], dtype=np.float32)


@pytest.fixture
def run(make_profile: Callable[..., Profile], make_scores: Callable[..., ScoreFile], tmp_path: Path) -> Run:
    """Two targets, two seeds; FP16 ranks one pair otherwise on nuts by seed 1; the emulator is not here."""
    run = Run(make_profile(tmp_path))
    for target in ("bolts", "nuts"):
        for seed in (0, 1):
            swapped = target == "nuts" and seed == 1
            facts = {"target": target, "seed": seed, "milliseconds": [10, 20, 30, 40]}
            write_scores(make_scores(HOST, LABEL, **facts), run.scores("pytorch", seed, target))
            device = HOST[[0, 2, 1, 3]] if swapped else HOST + 0.5
            facts |= {"runtime": "onnx-fp16", "precision": "fp16", "milliseconds": [1, 2, 3, 4]}
            write_scores(make_scores(device, LABEL, **facts), run.scores("onnx-fp16", seed, target))
        record = make_scores([], [], target=target, status="not run", reason="no emulator here").record
        write_not_run(record, run.scores("qnn-htp-fp16", 0, target))
    return run


def test_every_target_and_seed_is_compared(run: Run) -> None:
    result = runtime_drift(run, "onnx-fp16")
    assert result.table[["target", "seed"]].to_numpy().tolist() == [
        ["bolts", 0],
        ["bolts", 1],
        ["nuts", 0],
        ["nuts", 1],
    ]
    assert result.table["points"].tolist() == [0, 0, 0, 25]
    assert len(result.pairs) == 4
    # The worst of all seeds; and the worst mean over seeds, of nuts, whose other seed did not move.
    assert result.largest_points == 25
    assert result.largest_mean_points == 12.5
    assert result.smallest_rank_agreement == pytest.approx(0.8)
    assert [(each.target, each.seed, each.points) for each in result.means] == [
        ("bolts", MEAN, 0),
        ("nuts", MEAN, 12.5),
    ]
    # Four images tell nothing, and the sentence says so.
    assert result.verdicts() == {"equivalent": 0, "not equivalent": 0, "undecided": 2}
    assert "0 of 2 targets, undecided 2" in result.summary()
    kept = result.result()
    assert (kept["status"], kept["reason"], kept["largest_drift_points"]) == ("ok", "", 25)
    # The farthest end of the tests' intervals.
    assert kept["drift_points_below"] == max(max(-each.test.low, each.test.high) for each in result.means) > 12.5
    assert kept["images_needed"] > 4
    json.dumps(kept, allow_nan=False)


def test_a_runtime_that_did_not_run_says_why(run: Run) -> None:
    result = runtime_drift(run, "qnn-htp-fp16")
    assert result.table.empty
    kept = result.result()
    assert (kept["runtime"], kept["status"], kept["reason"]) == ("qnn-htp-fp16", "not run", "no emulator here")
    assert kept["rows"] == []
    assert {value for name, value in kept.items() if name.startswith(("largest", "smallest"))} == {None}


def test_a_runtime_left_out_of_the_profile(run: Run, make_profile: Callable[..., Profile]) -> None:
    fewer = Run(make_profile(run.folder, evaluation={"runtimes": ["pytorch"]}))
    result = runtime_drift(fewer, "onnx-fp16")
    assert result.reason == "onnx-fp16 is not in evaluation.runtimes of the profile"
    assert result.largest_points is None


def test_missing_scores_and_a_fallback_are_not_hidden(run: Run, make_scores: Callable[..., ScoreFile]) -> None:
    fallen = make_scores(HOST, LABEL, target="nuts", seed=1, precision="fp16", runtime="onnx-fp16")
    path = write_scores(fallen, run.scores("onnx-fp16", 1, "nuts"))
    with pytest.raises(CheckError, match="nuts seed 1: drift of exactly zero"):
        runtime_drift(run, "onnx-fp16")
    path.unlink()
    with pytest.raises(InputError, match=r"nuts\.npz: missing; run notebook 05_scoring"):
        runtime_drift(run, "onnx-fp16")
