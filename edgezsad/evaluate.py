"""How good a checkpoint is on folders in MVTec layout: scores of their test images, and the metrics of each category.

The score and the metrics are those of the book, from the same code: image metrics of all test images, pixel metrics of
those whose defective pixels are known. With them what a threshold decides, and which one would have decided best.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from edgezsad.config import DataSet
from edgezsad.data.folders import Tell, refuse
from edgezsad.data.images import decode_image, prepare
from edgezsad.data.layouts import Found, index
from edgezsad.data.manifest import Manifest
from edgezsad.errors import InputError
from edgezsad.metrics.category_metrics import METRICS, PIXEL_METRICS, category_table
from edgezsad.metrics.image_metrics import best_balanced
from edgezsad.predict import HeatMaps, Scorer
from edgezsad.progress import progress, ticker
from edgezsad.scoring.score_file import RunRecord, ScoreFile
from edgezsad.show.tables import LABELS

PIXELS = 256
"""Height and width at which maps and masks are compared: more than any map has, and quick."""
MEAN = "mean"
DECISIONS = ("missed", "false_alarms", "best_threshold")
"""Columns of what thresholds decide."""


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        table: one row for each category, then the mean over all of them: folder, category, images, defective,
            without_mask, `METRICS` in percent (NaN where undefined); then the defective images below the threshold,
            the normal ones from it on, and the threshold of the best balanced accuracy on these very images, a logit.
        scores: one row for each image: folder, image, category, label, score (a logit).
        threshold: that decided, a logit.
        notes: what the reader must know of the table, a sentence each.
        unread: images that could not be read and are in no number, a line each.
    """

    table: pd.DataFrame
    scores: pd.DataFrame
    threshold: float
    notes: list[str]
    unread: list[str]

    def as_text(self) -> str:
        """The metrics, then the decisions, for a terminal."""
        decided = self.table[["folder", "category", "images", "defective", *DECISIONS]]
        return "\n".join(
            [
                _in_columns(self.table.drop(columns=list(DECISIONS)), 1),
                "",
                f"With the threshold {self.threshold:.3f} (another by --threshold):",
                _in_columns(decided, 3),
                *self.notes,
            ]
        )

    def as_json(self) -> dict[str, object]:
        """The same with names and null where undefined."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict("records")
        about = {"unit": "percent", "pixels": PIXELS, "threshold": self.threshold}
        return {**about, "rows": rows, "notes": self.notes, "unread": self.unread}


def _in_columns(table: pd.DataFrame, digits: int) -> str:
    shown = table.rename(columns=LABELS)
    return shown.to_string(index=False, float_format=lambda value: f"{value:.{digits}f}", na_rep="-")


def test_images(folders: Sequence[Path]) -> list[Manifest]:
    """The test images of each folder; the name of a manifest is its folder's, with a number if it is taken.

    Raises:
        InputError: a folder is not in MVTec layout, is given twice, or holds no test images; or one of them is no
            image, or has a mask of another size.
    """
    found: dict[Path, Manifest] = {}
    for folder in folders:
        if (place := folder.resolve()) in found:
            raise InputError(f"{folder}: given twice; name each folder once")
        own = re.sub(r"[^A-Za-z0-9_.-]", "_", place.name).lstrip("_.-") or "folder"
        taken = {manifest.name for manifest in found.values()}
        name = next(name for name in _numbered(own) if name not in taken)
        with ticker(f"index of {folder}") as tick:
            item = DataSet(name=name, layout="mvtec", root=folder)
            tests = index(item, folder, workers=2, progress=tick, choose=_tests)
        if not tests.entries:
            raise InputError(f"{folder}: no test images; they lie in CATEGORY/test/good and CATEGORY/test/DEFECT")
        found[place] = tests
    return list(found.values())


def _tests(found: list[Found]) -> list[Found]:
    return [one for one in found if one.split == "test"]


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in itertools.count(2))


def evaluate(
    scorer: Scorer, manifests: Sequence[Manifest], heatmaps: Path | None = None, threshold: float = 0.0
) -> Evaluation:
    """Score all images and compute the metrics of each category; images that cannot be read are left out, and told.

    Args:
        scorer: what scores.
        manifests: from `test_images`.
        heatmaps: folder that receives a heat map of each image, when wanted.
        threshold: at or above it an image counts as called defective; no metric depends on it.

    Raises:
        InputError: no image can be read, or a mask cannot.
    """
    unread: list[InputError] = []
    tables, everything = [], []
    for manifest in manifests:
        scores = score(scorer, manifest, heatmaps, unread.append)
        table = category_table(scores, manifest, PIXELS)
        table.insert(0, "folder", str(manifest.root))
        tables.append(pd.concat([table, _decisions(scores, table, threshold)], axis=1))
        everything.append(_each(scores, manifest))
    rows = pd.concat(tables, ignore_index=True)
    counts = rows[["images", "defective", "without_mask", "missed", "false_alarms"]].sum().to_dict()
    of = f"{len(rows)} categories" if len(rows) > 1 else "1 category"
    mean = {"folder": MEAN, "category": of, **counts, "best_threshold": np.nan}
    mean |= {name: rows[name].mean() for name in METRICS}
    table = pd.concat([rows, pd.DataFrame([mean])], ignore_index=True)[rows.columns]
    lines = [" ".join(str(one).split()) for one in unread]
    return Evaluation(table, pd.concat(everything, ignore_index=True), threshold, _notes(rows), lines)


def _decisions(scores: ScoreFile, table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """`DECISIONS` of each category of a table, in its order."""
    rows = []
    for category in table["category"]:
        label, value = (each[scores.category == category] for each in (scores.label, scores.score))
        called = value.astype(float) >= threshold
        decided = (int((label & ~called).sum()), int((called & (label == 0)).sum()), best_balanced(label, value))
        rows.append(dict(zip(DECISIONS, decided, strict=True)))
    return pd.DataFrame(rows, columns=list(DECISIONS))


def _each(scores: ScoreFile, manifest: Manifest) -> pd.DataFrame:
    columns = {"image": scores.image_id, "category": scores.category, "label": scores.label, "score": scores.score}
    table = pd.DataFrame(columns)
    table.insert(0, "folder", str(manifest.root))
    return table


def score(scorer: Scorer, manifest: Manifest, heatmaps: Path | None = None, tell: Tell = refuse) -> ScoreFile:
    """Scores and maps of a manifest's images; heat maps are written to FOLDER/NAME/CATEGORY/..., when wanted.

    Args:
        scorer: what scores.
        manifest: of the images.
        heatmaps: folder for heat maps.
        tell: told of each image that cannot be read, which is then left out.

    Raises:
        InputError: none can be read.
    """
    entries, scores, maps = [], [], []
    # Paths as below the root, whichever images are there.
    painted = HeatMaps([manifest.root / "x"], heatmaps / manifest.name) if heatmaps else None
    for entry in progress(manifest.entries, f"scored of {manifest.name}", len(manifest.entries)):
        try:
            image = decode_image(manifest.root / entry.id)
        except (InputError, OSError) as error:
            tell(error if isinstance(error, InputError) else InputError(str(error)))
            continue
        value, anomaly_map = scorer.score(prepare(image, scorer.size))
        entries.append(entry)
        scores.append(value)
        maps.append(anomaly_map)
        if painted:
            painted.write(manifest.root / entry.id, image, anomaly_map)
    if not entries:
        raise InputError(f"{manifest.root}: none of the test images can be read; copy them again")
    return ScoreFile(
        image_id=np.array([entry.id for entry in entries]),
        category=np.array([entry.category for entry in entries]),
        label=np.array([entry.label for entry in entries], dtype=np.int8),
        score=np.array(scores, dtype=np.float32),
        map=np.stack(maps).astype(np.float32),
        milliseconds=np.full(len(scores), np.nan, dtype=np.float32),
        record=_record(manifest),
    )


def _record(manifest: Manifest) -> RunRecord:
    """Only the target's name is read here: these scores are never written."""
    nothing = dict.fromkeys(("profile", "runtime", "precision", "device", "model_sha256", "manifest_sha256"), "")
    return RunRecord(target=manifest.name, seed=0, command="edgezsad evaluate", versions={}, **nothing)


def _notes(rows: pd.DataFrame) -> list[str]:
    """What is undefined, and why."""
    notes = []
    if len(blind := rows[rows["defective"].gt(0) & rows["without_mask"].eq(rows["defective"])]):
        notes.append(f"image metrics only, no masks: {', '.join(blind['category'])}")
    if len(some := rows[rows["without_mask"].gt(0) & rows["without_mask"].lt(rows["defective"])]):
        notes.append(f"pixel metrics without the defective images that have no mask: {', '.join(some['category'])}")
    if len(single := rows[rows["defective"].eq(0) | rows["defective"].eq(rows["images"])]):
        notes.append(f"no image metrics, all test images are of one kind: {', '.join(single['category'])}")
    if rows[list(PIXEL_METRICS)].isna().to_numpy().any() and len(rows) > 1:
        notes.append("each mean is over the categories that have the metric")
    if rows["best_threshold"].notna().any():
        notes.append("the best threshold is that of these very images: try it on others before you rely on it")
    return notes
