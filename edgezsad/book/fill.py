"""Numbers enter the book's prose here: `{{ run.benchmarks.by_benchmark.VisA.image_auroc.mean | digits(1) }}`.

What stands between double braces in a page, or in a notebook's markdown, is an expression that is computed when the
book is built, so that no number is typed by hand. It reads

- `run.NAME`: the run's results file `results/NAME.json`;
- `recorded.NAME`: a recorded benchmark, `benchmarks/results/NAME.json`;
- `paper.NAME`: a published number, from `edgezsad.reported`;
- `profile`, `profiles.NAME`: the run's profile, and `configs/NAME.yaml`;
- `tryit.NAME`: what the page "Try it" says of its files, from `edgezsad.book.tryit`;
- `field.accuracy("VisA")`, `field.cost()`: tables of numbers that others have published, from `edgezsad.book.field`.

Expressions are Jinja's, with two filters more: `digits(2)` writes a number with so many digits after the point, and
`where(name="x")` takes the one row of a list that has these values. A float needs `digits`; a whole number gets its
commas; what is null in a results file becomes "not run". A name that does not exist is an error, never a gap.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.sandbox import SandboxedEnvironment

from edgezsad import reported
from edgezsad.book import field
from edgezsad.config import load_profile
from edgezsad.dependencies import maker_of_result
from edgezsad.errors import InputError
from edgezsad.files import read_json
from edgezsad.run import Run

EXPRESSION = re.compile(r"\{\{(.+?)\}\}", re.DOTALL)
"""What is filled in, on a page."""


def digits(value: float | None, count: int) -> str | None:
    """A number with `count` digits after the point and commas between thousands; None, "not run", stays None."""
    return None if value is None else f"{value:,.{count}f}"


def where(rows: Iterable[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any]:
    """The one row that has the wanted values.

    Raises:
        ValueError: no row has them, or several have.
    """
    found = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
    if len(found) != 1:
        raise ValueError(f"{len(found)} rows have {wanted}")
    return found[0]


class _Files:
    """Attributes that are read from files, each when it is first asked for."""

    def __init__(self, read: Callable[[str], Any]):
        self._read = cache(read)

    def __getattr__(self, name: str) -> Any:
        # Jinja and copying ask for names that no file has.
        if name.startswith("_"):
            raise AttributeError(name)
        return self._read(name)


def sources(run: Run) -> dict[str, Any]:
    """The names that expressions may use; files are read only when an expression asks for them."""
    return {
        "run": _Files(lambda name: run.read_result(name, maker_of_result(name))),
        "recorded": _Files(lambda name: read_json(Path("benchmarks/results") / f"{name}.json", "run `make bench`")),
        "profiles": _Files(lambda name: load_profile(Path("configs") / f"{name}.yaml")),
        "profile": run.profile,
        "paper": reported,
        "field": field,
    }


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(undefined=StrictUndefined)
    environment.filters |= {"digits": digits, "where": where}
    return environment


def _written(value: Any) -> str:
    """A value as the page shows it.

    Raises:
        ValueError: it has no one way to be shown.
    """
    if value is None:
        return "not run"
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        raise ValueError("a float; say how many digits: `| digits(2)`")
    raise ValueError(f"neither number nor text but {type(value).__name__}")


def fill(text: str, names: Mapping[str, Any], page: str) -> str:
    """A page's text with every expression computed.

    Args:
        text: Markdown.
        names: from `sources`.
        page: for messages.

    Raises:
        InputError: an expression is wrong or asks for what is not there; the page and the expression are named.
    """
    environment = _environment()

    def computed(match: re.Match[str]) -> str:
        expression = " ".join(match[1].split())
        try:
            value = environment.compile_expression(expression, undefined_to_none=False)(**names)
            if isinstance(value, Undefined):
                # Says which name it is that does not exist.
                str(value)
            return _written(value)
        except InputError as error:
            raise InputError(f"{page}: {{{{ {expression} }}}}: {error}") from None
        except (TemplateError, ValueError, TypeError, ArithmeticError) as error:
            reason = f"{error}; mend the expression, or run what writes the number"
            raise InputError(f"{page}: {{{{ {expression} }}}}: {reason}") from None

    return EXPRESSION.sub(computed, text)
