"""Heat maps, the choice of photographs, bad ones among them, and the committed checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from edgezsad.checkpoints import CHECKPOINT, GRAPH
from edgezsad.errors import InputError
from edgezsad.export.lint import load_graph
from edgezsad.model.detector import load_detector
from edgezsad.predict import (
    Failure,
    HeatMaps,
    Prediction,
    find_photographs,
    load_scorer,
    predict_files,
    without_masks,
    write_csv,
)
from edgezsad.scoring.runtimes import read_metadata
from edgezsad.scoring.torch_scorer import TorchScorer
from edgezsad.show.maps import HEAT_RANGE, overlay

REPOSITORY = Path(__file__).resolve().parent.parent


def environment() -> dict[str, str]:
    return {"PYTHONPATH": str(REPOSITORY), "PATH": ""}


def photograph(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((8, 9, 3), 100, np.uint8)).save(path)
    return path


def test_overlay_leaves_what_is_surely_normal_and_paints_what_is_not() -> None:
    # Taller than a band of rows, so that a band's edge would show.
    image = np.random.default_rng(0).integers(0, 255, (600, 40, 3), dtype=np.uint8)
    low, high = HEAT_RANGE
    assert np.array_equal(overlay(image, np.full((4, 4), low - 5)), image)
    painted = overlay(np.zeros_like(image), np.full((4, 4), high + 5))
    assert len(np.unique(painted.reshape(-1, 3), axis=0)) == 1
    assert painted[0, 0].min() > 50
    half = np.full((2, 2), low)
    half[1] = high
    changed = (overlay(image, half) != image).any(axis=2).mean(axis=1)
    assert changed[:100].max() < 0.2
    assert changed[-100:].min() > 0.8


class Brightness:
    """Scores an image by its brightness; the map is its upper left corner's."""

    size = 4

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        return float(image.mean()), image[:2, :2, 0].astype(np.float32)


def test_earlier_heat_maps_are_left_out(tmp_path: Path) -> None:
    good = photograph(tmp_path / "a.png")
    earlier = photograph(tmp_path / "a.png.heatmap.png")
    assert find_photographs([good, earlier]) == [good]
    with pytest.raises(InputError, match="heat map of an earlier call"):
        find_photographs([earlier])
    assert find_photographs([tmp_path]) == [good]


def test_folders_patterns_and_files_give_each_photograph_once(tmp_path: Path) -> None:
    first, second, inner = (photograph(tmp_path / name) for name in ("a.png", "b [1].png", "in/c.bmp"))
    (tmp_path / "notes.txt").write_text("no image")
    assert find_photographs([tmp_path]) == [first, second, inner]
    assert find_photographs([second, tmp_path / "*.png"]) == [second, first]
    assert find_photographs([tmp_path / "**" / "*"]) == [first, second, inner]
    # A name that looks like a pattern is a name where there is such a file.
    assert find_photographs([second]) == [second]
    for nothing in (tmp_path / "*.tiff", (tmp_path / "empty")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="no images there"):
            find_photographs([nothing])


def test_pictures_of_other_kinds_are_told_of(tmp_path: Path) -> None:
    photograph(tmp_path / "a.png")
    (tmp_path / "b.heic").write_bytes(b"ftypheic")
    found = list(predict_files(Brightness(), 0, find_photographs([tmp_path])))
    assert [type(one) for one in found] == [Prediction, Failure]
    assert "b.heic" in found[1].reason


def test_a_table_never_takes_a_pictures_place(tmp_path: Path) -> None:
    first, second = (photograph(tmp_path / name) for name in ("a.jpg", "b.jpg"))
    before = first.read_bytes()
    command = [sys.executable, "-m", "edgezsad.cli", "predict", "--csv", str(first), str(second)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment())
    assert done.returncode == 2
    assert "named as a picture" in done.stderr
    assert first.read_bytes() == before


def test_a_heat_map_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    paths = [photograph(tmp_path / name) for name in (f"{'a' * 246}.png", "b.png")]
    long, short = predict_files(Brightness(), 0, paths, HeatMaps(paths))
    assert (long.score, long.heatmap) == (100, None)
    assert long.as_row()["error"] == long.problem != ""
    assert short.heatmap == paths[1].with_name("b.png.heatmap.png")
    assert "error" not in short.as_json()


def test_heat_maps_stay_in_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("work/y.png", "other/x.png"):
        photograph(tmp_path / name)
    monkeypatch.chdir(tmp_path / "work")
    paths = [Path("../other/x.png"), Path("y.png")]
    maps = HeatMaps(paths, Path("maps"))
    assert [maps.path_of(path).as_posix() for path in paths] == [
        "maps/other/x.png.heatmap.png",
        "maps/work/y.png.heatmap.png",
    ]


def test_no_verdict_without_a_number(tmp_path: Path) -> None:
    class Nothing(Brightness):
        def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
            return float("nan"), super().score(image)[1]

    (found,) = predict_files(Nothing(), 0, [photograph(tmp_path / "a.png")])
    assert isinstance(found, Failure)
    assert "the score is nan" in found.reason
    with pytest.raises(InputError, match="not a finite number"):
        load_scorer(threshold=float("nan"))
    with pytest.raises(InputError, match="one of the two"):
        load_scorer("configs/mini.yaml", CHECKPOINT)


