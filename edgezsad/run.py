"""Run: a profile and the paths of everything that is made from it. All paths are decided here."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgezsad.config import Profile, load_profile
from edgezsad.errors import InputError
from edgezsad.files import read_json, write_json

ROOT_MARK = "Snakefile"  # marks the project's root: relative paths of a profile start there


@dataclass(frozen=True)
class Run:
    """Paths of a run; `root` is the project's folder, which holds recorded benchmarks and data manifests.

    `detector` is the folder of a second detector's checkpoints and scores (see `shipped`); empty for the profile's.
    """

    profile: Profile
    root: Path = Path()
    detector: str = ""

    @property
    def folder(self) -> Path:
        return self.profile.run

    @property
    def features(self) -> Path:
        return self.folder / "features"

    def shipped(self) -> "Run | None":
        """Return the run of the shipped detector's recipe on the same data and features; None if it is not compared."""
        if (other := self.profile.shipped) is None:
            return None
        model = self.profile.model.model_copy(update={"tta": other.tta, "readout": other.readout})
        profile = self.profile.model_copy(update={"model": model, "training": other.training, "shipped": None})
        return replace(self, profile=profile, detector="shipped")

    def seed_folder(self, seed: int) -> Path:
        return self.folder / self.detector / "seeds" / str(seed)

    def checkpoint(self, seed: int) -> Path:
        return self.seed_folder(seed) / "checkpoint.safetensors"

    def onnx(self, seed: int, precision: str) -> Path:
        """Exported graph of one seed; `precision` is "fp32", "fp16" or "int8"."""
        return self.folder / "export" / f"seed{seed}-{precision}.onnx"

    def scores(self, runtime: str, seed: int, target: str) -> Path:
        return self.folder / self.detector / "scores" / runtime / f"seed{seed}" / f"{target}.npz"

    def board(self, name: str) -> Path:
        """Folder of a board's ingested results: `seed{S}/{TARGET}.npz` score files and `latency.json`."""
        return self.folder / "boards" / name

    def manifest_path(self, name: str) -> Path:
        return self.folder / "manifests" / f"{name}.csv"

    def result_path(self, name: str) -> Path:
        return self.folder / "results" / f"{name}.json"

    def write_result(self, name: str, value: Any) -> None:
        """Write a notebook's results together with the name of the profile."""
        write_json(self.result_path(name), {"profile": self.profile.profile} | value)

    def read_result(self, name: str, notebook: str) -> Any:
        """Read the results of another notebook, which must have run."""
        return read_json(self.result_path(name), f"run notebook {notebook} first")


def open_run(config: Path | str) -> Run:
    """Open the run of a profile, looked up in the current folder, those above it and this package's checkout.

    A rehearsal's notice is printed. A missing or invalid profile is an InputError.
    """
    here = Path.cwd()
    folders = (Path(), *here.parents, Path(__file__).resolve().parent.parent)
    found = next((folder / config for folder in folders if (folder / config).is_file()), None)
    if found is None:
        raise InputError(f"{config}: no such configuration; see configs/ for the profiles")
    root = next((folder for folder in found.resolve().parents if (folder / ROOT_MARK).is_file()), here)
    # The current folder stays a relative path, so that recorded paths do not depend on the machine.
    root = Path() if root == here.resolve() else root
    run = Run(load_profile(found).below(root), root)
    if notice := rehearsal_notice(run.profile):
        print(notice)
    return run


def profile_of_graph(config: Path | str, data_root: str | None = None, limit: str | None = None) -> Profile:
    """Load the profile of a graph; the variables that make sets, EDGEZSAD_DATA and EDGEZSAD_LIMIT, come first."""
    # Environment variables take folder names that Snakemake's command line cannot.
    profile = load_profile(config, os.environ.get("EDGEZSAD_DATA") or data_root)
    limit = os.environ.get("EDGEZSAD_LIMIT") or limit
    if limit and not str(limit).isdecimal():
        raise InputError(f"LIMIT={limit}: not a whole number; give the number of images of each set, split and label")
    return rehearse(profile, int(limit)) if limit else profile


def rehearse(profile: Profile, limit: int) -> Profile:
    """Return the profile of a rehearsal: the same graph with at most `limit` images of each set, split and label."""
    values = profile.model_dump()
    values |= {"title": f"{profile.title} (rehearsal)", "rehearsal": limit}
    values["run"] = profile.run.with_name(f"{profile.run.name}-rehearsal")
    for item in values["data"]["source"]:
        if item["derive"]:
            item["derive"]["images"] = min(item["derive"]["images"], 4 * limit)
    if profile.model.weights == "hub":
        # A rehearsal downloads no weights.
        values["model"]["weights"] = "random"
    values["training"]["steps"] = min(profile.training.steps, limit)
    values["training"]["batch"] = min(profile.training.batch, 2 * limit)
    if profile.shipped:
        values["shipped"]["training"] |= {name: values["training"][name] for name in ("steps", "batch")}
    # The emulator takes minutes for a single image of a large model.
    values["evaluation"]["runtimes"] = [name for name in profile.evaluation.runtimes if name != "qnn-htp-fp16"]
    return Profile.model_validate(values)


def rehearsal_notice(profile: Profile) -> str:
    """Return the notice for the pages of a rehearsal; empty for a real run."""
    if profile.rehearsal is None:
        return ""
    small = f"{profile.rehearsal} images of each set, split and label, {profile.training.steps} steps"
    return f"REHEARSAL: at most {small}, {profile.model.weights} weights of the backbone. These numbers mean nothing."
