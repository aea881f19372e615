"""Render the book: `python -m edgezsad.book CONFIG HTML NOTEBOOK...`."""

import sys
from pathlib import Path

from edgezsad.book.build import build
from edgezsad.errors import EdgeZSADError


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code."""
    if len(arguments) < 3:
        print("usage: python -m edgezsad.book CONFIG HTML NOTEBOOK...", file=sys.stderr)
        return 2
    try:
        config, html, *notebooks = arguments
        print(f"book: {build(config, html, [Path(item) for item in notebooks])}", file=sys.stderr)
    except EdgeZSADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
