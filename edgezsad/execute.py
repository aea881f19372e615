"""Run one notebook as a step of the graph: `python -m edgezsad.execute NOTEBOOK OUTPUT key=value ...`.

While it runs, the executed copy is in the folder `running` next to OUTPUT. It moves to OUTPUT only when every cell has
passed, so that a failed notebook never leaves a result. Its metadata records versions, machine, commit and data.
"""

import ast
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import CheckError, EdgeZSADError, InputError, one_line
from edgezsad.files import versions, write_text
from edgezsad.run import open_run
from edgezsad.scoring.onnx_scorer import cores, cpu_name

RECORD_KEY = "edgezsad"
"""Key of the record in a notebook's metadata, next to papermill's own record of parameters and times."""
PACKAGES = ("numpy", "pandas", "scikit-learn", "torch", "timm", "onnx", "onnxruntime", "papermill")


def execute(notebook: Path | str, output: Path | str, parameters: Mapping[str, Any]) -> Path:
    """Execute a notebook with parameters; its standard error is passed on live.

    Returns:
        `output`, the executed copy.

    Raises:
        CheckError: a cell failed or the kernel died.
        InputError: the notebook is missing or damaged, or has no such parameter.
    """
    # Slow to import.
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    notebook, output = Path(notebook), Path(output)
    if not notebook.is_file():
        raise InputError(f"{notebook}: no such notebook; see notebooks/")
    try:
        known = papermill.inspect_notebook(str(notebook))
    except Exception as error:
        # Damaged files raise various errors of nbformat and papermill.
        raise InputError(f"{notebook}: invalid notebook ({one_line(error)}); restore it") from None
    if unknown := sorted(set(parameters) - set(known)):
        raise InputError(f"{notebook}: unknown parameter {unknown[0]!r}; expected one of {sorted(known)}")
    # Inherited by the kernel: libraries look for notebook widgets that nothing here uses.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress")
    running = output.parent / "running" / output.name
    running.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Unix sockets instead of TCP ports: kernels that run side by side cannot take each other's.
        with tempfile.TemporaryDirectory(prefix="edgezsad-") as sockets:
            papermill.execute_notebook(
                str(notebook),
                str(running),
                parameters=dict(parameters),
                kernel_name="python3",
                progress_bar=False,
                stderr_file=sys.stderr,
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
            )
    except PapermillExecutionError as error:
        failure = CheckError(
            f"{notebook}: {error.ename}: {one_line(error.evalue, None)} (executed copy kept at {running})"
        )
        failure.exit_code = 2 if error.ename == "InputError" else 1
        raise failure from None
    except DeadKernelError as error:
        raise CheckError(
            f"{notebook}: the kernel died ({one_line(error)}; out of memory?) (executed copy kept at {running})"
        ) from None
    defaults = {name: _literal(found["default"]) for name, found in known.items()}
    content = json.loads(running.read_text(encoding="utf-8"))
    content["metadata"][RECORD_KEY] = execution_record(defaults | dict(parameters))
    write_text(running, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    running.replace(output)
    return output


def execution_record(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a notebook was executed with; the commit is None outside a checkout."""
    return {
        "parameters": dict(parameters),
        "versions": versions(*PACKAGES),
        "hardware": {
            "processor": cpu_name(),
            "cores": cores(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "system": f"{platform.system()} {platform.machine()}",
            "gpus": _output_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines(),
        },
        "commit": _commit(),
        "data": data_hashes(str(parameters.get("config", ""))),
    }


def data_hashes(config: Path | str) -> dict[str, Any]:
    """Return the hashes of a profile's manifests ("sets") and their combined hash ("sha256").

    Empty if the profile or a manifest does not exist: the notebook then read no image.
    """
    try:
        run = open_run(config)
        items = (*run.profile.data.source, *run.profile.data.targets)
        sets = {item.name: read_run_manifest(run, item).sha256 for item in items}
    except (EdgeZSADError, OSError):
        return {}
    lines = "".join(f"{name}\t{digest}\n" for name, digest in sets.items())
    return {"sets": sets, "sha256": hashlib.sha256(lines.encode()).hexdigest()}


def _commit() -> str | None:
    """Return the checkout's commit, with "+changes" if tracked files differ from it."""
    # A parent folder's checkout belongs to another project.
    if not Path(".git").exists() or not (found := _output_of("git", "rev-parse", "HEAD")):
        return None
    return found + ("+changes" if _output_of("git", "status", "--porcelain", "--untracked-files=no") else "")


def _output_of(*command: str) -> str:
    """Return a program's output; empty if it is missing or fails."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout.strip()


def _literal(text: str) -> object:
    """Evaluate a parameter's default; None if it is computed."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    if len(arguments) < 2 or any("=" not in item for item in arguments[2:]):
        print("usage: python -m edgezsad.execute NOTEBOOK OUTPUT [key=value ...]", file=sys.stderr)
        return 2
    # Values are YAML scalars: `seed=0` is a number, `runtime=pytorch` a string.
    pairs = (item.split("=", 1) for item in arguments[2:])
    try:
        # Papermill and its kernel client warn about things that a user cannot change.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            execute(arguments[0], arguments[1], {key: yaml.safe_load(value) for key, value in pairs})
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
