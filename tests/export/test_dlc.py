"""A DLC holds the whole graph or there is none; its record names its graph."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgezsad.errors import CheckError, InputError, RuntimeUnavailable
from edgezsad.export.dlc import WRITER, read_dlc, write_dlc
from edgezsad.export.fp16 import to_fp16


@pytest.fixture(scope="module")
def writer() -> str:
    try:
        return WRITER.start()
    except RuntimeUnavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def written(writer: str, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dlc") / "new" / "detector.dlc"
    write_dlc(exported, path)
    return path


def test_the_whole_graph_is_one_partition(written: Path, exported: Path) -> None:
    record = read_dlc(written, exported)
    assert (record.partitions, record.precision) == (1, "fp32")
    assert record.operations["Conv2d"] > 20 and record.most_axes == 4
    assert record.gpu_findings == []
    assert written.stat().st_size > 0.9 * exported.stat().st_size
    assert sorted(path.name for path in written.parent.iterdir()) == ["detector.dlc", "detector.json"]


def test_fp16_has_half_the_size(written: Path, exported: Path, tmp_path: Path) -> None:
    half = to_fp16(exported, tmp_path / "half.onnx")
    record = write_dlc(half, tmp_path / "half.dlc")
    assert record.precision == "fp16" and record.partitions == 1 and record.operations["Cast"] > 0
    assert (tmp_path / "half.dlc").stat().st_size < 0.6 * written.stat().st_size
    with pytest.raises(InputError, match="made from another graph than"):
        read_dlc(tmp_path / "half.dlc", exported)


def gathered(path: Path) -> Path:
    """A small table that the graph expands a hundredfold, as TinyViT's biases are."""
    table = numpy_helper.from_array(np.random.default_rng(0).normal(size=(16, 64)).astype(np.float32), "table")
    rows = numpy_helper.from_array(np.tile(np.arange(16), 100), "rows")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1600, 64]) for name in ("x", "y")]
    nodes = [helper.make_node("Gather", ["table", "rows"], ["wide"]), helper.make_node("Add", ["x", "wide"], ["y"])]
    model = helper.make_model(
        helper.make_graph(nodes, "biases", ends[:1], ends[1:], [table, rows]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.save(model, path)
    return path


def test_tables_stay_small_unless_they_are_folded(writer: str, tmp_path: Path) -> None:
    graph = gathered(tmp_path / "g.onnx")
    small, folded = write_dlc(graph, tmp_path / "small.dlc"), write_dlc(graph, tmp_path / "folded.dlc", folded=True)
    assert small.operations == {"ElementWiseAdd": 1, "Gather": 1} and folded.operations == {"ElementWiseAdd": 1}
    sizes = [(tmp_path / name).stat().st_size for name in ("small.dlc", "folded.dlc")]
    assert sizes[1] > 1600 * 64 * 4 > 4 * sizes[0]


def test_a_graph_that_is_not_taken_whole_leaves_no_file(
    writer: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library writes DLCs into the working directory by default.
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    model = onnx.load(exported)
    model.graph.node.append(helper.make_node("Erf", ["map"], ["more"]))
    model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "erf.onnx")
    with pytest.raises(CheckError, match=r"erf\.onnx: the QNN IR backend does not take all of it"):
        write_dlc(tmp_path / "erf.onnx", tmp_path / "erf.dlc")
    assert list(here.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["erf.onnx", "here"]


def test_files_that_do_not_belong_together_are_rejected(written: Path, exported: Path, tmp_path: Path) -> None:
    copy = tmp_path / "detector.dlc"
    copy.write_bytes(written.read_bytes() + b"x")
    with pytest.raises(InputError, match=r"detector\.json: missing; write it again with `edgezsad export dlc`"):
        read_dlc(copy, exported)
    copy.with_suffix(".json").write_bytes(written.with_suffix(".json").read_bytes())
    with pytest.raises(InputError, match=r"missing or changed since detector\.json was written"):
        read_dlc(copy, exported)
    copy.with_suffix(".json").write_text(json.dumps({"partitions": 1}))
    with pytest.raises(InputError, match="not the record of a DLC"):
        read_dlc(copy, exported)
