"""Metrics of folders: against numbers by hand, without masks, and through the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from edgezsad.data.check import EMPTY_MASK, LARGE_MASK, check_dataset
from edgezsad.errors import InputError
from edgezsad.evaluate import EvaluationReport, evaluate, find_test_images
from edgezsad.predict import Decision
from edgezsad.scoring.onnx_scorer import read_metadata


class Brightest:
    """The score is the brightest pixel, the map the image."""

    size = 8

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        return float(image.max()), image[:, :, 0].astype(np.float32)


def fixed(scorer: Any, decision: Decision | None = None) -> Callable[..., tuple[Any, Decision]]:
    """The same detector for every category."""
    return lambda *_: (scorer, decision or Decision())


def write_image(path: Path, level: int, spot: int | None = None) -> None:
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
        write_image(root / category / "train" / "good" / "0.png", 50)
        for number, level in enumerate((40, 60)):
            write_image(root / category / "test" / "good" / f"{number}.png", level)
        for number, spot in enumerate((50, 200)):
            write_image(root / category / "test" / "spot" / f"{number}.png", 30, spot)
    for number in range(2):
        write_image(root / "plain" / "ground_truth" / "spot" / f"{number}_mask.png", 0, 255)
    return root


def row_of(found: EvaluationReport, category: str) -> dict[str, Any]:
    return next(row for row in found.rows if row["category"] == category)


def test_the_table_is_as_by_hand(folder: Path) -> None:
    found = evaluate(fixed(Brightest()), find_test_images([folder]))
    plain = row_of(found, "plain")
    # Normal 40 and 60, defective 50 and 200: three of four pairs are in order.
    assert plain["image_auroc"] == 75
    assert (plain["images"], plain["defective"], plain["without_mask"]) == (4, 2, 0)
    assert 50 < plain["pixel_auroc"] < 100
    mean = found.rows[-1]
    assert (mean["folder"], mean["image_auroc"], mean["images"]) == ("mean", 75, 8)
    assert mean["pixel_auroc"] == plain["pixel_auroc"]


def test_what_thresholds_decide_is_as_by_hand(folder: Path) -> None:
    found = evaluate(fixed(Brightest(), Decision(55.0, "by hand")), find_test_images([folder / "plain"]))
    plain, mean = found.rows[0], found.rows[-1]
    # Of 50 and 200 the first is missed; of 40 and 60 the second is called defective.
    assert (plain["missed"], plain["false_alarms"]) == (mean["missed"], mean["false_alarms"]) == (1, 1)
    # From 50 on both defective and one of two normal; from 200 on one of two and none: the middle of 40 and 50, or of
    # 60 and 200.
    assert plain["best_threshold"] in (45, 130)
    assert np.isnan(mean["best_threshold"])
    assert "Decisions; threshold: by hand" in found.as_text() and " 55.000 " in found.as_text()
    exact = evaluate(fixed(Brightest(), Decision(50.0)), find_test_images([folder / "plain"]))
    assert exact.rows[0]["missed"] == 0
    assert [(row["label"], row["score"]) for row in found.scores] == [(0, 40), (0, 60), (1, 50), (1, 200)]
    assert found.scores[2]["image"] == "test/spot/0.png"


def test_heat_maps_next_to_the_images_change_no_number(folder: Path) -> None:
    before = evaluate(fixed(Brightest()), find_test_images([folder]))
    for path in (*folder.rglob("test/*/*.png"), *folder.rglob("train/good/*.png")):
        write_image(path.with_name(f"{path.name}.heatmap.png"), 255)
    evaluate(fixed(Brightest()), find_test_images([folder / "plain"]), folder / "plain" / "maps")
    assert evaluate(fixed(Brightest()), find_test_images([folder])).as_json() == before.as_json()


def test_images_that_cannot_be_read_are_reported_and_in_no_number(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    bad = folder / "plain" / "test" / "good" / "2.png"
    Image.fromarray(noise).save(bad)
    bad.write_bytes(bad.read_bytes()[:2000])
    # Nor does a training image matter, which is never read.
    (folder / "plain" / "train" / "good" / "0.png").write_bytes(b"no image")
    found = evaluate(fixed(Brightest()), find_test_images([folder]))
    assert row_of(found, "plain")["images"] == 4
    (skipped,) = found.skipped
    assert "plain/test/good/2.png" in skipped
    for path in (folder / "blind" / "test").rglob("*.png"):
        path.write_bytes(bad.read_bytes())
    with pytest.raises(InputError, match="no test image could be scored"):
        evaluate(fixed(Brightest()), find_test_images([folder / "blind"]))


def test_a_category_without_masks_gets_image_metrics_only_and_says_so(folder: Path) -> None:
    found = evaluate(fixed(Brightest()), find_test_images([folder]))
    blind = row_of(found, "blind")
    assert blind["image_auroc"] == 75
    assert np.isnan(blind["pixel_auroc"])
    assert "image metrics only, no masks: blind" in found.as_text()
    rows = {row["category"]: row for row in found.as_json()["rows"]}
    assert rows["blind"]["pixel_auroc"] is None
    json.dumps(found.as_json(), allow_nan=False)


def test_folders_of_one_name_are_rejected(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "plain", tmp_path / "other" / "plain")
    for other in (tmp_path / "other" / "plain", folder / "blind" / ".." / "plain"):
        with pytest.raises(InputError, match="given twice, or named like another folder"):
            find_test_images([folder / "plain", other])


def test_normal_images_alone_have_no_image_metrics(folder: Path) -> None:
    for name in ("test", "ground_truth"):
        shutil.rmtree(folder / "plain" / name / "spot")
    found = evaluate(fixed(Brightest()), find_test_images([folder / "plain"]))
    assert np.isnan(found.rows[0]["image_auroc"])
    assert any("all test images have the same label: plain" in note for note in found.notes)


def test_a_folder_without_test_images_is_rejected(folder: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "half" / "part" / "train" / "good" / "0.png", 1)
    with pytest.raises(InputError, match="no test images"):
        find_test_images([tmp_path / "half"])


def test_one_bad_score_or_heat_map_is_reported_and_the_rest_evaluated(folder: Path, tmp_path: Path) -> None:
    class SometimesNan(Brightest):
        def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
            value, anomaly_map = super().score(image)
            return (float("nan") if value == 60 else value), anomaly_map

    found = evaluate(fixed(SometimesNan()), find_test_images([folder / "plain"]))
    assert row_of(found, "plain")["images"] == 3
    assert row_of(found, "plain")["image_auroc"] == 100
    (reason,) = found.skipped
    assert "plain/test/good/1.png: the score is not finite" in reason
    # A folder stands where a heat map is to be written.
    (tmp_path / "maps" / "plain" / "test" / "good" / "0.png.heatmap.png").mkdir(parents=True)
    found = evaluate(fixed(Brightest()), find_test_images([folder / "plain"]), tmp_path / "maps")
    assert row_of(found, "plain")["images"] == 4
    (problem,) = found.problems
    assert "0.png.heatmap.png: is a folder" in problem
    assert len(list((tmp_path / "maps").rglob("1.png.heatmap.png"))) == 2


def test_the_command_prints_and_writes_with_the_committed_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--csv", "t.csv", "--json", "--scores", "s.csv", "--threshold", "1.5"]
    code, output, errors = command("evaluate", folder, *options)
    assert code == 0, errors
    report, table, scores = json.loads(output), pd.read_csv(tmp_path / "t.csv"), pd.read_csv(tmp_path / "s.csv")
    assert set(report["thresholds"].values()) == {"the given threshold"} and report["rows"][0]["threshold"] == 1.5
    assert len(scores) == 8
    assert table["missed"].iloc[-1] == (scores["score"][scores["label"] == 1] < 1.5).sum()
    categories = [row["category"] for row in report["rows"]]
    assert categories == list(table["category"]) == ["blind", "plain", "2 categories"]
    assert table["image_auroc"].between(0, 100).all()


def test_empty_and_full_masks_are_noted_and_empty_ones_unknown(folder: Path) -> None:
    masks = folder / "plain" / "ground_truth" / "spot"
    write_image(masks / "0_mask.png", 0)
    write_image(masks / "1_mask.png", 255)
    found = evaluate(fixed(Brightest()), find_test_images([folder / "plain"]))
    assert f"{EMPTY_MASK}: plain (1)" in found.notes and f"{LARGE_MASK}: plain (1)" in found.notes
    assert found.rows[0]["without_mask"] == 1
    report = check_dataset("any", folder / "plain")
    assert [*report.problems] == [EMPTY_MASK] and any(LARGE_MASK in note for note in report.notes)
    # The same numbers as with a missing mask.
    (masks / "0_mask.png").unlink()
    missing = evaluate(fixed(Brightest()), find_test_images([folder / "plain"])).rows[0]
    np.testing.assert_equal(missing, found.rows[0])


def test_a_name_too_long_for_a_heat_map_loses_no_score(folder: Path, tmp_path: Path) -> None:
    write_image(folder / "plain" / "test" / "good" / f"{'n' * 248}.png", 20)
    found = evaluate(fixed(Brightest()), find_test_images([folder / "plain"]), tmp_path / "maps")
    assert found.rows[0]["images"] == 5 and len(found.problems) == 1 and not found.skipped


def test_ten_bits_in_sixteen(folder: Path, command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """Noted by every command; with --bits the scores are those of 8 bits; a part's detector remembers the bits."""
    code, eight, _ = command("evaluate", folder / "plain", "--json", "--threshold", "0")
    for path in (folder / "plain").rglob("*.png"):
        if "ground_truth" not in path.parts:
            deep = np.round(np.asarray(Image.open(path)) / 255 * 1023).astype(np.uint16)
            Image.fromarray(deep).save(path)
    note = "10 bits in a 16-bit file? give --bits 10"
    assert note in command("evaluate", folder / "plain")[1]
    assert note in command("predict", folder / "plain", "--json")[2]
    assert note in command("data", "check", "any", folder / "plain")[1]
    options = ["--json", "--threshold", "0", "--bits", "10"]
    assert command("evaluate", folder / "plain", *options)[:2] == (code, eight)
    part = tmp_path / "part.onnx"
    code, output, _ = command("adapt", folder / "plain" / "test" / "good", "--output", part, "--bits", "10")
    assert code == 0 and note not in output and read_metadata(part)["bits"] == "10"
    code, recorded, errors = command("predict", folder / "plain", "--checkpoint", part)
    assert code == 0 and note not in errors
    assert command("predict", folder / "plain", "--checkpoint", part, "--bits", "10")[1] == recorded
    code, _, errors = command("predict", folder / "plain", "--checkpoint", part, "--bits", "12")
    assert code == 2 and "the references have 10 bits" in errors
    assert command("predict", folder / "plain", "--bits", "17")[0] == 2
