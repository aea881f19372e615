"""Manifests: what is written is read back, and damage is found and named."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgezsad.data.manifest import Entry, Manifest, name_problem, read_manifest, write_manifest
from edgezsad.errors import InputError

NORMAL = Entry("bolt/test/good/000.png", "bolt", "test", 0, "good", "", 640, 480, "a" * 64, "")
DEFECTIVE = Entry(
    "bolt/test/scratch/000.png", "bolt", "test", 1, "scratch", "bolt/mask.png", 640, 480, "b" * 64, "c" * 64
)
TWO = Manifest("bolts", Path("data"), (NORMAL, DEFECTIVE))

texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
paths = st.lists(
    texts.map(lambda text: text.replace("/", "_")).filter(lambda t: t not in (".", "..")), min_size=1, max_size=4
)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    label = draw(st.integers(0, 1))
    masked = bool(label) and draw(st.booleans())
    return Entry(
        id="/".join(draw(paths)),
        category=draw(texts),
        split=draw(st.sampled_from(["train", "test"])),
        label=label,
        defect=draw(texts.filter(lambda text: text != "good")) if label else "good",
        mask="/".join(draw(paths)) if masked else "",
        width=draw(st.integers(1, 100_000)),
        height=draw(st.integers(1, 100_000)),
        sha256=draw(hashes),
        mask_sha256=draw(hashes) if masked else "",
    )


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(entries(), max_size=5, unique_by=lambda entry: entry.id), texts)
def test_round_trip(tmp_path: Path, listed: list[Entry], name: str) -> None:
    """Any name that may be in a manifest: commas, quotes, spaces at the ends, every script."""
    manifest = Manifest(name, tmp_path, tuple(sorted(listed, key=lambda entry: entry.id)))
    path = write_manifest(manifest, tmp_path / "m.csv")
    again = read_manifest(path, tmp_path, name)
    assert again == manifest
    assert again.sha256 == manifest.sha256


def test_name_paths_and_split(tmp_path: Path) -> None:
    read = read_manifest(write_manifest(TWO, tmp_path / "bolts.csv"), tmp_path)
    assert read.name == "bolts"
    assert read.path(DEFECTIVE) == tmp_path / "bolt/test/scratch/000.png"
    assert read.mask_path(DEFECTIVE) == tmp_path / "bolt/mask.png"
    assert read.mask_path(NORMAL) is None
    assert read.select("train").entries == ()
    assert read.select("test").entries == TWO.entries


def test_hash_follows_content_only(tmp_path: Path) -> None:
    assert replace(TWO, name="other", root=tmp_path).sha256 == TWO.sha256
    assert replace(TWO, entries=(NORMAL, replace(DEFECTIVE, label=0))).sha256 != TWO.sha256
    path = write_manifest(TWO, tmp_path / "m.csv")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_manifest(path, "data").sha256 == TWO.sha256


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "../outside.png"}, "leaves the data set's folder"),
        ({"id": "bolt/../../outside.png"}, "leaves the data set's folder"),
        ({"id": "/etc/passwd"}, "leaves the data set's folder"),
        ({"mask": "../mask.png"}, "leaves the data set's folder"),
        ({"id": NORMAL.id}, "listed twice"),
        ({"id": ""}, "no id"),
        ({"id": "a\tb.png"}, "control character"),
        ({"label": 2}, "label 2"),
        ({"label": "yes"}, "damaged"),
        ({"label": 0}, "label 0, but defect scratch"),
        ({"label": 0, "defect": "good"}, "has a mask, but is normal"),
        ({"defect": "good"}, "label 1, but defect good"),
        ({"id": "bolt/./a.png"}, "normal form"),
        ({"mask": "bolt//a.png"}, "normal form"),
        ({"category": ""}, "no category"),
        ({"width": "+1"}, "damaged"),
        ({"width": " 1"}, "damaged"),
        ({"width": "1_0"}, "damaged"),
        ({"width": "\u0661"}, "damaged"),
        ({"width": ""}, "damaged"),
        ({"height": 0}, "size 640x0"),
        ({"split": "val"}, "split 'val'"),
        ({"sha256": "b" * 63}, "SHA-256"),
        ({"mask_sha256": ""}, "SHA-256"),
        ({"mask": ""}, "SHA-256"),
    ],
)
def test_a_damaged_row_is_named(tmp_path: Path, change: dict, reason: str) -> None:
    path = write_manifest(replace(TWO, entries=(NORMAL, replace(DEFECTIVE, **change))), tmp_path / "m.csv")
    with pytest.raises(InputError) as caught:
        read_manifest(path, tmp_path)
    message = str(caught.value)
    assert str(path) in message and reason in message and "01_data" in message and "\n" not in message


def test_every_cut_in_the_file_is_found(tmp_path: Path) -> None:
    """Cut anywhere but before its last line end, the file is refused."""
    path = write_manifest(TWO, tmp_path / "m.csv")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length == len(whole) - 1:
            assert read_manifest(path, "data").entries == TWO.entries
            continue
        with pytest.raises(InputError):
            read_manifest(path, "data")
    path.write_bytes(whole[: whole.index(b"# images")])
    with pytest.raises(InputError, match=r"m\.csv: cut off after 2 images"):
        read_manifest(path, "data")


def test_an_empty_manifest_is_whole_and_a_header_alone_is_not(tmp_path: Path) -> None:
    path = write_manifest(replace(TWO, entries=()), tmp_path / "m.csv")
    assert read_manifest(path, "data").entries == ()
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(InputError, match="cut off after 0 images"):
        read_manifest(path, "data")


def test_rows_out_of_order_or_changed_are_named(tmp_path: Path) -> None:
    path = write_manifest(TWO, tmp_path / "m.csv")
    head, one, other, last = path.read_text().splitlines(keepends=True)
    for lines, reason in (
        ((head, other, one, last), "row 3, bolt/test/good/000.png, is not in the order of the ids"),
        ((head, one, one, other, last), "is listed twice"),
        ((head, other, last), "not the 1 images that its last row tells of"),
        ((head, one, other.replace("640", "641"), last), "not the 2 images"),
        ((head, one, last, other), "stands behind the last row"),
    ):
        path.write_text("".join(lines))
        with pytest.raises(InputError, match=reason):
            read_manifest(path, "data")


@pytest.mark.parametrize(("mask", "reason"), [("bolt/mask.png", "is the mask of both"), (NORMAL.id, "is an image")])
def test_a_mask_belongs_to_one_image_and_is_none(tmp_path: Path, mask: str, reason: str) -> None:
    third = replace(DEFECTIVE, id="bolt/test/scratch/001.png", mask=mask)
    path = write_manifest(replace(TWO, entries=(NORMAL, DEFECTIVE, third)), tmp_path / "m.csv")
    with pytest.raises(InputError, match=reason):
        read_manifest(path, "data")


def test_what_a_spreadsheet_makes_of_it_is_read(tmp_path: Path) -> None:
    """A byte-order mark, other line ends, every cell in quotation marks."""
    path = write_manifest(TWO, tmp_path / "m.csv")
    with open(path, newline="") as stream:
        rows = list(csv.reader(stream))
    with open(path, "w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows(rows)
    assert read_manifest(path, "data").entries == TWO.entries


@pytest.mark.parametrize("row", [["x.png"], [*("abcdefghij"), "surplus"]])
def test_a_row_with_too_few_or_too_many_cells(tmp_path: Path, row: list[str]) -> None:
    path = write_manifest(TWO, tmp_path / "m.csv")
    with open(path, "a", newline="") as stream:
        csv.writer(stream).writerow(row)
    with pytest.raises(InputError, match="row 5 is damaged"):
        read_manifest(path, tmp_path)


def test_a_stray_quotation_mark_hides_no_rows(tmp_path: Path) -> None:
    """Read leniently, everything from the mark to the file's end would be one cell, and the rows in it gone."""
    path = write_manifest(TWO, tmp_path / "m.csv")
    text = path.read_text()
    for place in range(len(text)):
        path.write_text(f'{text[:place]}"{text[place:]}')
        try:
            read = read_manifest(path, tmp_path)
        except InputError:
            continue
        assert len(read.entries) == 2, "inside a cell it is part of the name"


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.csv").touch()
    for name, reason in {
        "other.csv": "not a manifest",
        "bytes.csv": "damaged",
        "empty.csv": "not a manifest",
        "missing.csv": "no such manifest",
        ".": "is a folder",
    }.items():
        with pytest.raises(InputError, match=reason):
            read_manifest(tmp_path / name, tmp_path)


def test_names() -> None:
    assert name_problem('a, b "c" ä/日本.png') is None
    assert name_problem("Icon\r") is not None
    assert name_problem("a\udcff.png") is not None
