"""A run with a small graph and small images, and a board that has only a shell, small tools and stand-ins."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgezsad.config import Profile, save_profile
from edgezsad.data.manifest import Entry, Manifest, write_manifest
from edgezsad.devices import BOARDS, kit
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.lint import save_graph, set_metadata
from edgezsad.files import sha256_of_file
from edgezsad.run import Run
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.score_file import RunRecord, write_scores
from edgezsad.scoring.score_run import score_seeds

HERE = Path(__file__).parent
SIZE = 64
TOOLS = [
    *("cat", "chmod", "cp", "cut", "date", "df", "dirname", "grep", "gzip", "head", "kill", "mkdir", "mv", "printf"),
    *("rm", "sed", "sh", "sha256sum", "tar", "touch", "tr"),
]
CLOCKS = (
    "SOC family:tegra234\nGPU MinFreq=1020000000 MaxFreq=1020000000 CurrentFreq=1020000000\nEMC MinFreq=1 MaxFreq=2"
)


def save_dlc(graph: Path, path: Path) -> Path:
    """What the stand-in of qnn-net-run takes for a DLC."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(graph, "model")
    return path


def unpack_kit(path: Path, folder: Path) -> Path:
    """Unpack a kit below a folder, as on a board; return its own folder."""
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
        return folder / archive.getnames()[0].partition("/")[0]


def unpacked_kit(run: Run, name: str, folder: Path, **choices: Any) -> Path:
    """Write a kit and unpack it."""
    return unpack_kit(kit.make_kit(run, BOARDS[name], output=folder / "kit.tar", **choices), folder)


