"""Derive a training list from a source data set: Real-IAD-DR as we read it.

The paper trains on 216,917 images derived from Real-IAD and publishes no more of the recipe. We derive whole images,
crops around defects, normal crops, normal images with a defect pasted from another image, and normal images with a
synthetic defect. The list depends on the manifest, the seed and `edgezsad.config.Derive` alone: it is the same on every
machine. `edgezsad.source.render` makes the images when they are read.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from edgezsad.config import Derive
from edgezsad.data.images import decode_mask
from edgezsad.data.loading import in_order
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import InputError
from edgezsad.files import progress, read_json, sha256_of_bytes, write_json, written_beside
from edgezsad.source.synthetic_defects import kind_weights

RECIPE_VERSION = 2
"""Raise it when the code changes the rows of a list or the pixels rendered from them."""

CELLS = 64
"""Masks are counted on a grid of this many cells per side; crops end on the grid."""

ATTEMPTS = 8
"""Random positions per scale when a crop is placed."""

REMEDY = "run notebook 01_data to write it again"

_VIEW = re.compile(r"_C([0-9]+)_")
"""Camera number in Real-IAD's file names."""


class Box(NamedTuple):
    """A rectangle in pixels or grid cells; right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int


class Row(NamedTuple):
    """One derived image.

    Attributes:
        id: KIND/TURN/PARENT; TURN counts how often the parent was used for this kind before.
        parent: id of the image it is made from.
        kind: "whole", "defect-crop", "normal-crop", "paste" or "synthetic".
        label: 0 normal, 1 defective.
        group: DATA SET/CATEGORY.
        seed: seeds synthetic defect and randomisation.
        left, top, right, bottom: the crop in the parent, in pixels.
        donor: id of the image that a pasted defect comes from, else empty.
        donor_left, donor_top, donor_right, donor_bottom: the pasted part of the donor; resized to the crop.
    """

    id: str
    parent: str
    kind: str
    label: int
    group: str
    seed: int
    left: int
    top: int
    right: int
    bottom: int
    donor: str = ""
    donor_left: int = 0
    donor_top: int = 0
    donor_right: int = 0
    donor_bottom: int = 0


@dataclass(frozen=True)
class DerivedList:
    """The rows of a derived list, with the manifest's hash, the seed and the settings that they were made from."""

    rows: tuple[Row, ...]
    manifest_sha256: str
    seed: int
    config: Derive

    @property
    def made_from(self) -> dict:
        """What the list was derived from, as JSON values."""
        settings = {"seed": self.seed, "settings": self.config.model_dump(mode="json")}
        return {"version": RECIPE_VERSION, "manifest_sha256": self.manifest_sha256} | settings

    @cached_property
    def sha256(self) -> str:
        """Hash of the rows, the parents' content and the settings."""
        return sha256_of_bytes("\n".join(map(str, (self.made_from, *map(tuple, self.rows)))).encode())


# ---- where the defects are -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class DefectGrid:
    """Defective pixels of one mask, counted in grid cells.

    Attributes:
        height, width: of the mask, in pixels.
        cells: (n,) flat indices of the cells with defective pixels, ascending.
        counts: (n,) defective pixels in each.
    """

    height: int
    width: int
    cells: np.ndarray
    counts: np.ndarray

    @classmethod
    def of_mask(cls, mask: np.ndarray) -> "DefectGrid":
        """Count a mask, (height, width) bool."""
        corners = cv2.integral(mask.astype(np.uint8))[np.ix_(_edges(mask.shape[0]), _edges(mask.shape[1]))]
        counts = np.diff(np.diff(corners, axis=0), axis=1).ravel()
        cells = np.flatnonzero(counts)
        return cls(*mask.shape, cells.astype(np.int32), counts[cells].astype(np.int32))

    @property
    def total(self) -> int:
        """Defective pixels of the mask."""
        return int(self.counts.sum())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return min(CELLS, self.height), min(CELLS, self.width)

    def held(self, cells: Box) -> int:
        """Count the defective pixels in a box of cells."""
        row, column = np.divmod(self.cells, self.shape[1])
        inside = (cells.top <= row) & (row < cells.bottom) & (cells.left <= column) & (column < cells.right)
        return int(self.counts[inside].sum())

    def pixels(self, cells: Box) -> Box:
        """Convert a box of cells to pixels."""
        rows, columns = _edges(self.height), _edges(self.width)
        return Box(*map(int, (columns[cells.left], rows[cells.top], columns[cells.right], rows[cells.bottom])))


