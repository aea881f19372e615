"""Mend what the theme gets wrong for readers who hear a page: places without a name, roles that nobody knows."""

import re
from pathlib import Path

from edgezsad.errors import CheckError
from edgezsad.files import write_text

# The logo leads to the start page, but lies outside of every landmark by which such readers move about.
LOGO = re.compile(r'<a class="navbar-brand logo".*?</a>', re.DOTALL)
# Of the roles for books browsers have kept some; this one they ask to call what it is in a list.
ENTRY = 'role="doc-biblioentry"'


def mend(html: Path) -> None:
    """Mend every page of a built book, in place.

    Raises:
        CheckError: there is nothing of what is mended here, so the theme has another form than is known.
    """
    logos = 0
    for path in sorted(html.rglob("*.html")):
        text, found = LOGO.subn(r'<nav aria-label="Start page">\g<0></nav>', path.read_text(encoding="utf-8"))
        logos += found
        write_text(path, text.replace(ENTRY, 'role="listitem"'))
    if not logos:
        raise CheckError(f"{html}: no page has the theme's logo in the known form; mend edgezsad/book_access.py")
