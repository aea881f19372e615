"""Run: a profile and the paths of everything that is made from it. All paths are decided here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgezsad.config import Profile, load_profile
from edgezsad.errors import InputError
from edgezsad.files import read_json, write_json

ROOT_MARK = "Snakefile"
"""File that marks the project's root: relative paths of a profile start there."""


@dataclass(frozen=True)
class Run:
    """Paths below `profile.run`.

    Attributes:
        profile: the configuration.
        root: the project's folder: recorded benchmarks and data manifests lie in it.
    """

    profile: Profile
    root: Path = Path()

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.profile.run

    @property
    def features(self) -> Path:
        """Folder of the cached source features."""
        return self.folder / "features"

    def seed_folder(self, seed: int) -> Path:
        """Folder of one trained seed."""
        return self.folder / "seeds" / str(seed)

    def checkpoint(self, seed: int) -> Path:
        """Checkpoint of one seed."""
        return self.seed_folder(seed) / "checkpoint.safetensors"

    def onnx(self, seed: int, precision: str) -> Path:
        """Exported graph of one seed; `precision` is "fp32", "fp16" or "int8"."""
        return self.folder / "export" / f"seed{seed}-{precision}.onnx"

    def engine(self, seed: int) -> Path:
        """TensorRT engine of one seed, for the GPU of this machine."""
        return self.folder / "export" / f"seed{seed}-tensorrt.plan"

    def scores(self, runtime: str, seed: int, target: str) -> Path:
        """Score file of a runtime, seed and target."""
        return self.folder / "scores" / runtime / f"seed{seed}" / f"{target}.npz"

    def board(self, name: str) -> Path:
        """Folder of a board's ingested results: `seed{S}/{TARGET}.npz` score files and `latency.json`."""
        return self.folder / "boards" / name

    def manifest_path(self, name: str) -> Path:
        """Manifest of a data set."""
        return self.folder / "manifests" / f"{name}.csv"

    def result_path(self, name: str) -> Path:
        """Results file of a notebook."""
        return self.folder / "results" / f"{name}.json"

    def write_result(self, name: str, value: Any) -> None:
        """Write a notebook's results together with the name of the profile."""
        write_json(self.result_path(name), {"profile": self.profile.profile} | value)

    def read_result(self, name: str, notebook: str) -> Any:
        """Read the results of another notebook.

        Raises:
            InputError: that notebook has not run.
        """
        return read_json(self.result_path(name), f"run notebook {notebook} first")


def open_run(config: Path | str) -> Run:
    """Open the run of a profile, from any folder.

    A relative `config` is looked up in the current folder, in the folders above it and in the checkout that holds this
    package. Relative paths in the profile count from the project's root, the nearest folder above the configuration
    that holds a `Snakefile`, or from the current folder where there is none.

    Raises:
        InputError: the configuration is missing or invalid.
    """
    config = find_config(config)
    root = project_root(config)
    run = Run(load_profile(config).below(root), root)
    if notice := rehearsal_notice(run.profile):
        print(notice)
    return run


def find_config(config: Path | str) -> Path:
    """Return the path of a configuration, looked up from the current folder upwards, then in the checkout.

    Raises:
        InputError: there is no such file.
    """
    config = Path(config)
    for folder in (Path(), *Path.cwd().parents, Path(__file__).resolve().parent.parent):
        if (folder / config).is_file():
            return folder / config
    raise InputError(f"{config}: no such configuration; see configs/ for the profiles")


def project_root(config: Path | str) -> Path:
    """Return the nearest folder above `config` that holds a `Snakefile`, else the current folder.

    The current folder is always returned as a relative path, so that recorded paths do not depend on the machine.
    """
    here = Path.cwd()
    root = next((folder for folder in Path(config).resolve().parents if (folder / ROOT_MARK).is_file()), here)
    return Path() if root == here.resolve() else root


def rehearse(profile: Profile, limit: int) -> Profile:
    """Return the profile for a rehearsal: the same graph on a few images and steps; its numbers mean nothing.

    Args:
        profile: the profile as in its file.
        limit: images of each set, split and label; also training steps.
    """
    source = tuple(
        item.model_copy(
            update={"derive": item.derive.model_copy(update={"images": min(item.derive.images, 4 * limit)})}
        )
        if item.derive
        else item
        for item in profile.data.source
    )
    # The emulator takes minutes for a single image of a large model.
    runtimes = tuple(name for name in profile.evaluation.runtimes if name != "qnn-htp-fp16")
    # A rehearsal downloads no weights.
    weights = "random" if profile.model.weights == "hub" else profile.model.weights
    batch = min(profile.training.batch, 2 * limit)
    return profile.model_copy(
        update={
            "title": f"{profile.title} (rehearsal)",
            "run": profile.run.with_name(f"{profile.run.name}-rehearsal"),
            "rehearsal": limit,
            "data": profile.data.model_copy(update={"source": source}),
            "model": profile.model.model_copy(update={"weights": weights}),
            "training": profile.training.model_copy(
                update={"steps": min(profile.training.steps, limit), "batch": batch}
            ),
            "evaluation": profile.evaluation.model_copy(update={"runtimes": runtimes}),
        }
    )


def rehearsal_notice(profile: Profile) -> str:
    """Return the notice for the pages of a rehearsal; empty for a real run."""
    if profile.rehearsal is None:
        return ""
    return (
        f"REHEARSAL: at most {profile.rehearsal} images of each set, split and label, {profile.training.steps} steps, "
        f"a backbone with {profile.model.weights} weights. These numbers mean nothing."
    )
