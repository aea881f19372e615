"""Evaluate a detector on folders in MVTec layout: scores, metrics of each category, decisions of a threshold."""

import math
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgezsad.config import DataSet
from edgezsad.data.check import EMPTY_MASK, LARGE_MASK
from edgezsad.data.images import Reading, decode_mask
from edgezsad.data.manifest import Manifest, index_dataset
from edgezsad.errors import InputError, printable
from edgezsad.files import progress, sha256_of_file
from edgezsad.metrics.benchmark_tables import METRIC_TEXT, METRICS, PIXEL_METRICS, category_metrics
from edgezsad.metrics.image_metrics import best_balanced, decisions
from edgezsad.metrics.pixel_metrics import enlarge
from edgezsad.predict import Decision, Failure, HeatMaps, find_images, load_scorer, predict_files
from edgezsad.references import adapt
from edgezsad.report_html import HtmlReport, Table
from edgezsad.scoring.score_file import ScoreFile, Scorer, collect_scores

PIXELS = 256  # height and width at which maps and masks are compared: finer than any map
COUNTS = ("images", "defective", "without_mask")
DECISIONS = ("detected", "missed", "passed", "false_alarms")
METRIC_COLUMNS = ("folder", "category", *COUNTS, *METRICS)
DECISION_COLUMNS = ("folder", "category", *DECISIONS, "threshold", "best_threshold")
REPORT_COLUMNS = (*METRIC_COLUMNS, *DECISION_COLUMNS[2:])
DetectorOf = Callable[[Manifest, str], tuple[Scorer, Decision]]


@dataclass
class EvaluationReport:
    """Result of `evaluate`: `rows` hold `REPORT_COLUMNS` of each category, then of the mean over all categories.

    Metrics are in percent (NaN if undefined), scores and thresholds logits. The best threshold is that of the best
    balanced accuracy on these images. `missed` are defective images below the threshold.
    """

    decisions: dict[str, Decision] = field(default_factory=dict)  # of each category
    rows: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)  # folder, image, category, label and score of each image
    notes: list[str] = field(default_factory=list)  # which metrics are undefined and why
    skipped: list[str] = field(default_factory=list)  # images without a score, excluded from all numbers
    problems: list[str] = field(default_factory=list)  # heat maps that could not be written

    def as_text(self) -> str:
        """Format the metrics, then the decisions, for a terminal."""
        title = f"Decisions; threshold: {'; '.join(sorted({one.basis for one in self.decisions.values()}))}"
        metrics, counts = _format_table(self.rows, METRIC_COLUMNS, 1), _format_table(self.rows, DECISION_COLUMNS, 3)
        return "\n".join(map(printable, [*metrics, "", title, *counts, *self.notes]))

    def tables(self) -> list[Table]:
        """Return the confusion of verdicts and labels, the metrics and the notes, for an HTML report."""
        verdicts, metrics = _cells(self.rows, DECISION_COLUMNS, 3), _cells(self.rows, METRIC_COLUMNS, 1)
        notes = ("Notes", ("note",), [[note] for note in self.notes])
        return [("Verdicts and labels", *verdicts), ("Metrics, in percent", *metrics), notes]

    def as_json(self) -> dict[str, object]:
        """Return the object of `--json`; undefined metrics are null."""
        rows = [{name: None if _undefined(value) else value for name, value in row.items()} for row in self.rows]
        bases = {name: decision.basis for name, decision in self.decisions.items()}
        about = {"unit": "percent", "pixels": PIXELS, "thresholds": bases}
        return {**about, "rows": rows, "notes": self.notes, "unread": self.skipped}


def find_test_images(folders: Sequence[Path]) -> list[Manifest]:
    """Index the test images of each folder; a manifest is named after its folder."""
    found: list[Manifest] = []
    for folder in folders:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", folder.resolve().name).lstrip("_.-") or "folder"
        if name in {manifest.name for manifest in found}:
            raise InputError(f"{folder}: given twice, or named like another folder; evaluate it alone, or rename it")
        item = DataSet(name=name, layout="mvtec", root=folder)
        tests = index_dataset(item, folder, workers=2, choose=lambda images: [i for i in images if i.split == "test"])
        if not tests.entries:
            raise InputError(f"{folder}: no test images; expected CATEGORY/test/good and CATEGORY/test/DEFECT")
        found.append(tests)
    return found


