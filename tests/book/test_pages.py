"""How the book's pages are assembled: computed numbers, figures, footers, the page "Try it", the reference."""

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from book._ext import tryit
from book._ext.build import add_policy, write_reference
from book._ext.figures import inline_figure, place_figures
from book._ext.fill import fill, sources
from book._ext.footer import add_footer, launch_links
from edgezsad.config import Profile
from edgezsad.errors import CheckError, InputError
from edgezsad.metrics.calibration import calibrate
from edgezsad.references import split_references
from edgezsad.run import Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(make_profile: Callable[..., Profile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("EDGEZSAD_REPOSITORY", raising=False)
    run = Run(make_profile(tmp_path / "run"))
    run.write_result("efficiency", {"paper_graph": {"backbone_gflops": 53.7661, "nodes": 1556, "board": None}})
    run.write_result("benchmarks", {"rows": [{"set": "a", "value": 1.25}, {"set": "b", "value": 2.5}]})
    return run


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("reported.boards.jetson.milliseconds | digits(2)", "32.83"),
        ("run.efficiency.paper_graph.backbone_gflops | digits(2)", "53.77"),
        ("run.efficiency.paper_graph.nodes", "1,556"),
        ("run.efficiency.paper_graph.board | digits(3)", "not run"),
        ('(run.benchmarks.rows | where(set="b")).value | digits(1)', "2.5"),
        ("profiles.paper.model.size", "512"),
    ],
)
def test_expressions_become_numbers(run: Run, expression: str, shown: str) -> None:
    assert fill(f"a {{{{ {expression} }}}} b", sources(run), "page.md") == f"a {shown} b"


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("run.efficiency.paper_graph.backbone_gflops", r"a float needs `\| digits\(2\)`"),
        ("run.efficiency.none", "no attribute 'none'"),
        ("run.efficiency", "expected a number or text, got dict"),
        ("run.export.images", r"export\.json: missing; run notebook 04_export first"),
        ('run.benchmarks.rows | where(set="c")', "0 rows have"),
        ("1 +", "unexpected|expected|Expected"),
    ],
)
def test_an_invalid_expression_names_its_page(run: Run, expression: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        fill(f"a {{{{ {expression} }}}}", sources(run), "book/page.md")
    assert str(caught.value).startswith("book/page.md: ")


def test_the_rest_of_a_page_is_unchanged(run: Run) -> None:
    text = "{cite}`x` {# no #} `{OK,NG}` $x_{i}$ ::: {div}\n"
    assert fill(text, sources(run), "page.md") == text


def test_an_equation_is_numbered_mathml(run: Run) -> None:
    html = fill(r"{% filter equation(2) %}a^{2}_{i} = \frac{b}{c}{% endfilter %}", sources(run), "page.md")
    assert "<mfrac>" in html and html.endswith("<span>(2)</span></div>")


def test_the_numbers_of_good_images_are_those_of_adapt() -> None:
    page = (ROOT / "book" / "threshold.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| .*at most (\d+)%", page, re.MULTILINE)
    assert len(rows) > 3
    for row in rows:
        count, references, others, promised = map(int, row)
        kept, rest = split_references([Path(f"{number}.png") for number in range(count)], [])
        assert (len(kept), len(rest)) == (references, others)
        assert round(100 * calibrate(list(range(others)), promised / 100).false_alarms) == promised


SVG = (
    '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><defs><path id="tick" d="M 0 0"/></defs>'
    '<g style="stroke: #262626; fill: #ffffff"><use xlink:href="#tick"/></g>'
    '<g clip-path="url(#tick)" style="fill: #0173b2; stroke: #000000"/></svg>'
)


def notebook(*data: dict[str, Any], **about: dict[str, str]) -> dict[str, Any]:
    outputs = [{"output_type": "display_data", "data": one} for one in data]
    return {"cells": [{"cell_type": "code", "metadata": {"mystnb": about}, "outputs": outputs}]}


def test_charts_get_caption_alternative_text_and_their_own_names() -> None:
    content = notebook(
        {"text/markdown": "**bolts**"},
        {"image/svg+xml": SVG},
        {"text/markdown": ["**nuts**"]},
        {"image/svg+xml": SVG.replace("0173b2", "d55e00")},
        image={"alt": 'rows "a" & <b>'},
        figure={"caption": "x < y"},
    )
    place_figures(content, "10")
    first, second = (content["cells"][0]["outputs"][at]["data"]["text/html"] for at in (1, 3))
    assert 'role="img" aria-label="bolts. rows &quot;a&quot; &amp; &lt;b&gt;"' in first
    assert '<span class="caption-text">nuts. x &lt; y</span>' in second
    names = [re.search(r'\bid="([^"]+)"', html)[1] for html in (first, second)]
    assert names[0] != names[1]
    assert f'href="#{names[0]}"' in first and f"url(#{names[1]})" in second


@pytest.mark.parametrize("about", [{}, {"image": {"alt": "a"}}, {"figure": {"caption": "c"}}])
@pytest.mark.parametrize("kind", ["image/svg+xml", "image/png"])
def test_a_figure_without_caption_or_text_is_rejected(about: dict[str, Any], kind: str) -> None:
    with pytest.raises(CheckError, match=r"06\.ipynb: figure without caption or alternative text"):
        place_figures(notebook({kind: SVG}, **about), "06.ipynb")


def test_notebooks_fold_parameters_imports_and_code_that_only_prints() -> None:
    for path in sorted(Path("notebooks").glob("*.ipynb")):
        cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        open_cells = [cell for cell in cells if not {"hide-cell", "hide-input"} & set(cell["metadata"].get("tags", []))]
        assert len(open_cells) <= 3, path
        for cell in open_cells:
            source = "".join(cell["source"])
            assert not source.startswith(("import ", "from ", "# profile of the run", "table(")), path


def test_greys_follow_the_page_and_colours_stay() -> None:
    drawing = inline_figure(SVG, "a", "c")
    assert "#0173b2" in drawing and not re.search(r"#(262626|ffffff|000000)", drawing)
    assert "stroke: var(--grey-26); fill: var(--grey-ff)" in drawing
    assert "--grey-26: color-mix(in srgb, var(--ground) 15%, var(--ink))" in drawing


def executed(run: Run, name: str, parameters: dict[str, Any]) -> Path:
    """A notebook without cells, with the records that papermill and `edgezsad.execute` leave in it."""
    start = "2026-11-25T10:15:54.379063+00:00"
    papermill = {"duration": 12.34, "start_time": start, "parameters": parameters}
    record = {
        "parameters": parameters,
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "hardware": {"processor": "A CPU", "cores": 2, "memory_gb": 25.3, "system": "Linux x86_64", "gpus": []},
        "commit": "abc",
        "data": {"source": "1234567890abcdef"},
    }
    path = run.folder / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": [], "metadata": {"papermill": papermill, "edgezsad": record}}))
    return path


def test_a_footer_states_the_record_and_offers_the_files(run: Run, tmp_path: Path) -> None:
    run.write_result("export", {"images": 4})
    run.write_result("sensitivity", {"limit": 1})
    path = executed(run, "04_export", {"config": "runs/x.yaml"})
    content = json.loads(path.read_text(encoding="utf-8"))
    add_footer(content, path, run, {}, tmp_path)
    text = content["cells"][-1]["source"]
    for words in (
        "`config = 'runs/x.yaml'`",
        "`python -m edgezsad.execute notebooks/04_export.ipynb out.ipynb config=runs/x.yaml`",
        "12.3 s",
        "2026-11-25 10:15 UTC",
        "python 3.11.7, torch 2.15.0",
        "`abc`",
        "A CPU, 2 cores, 25.3 GB; no NVIDIA GPU",
        "SHA-256 over the manifests: source `1234567890abcdef`",
    ):
        assert words in text, words
    offered = tmp_path / "downloads" / "04_export"
    assert json.loads((offered / "export.json").read_text())["images"] == 4
    for name in (item.name for item in offered.iterdir()):
        assert f"<../downloads/04_export/{name}>`" in text


def test_a_missing_results_file_names_its_notebook(run: Run, tmp_path: Path) -> None:
    path = executed(run, "11_claims", {})
    with pytest.raises(InputError, match=r"claims\.json: missing; run notebooks/11_claims\.ipynb first"):
        add_footer(json.loads(path.read_text()), path, run, {}, tmp_path)


def test_launch_links_need_a_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEZSAD_REPOSITORY", raising=False)
    assert launch_links("notebooks/01_data.ipynb", {}) == []
    fork = {"repository": {"url": "https://github.com/me/fork", "branch": "main"}}
    binder, colab = launch_links("notebooks/01_data.ipynb", fork)
    assert "/gh/me/fork/main?urlpath=lab%2Ftree%2Fnotebooks/01_data.ipynb" in binder
    assert "/github/me/fork/blob/main/notebooks/01_data.ipynb" in colab


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `npm` whose script a test writes; at first it fails."""
    command = tmp_path / "bin" / "npm"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(ROOT)
    return command


def listed(book: Path) -> dict[str, Any]:
    return json.loads((book / "_static" / "tryit" / "files.json").read_text())


def test_try_it_lists_its_files_with_their_hashes(tmp_path: Path, npm: Path) -> None:
    dist = f"node_modules/{tryit.PACKAGE}/dist"
    files = " ".join(f"{dist}/{file}" for file in tryit.RUNTIME.values())
    npm.write_text(f"#!/bin/sh\nmkdir -p {dist} && echo one | tee {files}\n")
    facts = tryit.stage_files(tmp_path / "book", tmp_path / "kept")
    folder = tmp_path / "book" / "_static" / "tryit"
    files = listed(tmp_path / "book")["files"]
    assert set(files) == {"single", "references", "script", "wasm"}
    for file in files.values():
        data = (folder / file["url"]).read_bytes()
        digest = base64.b64encode(hashlib.sha384(data).digest()).decode()
        assert (file["bytes"], file["integrity"]) == (len(data), f"sha384-{digest}")
    assert facts["megabytes"] == pytest.approx(sum(file["bytes"] for file in files.values()) / 1e6)
    assert (folder / "onnxruntime-LICENSE").read_text().startswith("MIT License")
    assert len(facts["examples"]) + len(facts["good"]) == len(list(folder.glob("*.jpg"))) > 4
    # The second build does not need npm.
    npm.write_text("#!/bin/sh\nexit 1\n")
    assert tryit.stage_files(tmp_path / "again", tmp_path / "kept") == facts


def test_without_npm_the_page_lacks_its_runtime(tmp_path: Path, npm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tryit.stage_files(tmp_path / "book", tmp_path / "kept")
    assert set(listed(tmp_path / "book")["files"]) == {"single", "references"}
    assert "cannot score without its runtime" in capsys.readouterr().err


def test_the_reference_lists_every_package_and_command(tmp_path: Path) -> None:
    write_reference(tmp_path)
    pages = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert "automodule:: edgezsad.metrics." in pages["reference-metrics.md"]
    cli = pages["reference-cli.md"]
    for words in ("## `edgezsad predict`", "## `edgezsad device kit`", "--heatmaps", "Usage: edgezsad predict"):
        assert words in cli, words
    assert " at 0x" not in cli


def test_a_page_allows_the_scripts_of_its_head_alone() -> None:
    page = (
        '<head><meta charset="utf-8"><script>head</script></head><body><script>body</script><b onclick="body"></body>'
    )
    hashes = [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in (b"head", b"body")]
    for search in (False, True):
        policy = add_policy(page, search)
        assert policy.startswith('<head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy"')
        assert hashes[0] in policy and (hashes[1] in policy) == search
        assert "wasm" not in policy and "script-src 'self' 'unsafe-hashes'" in policy
    assert "'wasm-unsafe-eval' blob:" in add_policy(f'{page}<div id="tryit">')
