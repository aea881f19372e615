"""What all tests share: no network, no deadlines, and small hand-made profiles and score files."""

import os

# Before anything imports the libraries that read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
# Workers share the cores; more threads in each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.util
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from edgezsad import cli
from edgezsad.config import Profile
from edgezsad.execute import keep_caches_inside
from edgezsad.files import write_json
from edgezsad.scoring.score_file import RunRecord, ScoreFile

# Matplotlib, Jupyter and the browser write there, not to the home folder.
keep_caches_inside()
# Tests of these fixtures, which take more than two seconds to make, are slow.
SLOW_FIXTURES = {"browser", "exported", "feature_cache", "full", "returned"}
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"

# A loaded machine must not make a test fail.
settings.register_profile("edgezsad", deadline=None, max_examples=50)
settings.load_profile("edgezsad")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of slow fixtures; start the longest files first, or a worker may begin one last."""
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    first = ("test_end_to_end.py", "test_cluster.py")
    items.sort(key=lambda item: first.index(item.path.name) if item.path.name in first else len(first))


@pytest.fixture(scope="session")
def profile_values() -> Callable[..., dict[str, Any]]:
    """A smallest profile as it would be read from YAML; keyword arguments replace whole top-level keys."""

    def make(run: Path | str = "runs/test", **replaced: Any) -> dict[str, Any]:
        values = {
            "profile": "mini",
            "title": "a test",
            "run": str(run),
            "seeds": [0, 1],
            "data": {
                "root": "somewhere",
                "source": [{"name": "source", "layout": "mvtec", "root": "source"}],
                "targets": [
                    {"name": "bolts", "layout": "mvtec", "root": "bolts", "stands_for": "MVTec-AD"},
                    {"name": "nuts", "layout": "visa", "root": "nuts", "stands_for": "VisA"},
                ],
            },
            "model": {"backbone": "tf_efficientnet_lite0", "weights": "random", "size": 64, "strides": [8, 16]},
        }
        return values | replaced

    return make


@pytest.fixture(scope="session")
def make_profile(profile_values: Callable[..., dict[str, Any]]) -> Callable[..., Profile]:
    def make(run: Path | str = "runs/test", **replaced: Any) -> Profile:
        return Profile.model_validate(profile_values(run, **replaced))

    return make


@pytest.fixture(scope="session")
def make_scores() -> Callable[..., ScoreFile]:
    """A score file with given scores and labels; keyword arguments replace arrays or fields of the record."""

    def make(score: Any, label: Any, **replaced: Any) -> ScoreFile:
        score = np.asarray(score, dtype=np.float32)
        count = len(score)
        arrays = {
            "image_id": np.array([f"{row:03d}.png" for row in range(count)]),
            "category": np.array(["bolt"] * count),
            "map": np.random.default_rng(0).normal(size=(count, 4, 4)).astype(np.float32),
            "milliseconds": np.full(count, 1.5, dtype=np.float32),
        }
        arrays = {name: np.asarray(replaced.pop(name, value)) for name, value in arrays.items()}
        record = {"profile": "mini", "target": "bolts", "seed": 0, "device": "CPU", "command": "none"}
        record |= {"runtime": "pytorch", "precision": "fp32", "versions": {"python": "3"}}
        record |= {"model_sha256": "a" * 64, "manifest_sha256": "b" * 64}
        label = np.asarray(label, dtype=np.int8)
        return ScoreFile(label=label, score=score, record=RunRecord(**(record | replaced)), **arrays)

    return make


@pytest.fixture
def notebook(tmp_path: Path) -> Callable[..., Path]:
    """Write a notebook of code cells, the first of which holds the parameters."""

    def write(*cells: str) -> Path:
        found = [
            {"cell_type": "code", "id": f"c{number}", "source": source, "execution_count": None, "outputs": []}
            | {"metadata": {"tags": [] if number else ["parameters"]}}
            for number, source in enumerate(cells)
        ]
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        whole = {"cells": found, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        return write_json(tmp_path / "source.ipynb", whole)

    return write


class Bomb:
    """Unpickling it creates the file `mark`."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def bomb(tmp_path: Path) -> Bomb:
    return Bomb(tmp_path / "executed")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `edgezsad ARGUMENTS` in this process; returns its exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgezsad", *map(str, arguments)])
        # The command's handlers would replace those of the test run.
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Load a benchmark, a script outside of packages, with the modules next to it."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up.
        sys.modules[spec.name] = module
        sys.path.insert(0, str(BENCHMARKS))
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(BENCHMARKS))
        return module

    return load
