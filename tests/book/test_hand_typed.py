"""No result is typed by hand: what a page tells of accuracy, time, size or counts comes from a file at build time.

The scan reads the prose of the book's pages, of the notebooks and of the README, leaves out code and what is filled in
(`edgezsad.book.fill`), and calls every other number a result that has a decimal point, a unit, or a metric's name
before it.
What such a number may be all the same stands in `ALLOWED`, each with its reason; what the code knows is held to it.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

from edgezsad import reported
from edgezsad.show.maps import HEAT_RANGE

ROOT = Path(__file__).resolve().parents[2]

_UNITS = (
    r"%|percent\b|points?\b|ms\b|milliseconds?\b|s\b|seconds?\b|minutes?\b|min\b|hours?\b|h\b|days?\b|[kKMGT]B\b|"
    r"[MGT]?FLOPs?\b|FPS\b|frames?\b|images?\b|photographs?\b|times\b|million\b|parameters\b|logits?\b"
)
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_METRIC = r"\b(?:AUROC|AUPRO|PRO|AP|F1(?:-max)?|Spearman)(?: \w+){0,2}[ :=|]*"
_RESULT = re.compile(
    rf"(?<![\w.,/-])(?P<decimal>\d[\d,]*\.\d+)(?![\w.]*\.\d)|(?<![\w.,/-])(?P<unit>{_NUMBER})(?=\s?(?:{_UNITS}))"
    rf"|{_METRIC}(?P<metric>{_NUMBER})(?![\w.])"
)
# Of programs, papers and licences; what follows such a name is a version.
_VERSION = re.compile(r"(?:JetPack|L4T|TensorRT|QNN|since|Python|arXiv:|CC BY(?:-NC)?(?:-SA)?|Apache License) ?$")


@dataclass(frozen=True)
class Allowed:
    """A number that may be typed.

    Attributes:
        pages: file names, with wildcards.
        text: a regular expression of the words; the number lies inside.
        reason: why it is no result of ours, or can not come from a file.
        holds: what the code or a file says of it, where it says anything.
    """

    pages: str
    text: str
    reason: str
    holds: Callable[[], bool] = lambda: True


def metrics_images() -> list[int]:
    recorded = json.loads((ROOT / "benchmarks/results/metrics.json").read_text(encoding="utf-8"))
    return [recorded["made"]["few"], recorded["made"]["images"]]


ALLOWED = (
    Allowed("*", r"\b9[05]%(?: bootstrap)? intervals?\b|\b95%, stratified bootstrap", "level of an interval"),
    Allowed("0[89]_*.ipynb", r"one-sided tests at 5% say", "level of a test"),
    Allowed("method.md", r"false-positive rate of 0\.3\b.*divided by 0\.3\b", "AUPRO's limit, by MVTec's definition"),
    Allowed("choices.md", r"MVTec's definition, limit 0\.3\b", "AUPRO's limit, by MVTec's definition"),
    Allowed(
        "0[89]_*.ipynb",
        r"within 0\.2 points of the host|\*below 0\.2 points\*|inside ±0\.2\b",
        "the paper's bound, which a notebook's prose can not read",
        lambda: reported.DRIFT_POINTS == 0.2,
    ),
    Allowed(
        "0[89]_*.ipynb",
        r"from -6 to 6 logits",
        "the scale of all maps, which a notebook's prose can not read",
        lambda: HEAT_RANGE == (-6.0, 6.0),
    ),
    Allowed("01_data.ipynb", r"gamma below 0\.9 or above 1\.1", "limit of a method: tests/data/test_perceptual.py"),
    Allowed(
        "12_speed.ipynb",
        r"over 50 to 1,725 images|first 40 images",
        "size of a recorded benchmark's input",
        lambda: metrics_images() == [40, 1725],
    ),
    Allowed("howto-board.md", r"\b2 s of warm-up", "a setting of the board's script"),
    Allowed("howto-board.md", r"\| \d+ (?:min|h) \(estimate\)|\| (?:180 MB|5\.4 GB) \(estimate\)", "an estimate"),
    Allowed("README.md", r"^\| (?:time|memory|disk)\b.*$", "what to expect before a run; nothing fills it"),
)  # fmt: skip


def prose(text: str) -> str:
    """A page's text without code, expressions, addresses and tags; lines stay lines."""
    for pattern in (r"^(`{3,}|~{3,}).*?^\1`*\s*$", r"\{\{.*?\}\}", r"`+[^`]*`+", r"(?<=\])\([^)]*\)", r"<[^>]*>"):
        text = re.sub(pattern, "", text, flags=re.MULTILINE | re.DOTALL)
    return text


