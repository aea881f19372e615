"""Prepare the data of a run: generate, index, check for leaks, derive training lists.

The paper trains on Real-IAD-DR, 216,917 images derived from Real-IAD, and publishes no more of the recipe. As we read
it, we derive whole images, crops around defects, normal crops, normal images with a defect pasted from another image,
and normal images with a synthetic defect. A list depends on the manifest, the seed and `edgezsad.config.Derive` alone.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pandas as pd

from edgezsad.config import Derive
from edgezsad.data.descriptors import as_published
from edgezsad.data.duplicates import check_disjoint
from edgezsad.data.images import decode_mask
from edgezsad.data.layouts import is_generated
from edgezsad.data.loading import in_order
from edgezsad.data.manifest import Entry, Manifest, few_of_each, index_dataset, read_run_manifest, write_manifest
from edgezsad.errors import InputError
from edgezsad.files import progress, read_json, sha256_of_bytes, write_json, write_text
from edgezsad.run import Run
from edgezsad.source.render import RUN_DATA, Box, Row, derived_path, made_from
from edgezsad.source.synthetic_defects import kind_weights
from synthetic import SetSpec, generate_set

CELLS = 64  # masks are counted on a grid of this many cells per side; crops end on the grid
ATTEMPTS = 8  # random positions per scale when a crop is placed
LEAST_OF_DEFECT, LEAST_OF_CROP = 50, 5
"""A crop around a defect holds this percentage of the defective pixels, or consists of so many if they are more."""
PASTE_SHIFT = 6  # largest shift of a pasted defect, in percent of the image's height and width
DIGESTS = Path("data_manifests") / "mini.json"
"""Published manifest hashes of the mini profile's generated sets, below the repository."""
_VIEW = re.compile(r"_C([0-9]+)_")  # camera number in Real-IAD's file names


def count_defects(mask: np.ndarray) -> np.ndarray:
    """Count the defective pixels of a mask, (H, W) bool, in each cell of a grid, uint16."""
    corners = cv2.integral(mask.astype(np.uint8))[np.ix_(*map(_edges, mask.shape))]
    # 16 bits save memory; they hold cells of 255 x 255 pixels.
    return np.diff(np.diff(corners, axis=0), axis=1).clip(0, 65535).astype(np.uint16)


def _edges(length: int) -> np.ndarray:
    """Return the pixels at which the cells of a side start, and its end."""
    cells = min(CELLS, length)
    return np.arange(cells + 1) * length // cells


def read_defect_grids(manifest: Manifest, workers: int = 1) -> dict[str, np.ndarray]:
    """Read every mask of a data set once; return the counts of defective pixels by image id."""

    def read(entry: Entry) -> np.ndarray:
        return count_defects(decode_mask(manifest.mask_path(entry), (entry.height, entry.width)))

    entries = [entry for entry in manifest.entries if entry.mask]
    grids = progress(in_order(read, entries, workers), f"masks of {manifest.name}", len(entries), "mask")
    return {entry.id: grid for entry, grid in zip(entries, grids, strict=True)}


