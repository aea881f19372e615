"""The API reference names every module of the library once, on its subpackage's page, and nothing that is not there."""

import ast
import re
from pathlib import Path

import pytest

from edgezsad.book.docstrings import one_name_each

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("model", "training", "data", "metrics", "scoring", "export", "devices", "claims", "book")
# Drawing is the book's own; what runs on a board is not imported here.
LEFT_OUT = re.compile(r"edgezsad\.plots\b|edgezsad\.devices\.kit\.board\.|.*\.__main__$")


def modules(folder: Path) -> set[str]:
    """Dotted names of a folder's modules, itself and its subpackages included."""
    names = set()
    for path in folder.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return {name for name in names if not LEFT_OUT.match(name)}


def listed(page: str) -> list[str]:
    text = (ROOT / "book" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"^\.\. automodule:: (\S+)$", text, re.MULTILINE)


def test_attributes_that_share_a_line_get_one_each() -> None:
    lines = [
        "One image.",
        "",
        ":ivar id: its path",
        "         below the root.",
        ":ivar x, y, z_1: its place,",
        "    in pixels.",
        "",
    ]
    assert one_name_each(lines) == [
        *lines[:4],
        *(line for name in ("x", "y", "z_1") for line in (f":ivar {name}: its place,", "    in pixels.")),
        "",
    ]


@pytest.mark.parametrize("part", PARTS)
def test_a_page_lists_its_subpackage(part: str) -> None:
    names = listed(f"reference-{part}")
    assert len(set(names)) == len(names)
    assert set(names) == modules(ROOT / "edgezsad" / part) - {f"edgezsad.{part}"}


def test_the_frame_lists_the_rest() -> None:
    names = listed("reference-frame")
    elsewhere = tuple(f"edgezsad.{part}." for part in PARTS)
    rest = {name for name in modules(ROOT / "edgezsad") if not f"{name}.".startswith(elsewhere)}
    assert len(set(names)) == len(names)
    assert set(names) == rest - {"edgezsad"}


def test_the_overview_names_every_page() -> None:
    text = (ROOT / "book" / "reference.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((reference-\w+)\.md\)", text)) == {f"reference-{part}" for part in (*PARTS, "frame")}


@pytest.mark.parametrize("part", (*PARTS, "frame"))
def test_what_is_listed_says_what_it_is_for(part: str) -> None:
    """Headings are the modules' names, and every module has a docstring."""
    text = (ROOT / "book" / f"reference-{part}.md").read_text(encoding="utf-8")
    prefix = "edgezsad" if part == "frame" else f"edgezsad.{part}"
    for name in listed(f"reference-{part}"):
        assert f"## {name.removeprefix(prefix + '.')}\n" in text
        path = ROOT.joinpath(*name.split("."))
        source = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        assert ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))), name