def test_masks_of_mvtec_layout_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("train/good/0.png", "test/crack/0.png", "ground_truth/crack/0_mask.png", "ground_truth/crack/1_mask.png")
    for name in names:
        (tmp_path / "set" / "part" / name).parent.mkdir(parents=True, exist_ok=True)
        photograph(tmp_path / "set" / "part" / name)
    found = find_photographs([tmp_path])
    assert without_masks(found) == ([path for path in found if "mask" not in path.name], 2)
    # A folder of that name without a `test` beside it holds photographs.
    (tmp_path / "other" / "ground_truth").mkdir(parents=True)
    alone = photograph(tmp_path / "other" / "ground_truth" / "0.png")
    assert without_masks([alone]) == ([alone], 0)
    monkeypatch.chdir(tmp_path / "set" / "part" / "ground_truth")
    with pytest.raises(InputError, match=r"0_mask\.png: a mask of the photographs"):
        without_masks(find_photographs([Path("crack")]))


def test_the_command_says_how_many_masks_it_left_out(tmp_path: Path) -> None:
    for name in ("test/crack/0.png", "test/good/0.png", "ground_truth/crack/0_mask.png"):
        (tmp_path / "part" / name).parent.mkdir(parents=True)
        photograph(tmp_path / "part" / name)
    command = [sys.executable, "-m", "edgezsad.cli", "predict", "--json", "part"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    assert {result["path"] for result in json.loads(done.stdout)} == {"part/test/crack/0.png", "part/test/good/0.png"}
    assert done.stderr.splitlines()[-1] == "left out: 1 mask in ground_truth"


def test_bad_files_are_told_in_their_place_and_the_others_scored(tmp_path: Path) -> None:
    paths = [photograph(tmp_path / f"{number}.png") for number in range(9)]
    paths[4].write_bytes(paths[4].read_bytes()[:40])
    paths.insert(2, tmp_path / "nowhere.png")
    found = list(predict_files(Brightness(), 100, paths))
    assert [result.path for result in found] == paths
    failures = {result.path.name: result.reason for result in found if isinstance(result, Failure)}
    assert sorted(failures) == ["4.png", "nowhere.png"]
    assert all(name in reason and "\n" not in reason for name, reason in failures.items())
    good = [result for result in found if isinstance(result, Prediction)]
    assert {result.score for result in good} == {100.0}
    assert all(result.defective for result in good)
    assert not any(result.defective for result in predict_files(Brightness(), 100.5, paths[:1]))


def test_heat_maps_go_beside_or_into_a_folder_as_the_photographs_lie(tmp_path: Path) -> None:
    paths = [photograph(tmp_path / "in" / name) for name in ("a.png", "x/a.png")]
    beside = list(predict_files(Brightness(), 0, paths, HeatMaps(paths)))
    assert [result.heatmap for result in beside] == [path.with_name("a.png.heatmap.png") for path in paths]
    folder = tmp_path / "out"
    maps = HeatMaps(paths, folder)
    maps.check()
    written = [result.heatmap for result in predict_files(Brightness(), 0, paths, maps)]
    assert written == [folder / "a.png.heatmap.png", folder / "x" / "a.png.heatmap.png"]
    for path in written:
        with Image.open(path) as picture:
            assert picture.size == (9, 8)


def test_the_csv_has_a_row_for_every_photograph(tmp_path: Path) -> None:
    paths = [photograph(tmp_path / "a, b.png"), tmp_path / "nowhere.png"]
    table = pd.read_csv(write_csv(tmp_path / "t.csv", list(predict_files(Brightness(), 50, paths))))
    assert list(table["path"]) == [str(path) for path in paths]
    assert list(table["verdict"].fillna("")) == ["defective", ""]
    assert table["score"][0] == 100
    assert "nowhere.png" in table["error"][1]
    # Bytes that are no text: the table is written all the same.
    odd = Failure(tmp_path / "n\udcff.png", "damaged")
    assert "n\\udcff.png" in write_csv(tmp_path / "t.csv", [odd]).read_text(encoding="utf-8")


def test_the_committed_checkpoint_scores_without_pytorch(tmp_path: Path) -> None:
    path = photograph(tmp_path / "part.png")
    code = (
        "import sys; from edgezsad.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "sys.exit(sorted({'torch', 'timm', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    command = [sys.executable, "-c", code, "predict", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert np.isfinite(result["score"])
    assert np.isfinite(result["threshold"])


def test_the_committed_graph_is_the_committed_checkpoint() -> None:
    detector, info = load_detector(CHECKPOINT)
    graph, threshold = load_scorer()
    assert threshold == info.threshold
    assert read_metadata(GRAPH)["model_sha256"] == detector.sha256()
    image = np.random.default_rng(0).integers(0, 255, (detector.size, detector.size, 3), dtype=np.uint8)
    plain, plain_map = TorchScorer(detector).score(image)
    score, anomaly_map = graph.score(image)
    # Weights of the graph are rounded to FP16.
    assert abs(score - plain) < 0.05
    assert np.abs(anomaly_map - plain_map).max() < 0.1
    assert CHECKPOINT.stat().st_size + GRAPH.stat().st_size < 12e6


def test_a_checkpoint_scores_as_its_graph_does(tmp_path: Path) -> None:
    path = photograph(tmp_path / "part.png")
    found = [next(predict_files(*load_scorer(checkpoint=one), [path])) for one in (CHECKPOINT, GRAPH)]
    assert isinstance(found[0], Prediction)
    assert found[0].score == pytest.approx(found[1].score, abs=0.05)
    assert found[0].threshold == found[1].threshold


def test_a_graph_without_a_threshold_needs_one(tmp_path: Path) -> None:
    model = load_graph(GRAPH)
    del model.metadata_props[:]
    path = tmp_path / "bare.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="--threshold"):
        load_scorer(checkpoint=path)
    assert load_scorer(checkpoint=path, threshold=1.5)[1] == 1.5
