"""Read recorded benchmarks and format them as tables and charts, for the notebooks 07, 12, 13 and 15.

Each benchmark writes one JSON file to `benchmarks/results/`; `page_*.py` makes the tables of a notebook from it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from edgezsad.errors import InputError
from edgezsad.files import read_json
from edgezsad.show.charts import WIDTH, finished, styled

Results = dict[str, Any]
TICKS = (-50, -10, -3, -1, -0.5, 0, 0.5, 1, 3, 10, 50)


def read_recorded(path: Path | str, *keys: str) -> Results:
    """Read the results file of a benchmark, which must have the keys.

    Raises:
        InputError: the file is missing, invalid, or of another benchmark.
    """
    remedy = "restore it from the repository, or run the benchmark again (`make bench`)"
    results = read_json(path, remedy)
    if not isinstance(results, dict) or not all(results.get(key) for key in keys):
        raise InputError(f"{path}: not the results of this benchmark; {remedy}")
    return results


def rows_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str | Callable]) -> pd.DataFrame:
    """Build a table; `columns` gives for each title a key of the rows, or a function of the row."""
    return pd.DataFrame(
        [{title: get(row) if callable(get) else row.get(get) for title, get in columns.items()} for row in rows]
    )


def facts_table(facts: Mapping[str, object], what: str = "what", value: str = "value") -> pd.DataFrame:
    """Build a table of names and values."""
    return pd.DataFrame([{what: name, value: str(each)} for name, each in facts.items()])


def difference_text(found: Mapping[str, float], digits: int = 1) -> str:
    """Format a difference with its interval."""
    low, high = (f"{found[end]:+z.{digits}f}" for end in ("low", "high"))
    return f"{found['difference']:+z.{digits}f} ({low} to {high})"


def mean_text(values: Sequence[float], digits: int = 1) -> str:
    """Format the mean, and the standard deviation where there are several values."""
    text = f"{np.mean(values):.{digits}f}"
    return f"{text} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else text


def verdict(found: Mapping[str, float]) -> str:
    """Say whether an interval excludes zero, and on which side."""
    return "worse" if found["high"] < 0 else "better" if found["low"] > 0 else "no"


def difference_figure(names: Sequence[str], panels: Mapping[str, Sequence[Mapping[str, float] | None]]) -> Figure:
    """Draw differences with 95% intervals; a filled dot means that the interval excludes zero.

    Args:
        names: of the variants, top to bottom.
        panels: x label to the difference, low and high of each variant; None where not measured.
    """
    with styled():
        height = 1.1 + 0.25 * max(len(names), 2)
        figure, axes = plt.subplots(
            1, len(panels), figsize=(WIDTH, height), sharey=True, squeeze=False, layout="constrained"
        )
        for axis, (label, rows) in zip(axes[0], panels.items(), strict=True):
            ends = [0.0]
            for row, found in enumerate(rows):
                if found is None:
                    continue
                ends += [found["low"], found["high"]]
                axis.plot([found["low"], found["high"]], [row] * 2, color="black", linewidth=1)
                fill = "white" if verdict(found) == "no" else "black"
                axis.plot(found["difference"], row, "o", color="black", markerfacecolor=fill)
            axis.axvline(0, color="black", linestyle=":", linewidth=1.2)
            # Linear up to one point, logarithmic beyond.
            axis.set_xscale("symlog", linthresh=1)
            ticks = [tick for tick in TICKS if min(ends) <= tick <= max(ends)]
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
            axis.set(xlabel=label)
        axes[0, 0].set(yticks=range(len(names)), yticklabels=names)
        axes[0, 0].invert_yaxis()
        return finished(figure)
