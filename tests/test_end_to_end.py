"""The whole graph on a tiny profile, in a copy of the repository: run, failure, resume, book, claims, predict."""

import dataclasses
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from edgezsad.errors import InputError

REPOSITORY = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow

spec = importlib.util.spec_from_file_location("reexecution", REPOSITORY / "tests" / "reexecution.py")
reexecution = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reexecution)

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


def snakemake(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["snakemake", "--cores", "2", "--quiet", "host", "reason", "--config", "profile=configs/tiny.yaml"]
    return run(folder, *command)


def edgezsad(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, "-m", "edgezsad.cli", *arguments, "--config", "configs/tiny.yaml")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = reexecution.environment(REPOSITORY)
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


def test_score_files_of_every_runtime(project: Path):
    scores = project / "runs" / "tiny" / "scores"
    for runtime, seeds in {"pytorch": 2, "onnx-fp32": 2, "onnx-fp16": 2, "onnx-int8": 2, "qnn-htp-fp16": 1}.items():
        records = [json.loads(path.read_text()) for path in sorted(scores.glob(f"{runtime}/seed*/cloth.json"))]
        assert len(records) == seeds
        for record in records:
            assert record["runtime"] == runtime
            assert record["status"] == "ok" or (runtime.startswith("qnn") and record["reason"])


def test_parity_and_drift_are_in_the_results(project: Path):
    results = project / "runs" / "tiny" / "results"
    assert json.loads((results / "export.json").read_text())["largest_score_difference"] <= 1e-4
    rows = json.loads((results / "jetson_drift.json").read_text())["rows"]
    assert len(rows) == 2 and all(row["map_correlation"] > 0.99 for row in rows)


def test_claims_check_and_a_planted_number(project: Path):
    good = edgezsad(project, "claims", "check")
    # A dozen steps of training on a handful of images promise nothing of ranking; what needs no training must hold.
    for name in ("GFLOPs", "readout cost", "no Resize", "host parity", "no leak"):
        assert re.search(rf"^holds +{name}:", good.stdout, re.MULTILINE), good.stdout + good.stderr
    assert len(re.findall(r"^not run ", good.stdout, re.MULTILINE)) >= 10
    path = project / "runs" / "tiny" / "results" / "efficiency.json"
    text = path.read_text()
    try:
        wrong = json.loads(text)
        wrong["paper_graph"]["backbone_gflops"] = 12.3
        path.write_text(json.dumps(wrong))
        planted = edgezsad(project, "claims", "check")
        assert planted.returncode == 1
        assert "GFLOPs: 12.3" in planted.stderr
        path.unlink()
        missing = edgezsad(project, "claims", "check")
        assert missing.returncode == 2
        assert "run notebook 07_efficiency" in missing.stderr
    finally:
        path.write_text(text)


@pytest.mark.parametrize(("notebook", "parameters", "needed", "maker"), reexecution.MISSING)
def test_a_missing_input_names_the_notebook_that_makes_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, notebook: str, parameters: dict[str, str], needed: str, maker: str
):
    monkeypatch.chdir(project)
    path = project / "runs" / "tiny" / needed
    hidden = path.with_name(f"{path.name}.hidden")
    path.rename(hidden)
    try:
        with pytest.raises(InputError, match=rf"notebook {maker}\b") as caught:
            reexecution.run_cells(project / f"notebooks/{notebook}.ipynb", {"config": "configs/tiny.yaml"} | parameters)
    finally:
        hidden.rename(path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("notebook", "parameter", "maker"), reexecution.RECORDED)
def test_a_missing_recorded_benchmark_names_its_command(
    project: Path, monkeypatch: pytest.MonkeyPatch, notebook: str, parameter: str, maker: str
):
    monkeypatch.chdir(project)
    given = {"config": "configs/tiny.yaml", parameter: "benchmarks/results/gone.json"}
    with pytest.raises(InputError, match=maker) as caught:
        reexecution.run_cells(project / f"notebooks/{notebook}.ipynb", given)
    assert "gone.json" in str(caught.value) and "\n" not in str(caught.value)


