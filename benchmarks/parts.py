"""Images of each category of a folder of sets: good ones that references are drawn from, and those that are tested."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgezsad.data.layouts import scan_layout

MANY = ("PIPED",)  # sets with many categories of one kind: one set in a mean


@dataclass(frozen=True)
class Part:
    """Images of a category: the pool of good ones, and those that are tested; a mask is None where it is unknown."""

    set: str
    category: str
    pool: list[Path]
    tested: list[Path]
    label: np.ndarray
    masks: list[Path | None]


def parts_in(data: Path, settings: dict[str, Any]) -> Iterator[Part]:
    """Choose images of each category: the pool from train/good, filled up from test/good; the rest is tested."""
    folders = [path for path in data.iterdir() if path.is_dir()]
    for folder in sorted(folders, key=lambda path: (path.name in MANY, path.name)):
        items = scan_layout("mvtec", folder).items
        for category in sorted({item.category for item in items}):
            random = np.random.default_rng(sum(map(ord, f"{folder.name}/{category}")))
            mine = [item for item in items if item.category == category]
            kinds = [[one for one in mine if (one.split, one.label) == kind] for kind in (("test", 0), ("train", 0))]
            kinds.append([one for one in mine if one.label])
            good, train, bad = ([kind[row] for row in random.permutation(len(kind))] for kind in kinds)
            few = max(settings["pool"] - len(train), 0)
            most = settings["images_of_many" if folder.name in MANY else "images"]
            pool, good, bad = (train + good[:few])[: settings["pool"]], good[few:][:most], bad[:most]
            images = ([folder / one.image for one in some] for some in (pool, good + bad))
            masks = [folder / one.mask if one.mask else None for one in good + bad]
            yield Part(folder.name, category, *images, np.repeat([0, 1], [len(good), len(bad)]), masks)


def draws(count: int, most: int, number: int) -> list[np.ndarray]:
    """Draw `count` of `most` images, several times."""
    random = np.random.default_rng(1000 * count)
    return [np.sort(random.choice(most, count, replace=False)) for _ in range(number)]
