"""What training reads: the source's images, whether they lie on disk as they are or are derived as they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from edgezsad.config import DataSet
from edgezsad.data.images import decode_image, decode_mask, prepare
from edgezsad.data.loading import Picture, load_fast
from edgezsad.data.manifest import Manifest, read_run_manifest
from edgezsad.files import read_json, sha256_of_bytes
from edgezsad.progress import ticker
from edgezsad.run import Run
from edgezsad.source.derive import derive_list
from edgezsad.source.grids import read_grids
from edgezsad.source.render import render
from edgezsad.source.rows import DerivedList, read_derived, record_path, write_derived


class SourceImages(Protocol):
    """Labelled images of a source.

    Attributes:
        label: (N,) int64, 0 normal, 1 defective.
        group: (N,) str, data set and category.
        parent: (N,) str, data set and file: rows with the same parent show the same thing, and must not be parted when
            some are held out.
        sha256: of what the images are.
    """

    label: np.ndarray
    group: np.ndarray
    parent: np.ndarray
    sha256: str

    def __len__(self) -> int: ...

    def read(self, row: int, size: int) -> Picture:
        """The image of a row at `size` x `size` pixels, with its mask at any size."""

    def name(self, row: int) -> str:
        """What to call the image of a row in an error."""


@dataclass(frozen=True, eq=False)
class PlainImages:
    """The images of a manifest as they are; all its splits, as nothing of a source is ever evaluated.

    Attributes:
        manifest: lists them.
        fast: decode large JPEGs at a reduced size (`edgezsad.data.loading.load_fast`).
    """

    manifest: Manifest
    fast: bool = False

    def __len__(self) -> int:
        return len(self.manifest.entries)

    @cached_property
    def label(self) -> np.ndarray:
        """(N,) int64."""
        return np.array([entry.label for entry in self.manifest.entries], dtype=np.int64)

    @cached_property
    def group(self) -> np.ndarray:
        """(N,) str, data set and category."""
        return np.array([f"{self.manifest.name}/{entry.category}" for entry in self.manifest.entries], dtype=str)

    @cached_property
    def parent(self) -> np.ndarray:
        """(N,) str, data set and file."""
        return np.array([f"{self.manifest.name}/{entry.id}" for entry in self.manifest.entries], dtype=str)

    @cached_property
    def sha256(self) -> str:
        """The manifest's hash."""
        return self.manifest.sha256

    def read(self, row: int, size: int) -> Picture:
        """The image of a row; its mask at the file's own size, None where a defective image has none."""
        entry = self.manifest.entries[row]
        path, shape = self.manifest.path(entry), (entry.height, entry.width)
        if self.fast:
            pixels = load_fast(path, size)
        else:
            image = decode_image(path)
            pixels, shape = prepare(image, size), image.shape[:2]
        if entry.mask:
            return Picture(pixels, decode_mask(self.manifest.root / entry.mask, shape))
        return Picture(pixels, None if entry.label else np.zeros(shape, dtype=bool))

    def name(self, row: int) -> str:
        """The image's path."""
        return str(self.manifest.path(self.manifest.entries[row]))


@dataclass(frozen=True, eq=False)
class DerivedImages:
    """The images of a derived list, made as they are read.

    Attributes:
        manifest: of the data set that they are derived from.
        derived: the list.
    """

    manifest: Manifest
    derived: DerivedList

    def __len__(self) -> int:
        return len(self.derived.rows)

    @cached_property
    def _entries(self) -> dict:
        return {entry.id: entry for entry in self.manifest.entries}

    @cached_property
    def label(self) -> np.ndarray:
        """(N,) int64."""
        return np.array([row.label for row in self.derived.rows], dtype=np.int64)

    @cached_property
    def group(self) -> np.ndarray:
        """(N,) str, data set and category."""
        return np.array([row.group for row in self.derived.rows], dtype=str)

    @cached_property
    def parent(self) -> np.ndarray:
        """(N,) str, data set and file."""
        return np.array([f"{self.manifest.name}/{row.parent}" for row in self.derived.rows], dtype=str)

    @cached_property
    def sha256(self) -> str:
        """The list's hash."""
        return self.derived.sha256

    def read(self, row: int, size: int) -> Picture:
        """The image of a row; its mask is (size, size)."""
        one = self.derived.rows[row]
        config = self.derived.config
        return render(one, self.manifest.root, self._entries, config.randomise, size, config.defects)

    def name(self, row: int) -> str:
        """The row's id and its parent's path."""
        one = self.derived.rows[row]
        return f"{self.manifest.root / one.parent} ({one.id})"


