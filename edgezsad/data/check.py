"""Is a copy of a data set complete and undamaged? One screen says so; the exit code says it to a script."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from edgezsad.data.copies import Copy, expected_number, scan, tally
from edgezsad.data.descriptors import ANY, FOUR, Counts, Descriptor
from edgezsad.data.folders import is_generated, shown
from edgezsad.data.images import decode_image, decode_mask, measure
from edgezsad.data.layouts import Found
from edgezsad.data.manifest import name_problem
from edgezsad.data.report import PROBLEMS, Report, Row, in_short
from edgezsad.errors import InputError
from edgezsad.progress import progress


def check_copy(descriptor: Descriptor | None, root: Path | str, quick: bool = False, workers: int = 2) -> Report:
    """Check a copy of a data set.

    Args:
        descriptor: what is known of the set; None for a folder in MVTec layout.
        root: its folder.
        quick: look at names only and open nothing.
        workers: number of threads that decode.

    Raises:
        InputError: the folder is missing, or holds nothing in that layout.
    """
    copy = scan(descriptor, root)
    uses = Counter(name for one in copy.found for name in (one.image, one.mask) if name)
    reasons = dict(copy.otherwise)
    problems: dict[str, list[str]] = {kind: [] for kind in PROBLEMS}
    problems["refused"] += copy.refused
    problems["missing"] += copy.missing
    problems["other_case"] += [f"{wanted} (here {there})" for wanted, there in copy.other_case]
    problems["extra"] += copy.extra
    problems["otherwise"] += reasons
    problems["twice"] += [name for name, count in uses.items() if count > 1]
    problems["name"] += [name for name in uses if name_problem(name)]
    found = copy.found
    if not quick:
        results = list(progress(_looked_at(copy, workers), "check", total=len(found)))
        found = tuple(one for one, _ in results)
        for wrong in (wrong for _, wrong in results if wrong is not None):
            problems[wrong.kind].append(wrong.name)
            if wrong.reason:
                reasons[wrong.name] = wrong.reason
    without = [one.image for one in found if one.label and not one.mask]
    notes = ["generated images: none of them is of the real set"] if is_generated(copy.root) else []
    if descriptor is None and without:
        notes.append(f"{PROBLEMS['no_mask']}, left out of pixel metrics: {len(without):,}")
    else:
        problems["no_mask"] += without
    alone = _masks_alone(copy)
    problems["missing"] += [f"the image of {mask}" for mask in alone]
    if unread := [name for name in copy.unread if name not in alone]:
        notes.append(in_short("image files that the layout does not read", unread))
    total, categories = _rows(descriptor, found, quick) if copy.whole else (Row("all", {}, {}), [])
    problems["category"] += [row.category for row in categories if row.empty]
    return Report(
        name=descriptor.name if descriptor else ANY,
        root=copy.root,
        home=descriptor.home if descriptor else "",
        quick=quick,
        whole=copy.whole,
        problems={kind: names for kind, names in problems.items() if names},
        reasons=reasons,
        notes=notes,
        total=total,
        categories=categories,
    )


def _masks_alone(copy: Copy) -> list[str]:
    """Files that nothing reads, in folders of nothing but masks: each is all that is left of an image."""
    truths = {PurePosixPath(one.mask).parent for one in copy.found if one.mask}
    truths -= {PurePosixPath(one.image).parent for one in copy.found}
    return [name for name in copy.unread if PurePosixPath(name).parent in truths]


@dataclass(frozen=True)
class _Wrong:
    """What is wrong with one file: a key of `PROBLEMS`, its name, and where it needs one, the reason."""

    kind: str
    name: str
    reason: str = ""


def _looked_at(copy: Copy, workers: int) -> Iterator[tuple[Found, _Wrong | None]]:
    """Every image with its label and what is wrong with it, in order. Decoding lets go of the interpreter."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(partial(_look, copy.root), copy.found)


def _look(root: Path, one: Found) -> tuple[Found, _Wrong | None]:
    """Decode one image and its mask: the image with its label, and what is wrong with either."""
    try:
        shape = decode_image(root / one.image).shape[:2]
    except InputError as error:
        return one, _Wrong("image", one.image, _reason(root / one.image, error))
    if not one.mask or one.label == 0:
        return one, None
    try:
        defective = bool(decode_mask(root / one.mask, shape).any())
    except InputError as error:
        kind = _mask_problem(root / one.mask, shape)
        return one, _Wrong(kind, one.mask, _reason(root / one.mask, error))
    if one.label is None:
        return replace(one, label=int(defective)), None
    return one, None if defective else _Wrong("mask_empty", one.mask)


def _reason(path: Path, error: InputError) -> str:
    """What an error says beside the path."""
    return shown(str(error).removeprefix(f"{path}: "))


def _mask_problem(path: Path, shape: tuple[int, int]) -> str:
    try:
        height, width, _ = measure(path)
    except InputError:
        return "mask"
    return "mask" if (height, width) == shape else "mask_size"


# Numbers --------------------------------------------------------------------------------------------------------------


def _rows(descriptor: Descriptor | None, found: tuple[Found, ...], quick: bool) -> tuple[Row, list[Row]]:
    """Numbers found beside those expected: in all, and by category."""
    counts = tally(found)
    # Where only a mask tells the label and none was opened, the splits are all that can be compared.
    unopened = quick and any(one.label is None for one in found)
    columns = ("images", *(("train", "test") if unopened else (*FOUR, "with_mask")))
    known = descriptor.expected.categories if descriptor else {}
    nothing = Counts(images=0, **dict.fromkeys(FOUR, 0)) if descriptor else Counts()
    categories = [
        _row(name, counts.get(name, Counter()), known.get(name, nothing), columns)
        for name in sorted(counts.keys() | known.keys())
    ]
    in_all = sum(counts.values(), Counter())
    total = _row("all", in_all, descriptor.expected.total if descriptor else Counts(), columns)
    return total, categories


def _row(name: str, found: Counter[str], expected: Counts, columns: tuple[str, ...]) -> Row:
    numbers = {column: expected_number(expected, column) for column in columns}
    return Row(
        category=name,
        found={column: found[column] for column in columns},
        expected={column: number for column, number in numbers.items() if number is not None},
        empty=not found["images"],
    )
