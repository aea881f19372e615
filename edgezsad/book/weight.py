"""Take from a built book what its pages do not need: nearly all icons of the theme, source maps, the search index.

The theme brings every icon there is in three forms, as a script, as classes of a style sheet and as fonts, nearly two
megabytes on a first visit; a book of this kind shows some twenty.
"""

import re
from pathlib import Path

from edgezsad.errors import CheckError
from edgezsad.files import write_text, written_beside

ICON_SCRIPT = "_static/scripts/fontawesome.js"
ICON_STYLES = "_static/styles/pydata-sphinx-theme.css"
ICON_FONTS = "_static/vendor/fontawesome/webfonts"
# One icon in the script: name, then width, height, other names, its place in a font, one outline or two.
ICON = re.compile(r'(?P<name>"[\w-]+"|\w+):\[\d+,\d+,\[(?P<others>[^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?')
ICON_NAME = re.compile(r"\bfa-([a-z0-9-]+)")
# The class of an icon as a letter of a font, which pages do not use: the script draws their icons.
ICON_CLASS = re.compile(r'(?:\.fa-[\w-]+:before,?)+\{content:"\\[0-9a-f]+ ?"\}')
# Letters of the fonts, as they are or by number, which stand in what the theme draws itself, such as a warning's sign.
LETTER = re.compile(r"[\ue000-\uf8ff]|\\(e[0-9a-f]{3}|f[0-8][0-9a-f]{2})\b")
# What only the page that searches needs; the index grows with every word of the book.
SEARCH = re.compile(r'<script[^>]*src="[^"]*(?:searchindex|searchtools|language_data)\.js[^"]*"[^>]*></script>\s*')
SMALLER_FONT = re.compile(r'url\([^)]*\.woff2\) format\("woff2"\),')


def lighten(html: Path) -> None:
    """Make a built book lighter, in place.

    Args:
        html: the folder of the built book.

    Raises:
        CheckError: the theme's icons are not where, or not in the form, in which they have been until now.
    """
    for path in (html / "_static").rglob("*.map"):
        path.unlink()
    for path in html.rglob("*.html"):
        if path != html / "search.html":
            write_text(path, SEARCH.sub("", path.read_text(encoding="utf-8")))
    script, styles = html / ICON_SCRIPT, html / ICON_STYLES
    for path in (script, styles):
        if not path.is_file():
            raise CheckError(f"{path}: the theme has no such file any more; mend edgezsad/book/weight.py")
    others = [path for path in (*html.rglob("*.html"), *html.glob("_static/**/*.js")) if path != script]
    names = {name for path in others for name in ICON_NAME.findall(path.read_text(encoding="utf-8"))}
    write_text(script, fewer_icons(script.read_text(encoding="utf-8"), names))
    fewer, removed = ICON_CLASS.subn("", styles.read_text(encoding="utf-8"))
    if not removed:
        raise CheckError(f"{styles}: holds no classes of icons in the known form; mend edgezsad/book/weight.py")
    # Of the fonts only the form that can be cut here.
    write_text(styles, SMALLER_FONT.sub("", fewer))
    letters = {letter for path in html.rglob("*.css") for letter in used_letters(path.read_text(encoding="utf-8"))}
    for path in sorted((html / ICON_FONTS).iterdir()):
        if path.suffix == ".woff2":
            path.unlink()
        else:
            cut_font(path, letters)


def fewer_icons(script: str, names: set[str]) -> str:
    """The icon script with the icons of these names alone.

    Raises:
        CheckError: none of the names is an icon, so the script has another form than is known here.
    """
    found: set[str] = set()

    def keep(icon: re.Match[str]) -> str:
        called = {icon["name"].strip('"'), *re.findall(r'"([\w-]+)"', icon["others"])}
        found.update(called & names)
        return icon[0] if called & names else ""

    fewer = ICON.sub(keep, script)
    if not found:
        raise CheckError("the theme's icon script is not in the known form; mend edgezsad/book/weight.py")
    return fewer


def used_letters(style: str) -> set[int]:
    """The icon fonts' letters that a style sheet asks for."""
    return {int(found[1], 16) if found[1] else ord(found[0]) for found in LETTER.finditer(style)}


def cut_font(path: Path, letters: set[int]) -> None:
    """Leave these letters in a font, in place; a font that has none of them keeps a first, empty one."""
    # Comes with matplotlib, and takes a while to load.
    from fontTools import subset

    options = subset.Options(drop_tables=["FFTM"], layout_features=[], name_IDs=["*"], notdef_outline=False)
    font = subset.load_font(str(path), options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=letters)
    cutter.subset(font)
    with written_beside(path) as beside:
        subset.save_font(font, str(beside), options)
