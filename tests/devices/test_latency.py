"""The latency record: kept as it was measured, refused when damaged."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgezsad.devices.boards import BOARDS, board
from edgezsad.devices.latency import Latency, read_latency, write_latency
from edgezsad.errors import InputError


def record(**changes: Any) -> Latency:
    values: dict[str, Any] = {
        "board": "jetson",
        "runtime": "tensorrt-fp16",
        "precision": "fp16",
        "device": "a board",
        "model_sha256": "a" * 64,
        "milliseconds": [float(value) for value in range(1, 102)],
        "method": "by a clock",
        "versions": {"tensorrt": "10.3.0"},
        "conditions": {"power mode": "MAXN_SUPER"},
        "command": "trtexec",
    }
    return Latency(**(values | changes))


def test_a_record_comes_back_as_it_was(tmp_path: Path):
    path = write_latency(record(), tmp_path / "latency.json")
    assert read_latency(path) == record()


def test_median_and_percentile():
    assert record().median_ms == 51
    assert record().p95_ms == 96
    assert record(milliseconds=[], status="not run", reason="no board").median_ms is None
    assert record(milliseconds=[], status="not run", reason="no board").p95_ms is None


@pytest.mark.parametrize(
    "changes",
    [
        {"milliseconds": []},
        {"milliseconds": [1.0, float("nan")]},
        {"milliseconds": [1.0, 0.0]},
        {"milliseconds": [1.0, -3.0]},
        {"status": "not run", "reason": "no board"},
        {"status": "not run", "milliseconds": []},
        {"surprise": 1},
    ],
)
def test_impossible_records_are_refused(changes: dict[str, Any]):
    with pytest.raises(ValidationError):
        record(**changes)


def test_damaged_files_are_one_line(tmp_path: Path):
    path = tmp_path / "latency.json"
    with pytest.raises(InputError, match="missing; run `edgezsad device ingest`"):
        read_latency(path)
    raw = record().model_dump()
    path.write_text(json.dumps(raw | {"milliseconds": [1, "x"]}))
    with pytest.raises(InputError, match=r"milliseconds\.1") as caught:
        read_latency(path)
    assert "\n" not in str(caught.value)


def test_boards_are_the_papers():
    assert {name: item.runtime for name, item in BOARDS.items()} == {"jetson": "tensorrt-fp16", "rb5": "qnn-gpu-fp16"}
    assert board("jetson").reported.milliseconds == 32.83
    with pytest.raises(InputError, match="choose jetson or rb5"):
        board("pi")
