"""Real-IAD-DR as we read it: which images are derived from a data set, as a list that anybody can make again.

The paper trains on 216,917 images derived from Real-IAD by a reproducible source-side recipe, and publishes no more of
it. Here the list is a pure function of the data set's manifest (ids and content hashes), a seed and the settings
(`edgezsad.config.Derive`): whole images, crops around defects, crops at normal places, defects pasted from one
image into another, and normal images that get a synthetic defect. Images are made from the rows as they are needed
(`edgezsad.source.render`).

How an image more or less changes the list:

- What a row says is drawn from the seed, its kind, its parent and how often that parent was taken before. It does not
  depend on other images, except that a borrowed defect, or the borrowed place of a normal crop, comes from another
  image of the same category (or, where it has none, of any): the next one on a ring of hashes, so that a new image
  takes over few of the others' rows.
- Which parents get a row is decided by the ranks of their hashes, kind by kind: a new image displaces at most as many
  rows as it gets. All parents are taken once before any is taken twice.

The order of the manifest's entries does not matter; the rows are in the order of their ids.
"""

import bisect
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edgezsad.config import Derive
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import InputError
from edgezsad.source.crops import Draws, around_defect, beside_defect, number
from edgezsad.source.grids import Box, Grid, empty_grid
from edgezsad.source.rows import DerivedList, Row
from edgezsad.source.synthetic_defects import mixture

_VIEW = re.compile(r"_C([0-9]+)_")
"""Real-IAD writes into the name of a file which of the five cameras took it."""

_NOWHERE = Box(0, 0, 0, 0)

NEEDS = {"whole": "images", "synthetic": "normal images"}
"""What some kinds are made from."""


def derive_list(manifest: Manifest, config: Derive, seed: int, grids: Mapping[str, Grid]) -> DerivedList:
    """Derive a list of exactly `config.images` rows from a data set.

    Args:
        manifest: the data set; all its splits are used.
        config: how many rows of which kinds.
        seed: another seed gives another list.
        grids: where the defects lie, by the hash of the mask (`edgezsad.source.grids.read_grids`).

    Raises:
        InputError: the data set has no image from which a kind can be made, for instance no masks; or there is no such
            kind of synthetic defect.
    """
    mixture(config.defects)
    recipe = _Recipe(manifest, config, seed, grids)
    rows = [row for kind, count in counts(config).items() for row in itertools.islice(recipe.rows(kind), count)]
    return DerivedList(tuple(sorted(rows, key=lambda row: row.id)), manifest.sha256, seed, config)


