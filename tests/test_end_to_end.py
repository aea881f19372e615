"""The whole graph on a tiny profile, in a copy of the repository: run, failure, resume, book, claims, predict."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data

from edgezsad import __version__ as edgezsad_version
from edgezsad.data.images import load
from edgezsad.data.manifest import read_manifest
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_file, write_json, write_text, written_beside
from edgezsad.scoring.onnx_scorer import OnnxScorer
from edgezsad.scoring.score_file import read_scores, write_scores

REPOSITORY = Path(__file__).resolve().parent.parent
Command = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.slow

PROFILE = """
profile: folder
title: tiny
run: runs/tiny
seeds: [0, 1]
data:
  root: runs/tiny/data
  source:
    - name: source
      layout: mvtec
      root: source
      generated: {families: [leather, washer], train_normal: 0, test_normal: 8, test_defective: 8, size: [96, 96]}
  targets:
    - name: cloth
      layout: visa
      root: cloth
      stands_for: VisA
      generated: {families: [felt, hex_nut], train_normal: 1, test_normal: 4, test_defective: 4, size: [96, 128]}
model: {backbone: tf_efficientnet_lite0, weights: package, size: 128}
training: {steps: 12, batch: 8, warmup: 2, validation: 0.25}
evaluation: {pixels: 64, emulator: {images_per_target: 4}}
"""

# A notebook, its parameters, an input below the run's folder, and the notebook that the error must name.
MISSING = (
    ("02_features", {}, "manifests/source.csv", "01_data"),
    ("03_training", {}, "features", "02_features"),
    ("04_export", {}, "manifests/source.csv", "01_data"),
    ("04_export", {}, "seeds/0/checkpoint.safetensors", "03_training"),
    ("05_scoring", {}, "manifests/cloth.csv", "01_data"),
    ("05_scoring", {"runtime": "onnx-fp16"}, "export/seed0-fp16.onnx", "04_export"),
    ("06_benchmarks", {}, "scores/pytorch", "05_scoring"),
    ("08_jetson_drift", {}, "scores/pytorch", "05_scoring"),
    ("08_jetson_drift", {}, "scores/onnx-fp32", "05_scoring"),
    ("09_rb5_drift", {}, "scores/pytorch", "05_scoring"),
    ("09_rb5_drift", {}, "scores/qnn-htp-fp16", "05_scoring"),
    ("10_gallery", {}, "manifests/cloth.csv", "01_data"),
    ("11_claims", {}, "results/data.json", "01_data"),
    ("11_claims", {}, "results/rb5_drift.json", "09_rb5_drift"),
    ("13_recipe", {}, "seeds/1/metrics.json", "03_training"),
    ("14_int8", {}, "results/sensitivity.json", "04_export"),
    ("14_int8", {}, "scores/onnx-int8", "05_scoring"),
    ("16_references", {}, "manifests/cloth.csv", "01_data"),
)


def run_cells(notebook: Path, parameters: dict[str, Any]) -> None:
    """Run a notebook's code in this process, with the parameters where papermill puts them."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(notebook), "exec"), names)
            if "parameters" in cell["metadata"].get("tags", []):
                assert set(parameters) <= set(names), notebook
                names |= parameters


