"""`edgezsad export`: what it prints, and its exit codes."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgezsad.cli import app
from edgezsad.errors import EdgeZSADError, RuntimeUnavailable
from edgezsad.export import tensorrt_engine
from edgezsad.export.dlc import WRITER


def test_dlc(exported: Path, tmp_path: Path) -> None:
    try:
        WRITER.start()
    except RuntimeUnavailable as reason:
        pytest.skip(str(reason))
    result = CliRunner().invoke(app, ["export", "dlc", str(exported), str(tmp_path / "d.dlc")])
    assert result.exit_code == 0, result.output
    assert "fp32, 1 partition of" in result.output and "nothing against it" in result.output


def test_tensorrt_without_a_device(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(tensorrt_engine.shutil, "which", lambda name, path=None: None)
    result = CliRunner().invoke(app, ["export", "tensorrt", str(exported), str(tmp_path / "e.plan")])
    assert isinstance(result.exception, EdgeZSADError) and "needs a device" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_lint_names_every_backend(exported: Path) -> None:
    result = CliRunner().invoke(app, ["lint", str(exported)])
    assert result.exit_code == 0, result.output
    for title in ("TensorRT 10.x", "QNN GPU (Adreno)", "QNN HTP (Hexagon)"):
        assert f"{title}, findings: none [" in result.output
