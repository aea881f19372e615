"""Regions: what is left out changes neither score nor map, masks are checked, a part file needs its masks."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgezsad.errors import InputError
from edgezsad.predict import Failure, Prediction, load_scorer, predict_files
from edgezsad.references import adapt
from edgezsad.scoring.tiles import Regions, RegionScorer, TiledScorer

Command = Callable[..., tuple[int, str, str]]
SIDE = 320


class Brightest:
    """The score is the brightest pixel, the map the image."""

    size = 16

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        return float(image.max()), image[:, :, 0].astype(np.float32)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


@pytest.mark.parametrize("tiles", [1, 3])
@pytest.mark.parametrize("name", ["roi", "ignore"])
def test_only_pixels_inside_count(name: str, tiles: int, tmp_path: Path) -> None:
    image, left = np.full((48, 48, 3), 50, np.uint8), np.zeros((48, 48), np.uint8)
    left[:, :24] = 255
    image[10:20, 4:12] = 250
    image[30:40, 36:44] = 120
    path, mask = save(tmp_path / "a.png", image), save(tmp_path / "mask.png", left)
    inner = Brightest() if tiles == 1 else TiledScorer(Brightest(), tiles)
    (found,) = predict_files(RegionScorer(inner, Regions(**{name: mask})), None, [path])
    expected, side = {"roi": 250, "ignore": 120}[name], len(found.map)
    assert found.score == pytest.approx(expected, abs=3) and found.map.max() < expected + 1
    outside = found.map[:, side // 2 + 1 :] if name == "roi" else found.map[:, : side // 2 - 1]
    assert (outside == found.map.min()).all()
    assert found.as_json()["region"].startswith(f"{name} mask.png (")
    (plain,) = predict_files(inner, None, [path])
    assert plain.score == pytest.approx(250, abs=3) and "region" not in plain.as_json()


def test_masks_of_a_folder_go_by_name_and_faults_are_one_line(tmp_path: Path) -> None:
    image = np.full((16, 16, 3), 50, np.uint8)
    image[2, 3] = 200
    paths = [save(tmp_path / f"{name}.png", image) for name in "abcd"]
    masks = tmp_path / "masks"
    save(masks / "a.png", np.eye(16, dtype=np.uint8))
    save(masks / "b.bmp", np.uint8(image[:, :, 0] == 200))
    save(masks / "d.png", np.zeros((8, 9), np.uint8))
    one, two, three, four = predict_files(RegionScorer(Brightest(), Regions(masks)), None, paths)
    assert isinstance(one, Prediction) and (one.score, two.score) == (50, 200)
    assert isinstance(three, Failure) and three.reason == f"{masks}: no mask for c.png; expected c.png"
    assert isinstance(four, Failure) and "mask of 9x8 pixels, expected 16x16" in four.reason
    empty, full = save(tmp_path / "0.bmp", image[:, :, 0] * 0), save(tmp_path / "1.bmp", image[:, :, 0])
    for regions in (Regions(roi=empty), Regions(ignore=full), Regions(masks / "a.png", masks / "a.png")):
        (failure,) = predict_files(RegionScorer(Brightest(), regions), None, paths[:1])
        assert isinstance(failure, Failure) and "nothing of" in failure.reason and "is left to score" in failure.reason


def part_image(seed: int, *spots: tuple[int, int]) -> np.ndarray:
    """Grained stripes, with dark spots at the given rows and columns."""
    random = np.random.default_rng(seed)
    image = 120 + 30 * np.sin(np.arange(SIDE) / 9)[None, :, None] + random.normal(0, 6, (SIDE, SIDE, 1))
    for row, column in spots:
        image[row - 8 : row + 8, column - 8 : column + 8] = 20
    return np.repeat(np.clip(image, 0, 255), 3, axis=2).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("tiles", ["", "2"])
def test_a_defect_that_is_ignored_raises_no_score(tiles: str, tmp_path: Path, command: Command) -> None:
    good = [save(tmp_path / f"good/{seed}.png", part_image(seed)) for seed in range(4)]
    right = np.zeros((SIDE, SIDE), np.uint8)
    right[:, 200:] = 255
    mask, part, plain = save(tmp_path / "right.png", right), tmp_path / "part.onnx", tmp_path / "plain.onnx"
    options = ("--tiles", tiles) if tiles else ()
    code, _, errors = command("adapt", *good, "--output", part, "--ignore", mask, "--rotations", "none", *options)
    assert code == 0, errors
    cases = {"good": (), "ignored": ((100, 260), (200, 290)), "outside": ((160, 80),), "both": ((160, 80), (100, 260))}
    tested = [save(tmp_path / f"test/{name}.png", part_image(9, *spots)) for name, spots in cases.items()]
    table = tmp_path / "t.csv"
    code, text, errors = command("predict", *tested, "--checkpoint", part, "--ignore", mask, "--json", "--csv", table)
    assert code == 0, errors
    found = {Path(row["path"]).stem: row["score"] for row in json.loads(text)}
    with open(table, newline="") as stream:
        assert {row["region"][:18] for row in csv.DictReader(stream)} == {"ignore right.png ("}
    assert found["ignored"] == pytest.approx(found["good"], abs=1e-3)
    assert found["both"] == pytest.approx(found["outside"], abs=1e-3)
    assert found["good"] < 2 < 6 < found["outside"]
    adapt(good, plain, rotations="none", tiles=tiles)
    (without,) = predict_files(load_scorer(checkpoint=plain)[0], None, tested[2:3])
    assert found["outside"] == pytest.approx(without.score, rel=0.3)
    for path, regions in ((part, Regions()), (part, Regions(roi=mask)), (plain, Regions(ignore=mask))):
        with pytest.raises(InputError, match="give the same --roi and --ignore"):
            load_scorer(checkpoint=path, regions=regions)
