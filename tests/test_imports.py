"""Imports point one way: each package imports only packages before it in `ORDER`."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    "errors", "files", "config", "run", "data", "source", "model", "scoring", "metrics",
    "export", "training", "devices", "claims", "show", "references",
    "predict", "report_html", "results", "evaluate", "verify", "execute", "cli",
)  # fmt: skip
FREE = {"__init__"}


def imported(path: Path) -> set[str]:
    """Return the parts of the package that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        names |= {module.split(".")[1] for module in modules if module.startswith("edgezsad.")}
    return names


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "edgezsad").with_suffix("").parts[0]


def test_nothing_imports_upward() -> None:
    upward = set()
    for path in sorted((ROOT / "edgezsad").rglob("*.py")):
        part = part_of(path)
        if part in FREE:
            continue
        assert part in ORDER, f"{path}: add {part} to ORDER"
        for name in imported(path) - FREE:
            if name in ORDER and ORDER.index(name) > ORDER.index(part):
                upward.add((path.relative_to(ROOT / "edgezsad").as_posix(), name))
    assert not upward


def test_the_image_generator_is_used_to_prepare_data_alone() -> None:
    """Rules after `data` ignore changes of `synthetic`: they may not compute anything with it."""
    users = [path.name for path in (ROOT / "edgezsad").rglob("*.py") if "from synthetic" in path.read_text("utf-8")]
    assert users == ["derive.py"]
