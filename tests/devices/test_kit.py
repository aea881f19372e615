"""Kits: contents and hashes, models of each board, equal bytes, nothing incomplete."""

import gzip
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgezsad import cli
from edgezsad.data.images import load
from edgezsad.data.manifest import read_run_manifest
from edgezsad.devices import BOARDS, kit
from edgezsad.devices.kit import KitRecord, make_kit
from edgezsad.errors import CheckError, InputError, RuntimeUnavailable
from edgezsad.files import sha256_of_bytes, sha256_of_file
from edgezsad.scoring.onnx_scorer import as_tensor, read_metadata
from edgezsad.scoring.score_run import subset
from tests.devices.conftest import save_small_graph, unpacked_kit

SIZE = 64


def test_contents_of_a_kit(bench: Any, tmp_path: Path):
    folder = unpacked_kit(bench.run, "jetson", tmp_path, images_per_target=2)
    assert folder.name == "jetson-mini-seed0"
    rows = [line.split("\t") for line in (folder / "images.tsv").read_text().splitlines()]
    manifests = [subset(read_run_manifest(bench.run, item), 2) for item in bench.run.profile.data.targets]
    wanted = [(manifest, entry) for manifest in manifests for entry in manifest.entries]
    for number, ((key, target, file, sha256, image_id), (manifest, entry)) in enumerate(zip(rows, wanted, strict=True)):
        assert (key, target, image_id) == (f"{number:06d}", manifest.name, entry.id)
        # trtexec splits at these.
        assert not set(file) & set(",: ")
        data = gzip.decompress((folder / file).read_bytes())
        assert sha256_of_bytes(data) == sha256
        image = np.frombuffer(data, dtype=np.float32).reshape(1, 3, SIZE, SIZE)
        assert np.array_equal(image, as_tensor(load(manifest.path(entry), SIZE), SIZE))
    record = KitRecord.model_validate_json((folder / "kit.json").read_text())
    assert record.detector_sha256 == "0" * 64 and record.map_shape == (8, 8)
    assert list(record.models.values()) == [sha256_of_file(bench.run.onnx(0, p)) for p in ("fp32", "fp16")]
    assert record.targets == {manifest.name: manifest.sha256 for manifest in manifests}
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(sums) == {name for name in files if not name.startswith("images/")} - {"SHA256SUMS"}
    assert all(sha256_of_file(folder / name) == sha256 for name, sha256 in (sums | record.models).items())
    assert {"run.sh", "common.sh"} <= files and "rb5.sh" not in files


def test_equal_kits_are_equal_bytes(bench: Any, tmp_path: Path):
    one, two = (make_kit(bench.run, BOARDS["jetson"], output=tmp_path / name) for name in ("one.tar", "two.tar"))
    assert one.read_bytes() == two.read_bytes()
    with pytest.raises(InputError, match="exists; delete it"):
        make_kit(bench.run, BOARDS["jetson"], output=one)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"seed": 7}, "--seed 7: unknown; the profile has the seeds 0, 1"),
        ({"dlc": Path("x.dlc")}, "--dlc: only the RB5 takes a DLC"),
        ({"board": "rb5", "dlc": Path("nowhere.dlc")}, "nowhere.dlc: missing or not a DLC"),
        ({"board": "rb5", "dlc": Path("README.md")}, r"README\.md: missing or not a DLC"),
    ],
)
def test_wrong_choices(bench: Any, tmp_path: Path, choices: dict[str, Any], said: str):
    board = choices.get("board", "jetson")
    options = {name: value for name, value in choices.items() if name != "board"}
    with pytest.raises(InputError, match=said):
        make_kit(bench.run, BOARDS[board], output=tmp_path / "kit.tar", **options)
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_is_not_the_manifests(bench: Any, tmp_path: Path):
    manifest = read_run_manifest(bench.run, bench.run.profile.data.targets[1])
    path, other = (manifest.path(manifest.entries[row]) for row in (3, 1))
    before = path.read_bytes()
    try:
        path.write_bytes(other.read_bytes())
        with pytest.raises(CheckError, match="changed after it was indexed"):
            make_kit(bench.run, BOARDS["jetson"], output=tmp_path / "kit.tar")
    finally:
        path.write_bytes(before)
    # Nothing incomplete is left.
    assert list(tmp_path.iterdir()) == []


def test_models_for_the_rb5(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    dlc = tmp_path / "mine.dlc"
    dlc.write_bytes(b"PK\x03\x04 a dlc")
    folder = unpacked_kit(bench.run, "rb5", tmp_path / "given", dlc=dlc)
    assert (folder / "models" / "model.dlc").read_bytes() == dlc.read_bytes()
    assert "has no record: its model, layout and precision are assumed" in capsys.readouterr().out

    def absent(graph: Path, target: Path) -> None:
        raise RuntimeUnavailable("onnxruntime-qnn is not installed")

    monkeypatch.setattr(kit, "write_dlc", absent)
    with pytest.raises(InputError, match=r"no DLC can be written here \(onnxruntime-qnn is not installed\); give"):
        make_kit(bench.run, BOARDS["rb5"], output=tmp_path / "none.tar")

    def written(graph: Path, target: Path) -> Any:
        target.write_bytes(b"dlc of " + Path(graph).read_bytes())
        return namedtuple("record", "versions")({"qairt": "2.51.0"})

    monkeypatch.setattr(kit, "write_dlc", written)
    folder = unpacked_kit(bench.run, "rb5", tmp_path / "written")
    assert KitRecord.model_validate_json((folder / "kit.json").read_text()).qairt == "2.51.0"
    assert "QAIRT=2.51.0\n" in (folder / "kit.env").read_text()
    assert (folder / "models" / "model.dlc").read_bytes() == b"dlc of " + bench.run.onnx(0, "fp16").read_bytes()


def test_a_graph_of_a_part_instead_of_the_runs(bench: Any, tmp_path: Path):
    part = tmp_path / "my cap.onnx"
    save_small_graph(part, "5" * 64, seed=7)
    folder = unpacked_kit(bench.run, "jetson", tmp_path / "kit", checkpoint=part)
    record = KitRecord.model_validate_json((folder / "kit.json").read_text())
    assert record.detector_sha256 == "5" * 64 and (record.size, record.map_shape) == (SIZE, (8, 8))
    assert (folder / "models" / "model-fp32.onnx").read_bytes() == part.read_bytes()
    assert read_metadata(folder / "models" / "model-fp16.onnx")["precision"] == "fp16"
    assert "NAME=jetson-my_cap\n" in (folder / "kit.env").read_text()


def test_the_command_line(bench: Any):
    words = ["device", "kit", "jetson", "--config", str(bench.config), "--images-per-target", "1"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("jetson-mini-seed0: 4 images of 2 targets, models/model-fp32.onnx, models/model-fp16")
    path = bench.run.folder / "kits" / "jetson-mini-seed0.tar"
    assert f"{path}: 0 MB; copy it to the board and unpack it; there: sh run.sh\n" in done.stdout
    path.unlink()
