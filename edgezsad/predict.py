"""Score a user's own photographs, and paint heat maps over them.

Without any choice the committed checkpoint does it (`edgezsad.checkpoints`), as a graph and without PyTorch, which
would take longer to load than the photographs take to be scored. Files that cannot be read do not stop the others: they
come back as `Failure` in their place.
"""

import csv
import glob
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from edgezsad.checkpoints import GRAPH
from edgezsad.data.folders import HEATMAP, IMAGE_ENDINGS, OTHER_PICTURES, all_images
from edgezsad.data.images import decode_image, prepare
from edgezsad.errors import InputError
from edgezsad.files import check_may_be_written, written_beside

AHEAD = 4
"""Photographs that are read while another is scored."""
READERS = 2
COLUMNS = ("path", "verdict", "score", "threshold", "heatmap", "error")


class Scorer(Protocol):
    """What scores; `size` is the side of the images that it takes, in pixels."""

    size: int

    def score(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """(size, size, 3) uint8 RGB to a score and an (h, w) map, raw logits."""


@dataclass(frozen=True)
class Prediction:
    """One photograph's result.

    Attributes:
        path: the photograph.
        score: raw logit; higher is more anomalous.
        threshold: from source images, or the caller's; at or above it the photograph is called defective.
        heatmap: the picture written, if asked for.
        problem: why there is none although it was asked for, in one line; empty otherwise.
    """

    path: Path
    score: float
    threshold: float
    heatmap: Path | None
    problem: str = ""

    @property
    def defective(self) -> bool:
        """The verdict."""
        return self.score >= self.threshold

    @property
    def verdict(self) -> str:
        """In a word."""
        return "defective" if self.defective else "normal"

    def as_text(self) -> str:
        """One line: verdict, score, path."""
        return f"{self.verdict:9}  {self.score:+8.3f}  {self.path}" + (f"  ({self.heatmap})" if self.heatmap else "")

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "path": str(self.path),
            "score": self.score,
            "threshold": self.threshold,
            "defective": self.defective,
            "heatmap": str(self.heatmap) if self.heatmap else None,
        } | ({"error": self.problem} if self.problem else {})

    def as_row(self) -> dict[str, object]:
        """For `--csv`."""
        return {
            "path": self.path,
            "verdict": self.verdict,
            "score": f"{self.score:.6g}",
            "threshold": f"{self.threshold:.6g}",
            "heatmap": self.heatmap or "",
            "error": self.problem,
        }


@dataclass(frozen=True)
class Failure:
    """A photograph that could not be scored.

    Attributes:
        path: the photograph.
        reason: one line that names it.
    """

    path: Path
    reason: str

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {"path": str(self.path), "error": self.reason}

    def as_row(self) -> dict[str, object]:
        """For `--csv`."""
        return dict.fromkeys(COLUMNS, "") | {"path": self.path, "error": self.reason}


def load_scorer(
    config: Path | str | None = None, checkpoint: Path | str | None = None, threshold: float | None = None
) -> tuple[Scorer, float]:
    """What scores, and the threshold.

    Args:
        config: a profile, whose run's first seed is taken.
        checkpoint: a checkpoint (.safetensors) or an exported graph (.onnx) instead. Without either, the committed one.
        threshold: replaces the checkpoint's own.

    Raises:
        InputError: there is no such checkpoint, or two are named; a graph carries no threshold and none is given; or
            the one given is no number.
    """
    if config is not None and checkpoint is not None:
        raise InputError(f"{checkpoint}: the run of {config} has a checkpoint of its own; give one of the two")
    if threshold is not None and not math.isfinite(threshold):
        raise InputError(f"--threshold {threshold}: not a finite number; give a score")
    if checkpoint is None:
        checkpoint = GRAPH if config is None else _of_run(config)
    if Path(checkpoint).suffix.lower() == ".onnx":
        from edgezsad.scoring.graph_scorer import GraphScorer

        graph = GraphScorer(checkpoint)
        if (threshold := graph.threshold if threshold is None else threshold) is None:
            raise InputError(f"{checkpoint}: carries no threshold; give --threshold, or the checkpoint it comes from")
        return graph, threshold
    # PyTorch takes seconds to load.
    from edgezsad.model.detector import load_detector
    from edgezsad.scoring.torch_scorer import TorchScorer

    detector, info = load_detector(checkpoint)
    return TorchScorer(detector), info.threshold if threshold is None else threshold


def _of_run(config: Path | str) -> Path:
    from edgezsad.run import open_run

    run = open_run(config)
    checkpoint = run.checkpoint(run.profile.seeds[0]).absolute()
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: not trained yet; run `make book`, or give --checkpoint FILE")
    return checkpoint


def find_photographs(given: Sequence[str | Path]) -> list[Path]:
    """The photographs that are meant, each once, in the order given.

    Args:
        given: files; folders, of which all images at any depth are taken; or patterns as `parts/*.jpg` or
            `parts/**/*.png`, which a shell has not replaced by names. A file that is not there is kept, to be told of
            with the others that cannot be read.

    Returns:
        those to score: heat maps that an earlier call wrote are left out. Pictures of a kind that is not read are kept
        where a folder holds them, to be told of as well.

    Raises:
        InputError: a folder or a pattern holds no image, or there is nothing but heat maps.
    """
    found: dict[Path, None] = {}
    for one in given:
        path = Path(one)
        if path.is_dir():
            names = [path / name for name in sorted(all_images(path, endings=IMAGE_ENDINGS + OTHER_PICTURES))]
        elif not path.exists() and glob.has_magic(str(one)):
            matches = (Path(name) for name in sorted(glob.glob(str(one), recursive=True)))  # noqa: PTH207
            names = [match for match in matches if match.suffix.lower() in IMAGE_ENDINGS and match.is_file()]
        else:
            names = [path]
        if not names:
            raise InputError(f"{one}: no images there ({', '.join(IMAGE_ENDINGS)}); give photographs")
        found |= dict.fromkeys(names)
    chosen = [path for path in found if not path.name.endswith(HEATMAP)]
    if not chosen:
        raise InputError(f"{next(iter(found), 'nothing')}: a heat map of an earlier call; give photographs")
    return chosen


