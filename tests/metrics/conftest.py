"""The definitions that several test files measure the library by, written as plainly as possible."""

from collections.abc import Callable

import numpy as np
import pytest


@pytest.fixture(scope="session")
def regions_of() -> Callable[[np.ndarray], list[list[tuple[int, int]]]]:
    """8-connected regions of a mask, by walking from pixel to pixel."""

    def walk(mask: np.ndarray) -> list[list[tuple[int, int]]]:
        left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
        regions = []
        while left:
            region, edge = [], [left.pop()]
            while edge:
                y, x = edge.pop()
                region.append((y, x))
                near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
                left -= near
                edge += near
            regions.append(region)
        return regions

    return walk
