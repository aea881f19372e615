"""Run one notebook as a step of the graph: `python -m edgezsad.execute NOTEBOOK OUTPUT key=value ...`.

The executed copy moves from the folder `running` to OUTPUT only when every cell has passed. `make book` runs the whole
graph: `python -m edgezsad.execute --graph PROFILE key=value ...`.
"""

import ast
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from edgezsad.data.manifest import read_run_manifest
from edgezsad.errors import CheckError, EdgeZSADError, InputError, one_line, system_error
from edgezsad.files import USED_LOG, parse_yaml, start_records, take_used, versions, write_text
from edgezsad.run import open_run, profile_of_graph
from edgezsad.verify import remove_outdated

RECORD_KEY = "edgezsad"  # of the record in a notebook's metadata, next to papermill's own
VERSIONS = ("numpy", "pandas", "scikit-learn", "torch", "timm", "onnx", "onnxruntime", "papermill")
COMMIT = "git describe --always --dirty=+changes --abbrev=40 --exclude=*"  # with the mark if tracked files differ
PACKAGES = ("edgezsad", "synthetic", "benchmarks")
# Variables that say where Snakemake, Jupyter, matplotlib, npm and a GPU's driver write, and folders below runs/.cache.
CACHES = {
    "XDG_CACHE_HOME": "",
    "CUDA_CACHE_PATH": "cuda",
    "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "jupyter/config",
    "JUPYTER_DATA_DIR": "jupyter/data",
    "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
    "MPLCONFIGDIR": "matplotlib",
    "npm_config_cache": "npm",
}
LOCK = "EDGEZSAD_LOCK"  # environment variable: the lock of the graph that started this process
GRAPH_OPTIONS = ("--nolock", "--rerun-incomplete", "--cores=all", "--resources=gpu=1", "--quiet", "host", "reason")
GRAPH_OPTIONS += ("--rerun-triggers", "params", "input", "code")  # contents, not time stamps: see the Snakefile


def keep_caches_inside() -> None:
    """Make this process and its children write caches to runs/.cache, not to the home folder, which may be missing."""
    Path("runs/.cache").mkdir(parents=True, exist_ok=True)
    os.environ |= {name: str(Path("runs/.cache", folder).absolute()) for name, folder in CACHES.items()}


def run_graph(config: Path | str, settings: Sequence[str] = ()) -> None:
    """Become Snakemake on the graph of a profile; its temporary files go to RUN/.tmp, which is emptied first.

    Snakemake's own lock stays after SIGKILL or a power cut. The lock on RUN/.lock is the kernel's: it ends with the
    last of the graph's processes.

    Raises:
        InputError: the profile is invalid, or a folder of its data is missing.
        CheckError: another process is at work on the run, or a file has changed since a step wrote it.
    """
    profile = profile_of_graph(config)
    for item in (*profile.data.source, *profile.data.targets):
        if not item.generated and not (path := profile.data.folder(item)).is_dir():
            raise InputError(f"{path}: no such folder ({item.name} in {config}); fix data in the profile, or DATA")
    folder = profile.run.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    # Kept open, by Snakemake too.
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        process = os.read(lock, 20).decode()
        reason = f"process {process.strip()}, or a notebook that it started, is at work on this run"
        raise CheckError(f"{folder}: {reason}; wait for it or stop it") from None
    os.pwrite(lock, f"{os.getpid():<20}".encode(), 0)
    # Notebooks share it, since they may outlive Snakemake.
    fcntl.flock(lock, fcntl.LOCK_SH)
    shutil.rmtree(folder / ".tmp", ignore_errors=True)
    (folder / ".tmp").mkdir()
    start_records(folder)
    for path in remove_outdated(folder):
        print(f"{path}: made from files that have changed; it is made again", file=sys.stderr)
    os.environ |= {"TMPDIR": str(folder / ".tmp"), LOCK: str(folder / ".lock")}
    options = [*GRAPH_OPTIONS, "--config", f"profile={config}", *settings]
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *options])


def share_lock() -> None:
    """Hold the lock of the graph that started this process, if any, until this process ends."""
    if LOCK in os.environ:
        fcntl.flock(os.open(os.environ[LOCK], os.O_RDONLY), fcntl.LOCK_SH)


