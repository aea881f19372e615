"""Does a manifest hold as many images as its descriptor states? A copy that lacks some must not pass unnoticed."""

from collections import Counter

from edgezsad.config import DataSet
from edgezsad.data.copies import expected_number, tally
from edgezsad.data.descriptors import FOUR, Counts, Descriptor, descriptors
from edgezsad.data.manifest import Manifest

_COLUMNS = ("images", *FOUR, "with_mask")


def differences(descriptor: Descriptor, manifest: Manifest) -> list[str]:
    """The numbers that are not as stated, in words: "test normal 466 of 467".

    Those of the whole set; where they agree, those of the categories: "bottle: test normal 21 of 20".
    """
    counts = tally(manifest.entries)
    in_all = _differing(sum(counts.values(), Counter()), descriptor.expected.total)
    if in_all:
        return in_all
    known = descriptor.expected.categories
    nothing = Counts(images=0)
    return [
        f"{name}: {one}"
        for name in sorted(counts.keys() | known.keys())
        for one in _differing(counts.get(name, Counter()), known.get(name, nothing))
    ] + [f"{name}: no images" for name, stated in known.items() if name not in counts and stated.get("images") is None]


def as_published(item: DataSet, manifest: Manifest) -> str | None:
    """Whether a whole public set has the numbers stated, in a word or two; None where nothing is known of it."""
    descriptor = descriptors().get(item.name)
    if descriptor is None or descriptor.layout != item.layout or item.generated or item.categories is not None:
        return None
    if differing := differences(descriptor, manifest):
        return f"no: {differing[0]}"
    return "yes" if descriptor.expected.total.get("images") is not None else "yes, as far as numbers are stated"


def _differing(found: Counter[str], expected: Counts) -> list[str]:
    numbers = {column: expected_number(expected, column) for column in _COLUMNS}
    return [
        f"{column.replace('_', ' ')} {found[column]:,} of {number:,}"
        for column, number in numbers.items()
        if number not in (None, found[column])
    ]
