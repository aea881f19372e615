"""The score file, the one interface of the package: whoever computed the scores, everything after reads only this.

`NAME.npz` holds arrays (no objects, no pickles), `NAME.json` beside it the run record.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from edgezsad.errors import InputError
from edgezsad.files import read_json, write_json, written_beside


class RunRecord(BaseModel):
    """How the scores were made.

    `status` is "ok", or "not run" with `reason` saying what it needs; a run that did not happen has a record and no
    scores, so that a table can say so instead of leaving a hole.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    status: Literal["ok", "not run"] = "ok"
    reason: str = ""
    profile: str
    target: str
    seed: int
    runtime: str
    precision: str
    device: str
    model_sha256: str
    detector_sha256: str = ""
    """Of the weights behind the model file, equal for a checkpoint and the graphs exported from it; "" if unknown."""
    manifest_sha256: str
    command: str
    versions: dict[str, str]
    timing_method: str = ""


@dataclass(frozen=True)
class ScoreFile:
    """Scores of one model on one data set.

    Attributes:
        image_id: (N,) str, the manifest's ids, in its order.
        category: (N,) str.
        label: (N,) int8, 0 normal, 1 defective.
        score: (N,) float32, raw (a logit: any real number, higher is more anomalous).
        map: (N, h, w) float32, the anomaly map at the model's own low resolution, raw.
        milliseconds: (N,) float32, wall time of each image; NaN where not measured.
        record: how they were made.
    """

    image_id: np.ndarray
    category: np.ndarray
    label: np.ndarray
    score: np.ndarray
    map: np.ndarray
    milliseconds: np.ndarray
    record: RunRecord

    def __len__(self) -> int:
        return len(self.image_id)

    def take(self, ids: np.ndarray) -> "ScoreFile":
        """The rows of the given image ids, in their order; for comparing a subset with the same images elsewhere.

        Raises:
            InputError: an id is not in this file.
        """
        where = {image_id: row for row, image_id in enumerate(self.image_id)}
        missing = [image_id for image_id in ids if image_id not in where]
        if missing:
            raise InputError(f"score file of {self.record.target}: no image {missing[0]}; score it again")
        rows = np.array([where[image_id] for image_id in ids], dtype=int)
        return ScoreFile(*(getattr(self, name)[rows] for name in _ARRAYS), self.record)


_ARRAYS = ("image_id", "category", "label", "score", "map", "milliseconds")


def write_scores(scores: ScoreFile, path: Path | str) -> Path:
    """Write `path` (.npz) and the record beside it (.json), each atomically; returns `path`.

    Raises:
        InputError: lengths differ, a label is not 0 or 1, or a score or map is not finite (the image is named).
    """
    path = Path(path)
    if scores.record.status == "ok":
        _check(scores, path)
    with written_beside(path) as temporary:
        np.savez_compressed(temporary, **{name: getattr(scores, name) for name in _ARRAYS})
    write_json(path.with_suffix(".json"), scores.record.model_dump())
    return path


def write_not_run(record: RunRecord, path: Path | str) -> Path:
    """Write a record that says why there are no scores, beside an empty score file."""
    nothing = np.zeros(0, dtype=np.float32)
    text = np.zeros(0, dtype=np.str_)
    maps = np.zeros((0, 1, 1), dtype=np.float32)
    return write_scores(ScoreFile(text, text, nothing.astype(np.int8), nothing, maps, nothing, record), path)


def read_scores(path: Path | str) -> ScoreFile:
    """Read a score file and its record.

    Raises:
        InputError: either file is missing, damaged or of another schema.
    """
    path = Path(path)
    remedy = "run notebook 05_scoring to write it again"
    raw = read_json(path.with_suffix(".json"), remedy)
    try:
        record = RunRecord.model_validate(raw)
        with np.load(path, allow_pickle=False) as arrays:
            scores = ScoreFile(*(arrays[name] for name in _ARRAYS), record)
    except FileNotFoundError:
        raise InputError(f"{path}: missing; {remedy}") from None
    except Exception as error:
        # NumPy raises whatever the damaged bytes led to: BadZipFile, zlib.error, ValueError, KeyError, EOFError, ...
        raise InputError(f"{path}: not a score file ({' '.join(str(error).split())[:160]}); {remedy}") from None
    if record.status == "ok":
        _check(scores, path)
    return scores


def _check(scores: ScoreFile, path: Path) -> None:
    shapes = {name: getattr(scores, name).shape for name in _ARRAYS}
    dimensions = [len(shapes[name]) for name in _ARRAYS]
    if dimensions != [1, 1, 1, 1, 3, 1] or len({shape[0] for shape in shapes.values()}) != 1:
        raise InputError(f"{path}: arrays of different lengths {shapes}; score the images again")
    words = [name for name in _ARRAYS[2:] if getattr(scores, name).dtype.kind not in "fiu"]
    if words:
        raise InputError(f"{path}: {words[0]} is not numbers; score the images again")
    if not np.isin(scores.label, (0, 1)).all():
        raise InputError(f"{path}: a label is not 0 or 1; score the images again")
    bad = ~(np.isfinite(scores.score) & np.isfinite(scores.map).all(axis=(1, 2)))
    if bad.any():
        raise InputError(
            f"{path}: score of {scores.image_id[bad.argmax()]} is not finite; look at the model or the image"
        )
