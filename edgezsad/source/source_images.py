"""The source images that training reads: files as they are, or images of a derived list."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edgezsad.config import DataSet
from edgezsad.data.images import decode_image, decode_mask, prepare
from edgezsad.data.loading import Sample, load_fast
from edgezsad.data.manifest import Entry, Manifest, read_run_manifest
from edgezsad.files import read_json, sha256_of_bytes
from edgezsad.run import Run
from edgezsad.source.derive import (
    REMEDY,
    DerivedList,
    derive_list,
    read_defect_grids,
    read_derived,
    record_path,
    write_derived,
)
from edgezsad.source.render import render


@dataclass(frozen=True, eq=False)
class SourceImages:
    """Labelled images of one or several sources.

    Attributes:
        label: (N,) int64, 0 normal, 1 defective.
        group: (N,) str, data set and category.
        parent: (N,) str, data set and file: rows of one parent must stay on the same side of a split.
        names: (N,) str, for error messages.
        sha256: hash of the content of all images.
        readers: (N,) functions of the size that read an image with its mask.
    """

    label: np.ndarray
    group: np.ndarray
    parent: np.ndarray
    names: Sequence[str]
    sha256: str
    readers: Sequence[Callable[[int], Sample]]

    def __len__(self) -> int:
        return len(self.label)

    def read(self, row: int, size: int) -> Sample:
        """Read the image of a row at `size` x `size` pixels, with its mask at any size (None: unknown)."""
        return self.readers[row](size)

    def name(self, row: int) -> str:
        """Return what to call the image of a row in an error."""
        return self.names[row]


def plain_images(manifests: Sequence[Manifest], fast: bool = False) -> SourceImages:
    """Return the images of manifests as they are, all splits.

    Args:
        manifests: list the images.
        fast: decode large JPEGs at a reduced size (`edgezsad.data.loading.load_fast`).
    """
    return _joined([_plain(manifest, fast) for manifest in manifests])


def derived_images(manifest: Manifest, derived: DerivedList) -> SourceImages:
    """Return the images of a derived list, rendered when they are read."""
    entries = {entry.id: entry for entry in manifest.entries}
    config = derived.config
    return SourceImages(
        label=np.array([row.label for row in derived.rows], dtype=np.int64),
        group=np.array([row.group for row in derived.rows], dtype=str),
        parent=np.array([f"{manifest.name}/{row.parent}" for row in derived.rows], dtype=str),
        names=[f"{manifest.root / row.parent} ({row.id})" for row in derived.rows],
        sha256=derived.sha256,
        readers=[
            partial(render, row, manifest.root, entries, config=config.randomise, defects=config.defects)
            for row in derived.rows
        ],
    )


def source_images(run: Run, fast: bool = False) -> SourceImages:
    """Return the source images of a run: derived where its profile says so, else as they are.

    Raises:
        InputError: a manifest or a derived list is missing, damaged, or made with other settings.
    """
    parts = []
    for item in run.profile.data.source:
        manifest = read_run_manifest(run, item)
        if item.derive is None:
            parts.append(_plain(manifest, fast))
        else:
            derived = read_derived(derived_path(run, item), manifest, item.derive, run.profile.data.seed)
            parts.append(derived_images(manifest, derived))
    return _joined(parts)


def derived_path(run: Run, item: DataSet) -> Path:
    """Return the path of a source's derived list."""
    return run.manifest_path(f"{item.name}.derived")


def count_derived(run: Run) -> int | None:
    """Count the images of a run's derived lists; None if nothing is derived."""
    derived = [item for item in run.profile.data.source if item.derive]
    return sum(read_json(record_path(derived_path(run, item)), REMEDY)["images"] for item in derived) or None


def write_derived_lists(run: Run, manifests: Mapping[str, Manifest], workers: int) -> None:
    """Derive and write the list of every source with a `derive` section, from manifests by name.

    Raises:
        InputError: a mask is missing or damaged, or the source lacks what a kind of row needs.
    """
    for item in run.profile.data.source:
        if item.derive:
            grids = read_defect_grids(manifests[item.name], workers)
            derived = derive_list(manifests[item.name], item.derive, run.profile.data.seed, grids)
            write_derived(derived, derived_path(run, item))


def _plain(manifest: Manifest, fast: bool) -> SourceImages:
    entries = manifest.entries
    return SourceImages(
        label=np.array([entry.label for entry in entries], dtype=np.int64),
        group=np.array([f"{manifest.name}/{entry.category}" for entry in entries], dtype=str),
        parent=np.array([f"{manifest.name}/{entry.id}" for entry in entries], dtype=str),
        names=[str(manifest.path(entry)) for entry in entries],
        sha256=manifest.sha256,
        readers=[partial(_read, manifest.root, entry, fast) for entry in entries],
    )


def _read(root: Path, entry: Entry, fast: bool, size: int) -> Sample:
    """Read an image; its mask has the file's own size."""
    path, shape = root / entry.id, (entry.height, entry.width)
    if fast:
        pixels = load_fast(path, size)
    else:
        image = decode_image(path)
        pixels, shape = prepare(image, size), image.shape[:2]
    if entry.mask:
        return Sample(pixels, decode_mask(root / entry.mask, shape))
    return Sample(pixels, None if entry.label else np.zeros(shape, dtype=bool))


def _joined(parts: Sequence[SourceImages]) -> SourceImages:
    return SourceImages(
        label=np.concatenate([part.label for part in parts]),
        group=np.concatenate([part.group for part in parts]),
        parent=np.concatenate([part.parent for part in parts]),
        names=[name for part in parts for name in part.names],
        sha256=sha256_of_bytes("\n".join(part.sha256 for part in parts).encode()),
        readers=[reader for part in parts for reader in part.readers],
    )
