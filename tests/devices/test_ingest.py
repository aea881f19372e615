"""Ingest of whole, partial and damaged results: a fault of one target rejects no other target."""

import gzip
import io
import json
import random
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgezsad import cli
from edgezsad.data.manifest import Manifest, read_run_manifest, write_manifest
from edgezsad.devices import ingest as module
from edgezsad.devices.ingest import ingest, read_trtexec_output
from edgezsad.devices.latency import read_latency
from edgezsad.errors import CheckError, EdgeZSADError, InputError
from edgezsad.files import sha256_of_file
from edgezsad.run import Run
from edgezsad.scoring.score_file import read_scores

Unpack = Callable[[str], Path]
Seal = Callable[[Path], None]


def first_output(folder: Path) -> Path:
    return min((folder / "outputs" / "bolts").iterdir())


def rejected(bench: Any, folder: Path, out: Path) -> list[str]:
    """Faults of bolts; nuts and the latency are written."""
    done = ingest(folder, bench.run, out)
    assert set(done.rejected) == {"bolts"} and not (out / "seed0" / "bolts.npz").exists()
    assert len(read_scores(out / "seed0" / "nuts.npz")) == 5
    assert done.latency == read_latency(out / "latency.json")
    with pytest.raises(CheckError, match="rejected bolts; "):
        done.require_all()
    report = (out / "seed0" / "bolts.rejected.txt").read_text().splitlines()
    assert report == done.rejected["bolts"]
    return report


