"""The shell scripts on boards of stand-ins, from kit to score file: scores are those of ONNX Runtime on the host."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgezsad import cli
from edgezsad.devices.ingest import ingest
from edgezsad.export.int8 import to_int8
from edgezsad.files import sha256_of_file
from edgezsad.scoring.score_file import ScoreFile, read_scores
from tests.devices.conftest import unpack_kit, unpacked_kit

STANDINS = Path(__file__).parent / "standins"
MakeDevice = Callable[[str], Any]
FAST = ("--iterations", "5", "--warmup", "3")


def write(bench: Any, folder: Path, name: str, count: int | None = 2) -> Path:
    dlc = bench.run.onnx(0, "fp16").with_suffix(".dlc") if name == "rb5" else None
    return unpacked_kit(bench.run, name, folder, images_per_target=count, dlc=dlc)


def commands(device: Any) -> list[list[str]]:
    return [json.loads(line) for line in device.log.read_text().splitlines()]


def check_scores(bench: Any, folder: Path, precision: str, digits: float) -> None:
    """Scores are the host's but for the digits that the tool writes."""
    for name, host in bench.scores[precision].items():
        scores: ScoreFile = read_scores(folder / "seed0" / f"{name}.npz")
        ours = host.take(scores.image_id)
        assert len(scores) and (scores.label == ours.label).all() and (scores.category == ours.category).all()
        np.testing.assert_allclose(scores.score, ours.score, rtol=digits)
        np.testing.assert_allclose(scores.map, ours.map, rtol=digits, atol=1e-7)
        assert np.isnan(scores.milliseconds).all()
        assert scores.record.detector_sha256 == "0" * 64
        dlc = sha256_of_file(bench.run.onnx(0, "fp16").with_suffix(".dlc"))
        assert scores.record.model_sha256 == (dlc if "qnn" in scores.record.versions else host.record.model_sha256)


@pytest.mark.slow
@pytest.mark.parametrize(("version", "precision"), [("10.3.0", "fp32"), ("11.1.0", "fp16")])
def test_jetson(bench: Any, make_device: MakeDevice, tmp_path: Path, version: str, precision: str):
    device = make_device("jetson")
    kit = write(bench, tmp_path / "kit", "jetson", None if version == "10.3.0" else 1)
    done = device.run(kit, *FAST, STANDIN_VERSION=version)
    assert done.returncode == 0, done.stderr
    assert "an estimate" in done.stdout and "min left" in done.stdout
    taken = ingest(kit / "jetson-mini-seed0-result.tar", bench.run, tmp_path / "out")
    assert not taken.rejected
    # A C++ stream writes six significant digits.
    check_scores(bench, tmp_path / "out", precision, 1e-5)
    record = read_scores(tmp_path / "out" / "seed0" / "bolts.npz").record
    assert (record.runtime, record.precision, record.seed) == ("tensorrt-fp16", "fp16", 0)
    assert record.versions["tensorrt"] == version and record.versions["l4t"] == "36.4.3"
    assert "power_mode MAXN_SUPER" in record.timing_method and "GPU MinFreq=1020000000" in record.timing_method
    assert ("--fp16" in record.command) == (version == "10.3.0") and "--loadEngine" in record.command
    latency = taken.latency
    assert len(latency.milliseconds) == 5 and "computeMs" in latency.method and "3 ms of warm-up" in latency.method
    assert latency.conditions["power_mode"] == "MAXN_SUPER" and latency.versions["cuda"] == "12.6.68"
    assert list(latency.layers) == ["/Conv + Relu", "Reformatting CopyNode for Input Tensor 0"]
    _, *runs = commands(device)
    # 11.x copies an image to the GPU only with this option.
    assert all(("--includeDataTransfers" in words) == (version == "11.1.0") for words in runs)


