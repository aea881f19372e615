"""Numbers that pages ask for: computed from files, written as asked, and never a gap."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgezsad import reported
from edgezsad.book import field
from edgezsad.book.fill import fill, sources
from edgezsad.config import Profile
from edgezsad.errors import InputError
from edgezsad.run import Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def names(make_profile: Callable[..., Profile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(ROOT)
    run = Run(make_profile(tmp_path))
    run.write_result("efficiency", {"paper_graph": {"backbone_gflops": 53.7661, "nodes": 1556, "board": None}})
    run.write_result("benchmarks", {"rows": [{"set": "a", "seed": 0, "value": 1.25}, {"set": "b", "value": 2.5}]})
    return sources(run)


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("run.efficiency.paper_graph.backbone_gflops | digits(2)", "53.77"),
        ("run.efficiency.paper_graph.nodes", "1,556"),
        ("run.efficiency.paper_graph.board", "not run"),
        ("run.efficiency.paper_graph.board | digits(3)", "not run"),
        ('(run.benchmarks.rows | where(set="b")).value | digits(1)', "2.5"),
        ('run.benchmarks.rows | selectattr("value", "gt", 1) | list | length', "2"),
        ("(1000 / paper.JETSON.milliseconds) | digits(2)", "30.46"),
        ("paper.SOURCE_IMAGES", "216,917"),
        ("profile.profile", "mini"),
        ("profiles.paper.model.size", "512"),
        ("12345.678 | digits(1)", "12,345.7"),
    ],
)
def test_what_a_page_shows(names: dict[str, Any], expression: str, shown: str) -> None:
    assert fill(f"a {{{{ {expression} }}}} b", names, "page.md") == f"a {shown} b"


def test_a_recorded_benchmark(names: dict[str, Any]) -> None:
    recorded = json.loads((ROOT / "benchmarks/results/latency.json").read_text())
    assert fill("{{ recorded.latency.cores }}", names, "page.md") == str(recorded["cores"])


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("run.efficiency.paper_graph.backbone_gflops", r"a float; say how many digits: `\| digits\(2\)`"),
        ("run.efficiency.none", "has no attribute 'none'"),
        ("run.efficiency.none.deeper | digits(1)", "has no attribute 'none'"),
        ("run.efficiency", "neither number nor text but dict"),
        ("run.export.images", r"export\.json: missing; run notebook 04_export first"),
        ("run.nonsense.x", r"results/nonsense\.json: no notebook in notebooks writes it"),
        ("recorded.nonsense.x", r"nonsense\.json: missing; run `make bench`"),
        ("profiles.nonsense.seeds", r"nonsense\.yaml"),
        ('run.benchmarks.rows | where(set="c")', "0 rows have"),
        ('run.benchmarks.rows | where(profile=none) | list', "2 rows have"),
        ("run.efficiency.paper_graph.board * 2", "unsupported operand"),
        ("nothing", "'nothing' is undefined"),
        ("1 +", "unexpected|expected"),
        ("run.__class__", "unsafe|no attribute|undefined"),
        ('field.accuracy("MNIST")', "nothing of MNIST; it has MVTec-AD, VisA"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_an_error_that_names_page_and_expression(
    names: dict[str, Any], expression: str, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        fill(f"a {{{{ {expression} }}}}", names, "book/page.md")
    assert str(caught.value).startswith(f"book/page.md: {{{{ {expression} }}}}: ")


def test_nothing_else_of_a_page_is_touched(names: dict[str, Any]) -> None:
    text = "{cite}`x` {% if %} {# no #} `{OK,NG}` $x_{i}$ ::: {div}\n"
    assert fill(text, names, "page.md") == text


def test_every_page_can_name_its_numbers() -> None:
    """Expressions are right in form: what they ask for is checked when the book is built."""
    from edgezsad.book.fill import EXPRESSION, _environment

    for page in (ROOT / "book").glob("*.md"):
        for match in EXPRESSION.finditer(page.read_text(encoding="utf-8")):
            _environment().compile_expression(match[1])


def test_tables_of_published_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    lines = field.accuracy("VisA").splitlines()
    assert lines[0] == "| method | backbone | image AUROC | pixel AUROC | PRO | source |"
    assert "| AdaptCLIP-Zero | CLIP ViT-L | 84.8 | – | – | README of AdaptCLIP {cite}`adaptclip` |" in lines
    own = reported.EDGEZSAD["VisA"]
    assert f"| **{own.image_auroc}** | **{own.pixel_auroc}** | **{own.pixel_pro}** | own paper" in lines[-1]
    several = field.image_auroc("BTAD", "DTD-Synthetic").splitlines()
    assert several[0] == "| method | BTAD | DTD-Synthetic |"
    assert "| WinCLIP | 68.2 | 95.1 |" in several
    assert f"**{reported.JETSON.milliseconds}**" in field.cost()


def test_a_published_number_is_the_same_wherever_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for method in reported.FIELD:
        for benchmark, value in (("MVTec-AD", method.mvtec), ("VisA", method.visa)):
            name = method.method.partition(" (")[0]
            rows = [line for line in field.accuracy(benchmark).splitlines() if line.startswith(f"| {name} ")]
            if value is not None and rows:
                assert len(rows) == 1 and f"| {value} |" in rows[0], (name, benchmark)
