"""How good a checkpoint is on folders in MVTec layout: scores of their test images, and the metrics of each category.

The score and the metrics are those of the book, from the same code: image metrics of all test images, pixel metrics of
those whose defective pixels are known.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from edgezsad.config import DataSet
from edgezsad.data.images import decode_image, prepare
from edgezsad.data.layouts import index
from edgezsad.data.manifest import Manifest
from edgezsad.errors import InputError
from edgezsad.metrics.table import METRICS, PIXEL_METRICS, category_table
from edgezsad.predict import HeatMaps, Scorer
from edgezsad.progress import progress, ticker
from edgezsad.scoring.scorefile import RunRecord, ScoreFile
from edgezsad.show import LABELS

PIXELS = 256
"""Height and width at which maps and masks are compared: more than any map has, and quick."""
MEAN = "mean"


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        table: one row for each category, then the mean over all of them: folder, category, images, defective,
            without_mask, `METRICS` in percent (NaN where undefined).
        notes: what the reader must know of the table, a sentence each.
    """

    table: pd.DataFrame
    notes: list[str]

    def as_text(self) -> str:
        """The table, for a terminal."""
        shown = self.table.rename(columns=LABELS)
        text = shown.to_string(index=False, float_format=lambda value: f"{value:.1f}", na_rep="-")
        return "\n".join([text, *self.notes])

    def as_json(self) -> dict[str, object]:
        """The same with names and null where undefined."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict("records")
        return {"unit": "percent", "pixels": PIXELS, "rows": rows, "notes": self.notes}


def test_images(folders: Sequence[Path]) -> list[Manifest]:
    """The test images of each folder; the name of a manifest is its folder's.

    Raises:
        InputError: a folder is not in MVTec layout, holds no test images, or a file in it cannot be read.
    """
    found = []
    for folder in folders:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", folder.resolve().name).lstrip("_.-") or "folder"
        with ticker(f"index of {folder}") as tick:
            everything = index(DataSet(name=name, layout="mvtec", root=folder), folder, workers=2, progress=tick)
        tests = everything.select("test")
        if not tests.entries:
            raise InputError(f"{folder}: no test images; they lie in CATEGORY/test/good and CATEGORY/test/DEFECT")
        found.append(tests)
    return found


def evaluate(scorer: Scorer, manifests: Sequence[Manifest], heatmaps: Path | None = None) -> Evaluation:
    """Score all images and compute the metrics of each category.

    Args:
        scorer: what scores.
        manifests: from `test_images`.
        heatmaps: folder that receives a heat map of each image, when wanted.
    """
    tables = []
    for manifest in manifests:
        table = category_table(score(scorer, manifest, heatmaps), manifest, PIXELS)
        table.insert(0, "folder", str(manifest.root))
        tables.append(table)
    rows = pd.concat(tables, ignore_index=True)
    counts = rows[["images", "defective", "without_mask"]].sum().to_dict()
    mean = {"folder": MEAN, "category": f"{len(rows)} categories", **counts}
    mean |= {name: rows[name].mean() for name in METRICS}
    return Evaluation(pd.concat([rows, pd.DataFrame([mean])], ignore_index=True)[rows.columns], _notes(rows))


def score(scorer: Scorer, manifest: Manifest, heatmaps: Path | None = None) -> ScoreFile:
    """Scores and maps of a manifest's images; heat maps are written to FOLDER/NAME/CATEGORY/..., when wanted."""
    paths = [manifest.root / entry.id for entry in manifest.entries]
    scores, maps = [], []
    for entry, path in progress(
        zip(manifest.entries, paths, strict=True), f"scored of {manifest.name}", len(manifest.entries)
    ):
        image = decode_image(path)
        value, anomaly_map = scorer.score(prepare(image, scorer.size))
        scores.append(value)
        maps.append(anomaly_map)
        if heatmaps:
            # Paths as below the root, whichever images are there.
            HeatMaps([manifest.root / "x"], heatmaps / manifest.name).write(
                manifest.root / entry.id, image, anomaly_map
            )
    return ScoreFile(
        image_id=np.array([entry.id for entry in manifest.entries]),
        category=np.array([entry.category for entry in manifest.entries]),
        label=np.array([entry.label for entry in manifest.entries], dtype=np.int8),
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
    return notes
