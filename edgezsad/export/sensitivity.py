"""Which layers cost accuracy in INT8: one part of the graph at a time is quantised, all else stays FP32.

What is looked at is held-out images of the source, never a target. Whole blocks are tried first; those above the limit
are taken apart, so that the layers to blame have names. Which of them stay in FP32 is `left_out`'s to say.
"""

import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from edgezsad.errors import InputError
from edgezsad.export.int8 import Prepared, quantised
from edgezsad.export.layers import Layer
from edgezsad.files import records
from edgezsad.progress import progress
from edgezsad.scoring.onnx_scorer import as_tensor, cpu_session, input_size

LIMIT = 0.005
"""A layer may stay in FP32 if it alone changes scores or maps by more than this, in units of their spread."""
SHARE = 0.1
"""Layers that stay in FP32 hold at most this share of all layers' weights, so that the file stays small.

Which layers these are is the sweep's choice, on the source alone. The two numbers are ours: with 0.01 and 0.05 one
target of photographs drifted by 1.0 points, and they were made stricter, so these targets are no blind test of them.
"""


@dataclass(frozen=True)
class Error:
    """How far a graph lies from FP32 on some images, in units of the spread (standard deviation) of FP32's own values.

    Attributes:
        score: root mean square change of the scores.
        map: root mean square change of all map values.
    """

    score: float
    map: float

    @property
    def cost(self) -> float:
        """The larger of both."""
        return max(self.score, self.map)


@dataclass(frozen=True)
class Sensitivity:
    """What INT8 costs, part by part.

    Attributes:
        table: one row a block or layer, costliest first: part, kind ("block" or "layer"), layers, weights (thousands),
            score_error, map_error, left_out (how many of its layers stay in FP32).
        left_out: layers that stay in FP32.
        whole: error with every layer in INT8.
        rest: error without those left out: of the graph that is used.
        images: held-out source images behind all this.
    """

    table: pd.DataFrame
    left_out: tuple[str, ...]
    whole: Error
    rest: Error
    images: int

    def result(self) -> dict[str, object]:
        """For the results file."""
        return {
            "limit": LIMIT,
            "share": SHARE,
            "images": self.images,
            "left_out": list(self.left_out),
            "whole": vars(self.whole),
            "rest": vars(self.rest),
            "table": records(self.table),
        }


def sensitivity(
    prepared: Prepared,
    images: Iterable[np.ndarray],
    threads: int = 2,
    limit: float = LIMIT,
    apart: int | None = None,
) -> Sensitivity:
    """Sweep a graph.

    Args:
        prepared: the graph, from `edgezsad.export.int8.prepare`.
        images: (S, S, 3) uint8 RGB; of the source, others than the ranges were taken from.
        threads: that one image may use.
        limit: see `LIMIT`.
        apart: layers of such blocks that are tried alone, at most, those of the costliest block first; all if left out.

    Raises:
        InputError: no images.
    """
    pictures = list(images)
    if not pictures:
        raise InputError("sensitivity: no held-out source images; give some that the ranges were not taken from")
    with tempfile.TemporaryDirectory(prefix="edgezsad-int8-") as folder:
        probe = _Probe(prepared, pictures, threads, Path(folder) / "probe.onnx")
        blocks: dict[str, list[Layer]] = {}
        for layer in prepared.layers:
            blocks.setdefault(layer.block, []).append(layer)
        rows, costly = [], []
        for block, parts in progress(list(blocks.items()), "sensitivity, blocks", unit="block"):
            error = probe.error(parts)
            alone = len(parts) == 1
            rows.append(_row(parts[0].name, "layer", parts, error) if alone else _row(block, "block", parts, error))
            if error.cost > limit and not alone:
                costly.append((error.cost, parts))
        suspects = [layer for _, parts in costly for layer in parts]
        if apart is not None:
            first = sorted(costly, key=lambda one: one[0], reverse=True)
            suspects = [layer for _, parts in first for layer in parts][:apart]
        for layer in progress(suspects, "sensitivity, layers", unit="layer"):
            rows.append(_row(layer.name, "layer", [layer], probe.error([layer])))
        table = pd.DataFrame(rows)
        cost = table[["score_error", "map_error"]].max(axis=1)
        names = left_out(table, sum(layer.elements for layer in prepared.layers) / 1000, limit)
        table["left_out"] = [
            sum(layer.name in names for layer in blocks[part]) if kind == "block" else int(part in names)
            for part, kind in zip(table["part"], table["kind"], strict=True)
        ]
        kept = [layer for layer in prepared.layers if layer.name not in names]
        whole = probe.error(prepared.layers)
        rest = probe.error(kept) if names else whole
    order = cost.sort_values(ascending=False, kind="stable").index
    return Sensitivity(table.loc[order].reset_index(drop=True), names, whole, rest, len(pictures))


def left_out(table: pd.DataFrame, weights: float, limit: float = LIMIT, share: float = SHARE) -> tuple[str, ...]:
    """Which layers stay in FP32: those above the limit, most error for their weights first, as far as the share lasts.

    Errors of layers add up as squares, so what a layer's absence gains is its squared error, and what it costs is its
    weights, four bytes each instead of one.

    Args:
        table: rows of `Sensitivity.table`, without `left_out`.
        weights: of all layers, in thousands.
        limit: see `LIMIT`.
        share: see `SHARE`.
    """
    rows = table[table["kind"] == "layer"].assign(cost=table[["score_error", "map_error"]].max(axis=1))
    rows = rows[rows["cost"] > limit]
    rows = rows.assign(gain=rows["cost"] ** 2 / rows["weights"]).sort_values("gain", ascending=False, kind="stable")
    return tuple(rows.loc[rows["weights"].cumsum() <= share * weights, "part"])


class _Probe:
    """FP32's scores and maps of some images, and how far a partly quantised graph is from them."""

    def __init__(self, prepared: Prepared, images: list[np.ndarray], threads: int, scratch: Path):
        self._prepared, self._images, self._threads, self._scratch = prepared, images, threads, scratch
        self._scores, self._maps = self._run(prepared.graph)

    def error(self, layers: Collection[Layer]) -> Error:
        """Of the graph with only these layers in INT8."""
        self._scratch.write_bytes(quantised(self._prepared, layers).SerializeToString())
        scores, maps = self._run(self._scratch)
        return Error(_relative(scores, self._scores), _relative(maps, self._maps))

    def _run(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        session = cpu_session(path, self._threads)
        size = input_size(session, path)
        pairs = [session.run(["score", "map"], {"image": as_tensor(image, size)}) for image in self._images]
        scores, maps = zip(*pairs, strict=True)
        return np.concatenate(scores), np.stack(maps)


def _relative(values: np.ndarray, reference: np.ndarray) -> float:
    # Scores that are all the same, as an untrained readout's may be, have no spread to compare with.
    spread = float(reference.std()) or 1.0
    return float(np.sqrt(np.mean((values - reference) ** 2))) / spread


def _row(part: str, kind: str, layers: list[Layer], error: Error) -> dict[str, object]:
    return {
        "part": part,
        "kind": kind,
        "layers": len(layers),
        "weights": sum(layer.elements for layer in layers) / 1000,
        "score_error": error.score,
        "map_error": error.map,
    }
