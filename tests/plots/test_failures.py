"""The most wrong images: planted scores give the planted images, and the notebook shows them only where they are."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgezsad.checkpoints import SEEN, UNSEEN
from edgezsad.config import Profile, load_profile
from edgezsad.data.manifest import Manifest
from edgezsad.errors import InputError
from edgezsad.execute import execute
from edgezsad.plots.failures import NOT_SHOWN, drawn, failures, folder_of, outranked, sets_in, worst
from edgezsad.scoring.score_file import ScoreFile
from synthetic.image import Address, defective_image, normal_image

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "15_photographs.ipynb"


class Brightest:
    """The score is the brightest pixel, the map the image."""

    size = 8

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        return float(image.max()), image[:, :, 0].astype(np.float32)


def picture(path: Path, level: int, spot: int | None = None) -> None:
    """12 x 8 pixels of one level, with a spot of another in the middle."""
    values = np.full((8, 12), level, np.uint8)
    if spot is not None:
        values[2:6, 3:9] = spot
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Category `mixed` has one missed defect and one false alarm, `clean` none; `mixed` has masks."""
    root = tmp_path / "Parts"
    levels = {"mixed": ((40, 60, 200), (150, 50, 250)), "clean": ((10, 20), (100, 110))}
    for category, (normal, defective) in levels.items():
        for number, level in enumerate(normal):
            picture(root / category / "test" / "good" / f"{number}.png", level)
        for number, level in enumerate(defective):
            picture(root / category / "test" / "spot" / f"{number}.png", 5, level)
            if category == "mixed":
                picture(root / category / "ground_truth" / "spot" / f"{number}_mask.png", 0, 255)
    return root


def test_counts_of_wrong_pairs_are_as_by_hand(make_scores: Callable[..., ScoreFile]) -> None:
    value, label = np.array([1.0, 3.0, 3.0, 5.0, 0.0]), np.array([0, 0, 1, 1, 1])
    # The defective 3 ties with a normal one, 0 is below both; the normal 3 outscores 0 and ties with 3.
    assert outranked(value, label).tolist() == [1, 2, 1, 0, 2]
    assert outranked(value[:2], label[:2]).tolist() == [0, 0]


def test_the_planted_failures_are_chosen_by_category(make_scores: Callable[..., ScoreFile]) -> None:
    scores = make_scores(
        [9.0, 1.0, 2.0, 8.0, 7.0, -5.0, 4.0, 6.0],
        [0, 0, 1, 1, 1, 0, 1, 1],
        category=["bolt"] * 5 + ["nut"] * 3,
    )
    bolt, nut = worst(scores, Manifest("parts", Path(), ()), count=2)
    assert (bolt.category, nut.category) == ("bolt", "nut")
    assert bolt.scores.image_id[bolt.missed].tolist() == ["002.png", "004.png"]
    assert bolt.scores.image_id[bolt.alarms].tolist() == ["000.png"]
    assert bolt.wrong[bolt.alarms].tolist() == [3]
    # The lowest of what is ranked rightly is no failure.
    assert len(nut.missed) == len(nut.alarms) == 0


def test_images_are_drawn_with_outline_map_and_rank(planted: Path) -> None:
    clean, mixed = failures(planted, Brightest())
    assert "0 of 2 defective images are outscored" in clean.as_text()
    assert "2 of 3 defective images are outscored by a normal one, 2 of 3 normal" in mixed.as_text()
    figure = drawn(mixed)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.images]
    assert titles == ["spot", "2 of 3", "spot", "1 of 3", "good", "2 of 3", "good", "1 of 3"]
    # Black under orange around the mask; normal images have none, nor have maps.
    assert [len(axes.collections) for axes in figure.axes if axes.images] == [2, 0, 2, 0, 0, 0, 0, 0]
    words = [text.get_text() for axes in drawn(clean).axes for text in axes.texts]
    assert words == ["defective: none", "normal: none"]


def test_unseen_sets_go_before_all_others(tmp_path: Path, planted: Path) -> None:
    assert sets_in(planted) == sets_in(planted.parent) == [planted]
    assert sets_in(planted / "mixed") == [planted / "mixed"]
    picture(tmp_path / "BSData" / "screw" / "test" / "good" / "0.png", 1)
    assert sets_in(tmp_path) == [tmp_path / "BSData"]
    (one,) = failures(tmp_path, Brightest())
    assert "all test images are of one kind" in one.as_text()
    drawn(one)
    with pytest.raises(InputError, match="no test images"):
        sets_in(planted / "mixed" / "test" / "good")


def test_photographs_are_those_given_or_those_of_a_run_on_them(
    tmp_path: Path, make_profile: Callable[..., Profile]
) -> None:
    (tmp_path / "MVTec-AD").mkdir()
    assert folder_of(str(tmp_path), make_profile()) == tmp_path
    assert folder_of("", load_profile(ROOT / "configs/photographs.yaml", tmp_path)) == tmp_path
    assert folder_of("", load_profile(ROOT / "configs/paper.yaml", tmp_path)) is None
    (tmp_path / "MVTec-AD").rmdir()
    assert folder_of("", load_profile(ROOT / "configs/photographs.yaml", tmp_path)) is None
    assert folder_of("", load_profile(ROOT / "configs/photographs.yaml")) is None
    with pytest.raises(InputError, match="no such folder"):
        folder_of(str(tmp_path / "nowhere"), make_profile())


def test_what_the_checkpoint_has_seen_is_what_its_profile_says() -> None:
    data = load_profile(ROOT / "configs/checkpoint.yaml").data
    # The last part of a root: a set's folder, of which a target may be one category.
    assert {item.root.name for item in data.targets} == set(UNSEEN)
    assert {item.root.name for item in data.source if not item.generated} == set(SEEN)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A notebook that writes nothing into the repository's own run."""
    monkeypatch.chdir(ROOT)
    text = (ROOT / "configs/mini.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mini.yaml"
    path.write_text(text.replace("run: runs/mini\n", f"run: {tmp_path / 'run'}\n"), encoding="utf-8")
    return path


def outputs(path: Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if "failures(folder)" in "".join(cell["source"])]
    return cell["outputs"]


def test_the_notebook_without_photographs_says_what_it_needs(tmp_path: Path, bare: Path) -> None:
    (found,) = outputs(execute(NOTEBOOK, tmp_path / "out.ipynb", {"config": str(bare)}))
    assert "".join(found["text"]).strip() == NOT_SHOWN
    assert "\n" not in NOT_SHOWN
    assert "photographs=/path" in NOT_SHOWN


def test_the_notebook_with_photographs_shows_a_figure_a_category(tmp_path: Path, bare: Path) -> None:
    test = tmp_path / "sets" / "Mine" / "felt" / "test"
    for number in range(3):
        address = Address(1, "mine", "felt", "test", number, (96, 128), False)
        for kind, image in (("good", normal_image(address)), ("bad", defective_image(address)[0])):
            (test / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(test / kind / f"{number}.png")
    parameters = {"config": str(bare), "photographs": str(tmp_path / "sets")}
    found = outputs(execute(NOTEBOOK, tmp_path / "out.ipynb", parameters))
    shown = [one["data"] for one in found if one["output_type"] == "display_data"]
    assert ["text/markdown" in one for one in shown] == [True, False]
    assert "**felt** (Mine)" in "".join(shown[0]["text/markdown"])
    assert "<svg" in "".join(shown[1]["image/svg+xml"])
    # Where the photographs lie is nobody's business.
    assert str(tmp_path) not in json.dumps(shown)
