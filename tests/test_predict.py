"""Which images are scored, what happens to bad ones, heat maps, and the shipped checkpoint."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgezsad import Detector
from edgezsad.errors import InputError
from edgezsad.export.onnx_append import appended
from edgezsad.files import write_csv
from edgezsad.model import CALIBRATION, CHECKPOINT, GRAPH
from edgezsad.model.detector import load_detector
from edgezsad.predict import (
    CSV_COLUMNS,
    SEVERAL,
    Decision,
    Failure,
    HeatMaps,
    Prediction,
    check_csv,
    csv_row,
    find_images,
    load_scorer,
    predict_files,
    verdict_notes,
)
from edgezsad.scoring.onnx_scorer import OnnxScorer, read_metadata
from edgezsad.scoring.torch_scorer import TorchScorer

REPOSITORY = Path(__file__).resolve().parent.parent


def write_image(path: Path, level: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 9, 3), level, np.uint8)).save(path)
    return path


class Brightness:
    """The score is the mean pixel value; the map is the upper left corner."""

    size = 4

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        return float(image.mean()), image[:2, :2, 0].astype(np.float32)


def test_folders_and_files_give_each_image_once(tmp_path: Path) -> None:
    first, second, inner = (write_image(tmp_path / name) for name in ("a.png", "b [1].png", "in/c.bmp"))
    (tmp_path / "notes.txt").write_text("not an image")
    assert find_images([tmp_path]) == ([first, second, inner], 0)
    assert find_images([second, tmp_path]) == ([second, first, inner], 0)
    (tmp_path / "list").write_text(f"{second}\n{inner}\n")
    assert find_images([f"@{tmp_path / 'list'}", first]) == ([second, inner, first], 0)
    with pytest.raises(FileNotFoundError, match="none"):
        find_images([f"@{tmp_path / 'none'}"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images"):
        find_images([tmp_path / "empty"])


def test_a_missing_file_is_a_failure(tmp_path: Path) -> None:
    inside = write_image(tmp_path / "[abc]" / "0.png")
    missing = tmp_path / "[abc]" / "9.png"
    assert find_images([missing, inside]) == ([missing, inside], 0)
    failure, result = predict_files(Brightness(), 0, [missing, inside])
    assert isinstance(failure, Failure) and isinstance(result, Prediction)


def test_heat_maps_of_earlier_calls_are_left_out(tmp_path: Path) -> None:
    good, earlier = write_image(tmp_path / "a.png"), write_image(tmp_path / "a.png.heatmap.png")
    assert find_images([good, earlier]) == find_images([tmp_path]) == ([good], 0)
    with pytest.raises(InputError, match="heat map of an earlier call"):
        find_images([earlier])


def test_masks_of_mvtec_layout_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = tmp_path / "set" / "part"
    images = [write_image(part / name) for name in ("test/crack/0.png", "train/good/0.png")]
    for number in range(2):
        write_image(part / "ground_truth" / "crack" / f"{number}_mask.png")
    assert find_images([tmp_path]) == (images, 2)
    for name in ("good/0.png", "bad/0.png", "masks/0.png", "Masks/1.png"):
        write_image(tmp_path / "flat" / name)
    assert find_images([tmp_path / "flat"])[1] == 2
    # A folder of that name without a `test` next to it holds images.
    alone = write_image(tmp_path / "other" / "ground_truth" / "0.png")
    assert find_images([alone]) == ([alone], 0)
    monkeypatch.chdir(part / "ground_truth")
    with pytest.raises(InputError, match=r"0_mask\.png: a mask"):
        find_images([Path("crack")])


def test_bad_files_are_reported_in_order_and_the_others_scored(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{number}.png") for number in range(9)]
    paths[4].write_bytes(paths[4].read_bytes()[:40])
    paths.insert(2, tmp_path / "nowhere.png")
    (tmp_path / "b.heic").write_bytes(b"ftypheic")
    paths.append(tmp_path / "b.heic")
    found = list(predict_files(Brightness(), 100, paths))
    assert [result.path for result in found] == paths
    failures = {result.path.name: result.reason for result in found if isinstance(result, Failure)}
    assert sorted(failures) == ["4.png", "b.heic", "nowhere.png"]
    assert all(name in reason and "\n" not in reason for name, reason in failures.items())
    good = [result for result in found if isinstance(result, Prediction)]
    assert {(result.score, result.verdict) for result in good} == {(100.0, "defective")}
    assert not any(result.defective for result in predict_files(Brightness(), 100.5, paths[:1]))


def test_a_score_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    class Nan(Brightness):
        def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
            return float("nan"), super().score(image)[1]

    (found,) = predict_files(Nan(), 0, [write_image(tmp_path / "a.png")])
    assert isinstance(found, Failure) and "the score is not finite" in found.reason


def test_a_heat_map_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / name) for name in (f"{'a' * 246}.png", "b.png")]
    long, short = predict_files(Brightness(), 0, paths, HeatMaps.of(paths))
    assert (long.score, long.heatmap) == (100, None)
    assert csv_row(long)["error"] == long.problem != ""
    assert short.heatmap == paths[1].with_name("b.png.heatmap.png")
    assert "error" not in short.as_json()


def test_heat_maps_are_next_to_the_images_or_below_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_image(tmp_path / "in" / name) for name in ("a.png", "x/a.png")]
    next_to = predict_files(Brightness(), 0, paths, HeatMaps.of(paths))
    assert [result.heatmap for result in next_to] == [path.with_name("a.png.heatmap.png") for path in paths]
    folder = tmp_path / "out"
    written = [result.heatmap for result in predict_files(Brightness(), 0, paths, HeatMaps.of(paths, folder))]
    assert written == [folder / "a.png.heatmap.png", folder / "x" / "a.png.heatmap.png"]
    for path in written:
        with Image.open(path) as image:
            assert image.size == (9, 8)
    # `..` does not lead out of the folder.
    monkeypatch.chdir(tmp_path / "in" / "x")
    relative = [Path("../a.png"), Path("a.png")]
    maps = HeatMaps.of(relative, Path("maps"))
    targets = [maps.path_of(path).as_posix() for path in relative]
    assert targets == ["maps/a.png.heatmap.png", "maps/x/a.png.heatmap.png"]


def test_the_csv_has_a_row_for_every_image(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / "a, b.png"), tmp_path / "nowhere.png"]
    results = map(csv_row, predict_files(Brightness(), 50, paths))
    with open(write_csv(tmp_path / "t.csv", results, CSV_COLUMNS), newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert [row["verdict"] for row in rows] == ["defective", ""]
    assert rows[0]["score"] == "100"
    assert "nowhere.png" in rows[1]["error"]
    # Names may hold bytes that are not text.
    odd = csv_row(Failure(tmp_path / "n\udcff.png", "damaged"))
    assert "n\\udcff.png" in write_csv(tmp_path / "t.csv", [odd], CSV_COLUMNS).read_text(encoding="utf-8")


def test_options_that_contradict(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="named like an image"):
        check_csv(tmp_path / "a.png")
    with pytest.raises(InputError, match="is a folder"):
        check_csv(tmp_path)
    with pytest.raises(InputError, match="not a finite number"):
        load_scorer(threshold=float("nan"))


def test_only_a_given_or_calibrated_threshold_decides(tmp_path: Path) -> None:
    # The shipped graph's threshold was fitted to its source: no basis on another part.
    assert load_scorer()[1].threshold is None
    assert load_scorer(threshold=1.5)[1].threshold == 1.5
    calibrated = tmp_path / "part.onnx"
    calibrated.write_bytes(appended(GRAPH.read_bytes(), metadata={CALIBRATION: "at most 5%"}))
    found = load_scorer(checkpoint=calibrated)[1]
    assert found.basis == "at most 5%" and found.threshold == OnnxScorer(GRAPH).threshold


def test_without_a_basis_there_is_no_verdict(tmp_path: Path, command: Callable[..., tuple[int, str, str]]) -> None:
    names = [write_image(tmp_path / f"{name}.png", level) for name, level in (("a", 40), ("b", 220), ("c", 90))]
    code, output, errors = command("predict", *map(str, names), "--csv", str(tmp_path / "t.csv"))
    ranks = [line.split() for line in output.splitlines()]
    assert code == 0 and [row[0] for row in ranks] == ["1", "2", "3"] and {row[1] for row in ranks} == {"uncalibrated"}
    assert [float(row[2]) for row in ranks] == sorted((float(row[2]) for row in ranks), reverse=True)
    assert errors.splitlines()[-1].startswith("verdicts: none, scores only rank images; for verdicts, adapt")
    table = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert {(row["verdict"], row["threshold"]) for row in table} == {("uncalibrated", "")}
    code, output, _ = command("predict", *map(str, names), "--json")
    assert {(row["verdict"], row["threshold"]) for row in json.loads(output)} == {("uncalibrated", None)}


def test_a_threshold_with_all_images_on_one_side_is_a_reason_to_warn(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{number}.png", 100 + number) for number in range(SEVERAL)]
    decision = Decision(0.0, "the given threshold")
    results = list(predict_files(Brightness(), decision.threshold, paths))
    assert verdict_notes(decision, results)[1].startswith("warning: all 5 images are defective; check")
    assert len(verdict_notes(decision, results[1:])) == 1


def test_the_predictor_returns_score_verdict_and_map(tmp_path: Path) -> None:
    detector = Detector(threshold=0.5)
    result = detector.predict(write_image(tmp_path / "part.png"))
    assert np.isfinite(result.score)
    assert result.verdict == ("defective" if result.score >= 0.5 else "normal")
    assert result.map.ndim == 2
    with pytest.raises(InputError, match="nowhere"):
        detector.predict(tmp_path / "nowhere.png")


def test_the_command_lists_skipped_images_with_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "a.png")
    code, _, errors = command("predict", "nowhere.png", "a.png", "--csv", "t.csv")
    assert code == 1 and "skipped nowhere.png: " in errors
    assert errors.splitlines()[-1] == "error: 1 of 2 images could not be scored (listed above)"
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_command_keeps_finished_rows(tmp_path: Path, number: signal.Signals) -> None:
    for image in range(300):
        write_image(tmp_path / "in" / f"{image}.png")
    command = [sys.executable, "-m", "edgezsad.cli", "predict", "in", "--csv", "t.csv", "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(command, cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY), "PATH": ""}, **pipes)
    # The list's bracket, then an image a line.
    first = [running.stdout.readline() for _ in range(5)][1]
    running.send_signal(number)
    printed, errors = running.communicate()
    assert running.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert not (tmp_path / "t.csv").exists()
    with open(tmp_path / "t.csv.part", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert 4 <= len(rows) < 300 and rows[0]["path"] == json.loads(first.rstrip(",\n"))["path"]
    assert not printed.rstrip().endswith("]")
    if number != signal.SIGKILL:
        assert errors.splitlines()[-1] == "t.csv.part: incomplete, holds the rows so far"
        assert "Traceback" not in errors


@pytest.mark.slow
def test_the_shipped_graph_is_the_shipped_checkpoint(tmp_path: Path) -> None:
    detector, info = load_detector(CHECKPOINT)
    graph, _ = load_scorer()
    assert graph.threshold == info.threshold
    assert read_metadata(GRAPH)["model_sha256"] == detector.sha256()
    image = np.random.default_rng(0).integers(0, 256, (detector.size, detector.size, 3), dtype=np.uint8)
    expected, expected_map = TorchScorer(detector).score(image)
    score, anomaly_map = graph.score(image)
    # Weights of the graph are rounded to FP16.
    assert abs(score - expected) < 0.05
    assert np.abs(anomaly_map - expected_map).max() < 0.1
    assert CHECKPOINT.stat().st_size + GRAPH.stat().st_size < 12e6


def test_images_that_exceed_the_memory_are_read_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_image(tmp_path / f"{level}.png", level) for level in range(0, 200, 20)]
    expected = [result.score for result in predict_files(Brightness(), None, paths)]
    for limit in (1, 72, 100, 150):
        monkeypatch.setattr("edgezsad.predict.AHEAD_PIXELS", limit)
        found = predict_files(Brightness(), None, paths, HeatMaps(tmp_path / "maps", tmp_path))
        assert [result.score for result in found] == expected
