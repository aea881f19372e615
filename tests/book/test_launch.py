"""Launch links: right in form where a repository is set, and none where it is not."""

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

from edgezsad.book.launch import launch_links
from edgezsad.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "notebooks/03_training.ipynb"


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEZSAD_REPOSITORY", raising=False)


def setting(url: str, branch: str = "main") -> dict[str, dict[str, str]]:
    return {"repository": {"url": url, "branch": branch}}


@pytest.mark.parametrize("config", [{}, {"repository": None}, setting(""), {"repository": {}}])
def test_no_repository_no_links(config: dict[str, object]) -> None:
    assert launch_links(NOTEBOOK, config) == {}


def test_this_repository_names_none() -> None:
    """Nobody has published this one: a fork sets its own address, in one place."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["repository"]["url"] == ""
    assert launch_links(NOTEBOOK, config) == {}


@pytest.mark.parametrize(
    "url", ["https://github.com/me/my.fork", "https://github.com/me/my.fork/", "https://github.com/me/my.fork.git"]
)
def test_links_of_a_fork(url: str) -> None:
    links = launch_links(NOTEBOOK, setting(url, "work/new"))
    assert links["source"] == "https://github.com/me/my.fork/blob/work/new/notebooks/03_training.ipynb"
    assert links["Colab"] == "https://colab.research.google.com/github/me/my.fork/blob/work/new/" + NOTEBOOK
    binder = urlsplit(links["Binder"])
    assert binder.netloc == "mybinder.org"
    assert binder.path.split("/")[1:6] == ["v2", "gh", "me", "my.fork", "work%2Fnew"]
    assert unquote(parse_qs(binder.query)["urlpath"][0]) == f"lab/tree/{NOTEBOOK}"


def test_the_variable_of_a_workflow_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEZSAD_REPOSITORY", "https://github.com/they/fork")
    assert "/they/fork/" in launch_links(NOTEBOOK, setting("https://github.com/me/other"))["Colab"]


@pytest.mark.parametrize(
    "url",
    [
        "github.com/me/fork",
        "https://example.org/me/fork",
        "https://github.com/me",
        "https://github.com/me/fork/tree/main",
        "https://github.com/me/fo rk",
    ],
)
def test_an_address_that_opens_nothing_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"_config\.yml: repository\.url") as caught:
        launch_links(NOTEBOOK, setting(url))
    assert "https://github.com/OWNER/NAME" in str(caught.value)


def test_a_branch_that_is_none() -> None:
    with pytest.raises(InputError, match="branch"):
        launch_links(NOTEBOOK, setting("https://github.com/me/fork", "a b"))


def test_binder_installs_the_pins() -> None:
    folder = ROOT / ".binder"
    (line,) = [line for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert (folder / line.removeprefix("-r ")).resolve() == ROOT / "requirements.lock"
    assert (folder / "postBuild").stat().st_mode & 0o111
    assert (folder / "runtime.txt").read_text().strip() == "python-3.11"