@dataclass(frozen=True, eq=False)
class JoinedImages:
    """Several sources, one after another."""

    parts: Sequence[SourceImages]

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def label(self) -> np.ndarray:
        """(N,) int64."""
        return np.concatenate([part.label for part in self.parts])

    @cached_property
    def group(self) -> np.ndarray:
        """(N,) str."""
        return np.concatenate([part.group for part in self.parts])

    @cached_property
    def parent(self) -> np.ndarray:
        """(N,) str."""
        return np.concatenate([part.parent for part in self.parts])

    @cached_property
    def sha256(self) -> str:
        """One hash for all parts, in their order."""
        return sha256_of_bytes("\n".join(part.sha256 for part in self.parts).encode())

    def read(self, row: int, size: int) -> Picture:
        """The image of a row."""
        part, place = self._place(row)
        return part.read(place, size)

    def name(self, row: int) -> str:
        """What the row's own source calls it."""
        part, place = self._place(row)
        return part.name(place)

    def _place(self, row: int) -> tuple[SourceImages, int]:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self.parts[number], row - int(self._starts[number])


def plain_images(manifests: Sequence[Manifest]) -> JoinedImages:
    """The images of some manifests as they are."""
    return JoinedImages([PlainImages(manifest) for manifest in manifests])


def source_images(run: Run, fast: bool = False) -> JoinedImages:
    """The source of a run: derived where its profile says so, or else as it is.

    Args:
        run: with its manifests and derived lists.
        fast: decode large JPEGs that are not derived from at a reduced size (`edgezsad.data.loading.load_fast`).

    Raises:
        InputError: a manifest or a derived list is missing, damaged, or made with other settings.
    """
    return JoinedImages([_source(run, item, fast) for item in run.profile.data.source])


def derived_path(run: Run, item: DataSet) -> Path:
    """Where a source's derived list lies."""
    return run.manifest_path(f"{item.name}.derived")


def derived_images(run: Run) -> int | None:
    """Images of a run's derived sources together, as their records say; None where nothing is derived."""
    derived = [item for item in run.profile.data.source if item.derive]
    remedy = "run notebook 01_data to write it again"
    records = [read_json(record_path(derived_path(run, item)), remedy) for item in derived]
    return sum(record["images"] for record in records) if records else None


def write_derived_lists(run: Run, manifests: dict[str, Manifest], workers: int) -> None:
    """Derive and write the list of every source that its profile says to derive, from manifests by name.

    Raises:
        InputError: a mask is missing or damaged, or the source lacks what a kind of row needs.
    """
    for item in run.profile.data.source:
        if item.derive:
            manifest = manifests[item.name]
            with ticker(f"masks of {item.name}", "mask") as tick:
                grids = read_grids(manifest, run.folder / "manifests" / f"{item.name}.masks.npz", workers, tick)
            write_derived(derive_list(manifest, item.derive, run.profile.data.seed, grids), derived_path(run, item))


def _source(run: Run, item: DataSet, fast: bool) -> SourceImages:
    manifest = read_run_manifest(run, item)
    if item.derive is None:
        return PlainImages(manifest, fast)
    derived = read_derived(derived_path(run, item), manifest, item.derive, run.profile.data.seed)
    return DerivedImages(manifest, derived)