def place_crop(
    entry: Entry, grid: np.ndarray | None, scales: Sequence[int], random: Random, defective: bool
) -> Box | None:
    """Place a crop around a random defective pixel, or without any (None if impossible); `grid` as counted, or None.

    Scales are tried from a random one: upwards until a crop holds enough of the defect, else downwards.
    """
    y, x = _edges(entry.height), _edges(entry.width)
    grid = np.zeros((len(y) - 1, len(x) - 1)) if grid is None else grid
    cells = np.flatnonzero(grid)
    weights, scales = grid.ravel()[cells].tolist(), sorted(scales, reverse=not defective)
    for scale in scales[random.randrange(len(scales)) :]:
        height, width = (max(1, length * scale // 100) for length in grid.shape)
        for _ in range(ATTEMPTS):
            if defective:
                row, column = divmod(int(random.choices(cells, weights)[0]), grid.shape[1])
                top = min(max(0, row - random.randrange(height)), len(grid) - height)
                left = min(max(0, column - random.randrange(width)), grid.shape[1] - width)
            else:
                top, left = random.randrange(len(grid) - height + 1), random.randrange(grid.shape[1] - width + 1)
            held = 100 * grid[top : top + height, left : left + width].sum(dtype=int)
            box = Box(*map(int, (x[left], y[top], x[left + width], y[top + height])))
            area = (box.right - box.left) * (box.bottom - box.top)
            if held >= min(LEAST_OF_DEFECT * grid.sum(dtype=int), LEAST_OF_CROP * area) if defective else held == 0:
                return box
    return Box(0, 0, entry.width, entry.height) if defective else None


def derive_list(manifest: Manifest, config: Derive, seed: int, grids: Mapping[str, np.ndarray]) -> list[Row]:
    """Derive exactly `config.images` rows; every image that serves for a kind is used once before any is used twice.

    Raises InputError if no image serves for a kind, for instance without masks, or a kind of defect is unknown.
    """
    kind_weights(config.defects)
    entries = sorted(manifest.entries, key=lambda entry: entry.id)
    normal = [entry for entry in entries if not entry.label]
    defective = [entry for entry in entries if entry.mask and grids[entry.id].any()]
    donors: dict[tuple, list[Entry]] = defaultdict(list)
    for entry in defective:
        for pool in _pools(entry):
            donors[pool].append(entry)
    known = {"whole": entries, "defect_crop": defective, "normal_crop": normal + defective}
    rows: list[Row] = []
    for kind, count in row_counts(config).items():
        parents, turn, wanted = known.get(kind, normal), 0, len(rows) + count
        while len(rows) < wanted:
            before, random = len(rows), Random(f"{seed} {kind} {turn}")
            for entry in random.sample(parents, len(parents)):
                cut = _cut(kind, entry, donors, grids, config.scales, random)
                if cut[0] and len(rows) < wanted:
                    label = {"whole": entry.label, "normal_crop": 0}.get(kind, 1)
                    name, group = f"{kind}/{turn}/{entry.id}", f"{manifest.name}/{entry.category}"
                    rows.append(Row(name, entry.id, kind, group, label, random.getrandbits(63), *cut))
            if len(rows) == before:
                problem = f"{manifest.name}: no image serves for {kind} rows"
                raise InputError(f"{problem}; set derive.{kind} to 0, or add the images or masks that it needs")
            turn += 1
    return rows


def row_counts(config: Derive) -> dict[str, int]:
    """Rows of each kind; they add up to `config.images`, the largest remainders being rounded up."""
    kinds = ("whole", "defect_crop", "normal_crop", "paste", "synthetic")
    hundredths = {kind: config.images * getattr(config, kind) for kind in kinds}
    counts = {kind: value // 100 for kind, value in hundredths.items()}
    by_remainder = sorted(kinds, key=lambda kind: -(hundredths[kind] % 100))
    for kind in by_remainder[: config.images - sum(counts.values())]:
        counts[kind] += 1
    return counts


def _cut(kind: str, entry: Entry, donors: Mapping, grids: Mapping, scales: Sequence[int], random: Random) -> tuple:
    """Choose the crop (None if the image does not serve), and for a paste the donor and its crop."""
    if kind == "whole" or (kind == "synthetic" and random.random() < 0.5):
        return (Box(0, 0, entry.width, entry.height),)
    if kind == "defect_crop":
        return (place_crop(entry, grids[entry.id], scales, random, defective=True),)
    pool = next((donors[pool] for pool in _pools(entry) if pool in donors), None)
    if kind == "synthetic" or entry.label or pool is None:
        return (None if kind == "paste" else place_crop(entry, grids.get(entry.id), scales, random, defective=False),)
    # Normal crops of normal images are where similar images have defects: the position does not reveal the label.
    donor = random.choice(pool)
    part = place_crop(donor, grids[donor.id], scales, random, defective=True)
    if kind == "normal_crop":
        return (part,)
    most_x, most_y = entry.width * PASTE_SHIFT // 100, entry.height * PASTE_SHIFT // 100
    x = random.randint(max(-part.left, -most_x), min(entry.width - part.right, most_x))
    y = random.randint(max(-part.top, -most_y), min(entry.height - part.bottom, most_y))
    return Box(part.left + x, part.top + y, part.right + x, part.bottom + y), donor.id, part


def _pools(entry: Entry) -> list[tuple]:
    """Return the groups in which to look for a donor: same category and size, first of the same camera."""
    view = _VIEW.search(entry.id)
    pool = (entry.category, entry.width, entry.height)
    return [(*pool, view and view.group(1)), pool]


def count_derived(run: Run) -> int | None:
    """Count the images of a run's derived lists; None if nothing is derived."""
    paths = [derived_path(run, item) for item in run.profile.data.source if item.derive]
    return sum(read_json(path.with_suffix(".json"), RUN_DATA)["images"] for path in paths) or None


def write_derived(rows: Sequence[Row], path: Path, manifest: Manifest, config: Derive, seed: int) -> None:
    """Write a list as CSV and then its record as JSON, each atomically."""
    path.with_suffix(".json").unlink(missing_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*Row._fields[:6], *Box._fields, "donor", *(f"donor_{side}" for side in Box._fields)))
    writer.writerows((*row[:6], *row.crop, row.donor, *row.donor_crop) for row in rows)
    write_text(path, text.getvalue())
    source, sha256 = made_from(manifest, config, seed), sha256_of_bytes(path.read_bytes())
    write_json(path.with_suffix(".json"), {"images": len(rows), "sha256": sha256, "made_from": source})


def prepare_data(run: Run, workers: int) -> tuple[dict[str, Manifest], dict[str, object]]:
    """Generate or index the sets of a profile, write manifests and derived lists; return manifests by name, leak check.

    Raises InputError if a set is missing, damaged or not the real one, CheckError if source and target share an image.
    """
    data, rehearsal, manifests = run.profile.data, run.profile.rehearsal, {}
    sets = *data.source, *data.targets
    for item in sets if run.profile.profile == "paper" and rehearsal is None else ():
        if is_generated(folder := data.folder(item)):
            raise InputError(f"{folder}: generated images, not {item.name}; give the real set, or rehearse with LIMIT")
    for item in sets:
        folder = data.folder(item)
        if item.generated:
            generate_set(SetSpec(item.name, item.layout, **item.generated.model_dump()), folder, data.seed, workers)
        choose = partial(few_of_each, folder, rehearsal) if rehearsal and not item.generated else None
        manifests[item.name] = index_dataset(item, folder, run.manifest_path(item.name), workers, choose)
    sides = [[manifests[item.name] for item in items] for items in (data.source, data.targets)]
    leak_check = check_disjoint(*sides, workers)
    for name, manifest in manifests.items():
        write_manifest(manifest, run.manifest_path(name))
    for item in data.source:
        if item.derive:
            manifest = manifests[item.name]
            rows = derive_list(manifest, item.derive, data.seed, read_defect_grids(manifest, workers))
            write_derived(rows, derived_path(run, item), manifest, item.derive, data.seed)
    return manifests, leak_check


def publish_digests(run: Run) -> Path:
    """Write the manifest hashes of a run's generated sets to the repository; return the path."""
    sets, data = {}, run.profile.data
    for item in (*data.source, *data.targets):
        if item.generated:
            manifest = read_run_manifest(run, item)
            counts = {"images": len(manifest.entries), "defective": sum(entry.label for entry in manifest.entries)}
            sets[item.name] = counts | {"seed": data.seed, "manifest_sha256": manifest.sha256}
    return write_json(run.root / DIGESTS, sets)


def set_table(run: Run, manifests: Mapping[str, Manifest]) -> pd.DataFrame:
    """Tabulate the data sets: role, layout, counts, hash, and whether hash or counts are as published."""
    mini, rows = run.profile.profile == "mini", []
    digests = read_json(run.root / DIGESTS, "restore it from the repository") if mini else {}
    for item in (*run.profile.data.source, *run.profile.data.targets):
        manifest, same = manifests[item.name], None
        if item.generated and item.name in digests:
            same = "yes" if digests[item.name]["manifest_sha256"] == manifest.sha256 else "no"
        elif not item.generated and run.profile.rehearsal is None:
            same = as_published(item, manifest.entries)
        row = {
            "set": item.name,
            "role": "source" if item in run.profile.data.source else "target",
            "stands for": item.stands_for,
            "layout": item.layout,
            "categories": len({entry.category for entry in manifest.entries}),
            "train": len(manifest.select("train").entries),
            "test": len(manifest.select("test").entries),
            "defective": sum(entry.label for entry in manifest.entries),
            "with mask": sum(bool(entry.mask) for entry in manifest.entries if entry.label),
            "manifest hash": manifest.sha256[:12],
        }
        rows.append(row | {"same as published": same})
    return pd.DataFrame(rows)
