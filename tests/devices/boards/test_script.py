"""The script on a board of stand-ins, from kit to score file: scores are those of ONNX Runtime on the host."""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgezsad import cli
from edgezsad.devices.boards import board
from edgezsad.devices.ingest.take import ingest
from edgezsad.devices.kit.plan import plan_kit
from edgezsad.devices.kit.write import write_kit
from edgezsad.devices.latency import read_latency
from edgezsad.errors import CheckError
from edgezsad.scoring.score_file import ScoreFile, read_scores

SCRIPTS = Path(cli.__file__).parent / "devices" / "kit" / "board"
PAGE = Path(__file__).parents[3] / "book" / "howto-board.md"
STANDINS = Path(__file__).parent / "standins"
MakeDevice = Callable[[str], Any]
FAST = ("--iterations", "5", "--warmup", "3")


def write(bench: Any, folder: Path, name: str, **choices: Any) -> Path:
    """A kit of two images of each kind, or of what is asked for."""
    choices = {"images_per_target": 2} | choices
    if name == "rb5" and "dlc" not in choices:
        choices["dlc"] = bench.run.onnx(0, "fp16")
    write_kit(plan_kit(bench.run, board(name), 0, **choices), folder)
    return folder


def commands(device: Any) -> list[list[str]]:
    return [json.loads(line) for line in device.log.read_text().splitlines()]


def same(scores: ScoreFile, host: ScoreFile, digits: float) -> None:
    """Equal but for the digits that the tool writes."""
    ours = host.take(scores.image_id)
    assert len(scores) and (scores.label == ours.label).all() and (scores.category == ours.category).all()
    np.testing.assert_allclose(scores.score, ours.score, rtol=digits)
    np.testing.assert_allclose(scores.map, ours.map, rtol=digits, atol=1e-7)
    assert np.isnan(scores.milliseconds).all()


@pytest.mark.parametrize(("version", "precision"), [("10.3.0", "fp32"), ("11.1.0", "fp16")])
def test_jetson_from_kit_to_score_file(
    bench: Any, make_device: MakeDevice, tmp_path: Path, version: str, precision: str
):
    device = make_device("jetson")
    choices = {"images_per_target": None if version == "10.3.0" else 1}
    kit = write(bench, tmp_path / "kit", "jetson", **choices)
    done = device.run(kit, *FAST, STANDIN_VERSION=version)
    assert done.returncode == 0, done.stderr
    assert "an estimate" in done.stdout and "min left" in done.stdout
    words = ["device", "ingest", str(kit / "jetson-mini-seed0-result.tar"), "--config", str(bench.config)]
    taken = CliRunner().invoke(cli.app, [*words, "--output", str(tmp_path / "out")])
    assert taken.exit_code == 0, taken.output
    for name, host in bench.scores[precision].items():
        scores = read_scores(tmp_path / "out" / "seed0" / f"{name}.npz")
        # Ten to the sixth: a C++ stream writes six significant digits.
        same(scores, host, 1e-5)
        record = scores.record
        assert (record.runtime, record.precision, record.seed, record.target) == ("tensorrt-fp16", "fp16", 0, name)
        assert record.detector_sha256 == "0" * 64 and record.model_sha256 == host.record.model_sha256
        assert version != "10.3.0" or record.manifest_sha256 == host.record.manifest_sha256
        assert record.versions["tensorrt"] == version and record.versions["l4t"] == "36.4.3"
        assert "power mode MAXN_SUPER" in record.timing_method and "GPU MinFreq=1020000000" in record.timing_method
        assert ("--fp16" in record.command) == (version == "10.3.0")
        assert "--loadEngine" in record.command
    latency = read_latency(tmp_path / "out" / "latency.json")
    assert len(latency.milliseconds) == 5 and "computeMs" in latency.method and "3 ms of warm-up" in latency.method
    assert latency.conditions["power mode"] == "MAXN_SUPER" and latency.versions["cuda"] == "12.6.68"
    assert latency.model_sha256 == bench.scores[precision]["bolts"].record.model_sha256
    assert (latency.profile, latency.seed, latency.board) == ("mini", 0, "jetson")
    check_jetson_commands(device, version)