def evaluate(
    detector_of: DetectorOf,
    manifests: Sequence[Manifest],
    heatmaps: Path | None = None,
    page: HtmlReport | None = None,
    bits: int | None = None,
) -> EvaluationReport:
    """Compute the metrics of each category from all images with a score; heat maps go to HEATMAPS/NAME/CATEGORY.

    `detector_of` returns scorer and decision for a manifest and one of its categories. `page` gets every image; `bits`
    are those of 16-bit files.
    """
    report, reading = EvaluationReport(), Reading(bits)
    for whole, category in ((one, name) for one in manifests for name in sorted({e.category for e in one.entries})):
        scorer, decision = detector_of(whole, category)
        manifest = replace(whole, entries=tuple(one for one in whole.entries if one.category == category))
        manifest = _without_empty_masks(manifest, report)
        report.decisions[f"{whole.name}/{category}"] = decision
        scores = score_manifest(scorer, manifest, heatmaps, report, decision.threshold, page, reading)
        (row,), label, score = category_metrics(scores, manifest, PIXELS), scores.label, scores.score
        row |= dict.fromkeys((*DECISIONS, "threshold"), math.nan)
        if decision.threshold is not None:
            found = decisions(label, score, decision.threshold)
            counts = (found.detected, found.missed, found.normal - found.false_alarms, found.false_alarms)
            row |= dict(zip(DECISIONS, counts, strict=True)) | {"threshold": decision.threshold}
        about = {"folder": str(manifest.root), "category": category}
        report.rows.append(row | about | {"best_threshold": best_balanced(label, score)})
        for image, truth, value in zip(scores.image_id.tolist(), label.tolist(), score.tolist(), strict=True):
            report.scores.append(about | {"image": image, "label": truth, "score": value})
    region = [f"scored region: {scorer.region}"] if getattr(scorer, "region", "") else []
    report.notes.extend([*_notes(report.rows), *reading.notes(), *region])
    report.rows.append(_mean(report.rows))
    if page:
        page.write("Evaluation report", report.decisions, report.tables())
    return report


def adapted_by_category(references: str, threshold: float | None = None, **options: Any) -> DetectorOf:
    """Return a `detector_of` that adapts the detector to the images in CATEGORY/`references`, such as train/good.

    Options are those of `adapt`. An InputError if there are none, or if one is also a test image.
    """

    def detector_of(manifest: Manifest, category: str) -> tuple[Scorer, Decision]:
        # The root is that of a single category, or the folder above.
        folders = (manifest.root / category / references, manifest.root / references)
        folder = next((path for path in folders if path.is_dir()), None)
        if folder is None:
            raise InputError(f"{folders[0]}: no such folder; give for instance --references train/good")
        images, _ = find_images([folder])
        tested = {entry.sha256: entry.id for entry in manifest.entries}
        for path in images:
            if (digest := sha256_of_file(path)) in tested:
                raise InputError(f"{path}: also the test image {tested[digest]}; references must not be tested")
        with tempfile.TemporaryDirectory() as scratch:
            part = adapt(images, Path(scratch) / "part.onnx", **options).path
            return load_scorer(checkpoint=part, threshold=threshold, regions=options.get("regions"))

    return detector_of


