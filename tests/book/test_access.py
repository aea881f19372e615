"""What is mended in a built book for readers who hear it."""

from pathlib import Path

import pytest

from edgezsad.book.access import mend
from edgezsad.errors import CheckError

LOGO = '<a class="navbar-brand logo" href="#">\n<img src="logo.svg" alt="Home"/>\n</a>'


def built(folder: Path, logo: str = LOGO) -> Path:
    (folder / "book").mkdir()
    entry = '<div class="citation" role="doc-biblioentry">'
    arrow = '<summary><span class="toctree-toggle"></span></summary>'
    page = f"<title>A &amp; B</title>{logo}{arrow}<main>{entry}{entry}</main>"
    (folder / "book" / "index.html").write_text(page)
    (folder / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=book/index.html" />\n')
    return folder


def test_the_logo_lies_in_a_landmark_and_entries_are_items(tmp_path: Path) -> None:
    mend(built(tmp_path))
    page = (tmp_path / "book" / "index.html").read_text()
    assert f'<nav aria-label="Start page">{LOGO}</nav><summary' in page
    assert '<summary aria-label="The pages below"><span' in page
    assert page.count('role="listitem"') == 2 and "doc-biblioentry" not in page


def test_the_page_that_sends_on_has_language_title_and_link(tmp_path: Path) -> None:
    mend(built(tmp_path))
    page = (tmp_path / "index.html").read_text()
    assert '<html lang="en">' in page and "<title>A &amp; B</title>" in page
    assert '<meta http-equiv="Refresh" content="0; url=book/index.html" />' in page
    assert '<a href="book/index.html">' in page


def test_a_start_page_of_its_own_is_left_alone(tmp_path: Path) -> None:
    (built(tmp_path) / "index.html").write_text(f"<title>here</title>{LOGO}")
    mend(tmp_path)
    assert (tmp_path / "index.html").read_text().startswith("<title>here</title><nav")


def test_a_theme_of_another_form_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="logo in the known form"):
        mend(built(tmp_path, logo='<a class="brand"></a>'))