def check_jetson_commands(device: Any, version: str) -> None:
    """The script's commands are the library's, and the book's."""
    build, timing, *runs = commands(device)
    # What 11.x needs more than 10.x, or an image would not be copied to the GPU.
    more = ["--includeDataTransfers"] if version.startswith("11") else []
    assert runs and all(run == runs[0] for run in runs)
    if not more:
        page = PAGE.read_text().replace(" \\\n    ", " ")
        usual = [word.replace("iterations=5", "iterations=300").replace("Up=3", "Up=2000") for word in timing]
        for words in (build, usual, runs[0]):
            assert " ".join(words) in page
    library = pytest.importorskip("edgezsad.devices.commands")
    numbers = tuple(map(int, version.split(".")[:2]))
    graph = "models/model-fp16.onnx" if more else "models/model-fp32.onnx"
    engine, inputs = "result/engine.plan", {"image": "result/image.raw"}
    assert build == library.trtexec_build(graph, "result/engine.new", numbers, "result/timing.cache")
    wanted = library.trtexec_run(
        engine,
        inputs,
        times="result/times.json",
        profile="result/profile.json",
        iterations=5,
        warmup_ms=3,
        version=numbers,
    )
    assert timing == wanted and ("--includeDataTransfers" in wanted) == bool(more)
    wanted = library.trtexec_run(
        engine, inputs, output="result/output.json", iterations=1, warmup_ms=0, version=numbers
    )
    assert runs[0] == wanted


