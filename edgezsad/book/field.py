"""Tables of the page *The field*: what other methods report, from `book/published/*.csv`, each row with its source.

EdgeZSAD's own rows come from `edgezsad.reported`, where all numbers of the paper are written.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from edgezsad import reported
from edgezsad.errors import InputError

PUBLISHED = Path("book/published")
NOTHING = "–"
"""Not given in the source, or not copied."""

_OWN = "own paper {cite}`edgezsad`"


def accuracy(benchmark: str) -> str:
    """Markdown table of one benchmark: methods with image AUROC, pixel AUROC and PRO, in percent as printed.

    Raises:
        InputError: nothing is known of such a benchmark.
    """
    rows = _of_set(_read("accuracy"), benchmark)[
        ["method", "backbone", "image_auroc", "pixel_auroc", "pro", "source"]
    ].values.tolist()
    if own := reported.EDGEZSAD.get(benchmark):
        numbers = [f"**{value:.1f}**" for value in (own.image_auroc, own.pixel_auroc, own.pixel_pro)]
        rows.append(["**EdgeZSAD**", "TinyViT-21M, 512 px", *numbers, _OWN])
    return _markdown(("method", "backbone", "image AUROC", "pixel AUROC", "PRO", "source"), rows)


def image_auroc(*benchmarks: str) -> str:
    """Markdown table of several benchmarks that share one source: image AUROC in percent, a column a benchmark.

    Raises:
        InputError: nothing is known of one of them.
    """
    read = _read("accuracy")
    columns = {name: _of_set(read, name).set_index("method")["image_auroc"] for name in benchmarks}
    methods = list(dict.fromkeys(method for column in columns.values() for method in column.index))
    rows = [[method, *(column.get(method, NOTHING) for column in columns.values())] for method in methods]
    return _markdown(("method", *benchmarks), rows)


def cost() -> str:
    """Markdown table of parameters and time an image, with where each was measured."""
    rows = _read("cost").values.tolist()
    for device in (reported.JETSON, reported.RB5):
        where = f"{device.device.partition(' (')[0]}, {device.runtime}"
        rows.append(["**EdgeZSAD**", "not published", f"**{device.milliseconds:.2f}**", where, _OWN])
    return _markdown(("method", "parameters (millions)", "milliseconds an image", "where", "source"), rows)


def _read(name: str) -> pd.DataFrame:
    # As text: a number is shown with the digits that its source prints.
    return pd.read_csv(PUBLISHED / f"{name}.csv", dtype=str, keep_default_na=False).replace("", NOTHING)


def _of_set(rows: pd.DataFrame, benchmark: str) -> pd.DataFrame:
    found = rows[rows["set"] == benchmark]
    if found.empty:
        known = sorted(set(rows["set"]))
        raise InputError(f"{PUBLISHED / 'accuracy.csv'}: nothing of {benchmark}; it has {', '.join(known)}")
    return found


def _markdown(header: Iterable[str], rows: list[list[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
