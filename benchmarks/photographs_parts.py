"""What else can be made of the recipe's trainings without training again: other poolings of the map, other maps."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from photographs_resampled import Row, compared, of_cells, of_images

from edgezsad.config import Readout

TOP = 0.01
"""Share of the cells that the mean of the highest is taken of."""
POOLINGS = {
    "softmax mean": lambda flat: (_softmax(flat) * flat).sum(axis=1),
    "hard max": lambda flat: flat.max(axis=1),
    "mean of the highest 1%": lambda flat: np.sort(flat, axis=1)[:, -max(1, round(TOP * flat.shape[1])) :].mean(axis=1),
    "mean of all cells": lambda flat: flat.mean(axis=1),
}
MAPS = {
    "head, rarity and ranking": lambda head, rare, ranking: head + rare + ranking,
    "head alone": lambda head, rare, ranking: head,
    "rarity alone": lambda head, rare, ranking: rare,
    "head and rarity": lambda head, rare, ranking: head + rare,
    "head and ranking": lambda head, rare, ranking: head + ranking,
}
"""What the map may be made of where cues rank: parts (N, h, w), and the ranking's (N, 1, 1)."""


def _softmax(flat: np.ndarray) -> np.ndarray:
    weight = np.exp(flat - flat.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def corrected(ranking: np.ndarray, pooled: np.ndarray, readout: Readout) -> np.ndarray:
    """The score that the readout's gain and limit make of a ranking and a pooled map."""
    return ranking + readout.correction_limit * np.tanh(readout.correction_gain * pooled)


def of_parts(
    scores: dict[str, list[float]],
    maps: np.ndarray,
    drawn: np.ndarray,
    coverage: np.ndarray,
    readout: Readout,
    category: str,
) -> Iterator[tuple[str, Any]]:
    """Each measure's name, with its value and resamples.

    Args:
        scores: label and ranking of a category's N images, as benchmarks/photographs.py gives them.
        maps: (N, h, w) as they are shown.
        drawn: (N, h, w) of the spatial head alone.
        coverage: (N, h, w) defective share of each cell.
        readout: says how much of the parts there is.
        category: decides what is drawn again.
    """
    label, cues = np.array(scores["label"], dtype=int), readout.ranking == "cues"
    ranking = np.array(scores["ranking_auroc"])
    if cues:
        share = readout.map_ranking * ranking[:, None, None]
        for name, made in MAPS.items():
            one = np.broadcast_to(made(drawn, maps - drawn - share, share), maps.shape)
            yield f"cell_auroc, {name}", of_cells(label, one, coverage, category)
    for name, pool in POOLINGS.items():
        pooled = pool(drawn.reshape(len(drawn), -1))
        yield f"map_auroc, {name}", of_images(label, pooled, category)
        if cues:
            yield f"image_auroc, {name}", of_images(label, corrected(ranking, pooled, readout), category)


def reused(rows: list[Row]) -> list[dict[str, Any]]:
    """Entries of other poolings and other maps of the recipe's trainings; each is compared with what the recipe has."""
    found = []
    for what, every, measures in (("pooling", POOLINGS, ("image_auroc", "map_auroc")), ("map", MAPS, ("cell_auroc",))):
        first = next(iter(every))
        parts = [one for one in measures if f"{one}, {first}" in rows[0]["whole"]]
        found += [
            {"variant": f"{what}: {name}", "against": f"{what}: {first}", "equal_cost": True}
            | {one: compared(rows, rows, f"{one}, {name}", f"{one}, {first}") for one in parts}
            for name in every
            if parts
        ]
    return found