def test_a_wrong_score_file_fails_the_claims(project: Path, monkeypatch: pytest.MonkeyPatch):
    from edgezsad.scoring.score_file import read_scores, write_scores

    monkeypatch.chdir(project)
    run = project / "runs" / "tiny"
    touched = [run / "scores/onnx-fp16/seed0" / f"cloth.{ending}" for ending in ("npz", "json")]
    touched.append(run / "results/jetson_drift.json")
    kept = {path: path.read_bytes() for path in touched}
    # The ranking turned round: no rounding does that.
    wrong = r"host FP16 ranking: -\S+ Spearman, at least 0\.999"
    try:
        scores = read_scores(touched[0])
        write_scores(dataclasses.replace(scores, score=-scores.score), touched[0])
        reexecution.run_cells(project / "notebooks/08_jetson_drift.ipynb", {"config": "configs/tiny.yaml"})
        planted = edgezsad(project, "claims", "check")
        assert planted.returncode == 1
        assert re.search(wrong, planted.stderr), planted.stderr
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    good = edgezsad(project, "claims", "check")
    assert not re.search(wrong, good.stderr)


def test_predict_scores_a_photograph_of_any_size(project: Path, tmp_path: Path):
    from skimage import data
    from skimage.io import imread, imsave

    from edgezsad.data.images import load
    from edgezsad.scoring.onnx_scorer import OnnxScorer

    photograph = tmp_path / "my part.png"
    imsave(photograph, data.coffee()[:301, :517], check_contrast=False)
    done = edgezsad(project, "predict", str(photograph), "--heatmap", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["defective"] == (result["score"] >= result["threshold"])
    assert imread(result["heatmap"]).shape[:2] == (301, 517)
    # The same bytes score the same through the exported graph.
    scorer = OnnxScorer(project / "runs" / "tiny" / "export" / "seed0-fp32.onnx")
    assert abs(scorer.score(load(photograph, scorer.size))[0] - result["score"]) <= 1e-4


class _References(HTMLParser):
    """Links, images and identifiers of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.identifiers: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.identifiers |= {values[key] for key in ("id", "name") if values.get(key)}
        for key in ("href", "src"):
            if value := values.get(key):
                self.references.append(value)


@pytest.fixture(scope="module")
def pages(project: Path) -> dict[Path, _References]:
    found = {}
    for path in sorted((project / "runs" / "tiny" / "book" / "html").rglob("*.html")):
        if "_static" not in path.parts:
            found[path] = _References()
            found[path].feed(path.read_text(encoding="utf-8"))
    return found


def test_every_notebook_has_its_page(project: Path, pages: dict[Path, _References]):
    names = {path.stem for path in pages}
    for notebook in (REPOSITORY / "notebooks").glob("*.ipynb"):
        assert any(name == notebook.stem or name.startswith(f"{notebook.stem}-") for name in names), notebook.stem
    assert "03_training-seed1" in names
    text = (project / "runs/tiny/book/html/notebooks/03_training-seed1.html").read_text()
    assert "Training: seed 1" in text


def test_every_notebook_page_says_how_it_was_made(project: Path, pages: dict[Path, _References]):
    made = [page for page in pages if page.parent.name == "notebooks"]
    assert len(made) > 14
    for page in made:
        text = page.read_text(encoding="utf-8")
        footer = text[text.index("page-footer") :]
        for words in ("wall time", "versions", "hardware", "without-outputs.ipynb"):
            assert words in footer, (page.name, words)
        # Three notebooks read no image: whether the manifests are there when they run is chance.
        no_data = page.stem in ("07_efficiency", "12_speed", "15_photographs")
        assert no_data or "SHA-256 over the manifests" in footer, page.name
        # Nobody has published this repository: no link that opens nothing.
        assert "mybinder" not in text and "colab" not in text, page.name
    offered = list((project / "runs/tiny/book/html/_downloads").rglob("*.*"))
    expected = {"claims.json", "sensitivity.json", "curve.csv", "05_scoring-onnx-int8.ipynb"}
    assert expected <= {path.name for path in offered}
    assert not [path.name for path in offered if str(project) in path.read_text(encoding="utf-8")]


def test_no_broken_link_and_no_path_of_this_machine(project: Path, pages: dict[Path, _References]):
    broken = []
    for page, found in pages.items():
        for reference in found.references:
            address, fragment = urldefrag(unquote(reference))
            if re.match(r"[a-z]+:", address):
                continue
            other = (page.parent / address.partition("?")[0]).resolve() if address else page
            checked = fragment and other in pages and not fragment.startswith("http")
            if not other.exists() or (checked and fragment not in pages[other].identifiers):
                broken.append(f"{page.name}: {reference}")
    assert not broken
    assert not [page.name for page in pages if str(project) in page.read_text(encoding="utf-8")]
    assert sum(len(found.references) for found in pages.values()) > 500
