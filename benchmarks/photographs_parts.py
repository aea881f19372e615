"""What else can be made of the recipe's trainings without training again: other poolings of the map, other maps."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from photographs import POOLINGS, corrected
from photographs_resampled import Row, compared, of_cells, of_images

from edgezsad.config import SelfReferenceConfig

MAPS = {
    "head, rarity and ranking": lambda head, rare, ranking: head + rare + ranking,
    "head alone": lambda head, rare, ranking: head,
    "rarity alone": lambda head, rare, ranking: rare,
    "head and rarity": lambda head, rare, ranking: head + rare,
    "head and ranking": lambda head, rare, ranking: head + ranking,
}
"""What the map may be made of where cues rank: parts (N, h, w), and the ranking's (N, 1, 1)."""


def of_parts(
    scores: dict[str, list[float]],
    maps: np.ndarray,
    drawn: np.ndarray,
    coverage: np.ndarray,
    readout: SelfReferenceConfig,
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
    label, cues = np.array(scores["label"], dtype=int), readout.kind == "self_reference"
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
