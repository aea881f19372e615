"""Accuracy and speed of the page "Try it" in headless Chromium, compared with the library.

    python benchmarks/tryit.py [--photographs FOLDER] [--html book/_build/html]

Prints the largest differences of score and map over twenty photographs of FOLDER and ten generated images, and the time
of the first and of each further image, with the browser on one core. Needs the built book with its runtime, playwright
and Chromium.
"""

import argparse
import functools
import os
import shutil
import statistics
import tempfile
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgezsad.data.images import load
from edgezsad.predict import find_images, load_scorer
from synthetic.image import Address, defective_image, normal_image

FAMILIES = ("bracket", "cap", "felt", "leather", "perforated")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LISTEN = """() => {
  window.scored = [];
  document.getElementById('tryit').addEventListener('tryit-scored', ({detail}) =>
    window.scored.push({...detail, map: [...detail.map]}));
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def photographs(folder: Path, root: Path | None = None) -> list[Path]:
    """Write ten generated images of several sizes into `folder`; return them, and twenty images of `root` if given."""
    paths = []
    for number, family in enumerate(FAMILIES):
        for defective in (False, True):
            address = Address(1, "try-it", family, "test", number, (240 + 90 * number, 400), False)
            image = defective_image(address)[0] if defective else normal_image(address)
            paths.append(folder / f"{family}-{defective}.{'jpg' if number % 2 else 'png'}")
            Image.fromarray(image).save(paths[-1], quality=92)
    if root is not None:
        found, _ = find_images([root])
        paths += [found[int(position)] for position in np.linspace(0, len(found) - 1, 20)]
    return paths


def give(page: Any, path: Path) -> tuple[dict[str, Any], float]:
    """Score one image; return the result and the seconds until it is shown."""
    before = page.evaluate("window.scored.length")
    start = time.perf_counter()
    page.set_input_files("#tryit input[type=file]", path)
    page.wait_for_function(
        "(n) => window.scored.length > n || document.querySelector('#tryit [data-part=error]').textContent", arg=before
    )
    seconds = time.perf_counter() - start
    if error := page.text_content("#tryit [data-part=error]"):
        raise SystemExit(f"{path}: {error}")
    return page.evaluate("window.scored.at(-1)"), seconds


def main() -> None:
    """Measure and print."""
    # Tests use only the images, without playwright.
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--html", type=Path, default=Path("book/_build/html"))
    options = parser.parse_args()
    scorer, _ = load_scorer()
    if hasattr(os, "sched_setaffinity"):
        # The browser inherits it.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(options.html)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        paths = photographs(Path(name), options.photographs)
        large = Path(name) / "large.jpg"
        Image.fromarray(np.asarray(Image.open(paths[2]).convert("RGB").resize((4000, 3000)))).save(large, quality=92)
        path = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(bypass_csp=True)
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/book/try-it.html")
        page.evaluate(LISTEN)
        give(page, paths[0])
        # Again with cached files.
        page.reload()
        page.evaluate(LISTEN)
        _, until_first = give(page, paths[0])
        print(f"first image, files cached: {until_first:.2f} s")
        scores, maps, inside, outside = [], [], [], []
        for one in paths:
            result, seconds = give(page, one)
            score, anomaly_map = scorer.score(load(one, scorer.size))
            scores.append(abs(result["score"] - score))
            maps.append(float(np.corrcoef(result["map"], anomaly_map.ravel())[0, 1]))
            inside.append(result["milliseconds"] / 1000)
            outside.append(seconds)
        print(
            f"{len(paths)} images: largest difference of score {max(scores):.1e}, least map correlation {min(maps):.6f}"
        )
        for what, times in (("scoring", inside), ("until the result is shown", outside)):
            print(f"seconds an image, {what}: median {statistics.median(times):.2f}, most {max(times):.2f}")
        _, seconds = give(page, large)
        print(f"12 million pixels: {seconds:.2f} s")
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main()
