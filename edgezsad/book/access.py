"""Mend what the theme gets wrong for readers who hear a page: places without a name, roles that nobody knows."""

import re
from pathlib import Path

from edgezsad.errors import CheckError
from edgezsad.files import write_text

# The logo leads to the start page, but lies outside of every landmark by which such readers move about.
LOGO = re.compile(r'<a class="navbar-brand logo".*?</a>', re.DOTALL)
# Of the roles for books browsers have kept some; this one they ask to call what it is in a list.
ENTRY = 'role="doc-biblioentry"'
# Where the list of pages has a second level, its arrow is a picture and nothing else.
ARROW = '<summary><span class="toctree-toggle"'
# All of the page that sends a reader on to the first one: no language, no title, and the browser asks for an icon.
FORWARD = re.compile(r'\s*<meta http-equiv="Refresh" content="0; url=(?P<first>[^"]+)" ?/>\s*')
TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)


def mend(html: Path) -> None:
    """Mend every page of a built book, in place.

    Raises:
        CheckError: there is nothing of what is mended here, so the theme has another form than is known.
    """
    logos = 0
    for path in sorted(html.rglob("*.html")):
        text, found = LOGO.subn(r'<nav aria-label="Start page">\g<0></nav>', path.read_text(encoding="utf-8"))
        logos += found
        text = text.replace(ENTRY, 'role="listitem"')
        write_text(path, text.replace(ARROW, ARROW.replace("<summary", '<summary aria-label="The pages below"')))
    if not logos:
        raise CheckError(f"{html}: no page has the theme's logo in the known form; mend edgezsad/book/access.py")
    start = html / "index.html"
    if forward := FORWARD.fullmatch(start.read_text(encoding="utf-8")):
        first = html / forward["first"]
        title = TITLE.search(first.read_text(encoding="utf-8"))
        write_text(start, _forwarding(forward[0].strip(), forward["first"], title[1].strip() if title else "The book"))


def _forwarding(refresh: str, first: str, title: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<link rel="icon" href="data:,">\n{refresh}\n</head>\n'
        f'<body>\n<main><h1>{title}</h1>\n<p><a href="{first}">To the first page</a></p></main>\n</body>\n</html>\n'
    )
