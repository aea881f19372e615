"""Run one notebook by papermill as a step of the graph: `python -m edgezsad.execute NOTEBOOK OUTPUT key=value ...`.

While it runs, the executed copy grows at OUTPUT's name in a folder `running` beside it; it moves to OUTPUT only when
every cell has passed, so a failed notebook leaves its copy to look at and never a result. Into the metadata goes what
it was made with: versions, machine, data (`edgezsad.provenance`).
"""

import ast
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

import yaml

from edgezsad.errors import CheckError, EdgeZSADError, InputError
from edgezsad.files import write_text
from edgezsad.provenance import KEY, provenance


def execute(notebook: Path | str, output: Path | str, parameters: dict[str, object]) -> Path:
    """Execute a notebook with parameters; its standard error is passed on live.

    Returns:
        `output`, the executed copy.

    Raises:
        CheckError: a cell failed or the kernel died; the message carries the cell's error and where the executed copy
            is kept.
        InputError: there is no such notebook, it is damaged, or it has no such parameter.
    """
    # Heavy, and not needed to print a usage line.
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
        # Whatever the damaged file led to: nbformat and papermill have no common error for it.
        raise InputError(f"{notebook}: not a notebook ({_one_line(error)}); restore it") from None
    for name in parameters:
        if name not in known:
            raise InputError(f"{notebook}: has no parameter {name!r}; it takes {sorted(known)}")
    # Progress bars look for notebook widgets that nothing here uses; the kernel inherits this.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress")
    running = output.parent / "running" / output.name
    running.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Unix sockets in a folder of our own instead of TCP: nobody else on the machine can listen in, kernels that run
        # side by side do not meet, and the kernel has nothing to warn about.
        with tempfile.TemporaryDirectory(prefix="edgezsad-") as sockets:
            papermill.execute_notebook(
                str(notebook),
                str(running),
                parameters=parameters,
                kernel_name="python3",
                progress_bar=False,
                stderr_file=sys.stderr,
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
            )
    except PapermillExecutionError as error:
        exit_code = 2 if error.ename == "InputError" else 1
        failure = CheckError(f"{notebook}: {error.ename}: {_one_line(error.evalue)} (executed copy kept at {running})")
        failure.exit_code = exit_code
        raise failure from None
    except DeadKernelError as error:
        # Most often the memory was full; the copy says how far it came.
        raise CheckError(
            f"{notebook}: the kernel died ({_one_line(error)}; out of memory?) (executed copy kept at {running})"
        ) from None
    defaults = {name: _literal(found["default"]) for name, found in known.items()}
    content = json.loads(running.read_text(encoding="utf-8"))
    content["metadata"][KEY] = provenance(defaults | parameters)
    write_text(running, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    running.replace(output)
    return output


def _literal(text: str) -> object:
    """A default value as the notebook writes it; None where it is computed."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code."""
    if len(arguments) < 2 or any("=" not in item for item in arguments[2:]):
        print("usage: python -m edgezsad.execute NOTEBOOK OUTPUT [key=value ...]", file=sys.stderr)
        return 2
    # Values are YAML scalars, so that `seed=0` is a number and `runtime=pytorch` a string.
    pairs = (item.split("=", 1) for item in arguments[2:])
    try:
        # Papermill and its kernel client warn about things a user cannot change.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            execute(arguments[0], arguments[1], {key: yaml.safe_load(value) for key, value in pairs})
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
