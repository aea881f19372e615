"""What is taken from a built book: icons that no page shows, source maps."""

from pathlib import Path

import pytest

from edgezsad.book_weight import ICON_SCRIPT, fewer_icons, lighten
from edgezsad.errors import CheckError

SCRIPT = (
    'var a={bars:[448,512,["navicon"],"f0c9","M0 96C0"],"circle-half-stroke":[512,512,[9680,"adjust"],"f042","M448"],'
    'bell:[448,512,[128276,61602],"f0f3","M224"],fire:[1,2,[],"f06d",["M1","M2"]]};library.add(a)'
)


def test_only_the_named_icons_stay() -> None:
    assert fewer_icons(SCRIPT, {"bars"}) == 'var a={bars:[448,512,["navicon"],"f0c9","M0 96C0"],};library.add(a)'
    # By another of its names.
    fewer = fewer_icons(SCRIPT, {"adjust", "fire"})
    assert '"circle-half-stroke":[' in fewer and "fire:[" in fewer and "bars" not in fewer and "bell" not in fewer


def test_a_script_of_another_form_is_an_error() -> None:
    with pytest.raises(CheckError, match="not in the known form"):
        fewer_icons("var a={bars:{width:448}}", {"bars"})


def built(folder: Path) -> Path:
    static = folder / "_static"
    (static / "scripts").mkdir(parents=True)
    (folder / ICON_SCRIPT).write_text(SCRIPT)
    (static / "scripts" / "theme.js").write_text('x="fa-bell"')
    (static / "scripts" / "theme.js.map").write_text("{}")
    (folder / "index.html").write_text('<i class="fa-solid fa-adjust"></i>')
    return folder


def test_what_pages_and_scripts_name_stays(tmp_path: Path) -> None:
    lighten(built(tmp_path))
    script = (tmp_path / ICON_SCRIPT).read_text()
    assert all(f"{name}:[" in script for name in ('"circle-half-stroke"', "bell"))
    assert "bars" not in script and "fire" not in script
    assert not list(tmp_path.rglob("*.map"))


def test_a_theme_without_the_script_is_an_error(tmp_path: Path) -> None:
    (built(tmp_path) / ICON_SCRIPT).unlink()
    with pytest.raises(CheckError, match="no such file any more"):
        lighten(tmp_path)
