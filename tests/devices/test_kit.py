"""Kits: contents and hashes, size reported before writing, one image in memory at a time."""

import gzip
import hashlib
import tarfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgezsad import cli
from edgezsad.data.images import load
from edgezsad.data.manifest import read_run_manifest
from edgezsad.devices import BOARDS, find_board, kit
from edgezsad.devices.kit import KitRecord, make_kit
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_file
from edgezsad.scoring.onnx_scorer import as_tensor
from edgezsad.scoring.score_run import subset

SIZE = 64


def jetson(bench: Any, folder: Path, **choices: Any) -> Path:
    return make_kit(bench.run, BOARDS["jetson"], output=folder, **choices)


def listed(folder: Path) -> list[list[str]]:
    return [line.split("\t") for line in (folder / "images.tsv").read_text().splitlines()]


def test_a_kit_holds_every_image_as_trtexec_reads_it(bench: Any, tmp_path: Path):
    rows = listed(jetson(bench, tmp_path / "kit"))
    wanted = [
        (item.name, entry.id, manifest.path(entry))
        for item in bench.run.profile.data.targets
        for manifest in [read_run_manifest(bench.run, item)]
        for entry in manifest.entries
    ]
    assert [(row[1], row[4]) for row in rows] == [(target, image) for target, image, _ in wanted]
    assert [row[0] for row in rows] == [f"{number:06d}" for number in range(12)]
    for (_, _, file, sha256, _), (_, _, path) in zip(rows, wanted, strict=True):
        assert not set(file) & set(",: ")
        data = gzip.decompress((tmp_path / "kit" / file).read_bytes())
        assert hashlib.sha256(data).hexdigest() == sha256
        image = np.frombuffer(data, dtype=np.float32).reshape(1, 3, SIZE, SIZE)
        assert np.array_equal(image, as_tensor(load(path, SIZE), SIZE))


def test_a_kit_has_models_record_script_and_their_hashes(bench: Any, tmp_path: Path):
    folder = jetson(bench, tmp_path / "kit", images_per_target=2)
    record = KitRecord.model_validate_json((folder / "kit.json").read_text())
    assert record.detector_sha256 == "0" * 64 and record.map_shape == (8, 8)
    assert list(record.models.values()) == [sha256_of_file(bench.run.onnx(0, p)) for p in ("fp32", "fp16")]
    part = subset(read_run_manifest(bench.run, bench.run.profile.data.targets[0]), 2)
    assert record.targets["bolts"] == part.sha256 and record.images_per_target == 2
    assert [row[4] for row in listed(folder)][:2] == [entry.id for entry in part.entries]
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(sums) == {name for name in files if not name.startswith("images/")} - {"SHA256SUMS"}
    assert all(sha256_of_file(folder / name) == sha256 for name, sha256 in (sums | record.models).items())
    assert {"run.sh", "common.sh"} <= files and "rb5.sh" not in files


