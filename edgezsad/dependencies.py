"""What a notebook depends on and what it writes, read from its source; the Snakefile and the book's footers use it."""

import ast
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from edgezsad.errors import InputError

PACKAGES = ("edgezsad", "synthetic", "benchmarks")


def notebook_library(notebook: Path | str, packages: Iterable[str] = PACKAGES) -> list[str]:
    """Return the source files that a notebook imports, directly or through other files of these packages, sorted."""
    found: set[Path] = set()
    waiting = _imports(_code(notebook), packages)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting |= _imports(ast.parse(path.read_text(encoding="utf-8")), packages)
    return sorted(path.as_posix() for path in found)


def code_version(notebook: Path | str, ignore: tuple[str, ...] = ()) -> str:
    """Return a hash of the code behind a notebook: its library without comments and docstrings.

    Args:
        notebook: an .ipynb file with plain imports.
        ignore: path prefixes that do not count, such as "edgezsad/show" for a notebook whose results are expensive.
    """
    digest = hashlib.sha256()
    for path in notebook_library(notebook):
        if not path.startswith(ignore):
            tree = ast.parse(Path(path).read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if (
                    isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                    and ast.get_docstring(node) is not None
                ):
                    node.body = node.body[1:]
            digest.update(f"{path}\n{ast.dump(tree)}\n".encode())
    return digest.hexdigest()[:16]


def results_of(notebook: Path | str) -> list[str]:
    """Return the names of the results files that a notebook writes with `run.write_result`, in order."""
    calls = [node for node in ast.walk(_code(notebook)) if isinstance(node, ast.Call)]
    calls = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "write_result"]
    return [call.args[0].value for call in calls if call.args and isinstance(call.args[0], ast.Constant)]


def maker_of_result(name: str, notebooks: Path | str = "notebooks") -> str:
    """Return the name of the notebook that writes a results file.

    Raises:
        InputError: no notebook writes it.
    """
    for notebook in sorted(Path(notebooks).glob("*.ipynb")):
        if name in results_of(notebook):
            return notebook.stem
    raise InputError(f"results/{name}.json: no notebook in {notebooks} writes it; fix the name")


def _code(notebook: Path | str) -> ast.Module:
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    return ast.parse("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))


def _imports(tree: ast.AST, packages: Iterable[str]) -> set[Path]:
    names: set[str] = set()
    for node in ast.walk(tree):
        # Imports for type hints alone do not run.
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # An imported name may itself be a module.
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    paths: set[Path] = set()
    for name in names:
        parts = name.split(".")
        if parts[0] in packages:
            # Importing a module also runs the __init__ of every package above it.
            for count in range(1, len(parts) + 1):
                path = Path(*parts[:count])
                paths |= {path.with_suffix(".py"), path / "__init__.py"}
    return {path for path in paths if path.is_file()}
