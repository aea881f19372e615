"""The page "Try it" in a browser: what it asks for, that its scores are the library's, that no failure is a blank.

With `EDGEZSAD_PHOTOGRAPHS=FOLDER` twenty photographs of a folder are scored too, in addition to the generated ones.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgezsad.data.images import load
from edgezsad.model import GRAPH, REFERENCES
from edgezsad.predict import Decision, Detector, find_images, load_scorer
from edgezsad.references import adapt
from synthetic.image import Address, defective_image, normal_image

PAGE = "book/try-it.html"
LONGEST = 60_000
"""Milliseconds to wait for what a busy machine does slowly; no time is asserted."""

SCORED = """() => {
  window.scored = [];
  document.getElementById('tryit').addEventListener('tryit-scored', ({detail}) =>
    window.scored.push({...detail, map: [...detail.map]}));
  window.adapted = [];
  document.getElementById('tryit').addEventListener('tryit-adapted', ({detail}) => window.adapted.push(detail));
}"""
# Playwright's own waiting evaluates text, which the page's policy forbids.
WAIT = """([before, most]) => new Promise((done, failed) => {{
  const end = Date.now() + most;
  const look = () => ({}) ? done() : Date.now() > end ? failed(new Error('nothing')) : setTimeout(look, 50);
  look();
}})"""
SETTLED = "window.{}.length > before || document.querySelector('#tryit [data-part=error]').textContent !== ''"
VIOLATIONS = """(only) => axe.run('#tryit', {preload: false, resultTypes: ['violations']})
  .then((found) => found.violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html}`)))"""


class TryIt:
    """The page, the addresses of all its requests without the server's, and errors and warnings of its console."""

    def __init__(self, page: Any, origin: str):
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.context.on("request", lambda request: self.asked.append(request.url.removeprefix(origin)))
        page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{origin}/{PAGE}")
        page.wait_for_selector("#tryit[data-ready]")
        page.evaluate(SCORED)

    def part(self, name: str) -> Any:
        return self.page.locator(f'#tryit [data-part="{name}"]')

    def after(self, act: Callable[[], object], event: str = "scored") -> dict[str, Any]:
        """Do something that gives an image; returns the result, or {"error": the sentence}."""
        before = self.page.evaluate(f"window.{event}.length")
        act()
        self.page.evaluate(WAIT.format(SETTLED.format(event)), [before, LONGEST])
        error = self.part("error").text_content()
        return {"error": error} if error else self.page.evaluate(f"window.{event}.at(-1)")

    def give(self, path: Path | dict[str, Any]) -> dict[str, Any]:
        return self.after(lambda: self.part("file").set_input_files(path))

    def give_good(self, paths: list[Path]) -> dict[str, Any]:
        return self.after(lambda: self.part("good-file").set_input_files(paths), "adapted")


@pytest.fixture(scope="module")
def bundled(html: Path) -> None:
    """Skip if the book holds no runtime, or another model than the package has now."""
    files = json.loads((html / "_static/tryit/files.json").read_text(encoding="utf-8"))["files"]
    if "wasm" not in files:
        pytest.skip("the book was built without its runtime: npm")
    for use, path in {"single": GRAPH, "references": REFERENCES}.items():
        if (html / "_static/tryit" / files[use]["url"]).read_bytes() != path.read_bytes():
            pytest.skip("the book holds another model than the package: make book")


@pytest.fixture
def opened(browser: Any, origin: str) -> Iterator[Callable[..., TryIt]]:
    """Opens the page in a context of its own, so that nothing is kept from another test."""
    contexts = []

    def open_page(prepare: Callable[[Any], object] | None = None, **options: Any) -> TryIt:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        if prepare:
            prepare(page)
        return TryIt(page, origin)

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def one(browser: Any, origin: str, bundled: None) -> Iterator[TryIt]:
    """One page for all tests that leave it as they found it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield TryIt(context.new_page(), origin)
    context.close()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten generated images of several sizes, and twenty photographs evenly from a folder where one is given."""
    folder, paths = tmp_path_factory.mktemp("photographs"), []
    for number, family in enumerate(("bracket", "cap", "felt", "leather", "perforated")):
        for defective in (False, True):
            address = Address(1, "try-it", family, "test", number, (240 + 90 * number, 400), False)
            image = defective_image(address)[0] if defective else normal_image(address)
            paths.append(folder / f"{family}-{defective}.{'jpg' if number % 2 else 'png'}")
            Image.fromarray(image).save(paths[-1], quality=92)
    if root := os.environ.get("EDGEZSAD_PHOTOGRAPHS"):
        found, _ = find_images([root])
        paths += [found[int(position)] for position in np.linspace(0, len(found) - 1, 20)]
    return paths


def heavy(addresses: list[str]) -> list[str]:
    return [url for url in addresses if url.endswith((".wasm", ".onnx", ".mjs"))]


def test_requests_stay_with_the_book_and_the_model_is_fetched_once(opened: Callable[..., TryIt], bundled: None):
    tryit = opened()
    tryit.page.wait_for_load_state("networkidle")
    assert not heavy(tryit.asked)
    assert "score" in tryit.after(lambda: tryit.page.locator("[data-example]").first.click())
    assert len(heavy(tryit.asked)) >= 2 and not tryit.complaints
    # The runtime's script is run from memory, after its hash was checked.
    assert not [url for url in tryit.asked if not url.startswith(("/", "blob:"))]
    tryit.page.reload()
    tryit.page.evaluate(SCORED)
    before = len(tryit.asked)
    assert "score" in tryit.after(lambda: tryit.page.locator("[data-example]").last.click())
    assert not heavy(tryit.asked[before:])


def test_scores_and_maps_are_those_of_predict(one: TryIt, photographs: list[Path]):
    scorer, _ = load_scorer()
    for path in photographs:
        found = one.give(path)
        assert "error" not in found, (path, found)
        score, anomaly_map = scorer.score(load(path, scorer.size))
        correlation = np.corrcoef(found["map"], anomaly_map.ravel())[0, 1]
        print(f"{path.name}: score {score:+.4f}, off by {found['score'] - score:+.1e}, map {correlation:.6f}")
        assert abs(found["score"] - score) <= 2e-3, path
        assert correlation >= 0.999, path
        # One image gives no reason for a verdict.
        assert (found["threshold"], found["verdict"]) == (None, "uncalibrated")
        assert one.part("verdict").text_content() == "uncalibrated" and one.part("advice").is_visible()
        assert f"{path.name}: uncalibrated, score" in one.part("status").text_content()
    assert not one.complaints


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Four good caps, two caps to judge, the second of them defective, and another part."""
    folder = tmp_path_factory.mktemp("parts")
    made = {"good": [], "judged": [], "other": []}
    for index, kind in enumerate(["good"] * 4 + ["judged"] * 2 + ["other"]):
        address = Address(2, "try-it", "felt" if kind == "other" else "cap", "test", index, (360, 400), False)
        made[kind].append(folder / f"{index}.png")
        image = defective_image(address)[0] if index == 5 else normal_image(address)
        Image.fromarray(image).save(folder / f"{index}.png")
    return made


def test_good_images_make_the_detector_of_adapt(
    opened: Callable[..., TryIt], parts: dict[str, list[Path]], bundled: None, tmp_path: Path
):
    tryit = opened()
    found = tryit.give_good(parts["good"])
    assert "error" not in found, found
    adapted = adapt(parts["good"], tmp_path / "adapted.onnx", rotations="none")
    expected = Detector(adapted.path)
    assert found["threshold"] == pytest.approx(adapted.threshold, abs=2e-3)
    assert tryit.part("basis").text_content() == adapted.basis
    with tryit.page.expect_download() as download:
        tryit.part("download").click()
    download.value.save_as(tmp_path / "part.onnx")
    # The file passes the checks of hash and base model.
    loaded = Detector(tmp_path / "part.onnx")
    assert loaded.decision == Decision(found["threshold"], adapted.basis)
    for path in parts["judged"]:
        scored, prediction = tryit.give(path), expected.predict(path)
        correlation = np.corrcoef(scored["map"], prediction.map.ravel())[0, 1]
        print(f"{path.name}: score {prediction.score:+.4f}, off by {scored['score'] - prediction.score:+.1e}")
        assert scored["score"] == pytest.approx(prediction.score, abs=2e-3)
        assert loaded.predict(path).score == pytest.approx(prediction.score, abs=2e-3)
        assert correlation >= 0.999
        assert scored["verdict"] == prediction.verdict == tryit.part("verdict").text_content()
    assert not tryit.complaints


def test_the_slider_decides(opened: Callable[..., TryIt], parts: dict[str, list[Path]], bundled: None, tmp_path: Path):
    tryit = opened()
    good, (normal, _) = parts["good"], parts["judged"]
    assert "score" in tryit.give(normal)

    def rescored(paths: list[Path]) -> dict[str, Any]:
        """The result of the judged image, which is scored again after each change of the good ones."""
        return tryit.after(lambda: tryit.part("good-file").set_input_files(paths))

    # One good image gives no threshold.
    assert rescored(good[:1])["verdict"] == "uncalibrated"
    assert tryit.part("calibration").is_hidden()
    assert rescored(good[1:])["verdict"] in ("normal", "defective")
    slider = tryit.part("limit")
    for value, word in (("min", "defective"), ("max", "normal")):
        slider.evaluate(f"(one) => {{ one.value = one.{value}; one.dispatchEvent(new Event('input')); }}")
        assert tryit.part("verdict").text_content() == word
    assert "good images flagged" in slider.get_attribute("aria-valuetext")
    with tryit.page.expect_download() as download:
        tryit.part("download").click()
    download.value.save_as(tmp_path / "part.onnx")
    decision = Detector(tmp_path / "part.onnx").decision
    assert decision == Decision(float(slider.input_value()), "set by hand in the browser on 4 good images")
    assert tryit.give_good(good[:1]) == {"error": "0.png: given twice."}
    assert tryit.part("verdict").text_content() == "normal"
    # Another part among the good ones is noticed.
    rescored(parts["other"])
    assert tryit.page.evaluate("window.adapted.at(-1).unlike") == [False] * 4 + [True]
    assert tryit.part("good-list").text_content().count("unlike the others") == 1
    assert tryit.after(tryit.part("clear").click)["verdict"] == "uncalibrated"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_result_breaks_no_accessibility_rule(one: TryIt, axe: str, scheme: str):
    one.page.emulate_media(color_scheme=scheme)
    one.page.wait_for_selector(f"html[data-theme={scheme}]")
    one.page.add_style_tag(content="* { transition: none !important; }")
    assert "score" in one.after(lambda: one.page.locator("[data-example]").first.click())
    one.page.evaluate(axe)
    assert one.page.evaluate(VIOLATIONS) == []
    assert "error" not in one.after(one.part("good-examples").click, "adapted")
    assert one.page.evaluate(VIOLATIONS) == []
    one.after(one.part("clear").click)
    assert "not" in one.give({"name": "a.txt", "mimeType": "text/plain", "buffer": b"hello"})["error"]
    assert one.page.evaluate(VIOLATIONS) == []
    one.page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_dropped_and_pasted(one: TryIt, kind: str):
    file = one.page.locator("[data-example]").first.get_attribute("data-example")
    found = one.after(
        lambda: one.page.evaluate(
            """async ([kind, address]) => {
              const blob = await (await fetch(address)).blob();
              const items = new DataTransfer();
              items.items.add(new File([blob], `${kind}.jpg`, {type: 'image/jpeg'}));
              const event = kind === 'drop'
                ? new DragEvent('drop', {dataTransfer: items, bubbles: true, cancelable: true})
                : new ClipboardEvent('paste', {clipboardData: items, bubbles: true, cancelable: true});
              document.querySelector('#tryit [data-part=drop]').dispatchEvent(event);
            }""",
            [kind, file],
        )
    )
    assert found["name"] == f"{kind}.jpg"


def test_the_camera(opened: Callable[..., TryIt], bundled: None):
    """A canvas instead of a camera."""
    tryit = opened(
        lambda page: page.add_init_script(
            """Object.defineProperty(navigator, 'mediaDevices', {value: {getUserMedia: async (asked) => {
              const canvas = document.createElement('canvas');
              canvas.width = 640; canvas.height = 480;
              const context = canvas.getContext('2d');
              const paint = () => { context.fillStyle = '#b06020'; context.fillRect(0, 0, 640, 480); };
              paint(); setInterval(paint, 50);
              window.given = canvas.captureStream(20);
              return window.given;
            }}});"""
        )
    )
    assert tryit.part("viewfinder").is_hidden()
    tryit.part("camera").click()
    tryit.page.evaluate(WAIT.format("document.querySelector('#tryit video').videoWidth > 0"), [0, LONGEST])
    found = tryit.after(lambda: tryit.part("shoot").click())
    assert (found["name"], found["width"], found["height"]) == ("Camera photograph", 640, 480)
    assert tryit.part("viewfinder").is_hidden()
    # The camera's light goes out.
    assert tryit.page.evaluate("window.given.getTracks().every((track) => track.readyState === 'ended')")


def test_a_model_that_cannot_be_fetched_is_reported_and_fetched_again(opened: Callable[..., TryIt], bundled: None):
    tryit = opened(lambda page: page.context.route("**/*.onnx", lambda route: route.fulfill(status=404)))
    click = tryit.page.locator("[data-example]").first.click
    assert re.match(r"The model could not be fetched \(the server answered 404\)", tryit.after(click)["error"])
    tryit.page.context.unroute("**/*.onnx")
    assert "score" in tryit.after(click)
