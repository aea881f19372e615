"""The small tables that a kit and its result are described by: one row a line, cells between tabs."""

from pathlib import Path

from edgezsad.errors import InputError

REMEDY = "not a whole result of run.sh; copy it from the board again"


def read_bytes(path: Path, what: str) -> bytes:
    """A file's bytes.

    Raises:
        InputError: it is missing.
    """
    try:
        return path.read_bytes()
    except OSError:
        raise InputError(f"{what}: missing; {REMEDY}") from None


def read_text(path: Path, what: str) -> str:
    """A file's text.

    Raises:
        InputError: it is missing or no UTF-8.
    """
    try:
        return read_bytes(path, what).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{what}: not text; {REMEDY}") from None


def read_rows(path: Path, what: str, cells: int) -> list[list[str]]:
    """The rows of a table.

    Args:
        path: the file.
        what: its name in errors.
        cells: of each row; the last one takes whatever tabs are left.

    Raises:
        InputError: missing, no text, cut off in a line, or a row has too few cells.
    """
    text = read_text(path, what)
    if text and not text.endswith("\n"):
        raise InputError(f"{what}: cut off; {REMEDY}")
    rows = [line.split("\t", cells - 1) for line in text.split("\n")[:-1]]
    for number, row in enumerate(rows, start=1):
        if len(row) != cells:
            raise InputError(f"{what}: row {number} is damaged; {REMEDY}")
    return rows


def read_facts(path: Path, what: str) -> dict[str, str]:
    """A table of names and values; a name that comes again keeps all its values, joined by "; "."""
    facts: dict[str, str] = {}
    for key, value in read_rows(path, what, 2):
        facts[key] = f"{facts[key]}; {value}" if key in facts else value
    return facts
