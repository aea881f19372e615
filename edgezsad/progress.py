"""One progress bar for all long work: moving on a terminal, a plain line every few seconds anywhere else.

It writes to standard error. The notebook runner (`edgezsad.execute`) passes a notebook's standard error on as it comes
and the book leaves it out of the pages, so progress is seen while running and never afterwards.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 5
SHARE_BETWEEN_LINES = 0.12
"""Of a training's age so far, where that is longer: an hour makes about fifty lines in a log, a day seventy-five."""


class _Lines:
    """A stream for tqdm that turns its carriage returns into whole lines, for logs and pipes."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self.stream.write(line + "\n")

    def flush(self) -> None:
        self.stream.flush()


def progress(items: Iterable[Item], what: str, total: int | None = None, unit: str = "image") -> Iterator[Item]:
    """Pass `items` through, showing how many are done, how fast, and the time left."""
    return iter(tqdm(items, total=total, **_style(what, unit)))


@contextmanager
def ticker(what: str, unit: str = "image") -> Iterator[Callable[[int, int], None]]:
    """The same bar for work that reports (done, total) by calling back."""
    with tqdm(**_style(what, unit)) as bar:

        def tick(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tick


@contextmanager
def meter(
    what: str, total: int, unit: str = "image", start: int = 0, shown: bool = True
) -> Iterator[Callable[[int, str], None]]:
    """The same bar for work that says how much it has just done, and in a few words how it goes.

    Args:
        what: is done.
        total: in units.
        unit: its name.
        start: units that were done before.
        shown: False in all but one of several processes.
    """
    begun = time.monotonic()
    with tqdm(total=total, initial=start, disable=not shown, **_style(what, unit)) as bar:
        on_terminal = sys.stderr.isatty()

        def advance(count: int, text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            if not on_terminal and not bar.disable:
                # The older, the rarer: a day of lines every few seconds would swamp a log, or the notebook it is in.
                age = time.monotonic() - begun
                bar.mininterval = bar.maxinterval = max(SECONDS_BETWEEN_LINES, SHARE_BETWEEN_LINES * age)
            bar.update(count)

        yield advance


def _style(what: str, unit: str) -> dict[str, Any]:
    on_terminal = sys.stderr.isatty()
    interval = 0.2 if on_terminal else SECONDS_BETWEEN_LINES
    return {
        "desc": what,
        "unit": f" {unit}",
        "file": sys.stderr if on_terminal else _Lines(sys.stderr),
        "mininterval": interval,
        "maxinterval": interval,
        # A log has no use for the drawn bar, and its width is unknown.
        "bar_format": None if on_terminal else "{desc}: {n_fmt}/{total_fmt}, {rate_fmt}, {remaining} left{postfix}",
        # The last line says how it ended; tqdm would else leave a log at the line before.
        "leave": True,
    }
