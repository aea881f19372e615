"""Which source files a notebook runs: direct imports, imports of imports, and nothing else."""

import json
from pathlib import Path

from edgezsad.dependencies import notebook_library

REPOSITORY = Path(__file__).resolve().parent.parent


def test_imports_are_followed_and_nothing_else_is_listed(tmp_path: Path) -> None:
    package = tmp_path / "thing"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "__init__.py").write_text("")
    (package / "deep" / "one.py").write_text("def f():\n    from thing import two\n")
    (package / "two.py").write_text("import json\nimport thing.three\n")
    (package / "three.py").write_text("from thing.deep import one\n")
    (package / "unused.py").write_text("")
    cells = [
        {"cell_type": "markdown", "source": ["import thing.unused"]},
        {"cell_type": "code", "source": ["from thing.deep.one import f\n", "f()"]},
    ]
    notebook = tmp_path / "n.ipynb"
    notebook.write_text(json.dumps({"cells": cells}))
    found = [Path(path).relative_to(package).as_posix() for path in notebook_library(notebook, [package])]
    assert found == ["__init__.py", "deep/__init__.py", "deep/one.py", "three.py", "two.py"]


def test_the_notebooks_own_sources() -> None:
    found = {
        name: notebook_library(
            REPOSITORY / "notebooks" / f"{name}.ipynb", [REPOSITORY / "edgezsad", REPOSITORY / "synthetic"]
        )
        for name in ("01_data", "03_training", "06_benchmarks")
    }
    parts = {name: {Path(path).relative_to(REPOSITORY).as_posix() for path in paths} for name, paths in found.items()}
    assert "synthetic/defects.py" in parts["01_data"]
    assert "edgezsad/model/readout.py" in parts["03_training"]
    # A change of the generator must not train again.
    assert not {path for path in parts["03_training"] if path.startswith("synthetic")}
    # A table is made from score files: it does not depend on how they came about.
    assert not {path for path in parts["06_benchmarks"] if path.startswith(("edgezsad/model", "edgezsad/training"))}
