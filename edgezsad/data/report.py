"""What a check of a data set found, as one screen of text and as JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path

from edgezsad.data.folders import shown
from edgezsad.errors import CheckError

SCREEN = 23
"""Lines; the command line adds one that says what to do. `--json` has all that does not fit."""
LINE = 100
"""Characters, which only a line with a single long name or reason goes beyond."""
NAMES_SHOWN = 3
ROWS_SHOWN = 15
"""Of a long list the first few are shown, where there is room."""
ROWS_AT_LEAST = 5
"""Categories for which there is to be room: rather fewer names are explained."""

PROBLEMS = {
    "refused": "files, folders or rows of a list that an index refuses",
    "missing": "files missing",
    "category": "categories of which no image was found",
    "other_case": "files named in another case than in the public list",
    "extra": "files too many",
    "otherwise": "images listed otherwise than in the public list",
    "twice": "images or masks listed twice",
    "name": "names that a manifest can not hold",
    "image": "images that can not be used",
    "mask": "masks that can not be used",
    "mask_size": "masks of another size than their image",
    "mask_empty": "empty masks of defective images",
    "no_mask": "defective images without a mask",
}
"""What can be wrong with single files. Numbers of images are compared beside it."""

EXPLAINED = ("refused", "otherwise", "image", "mask", "mask_size")
"""Of these it is said, line by line, what is wrong with each."""

FETCHED = {"missing", "category", "image", "mask", "mask_size", "mask_empty", "no_mask"}
"""What may be mended by getting the files again."""


@dataclass(frozen=True)
class Row:
    """Numbers of images in one category, or in all of them; `expected` leaves out what nobody has stated.

    `empty` is a category that is described, but of which no image was found.
    """

    category: str
    found: dict[str, int]
    expected: dict[str, int]
    empty: bool = False

    @property
    def agrees(self) -> bool:
        """Whether every stated number is the one found."""
        return not self.empty and all(self.found[column] == number for column, number in self.expected.items())


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        name: the data set's name, or "any".
        root: the folder.
        home: the data set's home page; empty for "any".
        quick: whether files were left unopened.
        whole: as in `Copy`; otherwise nothing was counted.
        problems: by the keys of `PROBLEMS`, the files concerned; of what an index refuses, the whole lines.
        reasons: for the files that can not be used, and those listed otherwise: why, in one line.
        notes: in words, what is odd but not wrong.
        total: numbers of the whole set.
        categories: numbers by category.
    """

    name: str
    root: Path
    home: str
    quick: bool
    whole: bool
    problems: dict[str, list[str]]
    reasons: dict[str, str]
    notes: list[str]
    total: Row
    categories: list[Row]

    @property
    def differing(self) -> list[Row]:
        """Categories whose numbers are not as expected."""
        return [row for row in self.categories if not row.agrees]

    @property
    def counts_agree(self) -> bool:
        """Whether the numbers, as far as they were counted, are as expected."""
        return self.total.agrees and not self.differing

    @property
    def complete(self) -> bool:
        """Whether nothing is wrong."""
        return self.whole and not self.problems and self.counts_agree

    def as_json(self) -> dict[str, object]:
        """Everything, for a script."""
        return {**asdict(self), "root": str(self.root), "complete": self.complete}

    def as_text(self) -> str:
        """One screen."""
        table = (
            _table(self) if self.whole else ["  images were not counted, because they could not be listed to the end"]
        )
        # The empty line above the table, its two first lines and its last one.
        room = SCREEN - min(len(table), ROWS_AT_LEAST + 3) - 1
        bodies = (self._body(explained) for explained in range(NAMES_SHOWN, 0, -1))
        body = next((lines for lines in bodies if len(lines) <= room), self._body(1))
        if self.whole:
            table = _table(self, min(ROWS_SHOWN, max(0, SCREEN - len(body) - 4)))
        return "\n".join([*body, "", *table])

    def _body(self, explained: int) -> list[str]:
        """Everything but the table, with so many names explained of each kind of problem."""
        lines = [f"{self.name} in {shown(self.root)}: {self._verdict()}"]
        for kind, names in self.problems.items():
            lines += (
                self._explained(kind, names, explained)
                if kind in EXPLAINED
                else [f"  {in_short(PROBLEMS[kind], names)}"]
            )
        return lines + [f"  note: {note}" for note in self.notes]

    def _explained(self, kind: str, names: list[str], number: int) -> list[str]:
        """The first names, each with its reason."""
        first = f", the first {number if number > 1 else 'one'}:" if len(names) > number else ""
        lines = [f"  {PROBLEMS[kind]}: {len(names):,}{first}"]
        for name in names[:number]:
            lines.append(f"    {shown(name)}" + (f": {self.reasons[name]}" if name in self.reasons else ""))
        return lines

    def _verdict(self) -> str:
        if not self.complete:
            return "not complete, or damaged"
        known = "images" in self.total.expected
        whole = "complete" if known else "nothing wrong found, but how many images there should be is unknown"
        return f"{whole}; {'nothing was opened' if self.quick else 'every image and mask decodes'}"

    def require_complete(self) -> None:
        """Fail unless the copy is complete.

        Raises:
            CheckError: it is not; the line says what to do.
        """
        if self.complete:
            return
        parts = [f"{PROBLEMS[kind]}: {len(names):,}" for kind, names in self.problems.items()]
        parts += [] if self.counts_agree else ["wrong numbers of images"]
        kinds = set(self.problems)
        remedies = []
        if self.home and (kinds & FETCHED or not kinds):
            remedies.append(f"get what is missing or damaged again from {self.home}")
        if not remedies or kinds - FETCHED:
            remedies.append("mend or remove what is named above")
        raise CheckError(f"{shown(self.root)}: {'; '.join(parts)}; {', and '.join(remedies)}")


def in_short(what: str, names: list[str]) -> str:
    """What files are concerned, how many, and the names of the first, as many as one line holds."""
    line = ""
    for number in range(min(NAMES_SHOWN, len(names)), 0, -1):
        more = f" and {len(names) - number:,} more" if len(names) > number else ""
        line = f"{what}: {len(names):,} ({', '.join(shown(name) for name in names[:number])}{more})"
        if len(line) <= LINE:
            break
    return line


def _table(report: Report, room: int = ROWS_SHOWN) -> list[str]:
    """Numbers as aligned text: all, then the categories as far as there is room, empty and differing ones first."""
    rows = sorted(report.categories, key=lambda row: (not row.empty, row.agrees))
    table = [report.total, *rows[:room]]
    columns = list(report.total.found)
    heads = ["", *(column.replace("_", " ") for column in columns)]
    cells = [[shown(row.category), *(_cell(row, column) for column in columns)] for row in table]
    widths = [max(len(line[place]) for line in [heads, *cells]) for place in range(len(heads))]
    lines = [
        "  " + "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in [heads, *cells]
    ]
    if left_out := rows[room:]:
        lines.append(f"  and {len(left_out)} more categories, {_in_words(left_out)}")
    return lines


def _in_words(rows: list[Row]) -> str:
    if not all(row.agrees for row in rows):
        return "not all as expected"
    known = all("images" in row.expected for row in rows)
    return "as expected" if known else "how many images there should be in each is unknown"


def _cell(row: Row, column: str) -> str:
    """One number; where another one was expected, "found of expected"."""
    found, expected = row.found[column], row.expected.get(column)
    return f"{found:,}" if expected in (None, found) else f"{found:,} of {expected:,}"
