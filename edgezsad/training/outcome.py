"""What a trained seed is worth on its own source: validation, threshold, and the summary over seeds."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from edgezsad.files import read_json
from edgezsad.metrics.image_metrics import auroc, best_balanced, best_f1
from edgezsad.model.cues import CueRanking
from edgezsad.model.readout import EdgeGLR
from edgezsad.training.inputs import Inputs
from edgezsad.training.learner import Learner

HEADS = {"score": 0, "ranking": 2, "correction": 3}
"""Places of the heads in what a learner gives."""


def split(inputs: Inputs, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on and rows to hold out, the same for every seed, stratified by group and label.

    Images that come from one photograph stay together: a crop held out of an image fitted on would be known already.
    """
    generator = np.random.default_rng(0)
    held = np.zeros(len(inputs.label), dtype=bool)
    for group in np.unique(inputs.group):
        for label in (0, 1):
            rows = np.flatnonzero((inputs.group == group) & (inputs.label == label))
            _, first = np.unique(inputs.parent[rows], return_index=True)
            first = rows[np.sort(first)]
            picked = inputs.parent[generator.permutation(first)[: int(len(first) * share)]]
            held |= np.isin(inputs.parent, picked)
    return np.flatnonzero(~held), np.flatnonzero(held)


def spread_out(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def fit_scale(readout: EdgeGLR, pieces: Iterable[list[Tensor]]) -> None:
    """Set the scale of the readout's channels from features of source images, one (B, C, h, w) for each stride."""
    totals, squares, counts = ([0.0] * len(readout.difference) for _ in range(3))
    for piece in pieces:
        for number, features in enumerate(piece):
            values = features.double()
            totals[number] = totals[number] + values.sum(dim=(0, 2, 3))
            squares[number] = squares[number] + (values**2).sum(dim=(0, 2, 3))
            counts[number] += values.numel() / values.shape[1]
    for module, total, square, count in zip(readout.difference, totals, squares, counts, strict=True):
        mean = total / count
        module.fit((square / count - mean**2).clamp(min=0).sqrt().float())


@torch.inference_mode()
def validate(learner: Learner, inputs: Inputs, rows: np.ndarray, device: torch.device) -> dict[str, float]:
    """AUROC in percent of the score and of each head on some rows, and the threshold.

    It is the one of the best F1, or, where cues rank, of the best balanced accuracy.
    """
    pieces: list[tuple[Tensor, ...]] = []
    for example in inputs.read(rows):
        output = learner([one.to(device) for one in example.inputs])
        pieces.append(tuple(output[place].float().cpu() for place in HEADS.values()))
    label = inputs.label[rows]
    parts = {name: torch.cat(values).numpy() for name, values in zip(HEADS, zip(*pieces, strict=True), strict=True)}
    result = {f"validation_auroc_{name}": 100 * auroc(label, values) for name, values in parts.items()}
    gain = learner.readout.gain.item()
    # How large the cues are differs from part to part, and the best F1 of what overlaps so much calls all defective.
    cues = isinstance(learner.readout.ranking, CueRanking)
    threshold = best_balanced(label, parts["score"]) if cues else best_f1(label, parts["score"]).threshold
    return result | {"threshold": threshold, "gain": gain}


METRICS = {
    "validation_auroc_score": "AUROC of the score (%)",
    "validation_auroc_ranking": "AUROC of the global head alone (%)",
    "validation_auroc_correction": "AUROC of the spatial correction alone (%)",
    "threshold": "threshold (logit)",
    "gain": "gain of the spatial correction",
    "source_images": "source images",
    "steps": "steps",
}


def metrics_table(metrics: dict[str, float | int | str]) -> pd.DataFrame:
    """Training's metrics as rows of name and value."""
    return pd.DataFrame([{"what": text, "value": metrics[name]} for name, text in METRICS.items()])


def summary(folders: dict[int, Path]) -> pd.DataFrame:
    """Every seed's own row, and their mean and spread (standard deviation over seeds, n - 1).

    Args:
        folders: of the trained seeds, by seed.

    Raises:
        InputError: a seed has not been trained.
    """
    remedy = "run notebook 03_training for this seed"
    rows = [read_json(folder / "metrics.json", remedy) for folder in folders.values()]
    names = [name for name in METRICS if name not in ("source_images", "steps")]
    table = pd.DataFrame([{"seed": str(row["seed"])} | {name: row[name] for name in names} for row in rows])
    values = table[names]
    ends = [{"seed": "mean", **values.mean()}]
    if len(rows) > 1:
        ends.append({"seed": "spread", **values.std(ddof=1)})
    return pd.concat([table, pd.DataFrame(ends)], ignore_index=True)
