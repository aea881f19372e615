"""The command lines, word by word: nobody here can run them."""

import pytest

from edgezsad.devices.commands import qnn_net_run, qnn_profile_viewer, trtexec_build, trtexec_run
from edgezsad.errors import InputError


def test_tensorrt_10_rounds_the_fp32_graph_itself():
    assert trtexec_build("m-fp32.onnx", "m.plan", (10, 3), "timing.cache") == [
        "trtexec",
        "--onnx=m-fp32.onnx",
        "--saveEngine=m.plan",
        "--skipInference",
        "--fp16",
        "--timingCacheFile=timing.cache",
    ]


def test_tensorrt_11_knows_no_precision_words():
    assert trtexec_build("m-fp16.onnx", "m.plan", (11, 0)) == [
        "trtexec",
        "--onnx=m-fp16.onnx",
        "--saveEngine=m.plan",
        "--skipInference",
    ]


def test_an_older_tensorrt_is_refused():
    with pytest.raises(InputError, match=r"TensorRT 8\.6: 10\.0 or newer"):
        trtexec_build("m.onnx", "m.plan", (8, 6))


def test_a_run_writes_times_profile_and_output():
    words = trtexec_run("m.plan", {"image": "0001.raw"}, "t.json", "p.json", "o.json", iterations=200, warmup_ms=1000)
    assert words == [
        "trtexec",
        "--loadEngine=m.plan",
        "--loadInputs=image:0001.raw",
        "--iterations=200",
        "--warmUp=1000",
        "--duration=0",
        "--exportTimes=t.json",
        "--exportProfile=p.json",
        "--separateProfileRun",
        "--exportOutput=o.json",
    ]


def test_a_run_leaves_out_what_is_not_asked_for():
    assert trtexec_run("m.plan", {}, output="o.json", iterations=1, warmup_ms=0) == [
        "trtexec",
        "--loadEngine=m.plan",
        "--iterations=1",
        "--warmUp=0",
        "--duration=0",
        "--exportOutput=o.json",
    ]


@pytest.mark.parametrize("name", ["a,b.raw", "a:b.raw", "it's.raw"])
def test_names_that_trtexec_would_split_are_refused(name):
    with pytest.raises(InputError, match="no comma, colon or quote"):
        trtexec_run("m.plan", {"image": name})


@pytest.mark.parametrize(("iterations", "warmup"), [(0, 10), (10, -1)])
def test_nothing_to_time_is_refused(iterations, warmup):
    with pytest.raises(InputError, match="at least 1 after 0"):
        trtexec_run("m.plan", {}, iterations=iterations, warmup_ms=warmup)


def test_qnn_net_run_on_the_gpu():
    assert qnn_net_run("m.dlc", "list.txt", "out") == [
        "qnn-net-run",
        "--dlc_path",
        "m.dlc",
        "--backend",
        "libQnnGpu.so",
        "--input_list",
        "list.txt",
        "--output_dir",
        "out",
        "--profiling_level",
        "basic",
    ]
    assert qnn_net_run("m.dlc", "l", "o", "libQnnHtp.so", "detailed", "c.json")[-4:] == [
        "--profiling_level",
        "detailed",
        "--config_file",
        "c.json",
    ]
    with pytest.raises(InputError, match="basic or detailed"):
        qnn_net_run("m.dlc", "l", "o", profiling="all")


def test_qnn_profile_viewer():
    assert qnn_profile_viewer("p.log", "p.csv") == ["qnn-profile-viewer", "--input_log", "p.log", "--output", "p.csv"]
