"""What an executed notebook was made with and from: versions, machine and data, written into its metadata."""

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import EdgeZSADError
from edgezsad.files import versions
from edgezsad.run import open_run

KEY = "edgezsad"
"""Where it stands in a notebook's metadata, beside papermill's own record of parameters and times."""

PACKAGES = ("numpy", "pandas", "scikit-learn", "torch", "timm", "onnx", "onnxruntime", "papermill")


def provenance(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What to record of a notebook that has just run here.

    Args:
        parameters: that it ran with; `config` names the profile.

    Returns:
        "versions", "hardware", "commit" (None outside a git checkout) and "data" (see `data_of`).
    """
    return {
        "versions": versions(*PACKAGES),
        "hardware": hardware(),
        "commit": commit(),
        "data": data_of(str(parameters.get("config", ""))),
    }


def hardware() -> dict[str, Any]:
    """Processor, the cores that this process may use, memory in GB, system, and NVIDIA GPUs where there are any."""
    from edgezsad.scoring.runtimes import cpu_name

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": cpu_name(),
        "cores": cores,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "gpus": [
            line for line in _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines() if line
        ],
    }


def commit() -> str | None:
    """The checkout's commit, with "+changes" where tracked files differ from it; None outside a checkout."""
    # A folder somewhere inside another project's checkout has that project's commit, which says nothing.
    if not Path(".git").exists() or not (found := _said("git", "rev-parse", "HEAD")):
        return None
    return found + ("+changes" if _said("git", "status", "--porcelain", "--untracked-files=no") else "")


def data_of(config: Path | str) -> dict[str, Any]:
    """Hashes of the images of a profile, source and targets, by their manifests.

    Args:
        config: the profile's file.

    Returns:
        "sets", a manifest's hash by the set's name, and "sha256" of them all together; empty where there is no such
        profile, or a manifest has not been written yet (a notebook that ran all the same reads no image).
    """
    try:
        run = open_run(config)
        items = (*run.profile.data.source, *run.profile.data.targets)
        sets = {item.name: read_run_manifest(run, item).sha256 for item in items}
    except (EdgeZSADError, OSError):
        return {}
    lines = "".join(f"{name}\t{digest}\n" for name, digest in sets.items())
    return {"sets": sets, "sha256": hashlib.sha256(lines.encode()).hexdigest()}


def _said(*command: str) -> str:
    """What a program prints, or nothing where it is missing or fails."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout.strip()
