"""Faults of boards, systems and tools: one correct message each, and nothing that failed counts as done."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgezsad.devices.ingest import ingest
from tests.devices.test_scripts import FAST, commands, write

MakeDevice = Callable[[str], Any]
TARGETS = ("aarch64-android", "aarch64-oe-linux-gcc11.2")


@pytest.fixture(scope="module")
def kits(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kits")
    return {name: write(bench, folder / name, name, 1) for name in ("jetson", "rb5")}


def cap(device: Any) -> None:
    device.says("jetson_clocks", "  GPU MinFreq=624750000 MaxFreq=624750000 CurrentFreq=624750000")


def no_super(device: Any) -> None:
    device.says("nvpmodel", "NV Power Mode: 15W\n0")
    device.write("etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >\n")


def super_is_0(device: Any) -> None:
    device.says("nvpmodel", "NV Power Mode: 15W\n1")
    device.write("etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=MAXN_SUPER >\n< POWER_MODEL ID=1 NAME=15W >\n")


def missing_library(name: str) -> Callable[[Any], None]:
    said = "error while loading shared libraries: libnvinfer_plugin.so.10: cannot open shared object file"
    return lambda device: device.script(name, f"echo '{name}: {said}' >&2; exit 127")


def not_executable(device: Any) -> None:
    (device.bin / "qnn-net-run").write_text("#!/nowhere/linker64\n")


FAULTS = [
    ("jetson", cap, "the GPU runs at 624 MHz, the paper's at 1020"),
    ("jetson", no_super, "not MAXN_SUPER: /etc/nvpmodel.conf has none, boot the -super configuration"),
    ("jetson", super_is_0, "not MAXN_SUPER: sudo nvpmodel -m 0, or use --any-mode"),
    (
        "jetson",
        missing_library("trtexec"),
        "trtexec does not start: trtexec: error while loading shared libraries: lib",
    ),
    ("rb5", missing_library("qnn-net-run"), "qnn-net-run does not start: qnn-net-run: error while loading shared"),
    ("rb5", not_executable, "/bin/qnn-net-run does not start: "),
    ("rb5", lambda d: (d.root / "lib/libQnnGpu.so").unlink(), "libQnnGpu.so for "),
    ("jetson", lambda d: (d.bin / "sha256sum").unlink(), "sha256sum is missing on this system"),
]


@pytest.mark.parametrize(("name", "spoil", "said"), FAULTS, ids=[said for _, _, said in FAULTS])
def test_each_fault_has_its_message(
    kits: dict[str, Path], make_device: MakeDevice, name: str, spoil: Callable[[Any], None], said: str
):
    device = make_device(name)
    spoil(device)
    done = device.run(kits[name], "--check")
    assert done.returncode == 1 and said in done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    # A check leaves nothing behind.
    assert not list(kits[name].glob("result*"))


def test_a_folder_that_cannot_be_written(kits: dict[str, Path], make_device: MakeDevice):
    blocked = kits["jetson"] / "result"
    blocked.write_text("")
    done = make_device("jetson").run(kits["jetson"])
    blocked.unlink()
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: this folder or result in it cannot be written")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_the_lock_holds_between_users(kits: dict[str, Path], make_device: MakeDevice, tmp_path_factory: Any):
    folder = tmp_path_factory.mktemp("other")
    kit = shutil.copytree(kits["jetson"], folder / "kit")
    for path in (kit, folder, *list(folder.parents)[:3]):
        path.chmod(path.stat().st_mode | 0o055)
    (kit / "result").mkdir()
    (kit / "result" / "pid").write_text("1\n")
    done = make_device("jetson").run(kit, PATH=os.environ["PATH"], user=65534)
    assert "another run.sh is running here (process 1)" in done.stderr


@pytest.mark.parametrize(("signal", "said"), [("9", "it was killed, as where memory runs out"), ("11", "signal 11")])
def test_a_tool_that_is_killed(kits: dict[str, Path], make_device: MakeDevice, tmp_path: Path, signal: str, said: str):
    kit = shutil.copytree(kits["jetson"], tmp_path / "kit")
    done = make_device("jetson").run(kit, STANDIN_SIGNAL=signal)
    assert done.returncode == 1 and said in done.stderr and "--saveEngine" in done.stderr


def test_a_full_disk_is_never_a_row(bench: Any, kits: dict[str, Path], make_device: MakeDevice, tmp_path: Path):
    kit, device = shutil.copytree(kits["rb5"], tmp_path / "kit"), make_device("rb5")
    result = kit / "result"
    (result / "time").mkdir(parents=True)
    for name in ("input_list.txt", "chunk.tsv"):
        (result / name).unlink(missing_ok=True)
        (result / name).symlink_to("/dev/full")
        done = device.run(kit, *FAST)
        assert done.returncode == 1 and f"error: result/{name} cannot be written: is the disk full?" in done.stderr
        assert (result / "outputs.tsv").read_text() == "" and not device.log.exists()
        (result / name).unlink()
    # A row that is missing is not packed over, but run again.
    (result / "time").rmdir()
    assert device.run(kit, *FAST).returncode == 0
    rows = result / "outputs.tsv"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[1:]))
    assert device.run(kit, *FAST).returncode == 0
    assert not ingest(kit / "rb5-mini-seed0-result.tar", bench.run, tmp_path / "out").rejected


def make_sdk(device: Any, version: str = "2.32.0.250228") -> Path:
    """An SDK for two systems; only the second runs here."""
    sdk = device.root / "sdk"
    for target in TARGETS:
        (sdk / "bin" / target).mkdir(parents=True)
        for name in ("libQnnGpu.so", "libQnnSystem.so"):
            device.write(f"sdk/lib/{target}/{name}", f"v{version}")
    for tool in ("qnn-net-run", "qnn-profile-viewer"):
        (device.bin / tool).rename(sdk / "bin" / TARGETS[1] / tool)
        (sdk / "bin" / TARGETS[0] / tool).write_text("#!/system/bin/linker64\n")
    device.write("lib/libQnnGpu.so", "of another version, v2.20.0")
    return sdk


@pytest.mark.slow
def test_program_and_library_are_of_one_sdk(bench: Any, kits: dict[str, Path], make_device: MakeDevice, tmp_path: Path):
    kit, device = shutil.copytree(kits["rb5"], tmp_path / "kit"), make_device("rb5")
    sdk = make_sdk(device)
    done = device.run(kit, *FAST, QNN_SDK_ROOT=str(sdk))
    assert done.returncode == 0, done.stderr
    versions = ingest(kit / "rb5-mini-seed0-result.tar", bench.run, tmp_path / "out").latency.versions
    assert versions["program"] == f"{sdk}/bin/{TARGETS[1]}/qnn-net-run"
    assert versions["library"] == f"{sdk}/lib/{TARGETS[1]}/libQnnGpu.so"
    # Found on PATH, its own library comes before an older one of the system; a mix is named.
    mixed = device.run(kit, "--check", PATH=f"{sdk}/bin/{TARGETS[1]}:{device.bin}")
    assert mixed.returncode == 0 and mixed.stderr == ""
    shutil.rmtree(sdk / "lib")
    mixed = device.run(kit, "--check", PATH=f"{sdk}/bin/{TARGETS[1]}:{device.bin}")
    assert "libQnnGpu.so is of version 2.20.0" in mixed.stderr and "copy both from one SDK" in mixed.stderr
    (kit / "kit.env").write_text((kit / "kit.env").read_text().replace("QAIRT=0.0", "QAIRT=2.51.0"))
    lines = (kit / "SHA256SUMS").read_text().splitlines(keepends=True)
    (kit / "SHA256SUMS").write_text("".join(line for line in lines if "kit.env" not in line))
    newer = device.run(kit, "--check", PATH=f"{sdk}/bin/{TARGETS[1]}:{device.bin}")
    assert "the DLC was written by QAIRT 2.51.0, newer than this SDK (2.32.0.250228225014)" in newer.stderr


@pytest.mark.slow
def test_profiles_and_viewers(bench: Any, kits: dict[str, Path], make_device: MakeDevice, tmp_path: Path):
    """The log has two names; without a log or a viewer all images are run all the same."""
    kit, device = shutil.copytree(kits["rb5"], tmp_path / "kit"), make_device("rb5")
    result = kit / "rb5-mini-seed0-result.tar"
    none = device.run(kit, *FAST, STANDIN_PROFILE="other.log")
    assert none.returncode == 0 and "wrote no qnn-profiling-data*.log" in none.stderr
    assert set(ingest(result, bench.run, tmp_path / "out").rejected) == {"latency"}
    assert device.run(kit, *FAST, STANDIN_PROFILE="qnn-profiling-data.log").returncode == 0
    latency = ingest(result, bench.run, tmp_path / "out").latency
    assert len(latency.milliseconds) == 5 and latency.layers == {"_Conv, fused:OpId_7": 1.5}
    assert latency.throughput == 214.8 and latency.single_ms
    before = len(commands(device))
    device.script("qnn-profile-viewer", "echo 'libQnnProfileReader.so: missing' >&2; exit 1")
    failed = device.run(kit, "--retime", *FAST)
    assert failed.returncode == 0 and "it fails (libQnnProfileReader.so: missing)" in failed.stderr
    assert len(commands(device)) - before == 2
    assert "give --timing FILE.csv" in ingest(result, bench.run, tmp_path / "out").rejected["latency"][0]


@pytest.mark.slow
def test_warnings_layers_and_power_of_a_jetson(
    bench: Any, kits: dict[str, Path], make_device: MakeDevice, tmp_path: Path
):
    kit, device = shutil.copytree(kits["jetson"], tmp_path / "kit"), make_device("jetson")
    device.says("tegrastats", "RAM 2458/7620MB CPU [2%@729] cpu@45.5C gpu@43.6C tj@45C VDD_IN 4512mW/4512mW")
    done = device.run(kit, *FAST)
    assert done.returncode == 0 and "warning: TensorRT: Running layernorm after self-attention" in done.stderr
    found = ingest(kit / "jetson-mini-seed0-result.tar", bench.run, tmp_path / "out")
    assert any("Running layernorm after self-attention in FP16 may cause overflow" in note for note in found.notes)
    conditions = found.latency.conditions
    assert conditions["memory in use, largest"] == "2458 MB" and conditions["power, mean"] == "4512 mW"
    assert conditions["temperature of the GPU, highest"] == "44 C" and found.latency.throughput == 30.5
    assert "/Conv + Relu: 0.750 ms" in found.as_text()
    # TensorRT does not escape the names of layers: a note, the times are kept.
    (kit / "result" / "time" / "profile.json").write_text('[{"name": "a"b", "averageMs": 1}]')
    assert device.run(kit).returncode == 0
    odd = ingest(kit / "jetson-mini-seed0-result.tar", bench.run, tmp_path / "out")
    assert not odd.latency.layers and odd.latency.milliseconds == found.latency.milliseconds
    assert "time/profile.json cannot be read: no times of layers" in odd.notes
