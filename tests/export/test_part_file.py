"""A part's detector in the formats of boards: operators, FP16, INT8 and DLC, and what they change."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgezsad.data.images import load
from edgezsad.errors import RuntimeUnavailable
from edgezsad.export.dlc import WRITER, write_dlc
from edgezsad.export.fp16 import to_fp16
from edgezsad.export.int8 import to_int8
from edgezsad.export.lint import backend_table, describe, lint
from edgezsad.metrics.image_metrics import auroc
from edgezsad.model import GRAPH
from edgezsad.predict import load_scorer
from edgezsad.references import adapt
from edgezsad.scoring.onnx_scorer import OnnxScorer
from synthetic import SetSpec, generate_set

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = SetSpec("parts", "mvtec", ("cap",), train_normal=4, test_normal=8, test_defective=8)
    return generate_set(spec, tmp_path_factory.mktemp("generated") / "parts", 0, 1)


@pytest.fixture(scope="module")
def part(parts: Path) -> Path:
    return adapt(sorted(parts.glob("cap/train/good/*.png")), parts.parent / "cap.onnx", rotations="none").path


@pytest.fixture(scope="module")
def half(part: Path) -> Path:
    return to_fp16(part, part.with_name("half.onnx"))


def test_operators_are_on_the_lists(part: Path, half: Path) -> None:
    table = backend_table({"fp32": part, "fp16": half})
    assert lint(part) == lint(half) == [] and set(table["what"]) == {"none"}


def test_drift(part: Path, half: Path, parts: Path) -> None:
    train, tests = (sorted(parts.glob(f"cap/{split}/*/*.png")) for split in ("train", "test"))
    label = np.array([path.parent.name != "good" for path in tests], dtype=np.int8)
    (scorer, decision), (converted, kept) = load_scorer(checkpoint=part), load_scorer(checkpoint=half)
    assert replace(kept, detector=decision.detector) == decision and converted.detector_sha256 == scorer.detector_sha256
    source = scorer.metadata["source_sha256"]
    int8 = to_int8(part, part.with_name("int8.onnx"), [load(path, 320) for path in train], sha256=source)
    assert lint(int8) == [] and int(OnnxScorer(int8).metadata["int8_layers"]) > 40
    graphs = {"fp32": scorer, "fp16": converted, "int8": load_scorer(checkpoint=int8)[0]}
    scores = {name: np.array([each.score(load(path, 320))[0] for path in tests]) for name, each in graphs.items()}
    assert np.abs(scores["fp16"] - scores["fp32"]).mean() < 0.05
    for name, limit in (("fp16", 0.01), ("int8", 0.1)):
        assert abs(auroc(label, scores[name]) - auroc(label, scores["fp32"])) <= limit
    assert describe(half)["megabytes"] < 9


def test_dlc(half: Path) -> None:
    try:
        WRITER.start()
    except RuntimeUnavailable as reason:
        pytest.skip(str(reason))
    record = write_dlc(half, half.with_suffix(".dlc"))
    single = write_dlc(to_fp16(GRAPH, half.with_name("single.onnx")), half.with_name("single.dlc"))
    assert (record.partitions, record.precision) == (1, "fp16")
    # The comparison adds no finding to those of the readout.
    assert len(record.gpu_findings) <= len(single.gpu_findings)
