"""Every page of the built book in a real browser: what it asks for, what it weighs, whether everybody can read it."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

MEGABYTE = 1_000_000
START_PAGE = "book/index.html"
LIGHTEST_START, LIGHTEST_PAGE = 1 * MEGABYTE, 4 * MEGABYTE
# Pages that differ from another in their numbers alone: the accessibility rules are checked on one of them.
SAME_FORM = re.compile(r"-(seed[1-9]\d*|onnx-\w+)\.html$")

# Messages of the theme about itself.
HARMLESS = ("[PST]: Changed to ", "[PST]: Scrolled ", "[PST]: Set focus ", "[togglebutton]: Adding ")

# What a page holds, asked for in one go.
FACTS = """() => ({
  links: [...document.querySelectorAll('a[href]')].map((link) => link.href),
  names: [...document.querySelectorAll('[id], a[name]')].map((one) => one.id || one.name),
  loaded: performance.getEntriesByType('resource').map((one) => one.name),
  bare: [...document.querySelectorAll('.bd-article .cell_output :is(img, figure.chart)')]
    .filter((one) => !one.closest('figure')?.querySelector('figcaption')?.textContent.trim())
    .map((one) => one.outerHTML.slice(0, 120)),
  charts: [...document.querySelectorAll('figure.chart svg')].map((one) => one.getAttribute('aria-label') || ''),
  tables: [...document.querySelectorAll('.bd-article .cell_output table')]
    .filter((one) => one.tBodies[0]?.rows.length)
    .map((one) => Boolean(one.closest('.table-box')?.nextElementSibling?.matches('.download-table'))),
})"""

# Elements wider than the window and outside of any box that scrolls.
STICKING_OUT = """() => {
  const width = document.documentElement.clientWidth, wide = document.scrollingElement.scrollWidth, found = [];
  if (wide > width) found.push(`page of ${wide} px`);
  for (const one of document.querySelectorAll('.bd-article-container *')) {
    const box = one.getBoundingClientRect();
    if (!box.width || box.right <= width + 1) continue;
    let around = one.parentElement;
    while (around && getComputedStyle(around).overflowX === 'visible') around = around.parentElement;
    if (!around || !around.closest('.bd-article-container')) found.push(one.outerHTML.slice(0, 120));
  }
  return found;
}"""

# The rules would take minutes on all that repeats: insides of a chart, rows of a table beyond the third unless a cell
# has a class of its own, highlighted words of one kind, entries of a reference, the list of pages. Transitions end at
# once, or the colours would be measured halfway.
THINNED = """(start) => {
  const drop = (selector) => document.querySelectorAll(selector).forEach((one) => one.remove());
  drop('figure.chart svg > *');
  drop('tbody tr:nth-child(n + 4):not(:has([class]:not(.data)))');
  drop('.bd-toc-nav li:nth-child(n + 6), .genindextable li:nth-child(n + 4)');
  [...document.querySelectorAll('.bd-article dl.py')].slice(6).forEach((entry) => entry.remove());
  const seen = {};
  for (const word of document.querySelectorAll('.highlight pre span[class]')) {
    seen[word.className] = (seen[word.className] || 0) + 1;
    if (seen[word.className] > 2) word.remove();
  }
  if (!start) drop('.bd-links__inner');
  const still = document.createElement('style');
  still.textContent = '* { transition: none !important; animation: none !important; }';
  document.head.append(still);
}"""

# Without preload: the rules would fetch style sheets by addresses that they get wrong.
VIOLATIONS = """(only) => axe.run({preload: false, resultTypes: ['violations'], ...(only ? {runOnly: only} : {})})
  .then((found) => found.violations.flatMap((rule) => rule.nodes.map(
    (node) => `${rule.id}: ${node.html.slice(0, 160)} (${node.failureSummary.split('\\n')[1].trim()})`)))"""
# What a colour scheme can change.
COLOURS = ["color-contrast", "link-in-text-block", "image-alt", "svg-img-alt"]

ROWS = "(table) => [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()))"


@dataclass
class Visit:
    """Findings on one page."""

    complaints: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    weight: int = 0
    heaviest: str = ""
    sticking_out: list[str] = field(default_factory=list)
    violations: dict[str, list[str]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """One tab, as wide as a desk's screen, reading dark on light."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def visits(page: Any, html: Path, origin: str, axe: str) -> dict[str, Visit]:
    """Every page by its path in the book, each loaded once."""
    found: dict[str, Visit] = {}
    for name in sorted(path.relative_to(html).as_posix() for path in html.rglob("*.html")):
        if not name.startswith("_static/"):
            found[name] = _visit(page, html, origin, name, axe)
    assert len(found) > 20, sorted(found)
    return found


