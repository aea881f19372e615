"""What a board brings back is taken whole or refused by name; one target's fault costs no other target anything."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgezsad import cli
from edgezsad.data.manifest import Manifest, read_run_manifest, write_manifest
from edgezsad.devices.ingest.order import host_maps, misplaced, same_for_all
from edgezsad.devices.ingest.take import ingest
from edgezsad.devices.kit.record import KitRecord
from edgezsad.devices.latency import read_latency
from edgezsad.errors import CheckError, InputError
from edgezsad.run import Run
from edgezsad.scoring.score_file import read_scores

Unpack = Callable[[str], Path]


def first_output(folder: Path) -> Path:
    """Of the first image of bolts."""
    return min((folder / "outputs" / "bolts").iterdir())


def edit_output(folder: Path, change: Callable[[Any], Any]) -> None:
    path = first_output(folder)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def with_values(values: Callable[[list[float]], list[float]], place: int = -1) -> Callable[[Any], Any]:
    def change(tensors: Any) -> Any:
        tensor = next(item for item in tensors if item["name"] == "map")
        tensor["values"] = values(tensor["values"])
        return tensors

    return change


def refused(bench: Any, folder: Path, tmp_path: Path, spared: str | None = "nuts") -> list[str]:
    """Take a spoilt result in: what is said of bolts; `spared` is taken, and so is the latency."""
    taken = ingest(folder, bench.run, tmp_path / "out")
    assert "bolts" in taken.refused and "bolts" not in taken.scores
    assert not (tmp_path / "out" / "seed0" / "bolts.npz").exists()
    if spared:
        assert set(taken.refused) == {"bolts"}
        assert len(read_scores(tmp_path / "out" / "seed0" / f"{spared}.npz")) == 5
        assert taken.latency == read_latency(tmp_path / "out" / "latency.json")
    with pytest.raises(CheckError) as caught:
        taken.require_all()
    assert caught.value.exit_code == 1
    told = (tmp_path / "out" / "seed0" / "bolts.refused.txt").read_text().splitlines()
    assert told == taken.refused["bolts"]
    return told


JETSON: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (
        lambda f: first_output(f).unlink(),
        r"a, b:c/000\.png: no result \(outputs/bolts/000000\.json is missing",
    ),
    "cut off": (lambda f: first_output(f).write_bytes(first_output(f).read_bytes()[:-30]), "damaged or cut off"),
    "empty": (lambda f: first_output(f).write_bytes(b""), "damaged or cut off"),
    "NaN": (lambda f: edit_output(f, with_values(lambda v: [float("nan"), *v[1:]])), "not finite"),
    "infinite": (lambda f: edit_output(f, with_values(lambda v: [float("inf"), *v[1:]])), "not finite"),
    "short": (lambda f: edit_output(f, with_values(lambda v: v[:-1])), "map has 63 values, 1x1x8x8 needs 64"),
    "long": (lambda f: edit_output(f, with_values(lambda v: [*v, 1.0])), "map has 65 values"),
    "no score": (lambda f: edit_output(f, lambda tensors: tensors[1:]), "has the tensors"),
    "surplus": (lambda f: shutil.copy(first_output(f), f / "outputs/bolts/000099.json"), "000099.json: of no image"),
    "same for all": (
        lambda f: [
            shutil.copy(first_output(f), path) for path in (f / "outputs/bolts").iterdir() if path != first_output(f)
        ],
        "every image has the same result",
    ),
}


@pytest.mark.parametrize("fault", JETSON)
def test_a_faulty_target_of_the_jetson_is_refused_by_name(
    bench: Any, unpacked: Unpack, results: ModuleType, tmp_path: Path, fault: str
):
    folder = unpacked("jetson")
    spoil, said = JETSON[fault]
    spoil(folder)
    results.seal(folder)
    [told] = refused(bench, folder, tmp_path)
    assert re.search(said, told), told


def test_every_fault_is_named(bench: Any, unpacked: Unpack, results: ModuleType, tmp_path: Path):
    folder = unpacked("jetson")
    paths = sorted((folder / "outputs" / "bolts").iterdir())
    paths[0].unlink()
    paths[3].write_text("[]")
    results.seal(folder)
    paths[5].write_bytes(paths[5].read_bytes() + b" ")
    told = refused(bench, folder, tmp_path)
    assert [text.split(":json")[0].split(": ")[0] for text in told] == [
        "bolt/test/a, b:c/000.png", "bolt/test/good/000.png", "bolt/test/good/002.png",
    ]  # fmt: skip
    assert "not what the board wrote for this image" in told[2]


def test_rows_that_are_doubled_or_of_other_inputs_are_refused(bench: Any, unpacked: Unpack, tmp_path: Path):
    folder = unpacked("jetson")
    table = folder / "outputs.tsv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([*rows, rows[0], ""]))
    assert "is in outputs.tsv 2 times" in refused(bench, folder, tmp_path)[0]
    cells = rows[1].split("\t")
    table.write_text("\n".join([rows[0], "\t".join([cells[0], "a" * 64, cells[2]]), *rows[2:], ""]))
    assert "computed from another image than the kit's" in refused(bench, folder, tmp_path)[0]
    table.write_text("\n".join([*rows, f"000777\t{'a' * 64}\t{'b' * 64}", ""]))
    assert "row 000777 is of no image" in refused(bench, folder, tmp_path)[0]
    table.write_text("\n".join(rows)[:-5])
    taken = ingest(folder, bench.run, tmp_path / "other")
    assert set(taken.refused) == {"bolts", "nuts"} and taken.latency
    assert "outputs.tsv: cut off" in taken.refused["nuts"][0]


def test_results_that_changed_places_are_refused(bench: Any, unpacked: Unpack, results: ModuleType, tmp_path: Path):
    folder = unpacked("jetson")
    outputs = folder / "outputs" / "bolts"
    results.swap(outputs / "000001.json", outputs / "000004.json")
    # After the board wrote them: by their hashes.
    told = refused(bench, folder, tmp_path)
    assert len(told) == 2 and all("moved, changed or cut off" in text for text in told)
    # Before, or by somebody who mends the hashes: by the host's own maps.
    results.seal(folder)
    told = refused(bench, folder, tmp_path)
    assert told == [
        "bolt/test/a, b:c/001.png: its result is at bolt/test/good/001.png; the results are re-ordered",
        "bolt/test/good/001.png: its result is at bolt/test/a, b:c/001.png; the results are re-ordered",
    ]


def test_a_rotation_is_seen_without_score_files_of_the_host(
    bench: Any, unpacked: Unpack, results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Run, "scores", lambda self, *names: tmp_path / "nowhere.npz")
    folder = unpacked("jetson")
    assert not ingest(folder, bench.run, tmp_path / "good").refused
    outputs = sorted((folder / "outputs" / "bolts").iterdir())
    texts = [path.read_text() for path in outputs]
    for path, text in zip(outputs, [*texts[1:], texts[0]], strict=True):
        path.write_text(text)
    results.seal(folder)
    assert "the results are re-ordered" in refused(bench, folder, tmp_path)[0]


def test_a_board_that_computes_badly_is_no_reason_to_refuse(
    bench: Any, unpacked: Unpack, results: ModuleType, tmp_path: Path
):
    """Drift is to be reported, whatever its size: refusing it would make the drift look small."""
    folder = unpacked("jetson")
    noise = np.random.default_rng(0)
    for path in (folder / "outputs" / "bolts").iterdir():
        tensors = json.loads(path.read_text())
        for tensor in tensors:
            tensor["values"] = [value + noise.normal() for value in tensor["values"]]
        path.write_text(json.dumps(tensors))
    results.seal(folder)
    assert not ingest(folder, bench.run, tmp_path / "out").refused


def test_misplaced_needs_another_map_that_is_far_closer():
    random = np.random.default_rng(0)
    host = random.normal(size=(300, 4, 4))
    rows = np.arange(300)
    assert misplaced(rows, host, host + random.normal(0, 0.2, host.shape)) == []
    device = host.copy()
    device[[7, 280]] = device[[280, 7]]
    assert misplaced(rows, host, device) == [(7, 280), (280, 7)]
    # Twins: either's result fits both.
    host[5] = host[6]
    assert misplaced(rows, host, host[[*range(5), 6, 5, *range(7, 300)]]) == []
    assert same_for_all(np.ones((2, 3, 3))) and not same_for_all(host) and not same_for_all(np.ones((1, 3, 3)))


def test_the_host_maps_are_the_score_files(bench: Any):
    manifest = read_run_manifest(bench.run, bench.run.profile.data.targets[0])
    rows, maps = host_maps(bench.run, 0, manifest, "0" * 64)
    assert np.array_equal(maps, bench.scores["fp32"]["bolts"].map) and rows.tolist() == list(range(7))
    # Of another detector: computed anew.
    rows, maps = host_maps(bench.run, 1, manifest, "1" * 64)
    assert len(rows) == 7 and not np.allclose(maps, bench.scores["fp32"]["bolts"].map)


def lot(folder: Path, number: int = 0) -> Path:
    return folder / "chunks" / f"{number:04d}"


def edit_list(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = lot(folder) / "input_list.txt"
    path.write_text("\n".join([*change(path.read_text().splitlines()), ""]))


def map_of(folder: Path, line: int, name: str = "map") -> Path:
    return lot(folder) / f"Result_{line}" / f"{name}.raw"


def half(path: Path) -> None:
    path.write_bytes(np.frombuffer(path.read_bytes(), dtype="<f4").astype("<f2").tobytes())


RB5: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda f: map_of(f, 2).unlink(), "a, b:c/001.png: .*no row 2|no result"),
    "cut off": (lambda f: map_of(f, 1).write_bytes(map_of(f, 1).read_bytes()[:-3]), "253 bytes, not 256"),
    "native": (lambda f: half(map_of(f, 1)), "leave --use_native_output_files out"),
    "NaN": (lambda f: map_of(f, 3).write_bytes(np.full(64, np.nan, "<f4").tobytes()), "not finite"),
    "wrong length": (lambda f: map_of(f, 1, "score").write_bytes(bytes(8)), "8 bytes, not 4"),
    "surplus result": (lambda f: shutil.copytree(lot(f) / "Result_1", lot(f) / "Result_9"), "Result_9: of no line"),
    "surplus tensor": (lambda f: shutil.copy(map_of(f, 1), map_of(f, 1, "maps")), "Result_1/maps.raw: of no line"),
    "list re-ordered": (
        lambda f: edit_list(f, lambda x: [x[0], *x[-2:0:-1], x[-1]]),
        "re-ordered; not the order of the kit",
    ),
    "list without guard": (
        lambda f: edit_list(f, lambda x: x[1:]),
        "does not begin and end with the guarding pictures",
    ),
    "list with a stranger": (
        lambda f: edit_list(f, lambda x: [x[0], "image:=999999.raw", *x[2:]]),
        "999999 is of no image",
    ),
    "list damaged": (lambda f: edit_list(f, lambda x: [x[0], "image", *x[2:]]), "line 2 is damaged"),
    "doubled": (lambda f: edit_list(f, lambda x: [x[0], x[2], *x[2:]]), "was run twice"),
}


@pytest.mark.parametrize("fault", RB5)
def test_a_faulty_target_of_the_rb5_is_refused_by_name(
    bench: Any, unpacked: Unpack, results: ModuleType, tmp_path: Path, fault: str
):
    folder = unpacked("rb5")
    spoil, said = RB5[fault]
    spoil(folder)
    results.seal(folder)
    # The first lot holds five images of bolts, so that nuts are spared, except where it no longer says what it holds.
    told = refused(bench, folder, tmp_path, None if fault == "list damaged" else "nuts")
    assert re.search(said, told[0]), told


def test_results_of_the_rb5_that_changed_places_are_refused(
    bench: Any, unpacked: Unpack, results: ModuleType, tmp_path: Path
):
    folder = unpacked("rb5")
    results.swap(lot(folder) / "Result_1", lot(folder) / "Result_3")
    told = refused(bench, folder, tmp_path)
    assert len(told) == 2 and all("is not what the board wrote there" in text for text in told)
    results.seal(folder)
    told = refused(bench, folder, tmp_path)
    assert len(told) == 2 and all("the results are re-ordered" in text for text in told)
    # A lot that is turned round: the guarding pictures tell, also where the host has nothing else to compare with.
    folder = unpacked("rb5")
    results.swap(lot(folder) / "Result_0", lot(folder) / "Result_6")
    results.seal(folder)
    assert "the result of canary-a, line 0, is at line 6" in refused(bench, folder, tmp_path)[0]


def test_a_lot_that_is_gone_is_named_image_by_image(bench: Any, unpacked: Unpack, tmp_path: Path):
    folder = unpacked("rb5")
    shutil.rmtree(lot(folder, 1))
    taken = ingest(folder, bench.run, tmp_path / "out")
    # Two of bolts and three of nuts were in it.
    assert taken.refused["bolts"] == [
        "bolt/test/good/002.png: no result",
        "bolt/test/good/003.png: no result",
    ]
    assert len(taken.refused["nuts"]) == 3 and taken.latency


def edit_json(folder: Path, **changes: Any) -> None:
    path = folder / "kit.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_fact(folder: Path, key: str, value: str) -> None:
    path = folder / "facts.tsv"
    lines = [f"{key}\t{value}" if line.split("\t")[0] == key else line for line in path.read_text().splitlines()]
    path.write_text("\n".join([*lines, ""]))


FOREIGN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "detector": (
        lambda f: edit_json(f, detector_sha256="7" * 64),
        "of another model .detector 777777777777, the run's seed 0",
    ),
    "seed": (lambda f: edit_json(f, seed=9), "of profile mini, seed 9; this run is mini with the seeds 0, 1"),
    "other seed": (lambda f: edit_json(f, seed=1), "of another model"),
    "profile": (lambda f: edit_json(f, profile="paper"), "of profile paper"),
    "model": (lambda f: edit_fact(f, "model_sha256", "3" * 64), "ran a model that is not in its kit"),
    "sizes": (lambda f: edit_json(f, map_shape=[4, 16]), "tells of other sizes"),
    "schema": (lambda f: edit_json(f, schema_version=2), "kit.json is damaged"),
    "board": (lambda f: edit_json(f, board="pi"), "kit.json is damaged"),
    "key": (lambda f: edit_json(f, surprise=1), "kit.json is damaged"),
    "targets": (lambda f: edit_json(f, targets=[]), "kit.json is damaged"),
    "no JSON": (lambda f: (f / "kit.json").write_text("{"), "kit.json is damaged"),
    "facts": (lambda f: edit_fact(f, "device", "x\ny"), "facts.tsv: row"),
    "list": (
        lambda f: (f / "images.tsv").write_text((f / "images.tsv").read_text().replace("000001", "000009", 1)),
        "not the",
    ),
}


@pytest.mark.parametrize("fault", FOREIGN)
@pytest.mark.parametrize("name", ["jetson", "rb5"])
def test_a_foreign_result_is_refused_and_touches_nothing(
    bench: Any, unpacked: Unpack, results: ModuleType, tmp_path: Path, name: str, fault: str
):
    folder = unpacked(name)
    spoil, said = FOREIGN[fault]
    spoil(folder)
    results.seal(folder)
    with pytest.raises(InputError, match=said) as caught:
        ingest(folder, bench.run, tmp_path / "out")
    assert str(caught.value).startswith(f"{folder.name}: ") and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["kit.json", "images.tsv", "facts.tsv", "commands.tsv", "SHA256SUMS"])
def test_what_says_whose_result_it_is_must_be_there_and_whole(bench: Any, unpacked: Unpack, tmp_path: Path, file: str):
    folder = unpacked("jetson")
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data + b"x\ty\n")
    with pytest.raises(InputError, match="damaged"):
        ingest(folder, bench.run, tmp_path / "out")
    (folder / file).unlink()
    with pytest.raises(InputError, match=f"{re.escape(file)}: missing; not a whole result"):
        ingest(folder, bench.run, tmp_path / "out")


def test_another_kit_of_the_same_run_is_refused(bench: Any, unpacked: Unpack, tmp_path: Path, results: ModuleType):
    """The list of one kit with the results of another."""
    folder = unpacked("jetson")
    edit_fact(folder, "kit_sha256", "5" * 64)
    sums = [f"{results.digest(folder / name)}  {name}\n" for name in results.SEALED if (folder / name).exists()]
    (folder / "SHA256SUMS").write_text("".join(sums))
    with pytest.raises(InputError, match=r"the board ran another kit than kit\.json tells of"):
        ingest(folder, bench.run, tmp_path / "out")


def spoilt_run(bench: Any, tmp_path: Path) -> Run:
    """A copy of the run's folder, for changes on the host."""
    shutil.copytree(bench.run.folder, tmp_path / "run")
    return Run(bench.run.profile.model_copy(update={"run": tmp_path / "run"}))