def save_small_graph(path: Path, detector: str, seed: int = 0) -> None:
    """Image (1, 3, S, S) to a map (1, 1, S/8, S/8) and its maximum."""
    random = np.random.default_rng(seed)
    weights = {
        "scale": np.array(1 / 255, dtype=np.float32),
        "first": random.normal(0, 0.1, (4, 3, 8, 8)).astype(np.float32),
        "second": random.normal(0, 1, (1, 4, 1, 1)).astype(np.float32),
        "axes": np.array([1, 2, 3], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Mul", ["image", "scale"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "first"], ["features"], strides=[8, 8], kernel_shape=[8, 8]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("Conv", ["active", "second"], ["map"], kernel_shape=[1, 1]),
        helper.make_node("ReduceMax", ["map", "axes"], ["score"], keepdims=0),
    ]
    ends = {"image": [1, 3, SIZE, SIZE], "score": [1], "map": [1, 1, SIZE // 8, SIZE // 8]}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends.items()]
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "small", infos[:1], infos[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    set_metadata(model, {"model_sha256": detector})
    onnx.checker.check_model(model)
    save_graph(model, path)


def make_set(root: Path, name: str, counts: dict[str, int], seed: int) -> Manifest:
    """Images in MVTec layout under names that trtexec could not take, and their manifest."""
    random = np.random.default_rng(seed)
    entries = []
    for defect, count in counts.items():
        for number in range(count):
            image_id = f"bolt/test/{defect}/{number:03d}.png"
            coarse = random.integers(0, 255, (6, 5, 3), dtype=np.uint8)
            path = root / image_id
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(coarse).resize((50, 40), Image.Resampling.BILINEAR).save(path)
            label = int(defect != "good")
            entries.append(Entry(image_id, "bolt", "test", label, defect, "", 50, 40, sha256_of_file(path), ""))
    return Manifest(name, root, tuple(sorted(entries, key=lambda entry: entry.id)))


@dataclass
class Bench:
    """A run on the host, its configuration and score files by ONNX Runtime, the FP32 ones as PyTorch's."""

    run: Run
    config: Path
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, make_profile: Callable[..., Profile]) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    data = {
        "root": str(folder / "data"),
        "source": [{"name": "source", "layout": "mvtec", "root": "source"}],
        "targets": [
            {"name": "bolts", "layout": "mvtec", "root": "bolts", "stands_for": "MVTec-AD"},
            {"name": "nuts", "layout": "mvtec", "root": "nuts", "stands_for": "VisA"},
        ],
    }
    run = Run(make_profile(folder / "run", data=data, seeds=[0, 1]))
    for seed in (0, 1):
        save_small_graph(run.onnx(seed, "fp32"), f"{seed}" * 64, seed)
        to_fp16(run.onnx(seed, "fp32"), run.onnx(seed, "fp16"))
        save_dlc(run.onnx(seed, "fp16"), run.onnx(seed, "fp16").with_suffix(".dlc"))
    bench = Bench(run, save_profile(run.profile, folder / "config.yaml"))
    for seed, (name, counts) in enumerate({"bolts": {"good": 4, "a, b:c": 3}, "nuts": {"good": 3, "chip": 2}}.items()):
        manifest = make_set(folder / "data" / name, name, counts, seed)
        write_manifest(manifest, run.manifest_path(name))
        for precision in ("fp32", "fp16"):
            runtime = "pytorch" if precision == "fp32" else "onnx-fp16"
            record = RunRecord(
                profile="mini", target=name, seed=0, runtime=runtime, precision=precision, device="", command="",
                model_sha256=sha256_of_file(run.onnx(0, precision)), manifest_sha256=manifest.sha256, versions={},
            )  # fmt: skip
            scores = score_seeds([OnnxScorer(run.onnx(0, precision), 1, precision)], manifest, [record])[0]
            write_scores(scores, run.scores(runtime, 0, name))
            bench.scores.setdefault(precision, {})[name] = scores
    return bench


class Device:
    """A board: a PATH with a shell, small tools and stand-ins, and a root folder with what its system says of it."""

    def __init__(self, folder: Path, kind: str):
        self.bin, self.root, self.log = folder / "bin", folder / "root", folder / "log.jsonl"
        self.bin.mkdir(parents=True)
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)
        self.environment = {"PATH": str(self.bin), "EDGEZSAD_ROOT": str(self.root), "STANDIN_LOG": str(self.log)}
        if kind == "jetson":
            self.write("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n")
            self.write("proc/device-tree/model", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0")
            self.write("usr/local/cuda/version.json", '{\n "cuda" : {\n  "version" : "12.6.68"\n }\n}\n')
            self.standin("trtexec", "trtexec.py")
            self.write("etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n")
            self.says("nvpmodel", "NV Power Mode: MAXN_SUPER\n2")
            self.says("jetson_clocks", CLOCKS)
        else:
            self.write("etc/os-release", 'NAME="Qualcomm Linux"\nPRETTY_NAME="Qualcomm Linux 1.4"\n')
            self.write("sys/devices/soc0/machine", "QCS8550\n")
            self.write("proc/device-tree/model", "Thundercomm RB5 Gen2\0")
            for name, text in (("devfreq/governor", "performance"), ("gpu_model", "Adreno740")):
                self.write(f"sys/class/kgsl/kgsl-3d0/{name}", f"{text}\n")
            self.standin("qnn-net-run", "qnn_net_run.py")
            self.standin("qnn-profile-viewer", "qnn_profile_viewer.py")
            for library in ("libQnnGpu.so", "libQnnModelDlc.so", "libQnnSystem.so"):
                self.write(f"lib/{library}", "a library of v2.32.0.250228")
            self.environment["LD_LIBRARY_PATH"] = str(self.root / "lib")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def script(self, name: str, text: str) -> None:
        # The tools are links to the system's own files, which must never be written to.
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def says(self, name: str, text: str) -> None:
        self.script(name, f"cat <<'END'\n{text}\nEND")

    def standin(self, name: str, file: str) -> None:
        self.script(name, f'exec "{sys.executable}" "{HERE / "standins" / file}" "$@"')

    def run(
        self, kit: Path, *options: str, user: int | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        settings = {"cwd": kit, "env": self.environment | environment, "start_new_session": True, "user": user}
        # For instance "mksh" or "busybox sh".
        shell = os.environ.get("EDGEZSAD_SHELL", "/bin/sh").split()
        return subprocess.run([*shell, "run.sh", *options], capture_output=True, text=True, check=False, **settings)


@pytest.fixture
def make_device(tmp_path: Path) -> Callable[[str], Device]:
    def make(kind: str) -> Device:
        return Device(tmp_path / f"{kind}-{len(list(tmp_path.iterdir()))}", kind)

    return make


@pytest.fixture(scope="session")
def returned(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The result archive of each board, of all images."""
    folder = tmp_path_factory.mktemp("returned")
    archives = {}
    for name, choices in {"jetson": {}, "rb5": {"dlc": bench.run.onnx(0, "fp16").with_suffix(".dlc")}}.items():
        path = unpacked_kit(bench.run, name, folder / name, **choices)
        done = Device(folder / f"{name}-device", name).run(path, "--iterations", "5", "--warmup", "3", "--chunk", "5")
        assert done.returncode == 0, done.stderr
        archives[name] = path / f"{name}-mini-seed0-result.tar"
    return archives


@pytest.fixture
def unpacked(returned: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A fresh copy of a board's result, as a folder."""

    def unpack(name: str) -> Path:
        with tarfile.open(returned[name]) as archive:
            archive.extractall(tmp_path / f"result-{name}", filter="data")
        return tmp_path / f"result-{name}"

    return unpack


@pytest.fixture(scope="session")
def seal() -> Callable[[Path], None]:
    """Make all hashes of an unpacked result those of its files, as if the board had written it so."""

    def write(folder: Path) -> None:
        facts = folder / "facts.tsv"
        kit = f"kit_sha256\t{sha256_of_file(folder / 'kit.json')}\n"
        lines = facts.read_text().splitlines(keepends=True)
        facts.write_text("".join(kit if line.startswith("kit_sha256") else line for line in lines))
        rows = [line.split("\t") for line in (folder / "images.tsv").read_text().splitlines()]
        outputs = [(row[0], row[3], *(folder / "outputs" / row[1]).glob(f"{row[0]}.*")) for row in rows]
        (folder / "outputs.tsv").write_text(
            "".join(f"{row[0]}\t{row[1]}\t{sha256_of_file(row[2])}\n" for row in outputs if len(row) == 3)
        )
        names = [line.partition("  ")[2] for line in (folder / "SHA256SUMS").read_text().splitlines()]
        sums = [f"{sha256_of_file(folder / name)}  {name}\n" for name in names if (folder / name).is_file()]
        (folder / "SHA256SUMS").write_text("".join(sums))

    return write
