"""Is a copy of a data set complete and undamaged? One screen says so; the exit code says it to a script."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from edgezsad.data.copies import Copy, expected_number, scan, tally
from edgezsad.data.descriptors import ANY, FOUR, Counts, Descriptor
from edgezsad.data.images import decode_image, decode_mask, measure
from edgezsad.data.layouts import Found
from edgezsad.data.manifest import name_problem
from edgezsad.errors import CheckError, InputError
from edgezsad.progress import progress

NAMES_SHOWN = 3
ROWS_SHOWN = 15
"""Of a long list the first few are shown; `--json` has them all."""

PROBLEMS = {
    "missing": "files missing",
    "other_case": "files named in another case than in the public list",
    "extra": "files too many",
    "twice": "images or masks listed twice",
    "name": "names that a manifest can not hold",
    "image": "images that do not decode",
    "mask": "masks that do not decode",
    "mask_size": "masks of another size than their image",
    "mask_empty": "empty masks of defective images",
    "no_mask": "defective images without a mask",
}
"""What can be wrong with single files. Numbers of images are compared beside it."""


@dataclass(frozen=True)
class Row:
    """Numbers of images in one category, or in all of them; `expected` leaves out what nobody has stated."""

    category: str
    found: dict[str, int]
    expected: dict[str, int]

    @property
    def agrees(self) -> bool:
        """Whether every stated number is the one found."""
        return all(self.found[column] == number for column, number in self.expected.items())


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        name: the data set's name, or "any".
        root: the folder.
        quick: whether files were left unopened.
        damage: as in `Copy`.
        problems: by the keys of `PROBLEMS`, the files concerned.
        notes: in words, what is odd but not wrong.
        total: numbers of the whole set.
        categories: numbers by category.
    """

    name: str
    root: Path
    quick: bool
    damage: str
    problems: dict[str, list[str]]
    notes: list[str]
    total: Row
    categories: list[Row]

    @property
    def differing(self) -> list[Row]:
        """Categories whose numbers are not as expected."""
        return [row for row in self.categories if not row.agrees]

    @property
    def complete(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.damage or self.problems or self.differing) and self.total.agrees

    def as_json(self) -> dict[str, object]:
        """Everything, for a script."""
        return {**asdict(self), "root": str(self.root), "complete": self.complete}

    def as_text(self) -> str:
        """One screen."""
        lines = [f"{self.name} in {_shown(str(self.root))}: {self._verdict()}"]
        if self.damage:
            lines.append(f"  can not be read: {_shown(self.damage)}")
        lines += [_line(len(names), PROBLEMS[kind], names) for kind, names in self.problems.items()]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join([*lines, "", *_table(self)])

    def _verdict(self) -> str:
        if not self.complete:
            return "not complete, or damaged"
        known = "images" in self.total.expected
        whole = "complete" if known else "nothing wrong found, but how many images there should be is unknown"
        return f"{whole}; {'nothing was opened' if self.quick else 'every image and mask decodes'}"

    def require_complete(self) -> None:
        """Fail unless the copy is complete.

        Raises:
            CheckError: it is not.
        """
        if self.complete:
            return
        parts = [f"{PROBLEMS[kind]}: {len(names):,}" for kind, names in self.problems.items()]
        parts += ["unreadable lists or folders"] if self.damage else []
        parts += [] if self.total.agrees and not self.differing else ["wrong numbers of images"]
        raise CheckError(f"{self.root}: {'; '.join(parts)}; get the files again from the data set's home page")


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
    problems: dict[str, list[str]] = {kind: [] for kind in PROBLEMS}
    problems["missing"] += copy.missing
    problems["other_case"] += [f"{wanted} (here {there})" for wanted, there in copy.other_case]
    problems["extra"] += copy.extra
    uses = Counter(name for one in copy.found for name in (one.image, one.mask) if name)
    problems["twice"] += [name for name, count in uses.items() if count > 1]
    problems["name"] += [name for one in copy.found for name in (one.image, one.mask) if name_problem(name)]
    found = copy.found
    if not quick:
        results = list(progress(_looked_at(copy, workers), "check", total=len(found)))
        found = tuple(one for one, _ in results)
        for _, wrong in results:
            for kind, name in wrong:
                problems[kind].append(name)
    without = [one.image for one in found if one.label and not one.mask]
    notes = []
    if descriptor is None and without:
        notes.append(f"{PROBLEMS['no_mask']}, left out of pixel metrics: {len(without):,}")
    else:
        problems["no_mask"] += without
    if copy.unread:
        notes.append(_line(len(copy.unread), "image files that the layout does not read", list(copy.unread)).strip())
    total, categories = _rows(descriptor, found)
    name = descriptor.name if descriptor else ANY
    wrong = {kind: names for kind, names in problems.items() if names}
    return Report(name, copy.root, quick, copy.damage, wrong, notes, total, categories)


