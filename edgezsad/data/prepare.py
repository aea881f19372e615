"""From a profile to images and manifests on disk: generate what is generated, index everything, prove no leak."""

from pathlib import Path

from edgezsad.config import DataSet
from edgezsad.data.generate import generate_set
from edgezsad.data.layouts import index
from edgezsad.data.leak import check_disjoint
from edgezsad.data.manifest import Manifest, write_manifest
from edgezsad.progress import ticker
from edgezsad.run import Run


def prepare_data(run: Run, workers: int) -> dict[str, Manifest]:
    """Make or find every data set of the profile and write its manifest; returns manifests by name.

    Raises:
        InputError: a folder is missing, empty or holds damaged files.
        CheckError: an image of the source is also in a target.
    """
    manifests = {}
    for item in (*run.profile.data.source, *run.profile.data.targets):
        folder = run.profile.data.folder(item)
        if item.generated:
            with ticker(f"generate {item.name}") as tick:
                generate_set(item, folder, run.profile.data.seed, workers, tick)
        manifests[item.name] = _index(item, folder, workers)
    sources = [manifests[item.name] for item in run.profile.data.source]
    targets = [manifests[item.name] for item in run.profile.data.targets]
    check_disjoint(sources, targets)
    for name, manifest in manifests.items():
        write_manifest(manifest, run.manifest_path(name))
    return manifests


def _index(item: DataSet, folder: Path, workers: int) -> Manifest:
    with ticker(f"index {item.name}") as tick:
        return index(item, folder, workers, tick)
