"""Errors and exit codes. Each error carries one line, `FILE: what is wrong; what to do`, which the CLI prints."""

import os


class EdgeZSADError(Exception):
    """Base class; `exit_code` is what the command line returns."""

    exit_code = 2


class InputError(EdgeZSADError, ValueError):
    """Invalid or missing input: a file, a configuration, an argument. Exit code 2."""


class CheckError(EdgeZSADError):
    """A check failed on valid input: a claim, a lint, parity, a leak. Exit code 1."""

    exit_code = 1


class RuntimeUnavailable(EdgeZSADError):
    """A runtime cannot be used on this machine; the text is the reason, printed after "not run: "."""


def one_line(error: object, limit: int | None = 160) -> str:
    """Return an exception's text on one line, cut at `limit` characters; control characters are escaped."""
    return printable(" ".join(str(error).split()))[:limit]


def printable(text: object) -> str:
    """Return text for one line of a terminal: control characters, newlines and undecodable bytes are escaped."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(text))


def system_error(error: OSError) -> str:
    """Return an error of the operating system as one line that starts with the file."""
    name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return printable(f"{name}{error.strerror or error}; fix it and try again")
