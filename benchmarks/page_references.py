"""What notebooks 10 and 16 compute: references, batch comparison, thresholds and their cost."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from edgezsad.data.images import load
from edgezsad.data.manifest import Entry, Manifest, read_run_manifest
from edgezsad.evaluate import score_manifest
from edgezsad.export.cost import count_cost
from edgezsad.metrics.image_metrics import auroc, decisions
from edgezsad.model import CHECKPOINT, GRAPH
from edgezsad.model.detector import load_detector
from edgezsad.model.references import ReferenceDetector
from edgezsad.predict import load_scorer
from edgezsad.references import MOST_PATCHES, Description, adapt, compare, compare_with, select_patches
from edgezsad.run import Run
from edgezsad.scoring.score_file import ScoreFile, Scorer
from edgezsad.show.charts import WIDTH, finished, styled


@dataclass
class Part:
    """A category: entries of its pool of normal images, of good and of bad test images, in this order of rows."""

    target: str
    category: str
    manifest: Manifest
    pool: list[Entry]
    good: list[Entry]
    bad: list[Entry]
    found: list[Description] = field(default_factory=list)  # of all entries, once they are described

    @property
    def entries(self) -> list[Entry]:
        return [*self.pool, *self.good, *self.bad]


def parts_of(run: Run, categories: int, pool: int, tested: int) -> list[Part]:
    """Choose images of the first `categories` of each target: at most `pool` normal ones, training images first.

    At most `tested` other normal test images and as many defective ones are tested, evenly from the list. Categories
    without images of either kind are left out.
    """
    parts: list[Part] = []
    for item in run.profile.data.targets:
        manifest, chosen = read_run_manifest(run, item), []
        for category in sorted({entry.category for entry in manifest.entries}):
            entries = [entry for entry in manifest.entries if entry.category == category]
            normal = sorted((one for one in entries if not one.label), key=lambda one: one.split != "train")
            some = normal[: min(pool, 3 * len(normal) // 5)]
            good = [one for one in normal[len(some) :] if one.split == "test"]
            bad = [one for one in entries if one.label]
            if some and good and bad:
                chosen.append(Part(item.name, category, manifest, some, evenly(good, tested), evenly(bad, tested)))
        parts += chosen[:categories]
    return parts


def adapted_scores(part: Part) -> ScoreFile:
    """Score a part's tested images by the shipped detector adapted to its pool, of at least two images.

    The threshold is subtracted from the scores: images from 0 on are called defective.
    """
    with tempfile.TemporaryDirectory() as scratch:
        images = [part.manifest.path(entry) for entry in part.pool]
        scorer, decision = load_scorer(checkpoint=adapt(images, Path(scratch) / "part.onnx").path)
        found = score_manifest(scorer, replace(part.manifest, entries=(*part.good, *part.bad)))
        return replace(found, score=found.score - decision.threshold)


def gallery_counts(parts: Sequence[Part], found: Sequence[ScoreFile]) -> pd.DataFrame:
    """Count the decisions on each category, with the totals in the last row."""
    rows = [
        {"target": part.target, "category": part.category, "image_auroc": 100 * auroc(scores.label, scores.score)}
        | asdict(decisions(scores.label, scores.score, 0.0))
        for part, scores in zip(parts, found, strict=True)
    ]
    counts = pd.DataFrame(rows)
    if rows:
        total = counts.sum(numeric_only=True).to_dict() | {"image_auroc": counts["image_auroc"].mean()}
        counts.loc[len(counts)] = {"target": "all", "category": f"{len(rows)} categories"} | total
    return counts.astype(dict.fromkeys(counts.columns[3:], int))


def by_target(parts: Sequence[Part], found: Sequence[ScoreFile]) -> Iterator[tuple[str, Manifest, ScoreFile]]:
    """Yield each target's name, manifest, and the scores of its categories together."""
    arrays = ("image_id", "category", "label", "score", "map", "milliseconds")
    for target in dict.fromkeys(part.target for part in parts):
        mine = [(part, scores) for part, scores in zip(parts, found, strict=True) if part.target == target]
        joined = {name: np.concatenate([getattr(scores, name) for _, scores in mine]) for name in arrays}
        yield target, mine[0][0].manifest, ScoreFile(**joined)


def evenly(entries: Sequence, count: int) -> list:
    """Choose at most `count` entries, spread evenly."""
    rows = np.linspace(0, len(entries) - 1, min(count, len(entries))).round().astype(int)
    return [entries[row] for row in rows]


def compare_folder(part: Part, share: float) -> dict[str, object]:
    """Compare the images of a folder, some of them defective, with one another."""
    normal = len(part.pool) + len(part.good)
    size = min(20, normal)
    defective = evenly(range(normal, len(part.found)), max(1, round(share * size)))
    label = np.repeat([0, 1], [size - len(defective), len(defective)])
    compared = compare([part.found[row] for row in (*range(normal - sum(label == 0), normal), *defective)])
    return {"label": label, "score": compared.scores, "threshold": compared.threshold}


