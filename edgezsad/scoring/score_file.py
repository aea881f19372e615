"""The score file: what every scorer writes, and what all metrics and comparisons read.

`NAME.npz` holds the arrays, without pickles; `NAME.json` next to it is the run record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from edgezsad.errors import CheckError, InputError, one_line
from edgezsad.files import read_json, verified, write_json, written_beside

ARRAYS = ("image_id", "category", "label", "score", "map", "milliseconds")
DIMENSIONS = (1, 1, 1, 1, 3, 1)
MAX_BYTES = 1_000_000_000  # of a file's arrays: 60,000 maps of 64 x 64
REMEDY = "run notebook 05_scoring to write it again"


class Scorer(Protocol):
    """A detector on some runtime, for images of `size` x `size` pixels; the other attributes go into the run record.

    A `size` of None is that of a `TiledScorer`, for images of any height and width.

    `timed` says whether a call's time is an image's.
    """

    size: int | None
    runtime: str
    precision: str
    device: str
    versions: dict[str, str]
    timing_method: str
    detector_sha256: str
    timed: bool

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Score an image, (size, size, 3) uint8 RGB; returns its score and (h, w) float32 anomaly map, raw logits."""


class RunRecord(BaseModel):
    """How scores were made; `detector_sha256` is equal for a checkpoint and the graphs exported from it."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    status: Literal["ok", "not run", "not finite"] = "ok"
    reason: str = ""  # what a runtime that was not run needs, or how many images gave NaN or infinity
    profile: str
    target: str
    seed: int
    runtime: str
    precision: str
    device: str
    model_sha256: str
    detector_sha256: str = ""
    manifest_sha256: str
    command: str
    versions: dict[str, str]
    timing_method: str = ""


@dataclass(frozen=True)
class ScoreFile:
    """Scores of one model on one data set, in the manifest's order."""

    image_id: np.ndarray  # (N,) str
    category: np.ndarray  # (N,) str
    label: np.ndarray  # (N,) int8, 0 normal, 1 defective
    score: np.ndarray  # (N,) float32, raw logit; higher is more anomalous
    map: np.ndarray  # (N, h, w) float32, anomaly map at the model's resolution, raw logits
    milliseconds: np.ndarray  # (N,) float32, time of each image; NaN if not measured
    record: RunRecord | None = None  # None for scores that are not written to a file

    def __len__(self) -> int:
        return len(self.image_id)

    def take(self, ids: np.ndarray) -> "ScoreFile":
        """Return the rows of the given image ids, in their order; an unknown id is an `InputError`."""
        row_of = {image_id: row for row, image_id in enumerate(self.image_id)}
        if missing := [image_id for image_id in ids if image_id not in row_of]:
            name = f" of {self.record.target}" if self.record else ""
            raise InputError(f"score file{name}: no image {missing[0]}; score the images again")
        rows = np.array([row_of[image_id] for image_id in ids], dtype=int)
        return ScoreFile(*(getattr(self, name)[rows] for name in ARRAYS), self.record)


def collect_scores(
    entries: Sequence[Any],
    scores: Sequence[float],
    maps: Sequence[np.ndarray],
    milliseconds: Sequence[float],
    record: RunRecord | None = None,
) -> ScoreFile:
    """Collect the scores of a manifest's entries, in their order."""
    return ScoreFile(
        np.array([entry.id for entry in entries], dtype=np.str_),
        np.array([entry.category for entry in entries], dtype=np.str_),
        np.array([entry.label for entry in entries], dtype=np.int8),
        np.array(scores, dtype=np.float32),
        np.array(maps, dtype=np.float32),
        np.array(milliseconds, dtype=np.float32),
        record,
    )


def write_scores(scores: ScoreFile, path: Path | str) -> Path:
    """Write `path` (.npz) and the record next to it (.json), each atomically; returns `path`."""
    path = Path(path)
    _check(scores, path)
    with written_beside(path) as temporary:
        np.savez_compressed(temporary, **{name: getattr(scores, name) for name in ARRAYS})
    write_json(path.with_suffix(".json"), scores.record.model_dump())
    return path


def write_not_run(record: RunRecord, path: Path | str) -> Path:
    """Write an empty score file whose record says why there are no scores."""
    return write_scores(collect_scores([], [], np.zeros((0, 1, 1)), [], record), path)


def read_scores(path: Path | str) -> ScoreFile:
    """Read a score file and its record; a missing, damaged or inconsistent file is an `InputError`."""
    path = Path(path)
    raw = read_json(path.with_suffix(".json"), REMEDY)
    try:
        with np.load(verified(path), allow_pickle=False) as arrays:
            if sum(item.file_size for item in arrays.zip.infolist()) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES:,} bytes")
            scores = ScoreFile(*(arrays[name] for name in ARRAYS), RunRecord.model_validate(raw))
    except FileNotFoundError:
        raise InputError(f"{path}: missing; {REMEDY}") from None
    except CheckError:
        raise
    # Damaged bytes raise BadZipFile, zlib.error, ValueError, KeyError, EOFError, ...
    except Exception as error:
        raise InputError(f"{path}: invalid score file ({one_line(error)}); {REMEDY}") from None
    _check(scores, path)
    return scores


def _check(scores: ScoreFile, path: Path) -> None:
    shapes = {name: getattr(scores, name).shape for name in ARRAYS}
    if tuple(map(len, shapes.values())) != DIMENSIONS or len({shape[0] for shape in shapes.values()}) != 1:
        raise InputError(f"{path}: arrays of different lengths {shapes}; score the images again")
    if text := [name for name in ARRAYS[2:] if getattr(scores, name).dtype.kind not in "fiu"]:
        raise InputError(f"{path}: {text[0]} is not numeric; score the images again")
    if not np.isin(scores.label, (0, 1)).all():
        raise InputError(f"{path}: a label is not 0 or 1; score the images again")
    finite = np.isfinite(scores.score) & np.isfinite(scores.map).all(axis=(1, 2))
    if not finite.all():
        raise InputError(f"{path}: score of {scores.image_id[finite.argmin()]} is not finite; check the model")