def _visit(page: Any, html: Path, origin: str, name: str, axe: str) -> Visit:
    visit = Visit()

    def said(message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(HARMLESS):
            visit.complaints.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith((f"{origin}/", "data:", "blob:")):
            visit.away.append(request.url)

    listeners = {
        "console": said,
        "pageerror": lambda error: visit.complaints.append(str(error)),
        "request": asked,
        "requestfailed": lambda request: visit.failed.append(f"{request.url}: {request.failure}"),
        "response": lambda answer: (
            visit.failed.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None
        ),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    page.goto(f"{origin}/{name}", wait_until="load")
    if name == "index.html":
        page.wait_for_url(f"{origin}/{START_PAGE}", wait_until="load")
    visit.facts = page.evaluate(FACTS)
    # index.html redirects to the start page.
    loaded = {address.partition("#")[0].partition("?")[0] for address in (page.url, *visit.facts["loaded"])}
    files = [
        html / unquote(address.removeprefix(origin)).lstrip("/") for address in loaded if address.startswith(origin)
    ]
    sizes = {path.relative_to(html).as_posix(): path.stat().st_size for path in files if path.is_file()}
    visit.weight = sum(sizes.values())
    visit.heaviest = ", ".join(f"{path} {sizes[path]:,}" for path in sorted(sizes, key=sizes.get, reverse=True)[:3])
    page.set_viewport_size({"width": 360, "height": 740})
    visit.sticking_out = page.evaluate(STICKING_OUT)
    page.set_viewport_size({"width": 1280, "height": 900})
    if not SAME_FORM.search(name):
        page.evaluate(THINNED, name == START_PAGE)
        page.evaluate(axe)
        for scheme, rules in (("dark", COLOURS), ("light", None)):
            _read(page, scheme)
            visit.violations[scheme] = page.evaluate(VIOLATIONS, rules)
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    return visit


def _read(page: Any, scheme: str) -> None:
    """Read light on dark ("dark"), or dark on light ("light")."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_selector(f"html[data-theme={scheme}]")


def _list(visits: dict[str, Visit], what: str) -> str:
    """One line a finding, for all pages at once."""
    return "\n".join(f"{name}: {each}" for name, visit in visits.items() for each in getattr(visit, what))


def test_no_page_complains_on_the_console(visits: dict[str, Visit]):
    assert not _list(visits, "complaints"), _list(visits, "complaints")


def test_no_request_fails(visits: dict[str, Visit]):
    assert not _list(visits, "failed"), _list(visits, "failed")


def test_no_request_leaves_the_machine(visits: dict[str, Visit]):
    assert not _list(visits, "away"), _list(visits, "away")


def test_every_internal_link_and_anchor_leads_somewhere(visits: dict[str, Visit], html: Path, origin: str):
    broken, inside = [], 0
    for name, visit in visits.items():
        for link in visit.facts["links"]:
            address, _, anchor = link.partition("#")
            if not address.startswith(origin):
                continue
            inside += 1
            target = unquote(address.removeprefix(origin)).lstrip("/").partition("?")[0]
            named = not anchor or target not in visits or unquote(anchor) in visits[target].facts["names"]
            if not (html / target).is_file() or not named:
                broken.append(f"{name}: {link.removeprefix(origin)}")
    assert not broken, "\n".join(broken)
    assert inside > 500


def test_a_planted_script_does_not_run(html: Path, page: Any, origin: str):
    pages = [path for path in html.rglob("*.html") if "_static" not in path.parts]
    assert not [path for path in pages if '"Content-Security-Policy"' not in path.read_text(encoding="utf-8")[:1000]]
    planted = "<script>window.planted = 1</script><img src=x onerror='window.planted = 1'></body>"
    body = (html / START_PAGE).read_text(encoding="utf-8").replace("</body>", planted)
    page.route(f"**/{START_PAGE}", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(f"{origin}/{START_PAGE}")
    assert page.evaluate("document.querySelector('img[src=x]') && !window.planted")
    page.unroute(f"**/{START_PAGE}")


def test_no_page_scrolls_sideways_on_a_phone(visits: dict[str, Visit]):
    assert not _list(visits, "sticking_out"), _list(visits, "sticking_out")


def test_pages_weigh_little(visits: dict[str, Visit]):
    by_weight = sorted(visits, key=lambda name: -visits[name].weight)
    measured = "\n".join(f"{visits[name].weight:>9,} {name} ({visits[name].heaviest})" for name in by_weight)
    assert visits[START_PAGE].weight <= LIGHTEST_START, measured
    assert visits[by_weight[0]].weight <= LIGHTEST_PAGE, measured
    # What every page loads counts: no page can be lighter than the theme's style sheet.
    assert visits[by_weight[-1]].weight > 100_000, measured


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_accessibility_rule_is_broken(visits: dict[str, Visit], scheme: str):
    broken = [f"{name}: {each}" for name, visit in visits.items() for each in visit.violations.get(scheme, [])]
    assert not broken, "\n".join(broken)
    assert sum(scheme in visit.violations for visit in visits.values()) > 20


def test_the_accessibility_rules_find_what_is_planted(page: Any, origin: str, axe: str):
    page.goto(f"{origin}/{START_PAGE}")
    page.evaluate(
        """() => { document.querySelector('.bd-article').innerHTML +=
          '<img src="../_static/logo.svg"><p style="color: #999; background: #fff">pale</p>'; }"""
    )
    page.evaluate(axe)
    rules = {each.partition(":")[0] for each in page.evaluate(VIOLATIONS)}
    assert {"image-alt", "color-contrast"} <= rules


def test_every_figure_has_caption_and_alternative_text(visits: dict[str, Visit]):
    assert not [f"{name}: {each}" for name, visit in visits.items() for each in visit.facts["bare"]]
    charts = [label for visit in visits.values() for label in visit.facts["charts"]]
    assert len(charts) > 10
    assert all(len(label) > 20 for label in charts), charts


def test_every_table_of_results_can_be_downloaded(visits: dict[str, Visit]):
    tables = [(name, fine) for name, visit in visits.items() for fine in visit.facts["tables"]]
    assert len(tables) > 40
    assert not [name for name, fine in tables if not fine]


def test_a_downloaded_table_holds_the_rows_of_the_page(page: Any, origin: str):
    page.goto(f"{origin}/notebooks/11_claims.html")
    tables = page.locator(".cell_output table").all()
    table = max(tables, key=lambda one: one.locator("tbody tr").count())
    shown = table.evaluate(ROWS)
    names = table.locator("thead th").all_text_contents()
    with page.expect_download() as download:
        table.locator("xpath=ancestor::*[contains(@class, 'table-box')]/following-sibling::button[1]").click()
    assert re.fullmatch(r"11-claims-[a-z0-9-]+\.csv", download.value.suggested_filename)
    text = Path(download.value.path()).read_bytes().decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == names
    assert rows[1:] == [[re.sub(r"\s+", " ", cell) for cell in row] for row in shown]
    assert len(rows) > 10