def read_defect_grids(manifest: Manifest, workers: int = 1) -> dict[str, DefectGrid]:
    """Read every mask of a data set once; return the grids by image id.

    Raises:
        InputError: a mask is missing, damaged, or differs in size from its image.
    """

    def read(entry: Entry) -> DefectGrid:
        return DefectGrid.of_mask(decode_mask(manifest.root / entry.mask, (entry.height, entry.width)))

    entries = [entry for entry in manifest.entries if entry.mask]
    grids = in_order(read, entries, workers)
    grids = progress(grids, f"masks of {manifest.name}", len(entries), "mask")
    return {entry.id: grid for entry, grid in zip(entries, grids, strict=True)}


def _edges(length: int) -> np.ndarray:
    cells = min(CELLS, length)
    return np.arange(cells + 1) * length // cells


def crop_around_defect(grid: DefectGrid, config: Derive, random: Random) -> Box:
    """Place a crop, in pixels, around a random defective pixel.

    Scales from a random one upwards are tried until a crop holds enough of the defect; the whole image holds all.
    """
    (rows, columns), scales = grid.shape, sorted(set(config.scales))
    for scale in scales[random.randrange(len(scales)) :]:
        height, width = max(1, rows * scale // 100), max(1, columns * scale // 100)
        for _ in range(ATTEMPTS):
            row, column = divmod(random.choices(grid.cells.tolist(), grid.counts.tolist())[0], columns)
            top = min(max(0, row - random.randrange(height)), rows - height)
            left = min(max(0, column - random.randrange(width)), columns - width)
            cells = Box(left, top, left + width, top + height)
            held, box = grid.held(cells), grid.pixels(cells)
            area = (box.right - box.left) * (box.bottom - box.top)
            if held * 100 >= config.least_of_defect * grid.total or held * 100 >= config.least_of_crop * area:
                return box
    return Box(0, 0, grid.width, grid.height)


def crop_without_defect(grid: DefectGrid, config: Derive, random: Random) -> Box | None:
    """Place a crop, in pixels, without any defective pixel; None if none was found at a random scale or below."""
    (rows, columns), scales = grid.shape, sorted(set(config.scales), reverse=True)
    for scale in scales[random.randrange(len(scales)) :]:
        height, width = max(1, rows * scale // 100), max(1, columns * scale // 100)
        for _ in range(ATTEMPTS):
            top, left = random.randrange(rows - height + 1), random.randrange(columns - width + 1)
            cells = Box(left, top, left + width, top + height)
            if not grid.held(cells):
                return grid.pixels(cells)
    return None


# ---- the list --------------------------------------------------------------------------------------------------


def derive_list(manifest: Manifest, config: Derive, seed: int, grids: Mapping[str, DefectGrid]) -> DerivedList:
    """Derive exactly `config.images` rows from all images of a data set.

    Every image that can serve for a kind of row is used once before any is used twice.

    Raises:
        InputError: no image serves for a kind, for instance without masks; or an unknown kind of synthetic defect.
    """
    kind_weights(config.defects)
    entries = sorted(manifest.entries, key=lambda entry: entry.id)
    normal = [entry for entry in entries if not entry.label]
    defective = [entry for entry in entries if entry.mask and grids[entry.id].total]
    lenders: dict[tuple, list[Entry]] = defaultdict(list)
    for entry in defective:
        for pool in _pools(entry):
            lenders[pool].append(entry)
    parents = {
        "whole": entries,
        "defect-crop": defective,
        "normal-crop": normal + defective,
        "paste": normal if defective else [],
        "synthetic": normal,
    }
    rows: list[Row] = []
    for kind, count in row_counts(config).items():
        turn, wanted = 0, len(rows) + count
        while len(rows) < wanted:
            before, random = len(rows), Random(f"{seed} {kind} {turn}")
            for entry in random.sample(parents[kind], len(parents[kind])):
                if len(rows) == wanted:
                    break
                cut = _cut(kind, entry, lenders, grids, config, random)
                if cut is not None:
                    label = {"whole": entry.label, "normal-crop": 0}.get(kind, 1)
                    name, group = f"{kind}/{turn}/{entry.id}", f"{manifest.name}/{entry.category}"
                    rows.append(Row(name, entry.id, kind, label, group, random.getrandbits(63), *cut))
            if len(rows) == before:
                setting = kind.replace("-", "_")
                raise InputError(
                    f"{manifest.name}: no image serves for {setting} rows; set derive.{setting} to 0, or add the "
                    "normal images, defective images or masks that it needs"
                )
            turn += 1
    return DerivedList(tuple(rows), manifest.sha256, seed, config)


def row_counts(config: Derive) -> dict[str, int]:
    """Rows of each kind; they add up to `config.images`, the largest remainders being rounded up."""
    names = ("whole", "defect_crop", "normal_crop", "paste", "synthetic")
    hundredths = {name.replace("_", "-"): config.images * getattr(config, name) for name in names}
    counts = {kind: value // 100 for kind, value in hundredths.items()}
    by_remainder = sorted(hundredths, key=lambda kind: -(hundredths[kind] % 100))
    for kind in by_remainder[: config.images - sum(counts.values())]:
        counts[kind] += 1
    return counts


def _cut(
    kind: str,
    entry: Entry,
    lenders: Mapping[tuple, list[Entry]],
    grids: Mapping[str, DefectGrid],
    config: Derive,
    random: Random,
) -> tuple | None:
    """Choose crop, donor and the donor's part: the last fields of a row. None if the image does not serve."""
    if kind == "whole" or (kind == "synthetic" and random.random() < 0.5):
        return 0, 0, entry.width, entry.height
    if kind == "defect-crop":
        return crop_around_defect(grids[entry.id], config, random)
    pool = None if kind == "synthetic" or entry.label else next((p for p in _pools(entry) if p in lenders), None)
    if pool is None:
        nothing = np.zeros(0, np.int32)
        grid = grids[entry.id] if entry.label else DefectGrid(entry.height, entry.width, nothing, nothing)
        return crop_without_defect(grid, config, random)
    # Normal crops of normal images lie where defects of similar images do: the position does not reveal the label.
    lender = random.choice(lenders[pool])
    donor_box = crop_around_defect(grids[lender.id], config, random)
    left, right = _rescaled(donor_box.left, donor_box.right, lender.width, entry.width)
    top, bottom = _rescaled(donor_box.top, donor_box.bottom, lender.height, entry.height)
    if kind == "normal-crop":
        return left, top, right, bottom
    left, right = _shifted(left, right, entry.width, config.paste_shift, random)
    top, bottom = _shifted(top, bottom, entry.height, config.paste_shift, random)
    return left, top, right, bottom, lender.id, *donor_box


def _pools(entry: Entry) -> list[tuple]:
    """Return the groups in which to look for a lender: same category, size and camera first, then any."""
    kin = (entry.category, entry.width, entry.height)
    view = _VIEW.search(entry.id)
    return [*([(*kin, view.group(1))] if view else []), kin, (entry.category,), ()]


def _rescaled(start: int, end: int, length: int, other: int) -> tuple[int, int]:
    """Convert an interval of a side of `length` pixels to the same part of a side of `other` pixels."""
    start, end = start * other // length, end * other // length
    return start, max(start + 1, end)


def _shifted(start: int, end: int, length: int, percent: int, random: Random) -> tuple[int, int]:
    """Shift an interval by at most `percent` of `length`, within 0 to `length`."""
    most = length * percent // 100
    shifted = random.randint(max(0, start - most), min(length - (end - start), start + most))
    return shifted, shifted + end - start


# ---- files -----------------------------------------------------------------------------------------------------


def record_path(path: Path | str) -> Path:
    """Return the path of the record next to a list."""
    return Path(path).with_suffix(".json")


def write_derived(derived: DerivedList, path: Path | str) -> Path:
    """Write a list as CSV and then its record as JSON, each atomically; return `path`."""
    record_path(path).unlink(missing_ok=True)
    with written_beside(path) as temporary:
        pd.DataFrame(derived.rows, columns=Row._fields).to_csv(temporary, index=False, lineterminator="\n")
    record = {
        "images": len(derived.rows),
        "defective": sum(row.label for row in derived.rows),
        "kinds": Counter(row.kind for row in derived.rows),
        "sha256": derived.sha256,
        "made_from": derived.made_from,
    }
    write_json(record_path(path), record)
    return Path(path)


def read_derived(path: Path | str, manifest: Manifest, config: Derive, seed: int) -> DerivedList:
    """Read a list written by `write_derived`.

    Raises:
        InputError: the list is missing or damaged, or was derived from other images or with other settings.
    """
    record = read_json(record_path(path), REMEDY)
    try:
        frame = pd.read_csv(path, keep_default_na=False, dtype=dict.fromkeys(("id", "parent", "group", "donor"), str))
        rows = tuple(Row(*values) for values in frame.itertuples(index=False))
    except FileNotFoundError:
        raise InputError(f"{path}: missing; {REMEDY}") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: damaged ({str(error).strip()}); {REMEDY}") from None
    derived = DerivedList(rows, manifest.sha256, seed, config)
    if not isinstance(record, dict) or record.get("made_from") != derived.made_from:
        raise InputError(f"{path}: derived from other images or with other settings; {REMEDY}")
    if record.get("sha256") != derived.sha256:
        raise InputError(f"{path}: differs from the hash in its record; {REMEDY}")
    return derived