def counts(config: Derive) -> dict[str, int]:
    """Rows of each kind; they add up to `config.images`, what is left by rounding going to the largest remainders."""
    shares = {
        "whole": config.whole,
        "defect-crop": config.defect_crop,
        "normal-crop": config.normal_crop,
        "paste": config.paste,
        "synthetic": config.synthetic,
    }
    result = {kind: config.images * share // 100 for kind, share in shares.items()}
    by_remainder = sorted(shares, key=lambda kind: -(config.images * shares[kind] % 100))
    for kind in by_remainder[: config.images - sum(result.values())]:
        result[kind] += 1
    return result


@dataclass
class _Ring:
    """Images with a defect, in the order of their hashes."""

    points: list[int] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def next(self, point: int) -> Entry | None:
        """The first image at or after a point; after the last comes the first."""
        if not self.entries:
            return None
        return self.entries[bisect.bisect_left(self.points, point) % len(self.entries)]


@dataclass
class _Recipe:
    manifest: Manifest
    config: Derive
    seed: int
    grids: Mapping[str, Grid]

    def __post_init__(self) -> None:
        entries = self.manifest.entries
        self.defective = [entry for entry in entries if entry.mask and self.grids[entry.mask_sha256].total]
        self.normal = [entry for entry in entries if not entry.label]
        self.rings: dict[tuple, _Ring] = defaultdict(_Ring)
        for point, entry in sorted(
            ((number(self.seed, "donor", entry.id, entry.sha256), entry) for entry in self.defective),
            key=lambda pair: (pair[0], pair[1].id),
        ):
            for key in _pools(entry):
                self.rings[key].points.append(point)
                self.rings[key].entries.append(entry)

    def rows(self, kind: str) -> Iterator[Row]:
        """Endlessly many rows of a kind: every image that can be its parent once, then again, and so on."""
        parents, make = {
            "whole": (self.manifest.entries, self._whole),
            "defect-crop": (self.defective, self._defect_crop),
            "normal-crop": (self.normal + self.defective, self._normal_crop),
            "paste": (self.normal, self._paste),
            "synthetic": (self.normal, self._synthetic),
        }[kind]
        for turn in itertools.count():
            made = False
            ranked = [(number(self.seed, kind, turn, entry.id, entry.sha256), entry.id, entry) for entry in parents]
            for point, _, entry in sorted(ranked, key=lambda item: item[:2]):
                row = make(entry, f"{kind}/{turn}/{entry.id}", point)
                if row is not None:
                    made = True
                    yield row
            if not made:
                setting = kind.replace("-", "_")
                raise InputError(
                    f"{self.manifest.name}: no image from which {setting} can be made (it needs "
                    f"{NEEDS.get(kind, 'normal images, and defective ones with masks')}); "
                    f"set derive.{setting} to 0 or complete the data set"
                )

    def _whole(self, entry: Entry, name: str, point: int) -> Row:
        return self._row(entry, "whole", name, point, Box(0, 0, entry.width, entry.height), 100, entry.label)

    def _defect_crop(self, entry: Entry, name: str, point: int) -> Row:
        grid = self.grids[entry.mask_sha256]
        cells, scale = around_defect(grid, self.config, Draws(self.seed, name, point))
        return self._row(entry, "defect-crop", name, point, grid.pixels(cells), scale, 1)

    def _normal_crop(self, entry: Entry, name: str, point: int) -> Row | None:
        """A crop without a defect; of a normal image where another image of its kind has one.

        So the place and the size of a crop say nothing about its label.
        """
        draws = Draws(self.seed, name, point)
        if entry.label:
            grid = self.grids[entry.mask_sha256]
            found = beside_defect(grid, self.config, draws)
        else:
            lender = self._lender(entry, point)
            grid = self.grids[lender.mask_sha256] if lender else empty_grid(entry.height, entry.width)
            found = (around_defect if lender else beside_defect)(grid, self.config, draws)
        if found is None:
            return None
        cells, scale = found
        return self._row(entry, "normal-crop", name, point, _fitted(grid.pixels(cells), grid, entry), scale, 0)

    def _paste(self, entry: Entry, name: str, point: int) -> Row | None:
        """A crop around a defect of another image, put into this one at most `paste_shift` away."""
        lender = self._lender(entry, point)
        if lender is None:
            return None
        draws = Draws(self.seed, name, point)
        grid = self.grids[lender.mask_sha256]
        cells, scale = around_defect(grid, self.config, draws)
        place = grid.pixels(cells)
        box = _fitted(place, grid, entry)
        left = _shifted(box.left, box.right, entry.width, self.config.paste_shift, draws)
        top = _shifted(box.top, box.bottom, entry.height, self.config.paste_shift, draws)
        into = Box(left, top, left + box.right - box.left, top + box.bottom - box.top)
        return self._row(entry, "paste", name, point, into, scale, 1, lender.id, place)

    def _synthetic(self, entry: Entry, name: str, point: int) -> Row:
        """A normal image, as often whole as cut out; the defect is made when the row is rendered."""
        draws = Draws(self.seed, name, point)
        grid = empty_grid(entry.height, entry.width)
        # Nothing of an empty grid is held, so that there always is a place.
        found = beside_defect(grid, self.config, draws) if draws.below(2) else None
        box, scale = (grid.pixels(found[0]), found[1]) if found else (Box(0, 0, entry.width, entry.height), 100)
        return self._row(entry, "synthetic", name, point, box, scale, 1)

    def _lender(self, entry: Entry, point: int) -> Entry | None:
        """An image with a defect, of the nearest kin that there is."""
        for key in _pools(entry):
            if found := self.rings.get(key, _Ring()).next(point):
                return found
        return None

    def _row(
        self,
        entry: Entry,
        kind: str,
        name: str,
        point: int,
        box: Box,
        scale: int,
        label: int,
        donor: str = "",
        place: Box = _NOWHERE,
    ) -> Row:
        return Row(
            id=name,
            parent=entry.id,
            kind=kind,
            scale=scale,
            left=box.left,
            top=box.top,
            right=box.right,
            bottom=box.bottom,
            donor=donor,
            donor_left=place.left,
            donor_top=place.top,
            donor_right=place.right,
            donor_bottom=place.bottom,
            label=label,
            group=f"{self.manifest.name}/{entry.category}",
            seed=number(point, "render"),
        )


def _pools(entry: Entry) -> list[tuple]:
    """Among which images to look for a lender: of the same category, size and camera, then with ever less in common."""
    kin = (entry.category, entry.width, entry.height)
    view = _VIEW.search(entry.id)
    return [*([(*kin, view.group(1))] if view else []), kin, (entry.category,), ()]


def _fitted(box: Box, lender: Grid, entry: Entry) -> Box:
    """A box of pixels in the lender's image as one at the same place of an image that may have another size."""
    left, top = box.left * entry.width // lender.width, box.top * entry.height // lender.height
    right, bottom = box.right * entry.width // lender.width, box.bottom * entry.height // lender.height
    return Box(left, top, max(left + 1, right), max(top + 1, bottom))


def _shifted(start: int, end: int, length: int, percent: int, draws: Draws) -> int:
    """`start`, moved by at most `percent` of `length` so that `start` to `end` stays within `length`."""
    most = length * percent // 100
    low, high = max(0, start - most), min(length - (end - start), start + most)
    return low + draws.below(high - low + 1)
