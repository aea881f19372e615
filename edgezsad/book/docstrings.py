"""A Sphinx extension for the reference: attributes that share a line of a docstring, "x, y: ...", get one each.

Sphinx would take the first name for the second one's type.
"""

import re
from typing import Any

_SHARED = re.compile(r":ivar (\w+(?:, \w+)+):(.*)")


def one_name_each(lines: list[str]) -> list[str]:
    """Lines of a docstring as napoleon gives them, in which no `:ivar` names more than one attribute.

    What is said of several is said of each.
    """
    made: list[str] = []
    waiting = list(lines)
    while waiting:
        line = waiting.pop(0)
        match = _SHARED.fullmatch(line)
        if not match:
            made.append(line)
            continue
        more: list[str] = []
        while waiting and waiting[0].startswith(" "):
            more.append(waiting.pop(0))
        for name in match[1].split(", "):
            made += [f":ivar {name}:{match[2]}", *more]
    return made


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""

    def process(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
        lines[:] = one_name_each(lines)

    # Behind napoleon, which listens at the default priority.
    app.connect("autodoc-process-docstring", process, priority=900)
    return {"parallel_read_safe": True}