def test_a_manifest_that_changed_refuses_its_target(bench: Any, unpacked: Unpack, tmp_path: Path):
    run = spoilt_run(bench, tmp_path)
    manifest = read_run_manifest(run, run.profile.data.targets[0])
    write_manifest(Manifest("bolts", manifest.root, manifest.entries[:-1]), run.manifest_path("bolts"))
    taken = ingest(unpacked("jetson"), run, tmp_path / "out")
    assert set(taken.refused) == {"bolts"} and set(taken.scores) == {"nuts"}
    assert "bolts: of another manifest" in taken.refused["bolts"][0]


def test_a_target_that_the_profile_lost_is_refused(bench: Any, unpacked: Unpack, tmp_path: Path):
    values = bench.run.profile.model_dump()
    values["data"]["targets"] = values["data"]["targets"][:1]
    taken = ingest(unpacked("rb5"), Run(type(bench.run.profile).model_validate(values)), tmp_path / "out")
    assert taken.refused == {"nuts": ["nuts: no target of a test"]}


def test_a_graph_that_was_exported_anew_refuses_the_result(bench: Any, unpacked: Unpack, tmp_path: Path):
    run = spoilt_run(bench, tmp_path)
    run.onnx(0, "fp16").write_bytes(run.onnx(0, "fp32").read_bytes())
    with pytest.raises(InputError, match=r"seed0-fp16\.onnx is not the file that the kit was made from"):
        ingest(unpacked("jetson"), run, tmp_path / "out")


