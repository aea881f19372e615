"""Which source files a notebook runs, and when its code counts as changed."""

import json
from pathlib import Path

import pytest

from edgezsad.dependencies import code_version, notebook_library

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "edgezsad"
    for folder in ("deep", "show"):
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "deep" / "one.py").write_text("def f():\n    from edgezsad import two\n")
    (package / "two.py").write_text('"""Two."""\nimport json\nimport edgezsad.three\n')
    (package / "three.py").write_text("from edgezsad.deep import one\nfrom edgezsad.show import tables\n")
    (package / "show" / "tables.py").write_text("HEADER = 'image AUROC'\n")
    (package / "unused.py").write_text("")
    cells = [
        {"cell_type": "markdown", "source": ["import edgezsad.unused"]},
        {"cell_type": "code", "source": ["from edgezsad.deep.one import f\n", "f()"]},
    ]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}))
    monkeypatch.chdir(tmp_path)
    return package


def test_imports_for_type_hints_do_not_count(project: Path) -> None:
    before = notebook_library("n.ipynb")
    with (project / "two.py").open("a") as stream:
        stream.write("if TYPE_CHECKING:\n    from edgezsad import unused\n")
    assert notebook_library("n.ipynb") == before


def test_imports_of_imports_are_listed_and_nothing_else(project: Path) -> None:
    found = [path.removeprefix("edgezsad/") for path in notebook_library("n.ipynb")]
    assert found == [
        "__init__.py",
        "deep/__init__.py",
        "deep/one.py",
        "show/__init__.py",
        "show/tables.py",
        "three.py",
        "two.py",
    ]


def test_docstrings_and_comments_do_not_change_the_code(project: Path) -> None:
    before = code_version("n.ipynb")
    (project / "two.py").write_text('"""Another text."""\nimport json  # a comment\nimport edgezsad.three\n')
    (project / "unused.py").write_text("x = 1\n")
    assert code_version("n.ipynb") == before
    (project / "two.py").write_text("import json\nimport edgezsad.three\nx = 1\n")
    assert code_version("n.ipynb") != before


def test_ignored_code_does_not_count(project: Path) -> None:
    before = [code_version("n.ipynb"), code_version("n.ipynb", ("edgezsad/show",))]
    (project / "show" / "tables.py").write_text("HEADER = 'AUROC of images'\n")
    after = [code_version("n.ipynb"), code_version("n.ipynb", ("edgezsad/show",))]
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_tables_do_not_depend_on_how_scores_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    found = notebook_library("notebooks/06_benchmarks.ipynb")
    assert not [path for path in found if path.startswith(("edgezsad/training", "synthetic"))]
    assert not [path for path in notebook_library("notebooks/03_training.ipynb") if path.startswith("synthetic")]
