"""Evaluate a detector on folders in MVTec layout: scores of the test images, metrics of each category.

The metrics are those of the book, from the same code. They come with the decisions of a threshold, and with the
threshold of the best balanced accuracy.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgezsad.config import DataSet
from edgezsad.data.manifest import Manifest, index_dataset
from edgezsad.errors import InputError
from edgezsad.files import progress
from edgezsad.metrics.benchmark_tables import METRICS, PIXEL_METRICS, category_metrics
from edgezsad.metrics.image_metrics import best_balanced, decisions
from edgezsad.predict import Failure, HeatMaps, predict_files
from edgezsad.scoring.score_file import ScoreFile, Scorer

PIXELS = 256
"""Height and width at which maps and masks are compared: finer than any map."""
MEAN = "mean"
COUNTS = ("images", "defective", "without_mask", "missed", "false_alarms")
COLUMNS = ("folder", "category", *COUNTS[:3], *METRICS, *COUNTS[3:], "best_threshold")
DECISIONS = ("folder", "category", "images", "defective", "missed", "false_alarms", "best_threshold")


@dataclass(frozen=True)
class EvaluationReport:
    """Result of `evaluate`.

    Attributes:
        rows: `COLUMNS` of each category, then of the mean over all categories: metrics in percent (NaN if undefined),
            defective images below the threshold, normal images at or above it, and the threshold of the best balanced
            accuracy on these images, a logit.
        scores: folder, image, category, label and score (a logit) of each image.
        threshold: the threshold, a logit.
        notes: which metrics are undefined and why, a sentence each.
        skipped: images without a score, excluded from all numbers, one line each.
        problems: heat maps that could not be written, one line each.
    """

    rows: list[dict[str, Any]]
    scores: list[dict[str, Any]]
    threshold: float
    notes: list[str]
    skipped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def as_text(self) -> str:
        """Format the metrics, then the decisions, for a terminal."""
        metrics = [name for name in COLUMNS if name not in ("missed", "false_alarms", "best_threshold")]
        return "\n".join(
            [
                *_format_table(self.rows, metrics, 1),
                "",
                f"Decisions at the threshold {self.threshold:.3f} (change it with --threshold):",
                *_format_table(self.rows, DECISIONS, 3),
                *self.notes,
            ]
        )

    def as_json(self) -> dict[str, object]:
        """Return the object of `--json`; undefined metrics are null."""
        rows = [{name: None if _undefined(value) else value for name, value in row.items()} for row in self.rows]
        about = {"unit": "percent", "pixels": PIXELS, "threshold": self.threshold}
        return {**about, "rows": rows, "notes": self.notes, "unread": self.skipped}


def find_test_images(folders: Sequence[Path]) -> list[Manifest]:
    """Index the test images of each folder; a manifest is named after its folder, with a number if that is taken.

    Raises:
        InputError: a folder is not in MVTec layout, is given twice, or has no test images; or a file is not an image or
            its mask has another size.
    """
    found: dict[Path, Manifest] = {}
    for folder in folders:
        if (location := folder.resolve()) in found:
            raise InputError(f"{folder}: given twice; give each folder once")
        own = re.sub(r"[^A-Za-z0-9_.-]", "_", location.name).lstrip("_.-") or "folder"
        taken = {manifest.name for manifest in found.values()}
        numbered = itertools.chain([own], (f"{own}-{number}" for number in itertools.count(2)))
        item = DataSet(name=next(name for name in numbered if name not in taken), layout="mvtec", root=folder)
        tests = index_dataset(item, folder, workers=2, choose=lambda images: [i for i in images if i.split == "test"])
        if not tests.entries:
            raise InputError(f"{folder}: no test images; they lie in CATEGORY/test/good and CATEGORY/test/DEFECT")
        found[location] = tests
    return list(found.values())


def evaluate(
    scorer: Scorer, manifests: Sequence[Manifest], heatmaps: Path | None = None, threshold: float = 0.0
) -> EvaluationReport:
    """Score all images and compute the metrics of each category; images without a score are excluded.

    Args:
        scorer: the detector.
        manifests: from `find_test_images`.
        heatmaps: folder for a heat map of each image: FOLDER/NAME/CATEGORY/...
        threshold: images with this score or a higher one count as defective; no metric depends on it.

    Raises:
        InputError: no image of a folder has a score, or a mask cannot be read.
    """
    found = EvaluationReport([], [], threshold, [])
    for manifest in manifests:
        scores = score_manifest(scorer, manifest, heatmaps, found)
        folder = str(manifest.root)
        for row in category_metrics(scores, manifest, PIXELS):
            part = scores.category == row["category"]
            label, score = scores.label[part], scores.score[part]
            decided = decisions(label, score, threshold)
            counts = {"missed": decided.missed, "false_alarms": decided.false_alarms}
            found.rows.append({"folder": folder} | row | counts | {"best_threshold": best_balanced(label, score)})
        for image, category, label, score in zip(
            scores.image_id, scores.category, scores.label, scores.score, strict=True
        ):
            one = {"image": str(image), "category": str(category), "label": int(label), "score": float(score)}
            found.scores.append({"folder": folder} | one)
    found.notes.extend(_notes(found.rows))
    found.rows.append(_mean(found.rows))
    return found


def score_manifest(
    scorer: Scorer, manifest: Manifest, heatmaps: Path | None = None, report: EvaluationReport | None = None
) -> ScoreFile:
    """Score the images of a manifest.

    Args:
        scorer: the detector.
        manifest: the images.
        heatmaps: folder for heat maps: FOLDER/NAME/CATEGORY/...
        report: receives images without a score and heat maps that could not be written; images without a score are
            left out.

    Raises:
        InputError: no image has a score.
    """
    paths = [manifest.path(entry) for entry in manifest.entries]
    maps = HeatMaps(heatmaps / manifest.name, manifest.root) if heatmaps else None
    entries, results = [], []
    stream = predict_files(scorer, 0.0, paths, maps)
    for entry, result in zip(manifest.entries, progress(stream, f"score {manifest.name}", len(paths)), strict=True):
        if isinstance(result, Failure):
            if report:
                report.skipped.append(result.reason)
            continue
        if report and result.problem:
            report.problems.append(result.problem)
        entries.append(entry)
        results.append(result)
    if not results:
        raise InputError(f"{manifest.root}: no test image could be scored; check the files and the checkpoint")
    return ScoreFile(
        image_id=np.array([entry.id for entry in entries]),
        category=np.array([entry.category for entry in entries]),
        label=np.array([entry.label for entry in entries], dtype=np.int8),
        score=np.array([result.score for result in results], dtype=np.float32),
        map=np.stack([result.map for result in results]).astype(np.float32),
        milliseconds=np.full(len(results), np.nan, dtype=np.float32),
    )


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Average the metrics over the categories that have them, and add up the counts."""
    mean = {"folder": MEAN, "category": f"{len(rows)} categories" if len(rows) > 1 else "1 category"}
    mean |= {name: sum(row[name] for row in rows) for name in COUNTS}
    for name in METRICS:
        values = [row[name] for row in rows if not _undefined(row[name])]
        mean[name] = sum(values) / len(values) if values else math.nan
    return {name: (mean | {"best_threshold": math.nan})[name] for name in COLUMNS}


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    """Say which metrics are undefined, and why."""
    notes = []

    def note(text: str, chosen: list[dict[str, Any]]) -> None:
        if chosen:
            notes.append(f"{text}: {', '.join(row['category'] for row in chosen)}")

    note(
        "image metrics only, no masks",
        [row for row in rows if row["defective"] and row["without_mask"] == row["defective"]],
    )
    note(
        "pixel metrics without the defective images that have no mask",
        [row for row in rows if 0 < row["without_mask"] < row["defective"]],
    )
    note(
        "no image metrics, all test images have the same label",
        [row for row in rows if row["defective"] in (0, row["images"])],
    )
    if len(rows) > 1 and any(_undefined(row[name]) for row in rows for name in PIXEL_METRICS):
        notes.append("each mean is over the categories that have the metric")
    if not all(_undefined(row["best_threshold"]) for row in rows):
        notes.append("the best threshold was chosen on these images: check it on others before you rely on it")
    return notes


def _undefined(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _format_table(rows: list[dict[str, Any]], columns: Sequence[str], digits: int) -> list[str]:
    """Format rows as right-aligned lines below a header."""

    def cell(value: object) -> str:
        if _undefined(value):
            return "-"
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    header = [" ".join(_UPPER.get(word, word) for word in name.split("_")) for name in columns]
    cells = [header, *([cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    return [" ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in cells]


_UPPER = {"auroc": "AUROC", "ap": "AP", "f1max": "F1-max", "aupro": "AUPRO", "aupro200": "AUPRO-200"}
