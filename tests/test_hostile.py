"""Input made to crash, hang or mislead: each reader ends with one line, and names stay text."""

import csv
import json
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from onnx import helper, numpy_helper
from PIL import Image
from safetensors.torch import save

from edgezsad.config import load_profile
from edgezsad.data.images import decode_image
from edgezsad.data.manifest import Entry, Manifest, read_manifest, write_manifest
from edgezsad.devices.ingest import ingest
from edgezsad.errors import InputError
from edgezsad.evaluate import EvaluationReport
from edgezsad.files import progress, read_json, write_csv
from edgezsad.model.detector import HEADER, load_detector
from edgezsad.predict import Failure, Prediction, load_scorer, predict_files
from edgezsad.run import Run
from edgezsad.scoring import onnx_scorer, score_file
from edgezsad.scoring.score_file import ScoreFile, read_scores, write_scores
from edgezsad.show.tables import table
from tests.fuzz import CHECKPOINT, MINI, SHA, archive, graph, small_graph


def reject(read: Callable[..., object], *arguments: Any) -> str:
    """Return the error of a reader: one short, printable line."""
    with pytest.raises(InputError) as caught:
        read(*arguments)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
    return str(caught.value)


@pytest.mark.slow
def test_a_thousand_damaged_files():
    command = [sys.executable, "-m", "tests.fuzz", "1000"]
    done = subprocess.run(command, cwd=MINI.parents[1], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["surprises"], "\n".join(found["surprises"])
    assert found["rejected"] + found["read"] == 1000 and found["rejected"] > 500 and found["megabytes"] < 1000


LAUGHS = "a0: &a0 [x, x]\n" + "\n".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]" for n in range(1, 10))
YAML = {
    LAUGHS: "more than",
    "a: &a [*a]": "more than",
    "[" * 5000: "more than",
    "\n".join(f"k{n}: 1" for n in range(20_000)): "more than",
    "title: 2026-13-45": "month",
    f"seeds: [{'9' * 5000}]": "5000 digits",
    f"seeds: [0x{'f' * 5000}]": "5002 digits",
    f"seeds: [{':'.join(['59'] * 500)}.5]": "digits",
    "title: !!timestamp x": "invalid YAML",
    "data: {}\ntitle: x\ndata: {}": "line 3: the key data is given twice",
    f"{{{', '.join(f'unknown{n}: 1' for n in range(4000))}}}": "unknown key",
    "title: x" * 200_000: "more than 1,000,000 characters",
}


def test_yaml_and_json(tmp_path: Path):
    for text, reason in YAML.items():
        (tmp_path / "p.yaml").write_text(text)
        assert reason in reject(load_profile, tmp_path / "p.yaml")
    for text in ("[" * 100_000, '{"a":' * 100_000, "9" * 5000, f'{{"a": -{"1" * 300}}}', "[1"):
        (tmp_path / "r.json").write_text(text)
        assert "invalid JSON" in reject(read_json, tmp_path / "r.json", "write it again")


def constant(name: str, value: Any) -> Any:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value), name))


def filled(score: list[int], anomaly_map: list[int], value: float = 0.0) -> bytes:
    """Outputs of any shape, filled with one value."""
    fill = numpy_helper.from_array(np.array([value], np.float32), "fill")
    shapes = {"score": score, "map": anomaly_map}
    nodes = [constant(f"{name} shape", shape) for name, shape in shapes.items()]
    nodes += [helper.make_node("ConstantOfShape", [f"{name} shape"], [name], value=fill) for name in shapes]
    return graph(nodes, shapes)


def endless() -> bytes:
    names = (("n", 7, []), ("on", 9, []), ("kept", 1, [1, 1, 2, 2]), ("more", 9, []), ("map", 1, [1, 1, 2, 2]))
    ends = [helper.make_tensor_value_info(*one) for one in names]
    steps = [helper.make_node("Identity", ["on"], ["more"]), helper.make_node("Identity", ["kept"], ["map"])]
    body = helper.make_graph(steps, "body", ends[:3], ends[3:])
    start = [constant("score", np.zeros(1, np.float32)), constant("start", np.zeros((1, 1, 2, 2), np.float32))]
    loop = helper.make_node("Loop", ["rounds", "true", "start"], ["map"], body=body)
    return graph([*start, constant("rounds", 2**60), constant("true", True), loop])