def test_rb5_from_kit_to_score_file(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("rb5")
    kit = write(bench, tmp_path / "kit", "rb5", images_per_target=None)
    done = device.run(kit, *FAST, "--chunk", "5")
    assert done.returncode == 0, done.stderr
    result = kit / "rb5-mini-seed0-result.tar"
    taken = ingest(result, bench.run, tmp_path / "out")
    assert not taken.refused
    for name, host in bench.scores["fp16"].items():
        scores = read_scores(tmp_path / "out" / "seed0" / f"{name}.npz")
        same(scores, host, 1e-6)
        record = scores.record
        assert (record.runtime, record.precision, record.versions["qnn"]) == (
            "qnn-gpu-fp16",
            "fp16",
            "2.32.0.250228225014",
        )
        assert "--backend libQnnGpu.so" in record.command and "power mode performance" in record.timing_method
        assert "QCS8550" in record.device and "Adreno740" in record.device
    latency = read_latency(tmp_path / "out" / "latency.json")
    # The stand-in's counter of the accelerator stays at zero, as one that a backend lacks: it is passed over.
    assert len(latency.milliseconds) == 5 and latency.method.startswith('"QNN accelerator (execute) time" of 5')
    assert float(latency.conditions["NetRun, median ms"]) > latency.median_ms
    # Nothing that was unpacked stays on the board but the two guarding pictures.
    assert sorted(path.name for path in (kit / "result" / "in").iterdir()) == ["canary-a.raw", "canary-b.raw"]
    timing, *runs = commands(device)
    assert len(runs) == 3 and " ".join(runs[0]) in PAGE.read_text().replace(" \\\n    ", " ")
    library = pytest.importorskip("edgezsad.devices.commands")
    assert timing == library.qnn_net_run("models/model.dlc", "result/time.new/input_list.txt", "result/out")
    assert all(run == library.qnn_net_run("models/model.dlc", "result/input_list.txt", "result/out") for run in runs)


def test_rb5_with_older_tools_gives_the_dlc_to_a_library(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("rb5")
    kit = write(bench, tmp_path / "kit", "rb5", images_per_target=1)
    done = device.run(kit, *FAST, STANDIN_OLD="1")
    assert done.returncode == 0, done.stderr
    assert all(words[1:3] == ["--model", "libQnnModelDlc.so"] for words in commands(device))
    assert not ingest(kit / "rb5-mini-seed0-result.tar", bench.run, tmp_path / "out").refused


def test_rb5_without_a_dlc_runs_the_onnx_file(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("rb5")
    device.script("python3", f'exec "{os.sys.executable}" "$@"')
    kit = tmp_path / "kit"
    write_kit(plan_kit(bench.run, board("rb5"), 0, images_per_target=2), kit)
    assert (kit / "models" / "model-fp16.onnx").is_file()
    done = device.run(kit, *FAST, PYTHONPATH=str(STANDINS / "qnn_provider"))
    assert done.returncode == 0, done.stderr
    assert not ingest(kit / "rb5-mini-seed0-result.tar", bench.run, tmp_path / "out").refused
    scores = read_scores(tmp_path / "out" / "seed0" / "nuts.npz")
    same(scores, bench.scores["fp16"]["nuts"], 1e-6)
    assert scores.record.versions["onnxruntime-qnn"].startswith("1.24.1")
    latency = read_latency(tmp_path / "out" / "latency.json")
    assert latency.milliseconds == [pytest.approx(2.8)] * 5


def test_the_provider_on_the_gpu_never_falls_back_to_the_cpu(bench: Any, tmp_path: Path):
    """On this machine there is no such GPU: no result is the only right one."""
    pytest.importorskip("onnxruntime_qnn")
    np.zeros((1, 3, 64, 64), dtype=np.float32).tofile(tmp_path / "image.raw")
    (tmp_path / "list.txt").write_text(f"image:={tmp_path}/image.raw\n")
    words = ["--model", str(bench.run.onnx(0, "fp16")), "--input_list", str(tmp_path / "list.txt")]
    done = subprocess.run(
        [os.sys.executable, str(SCRIPTS / "ort_qnn.py"), *words, "--output_dir", str(tmp_path / "out")],
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert not list((tmp_path / "out").rglob("*.raw"))


def test_jetson_goes_on_where_it_was_killed(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("jetson")
    kit = write(bench, tmp_path / "kit", "jetson")
    # Build, time, one image; the second is cut off, and the shell with it.
    assert device.run(kit, *FAST, STANDIN_KILL="4").returncode == -9
    before = len(commands(device))
    rows = (kit / "result" / "outputs.tsv").read_text()
    assert before == 4 and rows.count("\n") == 1
    # As a loss of power would leave it: half a row, and a row whose file was never written.
    (kit / "result" / "outputs.tsv").write_text(f"{rows}000002\t{'a' * 64}\t{'b' * 64}\n000003\t{'a' * 20}")
    images = len((kit / "images.tsv").read_text().splitlines())
    done = device.run(kit, *FAST)
    assert done.returncode == 0, done.stderr
    assert len(commands(device)) - before == images - 1
    assert "going on" in done.stdout
    assert not ingest(kit / "jetson-mini-seed0-result.tar", bench.run, tmp_path / "out").refused
    same(read_scores(tmp_path / "out" / "seed0" / "bolts.npz"), bench.scores["fp32"]["bolts"], 1e-5)
    # A third time there is nothing to do, but to time it again if one wishes.
    device.says("nvpmodel", "NV Power Mode: 25W\n1")
    assert device.run(kit, "--retime", "--any-mode", "--iterations", "7").returncode == 0
    assert len(commands(device)) - before == images
    latency = ingest(kit / "jetson-mini-seed0-result.tar", bench.run, tmp_path / "out").latency
    assert len(latency.milliseconds) == 7 and "--iterations=7" in latency.command
    assert latency.conditions["power mode"] == "25W"


def test_rb5_goes_on_where_it_was_killed(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("rb5")
    kit = write(bench, tmp_path / "kit", "rb5", images_per_target=None)
    assert device.run(kit, *FAST, "--chunk", "5", STANDIN_KILL="3").returncode == -9
    # Another size of the lots would not fit to those that are there; it is not taken.
    done = device.run(kit, *FAST, "--chunk", "4")
    assert done.returncode == 0, done.stderr
    assert len(commands(device)) == 3 + 2
    assert not ingest(kit / "rb5-mini-seed0-result.tar", bench.run, tmp_path / "out").refused
    same(read_scores(tmp_path / "out" / "seed0" / "nuts.npz"), bench.scores["fp16"]["nuts"], 1e-6)


def test_two_engines_or_versions_are_not_mixed(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("jetson")
    kit = write(bench, tmp_path / "kit", "jetson", images_per_target=1)
    assert device.run(kit, *FAST).returncode == 0
    engine = kit / "result" / "engine.plan"
    whole = engine.read_bytes()
    other = device.run(kit, STANDIN_VERSION="10.5.0")
    assert other.returncode == 1
    assert "tool_version was 10.3.0 when this result was begun and is 10.5.0 now; run.sh --restart" in other.stderr
    engine.write_bytes(whole + b" ")
    assert "is not the engine that this result was begun with" in device.run(kit).stderr
    engine.unlink()
    assert "engine.plan is gone; run.sh --restart" in device.run(kit).stderr
    assert device.run(kit, "--restart", *FAST, STANDIN_VERSION="10.5.0").returncode == 0


def test_one_run_at_a_time(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("jetson")
    kit = write(bench, tmp_path / "kit", "jetson", images_per_target=1)
    (kit / "result").mkdir()
    (kit / "result" / "pid").write_text(f"{os.getpid()}\n")
    done = device.run(kit, "--check")
    assert done.returncode == 1 and "another run.sh is at work" in done.stderr
    # A dead one's lock is taken over, and a check is all that --check does.
    (kit / "result" / "pid").write_text("99999999\n")
    assert device.run(kit, "--check").returncode == 0
    assert not device.log.exists()


@pytest.fixture(scope="module")
def kits(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kits")
    return {name: write(bench, folder / name, name, images_per_target=1) for name in ("jetson", "rb5")}


def without(device: Any, name: str) -> None:
    (device.bin / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: (d.root / "etc/nv_tegra_release").unlink(), "this is not a Jetson"),
        (lambda d: without(d, "trtexec"), "trtexec is neither on PATH nor in /usr/src/tensorrt/bin"),
        (
            lambda d: d.says("trtexec", "&&&& RUNNING TensorRT.trtexec [TensorRT v8602] # trtexec"),
            "TensorRT 8.6.2: 10 or",
        ),
        (lambda d: d.says("trtexec", "what?"), "does not say which TensorRT it is"),
        (
            lambda d: d.says("nvpmodel", "NV Power Mode: 15W\n0"),
            "power mode is 15W, not MAXN_SUPER: sudo nvpmodel -m 2",
        ),
        (lambda d: without(d, "nvpmodel"), "power mode is unknown"),
        (
            lambda d: d.says("jetson_clocks", "GPU MinFreq=306000000 MaxFreq=1020000000"),
            "not locked: sudo jetson_clocks",
        ),
    ],
)
def test_jetson_says_what_the_board_lacks(
    kits: dict[str, Path], make_device: MakeDevice, spoil: Callable[[Any], None], said: str
):
    device = make_device("jetson")
    spoil(device)
    done = device.run(kits["jetson"], "--check")
    assert done.returncode == 1
    assert said in done.stderr and done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_jetson_warns_of_what_it_can_live_with(kits: dict[str, Path], make_device: MakeDevice):
    device = make_device("jetson")
    without(device, "jetson_clocks")
    device.says("nvpmodel", "NV Power Mode: 25W\n1")
    device.write("etc/nv_tegra_release", "# R35 (release), REVISION: 4.1, GCID: 1\n")
    device.write("proc/device-tree/model", "NVIDIA Jetson AGX Orin\0")
    done = device.run(kits["jetson"], "--check", "--any-mode")
    assert done.returncode == 0
    for text in ("L4T 35.4.1", "this is NVIDIA Jetson AGX Orin", "power mode is 25W", "the clocks can not be read"):
        assert f"warning: {text}" in done.stderr
    assert "warning" in (kits["jetson"] / "result" / "facts.new").read_text()


def test_a_version_comes_from_the_package_where_trtexec_is_silent(kits: dict[str, Path], make_device: MakeDevice):
    device = make_device("jetson")
    device.says("trtexec", "usage")
    device.says("dpkg-query", "10.3.0.30-1+cuda12.5")
    done = device.run(kits["jetson"], "--check")
    assert done.returncode == 0 and "TensorRT 10.3.0.30" in done.stdout
    # Newer ones write it with points.
    device.says("trtexec", "&&&& RUNNING TensorRT.trtexec [TensorRT v11.1.0.106] [b48] # trtexec --help")
    assert "TensorRT 11.1.0.106" in device.run(kits["jetson"], "--check").stdout


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: without(d, "qnn-net-run"), "qnn-net-run is not here, not on PATH and not in QNN_SDK_ROOT"),
        (lambda d: (d.root / "lib/libQnnGpu.so").unlink(), "libQnnGpu.so is not here"),
        (lambda d: d.says("qnn-net-run", "what?"), "--version says no version"),
        (lambda d: d.write("sys/class/kgsl/kgsl-3d0/devfreq/governor", "msm-adreno-tz\n"), "governor is msm-adreno-tz"),
    ],
)
def test_rb5_says_what_the_board_lacks(
    kits: dict[str, Path], make_device: MakeDevice, spoil: Callable[[Any], None], said: str
):
    device = make_device("rb5")
    spoil(device)
    done = device.run(kits["rb5"], "--check")
    assert done.returncode == 1
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_rb5_under_android_and_on_another_chip(kits: dict[str, Path], make_device: MakeDevice):
    device = make_device("rb5")
    device.script("getprop", 'case $1 in *release) echo 13;; *soc*) echo QRB5165;; *) echo "QRD";; esac')
    sdk = device.root / "sdk" / "bin" / "aarch64-android"
    sdk.mkdir(parents=True)
    shutil.move(device.bin / "qnn-net-run", sdk)
    done = device.run(kits["rb5"], "--check", QNN_SDK_ROOT=str(device.root / "sdk"))
    assert done.returncode == 0, done.stderr
    assert "QRD, QRB5165, Android 13, qnn-net-run 2.32.0" in done.stdout
    assert "warning: the SoC is QRB5165" in done.stderr


@pytest.mark.parametrize("name", ["models/model-fp32.onnx", "common.sh", "images.tsv", "kit.json"])
def test_a_damaged_copy_is_named(bench: Any, make_device: MakeDevice, tmp_path: Path, name: str):
    kit = write(bench, tmp_path / "kit", "jetson", images_per_target=1)
    device = make_device("jetson")
    data = (kit / name).read_bytes()
    (kit / name).write_bytes(data + b"\n")
    assert device.run(kit).stderr == f"error: {name} is damaged; copy the kit again\n"
    if name != "common.sh":
        (kit / name).unlink()
        assert device.run(kit).stderr == f"error: {name} is missing; copy the kit again\n"


def test_a_damaged_image_is_named(bench: Any, make_device: MakeDevice, tmp_path: Path):
    kit = write(bench, tmp_path / "kit", "jetson", images_per_target=1)
    first, second, *_ = sorted((kit / "images" / "bolts").iterdir())
    shutil.copy(second, first)
    done = make_device("jetson").run(kit)
    assert done.returncode == 1
    assert "images/bolts/000000.raw.gz is damaged; copy it again" in done.stderr
    assert not list(kit.glob("*-result.tar*"))


@pytest.mark.parametrize("name", ["jetson", "rb5"])
def test_a_disk_that_is_too_small_is_refused(kits: dict[str, Path], make_device: MakeDevice, name: str):
    device = make_device(name)
    without(device, "df")
    line = "/dev/root 61255492 61255400 {free} 100% /"
    device.says("df", f"Filesystem 1024-blocks Used Available Capacity Mounted on\n{line.format(free=92)}")
    done = device.run(kits[name])
    assert done.returncode == 1
    assert "92 KiB are free here" in done.stderr and "copy the kit to a larger disk" in done.stderr
    # More than 32 bits can count is enough.
    device.says("df", line.format(free=98765432109))
    assert "KiB are free" not in device.run(kits[name], "--iterations", "1", STANDIN_KILL="1").stderr


def test_a_command_that_fails_is_shown(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("jetson")
    kit = write(bench, tmp_path / "kit", "jetson", images_per_target=1)
    banner = "&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec"
    device.script("trtexec", f"echo '{banner}'; case $1 in --help) exit 0;; esac; echo '[E] no memory'; exit 1")
    done = device.run(kit)
    assert done.returncode == 1
    assert "--onnx=models/model-fp32.onnx" in done.stderr and "[E] no memory" in done.stderr
    assert "result/logs/build.log" in done.stderr


@pytest.mark.parametrize("option", ["--surprise", "--iterations", "--iterations=3"])
def test_wrong_options_are_named(kits: dict[str, Path], make_device: MakeDevice, option: str):
    done = make_device("jetson").run(kits["jetson"], option)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {option}")
    wrong = make_device("jetson").run(kits["jetson"], "--iterations", "2x")
    assert "--iterations 2x: not a whole number" in wrong.stderr
    assert "--any-mode" in make_device("rb5").run(kits["rb5"], "--help").stdout


def test_results_in_another_order_are_refused(bench: Any, make_device: MakeDevice, tmp_path: Path):
    """A tool that numbers its results by the order of their names: Result_10 before Result_2."""
    device = make_device("rb5")
    kit = write(bench, tmp_path / "kit", "rb5", images_per_target=None)
    assert device.run(kit, *FAST, "--chunk", "12", STANDIN_ORDER="text").returncode == 0
    taken = ingest(kit / "rb5-mini-seed0-result.tar", bench.run, tmp_path / "out")
    assert set(taken.refused) == {"bolts", "nuts"}
    assert "the result of canary-b, line 13, is at line 9" in taken.refused["bolts"][0]
    with pytest.raises(CheckError, match="rb5: refused bolts, nuts"):
        taken.require_all()


@pytest.mark.parametrize("shell", ["dash", "mksh", "busybox"])
@pytest.mark.parametrize("name", ["jetson", "rb5"])
def test_other_shells_run_it(bench: Any, make_device: MakeDevice, tmp_path: Path, shell: str, name: str):
    """mksh is Android's shell, with numbers of 32 bits."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not here")
    device = make_device(name)
    kit = write(bench, tmp_path / "kit", name, images_per_target=1)
    if shell == "busybox":
        for tool in device.bin.iterdir():
            if tool.is_symlink():
                tool.unlink()
                tool.symlink_to(shutil.which("busybox"))
    elif (toybox := shutil.which("toybox")) and shell == "mksh":
        for tool in device.bin.iterdir():
            if tool.is_symlink() and tool.name not in ("sh", "gzip", "tr"):
                tool.unlink()
                tool.symlink_to(toybox)
    (device.bin / "sh").unlink()
    (device.bin / "sh").symlink_to(shutil.which(shell))
    program = str(device.bin / "sh")
    done = device.run(kit, *FAST, shell=program)
    assert done.returncode == 0, done.stderr
    assert not ingest(kit / f"{name}-mini-seed0-result.tar", bench.run, tmp_path / "out").refused


def test_shellcheck_has_nothing_to_say():
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not here")
    words = ["-x", "-P", str(SCRIPTS), *(str(path) for path in SCRIPTS.glob("*.sh"))]
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_result_holds_what_the_ingest_needs_and_no_image(bench: Any, make_device: MakeDevice, tmp_path: Path):
    kit = write(bench, tmp_path / "kit", "jetson", images_per_target=1)
    assert make_device("jetson").run(kit, *FAST).returncode == 0
    with tarfile.open(kit / "jetson-mini-seed0-result.tar") as archive:
        names = archive.getnames()
    assert {"kit.json", "images.tsv", "facts.tsv", "times.json", "profile.json", "logs/build.log"} <= set(names)
    assert not [name for name in names if name.endswith((".plan", ".raw", ".gz", ".onnx"))]
