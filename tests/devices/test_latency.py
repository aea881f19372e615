"""Latency: the record, and the time formats of trtexec, qnn-profile-viewer and ONNX Runtime's QNN provider."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgezsad.devices.latency import (
    Latency,
    read_latency,
    read_qnn_times,
    read_trtexec_layers,
    read_trtexec_times,
)
from edgezsad.errors import InputError
from edgezsad.files import write_json


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
        "conditions": {"power_mode": "MAXN_SUPER"},
        "command": "trtexec",
    }
    return Latency(**(values | changes))


def test_median_and_percentile(tmp_path: Path):
    path = write_json(tmp_path / "latency.json", record().model_dump())
    found = read_latency(path)
    assert found == record() and (found.median_ms, found.p95_ms) == (51, 96)


@pytest.mark.parametrize(
    "changes",
    [{"milliseconds": []}, {"milliseconds": [1.0, float("nan")]}, {"milliseconds": [0.0]}, {"surprise": 1}],
)
def test_impossible_records(changes: dict[str, Any]):
    with pytest.raises(ValidationError):
        record(**changes)


def test_damaged_files_are_one_line(tmp_path: Path):
    path = tmp_path / "latency.json"
    with pytest.raises(InputError, match="missing; run `edgezsad device ingest`"):
        read_latency(path)
    path.write_text(json.dumps(record().model_dump() | {"milliseconds": [1, "x"]}))
    with pytest.raises(InputError, match=r"milliseconds\.1") as caught:
        read_latency(path)
    assert "\n" not in str(caught.value)


TIMES_10 = """[
  { "startEnqMs" : 203.1, "endEnqMs" : 203.2, "startH2dMs" : 203.1, "endH2dMs" : 203.3, "startComputeMs" : 203.3,
    "endComputeMs" : 236.1, "startD2hMs" : 236.1, "endD2hMs" : 236.2, "h2dMs" : 0.25, "computeMs" : 32.83,
    "d2hMs" : 0.01, "latencyMs" : 33.09 }
, { "startEnqMs" : 236.1, "endEnqMs" : 236.2, "startH2dMs" : 236.1, "endH2dMs" : 236.3, "startComputeMs" : 236.3,
    "endComputeMs" : 269.1, "startD2hMs" : 269.1, "endD2hMs" : 269.2, "h2dMs" : 0.25, "computeMs" : 31.5,
    "d2hMs" : 0.01, "latencyMs" : 31.76 }
]
"""
# Transfers are off by default in 11.x, so that its latency is the computation.
TIMES_11 = '[ { "startEnqMs" : 1, "h2dMs" : 0, "computeMs" : 32, "d2hMs" : 0, "latencyMs" : 32 } ]'


def test_times_of_trtexec_are_those_of_the_computation():
    assert read_trtexec_times(TIMES_10.encode(), "t") == [32.83, 31.5]
    assert read_trtexec_times(TIMES_11.encode(), "t") == [32]
    compute = '"computeMs" : 32'
    wrong = ["", "[]", "{}", "[3]", TIMES_11[:60], TIMES_11.replace("computeMs", "ms")]
    wrong += [TIMES_11.replace(compute, f'"computeMs" : {value}') for value in ("-1", "nan", "inf", '"32"', "true")]
    for text in wrong:
        with pytest.raises(InputError, match=r"^t: "):
            read_trtexec_times(text.encode(), "t")


def test_layers_of_trtexec_are_sorted():
    # 10.x and newer have a median, older ones none; a name may hold what looks like a number.
    text = """[
  { "count" : 42 }
, { "name" : "b", "timeMs" : 21, "averageMs" : 0.5, "percentage" : 20 }
, { "name" : "/a/Conv + inf nan", "timeMs" : 84, "averageMs" : 2, "medianMs" : 1.9, "percentage" : 80 }
]"""
    assert list(read_trtexec_layers(text.encode(), "p").items()) == [("/a/Conv + inf nan", 2), ("b", 0.5)]
    for wrong in ("[]", "[{}]", text.replace("averageMs", "mean"), text[:-30]):
        with pytest.raises(InputError, match=r"^p: "):
            read_trtexec_layers(wrong.encode(), "p")


HEADER = "Msg Timestamp,Message,Time,Unit of Measurement,Timing Source,Event Level,Event Identifier"
VIEWER = f"""{HEADER}
15423026395,INIT,74748,US,NETRUN,ROOT,Init
15423026396,EXECUTE,480357,US,NETRUN,ROOT,Graph 0: model
15423026396,EXECUTE,331158,US,BACKEND,ROOT,QNN accelerator (execute) time
15423026396,EXECUTE,149241,CYCLES,BACKEND,ROOT,Accelerator (execute) time (cycles)
15423026396,EXECUTE,3278,US,BACKEND,SUB-EVENT,"_Conv, fused:OpId_7 (cycles)"
15423026396,NODE,10,US,BACKEND,SUB-EVENT,a, b, c
15423026397,EXECUTE,480000,US,NETRUN,ROOT,Graph 0: model
15423026397,EXECUTE,331,MS,BACKEND,ROOT,QNN accelerator (execute) time
"""


def test_the_viewers_csv_has_every_execution():
    series = read_qnn_times(VIEWER.encode(), "v.csv")
    # The closest to the processor's own work comes first.
    assert list(series.items()) == [("QNN accelerator (execute) time", [331.158, 331]), ("NetRun", [480.357, 480])]


def test_onnx_runtimes_csv_with_and_without_its_last_column_and_appended_to():
    old = (
        f"{HEADER}\nUNKNOWN,EXECUTE,3100,US,BACKEND,ROOT,NULL\n"
        "UNKNOWN,BACKEND,2800,US,BACKEND,SUB-EVENT,QNN (execute) time\n"
    )
    new = f"{HEADER},ONNX Source Ops\n0,BACKEND,2500,US,BACKEND,ROOT,QNN (execute) time,\n"
    assert read_qnn_times(old.encode(), "o") == {"execute event": [3.1], "QNN (execute) time": [2.8]}
    assert read_qnn_times(new.encode(), "o") == {"QNN (execute) time": [2.5]}
    # A second session appends without a header, or the files were joined with theirs.
    both = old + old.split("\n", 1)[1]
    assert read_qnn_times(both.encode(), "o")["QNN (execute) time"] == [2.8, 2.8]
    assert read_qnn_times((old + new).encode(), "o")["QNN (execute) time"] == [2.8, 2.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "no time of an execution"),
        (HEADER, "no time of an execution"),
        (VIEWER.replace("331158", "x"), "not a CSV"),
        (VIEWER.replace("331158", "nan"), "a time of QNN accelerator"),
        (VIEWER.replace('cycles)"', "cycles)"), "not a CSV"),
    ],
)
def test_wrong_profiles(text: str, said: str):
    with pytest.raises(InputError, match=rf"^p: .*({said})"):
        read_qnn_times(text.encode(), "p")
    with pytest.raises(InputError, match="p: not a CSV"):
        read_qnn_times(b"\x00\xff\xfe", "p")
