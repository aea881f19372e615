"""Falsified, exchanged and damaged files of a run: whoever reads one stops, and `edgezsad verify` names it."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgezsad.config import save_profile
from edgezsad.data.manifest import index_dataset, read_run_manifest, write_manifest
from edgezsad.errors import CheckError
from edgezsad.files import RECORDS, read_json, start_records, verified, write_csv, write_text, written_beside
from edgezsad.metrics.benchmark_tables import pixel_labels
from edgezsad.run import Run
from edgezsad.scoring.score_file import ScoreFile, read_scores, write_scores
from edgezsad.verify import remove_outdated, verify_run


@dataclass
class Case:
    """A finished run, and the paths that the manipulations change."""

    run: Run

    def scores(self, runtime: str = "pytorch", seed: int = 0) -> Path:
        return self.run.scores(runtime, seed, "bolts")

    def edit_scores(self, **changes: Callable[[np.ndarray], np.ndarray]) -> None:
        with np.load(self.scores()) as arrays:
            changed = {name: changes.get(name, np.asarray)(arrays[name]) for name in arrays.files}
        np.savez_compressed(self.scores(), **changed)

    def choose_rows(self, rows: Any) -> None:
        names = ("image_id", "category", "label", "score", "map", "milliseconds")
        self.edit_scores(**dict.fromkeys(names, lambda array: array[rows]))

    def image(self, row: int) -> Path:
        entry = read_run_manifest(self.run, self.run.profile.data.targets[0]).entries[row]
        return self.run.profile.data.folder(self.run.profile.data.targets[0]) / (entry.mask or entry.id)


def copy_scores(case: Case, runtime: str, seed: int, *endings: str) -> None:
    for ending in endings:
        shutil.copy(case.scores(runtime, seed).with_suffix(ending), case.scores().with_suffix(ending))


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80
    path.write_bytes(data)


def edit_text(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def edit_keeping_time(path: Path, old: str, new: str) -> None:
    """As `rsync -a`, or a release archive, brings a changed file with its old time."""
    times = path.stat()
    edit_text(path, old, new)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.fixture
def case(tmp_path: Path, make_profile: Callable, make_scores: Callable) -> Case:
    data = tmp_path / "data" / "bolts"
    for kind, count in (("good", 8), ("bent", 8)):
        for number in range(count):
            name = f"bolt/test/{kind}/{number:03d}.png"
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (number * 9, 40, len(kind) * 9)).save(data / name)
            if kind == "bent":
                mask = data / f"bolt/ground_truth/bent/{number:03d}_mask.png"
                mask.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((np.eye(16) * 255).astype(np.uint8)).save(mask)
    run = Run(make_profile(tmp_path / "run"))
    sets = {"root": tmp_path / "data", "source": (), "targets": run.profile.data.targets[:1]}
    run = Run(run.profile.model_copy(update={"data": run.profile.data.model_copy(update=sets)}))
    start_records(run.folder)
    save_profile(run.profile, run.folder / "config.yaml")
    item = run.profile.data.targets[0]
    write_manifest(index_dataset(item, data), run.manifest_path("bolts"))
    entries = read_run_manifest(run, item).entries
    ids, label = np.array([entry.id for entry in entries]), [entry.label for entry in entries]
    for name in ("seeds/0/checkpoint.safetensors", "seeds/1/checkpoint.safetensors", "export/seed0-fp32.onnx",
                 "features/stride08.npy"):  # fmt: skip
        with written_beside(run.folder / name) as temporary:
            temporary.write_bytes(name.encode() * 9)
    for seed in (0, 1):
        write_csv(run.seed_folder(seed) / "curve.csv", [{"step": 0, "total": 0.5 + seed}], ("step", "total"))
    for runtime, seed in (("pytorch", 0), ("pytorch", 1), ("onnx-int8", 0)):
        verified(run.checkpoint(seed))
        values = np.random.default_rng(seed + len(runtime)).normal(size=len(ids))
        write_scores(make_scores(values, label, image_id=ids, seed=seed, runtime=runtime),
                     run.scores(runtime, seed, "bolts"))  # fmt: skip
    read_scores(run.scores("pytorch", 0, "bolts"))
    run.write_result("benchmarks", {"image_auroc": 78.7})
    run.write_result("export", {"largest_score_difference": 2.8e-7})
    write_text(run.folder / "notebooks" / "06_benchmarks.ipynb", json.dumps({"cells": ["AUROC 78.7"]}))
    write_scores(make_scores(values, label, image_id=ids), run.board("jetson") / "seed0" / "bolts.npz")
    assert not verify_run(run).problems
    return Case(run)


def shuffled_labels(case: Case) -> None:
    case.edit_scores(score=lambda scores: np.sort(scores))


MANIPULATIONS: dict[str, tuple[Callable[[Case], None], str]] = {
    # What trials did in silence: score files,
    "seed 1 over seed 0": (lambda c: copy_scores(c, "pytorch", 1, ".npz", ".json"), "pytorch/seed0/bolts"),
    "INT8 over PyTorch": (lambda c: copy_scores(c, "onnx-int8", 0, ".npz", ".json"), "pytorch/seed0/bolts"),
    "arrays of one seed, record of another": (lambda c: copy_scores(c, "pytorch", 1, ".npz"), "seed0/bolts.npz"),
    "every second row dropped": (lambda c: c.choose_rows(slice(None, None, 2)), "seed0/bolts.npz"),
    "missed defects dropped": (lambda c: c.choose_rows([*range(8), 9, 11]), "seed0/bolts.npz"),
    "one row repeated": (lambda c: c.choose_rows([*range(16), *[15] * 20]), "seed0/bolts.npz"),
    "categories renamed": (lambda c: c.edit_scores(category=lambda a: np.full_like(a, "nuts")), "seed0/bolts.npz"),
    "maps shifted by one image": (lambda c: c.edit_scores(map=lambda a: np.roll(a, 1, 0)), "seed0/bolts.npz"),
    "scores follow the labels": (shuffled_labels, "seed0/bolts.npz"),
    # images, masks and models,
    "a mask replaced": (lambda c: Image.new("L", (16, 16), 255).save(c.image(0)), "000_mask.png"),
    "an image replaced": (lambda c: Image.new("RGB", (16, 16)).save(c.image(12)), "good/004.png"),
    "a bit of the features": (lambda c: flip_bit(c.run.features / "stride08.npy"), "stride08.npy"),
    "checkpoint of another seed": (
        lambda c: shutil.copy(c.run.checkpoint(1), c.run.checkpoint(0)), "seeds/0/checkpoint.safetensors"),
    "a bit of a checkpoint": (lambda c: flip_bit(c.run.checkpoint(1)), "seeds/1/checkpoint.safetensors"),
    "a bit of a graph": (lambda c: flip_bit(c.run.onnx(0, "fp32")), "seed0-fp32.onnx"),
    # pages and results,
    "output of a notebook": (
        lambda c: edit_text(c.run.folder / "notebooks/06_benchmarks.ipynb", "78.7", "91.6"), "06_benchmarks.ipynb"),
    "a result": (lambda c: edit_text(c.run.result_path("export"), "2.8e-07", "1.23e-09"), "export.json"),
    "a result, with its old time": (
        lambda c: edit_keeping_time(c.run.result_path("benchmarks"), "78.7", "91.6"), "benchmarks.json"),
    "a result deleted": (lambda c: c.run.result_path("benchmarks").unlink(), "benchmarks.json"),
    "score files deleted": (lambda c: shutil.rmtree(c.scores().parent), "seed0/bolts.npz"),
    # and five more.
    "a label in the manifest": (
        lambda c: edit_text(c.run.manifest_path("bolts"), ",1,bent,", ",0,good,"), "manifests/bolts.csv"),
    "a loss in the curve": (lambda c: edit_text(c.run.seed_folder(1) / "curve.csv", "1.5", "0.1"), "seeds/1/curve.csv"),
    "host scores over a board's": (
        lambda c: shutil.copy(c.scores(), c.run.board("jetson") / "seed0" / "bolts.npz"), "jetson/seed0/bolts.npz"),
    "the run record of scores": (lambda c: edit_text(c.scores().with_suffix(".json"), "pytorch", "onnx"), "bolts.json"),
    "a hash in a record": (
        lambda c: edit_text(c.run.folder / RECORDS / "results/export.json.json", '"sha256": "', '"sha256": "0'),
        "export.json"),
}  # fmt: skip


def read_everything(run: Run) -> None:
    """Read every file as the steps do: score files, manifests, results, models, images and masks."""
    item = run.profile.data.targets[0]
    manifest = read_run_manifest(run, item)
    for entry in manifest.entries:
        manifest.path(entry)
    for path in sorted(run.folder.rglob("*")):
        if not path.is_file() or RECORDS in path.parts:
            continue
        if path.suffix == ".npz":
            scores: ScoreFile = read_scores(path)
            list(pixel_labels(scores, manifest, 16))
        elif path.suffix in (".json", ".ipynb"):
            read_json(path, "make it")
        else:
            verified(path)


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_manipulations_are_noticed(case: Case, name: str) -> None:
    manipulate, file = MANIPULATIONS[name]
    read_everything(case.run)
    manipulate(case)
    problems = verify_run(case.run).problems
    assert problems and all("\n" not in line for line in problems)
    assert any(file in line for line in problems)
    if "deleted" not in name:
        with pytest.raises(CheckError, match=file):
            read_everything(case.run)


def test_file_of_no_step_is_rejected(case: Case) -> None:
    stranger = case.run.scores("onnx-fp16", 0, "bolts")
    stranger.parent.mkdir(parents=True)
    for ending in (".npz", ".json"):
        shutil.copy(case.scores().with_suffix(ending), stranger.with_suffix(ending))
    with pytest.raises(CheckError, match=r"onnx-fp16/seed0/bolts\.json: no step of this run has written it; delete it"):
        read_scores(stranger)


def test_results_of_older_inputs_are_made_again(case: Case) -> None:
    scores = read_scores(case.scores())
    write_scores(replace(scores, score=scores.score + 1), case.scores())
    assert any("benchmarks.json: made from another version of scores" in line for line in verify_run(case.run).problems)
    assert case.run.result_path("benchmarks") in remove_outdated(case.run.folder)
    assert not case.run.result_path("benchmarks").exists()
    assert case.scores().exists()
    # The exported graph does not depend on the scores.
    assert case.run.onnx(0, "fp32").exists()


def test_interrupted_write_is_made_again(case: Case) -> None:
    path = case.run.result_path("export")
    before = path.read_bytes()
    case.run.write_result("export", {"largest_score_difference": 1.0})
    # Killed between the record and the rename.
    path.write_bytes(before)
    with pytest.raises(CheckError, match="changed since"):
        case.run.read_result("export", "04_export")
    assert path in remove_outdated(case.run.folder)


def test_changed_file_is_not_replaced_without_a_question(case: Case) -> None:
    flip_bit(case.run.checkpoint(0))
    with pytest.raises(CheckError, match=r"checkpoint\.safetensors: changed since it was written; delete it and run"):
        remove_outdated(case.run.folder)
    assert case.run.checkpoint(0).exists()


def test_fingerprint_names_the_files_of_a_run(case: Case) -> None:
    before = verify_run(case.run)
    case.run.write_result("export", {"largest_score_difference": 1.0})
    after = verify_run(case.run)
    assert before.files == after.files and before.fingerprint != after.fingerprint
