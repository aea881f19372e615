"""Metrics of folders: against numbers by hand, without masks, and through the command line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from edgezsad.errors import InputError
from edgezsad.evaluate import evaluate
from edgezsad.evaluate import test_images as images_of

REPOSITORY = Path(__file__).resolve().parent.parent


class Brightest:
    """The score is the brightest pixel, the map the image."""

    size = 8

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        return float(image.max()), image[:, :, 0].astype(np.float32)


def picture(path: Path, level: int, spot: int | None = None) -> None:
    """8 x 8 pixels of one level, with a 2 x 2 spot of another in the middle."""
    values = np.full((8, 8), level, np.uint8)
    if spot is not None:
        values[3:5, 3:5] = spot
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Category `plain`: one of two defective images is brighter than all normal ones; `blind` has no masks."""
    root = tmp_path / "my parts"
    for category in ("plain", "blind"):
        picture(root / category / "train" / "good" / "0.png", 50)
        for number, level in enumerate((40, 60)):
            picture(root / category / "test" / "good" / f"{number}.png", level)
        for number, spot in enumerate((50, 200)):
            picture(root / category / "test" / "spot" / f"{number}.png", 30, spot)
    for number in range(2):
        picture(root / "plain" / "ground_truth" / "spot" / f"{number}_mask.png", 0, 255)
    return root


def test_the_table_is_as_by_hand(folder: Path) -> None:
    found = evaluate(Brightest(), images_of([folder]))
    plain = found.table.set_index("category").loc["plain"]
    # Normal 40 and 60, defective 50 and 200: three of four pairs are in order.
    assert plain["image_auroc"] == 75
    assert (plain["images"], plain["defective"], plain["without_mask"]) == (4, 2, 0)
    assert 50 < plain["pixel_auroc"] < 100
    mean = found.table.iloc[-1]
    assert mean["folder"] == "mean"
    assert mean["image_auroc"] == 75
    assert mean["images"] == 8
    assert mean["pixel_auroc"] == plain["pixel_auroc"]


def test_what_thresholds_decide_is_as_by_hand(folder: Path) -> None:
    found = evaluate(Brightest(), images_of([folder / "plain"]), threshold=55)
    plain, mean = found.table.iloc[0], found.table.iloc[-1]
    # Of 50 and 200 the first is missed; of 40 and 60 the second is called defective.
    assert (plain["missed"], plain["false_alarms"]) == (mean["missed"], mean["false_alarms"]) == (1, 1)
    # From 50 on both defective and one of two normal; from 200 on one of two and none: the middle of 40 and 50, or of
    # 60 and 200.
    assert plain["best_threshold"] in (45, 130)
    assert np.isnan(mean["best_threshold"])
    assert "threshold 55.000" in found.as_text()
    exact = evaluate(Brightest(), images_of([folder / "plain"]), threshold=50)
    assert exact.table["missed"][0] == 0
    assert found.scores[["image", "label", "score"]].to_numpy().tolist() == [
        ["test/good/0.png", 0, 40],
        ["test/good/1.png", 0, 60],
        ["test/spot/0.png", 1, 50],
        ["test/spot/1.png", 1, 200],
    ]


def test_heat_maps_beside_the_images_change_no_number(folder: Path) -> None:
    before = evaluate(Brightest(), images_of([folder]))
    for path in (*folder.rglob("test/*/*.png"), *folder.rglob("train/good/*.png")):
        picture(path.with_name(f"{path.name}.heatmap.png"), 255)
    evaluate(Brightest(), images_of([folder / "plain"]), folder / "plain" / "maps")
    pd.testing.assert_frame_equal(evaluate(Brightest(), images_of([folder])).table, before.table)


def test_images_that_cannot_be_read_are_told_and_in_no_number(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    bad = folder / "plain" / "test" / "good" / "2.png"
    Image.fromarray(noise).save(bad)
    bad.write_bytes(bad.read_bytes()[:2000])
    # Nor does a training image matter, which is never looked at.
    (folder / "plain" / "train" / "good" / "0.png").write_bytes(b"no image")
    found = evaluate(Brightest(), images_of([folder]))
    assert found.table.set_index("category").loc["plain", "images"] == 4
    assert len(found.unread) == 1
    assert "plain/test/good/2.png" in found.unread[0]
    for path in (folder / "blind" / "test").rglob("*.png"):
        path.write_bytes(bad.read_bytes())
    with pytest.raises(InputError, match="none of the test images can be read"):
        evaluate(Brightest(), images_of([folder / "blind"]))


def test_a_category_without_masks_gets_image_metrics_only_and_says_so(folder: Path) -> None:
    found = evaluate(Brightest(), images_of([folder]))
    blind = found.table.set_index("category").loc["blind"]
    assert blind["image_auroc"] == 75
    assert np.isnan(blind["pixel_auroc"])
    assert "image metrics only, no masks: blind" in found.as_text()
    rows = {row["category"]: row for row in found.as_json()["rows"]}
    assert rows["blind"]["pixel_auroc"] is None
    json.dumps(found.as_json(), allow_nan=False)


def test_several_folders_and_a_single_category(folder: Path) -> None:
    found = evaluate(Brightest(), images_of([folder / "plain", folder / "blind"]))
    assert list(found.table["category"]) == ["plain", "blind", "2 categories"]
    assert list(found.table["folder"][:2]) == [str(folder / "plain"), str(folder / "blind")]


def test_folders_of_one_name_are_kept_apart_and_one_folder_counts_once(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "plain"
    shutil.copytree(folder / "plain", other)
    evaluate(Brightest(), images_of([folder / "plain", other]), tmp_path / "maps")
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["plain", "plain-2"]
    with pytest.raises(InputError, match="given twice"):
        images_of([folder / "plain", folder / "blind" / ".." / "plain"])


def test_normal_images_alone_have_no_image_metrics(folder: Path) -> None:
    for path in (folder / "plain" / "test" / "spot").iterdir():
        path.unlink()
    for path in (folder / "plain" / "ground_truth" / "spot").iterdir():
        path.unlink()
    found = evaluate(Brightest(), images_of([folder / "plain"]))
    assert np.isnan(found.table["image_auroc"][0])
    assert any("all test images are of one kind: plain" in note for note in found.notes)


def test_a_folder_without_test_images_is_refused(folder: Path, tmp_path: Path) -> None:
    picture(tmp_path / "half" / "part" / "train" / "good" / "0.png", 1)
    with pytest.raises(InputError, match="no test images"):
        images_of([tmp_path / "half"])


def test_heat_maps_lie_as_the_images_do(folder: Path, tmp_path: Path) -> None:
    evaluate(Brightest(), images_of([folder]), tmp_path / "maps")
    names = {path.relative_to(tmp_path / "maps").as_posix() for path in (tmp_path / "maps").rglob("*.png")}
    assert len(names) == 8
    assert "my_parts/plain/test/spot/1.png.heatmap.png" in names


def test_the_command_prints_and_writes_with_the_committed_checkpoint(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgezsad.cli", "evaluate", str(folder), "--csv", "t.csv", "--json"]
    command += ["--scores", "s.csv", "--threshold", "1.5"]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    rows, table, scores = said["rows"], pd.read_csv(tmp_path / "t.csv"), pd.read_csv(tmp_path / "s.csv")
    assert said["threshold"] == 1.5
    assert len(scores) == 8
    assert table["missed"].iloc[-1] == (scores["score"][scores["label"] == 1] < 1.5).sum()
    assert [row["category"] for row in rows] == list(table["category"]) == ["blind", "plain", "2 categories"]
    assert table["image_auroc"].between(0, 100).all()
