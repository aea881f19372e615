"""A notebook is a result only when every cell has passed; which source files it runs, and when they have changed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import edgezsad
from edgezsad.config import Profile, save_profile
from edgezsad.data.manifest import Manifest, write_manifest
from edgezsad.errors import InputError
from edgezsad.execute import code_version, execute, main, notebook_library, run_graph
from edgezsad.files import start_records
from edgezsad.run import Run

Write = Callable[..., Path]


@pytest.mark.parametrize(("data", "said"), [("", "DATA=FOLDER"), ("my photos", "my photos/source: no such folder")])
def test_a_graph_without_its_data_is_not_started(data: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEZSAD_DATA", data)
    with pytest.raises(InputError, match=said):
        run_graph(Path(__file__).parents[1] / "configs" / "folder.yaml")


@pytest.mark.slow
def test_parameters_arrive_with_their_types(notebook: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = notebook(
        'seed: int = 0\nruntime: str = "x"\nwhere = ""',
        "import sys\nprint('a line of progress', file=sys.stderr)",
        "from pathlib import Path\nPath(where).write_text(repr((seed, runtime)))",
    )
    output = tmp_path / "out" / "good.ipynb"
    seen = tmp_path / "seen.txt"
    assert main([str(source), str(output), "seed=3", "runtime=onnx-fp32", f"where={seen}"]) == 0
    assert seen.read_text() == "(3, 'onnx-fp32')"
    content = json.loads(output.read_text())
    assert content["nbformat"] == 4
    assert content["metadata"]["edgezsad"]["versions"]["edgezsad"] == edgezsad.__version__
    assert content["metadata"]["edgezsad"]["hardware"]["processor"]
    assert not list((tmp_path / "out" / "running").iterdir())
    # Progress is passed on as it comes.
    assert "a line of progress" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raised", "exit_code", "words"),
    [
        ('ValueError("first line\\nsecond line")', 1, "ValueError: first line second line"),
        ('__import__("edgezsad.errors").errors.InputError("x.png: damaged")', 2, "InputError: x.png: damaged"),
    ],
    ids=["any error", "wrong input"],
)
def test_a_notebook_that_fails_leaves_no_result(
    notebook: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str], raised: str, exit_code: int, words: str
) -> None:
    source = notebook("seed = 0", "print('it got here')", f"raise {raised}", "print('never')")
    output = tmp_path / "out" / "bad.ipynb"
    assert main([str(source), str(output), "seed=1"]) == exit_code
    assert not output.exists()
    kept = tmp_path / "out" / "running" / "bad.ipynb"
    assert "it got here" in kept.read_text()
    assert json.loads(kept.read_text())["cells"][-1]["outputs"] == []
    error = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert error == [f"error: {source}: {words} (executed copy kept at {kept})"]


@pytest.mark.slow
def test_a_kernel_that_dies_is_a_failure_in_one_line(
    notebook: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = notebook("seed = 0", "import os\nos._exit(9)")
    output = tmp_path / "out" / "dead.ipynb"
    assert main([str(source), str(output)]) == 1
    assert not output.exists()
    (error,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert error.startswith(f"error: {source}: the kernel died")


def test_unknown_parameter(notebook: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = notebook("seed = 0\nruntime = 'x'")
    assert main([str(source), str(tmp_path / "out.ipynb"), "sed=1"]) == 2
    line = f"error: {source}: unknown parameter 'sed'; expected one of ['runtime', 'seed']\n"
    assert capsys.readouterr().err == line
    assert main([str(source), str(tmp_path / "out.ipynb"), "seed=abc"]) == 2
    assert capsys.readouterr().err == f"error: {source}: seed=abc: expected int\n"
    assert [item.name for item in tmp_path.iterdir()] == ["source.ipynb"]


def test_missing_and_damaged_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.ipynb"
    assert main([str(path), str(tmp_path / "out.ipynb")]) == 2
    assert capsys.readouterr().err == f"error: {path}: no such notebook; see notebooks/\n"
    path.write_text("{")
    with pytest.raises(InputError, match=r"none\.ipynb: invalid notebook"):
        execute(path, tmp_path / "out.ipynb", {})


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


def test_imports_of_imports_are_listed_and_nothing_else(project: Path) -> None:
    found = [path.removeprefix("edgezsad/") for path in notebook_library("n.ipynb")]
    packages = {"__init__.py", "deep/__init__.py", "show/__init__.py"}
    assert set(found) == packages | {"deep/one.py", "show/tables.py", "three.py", "two.py"}
    with (project / "two.py").open("a") as stream:
        stream.write("if TYPE_CHECKING:\n    from edgezsad import unused\n")
    assert [path.removeprefix("edgezsad/") for path in notebook_library("n.ipynb")] == found


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


@pytest.mark.slow
def test_the_record_names_the_hashes_of_the_manifests(
    notebook: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_profile: Callable[..., Profile]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run(make_profile("runs/test"))
    start_records(run.folder)
    config = save_profile(run.profile, run.folder / "config.yaml").as_posix()
    for item in (*run.profile.data.source, *run.profile.data.targets):
        write_manifest(Manifest(item.name, Path(), ()), run.manifest_path(item.name))
    # A notebook that reads a file of the run, as all do.
    source = notebook('config = ""', f"from edgezsad.files import verified\nverified({config!r})")
    done = execute(source, run.folder / "notebooks" / "n.ipynb", {"config": config})
    record = json.loads(done.read_text())["metadata"]["edgezsad"]
    assert set(record["data"]) == {"source", "bolts", "nuts"}