def scores(part: Part, rows: Sequence[int], references: Sequence[int]) -> np.ndarray:
    """Score images of a part against references from its pool."""
    bank = select_patches([part.found[row] for row in references], MOST_PATCHES)
    return np.array([compare_with([part.found[row]], *bank) for row in rows])


def tested(part: Part, references: Sequence[int]) -> np.ndarray:
    """Score the test images of a part against references from its pool."""
    return scores(part, range(len(part.pool), len(part.entries)), references)


def decided(label: np.ndarray, score: np.ndarray, threshold: float) -> tuple[float, float]:
    """Return the shares of false alarms and of misses at a threshold."""
    found = decisions(label, score, threshold)
    return found.false_alarms / found.normal, found.missed / found.defective


def milliseconds(scorer: Scorer, image: np.ndarray) -> float:
    """Return the median time of an image."""
    times = []
    for _ in range(8):
        start = time.perf_counter()
        scorer.score(image)
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))


COST_COLUMNS = [
    "graph",
    "GFLOPs",
    "of the single-image graph",
    "megabytes",
    "milliseconds per image",
    "seconds to adapt",
]


def costs_of(part: Part, scratch: str) -> list[dict[str, object]]:
    """Adapt to eight references; return the cost of the single-image graph and of the adapted one."""
    start = time.perf_counter()
    references = [part.manifest.path(entry) for entry in part.pool[:8]]
    adapted = adapt(references, Path(scratch, "part.onnx"), rotations="none")
    seconds, detector = time.perf_counter() - start, load_detector(CHECKPOINT)[0]
    image = load(references[0], detector.size)
    module = ReferenceDetector(detector)
    module.bank = torch.zeros(adapted.patches, *module.bank.shape[1:])
    module.offset = torch.zeros(adapted.patches)
    found, base = [], count_cost(detector, detector.size).gflops
    for name, path, each in (("single image", GRAPH, detector), ("references", adapted.path, module)):
        gflops, size = count_cost(each, detector.size).gflops, path.stat().st_size / 1e6
        found.append([name, gflops, gflops / base, size, milliseconds(load_scorer(checkpoint=path)[0], image), None])
    found[1][-1] = seconds
    return [dict(zip(COST_COLUMNS, row, strict=True)) for row in found]


def percent(value: object) -> str | None:
    """Format a recorded share, or a mean with its interval, in percent."""
    if isinstance(value, dict):
        return "{mean:.1f} ({low:.1f} to {high:.1f})".format(
            **{key: 100 * value[key] for key in ("mean", "low", "high")}
        )
    return None if value is None else f"{100 * value:.1f}"


def row_of(one: dict) -> dict[str, object]:
    """Return a row of the table from the recorded numbers of a category, or of their mean."""
    row = {"set": one.get("set", "mean"), "category": one.get("category", ""), "single image": percent(one["single"])}
    row |= {f"k = {count}": percent(value) for count, value in one["k"].items()}
    row |= {f"batch, {share}% defective": percent(value) for share, value in one["batch"].items()}
    more = {"pixel_auroc_4": "pixel AUROC, k = 4", "aupro_4": "AUPRO, k = 4"}
    more |= {"false_alarms": "false alarms, ten references", "misses": "misses, ten references"}
    more |= {"false_alarms_single": "false alarms, threshold from the source", "misses_single": "misses, the same"}
    return row | {title: percent(one.get(key)) for key, title in more.items()}


def photographs_chart(found: dict[str, Any]) -> Figure:
    """Draw the recorded image AUROC of each category: single image, one, four and eight references with an interval."""
    rows = sorted(found["categories"], key=lambda row: row["k"]["8"]["mean"])
    with styled():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.19 * len(rows) + 0.8))
        at = np.arange(len(rows))
        for count, style in (("1", "|"), ("4", "o")):
            values = [100 * row["k"][count]["mean"] for row in rows]
            axes.plot(values, at, style, color="0.4", markerfacecolor="white", label=label_of(count))
        best = [row["k"]["8"] for row in rows]
        axes.hlines(at, *([100 * one[end] for one in best] for end in ("low", "high")), color="#0072b2", linewidth=1.5)
        axes.plot([100 * one["mean"] for one in best], at, "o", color="#0072b2", label=label_of("8"))
        axes.plot([100 * row["single"] for row in rows], at, "x", color="black", label="single image")
        names = [row["category"] + (" *" if row["trained_on"] else "") for row in rows]
        axes.set(yticks=at, yticklabels=names, xlabel="image AUROC (%)", ylim=(-0.6, len(rows) - 0.4))
        axes.legend(loc="center left", fontsize=8)
        return finished(figure)


def label_of(count: str) -> str:
    """Return the words for a number of references."""
    return f"{count} reference{'s' if count != '1' else ''}"
