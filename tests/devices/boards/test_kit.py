"""The kit: what the board needs, exactly and by hash, its size said beforehand, written image by image."""

import gzip
import hashlib
import sys
import types
import weakref
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgezsad import cli
from edgezsad.data.images import load
from edgezsad.data.manifest import read_run_manifest
from edgezsad.devices.boards import board
from edgezsad.devices.kit import plan as planning
from edgezsad.devices.kit import write as writing
from edgezsad.devices.kit.pictures import CANARY_NAMES, Picture, canary
from edgezsad.devices.kit.plan import Plan, plan_kit
from edgezsad.devices.kit.record import KitRecord
from edgezsad.devices.kit.write import write_kit
from edgezsad.errors import InputError, RuntimeUnavailable
from edgezsad.files import sha256_of_file
from edgezsad.scoring.onnx_scorer import as_tensor
from edgezsad.scoring.score_run import subset

SIZE = 64


def jetson(bench: Any, **choices: Any) -> Plan:
    return plan_kit(bench.run, board("jetson"), 0, **choices)


def rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def test_a_kit_holds_every_image_as_trtexec_reads_it(bench: Any, tmp_path: Path):
    write_kit(jetson(bench), tmp_path / "kit")
    listed = rows((tmp_path / "kit" / "images.tsv").read_text())
    wanted = [
        (item.name, entry.id, manifest.path(entry))
        for item in bench.run.profile.data.targets
        for manifest in [read_run_manifest(bench.run, item)]
        for entry in manifest.entries
    ]
    assert [(row[1], row[4]) for row in listed] == [(target, image) for target, image, _ in wanted]
    assert [row[0] for row in listed] == [f"{number:06d}" for number in range(12)]
    for (_, _, file, sha256, _), (_, _, path) in zip(listed, wanted, strict=True):
        assert not set(file) & set(",: ")
        data = gzip.decompress((tmp_path / "kit" / file).read_bytes())
        assert hashlib.sha256(data).hexdigest() == sha256
        image = np.frombuffer(data, dtype=np.float32).reshape(1, 3, SIZE, SIZE)
        assert np.array_equal(image, as_tensor(load(path, SIZE), SIZE))


def test_a_kit_has_models_record_script_and_their_hashes(bench: Any, tmp_path: Path):
    record = write_kit(jetson(bench), tmp_path / "kit")
    folder = tmp_path / "kit"
    assert KitRecord.model_validate_json((folder / "kit.json").read_text()) == record
    assert record.detector_sha256 == "0" * 64 and record.map_shape == (8, 8)
    for precision, model in record.models.items():
        assert sha256_of_file(folder / model.file) == model.sha256 == sha256_of_file(bench.run.onnx(0, precision))
    manifest = read_run_manifest(bench.run, bench.run.profile.data.targets[0])
    assert record.targets[0].manifest_sha256 == manifest.sha256
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(sums) == {name for name in files if not name.startswith("images/")} - {"SHA256SUMS"}
    assert all(sha256_of_file(folder / name) == sha256 for name, sha256 in sums.items())
    assert {"run.sh", "common.sh"} <= files and "rb5.sh" not in files


def test_an_archive_is_the_folder_and_always_the_same(
    bench: Any, extract: Callable[[Path, Path], None], tmp_path: Path
):
    write_kit(jetson(bench), tmp_path / "kit")
    for name in ("one.tar", "two.tar"):
        write_kit(jetson(bench), tmp_path / name)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    extract(tmp_path / "one.tar", tmp_path / "out")
    unpacked = tmp_path / "out" / "jetson-mini-seed0"
    names = {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()}
    assert names == {path.relative_to(tmp_path / "kit") for path in (tmp_path / "kit").rglob("*") if path.is_file()}
    assert all((unpacked / name).read_bytes() == (tmp_path / "kit" / name).read_bytes() for name in names)


@pytest.mark.parametrize("name", ["kit", "kit.tar"])
def test_one_image_is_held_at_a_time(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    alive: list[weakref.ref[Picture]] = []
    made = writing.pictures

    def watched(*arguments: Any) -> Iterator[Picture]:
        for picture in made(*arguments):
            alive.append(weakref.ref(picture))
            assert sum(each() is not None for each in alive) <= 2
            yield picture

    monkeypatch.setattr(writing, "pictures", watched)
    write_kit(jetson(bench), tmp_path / name)
    assert len(alive) == 12


def test_expanded_images_are_raw(bench: Any, tmp_path: Path):
    write_kit(jetson(bench, expanded=True, targets=("nuts",)), tmp_path / "kit")
    listed = rows((tmp_path / "kit" / "images.tsv").read_text())
    assert [row[1] for row in listed] == ["nuts"] * 5
    for row in listed:
        assert row[2].endswith(".raw") and sha256_of_file(tmp_path / "kit" / row[2]) == row[3]
        assert (tmp_path / "kit" / row[2]).stat().st_size == 12 * SIZE**2


def test_the_estimate_of_the_size_is_close(bench: Any, tmp_path: Path):
    plan = jetson(bench)
    write_kit(plan, tmp_path / "kit")
    images = sum(path.stat().st_size for path in (tmp_path / "kit" / "images").rglob("0*.gz"))
    assert plan.image_bytes * plan.images == pytest.approx(images, rel=0.1)


def test_a_part_of_each_target_is_the_subset_of_the_manifest(bench: Any, tmp_path: Path):
    record = write_kit(jetson(bench, images_per_target=2), tmp_path / "kit")
    part = subset(read_run_manifest(bench.run, bench.run.profile.data.targets[0]), 2)
    assert record.images_per_target == 2
    assert record.targets[0].manifest_sha256 == part.sha256
    assert [row[4] for row in rows((tmp_path / "kit" / "images.tsv").read_text())][:2] == [e.id for e in part.entries]


def test_canaries_are_unlike_each_other():
    first, second = (canary(name, SIZE).astype(float) for name in CANARY_NAMES)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.2
    assert first.std() > 30 and second.std() > 30


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"seed": 7}, "--seed 7: the profile has the seeds 0, 1"),
        ({"targets": ("bolt",)}, "--targets bolt: no such target; the profile has bolts, nuts"),
        ({"dlc": Path("x.dlc")}, "--dlc: a DLC is for the RB5"),
        ({"name": "rb5", "dlc": Path("nowhere.dlc")}, "nowhere.dlc: no such DLC"),
        ({"name": "pi"}, "pi: no such board"),
    ],
)
def test_wrong_choices_are_named(bench: Any, choices: dict[str, Any], said: str):
    chosen = {"name": "jetson", "seed": 0} | choices
    with pytest.raises(InputError, match=said):
        plan_kit(bench.run, board(chosen.pop("name")), chosen.pop("seed"), **chosen)


