"""Damaged files by the hundred, from fixed seeds: a right answer or one clear line, no traceback and no wrong count.

What is right is decided here by other means than in the package: a list is read line by line with its own small rules,
and a change that makes the list say something else is only accepted if the index then says that too.
"""

import io
import json
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from edgezsad.data.check import check_copy
from edgezsad.data.descriptors import find_descriptor
from edgezsad.data.fingerprints import fingerprint
from edgezsad.data.images import decode_image, decode_mask, measure, measure_mask
from edgezsad.data.layouts import index
from edgezsad.data.loading import load_fast
from edgezsad.data.manifest import Manifest, read_manifest, write_manifest
from edgezsad.data.opening import MAX_PIXELS_PER_BYTE
from edgezsad.errors import InputError
from synthetic import SetSpec, generate_set

IMAGES, MANIFESTS, LISTS = 1000, 200, 150
"""Numbers of damaged images, manifests, and lists of each of the two sets that have one: 500 of the latter in all."""

SHAPE = (12, 20)


def one_line(error: InputError, path: Path | str) -> None:
    assert str(path) in str(error) and "\n" not in str(error), str(error)


# Damage ---------------------------------------------------------------------------------------------------------------


def flip_bits(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def insert(data: bytes, random: Random) -> bytes:
    place = random.randrange(len(data) + 1)
    return data[:place] + random.randbytes(random.randint(1, 8)) + data[place:]


def remove(data: bytes, random: Random) -> bytes:
    place = random.randrange(len(data))
    return data[:place] + data[place + random.randint(1, 8) :]


def double(data: bytes, random: Random) -> bytes:
    start, end = sorted(random.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:]


def edit_head(data: bytes, random: Random) -> bytes:
    """Numbers as they are dangerous in a header: none, negative, more than there is."""
    place = random.randrange(max(1, min(64, len(data) - 4)))
    number = random.choice([0, 1, 0x7FFF, 0xFFFF, 0x10000, 10_000, 60_000, 0x7FFFFFFF, 0xFFFFFFFF])
    form = random.choice(["<I", ">I", "<H", ">H"])
    value = struct.pack(form, number & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))
    return data[:place] + value + data[place + len(value) :]


def mend_checksums(data: bytes) -> bytes:
    """A PNG whose chunks are as damaged as before, but whose checksums agree: otherwise only they would be tried."""
    out, place = data[:8], 8
    while place + 12 <= len(data):
        length = struct.unpack(">I", data[place : place + 4])[0]
        body = data[place + 4 : place + 8 + length]
        out += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return out


DAMAGE: list[Callable[[bytes, Random], bytes]] = [flip_bits, truncate, insert, remove, double, edit_head]


# Images ---------------------------------------------------------------------------------------------------------------