def test_an_image_that_changed_on_the_host_refuses_its_target(
    bench: Any, unpacked: Unpack, tmp_path: Path, results: ModuleType
):
    folder = unpacked("jetson")
    rows = (folder / "images.tsv").read_text().split("\n")
    cells = rows[0].split("\t")
    rows[0] = "\t".join([*cells[:3], "e" * 64, cells[4]])
    (folder / "images.tsv").write_text("\n".join(rows))
    edit_json(folder, images_sha256=results.digest(folder / "images.tsv"))
    results.seal(folder)
    assert "is not this image as the host prepares it now" in refused(bench, folder, tmp_path)[0]


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("jetson", lambda f: (f / "times.json").unlink(), "times.json: missing"),
        ("jetson", lambda f: (f / "times.json").write_text("["), "damaged or cut off"),
        ("jetson", lambda f: (f / "times.json").write_text('[{"computeMs": 3}]'), "1 of 5 iterations; cut off"),
        ("jetson", lambda f: (f / "times.json").write_text('[{"computeMs": nan}]'), "no computeMs that is a time"),
        ("jetson", lambda f: (f / "profile.json").write_text("{}"), "not a profile of trtexec"),
        ("rb5", lambda f: (f / "time/time.tsv").write_text("iterations\tmany\n"), "time.tsv is damaged"),
        ("rb5", lambda f: (f / "time/time.tsv").unlink(), "time.tsv: missing"),
        ("rb5", lambda f: (f / "time/profile.csv").write_text("x"), "no time of an execution"),
        ("rb5", lambda f: [p.unlink() for p in (f / "time").glob("profile.*")], "give --timing FILE.csv"),
    ],
)
def test_a_faulty_timing_run_costs_no_scores(
    bench: Any,
    unpacked: Unpack,
    results: ModuleType,
    tmp_path: Path,
    name: str,
    spoil: Callable[[Path], Any],
    said: str,
):
    folder = unpacked(name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "latency.json").write_text("what was there before")
    spoil(folder)
    results.seal(folder)
    taken = ingest(folder, bench.run, tmp_path / "out")
    assert set(taken.refused) == {"latency"} and set(taken.scores) == {"bolts", "nuts"}
    assert said in taken.refused["latency"][0]
    assert (tmp_path / "out" / "latency.json").read_text() == "what was there before"


