"""Benchmarks: scripts in their smallest mode agree with each other; statistics and tables by hand."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import page_speed
from benchmarks.page_ablations import left_out_table
from benchmarks.recorded import difference_figure, difference_text, read_recorded, verdict
from edgezsad.config import load_profile
from edgezsad.data.images import load
from edgezsad.errors import CheckError, InputError
from edgezsad.export.lint import lint
from edgezsad.export.onnx_export import export_onnx
from edgezsad.model import GRAPH
from edgezsad.references import adapt
from edgezsad.scoring.onnx_scorer import OnnxScorer
from synthetic.image import Address, defective_image, normal_image

ROOT = Path(__file__).resolve().parents[2]
FOUR = {"auroc", "average_precision", "f1_max", "aupro"}


def results_of(script: str, out: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *arguments, "--output", str(out)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.mark.slow
def test_pixel_metrics_agree_with_other_implementations(tmp_path: Path) -> None:
    found = results_of("metrics", tmp_path / "out.json", "--images", "3", "--runs", "1")
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows["one_pass"]["values"]) == set(rows["one_sort"]["values"]) == FOUR
    bounds = {"one_pass": 1e-4, "one_sort": 0, "scikit_learn": 1e-9, "steps": 1e-3, "loop": 0, "adeval": 0.01}
    for name, row in rows.items():
        if row["status"] != "ok":
            assert name == "adeval" and "make bench" in row["status"]
            continue
        assert 0 < row["seconds_min"] <= row["seconds_median"] and 0 < row["imports_mb"] <= row["peak_mb"]
        assert max(row["differences"].values()) <= bounds[name], name


@pytest.mark.slow
def test_every_runtime_gives_the_same_score(tmp_path: Path) -> None:
    small = ("--tiny", "--rounds", "1", "--passes", "1", "--threads", "1")
    found = results_of("latency", tmp_path / "out.json", *small)
    assert [model["name"] for model in found["models"]] == ["paper", "tower"]
    for model in found["models"]:
        done = {(row["method"], row["precision"]): row for row in model["rows"] if row["status"] == "ok"}
        full = done["ONNX Runtime", "FP32"]
        assert done["PyTorch, as timm gives it", "FP32"]["score"] == pytest.approx(full["score"], abs=1e-4)
        assert done["ONNX Runtime", "FP16"]["score"] == pytest.approx(full["score"], abs=2e-2)
        assert done["ONNX Runtime", "FP16"]["file_mb"] < 0.6 * full["file_mb"]


@pytest.mark.slow
def test_near_duplicates_are_found(tmp_path: Path) -> None:
    search = results_of("duplicates", tmp_path / "out.json", "--part", "0.01")["search"]
    assert (search["found"], search["others"]) == (search["planted"], 0)


def test_results_measured_on_a_gpu_are_kept(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = script("training_step")
    monkeypatch.setattr(benchmark, "flops", lambda name: {})
    gpu = {"shape": "paper", "device": "a GPU", "date": "2026-01-02", "mode": "eager", "batch": 64, "status": "ok"}
    tiny = gpu | {"shape": "tiny", "device": "old"}
    made = {"rows": [gpu, tiny], "ceilings": [gpu | {"bf16_tflops": 700.0}], "profiles": [gpu], "flops": {}}
    new = {"rows": [tiny | {"device": "new"}], "ceilings": [], "profiles": [], "flops": {}}
    found = benchmark.merged(benchmark.merged({}, made), new)
    assert found["gpu"] == "measured" and found["rows"] == [gpu, *new["rows"]]
    assert (found["ceilings"], found["profiles"]) == (made["ceilings"], made["profiles"])


@pytest.mark.slow
def test_a_training_step_runs_on_a_processor(script: Callable[[str], ModuleType]) -> None:
    step = {"job": "step", "shape": "tiny", "device": "cpu", "batch": 2}
    found = script("one_step").run(step | {"mode": "eager"})
    assert found["status"] == "ok"
    assert 0 < found["milliseconds_fastest"] <= found["milliseconds"] <= found["milliseconds_slowest"]
    # A processor has no such kernel.
    failed = script("one_step").run(step | {"mode": "attention: cudnn"})
    assert failed["status"].startswith("failed: RuntimeError: No viable backend")


@pytest.mark.parametrize("groups", [1, 8])
def test_flops_of_a_convolutions_gradients(script: Callable[[str], ModuleType], groups: int) -> None:
    mapping = {torch.ops.aten.convolution_backward: script("training_step").convolution_backward}
    layer = torch.nn.Conv2d(8, 8, 3, padding=1, groups=groups, bias=False)
    image = torch.zeros(2, 8, 5, 5, requires_grad=True)
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        layer(image).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * (2 * 8 * 5 * 5) * (8 // groups * 9)


def test_shares_of_kernels_that_overlap_and_wait(script: Callable[[str], ModuleType]) -> None:
    kernels = [("cutlass_gemm", 0, 4), ("vectorized_elementwise_kernel", 3, 6), ("fused_adam", 8, 10)]
    found = script("one_step").shares(reversed(kernels))
    assert found == pytest.approx({"matrix product": 0.4, "elementwise": 0.2, "optimiser": 0.2, "idle": 0.2})


def test_held_out_families(script: Callable[[str], ModuleType]) -> None:
    benchmark = script("ablations")
    group = np.repeat([f"set/{n:02d}" for n in range(25)], 3)
    parts = [benchmark.held_out_families(group, seed) for seed in range(5)]
    assert [len(part) for part in parts] == [5] * 5 and len(set().union(*parts)) == 25


def test_paired_differences_by_hand(script: Callable[[str], ModuleType]) -> None:
    benchmark = script("ablations")
    values = {
        ("x", 1): {"c": 70.0, "d": 60.0},
        ("full", 0): {"a": 80.0, "b": 90.0},
        ("x", 0): {"a": 82.0, "b": 89.0},
        ("full", 1): {"c": 75.0, "d": 61.0},
    }
    rows = [{"variant": name, "seed": seed, "image_auroc": v, "pixel_auroc": v} for (name, seed), v in values.items()]
    assert benchmark.paired(rows, "x", "full", "image_auroc").tolist() == [[2, -1], [-5, -1]]
    entry = benchmark.summarised(rows, {"full": "full", "x": "full"})[1]["image_auroc"]
    # Means of the seeds: 85.5 and 65; of their differences: 0.5 and -3.
    assert (entry["mean"], entry["difference"]) == (75.25, -1.25)
    assert entry["spread"] == pytest.approx(20.5 / 2**0.5, abs=1e-4)
    with pytest.raises(InputError, match="other seeds or families than full"):
        benchmark.paired(rows[:3], "x", "full", "image_auroc")


class Small(torch.nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(3, 32, 8, stride=8), torch.nn.Conv2d(32, 1, 1)
        torch.nn.init.normal_(self.first.weight, std=scale, generator=torch.Generator().manual_seed(0))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.last(self.first(image / 255).relu())
        return found.mean(dim=(1, 2, 3)), found


@pytest.mark.slow
def test_weights_stored_in_fp16_halve_the_graph(script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    publish = script("publish_checkpoint")
    full = export_onnx(Small(0.1), tmp_path / "full.onnx", 32)
    graph = publish.store_fp16_weights(full, tmp_path / "graph.onnx")
    assert graph.stat().st_size < 0.7 * full.stat().st_size and lint(graph) == []
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 32, 32)).astype(np.float32)
    maps = [
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["map"], {"image": image})[0]
        for path in (full, graph)
    ]
    assert 0 < np.abs(maps[0] - maps[1]).max() < 1e-3
    with pytest.raises(CheckError, match="exceeds the range of FP16"):
        publish.store_fp16_weights(export_onnx(Small(1e5), tmp_path / "large.onnx", 32), tmp_path / "x.onnx")


def test_a_set_is_left_out_whole_and_no_other(script: Callable[[str], ModuleType]) -> None:
    group = np.array(["cells/a", "cells-2/a", "cells/b", "paper/a"])
    assert script("photographs").rows_without(group, "cells").tolist() == [1, 3]
    with pytest.raises(InputError, match="no images of wood"):
        script("photographs").rows_without(group, "wood")


def test_every_set_has_the_same_weight(script: Callable[[str], ModuleType]) -> None:
    values = {
        ("PIPED", "a"): (80.0, 60.0),
        ("PIPED", "b"): (100.0, 80.0),
        ("one", "c"): (50.0, 50.0),
        ("no", "d"): (0.0, 0.0),
    }
    rows = [
        {"set": name, "category": category, "seed": seed, "image_auroc": found[seed]}
        for (name, category), found in values.items()
        for seed in (0, 1)
    ]
    rows[4]["pixel_auroc"] = 70.0
    made = left_out_table({"rows": rows, "not_in_means": ["no"]}).set_index("part")
    assert list(made.index) == ["PIPED", "one, c", "no, d", "mean without DeepPCB"]
    # (90 + 50) / 2 with the first seed, (70 + 50) / 2 with the second.
    assert made["image AUROC"].tolist() == ["80.0 ± 14.1", "50.0 ± 0.0", "0.0 ± 0.0", "65.0 ± 7.1"]
    assert made["pixel AUROC"].tolist() == ["no masks", "70.0", "no masks", "70.0"]


def test_a_variant_changes_its_setting_alone(script: Callable[[str], ModuleType]) -> None:
    benchmark, profile = script("photographs"), load_profile("configs/checkpoint.yaml")
    arms = {arm.name: arm for arm in benchmark.ARMS}
    assert benchmark.changed(profile, arms["recipe"]) == profile
    learned = benchmark.changed(profile, arms["score learned from features"]).model.readout
    assert learned.kind == "edgeglr" and learned.context == profile.model.readout.context


def test_recorded_results_that_are_missing_or_of_another_benchmark(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: missing; .*`make bench`"):
        read_recorded(tmp_path / "none.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match=r"other\.json: not the results of this benchmark"):
        read_recorded(tmp_path / "other.json", "rows")


def test_differences_and_their_chart() -> None:
    rows = [{"difference": middle, "low": middle - 1, "high": middle + 1} for middle in (-2, 0, 2)]
    assert [verdict(row) for row in rows] == ["worse", "no", "better"]
    assert difference_text({"difference": -0.04, "low": -1, "high": 1}) == "+0.0 (-1.0 to +1.0)"
    figure = difference_figure(["a", "b", "c"], {"points": rows, "other": [None, rows[1], None]})
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() for dot in dots] == ["black", "white", "black"]


def test_the_cost_of_training_by_hand() -> None:
    row = {"shape": "paper", "device": "a GPU", "date": "2026-01-02", "mode": "eager", "batch": 64, "status": "ok"}
    found = {"rows": [row | {"images_per_second": 320.0}], "cost": {"seeds": 3, "steps": 2000}}
    # 3 x 2,000 steps of 64 images at 320 a second: 1,200 seconds.
    assert page_speed.cost_table(found)["GPU-hours"].tolist() == ["0.33"]


@pytest.fixture
def caps(tmp_path: Path) -> Path:
    for number in range(17):
        defective = number >= 14
        kind = "test/hole" if defective else "test/good" if number >= 9 else "train/good"
        address = Address(1, "caps", "cap", "test", number, (120, 120), False)
        path = tmp_path / "set/cap" / kind / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image, mask = defective_image(address) if defective else (normal_image(address), None)
        Image.fromarray(image).save(path)
        if mask is not None:
            path = tmp_path / "set/cap/ground_truth/hole" / f"{number:02d}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.uint8(mask != 0) * 255).save(path)
    return tmp_path


@pytest.mark.slow
def test_references_are_measured_on_images_that_are_not_among_them(
    script: Callable[[str], ModuleType], caps: Path, tmp_path: Path
) -> None:
    benchmark = script("references")
    settings = benchmark.SETTINGS | {"pool": 10, "draws": 1, "calibrated_on": 3, "calibrations": 1, "batches": 1}
    parts = list(benchmark.parts_in(caps, settings))
    assert len(parts) == 1 and len(parts[0].pool) == 10 and parts[0].label.tolist() == [0] * 4 + [1] * 3
    assert not set(parts[0].pool) & set(parts[0].tested)
    found = benchmark.measured(parts, settings, None, tmp_path / "kept")
    row = found["categories"][0]
    assert row["counted"] and not row["trained_on"] and row["images"] == 7
    assert all(0 <= one["low"] <= one["high"] <= 1 for one in row["k"].values())
    assert row["k"]["8"]["mean"] > 0.5 and 0.5 < row["pixel_auroc_4"] <= 1 and set(row["batch"]) == {"5", "10", "30"}
    assert found["means"]["all"] == {"sets": 1} | {name: row[name] for name in found["means"]["all"] if name != "sets"}


@pytest.mark.slow
def test_maps_of_the_benchmark_are_those_of_a_parts_detector(
    script: Callable[[str], ModuleType], caps: Path, tmp_path: Path
) -> None:
    benchmark = script("references")
    images = sorted(caps.glob("set/cap/train/good/*"))[:2]
    part = OnnxScorer(adapt(images, tmp_path / "part.onnx", rotations="none").path)
    describer, single = benchmark.Describer(), OnnxScorer(GRAPH)
    bank, offset = benchmark.select_patches([describer.describe(load(path, 320)) for path in images], 800)
    image = load(next(caps.glob("set/cap/test/hole/*")), 320)
    one = describer.describe(image)
    distance = one.distances(np.float32(bank), offset) + benchmark.OWN_WEIGHT * one.own
    fine = benchmark.fine_map(distance, one, single.score(image)[1])
    score, anomaly_map = part.score(image)
    # Scores and maps of a part's detector are scaled and shifted.
    scale = (anomaly_map.max() - anomaly_map.min()) / (fine.max() - fine.min())
    assert (anomaly_map - anomaly_map.min()) / scale == pytest.approx(fine - fine.min(), abs=2e-3)
    assert (score - anomaly_map.min()) / scale == pytest.approx(benchmark.score_of(distance) - fine.min(), abs=2e-3)


def test_a_set_of_many_categories_counts_once(script: Callable[[str], ModuleType]) -> None:
    benchmark = script("references")
    none = ([], [], np.array([]), [])
    names = [("PIPED", "a", 0.6), ("PIPED", "b", 0.8), ("other", "c", 0.9)]
    rows = [(benchmark.Part(name, category, *none), {("single",): np.array([x])}) for name, category, x in names]
    assert benchmark.mean_of_sets(rows) == {"sets": 2, "single": 0.8}