FLAT = [constant("one", [1]), helper.make_node("Reshape", ["image", "one"], ["score"])]
GRAPHS = {
    "custom operator": (
        graph([*FLAT, helper.make_node("X", ["image"], ["map"], domain="strange")]),
        "strange:X",
    ),
    "failing Reshape": (graph([*FLAT, helper.make_node("Identity", ["image"], ["map"])]), "running Reshape"),
    "2^40 values": (filled([1], [1, 1, 2**20, 2**20]), "running ConstantOfShape"),
    "4 GB": (filled([1], [1, 1, 2**15, 2**15]), "running ConstantOfShape"),
    "score without values": (filled([0], [1, 1, 2, 2]), "outputs (0,)"),
    "map of one dimension": (filled([1], [4]), "outputs (1,), (4,)"),
    "map without values": (filled([1], [1, 1, 0, 2]), "outputs (1,), (1, 1, 0, 2)"),
    "huge image": (small_graph(2**20), "up to 4096"),
    "no graph": (b"", "cannot read"),
    "endless": (endless(), "no result within 5 s"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr(onnx_scorer, "MAX_SECONDS", 5 if name == "endless" else 60)
    (tmp_path / "g.onnx").write_bytes(GRAPHS[name][0])
    assert GRAPHS[name][1] in reject(load_scorer, tmp_path / "g.onnx")


@pytest.mark.slow
def test_a_map_of_nan_is_no_score(tmp_path: Path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    for file, content in (("good.onnx", small_graph()), ("nan.onnx", filled([1], [1, 1, 2, 2], np.nan))):
        (tmp_path / file).write_bytes(content)
        (result,) = predict_files(*load_scorer(tmp_path / file), [tmp_path / "a.png"])
        assert isinstance(result, Failure) == (file == "nan.onnx"), result


def test_checkpoints(tmp_path: Path):
    path, text = tmp_path / "c.safetensors", json.dumps(CHECKPOINT)
    wide = json.dumps(CHECKPOINT | {"model": {**CHECKPOINT["model"], "readout": {"local_channels": 10**9}}})
    for header in ("[" * 100_000, '{"model":' * 1000, text, wide, text.replace('"seed": 0', f'"seed": {"9" * 5000}')):
        path.write_bytes(save({"a": torch.ones(2)}, {HEADER: header}))
        reject(load_detector, path)
    path.write_bytes(struct.pack("<Q", 100_000) + b"[" * 100_000)
    reject(load_detector, path)


def test_bombs(tmp_path: Path, make_scores: Callable[..., ScoreFile], monkeypatch: pytest.MonkeyPatch):
    path = write_scores(make_scores([1.0, 2.0], [0, 1]), tmp_path / "s.npz")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("x.npy", bytes(3_000_000))
    read_scores(path)
    monkeypatch.setattr(score_file, "MAX_BYTES", 3_000_000)
    assert "more than 3,000,000 bytes" in reject(read_scores, path)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    data[29:33] = struct.pack(">I", zipfile.crc32(data[12:29]))
    (tmp_path / "a.png").write_bytes(data)
    assert "pixels" in reject(decode_image, tmp_path / "a.png")


def test_archives(tmp_path: Path):
    run, path = Run(load_profile(MINI)), tmp_path / "r.tar"
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.size, long_name.type = 5, tarfile.GNUTYPE_LONGNAME
    nested = (long_name.tobuf(tarfile.GNU_FORMAT) + b"name\0".ljust(512, b"\0")) * 3000
    for content, reason in ((nested, "recursion"), (archive(**{"kit.json": b"[" * 100_000}), "damaged")):
        path.write_bytes(content)
        assert reason in reject(ingest, path, run)


def test_names_stay_text(tmp_path: Path, capsys: pytest.CaptureFixture):
    name = "a\x1b[2J\n\rnormal  -9.000  b\u202e.png"
    shown = Prediction(Path(name), 1.0, 0.0, np.zeros((1, 1))).as_text()
    assert shown.isprintable() and shown.endswith(r"a\x1b[2J\n\rnormal  -9.000  b\u202e.png")
    report = EvaluationReport(notes=[f"image metrics only, no masks: {name}"])
    assert all(line.isprintable() for line in report.as_text().split("\n"))
    list(progress([1], name))
    assert "\x1b[2J" not in capsys.readouterr().err
    for text in ("=1+1", "+cmd|x", "-2+3+cmd|x!A0", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1"):
        write_csv(tmp_path / "t.csv", [{"a": text, "b": -0.5, "c": "-0.25", "d": "x"}], "abcd")
        with open(tmp_path / "t.csv", newline="") as stream:
            assert list(csv.reader(stream))[1] == [f"'{text}", "-0.5", "-0.25", "x"]
    manifest = Manifest("m", tmp_path, (Entry("=1/test/x/0.png", "=1", "test", 1, "-x", "'m.png", 9, 9, SHA, SHA),))
    write_manifest(manifest, tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv", tmp_path) == manifest
    assert "\n'=1/test/x/0.png,'=1,test,1,'-x,''m.png," in (tmp_path / "m.csv").read_text()
    evil = "<img src=x onerror=alert(1)>"
    html = table(pd.DataFrame({evil: [evil]}), caption=evil).to_html()
    assert "<img" not in html and html.count("&lt;img") == 3