def execute(notebook: Path | str, output: Path | str, parameters: Mapping[str, Any]) -> Path:
    """Execute a notebook and return `output`; a failed cell or dead kernel is a `CheckError`.

    `parameters` replace values of the notebook's first code cell; an unknown one is an `InputError`.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    notebook, output = Path(notebook), Path(output)
    if not notebook.is_file():
        raise InputError(f"{notebook}: no such notebook; see notebooks/")
    try:
        known = papermill.inspect_notebook(str(notebook))
        defaults = {name: ast.literal_eval(found["default"]) for name, found in known.items()}
    # Damaged files raise various errors of nbformat and papermill.
    except Exception as error:
        raise InputError(f"{notebook}: invalid notebook ({one_line(error)}); restore it") from None
    if unknown := sorted(set(parameters) - set(known)):
        raise InputError(f"{notebook}: unknown parameter {unknown[0]!r}; expected one of {sorted(known)}")
    for name, value in parameters.items():
        if type(value) is not type(defaults[name]):
            raise InputError(f"{notebook}: {name}={value}: expected {type(defaults[name]).__name__}")
    # Inherited by the kernel: libraries look for notebook widgets that nothing here uses.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress")
    running = output.parent / "running" / output.name
    running.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Unix sockets instead of TCP ports: kernels that run side by side cannot take each other's.
        with tempfile.TemporaryDirectory(prefix="edgezsad-") as sockets:
            # The system takes paths of about a hundred characters.
            sockets = min(sockets, os.path.relpath(sockets), key=len)
            config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
            options = {"progress_bar": False, "stderr_file": sys.stderr, "kernel_name": "python3", "config": config}
            os.environ[USED_LOG] = str(Path(sockets, "used").absolute())  # inherited by the kernel
            papermill.execute_notebook(str(notebook), str(running), dict(parameters), **options)
            take_used(Path(os.environ.pop(USED_LOG)))
    except (PapermillExecutionError, DeadKernelError) as error:
        failed = isinstance(error, PapermillExecutionError)
        reason = f"{error.ename}: {one_line(error.evalue, None)}" if failed else "the kernel died (out of memory?)"
        failure = CheckError(f"{notebook}: {reason} (executed copy kept at {running})")
        failure.exit_code = 2 if reason.startswith("InputError:") else 1
        raise failure from None
    content = json.loads(running.read_text(encoding="utf-8"))
    content["metadata"][RECORD_KEY] = execution_record(defaults | dict(parameters))
    write_text(output, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    running.unlink()
    return output


def report(config: Path | str, boards: Mapping[str, str]) -> list[Path]:
    """Execute the page of each board ("jetson": "08_jetson_drift") and render it without the rest of the book.

    Returns the HTML files, in RUN/boards/pages. The run must have been scored (`make book`).
    """
    folder = open_run(config).folder / "boards" / "pages"
    pages = [
        execute(f"notebooks/{page}.ipynb", folder / f"{page}.ipynb", {"config": str(config)})
        for page in boards.values()
    ]
    command = [sys.executable, "-m", "book._ext.build", "--only", str(config), str(folder / "html"), *map(str, pages)]
    if subprocess.run(command, check=False).returncode:
        raise CheckError(f"{folder}: the pages could not be rendered (output above)")
    return [folder / "html" / "notebooks" / f"{page.stem}.html" for page in pages]


def execution_record(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a notebook was executed with; the commit is None outside a checkout."""
    from edgezsad.scoring.onnx_scorer import cores, cpu_name

    return {
        "parameters": dict(parameters),
        "versions": versions(*VERSIONS),
        "hardware": {
            "processor": cpu_name(),
            "cores": cores(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "system": f"{platform.system()} {platform.machine()}",
            "gpus": _output_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines(),
        },
        # A parent folder's checkout belongs to another project.
        "commit": (Path(".git").exists() and _output_of(*COMMIT.split())) or None,
        "data": data_hashes(str(parameters.get("config", ""))),
    }


def data_hashes(config: Path | str) -> dict[str, str]:
    """Return the hashes of a profile's manifests by their names, or {} without data."""
    try:
        run = open_run(config)
        items = (*run.profile.data.source, *run.profile.data.targets)
        return {item.name: read_run_manifest(run, item).sha256 for item in items}
    except (EdgeZSADError, OSError):
        return {}


def _output_of(*command: str) -> str:
    """Return a program's output; empty if it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def notebook_library(notebook: Path | str) -> list[str]:
    """Return the source files of `PACKAGES` that a notebook imports, directly or through other files, sorted."""
    found: set[Path] = set()
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    waiting = _files_of(_parsed(code)[0])
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= _files_of(_parsed(path.read_text(encoding="utf-8"))[0]) - found
    return sorted(path.as_posix() for path in found)


def code_version(notebook: Path | str, ignore: tuple[str, ...] = ()) -> str:
    """Return a hash of the code that a notebook imports, without comments, docstrings and paths that start `ignore`."""
    digest = hashlib.sha256()
    for path in notebook_library(notebook):
        if not path.startswith(ignore):
            digest.update(f"{path}\n{_parsed(Path(path).read_text(encoding='utf-8'))[1]}\n".encode())
    return digest.hexdigest()[:16]


# Notebooks share most of their files, and every job of the graph asks for all of them.
@cache
def _parsed(text: str) -> tuple[frozenset[str], str]:
    """Return the names that a module imports when it runs, and its code without comments and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    code = ast.dump(tree)
    for node in ast.walk(tree):
        # Imports for type hints alone do not run.
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            # An imported name may itself be a module.
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return frozenset(names), code


def _files_of(names: frozenset[str]) -> set[Path]:
    """Return the files of `PACKAGES` that an import of these names runs."""
    paths: set[Path] = set()
    for name in names:
        parts = name.split(".")
        if parts[0] in PACKAGES:
            # Importing a module also runs the __init__ of every package above it.
            for path in [Path(*parts), *Path(*parts).parents][:-1]:
                paths |= {path.with_suffix(".py"), path / "__init__.py"}
    return {path for path in paths if path.is_file()}


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    if len(arguments) < 2 or any("=" not in item for item in arguments[2:]):
        print("usage: python -m edgezsad.execute NOTEBOOK OUTPUT [key=value ...]", file=sys.stderr)
        return 2
    # Values are YAML scalars: `seed=0` is a number, `runtime=pytorch` a string.
    pairs = (item.split("=", 1) for item in arguments[2:])
    try:
        keep_caches_inside()
        if arguments[0] == "--graph":
            run_graph(arguments[1], arguments[2:])
        share_lock()
        # Papermill and its kernel client warn about things that a user cannot change.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            execute(arguments[0], arguments[1], {key: parse_yaml(value) for key, value in pairs})
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {system_error(error)}", file=sys.stderr)
        return EdgeZSADError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
