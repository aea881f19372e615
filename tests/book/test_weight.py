"""What is taken from a built book: icons that no page shows, source maps."""

from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont

from edgezsad.book.weight import ICON_FONTS, ICON_SCRIPT, ICON_STYLES, cut_font, fewer_icons, lighten, used_letters
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


STYLES = (
    '.fa-fire:before{content:"\\f06d"}.fa-flag:before,.fa-pole:before{content:"\\f024 "}'
    '@font-face{src:url(a.woff2) format("woff2"),url(a.ttf) format("truetype")}'
    '.warning::after{content:"\uf071"}.note::after{content:"\\f05a"}.fa-fw{width:1em}'
)


def make_font(path: Path, letters: list[int]) -> None:
    """A font of squares."""
    names = {letter: f"u{letter:04X}" for letter in letters}
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for place in ((0, 500), (500, 500), (500, 0)):
        pen.lineTo(place)
    pen.closePath()
    order = [".notdef", *names.values()]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap(names)
    builder.setupGlyf(dict.fromkeys(order, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(order, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


def letters_of(path: Path) -> set[int]:
    with TTFont(path) as font:
        return set(font.getBestCmap() or {})


def built(folder: Path) -> Path:
    for name in (ICON_SCRIPT, ICON_STYLES, f"{ICON_FONTS}/solid.ttf"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / ICON_SCRIPT).write_text(SCRIPT)
    (folder / ICON_STYLES).write_text(STYLES)
    (folder / "_static/scripts/theme.js").write_text('x="fa-bell"')
    (folder / "_static/scripts/theme.js.map").write_text("{}")
    make_font(folder / ICON_FONTS / "solid.ttf", [0xF024, 0xF05A, 0xF06D, 0xF071])
    (folder / ICON_FONTS / "solid.woff2").write_bytes(b"the same")
    page = '<i class="fa-solid fa-adjust"></i><script src="_static/searchtools.js"></script>\n'
    page += '<script src="searchindex.js?v=1"></script>\n<b>'
    for name in ("index.html", "search.html"):
        (folder / name).write_text(page)
    return folder


def test_what_pages_and_scripts_name_stays(tmp_path: Path) -> None:
    lighten(built(tmp_path))
    script = (tmp_path / ICON_SCRIPT).read_text()
    assert all(f"{name}:[" in script for name in ('"circle-half-stroke"', "bell"))
    assert "bars" not in script and "fire" not in script
    assert not list(tmp_path.rglob("*.map"))


def test_the_search_index_is_loaded_where_it_is_searched(tmp_path: Path) -> None:
    lighten(built(tmp_path))
    assert (tmp_path / "index.html").read_text() == '<i class="fa-solid fa-adjust"></i><b>'
    assert "searchindex.js" in (tmp_path / "search.html").read_text()


def test_of_styles_and_fonts_stays_what_the_theme_draws_itself(tmp_path: Path) -> None:
    lighten(built(tmp_path))
    styles = (tmp_path / ICON_STYLES).read_text()
    assert ".fa-fire" not in styles and ".fa-flag" not in styles and "woff2" not in styles
    assert all(rule in styles for rule in (".warning::after", ".note::after", ".fa-fw{", "src:url(a.ttf)"))
    assert [path.name for path in (tmp_path / ICON_FONTS).iterdir()] == ["solid.ttf"]
    assert letters_of(tmp_path / ICON_FONTS / "solid.ttf") == {0xF05A, 0xF071}


def test_letters_as_they_are_and_by_number() -> None:
    assert used_letters('a{content:"\uf071"}b{content:"\\f05a"}c{content:"\\2195";color:#f0f0f0}') == {0xF071, 0xF05A}


def test_a_font_without_any_of_the_letters_is_left_empty(tmp_path: Path) -> None:
    path = tmp_path / "brands.ttf"
    make_font(path, [0xF024])
    cut_font(path, {0xF071})
    assert letters_of(path) == set()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [(ICON_SCRIPT, None, "no such file"), (ICON_STYLES, None, "no such file"), (ICON_STYLES, "a{}", "known form")],
)
def test_a_theme_of_another_form_is_an_error(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    path = built(tmp_path) / name
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(CheckError, match=said):
        lighten(tmp_path)