def test_an_image_that_the_manifest_does_not_list_is_named(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan = jetson(bench)
    path = plan.manifests[1].path(plan.manifests[1].entries[2])
    before = path.read_bytes()
    other = plan.manifests[1].path(plan.manifests[1].entries[1]).read_bytes()
    try:
        path.write_bytes(other)
        with pytest.raises(InputError, match="not the image that the manifest lists"):
            write_kit(plan, tmp_path / "kit")
    finally:
        path.write_bytes(before)
    # Nothing half done is left, under its name or another.
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_exists_is_left_alone(bench: Any, tmp_path: Path):
    (tmp_path / "kit.tar").write_text("mine")
    with pytest.raises(InputError, match=r"kit\.tar: exists already"):
        write_kit(jetson(bench), tmp_path / "kit.tar")
    assert (tmp_path / "kit.tar").read_text() == "mine"


def test_rb5_takes_a_dlc_by_option(bench: Any, tmp_path: Path):
    dlc = tmp_path / "mine.dlc"
    dlc.write_bytes(b"a dlc")
    plan = plan_kit(bench.run, board("rb5"), 0, dlc=dlc)
    record = write_kit(plan, tmp_path / "kit")
    assert (tmp_path / "kit" / "models" / "model.dlc").read_bytes() == b"a dlc"
    assert set(record.models) == {"dlc"} and "no record beside it" in plan.as_text()
    assert (tmp_path / "kit" / "ort_qnn.py").is_file()


def fake_writer(monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    module = types.ModuleType("edgezsad.export.dlc")
    vars(module).update(write_dlc=write, record_path=lambda path: path.with_suffix(".json"))
    monkeypatch.setitem(sys.modules, "edgezsad.export.dlc", module)
    monkeypatch.setattr(planning.importlib.util, "find_spec", lambda name: object())


def test_rb5_makes_a_dlc_of_the_fp16_graph(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake_writer(monkeypatch, lambda graph, target: target.write_bytes(b"dlc of " + Path(graph).read_bytes()))
    plan = plan_kit(bench.run, board("rb5"), 0, scratch=tmp_path)
    assert plan.models["dlc"].read_bytes() == b"dlc of " + bench.run.onnx(0, "fp16").read_bytes()


def test_rb5_without_a_writer_of_dlcs_ships_the_onnx_file(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def absent(graph: Path, target: Path) -> None:
        raise RuntimeUnavailable("onnxruntime-qnn is not installed")

    fake_writer(monkeypatch, absent)
    plan = plan_kit(bench.run, board("rb5"), 0, scratch=tmp_path)
    assert plan.models == {"fp16": bench.run.onnx(0, "fp16")}
    assert "no DLC (onnxruntime-qnn is not installed)" in plan.as_text()


def test_the_command_line_says_the_size_first_and_minds_the_disk(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    free = namedtuple("usage", "total used free")(10**9, 10**9, 100)
    monkeypatch.setattr(planning.shutil, "disk_usage", lambda path: free)
    words = ["device", "kit", "jetson", "--config", str(bench.config), "--output", str(tmp_path / "kit")]
    refused = CliRunner().invoke(cli.app, words)
    assert isinstance(refused.exception, InputError)
    assert "0 MB are free" in str(refused.exception) and "--yes" in str(refused.exception)
    assert refused.stdout.startswith("jetson-mini-seed0: 12 images of 2 targets")
    assert "size: about " in refused.stdout and not (tmp_path / "kit").exists()
    done = CliRunner().invoke(cli.app, [*words, "--yes", "--targets", "nuts,bolts"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "kit" / "run.sh").is_file()
    assert done.stdout.index("size: about") < done.stdout.index("copy it to the board")


def test_the_command_line_has_a_place_of_its_own_for_kits(bench: Any):
    words = ["device", "kit", "jetson", "--config", str(bench.config), "--seed", "1", "--images-per-target", "1"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert (bench.run.folder / "kits" / "jetson-mini-seed1.tar").is_file()
