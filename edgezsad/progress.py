"""Progress on standard error: a moving bar on a terminal, a plain line every few seconds elsewhere."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 5


class _Lines:
    """Turns tqdm's carriage returns into whole lines, for logs and pipes."""

    def write(self, text: str) -> None:
        if line := text.strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def _bar(items: Iterable[Any] | None, what: str, unit: str, **options: Any) -> tqdm:
    if not sys.stderr.isatty():
        form = "{desc}: {n_fmt}/{total_fmt}, {rate_fmt}, {remaining} left{postfix}"
        interval = SECONDS_BETWEEN_LINES
        options |= {"file": _Lines(), "bar_format": form, "mininterval": interval, "maxinterval": interval}
    return tqdm(items, desc=what, unit=f" {unit}", **options)


def progress(items: Iterable[Item], what: str, total: int | None = None, unit: str = "image") -> Iterator[Item]:
    """Iterate over `items`, showing how many are done, the rate and the time left."""
    return iter(_bar(items, what, unit, total=total))


@contextmanager
def ticker(what: str, unit: str = "image") -> Iterator[Callable[[int, int], None]]:
    """Show progress of work that calls back with (done, total)."""
    with _bar(None, what, unit) as bar:

        def tick(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tick


@contextmanager
def meter(
    what: str, total: int, unit: str = "image", start: int = 0, shown: bool = True
) -> Iterator[Callable[[int, str], None]]:
    """Show progress of work that calls back with the units just done and a short status text.

    Args:
        what: label of the bar.
        total: units in all.
        unit: name of a unit.
        start: units done before.
        shown: False in all but one of several processes.
    """
    with _bar(None, what, unit, total=total, initial=start, disable=not shown) as bar:

        def advance(count: int, text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update(count)

        yield advance
