"""What the INT8 page shows: the file's own words, sizes side by side, and the costliest parts drawn first."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgezsad.config import Profile
from edgezsad.errors import InputError
from edgezsad.export.lint import load_graph, save_graph, set_metadata
from edgezsad.export.report import file_sizes, int8_facts
from edgezsad.run import Run
from edgezsad.show.charts import sensitivity_bars


@pytest.fixture
def run(make_profile: Callable[..., Profile], tmp_path: Path) -> Run:
    return Run(make_profile(tmp_path))


def test_facts_come_from_the_file(run: Run, exported: Path) -> None:
    model = load_graph(exported)
    set_metadata(model, {"calibration_images": "64", "int8_left_out": "conv_stem, blocks.0.0.conv_dw"})
    save_graph(model, run.onnx(0, "int8"))
    facts = dict(int8_facts(run).to_numpy().tolist())
    assert facts["images behind the ranges, of the source"] == "64"
    assert facts["layers in FP32"] == "conv_stem, blocks.0.0.conv_dw" and facts["hash of that source"] == "none"


def test_sizes_of_both_graphs(run: Run) -> None:
    with pytest.raises(InputError, match="run notebook 04_export first"):
        file_sizes(run)
    rows = [
        {"seed": seed, "precision": p, "megabytes": m + seed} for seed in (1, 0) for p, m in (("fp32", 4), ("int8", 1))
    ]
    run.write_result("export", {"graphs": rows})
    run.write_result("efficiency", {"paper_graph": {"files": [{"precision": "fp32", "megabytes": 83.0}]}})
    table = file_sizes(run).set_index("graph")
    assert table.loc["tf_efficientnet_lite0", ["fp32", "int8"]].tolist() == [4, 1]
    assert table.loc["tiny_vit_21m_512", "fp32"] == 83.0


def test_bars_are_the_costliest_parts() -> None:
    rows = [
        {"part": f"part {row}", "kind": "layer", "left_out": int(row == 0)}
        | {"score_error": 1 / (row + 1), "map_error": 0.5 / (row + 1)}
        for row in range(24 + 5)
    ]
    (axes,) = sensitivity_bars({"table": rows, "limit": 0.01}).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["part 0 (FP32)", *(f"part {row}" for row in range(1, 24))]
    assert len(axes.patches) >= 2 * 24 and axes.patches[0].get_width() == pytest.approx(1)