def test_an_archive_is_the_folder_and_always_the_same(bench: Any, tmp_path: Path):
    folder = jetson(bench, tmp_path / "kit")
    one, two = (jetson(bench, tmp_path / name) for name in ("one.tar", "two.tar"))
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    unpacked = tmp_path / "out" / "jetson-mini-seed0"
    names = {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()}
    assert names == {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert all((unpacked / name).read_bytes() == (folder / name).read_bytes() for name in names)


def test_expanded_images_are_raw(bench: Any, tmp_path: Path):
    folder = jetson(bench, tmp_path / "kit", expanded=True, targets=("nuts",))
    assert [row[1] for row in listed(folder)] == ["nuts"] * 5
    for row in listed(folder):
        assert row[2].endswith(".raw") and sha256_of_file(folder / row[2]) == row[3]
        assert (folder / row[2]).stat().st_size == 12 * SIZE**2


def test_the_estimate_of_the_size_is_close(bench: Any, tmp_path: Path):
    folder = jetson(bench, tmp_path / "kit")
    models = {path.name: path for path in (folder / "models").iterdir()}
    manifests = [kit.target_manifest(bench.run, name, None) for name in ("bolts", "nuts")]
    total, text = kit._estimate("a kit", BOARDS["jetson"], manifests, models, SIZE, False)
    files = [path for path in folder.rglob("*") if path.suffix in (".gz", ".onnx")]
    assert total == pytest.approx(sum(path.stat().st_size for path in files), rel=0.1)
    assert "12 images of 2 targets" in text and "about 11 min" in text


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"seed": 7}, "--seed 7: unknown; the profile has the seeds 0, 1"),
        ({"targets": ("bolt",)}, "--targets bolt: unknown; the profile has bolts, nuts"),
        ({"dlc": Path("x.dlc")}, "--dlc: only the RB5 takes a DLC"),
        ({"board": "rb5", "dlc": Path("nowhere.dlc")}, "nowhere.dlc: missing or empty"),
        ({"board": "pi"}, "pi: unknown board; choose jetson or rb5"),
    ],
)
def test_wrong_choices(bench: Any, tmp_path: Path, choices: dict[str, Any], said: str):
    board = choices.get("board", "jetson")
    options = {name: value for name, value in choices.items() if name != "board"}
    with pytest.raises(InputError, match=said):
        make_kit(bench.run, find_board(board), output=tmp_path / "kit", **options)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="exists; delete it"):
        jetson(bench, tmp_path)


def test_an_image_that_is_not_the_manifests(bench: Any, tmp_path: Path):
    manifest = read_run_manifest(bench.run, bench.run.profile.data.targets[1])
    path, other = (manifest.path(manifest.entries[row]) for row in (3, 1))
    before = path.read_bytes()
    try:
        path.write_bytes(other.read_bytes())
        with pytest.raises(InputError, match="not the image in the manifest"):
            jetson(bench, tmp_path / "kit")
    finally:
        path.write_bytes(before)
    # Nothing incomplete is left.
    assert list(tmp_path.iterdir()) == []


def test_models_for_the_rb5(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    dlc = tmp_path / "mine.dlc"
    dlc.write_bytes(b"a dlc")
    folder = make_kit(bench.run, BOARDS["rb5"], dlc=dlc, output=tmp_path / "given")
    assert (folder / "models" / "model.dlc").read_bytes() == b"a dlc" and (folder / "ort_qnn.py").is_file()
    assert "there is no record next to it" in capsys.readouterr().out
    folder = bench.kit_without_dlc(tmp_path / "onnx", monkeypatch)
    assert [path.name for path in (folder / "models").iterdir()] == ["model-fp16.onnx"]
    assert "no DLC (onnxruntime-qnn is not installed)" in capsys.readouterr().out
    written = lambda graph, target: target.write_bytes(b"dlc of " + Path(graph).read_bytes())  # noqa: E731
    monkeypatch.setattr(kit, "write_dlc", written)
    folder = make_kit(bench.run, BOARDS["rb5"], output=tmp_path / "written")
    assert (folder / "models" / "model.dlc").read_bytes() == b"dlc of " + bench.run.onnx(0, "fp16").read_bytes()


def test_the_command_line_reports_the_size_first(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    free = namedtuple("usage", "total used free")(10**9, 10**9, 100)
    monkeypatch.setattr(kit.shutil, "disk_usage", lambda path: free)
    words = ["device", "kit", "jetson", "--config", str(bench.config)]
    full = CliRunner().invoke(cli.app, [*words, "--output", str(tmp_path / "kit")])
    assert isinstance(full.exception, InputError)
    assert "0 MB are free" in str(full.exception) and "--yes" in str(full.exception)
    assert full.stdout.startswith("jetson-mini-seed0: 12 images of 2 targets")
    assert "size: about " in full.stdout and not (tmp_path / "kit").exists()
    done = CliRunner().invoke(cli.app, [*words, "--yes", "--targets", "nuts,bolts", "--images-per-target", "1"])
    assert done.exit_code == 0, done.output
    assert done.stdout.index("size: about") < done.stdout.index("copy it to the board")
    assert (bench.run.folder / "kits" / "jetson-mini-seed0.tar").is_file()