@pytest.mark.slow
def test_rb5(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("rb5")
    kit = write(bench, tmp_path / "kit", "rb5", None)
    done = device.run(kit, *FAST, "--chunk", "5")
    assert done.returncode == 0, done.stderr
    taken = ingest(kit / "rb5-mini-seed0-result.tar", bench.run, tmp_path / "out")
    assert not taken.rejected
    check_scores(bench, tmp_path / "out", "fp16", 1e-6)
    record = read_scores(tmp_path / "out" / "seed0" / "bolts.npz").record
    assert (record.runtime, record.versions["qnn"]) == ("qnn-gpu-fp16", "2.32.0.250228225014")
    assert "--backend libQnnGpu.so" in record.command and "power_mode performance" in record.timing_method
    assert "QCS8550" in record.device and "Adreno740" in record.device
    latency = taken.latency
    # The stand-in's other counter stays at zero, as one that a backend lacks: it is ignored.
    assert len(latency.milliseconds) == 5 and latency.method.startswith('"QNN accelerator (execute) time"')
    assert "NetRun: median" in latency.method
    # Unpacked images are deleted.
    assert not list((kit / "result" / "in").iterdir())
    assert len(commands(device)) == 5


@pytest.mark.slow
def test_jetson_continues_after_a_kill(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("jetson")
    kit = write(bench, tmp_path / "kit", "jetson")
    # Build, time, one image; the second is killed, and the shell with it.
    assert device.run(kit, *FAST, STANDIN_KILL="4").returncode == -9
    before = len(commands(device))
    rows = (kit / "result" / "outputs.tsv").read_text()
    assert before == 4 and rows.count("\n") == 1
    # As a loss of power leaves it: half a row, and a row whose file was never written.
    (kit / "result" / "outputs.tsv").write_text(f"{rows}000002\t{'a' * 64}\t{'b' * 64}\n000003\t{'a' * 20}")
    images = len((kit / "images.tsv").read_text().splitlines())
    done = device.run(kit, *FAST)
    assert done.returncode == 0, done.stderr
    assert len(commands(device)) - before == images - 1 and "continuing" in done.stdout
    result = kit / "jetson-mini-seed0-result.tar"
    assert not ingest(result, bench.run, tmp_path / "out").rejected
    check_scores(bench, tmp_path / "out", "fp32", 1e-5)
    other = device.run(kit, STANDIN_VERSION="10.5.0")
    assert other.returncode == 1 and "tool_version was 10.3.0 when this result was begun and is 10.5.0" in other.stderr
    # Then nothing is left to do but to time it again.
    device.says("nvpmodel", "NV Power Mode: 25W\n1")
    assert device.run(kit, "--retime", "--any-mode", "--iterations", "7").returncode == 0
    assert len(commands(device)) - before == images
    latency = ingest(result, bench.run, tmp_path / "out").latency
    assert len(latency.milliseconds) == 7 and "--iterations=7" in latency.command
    assert latency.conditions["power_mode"] == "25W"


@pytest.mark.slow
def test_rb5_continues_after_a_kill_and_a_full_disk(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("rb5")
    kit = write(bench, tmp_path / "kit", "rb5", None)
    assert device.run(kit, *FAST, "--chunk", "5", STANDIN_KILL="4").returncode == -9
    # A row that could not be written is not counted as done.
    move = f'exec "{shutil.which("mv")}" "$@"'
    device.script("mv", f"case $1 in *output.raw) exit 1;; esac; {move}")
    done = device.run(kit, *FAST, "--chunk", "4")
    assert done.returncode == 1 and "is the disk full?" in done.stderr
    device.script("mv", move)
    done = device.run(kit, *FAST, "--chunk", "4")
    assert done.returncode == 0, done.stderr
    assert not ingest(kit / "rb5-mini-seed0-result.tar", bench.run, tmp_path / "out").rejected
    check_scores(bench, tmp_path / "out", "fp16", 1e-6)


def jetpack(device: Any) -> dict[str, str]:
    """JetPack's Python with its tensorrt module."""
    device.script("python3", f'exec "{sys.executable}" "$@"')
    return {"PYTHONPATH": str(STANDINS / "jetpack")}


@pytest.mark.slow
def test_one_process_runs_all_images(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("jetson")
    kit, python = write(bench, tmp_path / "kit", "jetson", None), jetpack(device)
    done = device.run(kit, *FAST, **python)
    assert done.returncode == 0, done.stderr
    # Build, time, three sentinels; then no more trtexec.
    assert len(commands(device)) == 5 and "12 of 12 images" in done.stdout
    taken = ingest(kit / "jetson-mini-seed0-result.tar", bench.run, tmp_path / "out")
    assert not taken.rejected
    check_scores(bench, tmp_path / "out", "fp32", 1e-6)
    assert any("3 images by trtexec and by one process differ by at most " in note for note in taken.notes)
    record = read_scores(tmp_path / "out" / "seed0" / "bolts.npz").record
    assert "trt_runner.py result/engine.plan images.tsv result" in record.command
    assert taken.latency.single_ms > 0
    # It continues where it was stopped.
    rows = (kit / "result" / "outputs.tsv").read_text().splitlines(keepends=True)
    (kit / "result" / "outputs.tsv").write_text("".join(rows[:4]))
    shutil.rmtree(kit / "result" / "outputs" / "nuts")
    again = device.run(kit, **python)
    assert again.returncode == 0 and "\n5 of 12 images" in again.stdout and len(commands(device)) == 5
    assert not ingest(kit / "jetson-mini-seed0-result.tar", bench.run, tmp_path / "out").rejected
    check_scores(bench, tmp_path / "out", "fp32", 1e-6)


@pytest.mark.slow
def test_one_process_that_differs_is_not_used(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("jetson")
    kit, python = write(bench, tmp_path / "kit", "jetson", 1), jetpack(device)
    done = device.run(kit, *FAST, STANDIN_ERROR="0.5", **python)
    assert done.returncode == 0 and "differs from trtexec by 0.5 on 3 images" in done.stderr
    assert len(commands(device)) == 5 + 4
    assert not ingest(kit / "jetson-mini-seed0-result.tar", bench.run, tmp_path / "out").rejected
    check_scores(bench, tmp_path / "out", "fp32", 1e-5)


@pytest.mark.slow
def test_images_of_a_folder_without_a_run(bench: Any, make_device: MakeDevice, tmp_path: Path):
    graph, images = bench.run.onnx(0, "fp32"), Path(bench.run.profile.data.root) / "bolts"
    words = ["--checkpoint", str(graph), "--images", str(images)]
    done = CliRunner().invoke(cli.app, ["device", "kit", "jetson", *words, "--output", str(tmp_path / "kit.tar")])
    assert done.exit_code == 0 and "jetson-seed0-fp32: 7 images" in done.output, done.output
    kit, device = unpack_kit(tmp_path / "kit.tar", tmp_path / "kit"), make_device("jetson")
    assert device.run(kit, *FAST, **jetpack(device)).returncode == 0
    result = kit / "jetson-seed0-fp32-result.tar"
    taken = CliRunner().invoke(cli.app, ["device", "ingest", str(result), *words])
    assert taken.exit_code == 0, taken.output
    assert "largest change of a score " in taken.output and "Spearman 1.0" in taken.output
    scores = read_scores(result.with_suffix("") / "seed0" / "images.npz")
    host = bench.scores["fp32"]["bolts"].take(scores.image_id)
    np.testing.assert_allclose(scores.score, host.score, rtol=1e-5)
    (images / "one more.png").write_bytes(next(images.rglob("*.png")).read_bytes())
    try:
        changed = CliRunner().invoke(cli.app, ["device", "ingest", str(result), *words])
    finally:
        (images / "one more.png").unlink()
    assert changed.exit_code == 1 and "the images have changed since the kit was written" in changed.output


@pytest.mark.slow
def test_int8(bench: Any, make_device: MakeDevice, tmp_path: Path):
    random = np.random.default_rng(0)
    calibration = [random.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(4)]
    to_int8(bench.run.onnx(0, "fp32"), bench.run.onnx(0, "int8"), calibration)
    kit = unpacked_kit(bench.run, "jetson", tmp_path / "kit", images_per_target=1, precision="int8")
    assert [path.name for path in (kit / "models").iterdir()] == ["model-int8.onnx"]
    done = make_device("jetson").run(kit, *FAST)
    assert done.returncode == 0, done.stderr
    taken = ingest(kit / "jetson-mini-seed0-int8-result.tar", bench.run, tmp_path / "out")
    assert not taken.rejected and "drift " in taken.drift["bolts"]
    record = read_scores(tmp_path / "out" / "seed0" / "bolts.npz").record
    assert (record.runtime, record.precision) == ("tensorrt-int8", "int8")
    assert "--fp16 --int8" in record.command and "model-int8.onnx" in record.command
    dlc = bench.run.onnx(0, "fp16").with_suffix(".dlc")
    rb5 = unpacked_kit(bench.run, "rb5", tmp_path / "rb5", dlc=dlc, precision="int8")
    # The GPU does not take quantised graphs.
    assert "BACKEND=Htp\n" in (rb5 / "kit.env").read_text()


def test_one_run_at_a_time(bench: Any, make_device: MakeDevice, tmp_path: Path):
    device = make_device("jetson")
    kit = write(bench, tmp_path / "kit", "jetson", 1)
    (kit / "result").mkdir()
    (kit / "result" / "pid").write_text(f"{os.getpid()}\n")
    done = device.run(kit, *FAST)
    assert done.returncode == 1 and "another run.sh is running here" in done.stderr
    # --check runs nothing; the lock of a dead process is taken over.
    assert device.run(kit, "--check").returncode == 0
    assert not device.log.exists()
    (kit / "result" / "pid").write_text("99999999\n")
    assert device.run(kit, *FAST).returncode == 0


@pytest.fixture(scope="module")
def kits(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kits")
    return {name: write(bench, folder / name, name, 1) for name in ("jetson", "rb5")}


LACKS = [
    ("jetson", lambda d: (d.root / "etc/nv_tegra_release").unlink(), "this is not a Jetson"),
    ("jetson", lambda d: (d.bin / "trtexec").unlink(), "trtexec is neither on PATH nor in /usr/src/tensorrt/bin"),
    ("jetson", lambda d: d.says("nvpmodel", "NV Power Mode: 15W\n0"), "power mode is 15W, not MAXN_SUPER"),
    ("jetson", lambda d: d.says("jetson_clocks", "GPU MinFreq=306 MaxFreq=1020"), "not locked: sudo jetson_clocks"),
    ("rb5", lambda d: (d.bin / "qnn-net-run").unlink(), "qnn-net-run is not here, on PATH or in QNN_SDK_ROOT"),
    ("rb5", lambda d: d.write("sys/class/kgsl/kgsl-3d0/devfreq/governor", "powersave\n"), "governor is powersave"),
]


@pytest.mark.parametrize(("name", "spoil", "said"), LACKS, ids=[said for _, _, said in LACKS])
def test_what_a_board_lacks(
    kits: dict[str, Path], make_device: MakeDevice, name: str, spoil: Callable[[Any], None], said: str
):
    device = make_device(name)
    spoil(device)
    done = device.run(kits[name], "--check")
    assert done.returncode == 1
    assert said in done.stderr and done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_damaged_copies_and_a_small_disk(bench: Any, make_device: MakeDevice, tmp_path: Path):
    kit, device = write(bench, tmp_path / "kit", "jetson", 1), make_device("jetson")
    df = f'exec "{shutil.which("df")}" "$@"'
    device.says("df", "Filesystem 1024-blocks Used Available\n/dev/root 61255492 61255400 92 100% /")
    assert "92 KiB are free here" in device.run(kit).stderr
    device.script("df", df)
    data = (kit / "common.sh").read_bytes()
    (kit / "common.sh").write_bytes(data + b"\n")
    assert device.run(kit).stderr == "error: common.sh is damaged; copy the kit again\n"
    (kit / "common.sh").write_bytes(data)
    first, second, *_ = sorted((kit / "images" / "bolts").iterdir())
    shutil.copy(second, first)
    assert "images/bolts/000000.raw.gz is damaged; copy it again" in device.run(kit).stderr
    assert not list(kit.glob("*-result.tar*"))
    (kit / "kit.json").unlink()
    assert device.run(kit).stderr == "error: kit.json is missing; copy the kit again\n"
