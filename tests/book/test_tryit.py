"""What the page "Try it" loads: brought together for the browser, pinned by hashes, with and without npm."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgezsad.book import runtime as module
from edgezsad.book.fill import fill
from edgezsad.book.runtime import Runtime, find_runtime, integrity
from edgezsad.book.tryit import EXAMPLES, bring_together
from edgezsad.checkpoints import GRAPH
from edgezsad.errors import CheckError
from edgezsad.scoring.graph_scorer import GraphScorer
from edgezsad.show.maps import HEAT_RANGE, overlay

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "book" / "tryit"
FAKE = {"script": b"script", "wasm": b"wasm"}


def pins(folder: Path) -> Path:
    """A folder like `book/tryit`, of a runtime whose two files are in `FAKE`."""
    folder.mkdir()
    for name in ("package.json", "package-lock.json", ".npmrc"):
        (folder / name).write_text("{}")
    files = {
        use: {"file": f"{use}.bin", "bytes": len(data), "integrity": integrity(data)} for use, data in FAKE.items()
    }
    pinned = {"package": "one", "version": "1.2.3", "address": "https://cdn.example/one/", "files": files}
    (folder / "runtime.json").write_text(json.dumps(pinned))
    return folder


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command `npm` that runs what a test writes into the file that is returned."""
    command = tmp_path / "bin" / "npm"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\nexit 0\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    return command


def brings(script: str, wasm: str) -> str:
    return (
        '#!/bin/sh\n[ "$1" = ci ] || exit 9\nmkdir -p node_modules/one/dist\n'
        f"printf {script} > node_modules/one/dist/script.bin\nprintf {wasm} > node_modules/one/dist/wasm.bin\n"
    )


def test_npm_brings_the_runtime_once(tmp_path: Path, npm: Path) -> None:
    npm.write_text(brings("script", "wasm"))
    found = find_runtime(pins(tmp_path / "pins"), tmp_path / "kept")
    assert found.folder == tmp_path / "kept" / "1.2.3"
    assert {path.name: path.read_bytes() for path in found.folder.iterdir()} == {
        "script.bin": b"script",
        "wasm.bin": b"wasm",
    }
    # A second build asks nobody.
    npm.write_text("#!/bin/sh\nexit 1\n")
    assert find_runtime(tmp_path / "pins", tmp_path / "kept") == found
    # What has been damaged since is brought again, or left.
    (found.folder / "wasm.bin").write_bytes(b"other")
    assert find_runtime(tmp_path / "pins", tmp_path / "kept").folder is None


