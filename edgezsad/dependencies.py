"""What a notebook depends on and what it makes, read from its source.

The graph runs a notebook again when a source file of this package changes that it runs; the book offers the results
files that it writes.
"""

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgezsad.errors import InputError


def notebook_library(notebook: Path | str, packages: Sequence[Path | str] = ("edgezsad", "synthetic")) -> list[str]:
    """Source files that a notebook imports, directly or through other files of the packages.

    Args:
        notebook: an .ipynb file with plain imports.
        packages: folders of top-level packages.

    Returns:
        paths, sorted; the same for the same sources.
    """
    folders = {Path(package).name: Path(package) for package in packages}
    found: set[Path] = set()
    waiting = _imported(_code(notebook), folders)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting |= _imported(ast.parse(path.read_text(encoding="utf-8")), folders)
    return sorted(path.as_posix() for path in found)


def results_of(notebook: Path | str) -> list[str]:
    """Names of the results files that a notebook writes by `run.write_result`, in its order."""
    calls = [node for node in ast.walk(_code(notebook)) if isinstance(node, ast.Call)]
    calls = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "write_result"]
    return [call.args[0].value for call in calls if call.args and isinstance(call.args[0], ast.Constant)]


def maker_of_result(name: str, notebooks: Path | str = "notebooks") -> str:
    """Name of the notebook that writes a results file.

    Raises:
        InputError: none does.
    """
    for notebook in sorted(Path(notebooks).glob("*.ipynb")):
        if name in results_of(notebook):
            return notebook.stem
    raise InputError(f"results/{name}.json: no notebook in {notebooks} writes it; mend the name")


def _code(notebook: Path | str) -> ast.Module:
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    return ast.parse("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))


def _imported(tree: ast.AST, folders: Mapping[str, Path]) -> set[Path]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # What is imported from a package may itself be a module of it.
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    paths = set()
    for name in names:
        head, *rest = name.split(".")
        if package := folders.get(head):
            # Importing a module runs the __init__ of every package above it.
            places = [package.joinpath(*rest[:count]) for count in range(len(rest) + 1)]
            paths |= {file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")}
    return {path for path in paths if path.is_file()}
