"""What follows from published numbers alone: identities of the paper's own, and its place in the field.

Nothing is run for these; they say whether what others and we write about published numbers is right.
"""

from collections.abc import Callable
from statistics import median

from edgezsad import reported
from edgezsad.claims.claim import ANY, NOTHING, Claim


def peers(benchmark: str, column: str) -> list[float]:
    """What methods that see one image at a time report on a benchmark, each method once; percent."""
    rows = [row for row in reported.FIELD_ACCURACY if row.benchmark == benchmark and row.alone and not row.rerun]
    return [value for row in rows if (value := getattr(row, column)) is not None]


def _own(benchmark: str, column: str) -> float:
    value = getattr(reported.EDGEZSAD[benchmark], column)
    if value is None:
        raise ValueError(f"{benchmark}: EdgeZSAD's {column} is not published")
    return value


def ahead(benchmark: str, column: str, of: Callable[[list[float]], float]) -> float:
    """Points by which EdgeZSAD's published number lies above what `of` makes of the others'."""
    return _own(benchmark, column) - of(peers(benchmark, column))


def _localisation(benchmark: str, column: str, title: str) -> Claim:
    return Claim(
        f"localisation, {benchmark} {title}",
        f"Localisation is the bottleneck: published {title} on {benchmark} lies behind the median of the other methods "
        f"that see one image at a time ({len(peers(benchmark, column))} quoted), in points",
        "arithmetic",
        0.1,
        "at least",
        0.0,
        "points",
        ANY,
        lambda run: -ahead(benchmark, column, median),
        NOTHING,
        "07_efficiency",
    )


PUBLISHED: tuple[Claim, ...] = (
    Claim(
        "frames a second",
        f"{reported.JETSON.milliseconds} ms an image is {reported.JETSON.frames_per_second} frames a second (Jetson)",
        "arithmetic",
        reported.JETSON.frames_per_second or 0.0,
        "equals",
        0.005,
        "FPS",
        ANY,
        lambda run: 1000 / reported.JETSON.milliseconds,
        NOTHING,
        "08_jetson_drift",
    ),
    Claim(
        "ranking, VisA",
        "Published image AUROC on VisA is above that of every other method that sees one image at a time "
        f"({len(peers('VisA', 'image_auroc'))} quoted), in points",
        "arithmetic",
        0.1,
        "at least",
        0.0,
        "points",
        ANY,
        lambda run: ahead("VisA", "image_auroc", max),
        NOTHING,
        "07_efficiency",
    ),
    Claim(
        "ranking, MVTec-AD",
        "Published image AUROC on MVTec-AD is that of the median of the other methods that see one image at a time "
        f"({len(peers('MVTec-AD', 'image_auroc'))} quoted), in points above it",
        "arithmetic",
        0.0,
        "equals",
        1.0,
        "points",
        ANY,
        lambda run: ahead("MVTec-AD", "image_auroc", median),
        NOTHING,
        "07_efficiency",
    ),
    *(
        _localisation(benchmark, column, title)
        for benchmark in reported.EDGEZSAD
        for column, title in (("pixel_auroc", "pixel AUROC"), ("pixel_pro", "PRO"))
    ),
    Claim(
        "parameters, ratio",
        "The ViT-L methods whose parameters are reported have at least 20 times those of TinyViT-21M (the smallest of "
        "them over 21 million)",
        "arithmetic",
        20.0,
        "at least",
        0.0,
        "times",
        ANY,
        lambda run: (
            min(one.parameters for one in reported.FIELD if one.tower and one.parameters) / reported.BACKBONE_MILLIONS
        ),
        NOTHING,
        "07_efficiency",
    ),
)