def test_other_files_than_the_pinned_ones_stop_the_build(tmp_path: Path, npm: Path) -> None:
    npm.write_text(brings("script", "other"))
    with pytest.raises(CheckError, match=r"runtime\.json: names other files than one 1\.2\.3 holds"):
        find_runtime(pins(tmp_path / "pins"), tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_without_npm_or_network_the_book_is_built_all_the_same(
    tmp_path: Path, npm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    assert find_runtime(pins(tmp_path / "pins"), tmp_path / "kept").folder is None
    assert "npm failed: no network; the page 'Try it' will load its runtime from a pinned" in capsys.readouterr().err
    npm.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(module, "LONGEST", 0.2)
    assert find_runtime(tmp_path / "pins", tmp_path / "kept").folder is None
    assert "npm took more than" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert find_runtime(tmp_path / "pins", tmp_path / "kept").folder is None
    assert "npm is not installed" in capsys.readouterr().err


def test_the_pins_agree_and_name_no_registry() -> None:
    pinned = json.loads((PINS / "runtime.json").read_text())
    lock = json.loads((PINS / "package-lock.json").read_text())
    wanted = json.loads((PINS / "package.json").read_text())["dependencies"]
    assert wanted == {pinned["package"]: pinned["version"]}
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages[f"node_modules/{pinned['package']}"]["version"] == pinned["version"]
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert "resolved" not in json.dumps(lock)
    assert f"{pinned['package']}@{pinned['version']}/" in pinned["address"]


@pytest.fixture
def bundled(tmp_path: Path) -> Runtime:
    folder = tmp_path / "runtime"
    folder.mkdir()
    pinned = json.loads((pins(tmp_path / "pins") / "runtime.json").read_text())
    for use, data in FAKE.items():
        (folder / f"{use}.bin").write_bytes(data)
    return Runtime(pinned["version"], pinned["address"], pinned["files"], folder)


def test_the_list_of_files_holds_what_lies_there(tmp_path: Path, bundled: Runtime) -> None:
    facts = bring_together(tmp_path / "book", bundled)
    folder = tmp_path / "book" / "_static" / "tryit"
    files = json.loads((folder / "files.json").read_text())["files"]
    assert set(files) == {"model", "script", "wasm"}
    for file in files.values():
        data = (folder / file["url"]).read_bytes()
        assert (len(data), integrity(data)) == (file["bytes"], file["integrity"])
    assert (folder / files["model"]["url"]).read_bytes() == GRAPH.read_bytes()
    assert facts.megabytes == pytest.approx((GRAPH.stat().st_size + 10) / 1e6)
    assert facts.size == GraphScorer(GRAPH).size


def test_without_the_runtime_its_files_come_from_the_pinned_address(tmp_path: Path, bundled: Runtime) -> None:
    away = Runtime(bundled.version, bundled.address, bundled.files)
    facts = bring_together(tmp_path / "book", away)
    folder = tmp_path / "book" / "_static" / "tryit"
    files = json.loads((folder / "files.json").read_text())["files"]
    assert files["wasm"]["url"] == "https://cdn.example/one/wasm.bin"
    assert files["wasm"]["integrity"] == integrity(b"wasm")
    assert not list(folder.glob("*.bin"))
    assert "https://cdn.example/one/" in facts.source


def test_examples_are_small_and_always_the_same(tmp_path: Path, bundled: Runtime) -> None:
    both = []
    for name in ("one", "two"):
        bring_together(tmp_path / name, bundled)
        both.append([(tmp_path / name / "_static/tryit" / example.file).read_bytes() for example in EXAMPLES])
    assert both[0] == both[1]
    assert sum(map(len, both[0])) < 200_000
    assert {example.defective for example in EXAMPLES} == {True, False}
    assert len(set(both[0])) == len(EXAMPLES) >= 3


def test_the_colours_are_those_of_the_package_s_heat_maps(tmp_path: Path, bundled: Runtime) -> None:
    bring_together(tmp_path, bundled)
    heat = json.loads((tmp_path / "_static/tryit/files.json").read_text())["heat"]
    assert tuple(heat["range"]) == HEAT_RANGE
    table = np.frombuffer(bytes.fromhex(heat["colours"]), np.uint8).reshape(256, 3)
    # Over black, where the map is at its highest, the package paints three quarters of its last colour.
    highest = overlay(np.zeros((1, 1, 3), np.uint8), np.full((1, 1), HEAT_RANGE[1]))
    assert np.abs(highest[0, 0] - 0.75 * table[255]).max() <= 0.5


def test_the_page_asks_for_what_there_is(tmp_path: Path, bundled: Runtime) -> None:
    text = (ROOT / "book" / "try-it.md").read_text(encoding="utf-8")
    for card, page in ((False, "howto-own-photographs.html"), (True, "model-card.html")):
        if card:
            (tmp_path / "model-card.md").touch()
        filled = fill(text, {"tryit": bring_together(tmp_path, bundled)}, "try-it.md")
        assert "{{" not in filled
        assert f'href="{page}"' in filled
    for example in EXAMPLES:
        assert f'data-example="../_static/tryit/{example.file}"' in filled
    script = (ROOT / "book/_static/tryit/page.js").read_text(encoding="utf-8")
    parts = set(re.findall(r'part\("(\w+)"\)', script)) | {"photograph", "heat"}
    assert parts == set(re.findall(r'data-part="(\w+)"', filled))


def test_an_example_is_an_image_of_the_right_kind(tmp_path: Path, bundled: Runtime) -> None:
    bring_together(tmp_path, bundled)
    for example in EXAMPLES:
        with Image.open(tmp_path / "_static/tryit" / example.file) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
