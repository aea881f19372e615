"""Which source files of this package a notebook runs, so that the graph runs it again when one of them changes."""

import ast
import json
from pathlib import Path


def notebook_library(notebook: Path | str, package: Path | str = "edgezsad") -> list[str]:
    """Source files that a notebook imports, directly or through other files of the package.

    Args:
        notebook: an .ipynb file with plain imports.
        package: the package's folder.

    Returns:
        paths, sorted; the same for the same sources.
    """
    package = Path(package)
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    found: set[Path] = set()
    waiting = _imported(ast.parse(text), package)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting |= _imported(ast.parse(path.read_text(encoding="utf-8")), package)
    return sorted(path.as_posix() for path in found)


def _imported(tree: ast.AST, package: Path) -> set[Path]:
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
        if head == package.name:
            # Importing a module runs the __init__ of every package above it.
            places = [package.joinpath(*rest[:count]) for count in range(len(rest) + 1)]
            paths |= {file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")}
    return {path for path in paths if path.is_file()}
