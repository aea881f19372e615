"""Dependencies are declared and pinned, and the light installation works on its own."""

import ast
import csv
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from PIL import Image

import edgezsad

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKED = ("train", "book", "qnn", "dev")
PLATFORMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))
ENVIRONMENTS = [
    {
        "sys_platform": system,
        "platform_system": name,
        "platform_machine": machine,
        "os_name": "posix",
        "python_version": python,
        "python_full_version": f"{python}.9",
        "implementation_name": "cpython",
    }
    for system, name, machine in PLATFORMS
    for python in ("3.11", "3.12", "3.13")
]
IMPORT_NAMES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "scikit-image": "skimage",
    "tensorboardx": "tensorboardX",
    "ipython": "IPython",
    "protobuf": "google",
    "axe-playwright-python": "axe_playwright_python",
}
# Modules of the light installation: at their top they import light packages only.
LIGHT = (
    "errors", "files", "config", "run", "data.images", "data.layouts", "data.manifest",
    "scoring.score_file", "scoring.onnx_scorer", "metrics.image_metrics", "metrics.pixel_metrics",
    "metrics.benchmark_tables", "show.maps", "predict", "evaluate", "cli",
)  # fmt: skip


def declared(requirements: list[str]) -> set[str]:
    names = {Requirement(text).name for text in requirements}
    return {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}


def imports_of(path: Path, everywhere: bool = True) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree)) if everywhere else list(tree.body)
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"edgezsad", "synthetic", ""}


def test_every_imported_package_is_declared() -> None:
    known = declared([*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)])
    for folder in ("edgezsad", "synthetic"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            assert imports_of(path) <= known, path


def test_light_modules_import_only_light_packages() -> None:
    known = declared(PROJECT["dependencies"])
    for name in LIGHT:
        path = ROOT / "edgezsad" / f"{name.replace('.', '/')}.py"
        assert imports_of(path, everywhere=False) <= known, name


class Pin:
    """One entry of the lock file."""

    def __init__(self, text: str):
        first, *self.hashes = (line.strip().removesuffix("\\").strip() for line in text.splitlines())
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+)(?: ; (.+))?", first)
        assert match, f"not a pin: {first}"
        self.name, self.version = canonicalize_name(match[1]), Version(match[2])
        self.marker = Marker(match[3]) if match[3] else None


def pins() -> list[Pin]:
    return [Pin(entry) for entry in re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())]


def test_every_pin_has_hashes() -> None:
    for pin in pins():
        assert pin.hashes, pin.name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", text) for text in pin.hashes), pin.name


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda e: f"{e['platform_machine']}-{e['python_version']}")
def test_the_lock_satisfies_pyproject(environment: dict[str, str]) -> None:
    chosen = [pin for pin in pins() if pin.marker is None or pin.marker.evaluate(environment)]
    for text in (*PROJECT["dependencies"], *(text for name in LOCKED for text in EXTRAS[name])):
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        found = [pin for pin in chosen if pin.name == canonicalize_name(requirement.name)]
        assert len(found) == 1, f"{text}: {len(found)} pins"
        assert requirement.specifier.contains(found[0].version, prereleases=True), f"{text}: {found[0].version}"


def light_packages() -> set[str]:
    """Return the requirements of the light installation and all that they require."""
    found: set[str] = set()
    waiting = list(PROJECT["dependencies"])
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(requirement.name)
        if name not in found:
            found.add(name)
            waiting += importlib.metadata.requires(name) or []
    return found


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the built wheel and the light packages only; returns its Python.

    The packages are links to the installed ones, so that nothing is downloaded. Sockets are disabled.
    """
    folder = tmp_path_factory.mktemp("light")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-python-version-warning"]
    source = folder / "source"
    for name in ("edgezsad", "synthetic", "data_manifests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy2(ROOT / name, source)
    # Without PYTHONPATH pip does not take the checkout for an installed package.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    build = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([*pip, *build], check=True, env=environment)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *install], check=True, env=environment)
    (site,) = (folder / "venv").glob("lib/*/site-packages")
    for name in light_packages():
        distribution = importlib.metadata.distribution(name)
        for top in {Path(file).parts[0] for file in distribution.files or [] if ".." not in Path(file).parts}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    (site / "sitecustomize.py").write_text("import socket\nsocket.socket.connect = None\n")
    return python


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "", "HOME": str(folder)}
    command = [str(python), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_wheel_scores_and_evaluates_without_extras(light: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for name in ("test/good/0.png", "test/good/1.png", "test/cut/0.png", "ground_truth/cut/0_mask.png"):
        path = tmp_path / "part" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(255 * (values[:, :, 0] > 128).astype(np.uint8) if "mask" in name else values).save(path)
    heavy = ["torch", "onnx", "pandas", "scipy", "sklearn", "matplotlib", "numba"]
    code = f"import importlib.util as u, edgezsad; print([n for n in {heavy} if u.find_spec(n)], edgezsad.__file__)"
    done = run(light, tmp_path, "-c", code)
    assert done.stdout.startswith("[] ") and str(ROOT) not in done.stdout, done.stdout + done.stderr
    command = [str(light.with_name("edgezsad"))]
    done = run(light, tmp_path, *command, "predict", "part", "--json", "--heatmaps", "maps")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 3
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 3
    done = run(light, tmp_path, *command, "evaluate", "part", "--csv", "t.csv", "--scores", "s.csv")
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "t.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["images"] for row in rows] == ["3", "3"]
    assert 0 <= float(rows[0]["pixel_aupro"]) <= 100


@pytest.mark.slow
def test_a_command_names_the_extra_that_it_needs(light: Path, tmp_path: Path) -> None:
    (tmp_path / "mini.yaml").write_text((ROOT / "configs" / "mini.yaml").read_text())
    for arguments in (["train", "--config", "mini.yaml"], ["lint", "x.onnx"]):
        done = run(light, tmp_path, str(light.with_name("edgezsad")), *arguments)
        assert done.returncode == 2
        expected = f"error: edgezsad {arguments[0]} needs the extra [train]: pip install 'edgezsad[train]'"
        assert done.stderr.splitlines()[-1] == expected, done.stderr


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import edgezsad; print(sorted(set(sys.modules) - before))"
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == ["edgezsad"]
    for name in edgezsad.__all__:
        assert getattr(edgezsad, name).__name__ == name
