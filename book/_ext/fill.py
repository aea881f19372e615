"""Compute the numbers in the book's prose: `{{ run.benchmarks.by_benchmark.VisA.image_auroc.mean | digits(1) }}`.

Pages are Jinja templates, rendered when the book is built. Expressions can use

- `run.NAME`: the run's results file `results/NAME.json`;
- `recorded.NAME`: a recorded benchmark, `benchmarks/results/NAME.json`;
- `reported`: published numbers, `edgezsad/claims/reported.yaml`;
- `profile`, `profiles.NAME`: the run's profile, and `configs/NAME.yaml`;
- `tryit.NAME`: files of the page "Try it" (`book._ext.tryit`).

The filter `digits(2)` sets the number of decimals, which a float needs; `where(name="x")` selects the one row of a list
that has these values; `equation(3)` makes numbered MathML of TeX. A null in a results file becomes "not run".
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from docutils.utils.math.latex2mathml import tex2mathml
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from edgezsad.claims.evaluation import NOTEBOOKS
from edgezsad.config import load_profile
from edgezsad.errors import InputError
from edgezsad.files import read_json, reported
from edgezsad.run import Run


def digits(value: float | None, count: int) -> str | None:
    """Format a number with `count` decimals and commas between thousands; None stays None."""
    return None if value is None else f"{value:,.{count}f}"


def where(rows: Iterable[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any]:
    """Return the one row with the wanted values; ValueError if no row or several rows have them."""
    found = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
    if len(found) != 1:
        raise ValueError(f"{len(found)} rows have {wanted}")
    return found[0]


def equation(tex: str, number: int) -> str:
    """Return a displayed equation with its number at the right, in HTML that needs no script."""
    box = f'<div class="equation" tabindex="0" role="group" aria-label="Equation ({number})">'
    return f"{box}{tex2mathml(tex.strip(), as_block=True)}<span>({number})</span></div>"


class _Files(dict):
    """Values that are read from files on first use."""

    def __init__(self, read: Callable[[str], Any]):
        self._read = read

    def __missing__(self, name: str) -> Any:
        return self.setdefault(name, self._read(name))


def sources(run: Run) -> dict[str, Any]:
    """Return the names that expressions can use."""
    return {
        "run": _Files(lambda name: run.read_result(name, NOTEBOOKS[name])),
        "recorded": _Files(lambda name: read_json(Path("benchmarks/results") / f"{name}.json", "run `make bench`")),
        "profiles": _Files(lambda name: load_profile(Path("configs") / f"{name}.yaml")),
        "profile": run.profile,
        "reported": reported(),
    }


def _format(value: Any) -> str:
    if isinstance(value, str | StrictUndefined):
        # Names of data sets and devices are text, not HTML.
        return str(value).replace("<", "&lt;")
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if value is None:
        return "not run"
    raise ValueError(f"expected a number or text, got {type(value).__name__}; a float needs `| digits(2)`")


def fill(text: str, names: Mapping[str, Any], page: str) -> str:
    """Return a page's Markdown with every expression computed; an `InputError` names the page of an invalid one."""
    # Comments are disabled: their delimiters are legal Markdown.
    environment = SandboxedEnvironment(
        undefined=StrictUndefined, finalize=_format, keep_trailing_newline=True, comment_start_string="\x03"
    )
    environment.filters |= {"digits": digits, "where": where, "equation": equation}
    try:
        return environment.from_string(text).render(names)
    except (TemplateError, InputError, ValueError, TypeError, ArithmeticError) as error:
        raise InputError(f"{page}: {error}; fix the expression, or run what writes the number") from None