def test_times_that_were_changed_are_refused(bench: Any, unpacked: Unpack, tmp_path: Path):
    folder = unpacked("jetson")
    text = (folder / "times.json").read_text()
    (folder / "times.json").write_text(text.replace('"computeMs" : ', '"computeMs" : 0'))
    taken = ingest(folder, bench.run, tmp_path / "out")
    assert "times.json: not what the board packed" in taken.refused["latency"][0]


def test_times_of_the_rb5_by_text_or_from_elsewhere(bench: Any, unpacked: Unpack, tmp_path: Path):
    folder = unpacked("rb5")
    every = ingest(folder, bench.run, tmp_path / "out").latency
    shutil.move(folder / "time" / "profile.csv", tmp_path / "elsewhere.csv")
    average = ingest(folder, bench.run, tmp_path / "out").latency
    assert len(average.milliseconds) == 1 and "the average of 8 executions" in average.method
    # One number of many executions has no percentile: it must not be shown as one.
    assert (average.averaged, average.median_ms, average.p95_ms) == (8, None, None)
    assert "average" in average.sentence() and "median" in every.sentence()
    words = [
        "device",
        "ingest",
        str(folder),
        "--config",
        str(bench.config),
        "--timing",
        str(tmp_path / "elsewhere.csv"),
    ]
    done = CliRunner().invoke(cli.app, [*words, "--output", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert read_latency(tmp_path / "out" / "latency.json") == every
    # A profile that was appended to: the last executions are this run's. One that is too short is another's.
    text = (tmp_path / "elsewhere.csv").read_text()
    rows = text.splitlines()
    stale = [row.replace(",EXECUTE,", ",EXECUTE,9") for row in rows if ",EXECUTE," in row and "COUNT" not in row]
    (tmp_path / "elsewhere.csv").write_text("\n".join([rows[0], *stale, *rows[1:], ""]))
    assert ingest(folder, bench.run, tmp_path / "out", tmp_path / "elsewhere.csv").latency == every
    (tmp_path / "elsewhere.csv").write_text("\n".join([*rows[:-14], ""]))
    taken = ingest(folder, bench.run, tmp_path / "out", tmp_path / "elsewhere.csv")
    assert "of 8 executions; cut off, or another run's" in taken.refused["latency"][0]


def test_what_was_there_stays_when_the_new_result_is_refused(
    bench: Any, unpacked: Unpack, results: ModuleType, tmp_path: Path
):
    folder = unpacked("jetson")
    ingest(folder, bench.run, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    text = first_output(folder).read_bytes()
    first_output(folder).unlink()
    ingest(folder, bench.run, tmp_path / "out")
    assert all(path.read_bytes() == data for path, data in before.items())
    told = tmp_path / "out" / "seed0" / "bolts.refused.txt"
    assert told.is_file()
    first_output(folder).with_name("000000.json").write_bytes(text)
    ingest(folder, bench.run, tmp_path / "out")
    assert not told.exists()


def test_the_command_line_says_what_it_took_and_what_not(
    bench: Any, returned: dict[str, Path], unpacked: Unpack, results: ModuleType
):
    config = ["--config", str(bench.config)]
    before = CliRunner().invoke(cli.app, ["device", "status", *config]).stdout
    assert before.count("not run: 2 target(s) of seed 0, 2 target(s) of seed 1; needs") == 2
    assert before.count("latency: not run") == 2
    done = CliRunner().invoke(cli.app, ["device", "ingest", str(returned["jetson"]), *config])
    assert done.exit_code == 0, done.output
    place = bench.run.board("jetson")
    try:
        assert (place / "seed0" / "bolts.npz").is_file() and "bolts: taken" in done.stdout
        after = CliRunner().invoke(cli.app, ["device", "status", *config]).stdout
        assert "seed 0, bolts: 7 images, tensorrt 10.3.0, l4t 36.4.3" in after
        assert "not run: 2 target(s) of seed 1" in after and "(the paper: 32.83 ms)" in after
        folder = unpacked("jetson")
        for path in (folder / "outputs" / "nuts").iterdir():
            path.write_text("[]")
        results.seal(folder)
        failed = CliRunner().invoke(cli.app, ["device", "ingest", str(folder), *config])
        assert isinstance(failed.exception, CheckError)
        assert failed.stdout.count("nuts: refused: ") == 5 and "bolts: taken" in failed.stdout
        after = CliRunner().invoke(cli.app, ["device", "status", *config]).stdout
        assert "seed 0, nuts: the last result was refused, see " in after and "seed 0, nuts: 5 images" in after
        (place / "latency.json").write_text("{}")
        (place / "seed0" / "bolts.npz").write_bytes(b"")
        damaged = CliRunner().invoke(cli.app, ["device", "status", *config])
        assert damaged.exit_code == 0 and "damaged: " in damaged.stdout and "not a latency record" in damaged.stdout
    finally:
        shutil.rmtree(place)


def test_a_kit_record_names_each_target_once(unpacked: Unpack):
    values = json.loads((unpacked("jetson") / "kit.json").read_text())
    with pytest.raises(ValueError, match="a target is there twice"):
        KitRecord.model_validate(values | {"targets": values["targets"] * 2})
