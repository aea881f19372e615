"""The tables of what boards would be given: what is written is measured, what is not says why."""

import sys
from pathlib import Path

import pytest

from edgezsad.errors import RuntimeUnavailable
from edgezsad.export import boards
from edgezsad.export.boards import dlc_table, largest, status_table
from edgezsad.export.dlc import WRITER


def test_dlcs_are_written_and_measured(exported: Path, tmp_path: Path) -> None:
    try:
        WRITER.start()
    except RuntimeUnavailable as reason:
        pytest.skip(str(reason))
    table = dlc_table({"fp32": exported}, tmp_path, ("fp32",))
    assert list(table["constants"]) == ["as in the graph", "expanded"] and set(table["status"]) == {"written"}
    assert table["megabytes"][0] == (tmp_path / "detector.dlc").stat().st_size / 1e6
    assert list(table["partitions"]) == [1, 1]
    # The expanded one is measured and not kept.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detector.dlc", "detector.json"]
    assert largest(table, "megabytes", constants="expanded") == table["megabytes"][1]
    assert largest(table, "partitions") == 1
    assert largest(table, "megabytes", graph="fp16") is None


def test_what_cannot_be_written_says_why(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise RuntimeUnavailable("onnxruntime-qnn is not installed")

    monkeypatch.setattr(boards, "write_dlc", absent)
    table = dlc_table({"fp32": exported, "fp16": exported}, tmp_path)
    assert list(table["status"]) == ["not run: onnxruntime-qnn is not installed"] * 2
    # One graph that was not run leaves no number for both.
    table.loc[0, ["partitions", "megabytes"]] = 1
    assert largest(table, "partitions") is None and largest(table, "megabytes", graph="fp32") == 1


def test_boards_need_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    table = status_table().set_index("way")
    assert all(status.startswith("needs a device") for status in table["status"])
    assert "paper-fp32.onnx" in table.loc["TensorRT 10.3, build", "command"]
    assert "--fp16" in table.loc["TensorRT 10.3, build", "command"]
    assert "paper-fp16.onnx" in table.loc["TensorRT 11.0, build", "command"]
    assert "--fp16" not in table.loc["TensorRT 11.0, build", "command"]
    assert "--backend libQnnGpu.so" in table.loc["QNN GPU, run", "command"]
