"""Check a copy of a data set: files against the public list, counts against published numbers, damaged files."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgezsad.data.descriptors import ANY, count_differences, descriptors, find_descriptor, read_list, stated_count
from edgezsad.data.images import Reading, decode_image, decode_mask
from edgezsad.data.layouts import IMAGE_ENDINGS, ImageItem, images_below, is_generated, scan_layout
from edgezsad.errors import CheckError, InputError, printable
from edgezsad.files import progress

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 3  # files of each kind that the text names; JSON has all

# Kinds of problems.
INVALID = "invalid files, folders or lists"
MISSING = "missing files"
EXTRA = "files that are not in the public list"
DIFFERENT = "images that differ from the public list"
UNREADABLE = "unreadable images"
BAD_MASK = "unusable masks"
EMPTY_MASK = "empty masks of defective images"
LARGE_MASK = "masks that cover more than half of the image (inverted, or white everywhere?)"
NO_MASK = "defective images without a mask"
COUNTS = "numbers of images that differ from the published ones"


@dataclass(frozen=True)
class CheckReport:
    """What a check found: problems by kind, one line for each file, and notes on what is unusual but not wrong."""

    name: str
    root: Path
    quick: bool
    images: int
    problems: dict[str, list[str]]
    notes: list[str]
    home: str = ""  # where to get the set; empty if unknown

    @property
    def complete(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "root": str(self.root), "complete": self.complete}

    def as_text(self) -> str:
        """Return a summary for a terminal."""
        verdict = "complete" if self.complete else "incomplete or damaged"
        how = " by names alone, no file was opened" if self.quick else ""
        lines = [f"{self.name} in {self.root}: {self.images:,} images, {verdict}{how}"]
        for kind, found in self.problems.items():
            lines.append(f"  {kind}: {len(found):,}")
            lines += [f"    {one}" for one in found[:SHOWN]]
            if len(found) > SHOWN:
                lines.append(f"    and {len(found) - SHOWN:,} more (--json lists all)")
        return "\n".join(map(printable, lines + [f"  note: {note}" for note in self.notes]))

    def require_complete(self) -> None:
        """Raise CheckError, with one line, if anything is wrong."""
        if not self.complete:
            kinds = ", ".join(f"{kind}: {len(found):,}" for kind, found in self.problems.items())
            remedy = f"get missing or damaged files from {self.home}" if self.home else "fix or remove these files"
            raise CheckError(f"{self.root}: {kinds}; {remedy}")


def check_dataset(name: str, root: Path | str, quick: bool = False, workers: int = 2) -> CheckReport:
    """Check a copy of the data set `name` (of a descriptor, or "any") in the folder `root`.

    If `quick`, names are compared and no file is opened. An unknown name or a folder without images raises InputError.
    """
    root = Path(root)
    descriptor = find_descriptor(name)
    scan = scan_layout(descriptor.layout if descriptor else "mvtec", root)
    public = (read_list(descriptor) if descriptor else None) or []
    found, listed = _files(scan.items), _files(public)
    images = [path for path in images_below(root) if path.lower().endswith(IMAGE_ENDINGS)]
    unread = {path for path in images if not {path, path.rpartition("/")[0]} & found}
    unread -= set(descriptor.stray if descriptor else ())
    missing = {path for path in found | listed if not (root / path).exists()}
    items = [item for item in scan.items if item.image not in missing]
    items = [replace(item, mask="") if item.mask in missing else item for item in items]
    problems, large, reading = {INVALID: scan.problems, MISSING: sorted(missing)}, [], Reading()
    if public:
        problems[EXTRA] = sorted((found | unread) - listed - missing)
        problems[DIFFERENT] = _differences(scan.items, [item for item in public if item.image not in missing])
    if not quick:
        with ThreadPoolExecutor(max(1, workers)) as pool:
            decode = partial(_decode, root, reading)
            decoded = list(progress(pool.map(decode, items), "check", total=len(items)))
        items = [item for item, _, _ in decoded]
        for kind in (UNREADABLE, BAD_MASK, EMPTY_MASK):
            problems[kind] = [line for _, one, line in decoded if one == kind]
        large = [line for _, one, line in decoded if one == LARGE_MASK]
    without_mask = [item.image for item in items if item.label and not item.mask]
    notes = ["generated images, not the data set itself"] if is_generated(root) else []
    notes += [line.removeprefix(f"{root}/") for line in reading.notes()]
    notes += [f"{LARGE_MASK}: {len(large):,} ({large[0]})"] if large else []
    if descriptor is not None:
        problems[NO_MASK] = without_mask
        problems[COUNTS] = count_differences(descriptor, items)
    elif without_mask:
        notes.append(f"{NO_MASK}, left out of pixel metrics: {len(without_mask):,}")
    if unread and not public:
        notes.append(f"image files that the layout does not read: {len(unread):,} ({min(unread)}, ...)")
    problems = {kind: lines for kind, lines in problems.items() if lines}
    name, home = (descriptor.name, descriptor.home) if descriptor else (ANY, "")
    return CheckReport(name, root, quick, len(items), problems, notes, home)


def _files(items: list[ImageItem]) -> set[str]:
    return {path for item in items for path in (item.image, item.mask) if path}


def _differences(items: list[ImageItem], public: list[ImageItem]) -> list[str]:
    """Compare the copy's own list of images with the public one."""
    found = {item.image: item for item in items}
    lines = []
    for stated in public:
        here = found.get(stated.image)
        if here is None:
            lines.append(f"{stated.image}: not in the copy's own list")
            continue
        values = [(name, getattr(here, name), getattr(stated, name)) for name in ("category", "split", "label", "mask")]
        # A missing mask is reported as missing; an unknown label is not compared.
        wrong = [f"{name} {one!r}, expected {other!r}" for name, one, other in values if one not in (None, "", other)]
        lines += [f"{stated.image}: {'; '.join(wrong)}"] if wrong else []
    return lines


def _decode(root: Path, reading: Reading, item: ImageItem) -> tuple[ImageItem, str, str]:
    """Decode one image and its mask; return the item with its label, and the kind and line of a problem."""
    kind, name = UNREADABLE, item.image
    try:
        shape = decode_image(root / item.image, reading).shape[:2]
        if not item.mask or item.label == 0:
            return item, "", ""
        kind, name = BAD_MASK, item.mask
        coverage = float(decode_mask(root / item.mask, shape).mean())
    except InputError as error:
        return item, kind, str(error).removeprefix(f"{root}/")
    if item.label is None:
        item = replace(item, label=int(coverage > 0))
    elif coverage == 0:
        return item, EMPTY_MASK, name
    return item, LARGE_MASK if coverage > 0.5 else "", name


def descriptor_table() -> "pd.DataFrame":
    """Return one row for each described set."""
    import pandas as pd

    rows = []
    for name, descriptor in descriptors().items():
        numbers = [stated_count(descriptor.expected.total, column) for column in ("images", "defective")]
        images, defective = ("unknown" if number is None else f"{number:,}" for number in numbers)
        row = {
            "set": name,
            "images": images,
            "defective": defective,
            "categories": str(len(descriptor.expected.categories)),
            "licence": descriptor.licence.name,
            "commercial use": {True: "yes", False: "no", None: "not stated"}[descriptor.licence.commercial_use],
            "where to get it": descriptor.home,
        }
        rows.append(row)
    return pd.DataFrame(rows)