def score_manifest(
    scorer: Scorer,
    manifest: Manifest,
    heatmaps: Path | None = None,
    report: EvaluationReport | None = None,
    threshold: float | None = None,
    page: HtmlReport | None = None,
    reading: Reading | None = None,
) -> ScoreFile:
    """Score the images of a manifest; images without a score are left out, and listed in `report`.

    `page` gets them all, with their verdicts by `threshold`.
    """
    report = report or EvaluationReport()
    maps = HeatMaps(heatmaps / manifest.name, manifest.root) if heatmaps else None
    paths = [manifest.root / entry.id for entry in manifest.entries]
    entries, results = [], []
    stream = predict_files(scorer, threshold, paths, maps, page is not None, reading)
    stream = progress(stream, f"score {manifest.name}", len(paths))
    for entry, result in zip(manifest.entries, stream, strict=True):
        if page:
            page.add(result, bool(entry.label))
        if isinstance(result, Failure):
            report.skipped.append(result.reason)
            continue
        if result.problem:
            report.problems.append(result.problem)
        entries.append(entry)
        results.append(replace(result, thumbnail=None))
    if not results:
        raise InputError(f"{manifest.root}: no test image could be scored; check the files and the checkpoint")
    scores, anomaly_maps = [result.score for result in results], [result.map for result in results]
    if (side := max(map(len, anomaly_maps))) > min(map(len, anomaly_maps)):
        # Images of different size have different numbers of tiles.
        anomaly_maps = [enlarge(one, side) for one in anomaly_maps]
    return collect_scores(entries, scores, anomaly_maps, [math.nan] * len(results))


def _without_empty_masks(manifest: Manifest, report: EvaluationReport) -> Manifest:
    """Return a manifest where empty masks of defective images are missing, so that their pixels count as unknown.

    The report notes them, and masks that cover most of the image.
    """
    entries, counts = [], Counter()
    for entry in manifest.entries:
        if path := manifest.mask_path(entry):
            coverage = decode_mask(path, (entry.height, entry.width)).mean()
            counts[EMPTY_MASK] += coverage == 0
            counts[LARGE_MASK] += coverage > 0.5
            entry = entry if coverage else replace(entry, mask="", mask_sha256="")
        entries.append(entry)
    for text, count in counts.items():
        if count:
            report.notes.append(f"{text}: {manifest.entries[0].category} ({count})")
    return replace(manifest, entries=tuple(entries))


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Average the metrics over the categories that have them, and add up the counts."""
    mean: dict[str, Any] = {"folder": "mean", "category": f"{len(rows)} categor{'ies' if len(rows) > 1 else 'y'}"}
    mean |= {name: sum(row[name] for row in rows) for name in (*COUNTS, *DECISIONS)}
    mean |= dict.fromkeys(("threshold", "best_threshold"), math.nan)
    for name in METRICS:
        values = [row[name] for row in rows if not _undefined(row[name])]
        mean[name] = sum(values) / len(values) if values else math.nan
    return mean


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    """Say which metrics are undefined, and why."""
    notes = []
    for text, applies in {
        "image metrics only, no masks": lambda row: 0 < row["without_mask"] == row["defective"],
        "pixel metrics of images with a mask only": lambda row: 0 < row["without_mask"] < row["defective"],
        "no image metrics, all test images have the same label": lambda row: row["defective"] in (0, row["images"]),
    }.items():
        if names := [row["category"] for row in rows if applies(row)]:
            notes.append(f"{text}: {', '.join(names)}")
    if len(rows) > 1 and any(_undefined(row[name]) for row in rows for name in PIXEL_METRICS):
        notes.append("each mean is over the categories that have the metric")
    if not all(_undefined(row["best_threshold"]) for row in rows):
        notes.append("the best threshold was chosen on these images: check it on others before you rely on it")
    return notes


def _undefined(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _cells(rows: list[dict[str, Any]], columns: Sequence[str], digits: int) -> tuple[list[str], list[list[str]]]:
    """Format rows as text, with a header."""

    def cell(value: object) -> str:
        if _undefined(value):
            return "-"
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    header = [" ".join(METRIC_TEXT.get(word, word) for word in name.split("_")) for name in columns]
    return header, [[cell(row[name]) for name in columns] for row in rows]


def _format_table(rows: list[dict[str, Any]], columns: Sequence[str], digits: int) -> list[str]:
    """Format rows as right-aligned lines below a header."""
    header, body = _cells(rows, columns, digits)
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    return [" ".join(map(str.rjust, line, widths)) for line in (header, *body)]
