"""Latency: the record, the table next to the paper's, and the profiles of qnn-profile-viewer."""

import json
from typing import Any

import numpy as np
import pytest

from edgezsad.devices import BOARDS
from edgezsad.devices.latency import Latency, board_latency, latency_result, latency_table, read_qnn_times
from edgezsad.errors import InputError
from edgezsad.files import write_json
from edgezsad.run import Run
from edgezsad.scoring.score_file import write_not_run, write_scores

JETSON = BOARDS["jetson"]


def record(**changes: Any) -> Latency:
    values = {
        "board": "jetson", "runtime": "tensorrt-fp16", "precision": "fp16", "device": "a board",
        "model_sha256": "a" * 64, "milliseconds": [float(value) for value in range(1, 102)], "method": "by a clock",
        "versions": {"tensorrt": "10.3.0"}, "conditions": {"power_mode": "MAXN_SUPER"}, "command": "trtexec",
    }  # fmt: skip
    return Latency(**(values | changes))


def test_latency_next_to_the_papers(make_profile: Any, make_scores: Any, tmp_path: Any):
    run = Run(make_profile(tmp_path))
    for target in ("bolts", "nuts"):
        scores = make_scores(np.zeros(80), np.zeros(80), target=target, milliseconds=np.arange(80) % 4 + 1)
        write_scores(scores, run.scores("pytorch", 0, target))
        no_scores = make_scores([], [], target=target, status="not run", reason="no emulator here").record
        write_not_run(no_scores, run.scores("qnn-htp-fp16", 0, target))
    assert board_latency(run, JETSON) is None and latency_result(None)["median_ms"] is None
    table = latency_table(run, ["pytorch", "qnn-htp-fp16"], JETSON, None).set_index("where")
    assert table.loc["host, pytorch", ["median ms", "status"]].tolist() == [2.5, "measured here"]
    assert table.loc["host, qnn-htp-fp16", "status"] == "not run: no emulator here"
    # The paper's time is never in the column of measured ones.
    board = table.loc[JETSON.title]
    assert np.isnan(board["median ms"]) and board["status"] == f"not run: needs {JETSON.reported['needs']}"
    assert "32.83 ms, TensorRT FP16" in board["the paper reports"]

    path = write_json(run.board("jetson") / "latency.json", record().model_dump())
    latency = board_latency(run, JETSON)
    assert latency == record()
    board = latency_table(run, [], JETSON, latency).set_index("where").loc[JETSON.title]
    assert (board["median ms"], board["p95 ms"], board["status"]) == (51, 96, "measured on the board, 101 times")
    assert "MAXN_SUPER" in board["how"] and "tensorrt 10.3" in board["versions"]
    found = latency_result(latency)
    assert (found["status"], found["median_ms"], found["iterations"]) == ("ok", 51, 101)
    json.dumps(found, allow_nan=False)
    path.write_text(json.dumps(record().model_dump() | {"milliseconds": [1.0, "x"]}))
    with pytest.raises(InputError, match=r"not a latency record \(milliseconds\.1"):
        board_latency(run, JETSON)


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
OLD = (
    f"{HEADER}\nUNKNOWN,EXECUTE,3100,US,BACKEND,ROOT,NULL\n"
    "UNKNOWN,BACKEND,2800,US,BACKEND,SUB-EVENT,QNN (execute) time\n"
)
NEW = f"{HEADER},ONNX Source Ops\n0,BACKEND,2500,US,BACKEND,ROOT,QNN (execute) time,\n"


def test_profiles_of_both_tools():
    # The closest to the processor's own work comes first.
    viewer = [("QNN accelerator (execute) time", [331.158, 331]), ("NetRun", [480.357, 480])]
    assert list(read_qnn_times(VIEWER.encode(), "v.csv").items()) == viewer
    assert read_qnn_times(OLD.encode(), "o") == {"QNN (execute) time": [2.8], "execute event": [3.1]}
    assert read_qnn_times(NEW.encode(), "o") == {"QNN (execute) time": [2.5]}
    # A second session appends with or without its header.
    assert read_qnn_times((OLD + OLD.split("\n", 1)[1] + NEW).encode(), "o")["QNN (execute) time"] == [2.8, 2.8, 2.5]
