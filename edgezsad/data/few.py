"""A rehearsal's images: few of each set, from as many categories as possible."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgezsad.config import DataSet, Profile
from edgezsad.data.images import decode_mask, measure
from edgezsad.data.layouts import Choose, Found


def few(root: Path, limit: int) -> Choose:
    """What chooses a rehearsal's images among those that a layout found.

    Args:
        root: of the data set; masks are read where only they tell whether an image is defective.
        limit: images of each split and label.
    """

    def choose(found: list[Found]) -> list[Found]:
        taken: dict[tuple[str, int], list[Found]] = defaultdict(list)
        for one in _in_turn(found):
            if all(len(taken[one.split, label]) >= limit for label in ((0, 1) if one.label is None else (one.label,))):
                continue
            label = _is_defective(root, one) if one.label is None else one.label
            if len(taken[one.split, label]) < limit:
                taken[one.split, label].append(one)
        return list(itertools.chain(*taken.values()))

    return choose


def _in_turn(found: Iterable[Found]) -> Iterator[Found]:
    """One image of each category after another: normal and defective ones then come from the same categories."""
    groups: dict[tuple[str, int | None, str], list[Found]] = defaultdict(list)
    for one in found:
        groups[one.split, one.label, one.category].append(one)
    for row in itertools.zip_longest(*groups.values()):
        yield from (one for one in row if one is not None)


def _is_defective(root: Path, found: Found) -> int:
    height, width, _ = measure(root / found.image)
    return int(decode_mask(root / found.mask, (height, width)).any())


def keeps(item: DataSet, profile: Profile) -> Choose | None:
    """What to choose of a data set's images: few in a rehearsal, None (all of them) in a run."""
    if profile.rehearsal is None or item.generated:
        return None
    return few(profile.data.folder(item), profile.rehearsal)
