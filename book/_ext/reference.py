"""Generate the reference: one page per package from its docstrings, and the command line from `--help`."""

import pkgutil
from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

import edgezsad
from edgezsad.cli import app
from edgezsad.files import write_text


def write_reference(folder: Path) -> None:
    """Write `reference-cli.md`, `reference-root.md` and `reference-PACKAGE.md` for each package into a folder."""
    modules = sorted(item.name for item in pkgutil.walk_packages(edgezsad.__path__, "edgezsad."))
    packages: dict[str, list[str]] = {}
    for name in modules:
        parts = name.split(".")
        is_package = any(other.startswith(name + ".") for other in modules)
        packages.setdefault(parts[1] if len(parts) > 2 or is_package else "root", []).append(name)
    for package, names in packages.items():
        title = "edgezsad" if package == "root" else f"edgezsad.{package}"
        blocks = [f"# `{title}`\n"]
        for name in names:
            heading = "" if name == title else f"## `{name.removeprefix(title + '.')}`\n\n"
            blocks.append(f"{heading}```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n")
        write_text(folder / f"reference-{package}.md", "\n".join(blocks))
    text = "# Command line\n\n" + "\n".join(_help(typer.main.get_command(app), []))
    write_text(folder / "reference-cli.md", text)


def _help(command: Any, path: list[str]) -> list[str]:
    """Return the help text of a command, or of each of a group's commands, as Markdown sections."""
    if inner := getattr(command, "commands", None):
        return [section for name, item in inner.items() for section in _help(item, [*path, name])]
    shown = CliRunner().invoke(app, [*path, "--help"], prog_name="edgezsad", env={"COLUMNS": "100", "TERM": "dumb"})
    return [f"## `edgezsad {' '.join(path)}`\n\n```text\n{shown.stdout.strip()}\n```\n"]
