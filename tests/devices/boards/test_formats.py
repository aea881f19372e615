"""The formats of trtexec, qnn-net-run, qnn-profile-viewer and ONNX Runtime's QNN provider: read, or refused by name."""

import json
from typing import Any

import numpy as np
import pytest

from edgezsad.devices.ingest import qnn, trtexec
from edgezsad.errors import InputError

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
TIMES_11 = """[
  { "startEnqMs" : 1, "endEnqMs" : 1.1, "startH2dMs" : 1, "endH2dMs" : 1, "startComputeMs" : 1, "endComputeMs" : 33,
    "startD2hMs" : 33, "endD2hMs" : 33, "h2dMs" : 0, "computeMs" : 32, "d2hMs" : 0, "latencyMs" : 32 }
]
"""


def output(score: Any = 1.5, values: Any = (1, 2, 3, 4, 5, 6), dimensions: str = "1x1x2x3", name: str = "map") -> bytes:
    tensors = [
        {"name": "score", "dimensions": "1", "values": [score]},
        {"name": name, "dimensions": dimensions, "values": list(values)},
    ]
    return json.dumps(tensors).encode()


def test_an_output_is_a_score_and_a_map():
    score, anomaly_map = trtexec.read_output(output(), (2, 3), "x.json")
    assert score == 1.5 and anomaly_map.dtype == np.float32
    assert anomaly_map.tolist() == [[1, 2, 3], [4, 5, 6]]
    # As TensorRT lays it out, with the tensors in another order.
    text = b"""[
  { "name" : "map"
  , "dimensions" : "1x1x2x1"
  , "values" : [ 0.25, -1.5e-05 ]
  }
, { "name" : "score"
  , "dimensions" : "1x1"
  , "values" : [ -3 ]
  }
]
"""
    score, anomaly_map = trtexec.read_output(text, (2, 1), "x.json")
    assert score == -3 and anomaly_map.ravel().tolist() == pytest.approx([0.25, -1.5e-05])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (output()[:-20], "damaged or cut off"),
        (b"", "damaged or cut off"),
        (b"\xff\xfe", "damaged or cut off"),
        (b"[" * 100_000, "damaged or cut off"),
        (b"{}", "not an output of trtexec"),
        (b"[1]", "not an output of trtexec"),
        (b"[]", "has the tensors"),
        (output(name="maps"), "has the tensors"),
        (output(name="score"), "has the tensors"),
        (output(values=range(5)), "map has 5 values, 1x1x2x3 needs 6"),
        (output(dimensions="1x1x3x2"), "map is 1x1x3x2, not 1x1x2x3"),
        (output(dimensions="2x3"), None),
        (output(dimensions="1x1x2x03"), "map has no dimensions"),
        (output(dimensions="1x1x2xx3"), "map has no dimensions"),
        (output(values="abcdef"), "not numbers"),
        (output(values=[True] * 6), "not numbers"),
        (output(values=[10**400] * 6), "not numbers"),
        (output(score=1e300), "score has values that are not finite"),
        (output(score=[1]), "not numbers"),
        (output().replace(b"1.5", b"nan"), "score has values that are not finite"),
        (output().replace(b"1.5", b"-nan"), "score has values that are not finite"),
        (output().replace(b" 6]", b" inf]"), "map has values that are not finite"),
        (output().replace(b" 6]", b" -inf]"), "map has values that are not finite"),
        (output().replace(b" 6]", b" NaN]"), "map has values that are not finite"),
    ],
)
def test_wrong_outputs_are_named(data: bytes, said: str | None):
    if said is None:
        assert trtexec.read_output(data, (2, 3), "x.json")[0] == 1.5
        return
    with pytest.raises(InputError, match=rf"x\.json: .*{said}") as caught:
        trtexec.read_output(data, (2, 3), "x.json")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_times_are_those_of_the_computation():
    assert trtexec.read_times(TIMES_10.encode(), "t") == [32.83, 31.5]
    assert trtexec.read_times(TIMES_11.encode(), "t") == [32]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "[3]", TIMES_11[:60], TIMES_11.replace('"computeMs" : 32', '"computeMs" : -1'),
     TIMES_11.replace('"computeMs" : 32', '"computeMs" : nan'), TIMES_11.replace("computeMs", "ms"),
     TIMES_11.replace('"computeMs" : 32', '"computeMs" : "32"')],
)  # fmt: skip
def test_wrong_times_are_named(text: str):
    with pytest.raises(InputError, match=r"^t: "):
        trtexec.read_times(text.encode(), "t")


def test_a_profile_is_layers():
    # 10.x and newer have a median, older ones none; a name may hold what looks like a number that is none.
    text = """[
  { "count" : 42 }
, { "name" : "/a/Conv + inf nan", "timeMs" : 84, "averageMs" : 2, "medianMs" : 1.9, "percentage" : 80 }
, { "name" : "b", "timeMs" : 21, "averageMs" : 0.5, "percentage" : 20 }
]"""
    layers = trtexec.read_profile(text.encode(), "p")
    assert [(layer.milliseconds, layer.percent) for layer in layers] == [(2, 80), (0.5, 20)]
    for wrong in ("[]", "[{}]", text.replace("averageMs", "mean"), text[:-30]):
        with pytest.raises(InputError, match=r"^p: "):
            trtexec.read_profile(wrong.encode(), "p")


