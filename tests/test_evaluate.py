"""Metrics of folders: against numbers by hand, without masks, and through the command line."""

import json
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
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    table = pd.read_csv(tmp_path / "t.csv")
    assert [row["category"] for row in rows] == list(table["category"]) == ["blind", "plain", "2 categories"]
    assert table["image_auroc"].between(0, 100).all()
