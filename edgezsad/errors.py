"""The two ways in which a run can end badly, and their exit codes.

Both carry one line that names the file and the remedy. The command line prints that line and nothing else.
"""


class EdgeZSADError(Exception):
    """Base class: `exit_code` is what the command line returns."""

    exit_code = 2


class InputError(EdgeZSADError, ValueError):
    """The user's input is wrong or missing: a file, a configuration, an argument. Exit code 2."""

    exit_code = 2


class CheckError(EdgeZSADError):
    """The input was fine, but a check failed: a claim, a lint, parity, a leak. Exit code 1."""

    exit_code = 1


def one_line(error: BaseException) -> str:
    """Return an exception's text on one line, at most 160 characters."""
    return " ".join(str(error).split())[:160]