def test_a_raw_tensor_is_float32():
    values = np.array([1.5, -2], dtype="<f4")
    assert qnn.read_tensor(values.tobytes(), 2, "r").tolist() == [1.5, -2]
    with pytest.raises(InputError, match=r"r: 4 bytes, not 8 \(native types\? leave --use_native_output_files out\)"):
        qnn.read_tensor(values.astype("<f2").tobytes(), 2, "r")
    with pytest.raises(InputError, match=r"r: 7 bytes, not 8$"):
        qnn.read_tensor(values.tobytes()[:-1], 2, "r")
    with pytest.raises(InputError, match="not finite"):
        qnn.read_tensor(np.array([1, np.nan], dtype="<f4").tobytes(), 2, "r")


def test_an_input_list_is_names_in_order():
    text = "image:=result/in/canary-a.raw\nimage:=000012.raw\n"
    assert qnn.read_input_list(text, "l") == ["canary-a", "000012"]
    for wrong in ("image:=a b.raw", "x.raw", "image:=x.raw image2:=y.raw", "", "image:=x"):
        with pytest.raises(InputError, match="l: line 2 is damaged"):
            qnn.read_input_list(f"image:=a.raw\n{wrong}\nimage:=b.raw", "l")


HEADER = "Msg Timestamp,Message,Time,Unit of Measurement,Timing Source,Event Level,Event Identifier"
VIEWER = f"""{HEADER}
15423026395,INIT,74748,US,NETRUN,ROOT,Init
15423026396,EXECUTE,480357,US,NETRUN,ROOT,Graph 0: model
15423026396,EXECUTE,331158,US,BACKEND,ROOT,QNN accelerator (execute) time
15423026396,EXECUTE,149241,CYCLES,BACKEND,ROOT,Accelerator (execute) time (cycles)
15423026396,EXECUTE,3278,US,BACKEND,SUB-EVENT,"_Conv, fused:OpId_7 (cycles)"
15423026397,EXECUTE,480000,US,NETRUN,ROOT,Graph 0: model
15423026397,EXECUTE,331,MS,BACKEND,ROOT,QNN accelerator (execute) time
"""


def test_the_viewers_csv_has_every_execution():
    series = qnn.read_times(VIEWER.encode(), "v.csv")
    assert series == {"NetRun": [480.357, 480], "QNN accelerator (execute) time": [331.158, 331]}
    assert qnn.choose(series) == "QNN accelerator (execute) time"


def test_onnx_runtimes_csv_with_and_without_its_last_column_and_appended_to():
    old = (
        f"{HEADER}\nUNKNOWN,EXECUTE,3100,US,BACKEND,ROOT,NULL\n"
        "UNKNOWN,BACKEND,2800,US,BACKEND,SUB-EVENT,QNN (execute) time\n"
    )
    new = f"{HEADER},ONNX Source Ops\n0,BACKEND,2500,US,BACKEND,ROOT,QNN (execute) time,\n"
    assert qnn.read_times(old.encode(), "o") == {"execute event": [3.1], "QNN (execute) time": [2.8]}
    assert qnn.read_times(new.encode(), "o") == {"QNN (execute) time": [2.5]}
    # A second session appends without a header, or the files were put together with theirs.
    both = old + old.split("\n", 1)[1]
    assert qnn.read_times(both.encode(), "o")["QNN (execute) time"] == [2.8, 2.8]
    assert qnn.read_times((old + new).encode(), "o")["QNN (execute) time"] == [2.8, 2.5]


def test_the_viewers_text_has_averages():
    text = """Init Stats:

---
    NetRun:  74748 us

Execute Stats (Average):

--- Total Inference Time:

--- Graph 0 (model):
    NetRun:  331158 us
    Backend (Number of HVX threads used): 4 count
    Backend (QNN accelerator (execute) time): 260000 us
    Backend (QNN (execute) time): 294900 us

Execute Stats (Min):
    NetRun:  1 us
"""
    series = qnn.read_times(text.encode(), "t")
    assert series == {
        "NetRun": [331.158], "QNN accelerator (execute) time": [260], "QNN (execute) time": [294.9]
    }  # fmt: skip
    bare = "NetRun: 331158 us\nBackend (QNN accelerator (execute) time): 300 us\n"
    assert qnn.read_times(bare.encode(), "t") == {"NetRun": [331.158], "QNN accelerator (execute) time": [0.3]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no time of an execution"),
        ("hello", "no time of an execution"),
        (HEADER, "no time of an execution"),
        (VIEWER.replace("Event Level,", ""), "no column Event Level"),
        (VIEWER[:-40], "a row has|no time|cut off"),
        (VIEWER.replace("331158", "x"), "a time of QNN accelerator"),
        (VIEWER.replace("331158", "-5"), "a time of QNN accelerator"),
        (VIEWER.replace("331158", "nan"), "a time of QNN accelerator"),
        (VIEWER.replace('cycles)"', "cycles)"), "damaged|cells"),
    ],
)
def test_wrong_profiles_are_named(text: str, said: str):
    with pytest.raises(InputError, match=rf"^p: .*({said})"):
        qnn.read_times(text.encode(), "p")
    with pytest.raises(InputError, match="p: no text"):
        qnn.read_times(b"\x00\xff\xfe", "p")