def _looked_at(copy: Copy, workers: int) -> Iterator[tuple[Found, list[tuple[str, str]]]]:
    """Every image with its label and what is wrong with it, in order. Decoding lets go of the interpreter."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(partial(_look, copy.root), copy.found)


def _look(root: Path, one: Found) -> tuple[Found, list[tuple[str, str]]]:
    """Decode one image and its mask: the image with its label, and (kind of problem, file)."""
    try:
        shape = decode_image(root / one.image).shape[:2]
    except InputError:
        return one, [("image", one.image)]
    if not one.mask or one.label == 0:
        return one, []
    try:
        defective = bool(decode_mask(root / one.mask, shape).any())
    except InputError:
        return one, [(_mask_problem(root / one.mask, shape), one.mask)]
    if one.label is None:
        return replace(one, label=int(defective)), []
    return one, [] if defective else [("mask_empty", one.mask)]


def _mask_problem(path: Path, shape: tuple[int, int]) -> str:
    try:
        height, width, _ = measure(path)
    except InputError:
        return "mask"
    return "mask" if (height, width) == shape else "mask_size"


# Numbers --------------------------------------------------------------------------------------------------------------


def _rows(descriptor: Descriptor | None, found: tuple[Found, ...]) -> tuple[Row, list[Row]]:
    """Numbers found beside those expected: in all, and by category."""
    counts = tally(found)
    # Where only a mask tells the label and none was opened, the splits are all that can be compared.
    columns = ("train", "test") if any(one.label is None for one in found) else (*FOUR, "with_mask")
    columns = ("images", *columns)
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
    )


def _table(report: Report) -> list[str]:
    """Numbers as aligned text: all, then differing categories, then the others as far as there is room."""
    rows = sorted(report.categories, key=lambda row: row.agrees)
    shown = [report.total, *rows[:ROWS_SHOWN]]
    columns = list(report.total.found)
    heads = ["", *(column.replace("_", " ") for column in columns)]
    cells = [[_shown(row.category), *(_cell(row, column) for column in columns)] for row in shown]
    widths = [max(len(line[place]) for line in [heads, *cells]) for place in range(len(heads))]
    lines = [
        "  " + "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in [heads, *cells]
    ]
    if left_out := rows[ROWS_SHOWN:]:
        agree = "as expected" if all(row.agrees for row in left_out) else "not all as expected"
        lines.append(f"  and {len(left_out)} more categories, {agree}")
    return lines


def _cell(row: Row, column: str) -> str:
    """One number; where another one was expected, "found of expected"."""
    found, expected = row.found[column], row.expected.get(column)
    return f"{found:,}" if expected in (None, found) else f"{found:,} of {expected:,}"


def _line(count: int, what: str, names: list[str]) -> str:
    more = f" and {count - NAMES_SHOWN:,} more" if count > NAMES_SHOWN else ""
    return f"  {what}: {count:,} ({', '.join(_shown(name) for name in names[:NAMES_SHOWN])}{more})"


def _shown(text: str) -> str:
    """Text for a terminal: names may hold control characters, or bytes that are no text."""
    return text if text.isprintable() else ascii(text)
