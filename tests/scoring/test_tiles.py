"""Tiles: every pixel is covered, maps have no seams, small defects are found, a part file remembers its tiles."""

import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgezsad.errors import InputError
from edgezsad.evaluate import evaluate, find_test_images
from edgezsad.predict import Decision, Detector, load_scorer, predict_files
from edgezsad.references import adapt
from edgezsad.scoring.tiles import OVERLAP, REDUCED, TiledScorer, automatic, parse_tiles, spans

Command = Callable[..., tuple[int, str, str]]


class Means:
    """The score is the brightest pixel, the map the mean of each 4 x 4 pixels."""

    size = 32

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        grey = image[:, :, 0].astype(np.float32)
        return float(grey.max()), grey.reshape(8, 4, 8, 4).mean(axis=(1, 3))


@pytest.mark.parametrize("shape", [(1024, 406), (300, 1000), (2000, 2000), (33, 1), (5, 7)])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
def test_tiles_cover_the_image_and_overlap(shape: tuple[int, int], count: int) -> None:
    along = spans(*shape, count)
    for length, found in zip(shape, along, strict=True):
        assert found[0][0] == 0 and found[-1][1] == length
        for (start, stop), (following, _) in itertools.pairwise(found):
            assert start <= following and stop - following >= OVERLAP * (stop - start) - 1
    if max(shape) > 4 * count:
        assert max(map(len, along)) == count


def test_automatic_tiles_are_about_as_large_as_the_network() -> None:
    assert [automatic(longer, 320) for longer in (100, 416, 417, 1024, 2000)] == [1, 1, 2, 3, 7]
    for longer in range(417, 9000, 97):
        (start, stop), *_ = spans(longer, longer, automatic(longer, 320))[0]
        assert 200 < stop - start <= REDUCED * 320


@pytest.mark.parametrize("count", [None, 1, 2, 5])
@pytest.mark.parametrize("shape", [(90, 90), (150, 61), (40, 200)])
def test_maps_have_no_seams(shape: tuple[int, int], count: int | None) -> None:
    scorer = TiledScorer(Means(), count)
    score, found = scorer.score(np.full((*shape, 3), 77, np.uint8))
    assert score == 77 and found.shape[0] == found.shape[1]
    np.testing.assert_allclose(found, 77, atol=1e-4)
    ramp = np.repeat(np.linspace(0, 250, shape[1])[None, :, None].round(), shape[0], axis=0)
    _, found = scorer.score(np.repeat(ramp, 3, axis=2).astype(np.uint8))
    # Not at the border, where a cell is the mean of its pixels.
    inner = slice(len(found) // 8, -len(found) // 8)
    expected = (np.arange(len(found)) + 0.5) * 250 / len(found)
    np.testing.assert_allclose(found[:, inner], np.tile(expected[inner], (len(found), 1)), atol=4)


def test_the_score_is_the_highest_of_all_tiles_and_its_position_that_of_the_pixel() -> None:
    image = np.zeros((60, 240, 3), np.uint8)
    image[50:54, 200:204] = 200
    score, found = TiledScorer(Means(), 5).score(image)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 190 < score <= 200
    assert abs((row + 0.5) / len(found) - 52 / 60) < 0.05 and abs((column + 0.5) / len(found) - 202 / 240) < 0.03

    class Nan(Means):
        def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
            return (np.nan if image.max() else 0.0), np.zeros((8, 8), np.float32)

    assert np.isnan(TiledScorer(Nan(), 5).score(image)[0])


def test_images_of_different_size_are_evaluated_together(tmp_path: Path) -> None:
    for kind, sizes in (("good", (40, 160)), ("bad", (30, 200))):
        for side in sizes:
            path = tmp_path / "part" / "test" / kind / f"{side}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (side, 50), (side, side, side)).save(path)
    tiled = TiledScorer(Means(), None)
    shapes = {len(one.map) for one in predict_files(tiled, None, sorted(tmp_path.rglob("*.png")))}
    found = evaluate(lambda *_: (tiled, Decision()), find_test_images([tmp_path / "part"]))
    assert len(shapes) > 1 and found.rows[0]["image_auroc"] == 50


@pytest.mark.parametrize("text", ["0", "65", "-1", "2.5", "many", "", "1" * 5000])
def test_invalid_numbers_of_tiles(text: str) -> None:
    with pytest.raises(InputError, match="expected auto, or a number from 1 to 64"):
        parse_tiles(text)


def strip(seed: int, path: Path, defect: bool = False) -> Path:
    """A grained strip of 1,600 x 480 pixels with two bores; a defect is a small bright scratch in one corner."""
    random = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(random.normal(0, 60, (480, 1600)).astype(np.float32), (0, 0), 2.5)
    image = np.repeat((120 + grain)[:, :, None], 3, axis=2)
    for centre in (300, 1300):
        cv2.circle(image, (centre, 240), 90, (60, 60, 60), -1)
    if defect:
        cv2.line(image, (1540, 424), (1540, 442), (215, 215, 215), 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.mark.slow
def test_a_small_defect_is_found_in_tiles_and_the_part_file_remembers_them(tmp_path: Path, command: Command) -> None:
    good = [strip(seed, tmp_path / f"good/{seed}.png") for seed in range(4)]
    tested = [strip(seed, tmp_path / f"test/{seed}.png", seed > 7) for seed in (5, 6, 7, 8, 9)]
    whole, part = tmp_path / "whole.onnx", tmp_path / "part.onnx"
    adapt(good, whole, rotations="none")
    code, text, errors = command("adapt", *good, "--output", part, "--tiles", "auto")
    assert code == 0 and "4 reference images in 5 tiles along the longer side, 1,600 patches" in text, errors

    def scores(detector: Detector) -> tuple[np.ndarray, list[np.ndarray]]:
        found = [detector.predict(path) for path in tested]
        return np.array([one.score for one in found]), [one.map for one in found]

    tiled, maps = scores(Detector(part))
    plain, _ = scores(Detector(whole))
    assert (tiled[:3] < 1).all() and (tiled[3:] > 3).all() and (plain < 1).all()
    rows, columns = zip(*(np.unravel_index(one.argmax(), one.shape) for one in maps[3:]), strict=True)
    assert min(rows) > 0.8 * len(maps[0]) and min(columns) > 0.9 * len(maps[0])
    # References score around zero, each compared with the others: by image, not by tile.
    assert np.abs(tiled[:3]).max() < 4
    for same in ("5", "auto"):
        assert load_scorer(checkpoint=part, tiles=same)[0].count == 5
    for path, found in ((part, r"tiles \(5 along"), (whole, "whole images")):
        with pytest.raises(InputError, match=f"adapted to {found}"):
            load_scorer(checkpoint=path, tiles="4")
    code, _, errors = command("device", "kit", "jetson", "--checkpoint", part)
    assert code == 2 and "boards score whole images" in errors
    code, _, errors = command("predict", *tested, "--compare", "--tiles", "2")
    assert code == 2 and "leave out --checkpoint and --tiles" in errors
