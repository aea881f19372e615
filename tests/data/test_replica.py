"""Every adapter on a full-size replica of its set: the published numbers, path by path, and nothing else."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgezsad.data.check import check_copy
from edgezsad.data.copies import status
from edgezsad.data.descriptors import FOUR, Descriptor, descriptors, find_descriptor, read_list
from edgezsad.data.folders import REPLICA_MARK
from edgezsad.data.images import decode_image, decode_mask
from edgezsad.data.layouts import LAYOUTS, index
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.data.replica import SIZE, Made, make_replica
from edgezsad.data.replica.rows import BY_COUNTS
from edgezsad.errors import InputError

LIMITS = {"Real-IAD": 9}
"""Images of each category, split and label; the other sets are made whole."""


@dataclass(frozen=True)
class Replica:
    descriptor: Descriptor
    root: Path
    rows: list[Made]
    manifest: Manifest


@pytest.fixture(scope="module", params=list(descriptors()))
def replica(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    descriptor = find_descriptor(request.param)
    root = tmp_path_factory.mktemp("replica") / descriptor.name
    rows = make_replica(descriptor.name, root, limit=LIMITS.get(descriptor.name))
    yield Replica(descriptor, root, rows, index(descriptor.data_set(root), root, workers=2))
    shutil.rmtree(root)


def numbers(entries: tuple[Entry, ...]) -> dict[str, int]:
    counts = Counter(f"{entry.split}_{'defective' if entry.label else 'normal'}" for entry in entries)
    return {name: counts[name] for name in FOUR}


def test_path_by_path(replica: Replica) -> None:
    """As in the public list; where there is none, as it was made."""
    listed = read_list(replica.descriptor)
    wanted = replica.rows if listed is None else listed
    rows = sorted((one.image, one.category, one.split, one.label, one.defect, one.mask) for one in wanted)
    assert [
        (entry.id, entry.category, entry.split, entry.label, entry.defect, entry.mask)
        for entry in replica.manifest.entries
    ] == rows
    assert {(entry.height, entry.width) for entry in replica.manifest.entries} == {SIZE}


def test_the_published_numbers(replica: Replica) -> None:
    entries = replica.manifest.entries
    expected = replica.descriptor.expected
    assert {entry.category for entry in entries} == set(expected.categories)
    if replica.descriptor.name in LIMITS:
        limit = LIMITS[replica.descriptor.name]
        assert numbers(entries)["test_defective"] == limit * len(expected.categories)
        return
    checked = {name: getattr(expected.total, name) for name in FOUR if getattr(expected.total, name) is not None}
    assert checked and {name: numbers(entries)[name] for name in checked} == checked
    for category, counts in expected.categories.items():
        found = numbers(tuple(entry for entry in entries if entry.category == category))
        found |= {"images": sum(found.values()), "defective": found["train_defective"] + found["test_defective"]}
        for name in (*FOUR, "images", "defective"):
            assert getattr(counts, name) in (None, found[name]), (category, name)


def test_every_defective_image_has_its_mask(replica: Replica) -> None:
    for entry in replica.manifest.entries:
        assert bool(entry.mask) == bool(entry.label), entry.id
        if entry.mask:
            assert decode_mask(replica.root / entry.mask, SIZE).any(), entry.mask


def test_no_two_images_are_alike(replica: Replica) -> None:
    assert len({entry.sha256 for entry in replica.manifest.entries}) == len(replica.manifest.entries)
    chosen = replica.manifest.entries[:: max(1, len(replica.manifest.entries) // 60)]
    small = np.stack([decode_image(replica.root / entry.id).mean(axis=2).ravel() for entry in chosen])
    apart = np.abs(small[:, None] - small[None]).mean(axis=2)[~np.eye(len(chosen), dtype=bool)]
    assert apart.min() > 10, "grey levels on average: no near-duplicates either"


def names_on_disk(replica: Replica) -> set[str]:
    return {path.relative_to(replica.root).as_posix() for path in replica.root.rglob("*") if path.is_file()}


def test_nothing_lies_about_unread_but_what_is_odd_in_the_real_set(replica: Replica) -> None:
    read = {path for entry in replica.manifest.entries for path in (entry.id, entry.mask) if path}
    assert REPLICA_MARK in names_on_disk(replica)
    unread = names_on_disk(replica) - read - {REPLICA_MARK}
    name = replica.descriptor.name
    if name == "KolektorSDD2":
        assert {"train/10301 (copy).png", "train/10301_GT (copy).png"} <= unread
        assert len(unread) == 2979 + 2, "empty masks of all normal images, and the two copies"
    elif name == "DAGM2007":
        assert {path.rpartition("/")[2] for path in unread} == {"Labels.txt", "Thumbs.db"}
    elif name == "VisA":
        assert unread == {"split_csv/1cls.csv"}
    elif name == "Real-IAD":
        assert {Path(path).parent.as_posix() for path in unread} == {"realiad_jsons/realiad_jsons"}
        assert len(unread) == 30
    else:
        assert not unread


def test_the_oddities_are_there(replica: Replica) -> None:
    entries = replica.manifest.entries
    endings = {Path(entry.id).suffix + Path(entry.mask).suffix for entry in entries if entry.mask}
    match replica.descriptor.name:
        case "MVTec-AD":
            modes = {Image.open(replica.root / f"{name}/train/good/000.png").mode for name in ("screw", "bottle")}
            assert modes == {"L", "RGB"}
        case "VisA":
            assert endings == {".JPG.png"}
            values = set()
            for entry in entries[:300]:
                if entry.mask:
                    values |= set(np.unique(np.asarray(Image.open(replica.root / entry.mask))).tolist())
            assert values == {0, 1, 2, 3, 4, 5}, "small class numbers"
        case "BTAD":
            assert endings == {".bmp.png", ".png.png", ".bmp.bmp"}
        case "DAGM2007":
            assert endings == {".PNG.PNG"}
        case "DTD-Synthetic":
            assert all(entry.category[0].isupper() for entry in entries)
        case "Real-IAD":
            hidden = [entry for entry in entries if "/NG/" in entry.id and not entry.label]
            assert hidden, "views of defective objects that do not show the defect"
            assert {entry.defect for entry in entries} == {"good", "AK", "BX", "CH", "HS", "PS", "QS", "YW", "ZW"}
            assert {f"_C{view}_" for view in range(1, 6)} == {entry.id[-22:-18] for entry in entries}


def test_real_iad_at_full_size(tmp_path: Path) -> None:
    """151,050 rows in 30 lists, without the images."""
    descriptor = find_descriptor("Real-IAD")
    rows = list(BY_COUNTS["real_iad"](descriptor))
    lists: dict[str, dict[str, list]] = {}
    for row in rows:
        base = f"realiad_1024/{row.category}/"
        item = {
            "category": row.category,
            "anomaly_class": row.defect if row.label else "OK",
            "image_path": row.image.removeprefix(base),
            "mask_path": row.mask.removeprefix(base) or None,
        }
        lists.setdefault(row.category, {"train": [], "test": []})[row.split].append(item)
    folder = tmp_path / "realiad_jsons" / "realiad_jsons"
    folder.mkdir(parents=True)
    for category, content in lists.items():
        (folder / f"{category}.json").write_text(json.dumps(content))
    found = list(LAYOUTS["real_iad"].find(tmp_path))
    counts = Counter((one.split, one.label) for one in found)
    assert counts == {("train", 0): 36465, ("test", 0): 63256, ("test", 1): 51329}
    assert len({one.image for one in found}) == 151050
    assert sum(bool(one.mask) for one in found) == len({one.mask for one in found if one.mask}) == 51329


def test_it_is_never_called_the_set(replica: Replica) -> None:
    report = check_copy(replica.descriptor, replica.root, quick=True)
    assert "note: a replica, made here" in report.as_text()
    assert report.complete == (replica.descriptor.name not in LIMITS)
    assert status(replica.descriptor, replica.root) == f"a replica of ours, {len(replica.rows):,} images; not the set"


# The replica itself ---------------------------------------------------------------------------------------------------


def test_limit_takes_from_every_kind(tmp_path: Path) -> None:
    rows = make_replica("mvtec-ad", tmp_path / "a", limit=4)
    assert Counter((row.split, row.label) for row in rows) == {("train", 0): 60, ("test", 0): 60, ("test", 1): 60}
    pill = {row.defect for row in rows if row.category == "pill" and row.label}
    assert len(pill) == 4, "one of each of four kinds, not four of one"


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    content = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        rows = make_replica("MPDD", tmp_path / name, limit=1, seed=seed)
        content.append([(tmp_path / name / row.image).read_bytes() for row in rows])
    assert content[0] == content[1]
    assert not set(content[0]) & set(content[2])


def test_a_large_replica_has_something_to_see(tmp_path: Path) -> None:
    """Inside its mask a defective picture is unlike the same picture without the blob."""
    rows = make_replica("BTAD", tmp_path / "set", limit=2, size=(96, 128))
    for row in rows:
        image = decode_image(tmp_path / "set" / row.image).astype(int)
        assert image.shape == (96, 128, 3)
        if not row.label:
            continue
        mask = decode_mask(tmp_path / "set" / row.mask, (96, 128))
        assert 0.005 < mask.mean() < 0.2
        edge = mask[:, 1:] != mask[:, :-1]
        steps = np.abs(np.diff(image, axis=1)).mean(axis=2)
        assert steps[edge].mean() > 3 * steps[~edge].mean(), "the blob has an edge"


def test_mistakes_are_named(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    for name, root, options, reason in (
        ("MVTecAD2", "a", {}, "no such data set"),
        ("any", "a", {}, "nothing is known"),
        ("MPDD", "full", {}, "not empty"),
        ("MPDD", "a", {"size": (4, 64)}, "too small"),
    ):
        with pytest.raises(InputError, match=reason):
            make_replica(name, tmp_path / root, **options)
