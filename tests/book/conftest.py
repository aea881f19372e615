"""The built mini book behind a local server, one browser for all tests, and the accessibility rules."""

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

HTML = Path(__file__).resolve().parents[2] / "book" / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# No other host resolves: a page that asks for one fails at once.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def find_browser(playwright: Any) -> str | None:
    """A Chromium of the system, or the one that `playwright install chromium` brings."""
    own = playwright.chromium.executable_path
    return next(filter(None, map(shutil.which, BROWSERS)), own if Path(own).is_file() else None)


@pytest.fixture(scope="session")
def html() -> Path:
    if not (HTML / "index.html").is_file():
        pytest.skip("the book is not built: make book")
    return HTML


@pytest.fixture(scope="session")
def origin(html: Path) -> Iterator[str]:
    """The address of a server of the built book."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(html))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser(html: Path) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e .[dev]")
    with api.sync_playwright() as playwright:
        path = find_browser(playwright)
        if path is None:
            pytest.skip("no Chromium is installed: apt-get install chromium, or playwright install chromium")
        # Settings and crash reports stay out of the home folder.
        environment = os.environ | {"XDG_CONFIG_HOME": os.environ["XDG_CACHE_HOME"]}
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, env=environment)
        yield running
        running.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility rules, a script that runs in a page."""
    package = pytest.importorskip("axe_playwright_python", reason="axe is not installed: pip install -e .[dev]")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
