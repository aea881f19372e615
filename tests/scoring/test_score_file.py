"""Score files: what is written is read back, holds no objects, and damage is named in one line."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgezsad.errors import InputError
from edgezsad.scoring.score_file import ScoreFile, read_scores, write_not_run, write_scores

ARRAYS = ("image_id", "category", "label", "score", "map", "milliseconds")


@pytest.fixture
def scores(make_scores: Callable[..., ScoreFile]) -> ScoreFile:
    return make_scores(
        [-3.25, 1e-7, 80],
        [0, 1, 1],
        image_id=["bolt/test/good/é.png", "b.png", "c.png"],
        milliseconds=np.array([1, np.nan, 3], dtype=np.float32),
    )


@pytest.fixture
def path(scores: ScoreFile, tmp_path: Path) -> Path:
    return write_scores(scores, tmp_path / "pytorch" / "bolts.npz")


def rejected(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_scores(path)
    assert "\n" not in str(caught.value) and path.stem in str(caught.value)


def test_round_trip(scores: ScoreFile, path: Path) -> None:
    read = read_scores(path)
    assert len(read) == 3
    assert read.record == scores.record
    for name in ARRAYS:
        ours, theirs = getattr(read, name), getattr(scores, name)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs, equal_nan=name == "milliseconds")
    assert sorted(item.name for item in path.parent.iterdir()) == ["bolts.json", "bolts.npz"]


def test_pickles_are_rejected(path: Path, scores: ScoreFile, bomb: Any) -> None:
    arrays = {name: getattr(scores, name) for name in ARRAYS}
    arrays["category"] = np.array([bomb] * 3, dtype=object)
    np.savez(path, **arrays)
    rejected(path, "invalid score file")
    for data in (pickle.dumps(bomb), b"", path.read_bytes()[:-20]):
        path.write_bytes(data)
        rejected(path, "invalid score file")
    assert not bomb.mark.exists()


def test_every_flipped_byte_is_noticed_or_harmless(path: Path, scores: ScoreFile) -> None:
    data = path.read_bytes()
    noticed = 0
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            read = read_scores(path)
        except InputError:
            noticed += 1
        else:
            # Dates and the like may differ; the numbers may not.
            assert np.array_equal(read.score, scores.score)
            assert np.array_equal(read.map, scores.map)
    assert noticed > 20


def test_missing_files(path: Path) -> None:
    path.unlink()
    rejected(path, "missing; run notebook 05_scoring")


@pytest.mark.parametrize(("name", "bad"), [("score", np.nan), ("map", -np.inf)])
def test_the_image_without_a_finite_score_is_named(scores: ScoreFile, tmp_path: Path, name: str, bad: float) -> None:
    array = getattr(scores, name).copy()
    array[1] = bad
    path = tmp_path / "bolts.npz"
    with pytest.raises(InputError, match=r"bolts\.npz: score of b\.png is not finite"):
        write_scores(replace(scores, **{name: array}), path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"score": np.zeros(2, dtype=np.float32)}, "different lengths"),
        ({"score": np.zeros((3, 1), dtype=np.float32)}, "different lengths"),
        ({"score": np.array(["1", "2", "3"])}, "score is not numeric"),
        ({"label": np.array([0, 1, 2], dtype=np.int8)}, "a label is not 0 or 1"),
    ],
)
def test_arrays_that_do_not_fit(scores: ScoreFile, path: Path, change: dict[str, np.ndarray], words: str) -> None:
    wrong = replace(scores, **change)
    with pytest.raises(InputError, match=words):
        write_scores(wrong, path)
    # A board's own file has not passed through `write_scores`.
    np.savez(path, **{name: getattr(wrong, name) for name in ARRAYS})
    rejected(path, words)


def test_not_run(scores: ScoreFile, tmp_path: Path) -> None:
    record = scores.record.model_copy(update={"status": "not run", "reason": "needs a board"})
    path = write_not_run(record, tmp_path / "bolts.npz")
    read = read_scores(path)
    assert (len(read), read.record) == (0, record)


def test_take_keeps_the_asked_order(scores: ScoreFile) -> None:
    part = scores.take(np.array(["c.png", "bolt/test/good/é.png"]))
    assert part.score.tolist() == [80, -3.25]
    assert part.label.tolist() == [1, 0]
    assert np.array_equal(part.map, scores.map[[2, 0]])
    assert len(scores.take(np.array([], dtype=str))) == 0
