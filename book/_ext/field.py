"""Tables of the page *The field*: what other methods report, from `edgezsad/claims/reported.yaml`."""

from collections.abc import Iterable

from edgezsad import reported
from edgezsad.errors import InputError

NOTHING = "–"
"""Not given in the source, or not copied."""

_OWN = "own paper {cite}`edgezsad`"


def accuracy(benchmark: str) -> str:
    """Markdown table of one benchmark: methods with image AUROC, pixel AUROC and PRO, in percent.

    Raises:
        InputError: nothing is known of such a benchmark.
    """
    found = [row for row in reported.FIELD_ACCURACY if row.benchmark == benchmark]
    if not found:
        known = sorted({row.benchmark for row in reported.FIELD_ACCURACY})
        raise InputError(f"reported.yaml: nothing of {benchmark}; it has {', '.join(known)}")
    rows = [[_method(row), row.backbone or NOTHING, *map(_percent, _numbers(row)), _source(row)] for row in found]
    if own := reported.EDGEZSAD.get(benchmark):
        numbers = [f"**{_percent(value)}**" for value in _numbers(own)]
        rows.append(["**EdgeZSAD**", "TinyViT-21M, 512 px", *numbers, _OWN])
    return _markdown(("method", "backbone", "image AUROC", "pixel AUROC", "PRO", "source"), rows)


def image_auroc(*benchmarks: str) -> str:
    """Markdown table of the other benchmarks, which share one source: image AUROC in percent, a column a benchmark.

    Raises:
        InputError: nothing is known of one of them.
    """
    methods = reported.OTHER_IMAGE_AUROC
    known = dict.fromkeys(name for values in methods.values() for name in values)
    for name in benchmarks:
        if name not in known:
            raise InputError(f"reported.yaml: nothing of {name}; it has {', '.join(known)}")
    rows = [
        [method, *(_percent(values[name]) for name in benchmarks)]
        for method, values in reported.OTHER_IMAGE_AUROC.items()
    ]
    return _markdown(("method", *benchmarks), rows)


def cost() -> str:
    """Markdown table of parameters and time an image, with where each was measured."""
    rows = [
        [
            f"{one.method}, {one.backbone}",
            " + ".join(f"{part:.1f}" for part in one.millions) or NOTHING,
            str(one.milliseconds),
            one.where,
            f"{one.source} {{cite}}`{one.cite}`",
        ]
        for one in reported.FIELD_COSTS
    ]
    for device in (reported.JETSON, reported.RB5):
        where = f"{device.device.partition(' (')[0]}, {device.runtime}"
        rows.append(["**EdgeZSAD**", "not published", f"**{device.milliseconds:.2f}**", where, _OWN])
    return _markdown(("method", "parameters (millions)", "milliseconds an image", "where", "source"), rows)


def _method(row: reported.ReportedAccuracy) -> str:
    return row.method + (", re-run" if row.rerun else "") + (f" {{cite}}`{row.own}`" if row.own else "")


def _source(row: reported.ReportedAccuracy) -> str:
    return f"{row.source} {{cite}}`{row.cite}`"


def _numbers(row: reported.ReportedAccuracy) -> tuple[float | None, ...]:
    return row.image_auroc, row.pixel_auroc, row.pixel_pro


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def _markdown(header: Iterable[str], rows: list[list[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