def snakemake(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgezsad.execute", "--graph", "configs/tiny.yaml"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY), "MPLBACKEND": "agg"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a run needs, with the tiny profile; the run fails once, is fixed and continues."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("benchmarks", "notebooks", "book", "configs", "data_manifests", "edgezsad", "synthetic", "profiles"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("_build", "__pycache__"))
    for name in ("Snakefile", "_config.yml", "_toc.yml", "CHANGELOG.md", "requirements.lock"):
        shutil.copy2(REPOSITORY / name, folder)
    (folder / "configs" / "tiny.yaml").write_text(PROFILE)

    good = folder / "notebooks" / "06_benchmarks.ipynb"
    text = good.read_text()
    broken = json.loads(text)
    broken["cells"][-1]["source"] = ["raise RuntimeError('planted')"]
    good.write_text(json.dumps(broken))
    first = snakemake(folder)
    assert first.returncode != 0 and "RuntimeError: planted" in first.stderr, first.stderr
    assert "planted" in (folder / "runs" / "tiny" / "notebooks" / "running" / "06_benchmarks.ipynb").read_text()
    assert not (folder / "runs" / "tiny" / "notebooks" / "06_benchmarks.ipynb").exists()
    checkpoint = folder / "runs" / "tiny" / "seeds" / "0" / "checkpoint.safetensors"
    made = checkpoint.stat().st_mtime_ns

    good.write_text(text)
    second = snakemake(folder)
    assert second.returncode == 0, second.stderr[-4000:]
    assert "% done" in second.stderr or "%) done" in second.stderr
    assert checkpoint.stat().st_mtime_ns == made, "what was done was done again"
    return folder


def test_a_second_run_has_nothing_to_do(project: Path):
    again = snakemake(project)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr + again.stdout


def test_what_changed_is_noticed_by_its_content_not_its_time(
    project: Path, monkeypatch: pytest.MonkeyPatch, command: Command
):
    monkeypatch.chdir(project)
    run = project / "runs" / "tiny"
    assert command("verify", "runs/tiny")[0] == 0
    result = run / "results" / "benchmarks.json"
    times, content = result.stat(), result.read_bytes()
    result.write_bytes(content.replace(b"mean", b"Mean", 1))
    os.utime(result, ns=(times.st_atime_ns, times.st_mtime_ns))
    stopped = snakemake(project)
    assert stopped.returncode and "benchmarks.json: changed since it was written; delete it" in stopped.stderr
    code, output, _ = command("verify", "runs/tiny")
    assert code == 1 and "benchmarks.json: changed since it was written" in output
    result.unlink()
    deleted = run / "scores" / "onnx-int8" / "seed1" / "cloth.npz"
    deleted.unlink()
    # What was made from the deleted score file is made again too.
    page = run / "notebooks" / "14_int8.ipynb"
    before = page.stat().st_mtime_ns
    again = snakemake(project)
    assert again.returncode == 0, again.stderr[-4000:]
    assert result.exists() and deleted.exists() and page.stat().st_mtime_ns > before
    assert command("verify", "runs/tiny")[0] == 0
    # A new time alone is no reason to run anything.
    for path in (result, run / "manifests" / "cloth.csv", project / "requirements.lock"):
        path.touch()
    assert "Nothing to be done" in snakemake(project).stderr


def test_scores_of_every_runtime_parity_and_drift(project: Path):
    run = project / "runs" / "tiny"
    for runtime, seeds in {"pytorch": 2, "onnx-fp32": 2, "onnx-fp16": 2, "onnx-int8": 2, "qnn-htp-fp16": 1}.items():
        records = [json.loads(path.read_text()) for path in run.glob(f"scores/{runtime}/seed*/cloth.json")]
        assert len(records) == seeds and {record["runtime"] for record in records} == {runtime}
        assert all(record["status"] == "ok" or (runtime == "qnn-htp-fp16" and record["reason"]) for record in records)
    assert json.loads((run / "results" / "export.json").read_text())["largest_score_difference"] <= 1e-4
    rows = json.loads((run / "results" / "jetson_drift.json").read_text())["rows"]
    assert len(rows) == 2 and all(row["map_correlation"] > 0.99 for row in rows)


@pytest.fixture
def edgezsad(project: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Command:
    monkeypatch.chdir(project)
    return lambda *arguments: command(*arguments, "--config", "configs/tiny.yaml")


def test_claims_check_and_a_planted_number(project: Path, edgezsad: Command):
    _, output, errors = edgezsad("claims", "check")
    # A dozen steps of training on a handful of images promise nothing of ranking; what needs no training must hold.
    for name in ("GFLOPs", "readout cost", "no Resize", "host parity", "no leak"):
        assert re.search(rf"^holds +{name}:", output, re.MULTILINE), output + errors
    assert len(re.findall(r"^not run ", output, re.MULTILINE)) >= 10
    path = project / "runs" / "tiny" / "results" / "efficiency.json"
    text = path.read_text()
    try:
        wrong = json.loads(text)
        wrong["paper_graph"]["backbone_gflops"] = 12.3
        path.write_text(json.dumps(wrong))
        code, _, errors = edgezsad("claims", "check")
        assert code == 1 and "efficiency.json: changed since it was written; delete it" in errors
        # A number that the notebook itself would write.
        write_json(path, wrong)
        code, _, errors = edgezsad("claims", "check")
        assert code == 1 and "GFLOPs: 12.3" in errors
        path.unlink()
        code, _, errors = edgezsad("claims", "check")
        assert code == 2 and "run notebook 07_efficiency" in errors
    finally:
        write_text(path, text)


@pytest.mark.parametrize(("notebook", "parameters", "needed", "maker"), MISSING)
def test_a_missing_input_names_the_notebook_that_makes_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, notebook: str, parameters: dict[str, str], needed: str, maker: str
):
    monkeypatch.chdir(project)
    path = project / "runs" / "tiny" / needed
    hidden = path.with_name(f"{path.name}.hidden")
    path.rename(hidden)
    try:
        with pytest.raises(InputError, match=rf"notebook {maker}\b") as caught:
            run_cells(project / f"notebooks/{notebook}.ipynb", {"config": "configs/tiny.yaml"} | parameters)
    finally:
        hidden.rename(path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_a_wrong_score_file_fails_the_claims(project: Path, edgezsad: Command):
    run = project / "runs" / "tiny"
    changed = [run / "scores/onnx-fp16/seed0" / f"cloth.{ending}" for ending in ("npz", "json")]
    changed.append(run / "results/jetson_drift.json")
    kept = {path: path.read_bytes() for path in changed}
    # The ranking turned round: no rounding does that.
    wrong = r"host FP16 ranking: -\S+ Spearman, at least 0\.999"
    try:
        scores = read_scores(changed[0])
        write_scores(dataclasses.replace(scores, score=-scores.score), changed[0])
        run_cells(project / "notebooks/08_jetson_drift.ipynb", {"config": "configs/tiny.yaml"})
        code, _, errors = edgezsad("claims", "check")
        assert code == 1 and re.search(wrong, errors), errors
    finally:
        for path, content in kept.items():
            with written_beside(path) as temporary:
                temporary.write_bytes(content)
    assert not re.search(wrong, edgezsad("claims", "check")[2])


def test_croissant_and_ro_crate_describe_the_run(project: Path) -> None:
    croissant, crate = pytest.importorskip("mlcroissant"), pytest.importorskip("rocrate.rocrate")
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "publish_metadata.py"), "runs/tiny"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = project / "runs" / "tiny"
    found = croissant.Dataset(jsonld=str(folder / "croissant.json"))
    assert not found.metadata.issues.errors, found.metadata.issues.report()
    for name in ("source", "cloth"):
        manifest = read_manifest(folder / "manifests" / f"{name}.csv", folder / "data" / name)
        records = [{key.split("/")[1]: value for key, value in row.items()} for row in found.records(name)]
        assert [(row["id"].decode(), row["label"]) for row in records] == [(e.id, e.label) for e in manifest.entries]
    described = crate.ROCrate(str(folder))
    files = {entity.id: entity for entity in described.get_entities() if entity.type == "File"}
    assert {"config.yaml", "results/data.json", "seeds/0/checkpoint.safetensors"} <= set(files)
    assert all(entity["sha256"] == sha256_of_file(folder / name) for name, entity in files.items())
    (action,) = described.get_by_type("CreateAction")
    assert action["instrument"]["softwareVersion"] == edgezsad_version


def test_predict_scores_a_photograph_of_any_size(project: Path, command: Command, tmp_path: Path):
    photograph, run = tmp_path / "my part.png", project / "runs" / "tiny"
    checkpoint = run / "seeds" / "0" / "checkpoint.safetensors"
    Image.fromarray(data.coffee()[:301, :517]).save(photograph)
    code, output, errors = command("predict", photograph, "--heatmap", "--json", "--checkpoint", checkpoint)
    assert code == 0, errors
    (result,) = json.loads(output)
    assert (result["verdict"], result["threshold"]) == ("uncalibrated", None)
    with Image.open(result["heatmap"]) as heatmap:
        assert heatmap.size == (517, 301)
    # The same file scores the same through the exported graph.
    scorer = OnnxScorer(run / "export" / "seed0-fp32.onnx")
    assert abs(scorer.score(load(photograph, scorer.size))[0] - result["score"]) <= 1e-4


CELL = re.compile(r'<t[hd] id="T_[^"]*" class="[^"]*\bcol(\d+)" >(.*?)</t[hd]>', re.DOTALL)
REPR = re.compile(
    r"None|nan|NaN|NaT|inf|True|False|-0\.0*|\w+\(.*=.*\)|[\[{(]['\"].*|.*(<(class|function) | at 0x[0-9a-f]+).*",
    re.DOTALL,
)
COUNTED = re.compile(r"images|seeds?|steps|threads|workers|cores|layers|runs|normal|missed|defective", re.IGNORECASE)
# A p-value is undefined where perfect scores of a few images leave no variance.
METRIC = re.compile(r"AUROC|AUPRO|AP|F1|threshold|%|low|high|interval|drift|points|Spearman|Kendall|\bp$", re.I)


def test_tables_show_no_python_values_false_decimals_or_undefined_columns(project: Path):
    folders = project / "runs/tiny", REPOSITORY / "runs/mini"
    notebooks = [path for folder in folders for path in folder.glob("notebooks/*.ipynb")]
    outputs = [
        (path.name, output)
        for path in notebooks
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", [])
    ]
    found = set()
    for name, output in outputs:
        printed = "".join(output.get("text", "")) if output.get("name") == "stdout" else ""
        found |= {(name, line) for line in printed.splitlines() if re.search(r"\b(nan|None)\b| at 0x", line)}
        headers: dict[str, str] = {}
        for column, html in CELL.findall("".join(output.get("data", {}).get("text/html", ""))):
            text = unescape(re.sub("<[^>]+>", "", html)).strip()
            header = headers.setdefault(column, text)
            decimals = COUNTED.fullmatch(header) and re.fullmatch(r"\d+\.0+", text)
            if REPR.fullmatch(text) or decimals or (text == "undefined" and not METRIC.search(header)):
                found.add((name, f"{header}: {text}"))
    assert len(outputs) > 50 and not found, found


def test_every_notebook_has_a_page_that_says_how_it_was_made(project: Path):
    html = project / "runs" / "tiny" / "book" / "html"
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (html / "notebooks").glob("*.html")}
    for notebook in (REPOSITORY / "notebooks").glob("*.ipynb"):
        assert any(name.startswith(notebook.stem) for name in pages), notebook.stem
    assert "Training: seed 1" in pages["03_training-seed1"]
    # Text is escaped once: no page shows the source of a table.
    assert not [page for page in html.rglob("*.html") if "&lt;td" in page.read_text(encoding="utf-8")]
    for name, text in pages.items():
        footer = text[text.index("page-footer") :]
        for words in ("wall time", "versions", "hardware", "without-outputs.ipynb"):
            assert words in footer, (name, words)
        # Three notebooks read no images: the manifests need not exist when they run.
        no_data = name in ("07_efficiency", "12_speed", "15_photographs")
        assert no_data or "SHA-256 over the manifests" in footer, name
        # Without a published repository nothing links to one.
        assert "mybinder" not in text and "colab" not in text, name
    offered = list((html / "_downloads").rglob("*.*"))
    expected = {"claims.json", "sensitivity.json", "curve.csv", "05_scoring-onnx-int8.ipynb"}
    assert expected <= {path.name for path in offered}
    # Nothing that a reader gets holds a path of this machine.
    published = [*offered, *html.glob("book/*.html"), *html.glob("notebooks/*.html")]
    assert not [path.name for path in published if str(project) in path.read_text(encoding="utf-8")]
