"""Which images a step of training takes: a pure function of the seed and the step.

It knows of no workers, and the processes (ranks) of a distributed run divide one batch among them. So a run can be
continued from any step, on any number of devices, without any state to keep.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgezsad.errors import InputError


@dataclass(frozen=True, eq=False)
class Plan:
    """Which images each step takes: half normal, half defective, every group equally likely, with replacement.

    Attributes:
        label: (N,) 0 or 1; anything else keeps an image out, which is how some are held out.
        group: (N,) str.
        batch: images of a step, over all ranks.
        seed: of the order.
    """

    label: np.ndarray
    group: np.ndarray
    batch: int
    seed: int

    @cached_property
    def pools(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Rows of the normal and of the defective images, group by group."""
        names = np.unique(self.group)
        mine = [self.group == name for name in names]
        pools = tuple(
            [rows for group in mine if len(rows := np.flatnonzero(group & (self.label == value)))] for value in (0, 1)
        )
        if not all(pools):
            raise InputError("data.source: needs normal and defective images; add a folder that has both")
        return pools

    def rows(self, step: int) -> np.ndarray:
        """(batch,) rows of a step over all ranks, normal images first; any step can be asked for, in any order."""
        # All draws of a step are made at once, so that a row depends on nothing but its place in the batch.
        draws = np.random.default_rng([self.seed, 2, step]).random((self.batch, 2))
        picked = []
        for place, (group, member) in enumerate(draws):
            pools = self.pools[int(2 * place >= self.batch)]
            pool = pools[int(group * len(pools))]
            picked.append(pool[int(member * len(pool))])
        return np.array(picked)


def rows_for(plan: Plan, step: int, rank: int = 0, ranks: int = 1) -> np.ndarray:
    """One rank's rows of a step: every `ranks`-th of the step's, so that all ranks together have those of one process.

    Raises:
        InputError: the batch cannot be divided evenly among the ranks.
    """
    if not 0 <= rank < ranks or plan.batch % ranks:
        raise InputError(
            f"rank {rank} of {ranks}: cannot divide a batch of {plan.batch}; set training.batch to a multiple of it"
        )
    return plan.rows(step)[rank::ranks]
