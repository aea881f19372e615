"""Ingest of whole, partial and damaged results: a fault of one target rejects no other target."""

import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgezsad import cli
from edgezsad.claims.evaluation import CLAIMS, check_claims, require_claims
from edgezsad.config import save_profile
from edgezsad.data.manifest import Manifest, read_run_manifest, write_manifest
from edgezsad.devices import BOARDS
from edgezsad.devices.drift import board_drift, board_table
from edgezsad.devices.ingest import ingest
from edgezsad.devices.latency import Latency
from edgezsad.errors import CheckError, InputError
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
    assert done.latency == Latency.model_validate_json((out / "latency.json").read_text())
    with pytest.raises(CheckError, match="rejected bolts; "):
        done.require_all()
    return done.rejected["bolts"]


def edit_output(pattern: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: first_output(folder).write_text(re.sub(pattern, text, first_output(folder).read_text()))


def cut(count: int) -> Callable[[Path], Any]:
    return lambda folder: first_output(folder).write_bytes(first_output(folder).read_bytes()[:-count])


def repeat_first(folder: Path) -> None:
    first = first_output(folder).read_bytes()
    for path in (folder / "outputs" / "bolts").iterdir():
        path.write_bytes(first)


SPOILT = [
    ("jetson", lambda f: first_output(f).unlink(), r"a, b:c/000\.png: outputs/bolts/000000\.json: missing"),
    ("jetson", cut(30), "damaged, cut off"),
    ("jetson", edit_output(r"\[ [-0-9.e]+", '[ "x"'), "expected the tensors score and map"),
    ("jetson", repeat_first, "every image has the same map"),
    ("rb5", cut(3), "expected 65 numbers for score and map, got 257 bytes"),
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


OVERFLOW = [
    ("jetson", edit_output(r"\[ [-0-9.e]+", "[ -nan")),
    ("jetson", edit_output(r"\[ [-0-9.e]+", "[ -inf")),
    ("jetson", edit_output(r"\[ [-0-9.e]+", "[ 1e300")),
    ("rb5", lambda f: first_output(f).write_bytes(np.full(65, np.nan, "<f4").tobytes())),
]


@pytest.mark.parametrize(("name", "spoil"), OVERFLOW)
def test_nan_is_a_result_that_fails(
    bench: Any, unpacked: Unpack, seal: Seal, tmp_path: Path, name: str, spoil: Callable[[Path], Any]
):
    folder = unpacked(name)
    spoil(folder)
    seal(folder)
    done = ingest(folder, bench.run, tmp_path / "out")
    done.require_all()
    text = "NaN or infinity in 1 of 7 images: FP16 overflow on the board; running again gives the same"
    assert f"bolts: written, {tmp_path}/out/seed0/bolts.npz\n  fails: {text}" in done.as_text()
    assert "drift " in done.drift["nuts"]
    measured = board_drift(bench.run, BOARDS[name], tmp_path / "out")
    assert measured.failed == {"bolts": f"seed 0: {text}"}
    table = board_table(bench.run, BOARDS[name], measured).set_index("benchmark")
    assert table.loc["MVTec-AD", ["ours", "verdict"]].tolist() == ["not finite", f"fails: seed 0: {text}"]
    result = {"profile": bench.run.profile.profile, "board": measured.result()}
    assert result["board"]["failed"] == measured.failed
    claim = replace(CLAIMS["Jetson drift"], profiles=["mini"])
    run = Run(bench.run.profile.model_copy(update={"run": tmp_path / "run"}))
    run.write_result("jetson_drift", result)
    [verdict] = check_claims(run, [claim])
    assert (verdict.status, verdict.reason) == ("fails", f"bolts, seed 0: {text}")
    with pytest.raises(CheckError, match="FP16 overflow on the board"):
        require_claims([verdict])


def test_maps_unlike_the_hosts_show_in_the_drift(bench: Any, unpacked: Unpack, seal: Seal, tmp_path: Path):
    """As of a DLC that reads another layout."""
    folder, noise = unpacked("rb5"), np.random.default_rng(0)
    for path in (folder / "outputs" / "bolts").iterdir():
        noise.normal(size=65).astype("<f4").tofile(path)
    seal(folder)
    done = ingest(folder, bench.run, tmp_path / "out")
    [maps] = re.findall(r"of maps (-?[0-9.]+)", done.drift["bolts"])
    assert abs(float(maps)) < 0.5
    assert any("fp16.dlc has no record: its model, layout and precision are assumed" in note for note in done.notes)
    assert read_scores(tmp_path / "out" / "seed0" / "bolts.npz").record.precision == "unverified"


def test_exchanged_outputs_are_rejected(bench: Any, unpacked: Unpack, tmp_path: Path):
    folder = unpacked("jetson")
    one, other = (folder / "outputs" / "bolts" / f"00000{number}.json" for number in (1, 4))
    texts = one.read_text(), other.read_text()
    one.write_text(texts[1])
    other.write_text(texts[0])
    assert all("not what the board wrote" in fault for fault in rejected(bench, folder, tmp_path / "out"))


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
    (edit_kit(detector_sha256="7" * 64), "of another model than "),
    (edit_kit(seed=9), "of profile mini, seed 9; this run is mini with the seeds 0, 1"),
    (lambda folder: (folder / "run.sh").write_text(""), "this is the kit; give the archive NAME-result.tar"),
    (edit_text("facts.tsv", "model_sha256\t.*", "model_sha256\t" + "3" * 64), "ran a model that is not in its kit"),
    (edit_kit(schema_version=1), "kit.json is damaged"),
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
    assert "the images have changed" in done.rejected["bolts"][0]


TIMES = [
    ("jetson", lambda f: (f / "time/times.json").unlink(), "times.json: missing"),
    ("jetson", lambda f: (f / "time/times.json").write_text('[{"computeMs": 3}]'), "expected 5 runs, got 1"),
    ("jetson", lambda f: (f / "time/times.json").write_text('[{"computeMs": nan}, {}, {}, {}, {}]'), "milliseconds.0"),
    ("rb5", lambda f: (f / "time/time.tsv").write_text("iterations\tmany\n"), "time.tsv: damaged"),
    ("rb5", lambda f: [path.unlink() for path in (f / "time").glob("profile.*")], "give --timing FILE.csv"),
    ("rb5", lambda f: shutil.rmtree(f / "time"), "time/time.tsv: missing"),
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


def test_times_of_the_rb5_from_elsewhere(bench: Any, unpacked: Unpack, tmp_path: Path):
    folder = unpacked("rb5")
    every = ingest(folder, bench.run, tmp_path / "out").latency
    elsewhere = tmp_path / "elsewhere.csv"
    shutil.move(folder / "time" / "profile.csv", elsewhere)
    assert ingest(folder, bench.run, tmp_path / "out", elsewhere).latency == every
    rows = elsewhere.read_text().splitlines()
    elsewhere.write_text("\n".join([*rows[:-14], ""]))
    done = ingest(folder, bench.run, tmp_path / "out", elsewhere)
    assert "expected 8 runs, got 5; cut off, or of another run" in done.rejected["latency"][0]


def test_the_command_line(bench: Any, returned: dict[str, Path], unpacked: Unpack, seal: Seal):
    def run(*words: str) -> Any:
        return CliRunner().invoke(cli.app, ["device", *words, "--config", str(bench.config)])

    done = run("ingest", str(returned["jetson"]))
    assert done.exit_code == 0, done.output
    folder = bench.run.board("jetson")
    try:
        assert (folder / "seed0" / "bolts.npz").is_file() and "bolts: written" in done.stdout
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
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_the_report_shows_the_ingested_result(bench: Any, returned: dict[str, Path], tmp_path: Path):
    shutil.copytree(bench.run.folder, tmp_path / "run")
    evaluation = bench.run.profile.evaluation.model_copy(update={"runtimes": ("pytorch",)})
    values = {"run": tmp_path / "run", "seeds": (0,), "evaluation": evaluation}
    config = save_profile(bench.run.profile.model_copy(update=values), tmp_path / "config.yaml")
    done = CliRunner().invoke(cli.app, ["device", "ingest", str(returned["jetson"]), "--page", "--config", str(config)])
    assert done.exit_code == 0, done.output
    page = tmp_path / "run" / "boards" / "pages" / "html" / "notebooks" / "08_jetson_drift.html"
    assert done.stdout.splitlines()[-1] == f"page: {page}"
    text = page.read_text(encoding="utf-8")
    measured = json.loads((tmp_path / "run" / "results" / "jetson_drift.json").read_text())
    times = measured["board_latency"]
    assert measured["board"]["status"] == times["status"] == "ok" and times["iterations"] == 5
    for words in (f"{times['median_ms']:.2f}</td>", "measured on the board, 5 times", measured["board"]["runtime"]):
        assert words in text, words
    assert text.count('<figure class="chart') == 2 and "not run: needs" not in text


HOSTILE = [{"name": "../kit.json"}, {"name": "kit.json", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}]


@pytest.mark.parametrize("changes", HOSTILE)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_hostile_and_compressed_archives(bench: Any, tmp_path: Path, changes: dict[str, Any], mode: str):
    info = tarfile.TarInfo()
    for key, value in changes.items():
        setattr(info, key, value)
    with tarfile.open(tmp_path / "result.tar", mode) as packed:
        packed.addfile(info, io.BytesIO())
    with pytest.raises(InputError, match="not a complete result") as caught:
        ingest(tmp_path / "result.tar", bench.run)
    assert str(caught.value).isprintable()
    assert [entry.name for entry in tmp_path.rglob("*")] == ["result.tar"]