def edit_values(change: Callable[[list[Any]], list[Any]]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = json.loads(first_output(folder).read_text())
        tensor = next(item for item in tensors if item["name"] == "map")
        tensor["values"] = change(tensor["values"])
        first_output(folder).write_text(json.dumps(tensors))

    return edit


def cut(count: int) -> Callable[[Path], Any]:
    return lambda folder: first_output(folder).write_bytes(first_output(folder).read_bytes()[:-count])


def repeat_first(folder: Path) -> None:
    first = first_output(folder).read_bytes()
    for path in (folder / "outputs" / "bolts").iterdir():
        path.write_bytes(first)


SPOILT = [
    ("jetson", lambda f: first_output(f).unlink(), r"a, b:c/000\.png: outputs/bolts/000000\.json: missing"),
    ("jetson", cut(30), "damaged or cut off"),
    ("jetson", edit_values(lambda v: [float("nan"), *v[1:]]), "score or map is not finite"),
    ("jetson", edit_values(lambda v: v[:-1]), "'map' has other values than its dimensions say"),
    ("jetson", lambda f: first_output(f).write_text("[{}]"), "has other values"),
    ("jetson", repeat_first, "every image has the same map"),
    ("rb5", lambda f: first_output(f).unlink(), r"000000\.raw: missing"),
    ("rb5", cut(3), "expected 260 bytes, got 257"),
    ("rb5", cut(130), "leave --use_native_output_files out"),
    ("rb5", lambda f: first_output(f).write_bytes(np.full(65, np.nan, "<f4").tobytes()), "score or map is not finite"),
]


@pytest.mark.parametrize(("name", "spoil", "said"), SPOILT)
def test_a_faulty_output_rejects_its_target(
    bench: Any, unpacked: Unpack, seal: Seal, tmp_path: Path, name: str, spoil: Callable[[Path], Any], said: str
):
    folder = unpacked(name)
    spoil(folder)
    seal(folder)
    [fault] = rejected(bench, folder, tmp_path / "out")
    assert re.search(said, fault), fault


def test_exchanged_outputs_are_rejected(bench: Any, unpacked: Unpack, seal: Seal, tmp_path: Path):
    folder = unpacked("jetson")
    one, other = (folder / "outputs" / "bolts" / f"00000{number}.json" for number in (1, 4))
    texts = one.read_text(), other.read_text()
    one.write_text(texts[1])
    other.write_text(texts[0])
    # After the board wrote them: by their hashes. Before: by the host's own maps.
    assert all("not what the board wrote" in fault for fault in rejected(bench, folder, tmp_path / "out"))
    seal(folder)
    wanted = [
        "bolt/test/a, b:c/001.png: its output is filed under bolt/test/good/001.png; the outputs are re-ordered",
        "bolt/test/good/001.png: its output is filed under bolt/test/a, b:c/001.png; the outputs are re-ordered",
    ]
    assert rejected(bench, folder, tmp_path / "out") == wanted


def test_a_board_that_computes_badly_is_not_rejected(bench: Any, unpacked: Unpack, seal: Seal, tmp_path: Path):
    """Rejecting drift would make it look small."""
    folder, noise = unpacked("rb5"), np.random.default_rng(0)
    for path in (folder / "outputs" / "bolts").iterdir():
        values = np.fromfile(path, dtype="<f4")
        (values + noise.normal(size=values.shape)).astype("<f4").tofile(path)
    seal(folder)
    assert not ingest(folder, bench.run, tmp_path / "out").rejected


def edit_kit(**changes: Any) -> Callable[[Path], Any]:
    def edit(folder: Path) -> None:
        path = folder / "kit.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def edit_text(file: str, pattern: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / file).write_text(re.sub(pattern, text, (folder / file).read_text()))


FOREIGN = [
    (edit_kit(detector_sha256="7" * 64), "of another model .detector 777777777777, the run's seed 0"),
    (edit_kit(seed=9), "of profile mini, seed 9; this run is mini with the seeds 0, 1"),
    (edit_kit(seed=1), "of another model"),
    (edit_kit(profile="paper"), "of profile paper"),
    (edit_text("facts.tsv", "model_sha256\t.*", "model_sha256\t" + "3" * 64), "ran a model that is not in its kit"),
    (edit_kit(schema_version=1), "kit.json is damaged"),
    (edit_text("facts.tsv", "device\t.*", "device\tx\ny"), "facts.tsv: damaged"),
    (edit_text("facts.tsv", "device\t", "machine\t"), "facts.tsv has no device"),
    (edit_text("images.tsv", "000001", "000009"), "the board ran another kit"),
]


@pytest.mark.parametrize(("spoil", "said"), FOREIGN, ids=[said for _, said in FOREIGN])
def test_a_foreign_result_changes_nothing(
    bench: Any, unpacked: Unpack, seal: Seal, tmp_path: Path, spoil: Callable[[Path], Any], said: str
):
    folder = unpacked("jetson")
    spoil(folder)
    seal(folder)
    with pytest.raises(InputError, match=said) as caught:
        ingest(folder, bench.run, tmp_path / "out")
    assert str(caught.value).startswith(f"{folder.name}: ") and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_changes_on_the_host(bench: Any, unpacked: Unpack, tmp_path: Path):
    shutil.copytree(bench.run.folder, tmp_path / "run")
    run = Run(bench.run.profile.model_copy(update={"run": tmp_path / "run"}))
    manifest = read_run_manifest(run, run.profile.data.targets[0])
    write_manifest(Manifest("bolts", manifest.root, manifest.entries[:-1]), run.manifest_path("bolts"))
    done = ingest(unpacked("jetson"), run, tmp_path / "out")
    assert set(done.rejected) == {"bolts"} and set(done.scores) == {"nuts"}
    assert "the manifest has changed" in done.rejected["bolts"][0]
    run.onnx(0, "fp16").write_bytes(run.onnx(0, "fp32").read_bytes())
    with pytest.raises(InputError, match=r"seed0-fp16\.onnx is not the file in the kit"):
        ingest(unpacked("jetson"), run, tmp_path / "out")


TIMES = [
    ("jetson", lambda f: (f / "time/times.json").unlink(), "times.json: missing"),
    ("jetson", lambda f: (f / "time/times.json").write_text("["), "damaged or cut off"),
    ("jetson", lambda f: (f / "time/times.json").write_text('[{"computeMs": 3}]'), "expected 5 iterations, got 1"),
    ("jetson", lambda f: (f / "time/times.json").write_text('[{"computeMs": nan}]'), "no valid computeMs"),
    ("rb5", lambda f: (f / "time/time.tsv").write_text("iterations\tmany\n"), "time.tsv: damaged"),
    ("rb5", lambda f: (f / "time/profile.csv").write_text("x"), "no time of an execution"),
    ("rb5", lambda f: [path.unlink() for path in (f / "time").glob("profile.*")], "give --timing FILE.csv"),
]


@pytest.mark.parametrize(("name", "spoil", "said"), TIMES, ids=[said for _, _, said in TIMES])
def test_a_faulty_timing_run_rejects_no_scores(
    bench: Any, unpacked: Unpack, seal: Seal, tmp_path: Path, name: str, spoil: Callable[[Path], Any], said: str
):
    folder = unpacked(name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "latency.json").write_text("an earlier record")
    spoil(folder)
    seal(folder)
    done = ingest(folder, bench.run, tmp_path / "out")
    assert set(done.rejected) == {"latency"} and set(done.scores) == {"bolts", "nuts"}
    assert said in done.rejected["latency"][0]
    assert (tmp_path / "out" / "latency.json").read_text() == "an earlier record"


def test_an_unreadable_profile_of_layers_costs_no_times(bench: Any, unpacked: Unpack, seal: Seal, tmp_path: Path):
    folder = unpacked("jetson")
    (folder / "time" / "profile.json").write_text('[{"name": "a"b"}]')
    seal(folder)
    latency = ingest(folder, bench.run, tmp_path / "out").latency
    assert latency.layers == {} and len(latency.milliseconds) == 5


def test_times_of_the_rb5_from_elsewhere(bench: Any, unpacked: Unpack, tmp_path: Path):
    folder = unpacked("rb5")
    every = ingest(folder, bench.run, tmp_path / "out").latency
    elsewhere = tmp_path / "elsewhere.csv"
    shutil.move(folder / "time" / "profile.csv", elsewhere)
    options = ["--config", str(bench.config), "--timing", str(elsewhere), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(cli.app, ["device", "ingest", str(folder), *options])
    assert done.exit_code == 0, done.output
    assert read_latency(tmp_path / "out" / "latency.json") == every
    # In a profile that was appended to, the last executions are this run's; a short one is of another run.
    rows = elsewhere.read_text().splitlines()
    stale = [row.replace(",EXECUTE,", ",EXECUTE,9") for row in rows if ",EXECUTE," in row and "COUNT" not in row]
    elsewhere.write_text("\n".join([rows[0], *stale, *rows[1:], ""]))
    assert ingest(folder, bench.run, tmp_path / "out", elsewhere).latency == every
    elsewhere.write_text("\n".join([*rows[:-14], ""]))
    done = ingest(folder, bench.run, tmp_path / "out", elsewhere)
    assert "expected 8 executions, got 5; cut off, or of another run" in done.rejected["latency"][0]


def test_the_command_line(bench: Any, returned: dict[str, Path], unpacked: Unpack, seal: Seal):
    def run(*words: str) -> Any:
        return CliRunner().invoke(cli.app, ["device", *words, "--config", str(bench.config)])

    before = run("status").stdout
    assert before.count(": not run") == 10
    done = run("ingest", str(returned["jetson"]))
    assert done.exit_code == 0, done.output
    folder = bench.run.board("jetson")
    try:
        assert (folder / "seed0" / "bolts.npz").is_file() and "bolts: written" in done.stdout
        after = run("status").stdout
        assert "tensorrt 10.3.0, l4t 36.4.3" in after and "seed 0, bolts: 7 images" in after
        assert "seed 1, nuts: not run: needs a Jetson" in after and "(the paper: 32.83 ms)" in after
        earlier = sha256_of_file(folder / "seed0" / "nuts.npz")
        result = unpacked("jetson")
        for path in (result / "outputs" / "nuts").iterdir():
            path.write_text("[]")
        seal(result)
        failed = run("ingest", str(result))
        assert isinstance(failed.exception, CheckError)
        assert failed.stdout.count("nuts: rejected: ") == 5 and "bolts: written" in failed.stdout
        # The earlier file of a rejected target stays.
        assert sha256_of_file(folder / "seed0" / "nuts.npz") == earlier
        after = run("status").stdout
        assert "seed 0, nuts: the last result was rejected, see " in after and "seed 0, nuts: 5 images" in after
        assert run("ingest", str(returned["jetson"])).exit_code == 0
        assert not list(folder.rglob("*.rejected.txt"))
        (folder / "latency.json").write_text("{}")
        (folder / "seed0" / "bolts.npz").write_bytes(b"")
        damaged = run("status")
        assert damaged.exit_code == 0 and "damaged: " in damaged.stdout and "not a latency record" in damaged.stdout
    finally:
        shutil.rmtree(folder)


def member(name: str, size: int = 2, **changes: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def pack(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as packed:
        for info in members:
            packed.addfile(info, io.BytesIO(bytes(info.size)) if info.isreg() else None)
    return path


@pytest.mark.parametrize(
    "hostile",
    [
        member("../kit.json"),
        member("outputs/../../../kit.json"),
        member("kit.json", 0, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("times.json", 0, type=tarfile.FIFOTYPE),
        member("a\x1b[2J/x.json", 0, type=tarfile.SYMTYPE, linkname="/"),
        member("logs/build.log", 65 << 20),
    ],
)
def test_hostile_archives(bench: Any, tmp_path: Path, hostile: tarfile.TarInfo):
    path = pack(tmp_path / "result.tar", hostile)
    with pytest.raises(InputError, match="not a complete result") as caught:
        ingest(path, bench.run)
    assert str(caught.value).isprintable()
    assert [entry.name for entry in tmp_path.rglob("*")] == ["result.tar"]


def test_large_and_compressed_archives(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = pack(tmp_path / "r.tar", *(member(f"outputs/x/{number}.json") for number in range(4)))
    (tmp_path / "r.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match="not a complete result"):
        ingest(tmp_path / "r.tar.gz", bench.run)
    monkeypatch.setattr(module, "MOST_FILES", 3)
    with pytest.raises(InputError, match="too large or too many files"):
        ingest(path, bench.run)
    with pytest.raises(InputError, match=r"SHA256SUMS: missing"):
        ingest(tmp_path, bench.run)


def damage(data: bytes, chance: random.Random) -> bytes:
    """One of the things that happen to files."""
    place = chance.randrange(len(data) + 1)
    return chance.choice(
        [
            data[:place],
            data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :],
            data[:place] + data[place + chance.randrange(1, 40) :],
            data[:place] + chance.randbytes(chance.randrange(1, 40)) + data[place:],
            data[:place]
            + chance.choice([b"nan", b"1e999", b"\x00", b"\xff", b"{", b"\t", b"\n", b"9" * 400])
            + data[place:],
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jetson", "rb5"])
def test_random_damage(bench: Any, returned: dict[str, Path], tmp_path: Path, name: str):
    """An error of one line, or what the whole result gives."""
    whole = ingest(returned[name], bench.run, tmp_path / "whole")
    data, out, path = returned[name].read_bytes(), tmp_path / "out", tmp_path / "r.tar"
    chance, seen = random.Random(name), 0
    for _ in range(40):
        path.write_bytes(damage(data, chance))
        shutil.rmtree(out, ignore_errors=True)
        try:
            done = ingest(path, bench.run, out)
        except EdgeZSADError as error:
            assert "\n" not in str(error) and len(str(error)) < 500 and not out.exists()
            seen += 1
            continue
        seen += bool(done.rejected)
        for target, file in done.scores.items():
            scores, wanted = read_scores(file), read_scores(whole.scores[target])
            assert np.array_equal(scores.score, wanted.score) and np.array_equal(scores.map, wanted.map)
        assert done.latency in (None, whole.latency)
    # Padding, logs and dates may change without harm.
    assert seen > 40 / 3


def output(score: Any = 1.5, values: Any = (1, 2, 3, 4, 5, 6), dimensions: str = "1x1x2x3", name: str = "map") -> bytes:
    tensors = [
        {"name": "score", "dimensions": "1", "values": [score]},
        {"name": name, "dimensions": dimensions, "values": list(values)},
    ]
    return json.dumps(tensors).encode()


def test_outputs_of_trtexec():
    score, anomaly_map = read_trtexec_output(output(), (2, 3), "x.json")
    assert score == 1.5 and anomaly_map.dtype == np.float32
    assert anomaly_map.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read_trtexec_output(output(dimensions="2x3"), (2, 3), "x.json")[0] == 1.5
    # As TensorRT lays it out, with the tensors in another order.
    text = b"""[
  { "name" : "map"\n  , "dimensions" : "1x1x2x1"\n  , "values" : [ 0.25, -1.5e-05 ]\n  }
, { "name" : "score"\n  , "dimensions" : "1x1"\n  , "values" : [ -3 ]\n  }
]"""
    score, anomaly_map = read_trtexec_output(text, (2, 1), "x.json")
    assert score == -3 and anomaly_map.ravel().tolist() == pytest.approx([0.25, -1.5e-05])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (output()[:-20], "damaged or cut off"),
        (b"[" * 100_000, "damaged or cut off"),
        (b"{}", "not a file of trtexec"),
        (output(name="maps"), "expected"),
        (output(values=range(5)), "'map' has other values"),
        (output(dimensions="1x1x3x2"), "expected"),
        (output(values="abcdef"), "'map' has other values"),
        (output(score=1e300), "not finite"),
        (output().replace(b"1.5", b"-nan"), "not finite"),
        (output().replace(b" 6]", b" -inf]"), "not finite"),
    ],
)
def test_wrong_outputs_of_trtexec(data: bytes, said: str):
    with pytest.raises(InputError, match=rf"x\.json: .*{said}") as caught:
        read_trtexec_output(data, (2, 3), "x.json")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250