def whole_files() -> list[tuple[str, bytes]]:
    """One small file of each kind that users have, with its ending."""
    random = np.random.default_rng(0)
    colour = random.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    grey, deep = colour[..., 0], random.integers(0, 65536, SHAPE).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    made: list[tuple[str, np.ndarray | Image.Image, dict]] = [
        ("png", colour, {}),
        ("png", grey, {"exif": exif}),
        ("png", deep, {}),
        ("png", Image.fromarray(colour).convert("P"), {"transparency": 3}),
        ("png", np.dstack([colour, grey]), {}),
        ("png", Image.fromarray(grey > 127), {}),
        ("jpg", colour, {"exif": exif}),
        ("jpg", grey, {"progressive": True}),
        ("jpg", Image.fromarray(np.dstack([colour, grey]), "CMYK"), {}),
        ("bmp", colour, {}),
        ("bmp", Image.fromarray(colour).convert("P"), {}),
        ("tif", colour, {}),
        ("tif", deep, {}),
        ("tif", grey, {"compression": "tiff_lzw", "exif": exif}),
        ("tif", colour, {"compression": "tiff_adobe_deflate"}),
        ("tif", Image.fromarray(grey > 127), {"compression": "group4"}),
    ]
    files = []
    for ending, picture, options in made:
        stream = io.BytesIO()
        form = {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending)
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        image.save(stream, form, **options)
        files.append((ending, stream.getvalue()))
    return files


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pixels of every image that Pillow makes room for, as it is asked."""
    sizes: list[int] = []
    real = Image.core.new

    def new(mode: str, size: tuple[int, int]) -> object:
        sizes.append(size[0] * size[1])
        return real(mode, size)

    monkeypatch.setattr(Image.core, "new", new)
    return sizes


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
def test_damaged_images(tmp_path: Path, asked: list[int]) -> None:
    """Through every function that opens a file: the right shape and type, or one line that names the file."""
    random, files = Random(0), whole_files()
    outcome: Counter[str] = Counter()
    largest = 0
    for number in range(IMAGES):
        ending, data = files[number % len(files)]
        for _ in range(random.randint(1, 2)):
            data = random.choice(DAMAGE)(data, random) or b"\0"
        if ending == "png" and random.random() < 0.5:
            data = mend_checksums(data)
        path = tmp_path / f"{number}.{ending}"
        path.write_bytes(data)
        largest = max(largest, len(data))
        outcome[_opened(path)] += 1
        path.unlink()
    assert sum(outcome.values()) == IMAGES
    assert outcome["read"] > 50 and outcome["refused"] > 200, outcome
    assert max(asked) <= MAX_PIXELS_PER_BYTE * largest, "no header gets memory that its file can not fill"


def _opened(path: Path) -> str:
    try:
        height, width, sha256 = measure(path)
    except InputError as error:
        one_line(error, path)
        height, width = SHAPE
    else:
        assert height > 0 and width > 0 and len(sha256) == 64
        assert measure_mask(path, (height, width)) == sha256
    try:
        mask = decode_mask(path, (height, width))
    except InputError as error:
        one_line(error, path)
    else:
        assert mask.shape == (height, width) and mask.dtype == bool
    try:
        image = decode_image(path)
    except InputError as error:
        one_line(error, path)
        image = None
    # What training and the search for leaks open the file by must not know better.
    for read in (lambda one: load_fast(one, 4), fingerprint):
        try:
            made = read(path)
        except InputError as error:
            one_line(error, path)
            assert image is None
        else:
            assert image is not None and made is not None
    if image is None:
        return "refused"
    assert image.shape == (height, width, 3) and image.dtype == np.uint8, "as it was measured"
    return "read"


# Manifests and lists --------------------------------------------------------------------------------------------------


def swap_cells(text: str, random: Random) -> str:
    """Cells of a table exchanged, doubled or emptied: all bytes are good, what they say is not."""
    lines = text.split("\n")
    a, b = (random.randrange(len(lines)) for _ in range(2))
    match random.randrange(5):
        case 0:
            lines[a], lines[b] = lines[b], lines[a]
        case 1:
            lines.insert(b, lines[a])
        case 2:
            cells, others = lines[a].split(","), lines[b].split(",")
            cells[random.randrange(len(cells))] = random.choice(others)
            lines[a] = ",".join(cells)
        case 3:
            cells = lines[a].split(",")
            cells[random.randrange(len(cells))] = random.choice(
                ["", '"', "..", "/etc/passwd", "0", "\u0661", "\t", "x" * 9999]
            )
            lines[a] = ",".join(cells)
        case 4:
            lines[a] = lines[a].replace(",", random.choice([";", ",,", "\r", '","']), 1)
    return "\n".join(lines)


def damaged_text(data: bytes, random: Random) -> bytes:
    for _ in range(random.randint(1, 2)):
        if random.random() < 0.4:
            data = swap_cells(data.decode("utf-8", errors="surrogateescape"), random).encode(errors="surrogateescape")
        else:
            data = random.choice([flip_bits, truncate, insert, remove, double])(data, random) or b"\n"
    return data


def lines_with_text(data: bytes) -> int:
    """Rows of a table by the simplest count there is: lines that are not empty, less the header."""
    return sum(bool(line.strip()) for line in data.decode("utf-8").splitlines()) - 1


@pytest.fixture(scope="module")
def mpdd(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("faults") / "MPDD"
    generate_set(SetSpec("MPDD", "mpdd", ("tiles", "dial"), 3, 3, 3, (32, 32)), root, 0, 1)
    return index(find_descriptor("MPDD").data_set(root), root)


def test_damaged_manifests(tmp_path: Path, mpdd: Manifest) -> None:
    """What is read is what was written, or nothing is."""
    random = Random(1)
    path = write_manifest(mpdd, tmp_path / "m.csv")
    whole = path.read_bytes()
    outcome: Counter[str] = Counter()
    for _ in range(MANIFESTS):
        data = damaged_text(whole, random)
        path.write_bytes(data)
        try:
            read = read_manifest(path, mpdd.root)
        except InputError as error:
            one_line(error, path)
            outcome["refused"] += 1
            continue
        outcome["read"] += 1
        assert read.entries == mpdd.entries
    assert outcome["refused"] > MANIFESTS / 2 and outcome["read"], outcome


def check_lists(
    name: str, source: str, root: Path, damage: Callable[[bytes, Random], bytes], seed: int
) -> Counter[str]:
    """Damage a set's own list again and again.

    The images are untouched, so every image that a list can name is known here, with its label and its mask.
    A list that is accepted must have as many rows as it says, and none may say anything else of an image than is true;
    only its split is in the list alone. A check must find something wrong with whatever an index refuses.
    """
    random = Random(seed)
    descriptor = find_descriptor(name)
    item = descriptor.data_set(root)
    generate_set(SetSpec(name, item.layout, ("tiles", "dial"), 6, 6, 6, (32, 32)), root, 0, 1)
    rows = index(item, root).entries
    truth = {row.id: (row.category, row.label, row.mask) for row in rows}
    path = root / source
    whole = path.read_bytes()
    sound = check_copy(descriptor, root, quick=True)
    outcome: Counter[str] = Counter()
    for number in range(LISTS):
        data = damage(whole, random)
        path.write_bytes(data)
        # A check takes longer than an index, as it looks for every image of the real set.
        try:
            report = check_copy(descriptor, root, quick=True) if number % 10 == 0 else None
        except InputError:
            report = None
        try:
            read = index(item, root)
        except InputError as error:
            one_line(error, root)
            outcome["refused"] += 1
            assert report is None or (report.problems, report.total) != (sound.problems, sound.total), "told of nothing"
            continue
        assert report is None or report.total.found["images"] == len(read.entries)
        outcome["read"] += 1
        for entry in read.entries:
            assert (entry.category, entry.label, entry.mask) == truth[entry.id]
        others = [row for row in rows if row.category != path.stem] if path.suffix == ".json" else []
        assert len(read.entries) == len(others) + count_listed(path)
    return outcome


def count_listed(path: Path) -> int:
    if path.suffix == ".csv":
        return lines_with_text(path.read_bytes())
    # Every image of a Real-IAD list is one path that ends so; nothing else in the list does.
    return path.read_text(encoding="utf-8").count('.jpg"')


def test_damaged_visa_lists(tmp_path: Path) -> None:
    outcome = check_lists("VisA", "split_csv/1cls.csv", tmp_path / "VisA", damaged_text, 2)
    assert outcome["refused"] > LISTS / 2 and outcome["read"] > 3, outcome


def damaged_json(data: bytes, random: Random) -> bytes:
    """Bytes changed, or values: another one's, another kind's, none."""
    if random.random() < 0.5:
        return random.choice([flip_bits, truncate, insert, remove, double])(data, random) or b"{"
    content = json.loads(data)
    rows = content[random.choice(["train", "test"])]
    key = random.choice(["category", "anomaly_class", "image_path", "mask_path"])
    match random.randrange(6):
        case 0:
            rows[0][key] = random.choice(rows)[key]
        case 1:
            rows[0][key] = random.choice([None, 3, [], {}, "", "..", "OK", "AK", "/etc/passwd", "a\0b", "\ud800"])
        case 2:
            del random.choice(rows)[key]
        case 3:
            rows.append(random.choice(rows))
        case 4:
            rows.pop()
        case 5:
            content[random.choice(["train", "test", "meta"])] = random.choice([None, 3, [], {}, "abc", [[]], [None]])
    return json.dumps(content).encode()


def test_damaged_real_iad_lists(tmp_path: Path) -> None:
    source = "realiad_jsons/realiad_jsons/tiles.json"
    outcome = check_lists("Real-IAD", source, tmp_path / "Real-IAD", damaged_json, 3)
    assert outcome["refused"] > LISTS / 2 and outcome["read"] > 3, outcome