def without_masks(photographs: Sequence[Path]) -> tuple[list[Path], int]:
    """The photographs without the masks of MVTec layout, which lie beneath a `ground_truth` that is beside a `test`.

    Returns:
        the photographs, and how many masks were left out.

    Raises:
        InputError: there is nothing but masks.
    """
    truths: dict[Path, bool] = {}

    def is_mask(path: Path) -> bool:
        for folder in path.absolute().parents:
            if folder.name == "ground_truth" and folder not in truths:
                truths[folder] = (folder.parent / "test").is_dir()
        return any(truths.get(folder, False) for folder in path.absolute().parents)

    chosen = [path for path in photographs if not is_mask(path)]
    if photographs and not chosen:
        raise InputError(f"{photographs[0]}: a mask of the photographs in the folder test beside it; give photographs")
    return chosen, len(photographs) - len(chosen)


@dataclass(frozen=True)
class HeatMaps:
    """Where heat maps are written: in `folder`, in folders as the photographs', or beside them where it is None."""

    photographs: Sequence[Path]
    folder: Path | None = None

    def path_of(self, photograph: Path) -> Path:
        """The whole file name is kept, so that part.jpg and part.png do not overwrite each other's picture."""
        if self.folder is None:
            return photograph.with_name(photograph.name + HEATMAP)
        below = _in_full(photograph).relative_to(self._above)
        return self.folder / below.with_name(below.name + HEATMAP)

    @cached_property
    def _above(self) -> str:
        return os.path.commonpath([_in_full(path).parent for path in self.photographs])

    def check(self) -> None:
        """Raise before anything is scored if they cannot be written.

        Raises:
            InputError: a photograph's folder may not be written to.
        """
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        for folder in {path.parent for path in self.photographs} if self.folder is None else {self.folder}:
            _check_folder(folder, "name another place with --heatmaps FOLDER")

    def write(self, photograph: Path, image: np.ndarray, anomaly_map: np.ndarray) -> Path:
        """Paint one; returns its path."""
        # Both are slow to load, and only needed here.
        from PIL import Image

        from edgezsad.show.maps import overlay

        path = self.path_of(photograph)
        with written_beside(path) as temporary:
            Image.fromarray(overlay(image, anomaly_map)).save(temporary)
        return path


def _check_folder(folder: Path, remedy: str) -> None:
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: may not be written to; {remedy}")


def _in_full(path: Path) -> Path:
    # Without `..`, which would lead out of the folder again; links stay as they are named.
    return Path(os.path.abspath(path))  # noqa: PTH100


def predict_files(
    scorer: Scorer, threshold: float, photographs: Sequence[Path], heatmaps: HeatMaps | None = None
) -> Iterator[Prediction | Failure]:
    """Score photographs in order; the next ones are read meanwhile.

    A heat map that cannot be written does not stop the others: the `Prediction` says so.
    """

    def read(path: Path) -> tuple[np.ndarray | None, np.ndarray]:
        image = decode_image(path)
        # The photograph itself is kept only where something is painted over it.
        return (image if heatmaps else None), prepare(image, scorer.size)

    waiting: deque[tuple[Path, Future[tuple[np.ndarray | None, np.ndarray]]]] = deque()
    left = iter(photographs)
    with ThreadPoolExecutor(READERS) as readers:

        def read_on() -> None:
            while len(waiting) < AHEAD and (path := next(left, None)) is not None:
                waiting.append((path, readers.submit(read, path)))

        read_on()
        while waiting:
            path, future = waiting.popleft()
            try:
                image, prepared = future.result()
            except (InputError, OSError) as error:
                yield Failure(path, _in_a_line(error))
                read_on()
                continue
            read_on()
            score, anomaly_map = scorer.score(prepared)
            if not math.isfinite(score):
                yield Failure(path, f"{path}: the score is {score}; use another checkpoint or graph")
                continue
            written, problem = None, ""
            if heatmaps and image is not None:
                try:
                    written = heatmaps.write(path, image, anomaly_map)
                except (InputError, OSError) as error:
                    problem = _in_a_line(error)
            yield Prediction(path, score, threshold, written, problem)


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


def check_table(path: Path) -> None:
    """Refuse a table's name that would cost a picture, or that cannot be written, before the work is done.

    Raises:
        InputError: it ends as a picture does, for instance because the option stands before photographs; or there can
            be no such file.
    """
    if path.name.lower().endswith(IMAGE_ENDINGS + OTHER_PICTURES):
        raise InputError(f"{path}: named as a picture; give a table a name that ends in .csv")
    check_may_be_written(path)
    _check_folder(path.absolute().parent, f"name another place for {path.name}")


def write_csv(path: Path, results: Sequence[Prediction | Failure]) -> Path:
    """Write one row for each photograph, those that could not be scored included; returns `path`."""
    # A file's name may hold bytes that are no text.
    with (
        written_beside(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(result.as_row() for result in results)
    return path
