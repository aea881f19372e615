"""Where crops lie: around a defect, or beside it, decided by whole numbers alone.

The numbers are drawn from names by SHA-256: they are the same on every machine and with every version of every library.
NumPy promises no such thing of its generators, and a list that names its images must not depend on it.
"""

import hashlib
from collections.abc import Sequence

from edgezsad.config import Derive
from edgezsad.source.grids import Box, Grid

ATTEMPTS = 8
"""Places that are tried for a crop at each scale."""


def number(*key: object) -> int:
    """A whole number, 0 to 2**63 - 1, that depends on the key alone."""
    text = "\t".join(str(part) for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Draws:
    """A sequence of whole numbers that depends on the key alone."""

    def __init__(self, *key: object):
        self._digest = hashlib.sha256("\t".join(str(part) for part in key).encode())
        self._drawn = 0

    def below(self, limit: int) -> int:
        """The next number, 0 to `limit` - 1."""
        digest = self._digest.copy()
        digest.update(b"\n%d" % self._drawn)
        self._drawn += 1
        # A limit is far below 2**64, so that the remainder favours no number by more than one part in 10**12.
        return int.from_bytes(digest.digest()[:8], "big") % limit


def around_defect(grid: Grid, config: Derive, draws: Draws) -> tuple[Box, int]:
    """A crop around a random defective pixel of a mask that has some.

    Scales from a random one upwards are tried until a crop holds enough of the defect, and the whole image holds all.

    Returns:
        The box in cells and its scale in percent.
    """
    for scale in _upwards(config.scales, draws):
        rows, columns = _side(grid.rows, scale), _side(grid.columns, scale)
        for _ in range(ATTEMPTS):
            row, column = grid.cell(draws.below(grid.total))
            top = min(max(0, row - draws.below(rows)), grid.rows - rows)
            left = min(max(0, column - draws.below(columns)), grid.columns - columns)
            box = Box(left, top, left + columns, top + rows)
            held, pixels = grid.held(box), grid.pixels(box)
            area = (pixels.right - pixels.left) * (pixels.bottom - pixels.top)
            if held * 100 >= config.least_of_defect * grid.total or held * 100 >= config.least_of_crop * area:
                return box, scale
    return Box(0, 0, grid.columns, grid.rows), 100


def beside_defect(grid: Grid, config: Derive, draws: Draws) -> tuple[Box, int] | None:
    """A crop without a single defective pixel, at a random place.

    Scales from a random one downwards are tried; None when no place was found.

    Returns:
        The box in cells and its scale in percent, or None.
    """
    for scale in _upwards([-scale for scale in config.scales], draws):
        rows, columns = _side(grid.rows, -scale), _side(grid.columns, -scale)
        for _ in range(ATTEMPTS):
            top, left = draws.below(grid.rows - rows + 1), draws.below(grid.columns - columns + 1)
            box = Box(left, top, left + columns, top + rows)
            if not grid.held(box):
                return box, -scale
    return None


def _upwards(scales: Sequence[int], draws: Draws) -> list[int]:
    ascending = sorted(set(scales))
    return ascending[draws.below(len(ascending)) :]


def _side(cells: int, scale: int) -> int:
    return max(1, cells * scale // 100)