def pages(root: Path) -> Iterator[tuple[str, str]]:
    """Name and prose of every page; a changelog says what was true of a version, and must not change."""
    for path in (*sorted((root / "book").glob("*.md")), root / "README.md"):
        if path.name != "changelog.md":
            yield path.name, prose(path.read_text(encoding="utf-8"))
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        yield path.name, prose(text)


def results_in(name: str, text: str) -> list[str]:
    """The hand-typed results of a page, each with the words around it."""
    found = []
    for line in text.splitlines():
        allowed = [
            match.span() for item in ALLOWED if fnmatch(name, item.pages) for match in re.finditer(item.text, line)
        ]
        for match in _RESULT.finditer(line):
            start, end = match.span(match.lastgroup)
            if _VERSION.search(line[:start]) or any(first <= start and end <= last for first, last in allowed):
                continue
            found.append(f"{name}: ...{line[max(0, start - 40) : start]}[{line[start:end]}]{line[end : end + 25]}")
    return found


def test_no_page_has_a_result_typed_by_hand() -> None:
    found = [result for name, text in pages(ROOT) for result in results_in(name, text)]
    assert not found, "\n".join(["write {{ run... }} (see edgezsad/book/fill.py), or allow it with a reason:", *found])


def test_every_page_is_scanned() -> None:
    names = [name for name, _ in pages(ROOT)]
    assert {"index.md", "method.md", "choices.md", "README.md", "06_benchmarks.ipynb"} <= set(names)
    assert len(names) > 20


@pytest.mark.parametrize("item", ALLOWED, ids=lambda item: item.text[:30])
def test_what_is_allowed_is_there_and_true(item: Allowed) -> None:
    """A rule that nothing needs any more would let the next number through."""
    there = [
        name for name, text in pages(ROOT) if fnmatch(name, item.pages) and re.search(item.text, text, re.MULTILINE)
    ]
    assert there, f"no page says {item.text}: take the rule out"
    assert item.reason
    assert item.holds()


@pytest.mark.parametrize(
    "sentence",
    [
        "The detector reaches an image AUROC of 91.2 on the stand-ins.",
        "An image takes 42 ms on two cores.",
        "| mvtec-standin | 79.4 | 88.0 |",
        "It is 17 times as fast as the tower.",
        "The file has 42 MB, the drift is 0.13 points.",
        "All 1,600 images of the source were compared.",
        "Image AUROC: 79, after three seeds.",
        "The readout adds 9 MFLOPs, 0.02%.",
    ],
)
def test_a_planted_result_is_found(sentence: str) -> None:
    """In every page, so that no rule of the list covers it."""
    for name, text in pages(ROOT):
        clean = len(results_in(name, text))
        assert len(results_in(name, f"{text}\n\n{sentence}\n")) > clean, name


@pytest.mark.parametrize(
    "sentence",
    [
        "Maps of 64 x 64, photographs of 512 × 512 px, strides 8, 16 and 32, three seeds.",
        "`AUROC 91.2` in code, {{ run.benchmarks.mean | digits(1) }} filled in, [a page](page.md#part-1.2).",
        "```bash\nmake bench  # 10 minutes\n```",
        "JetPack 6.2 (L4T 36.4, TensorRT 10.3), Python 3.11, CC BY-NC-SA 4.0, arXiv:2606.16119.",
    ],
)
def test_what_is_no_result_is_let_through(sentence: str) -> None:
    assert results_in("page.md", prose(sentence)) == []
