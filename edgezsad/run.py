"""A run: a profile and the folder that holds everything made from it. All paths are decided here and nowhere else."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgezsad.config import DataSet, Profile, load_profile
from edgezsad.data.manifest import Manifest, read_manifest
from edgezsad.files import read_json, write_json
from edgezsad.rehearsal import notice


@dataclass(frozen=True)
class Run:
    """Paths below `profile.run`, and readers that say which notebook makes a missing file."""

    profile: Profile

    @property
    def folder(self) -> Path:
        """Where everything lies."""
        return self.profile.run

    @property
    def features(self) -> Path:
        """Folder of the cached source features."""
        return self.folder / "features"

    def seed_folder(self, seed: int) -> Path:
        """Folder of one trained seed."""
        return self.folder / "seeds" / str(seed)

    def checkpoint(self, seed: int) -> Path:
        """One seed's checkpoint."""
        return self.seed_folder(seed) / "checkpoint.safetensors"

    def onnx(self, seed: int, precision: str) -> Path:
        """One seed's exported graph; `precision` is "fp32", "fp16" or "int8"."""
        return self.folder / "export" / f"seed{seed}-{precision}.onnx"

    def engine(self, seed: int) -> Path:
        """One seed's TensorRT engine, for the GPU of this machine."""
        return self.folder / "export" / f"seed{seed}-tensorrt.plan"

    def scores(self, runtime: str, seed: int, target: str) -> Path:
        """The score file of a runtime, seed and target."""
        return self.folder / "scores" / runtime / f"seed{seed}" / f"{target}.npz"

    def board(self, name: str) -> Path:
        """What was ingested from a board, "jetson" or "rb5": `seed{S}/{TARGET}.npz` score files and `latency.json`."""
        return self.folder / "boards" / name

    def manifest_path(self, name: str) -> Path:
        """A data set's manifest."""
        return self.folder / "manifests" / f"{name}.csv"

    def manifest(self, item: DataSet) -> Manifest:
        """Read a data set's manifest."""
        return read_manifest(self.manifest_path(item.name), self.profile.data.folder(item), item.name)

    def sources(self) -> list[Manifest]:
        """Manifests of the source."""
        return [self.manifest(item) for item in self.profile.data.source]

    def result_path(self, name: str) -> Path:
        """The results file of a notebook."""
        return self.folder / "results" / f"{name}.json"

    def write_result(self, name: str, value: Any) -> Path:
        """Write a notebook's results, with the profile they came from."""
        return write_json(self.result_path(name), {"profile": self.profile.profile} | value)

    def read_result(self, name: str, notebook: str) -> Any:
        """Read another notebook's results.

        Raises:
            InputError: that notebook has not run.
        """
        return read_json(self.result_path(name), f"run notebook {notebook} first")


def open_run(config: Path | str) -> Run:
    """Open the run of a profile.

    A notebook started from its own folder, or a command from anywhere, finds the repository's root by looking for
    `config` upwards and then in the checkout that holds this package, and moves there, so that relative paths mean the
    same everywhere.

    Raises:
        InputError: the configuration is missing or wrong.
    """
    config = Path(config)
    if not config.is_absolute() and not config.exists():
        for folder in (*Path.cwd().parents, Path(__file__).resolve().parent.parent):
            if (folder / config).exists():
                os.chdir(folder)
                break
    run = Run(load_profile(config))
    if run.profile.rehearsal is not None:
        print(notice(run.profile))
    return run
