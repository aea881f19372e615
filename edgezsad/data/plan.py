"""Which images a step of training takes: a pure function of the seed and the step.

It knows of no workers, and the processes (ranks) of a distributed run divide one batch among them. So a run can be
continued from any step, on any number of devices, without any state to keep.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgezsad.errors import InputError


@dataclass(frozen=True, eq=False)
class Plan:
    """Which images each step takes: half normal, half defective, with replacement.

    Every group is equally likely, or, where sets have shares, a set is as likely as its share and its groups equally.

    Attributes:
        label: (N,) 0 or 1; anything else keeps an image out, which is how some are held out.
        group: (N,) str, data set and category with a slash between.
        batch: images of a step, over all ranks.
        seed: of the order.
        share: of a batch, by the name of the data set, in any unit; None where all groups are equally likely.
    """

    label: np.ndarray
    group: np.ndarray
    batch: int
    seed: int
    share: Mapping[str, float] | None = None

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

    @cached_property
    def reach(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Up to which number between 0 and 1 a draw falls on each of the normal and of the defective pools."""
        if self.share is None:
            return None
        result = []
        for pools in self.pools:
            sets = [str(self.group[pool[0]]).split("/", 1)[0] for pool in pools]
            counts = Counter(sets)
            each = np.array([self.share[name] / counts[name] for name in sets])
            result.append(np.cumsum(each) / each.sum())
        return result[0], result[1]

    def rows(self, step: int) -> np.ndarray:
        """(batch,) rows of a step over all ranks, normal images first; any step can be asked for, in any order."""
        # All draws of a step are made at once, so that a row depends on nothing but its place in the batch.
        draws = np.random.default_rng([self.seed, 2, step]).random((self.batch, 2))
        picked = []
        for place, (group, member) in enumerate(draws):
            half = int(2 * place >= self.batch)
            pools = self.pools[half]
            if self.reach is None:
                pool = pools[int(group * len(pools))]
            else:
                # The last end may round to just below 1.
                pool = pools[min(int(np.searchsorted(self.reach[half], group, side="right")), len(pools) - 1)]
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
