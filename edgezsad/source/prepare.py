"""Prepare the data of a run: generate, index, check for leaks, derive. Used by notebook 01_data."""

from functools import partial
from pathlib import Path

import pandas as pd

from edgezsad.config import DataSet
from edgezsad.data.descriptors import as_published
from edgezsad.data.duplicates import LeakCheck, check_disjoint
from edgezsad.data.layouts import is_generated
from edgezsad.data.manifest import Manifest, cache_path, few_of_each, index_dataset, read_run_manifest, write_manifest
from edgezsad.errors import InputError
from edgezsad.files import read_json, write_json
from edgezsad.run import Run
from edgezsad.source.source_images import write_derived_lists
from synthetic import SetSpec, generate_set

DIGESTS = Path("data_manifests") / "mini.json"
"""Published manifest hashes of the mini profile's generated sets, below the repository."""


def prepare_data(run: Run, workers: int) -> dict[str, Manifest]:
    """Generate or index every data set of the profile and write its manifest; return the manifests by name.

    Raises:
        InputError: a folder is missing, empty or holds damaged files, or holds generated images under a public set's
            name outside a rehearsal.
        CheckError: an image of the source is also in a target.
    """
    for item in _sets(run):
        folder = run.profile.data.folder(item)
        if run.profile.profile == "paper" and run.profile.rehearsal is None and is_generated(folder):
            raise InputError(f"{folder}: generated images, not {item.name}; give the real set, or rehearse with LIMIT")
    manifests = {}
    for item in _sets(run):
        folder = run.profile.data.folder(item)
        if item.generated:
            spec = SetSpec(item.name, item.layout, **item.generated.model_dump())
            generate_set(spec, folder, run.profile.data.seed, workers)
        limit = None if item.generated else run.profile.rehearsal
        choose = partial(few_of_each, folder, limit) if limit else None
        cache = cache_path(run.manifest_path(item.name))
        manifests[item.name] = index_dataset(item, folder, cache, workers, choose)
    prove_no_leak(run, manifests, workers)
    for name, manifest in manifests.items():
        write_manifest(manifest, run.manifest_path(name))
    write_derived_lists(run, manifests, workers)
    return manifests


def prove_no_leak(run: Run, manifests: dict[str, Manifest], workers: int) -> LeakCheck:
    """Compare the images of the source with those of the targets.

    Raises:
        CheckError: an image of the source is also in a target.
        InputError: an image is damaged.
    """
    sources = [manifests[item.name] for item in run.profile.data.source]
    targets = [manifests[item.name] for item in run.profile.data.targets]
    return check_disjoint(sources, targets, run.manifest_path("fingerprints").with_suffix(".npz"), workers)


def published_digests(run: Run) -> dict[str, str]:
    """Read the published manifest hashes of the mini profile's generated sets; empty in other profiles."""
    if run.profile.profile != "mini":
        return {}
    sets = read_json(run.root / DIGESTS, "restore it from the repository")
    return {name: item["manifest_sha256"] for name, item in sets.items()}


def publish_digests(run: Run) -> Path:
    """Write the manifest hashes of a run's generated sets to the repository; return the path."""
    sets = {}
    for item in _sets(run):
        if item.generated:
            manifest = read_run_manifest(run, item)
            counts = {"images": len(manifest.entries), "defective": sum(entry.label for entry in manifest.entries)}
            sets[item.name] = counts | {"seed": run.profile.data.seed, "manifest_sha256": manifest.sha256}
    return write_json(run.root / DIGESTS, sets)


def set_table(run: Run, manifests: dict[str, Manifest], digests: dict[str, str]) -> pd.DataFrame:
    """Tabulate the data sets: role, layout, counts, hash, and whether they are as published.

    Generated sets are compared by `digests` (manifest hashes by name), public ones by their numbers of images.
    """
    rows = []
    for item in _sets(run):
        manifest = manifests[item.name]
        if not item.generated:
            # A rehearsal takes a few images of each set on purpose.
            same = as_published(item, manifest.entries) if run.profile.rehearsal is None else None
        elif item.name in digests:
            same = "yes" if digests[item.name] == manifest.sha256 else "no"
        else:
            same = None
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
            "same as published": same,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _sets(run: Run) -> tuple[DataSet, ...]:
    return (*run.profile.data.source, *run.profile.data.targets)
