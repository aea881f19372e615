"""From a profile to images and manifests on disk: generate what is generated, index everything, prove no leak."""

from functools import partial
from pathlib import Path

import pandas as pd

from edgezsad.config import DataSet
from edgezsad.data.descriptors import as_published
from edgezsad.data.duplicates import LeakCheck, check_disjoint
from edgezsad.data.layouts import is_generated
from edgezsad.data.manifest import (
    Manifest,
    cache_path,
    few_of_each,
    index_dataset,
    read_run_manifest,
    write_manifest,
)
from edgezsad.errors import InputError
from edgezsad.files import read_json, write_json
from edgezsad.progress import ticker
from edgezsad.run import Run
from edgezsad.source.source_images import write_derived_lists
from synthetic import SetSpec, generate_set


def prepare_data(run: Run, workers: int) -> dict[str, Manifest]:
    """Make or find every data set of the profile and write its manifest; returns manifests by name.

    Raises:
        InputError: a folder is missing, empty or holds damaged files; or it holds generated images under a
            public set's name outside a rehearsal.
        CheckError: an image of the source is also in a target.
    """
    _reject_generated(run)
    manifests = {}
    for item in (*run.profile.data.source, *run.profile.data.targets):
        folder = run.profile.data.folder(item)
        if item.generated:
            with ticker(f"generate {item.name}") as tick:
                spec = SetSpec(item.name, item.layout, **item.generated.model_dump())
                generate_set(spec, folder, run.profile.data.seed, workers, tick)
        manifests[item.name] = _index(run, item, workers)
    prove_no_leak(run, manifests, workers)
    for name, manifest in manifests.items():
        write_manifest(manifest, run.manifest_path(name))
    write_derived_lists(run, manifests, workers)
    return manifests


def _reject_generated(run: Run) -> None:
    """Reject generated images in the paper profile, whose numbers count as the paper's, except in a rehearsal."""
    if run.profile.profile != "paper" or run.profile.rehearsal is not None:
        return
    for item in (*run.profile.data.source, *run.profile.data.targets):
        folder = run.profile.data.folder(item)
        if is_generated(folder):
            raise InputError(f"{folder}: generated images, not {item.name}; give the real set, or rehearse with LIMIT")


def prove_no_leak(run: Run, manifests: dict[str, Manifest], workers: int) -> LeakCheck:
    """Compare the profile's source with its targets; what images are compared by is kept beside the manifests.

    Raises:
        CheckError: an image of the source is also in a target.
        InputError: an image is damaged.
    """
    sources = [manifests[item.name] for item in run.profile.data.source]
    targets = [manifests[item.name] for item in run.profile.data.targets]
    return check_disjoint(sources, targets, run.manifest_path("fingerprints").with_suffix(".npz"), workers)


def _index(run: Run, item: DataSet, workers: int) -> Manifest:
    folder, cache = run.profile.data.folder(item), cache_path(run.manifest_path(item.name))
    limit = None if item.generated else run.profile.rehearsal
    with ticker(f"index {item.name}") as tick:
        return index_dataset(item, folder, cache, workers, tick, partial(few_of_each, folder, limit) if limit else None)


def known_digests(run: Run) -> dict[str, str]:
    """Manifest hashes published with the repository for the mini profile's generated sets; empty in other profiles.

    Raises:
        InputError: the file that holds them is missing.
    """
    if run.profile.profile != "mini":
        return {}
    sets = read_json(run.root / "data_manifests" / "mini.json", "restore it from the repository")
    return {name: item["manifest_sha256"] for name, item in sets.items()}


def write_digests(run: Run) -> Path:
    """Publish the manifest hashes of a run's generated sets as `data_manifests/mini.json`; returns its path."""
    sets = {}
    for item in (*run.profile.data.source, *run.profile.data.targets):
        if item.generated:
            manifest = read_run_manifest(run, item)
            defective = sum(entry.label for entry in manifest.entries)
            counts = {"images": len(manifest.entries), "defective": defective}
            sets[item.name] = counts | {"seed": run.profile.data.seed, "manifest_sha256": manifest.sha256}
    return write_json(run.root / "data_manifests" / "mini.json", sets)


def set_table(run: Run, manifests: dict[str, Manifest], digests: dict[str, str]) -> pd.DataFrame:
    """One row a data set: role, benchmark it stands for, layout, counts, hash, and whether it is as published.

    Of a generated set the hash is compared, of a public one the numbers of images.
    """
    sources = {item.name for item in run.profile.data.source}
    rows = []
    for item in (*run.profile.data.source, *run.profile.data.targets):
        manifest = manifests[item.name]
        if item.generated:
            known = digests.get(item.name)
            same = None if known is None else ("yes" if known == manifest.sha256 else "no")
        else:
            # A rehearsal takes a few images of each set on purpose.
            same = as_published(item, manifest.entries) if run.profile.rehearsal is None else None
        rows.append(
            {
                "set": item.name,
                "role": "source" if item.name in sources else "target",
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
        )
    return pd.DataFrame(rows)
