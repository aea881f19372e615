"""The examples of README, quick start and API page run as they are printed."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import edgezsad
from edgezsad.cli import app
from synthetic.image import Address, normal_image

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "book/quick-start.md", "book/api.md", "book/howto-own-photographs.md")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good/1.jpg to 3.jpg, part.jpg and configs."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "good").mkdir()
    (folder / "configs").symlink_to(ROOT / "configs")
    for index, name in enumerate(("good/1.jpg", "good/2.jpg", "good/3.jpg", "part.jpg")):
        address = Address(0, "examples", "washer", "train", index, (128, 128), False)
        Image.fromarray(normal_image(address)).save(folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_python_examples_run(page: str, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images)
    names: dict[str, object] = {}
    found = blocks(page, "python")
    assert found
    for block in found:
        exec(compile(block, page, "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "book/quick-start.md"])
def test_commands_run(page: str, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images)
    commands = [shlex.split(line, comments=True) for line in blocks(page, "bash")[0].splitlines()]
    commands = [words[1:] for words in commands if words[0] == "edgezsad"]
    assert [words[0] for words in commands] == ["adapt", "predict"]
    for words in commands:
        given = [path for word in words for path in ([*map(str, sorted(Path().glob(word)))] if "*" in word else [word])]
        done = CliRunner().invoke(app, given, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert Path("part.jpg.heatmap.png").is_file()


def test_the_api_page_lists_the_public_names() -> None:
    text = (ROOT / "book/api.md").read_text(encoding="utf-8")
    listed = re.findall(r"`(\w+)`", text[text.index("| name |") : text.index("## Score images")])
    assert sorted(listed) == sorted(edgezsad.__all__)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
