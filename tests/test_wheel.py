"""The wheel with the light installation scores and evaluates, and names the extra that a command needs."""

import ast
import csv
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import edgezsad

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


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
    assert "left out: 1 mask" in done.stderr.splitlines()
    assert len(json.loads(done.stdout)) == len(list((tmp_path / "maps").rglob("*.png"))) == 3
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
