"""The proof of no leak finds planted duplicates, names them and what relates them, and does not pass on nothing."""

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgezsad.data import fingerprints as fingerprints_module
from edgezsad.data.fingerprints import fingerprint, fingerprints
from edgezsad.data.leak import Disjoint, check_disjoint, overlaps
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import CheckError, InputError


def picture(seed: int) -> Image.Image:
    """Colours that have nothing to do with another seed's."""
    grid = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((150, 120), Image.Resampling.BICUBIC)


def manifest(root: Path, name: str, **images: Image.Image) -> Manifest:
    """A data set on disk; an image whose name ends in _jpg is saved as JPEG."""
    (root / name).mkdir(exist_ok=True)
    entries = []
    for key, image in images.items():
        path = root / name / (f"{key[:-4]}.jpg" if key.endswith("_jpg") else f"{key}.png")
        image.save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append(Entry(path.name, "bolt", "test", 0, "good", "", *image.size, digest, ""))
    return Manifest(name, root / name, tuple(entries))


def refused(sources: list[Manifest], targets: list[Manifest]) -> str:
    with pytest.raises(CheckError) as caught:
        check_disjoint(sources, targets)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_disjoint_sets_pass_with_their_counts(tmp_path: Path) -> None:
    sources = [manifest(tmp_path, "s1", a=picture(1), b=picture(2)), manifest(tmp_path, "s2", a=picture(3))]
    targets = [manifest(tmp_path, "t", a=picture(4), b=Image.new("L", (40, 40), 9))]
    assert overlaps(sources, targets) == []
    proof = check_disjoint(sources, targets)
    blank = str(tmp_path / "t" / "b.png")
    assert proof == Disjoint(3, 2, faint_images=1, unproven_images=1, first_unproven=blank, candidates=proof.candidates)
    assert (proof.overlaps, proof.near_duplicates) == (0, 0)


def test_a_planted_file_is_found_and_named(tmp_path: Path) -> None:
    sources = [manifest(tmp_path, "s1", a=picture(1)), manifest(tmp_path, "s2", other_name=picture(9))]
    targets = [manifest(tmp_path, "t1", a=picture(4)), manifest(tmp_path, "t2", b=picture(5), victim=picture(9))]
    source, target = tmp_path / "s2" / "other_name.png", tmp_path / "t2" / "victim.png"
    assert overlaps(sources, targets) == [(source, target)]
    assert refused(sources, targets) == (
        f"{target}: the same file is in the source as {source} (1 such target image); take it out of the source"
    )


def test_a_planted_picture_is_found_and_named(tmp_path: Path) -> None:
    mirrored = picture(9).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    sources = [manifest(tmp_path, "s1", a=picture(1)), manifest(tmp_path, "s2", other_jpg=mirrored)]
    targets = [manifest(tmp_path, "t1", a=picture(4)), manifest(tmp_path, "t2", b=picture(5), victim=picture(9))]
    assert overlaps(sources, targets) == []
    assert refused(sources, targets) == (
        f"{tmp_path}/t2/victim.png: the same picture is in the source as {tmp_path}/s2/other.jpg, "
        "mirrored left to right (1 such target image); take it out of the source"
    )


def test_how_many_are_said(tmp_path: Path) -> None:
    source = manifest(tmp_path, "s", a_jpg=picture(1), b_jpg=picture(2), blank=Image.new("RGB", (30, 30), "white"))
    target = manifest(tmp_path, "t", a=picture(1), b=picture(2), blank=Image.new("L", (30, 30), "white"))
    message = refused([source], [target])
    assert f"{tmp_path}/s/a.jpg, re-encoded or resized (3 such" in message


def test_one_pair_for_each_target_image(tmp_path: Path) -> None:
    """A hundred blank images on both sides are a hundred leaks, not ten thousand."""
    blank = {f"i{number}": Image.new("L", (8, 8)) for number in range(100)}
    sides = [manifest(tmp_path, name, **blank) for name in "st"]
    assert len(overlaps(sides[:1], sides[1:])) == 100
    assert "100 such target images" in refused(sides[:1], sides[1:])


def test_doubles_on_one_side_are_no_leak(tmp_path: Path) -> None:
    source = manifest(tmp_path, "s", a=picture(1), b=picture(1), c_jpg=picture(1))
    assert check_disjoint([source], [manifest(tmp_path, "t", a=picture(2))]).overlaps == 0


@pytest.mark.parametrize(("sources", "targets"), [([], ["t"]), (["s"], []), (["empty"], ["t"]), (["s"], ["empty"])])
def test_nothing_compared_proves_nothing(tmp_path: Path, sources: list[str], targets: list[str]) -> None:
    made = {
        "s": manifest(tmp_path, "s", a=picture(1)),
        "t": manifest(tmp_path, "t", a=picture(2)),
        "empty": manifest(tmp_path, "empty"),
    }
    with pytest.raises(InputError, match=r"no (source|target) images"):
        check_disjoint([made[name] for name in sources], [made[name] for name in targets])


# The cache ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that were fingerprinted."""
    names: list[str] = []

    def counted(path: Path) -> fingerprints_module.Row:
        names.append(path.name)
        return fingerprint(path)

    monkeypatch.setattr(fingerprints_module, "fingerprint", counted)
    return names


def test_an_unchanged_image_is_never_decoded_again(tmp_path: Path, decoded: list[str]) -> None:
    cache = tmp_path / "run" / "fingerprints.npz"
    source = manifest(tmp_path, "s", a=picture(1), b=picture(2), same=picture(2))
    target = manifest(tmp_path, "t", c=picture(3), blank=Image.new("L", (9, 9)))
    first = check_disjoint([source], [target], cache, workers=2)
    assert sorted(decoded) == ["a.png", "blank.png", "c.png", "same.png"]
    written = cache.stat().st_mtime_ns
    decoded.clear()
    assert check_disjoint([source], [target], cache) == first
    assert decoded == []
    assert cache.stat().st_mtime_ns == written


def test_a_changed_image_is_decoded_anew_and_an_old_one_dropped(tmp_path: Path, decoded: list[str]) -> None:
    cache = tmp_path / "fingerprints.npz"
    before = manifest(tmp_path, "s", a=picture(1), b=picture(2))
    fingerprints([before], cache, 1)
    decoded.clear()
    after = manifest(tmp_path, "s", a=picture(1), b=picture(7))
    known = fingerprints([after], cache, 1)
    assert decoded == ["b.png"]
    assert set(known) == {entry.sha256 for entry in after.entries}
    with np.load(cache, allow_pickle=False) as stored:
        assert set(stored["sha256"].tolist()) == set(known)


def test_the_cache_keeps_what_was_there(tmp_path: Path) -> None:
    cache = tmp_path / "fingerprints.npz"
    images = manifest(tmp_path, "s", a=picture(1), b=Image.new("L", (9, 9)))
    fresh, kept = (fingerprints([images], cache, 1) for _ in range(2))
    assert list(fresh) == list(kept)
    for row, row_kept in zip(fresh.values(), kept.values(), strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(row, row_kept, strict=True))


@pytest.mark.parametrize("damage", ["cut off", "no archive", "empty", "other version", "other shape"])
def test_a_damaged_cache_is_made_anew(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    cache = tmp_path / "fingerprints.npz"
    images = manifest(tmp_path, "s", a=picture(1))
    fingerprints([images], cache, 1)
    if damage == "cut off":
        cache.write_bytes(cache.read_bytes()[:-40])
    elif damage == "no archive":
        cache.write_bytes(b"fingerprints")
    elif damage == "empty":
        cache.write_bytes(b"")
    elif damage == "other version":
        monkeypatch.setattr(fingerprints_module, "VERSION", fingerprints_module.VERSION + 1)
    else:
        with np.load(cache) as stored:
            np.savez(cache, **{**stored, "small": [[1]]})
    decoded.clear()
    assert len(fingerprints([images], cache, 1)) == 1
    assert decoded == ["a.png"]
    decoded.clear()
    fingerprints([images], cache, 1)
    assert decoded == []


def test_any_flipped_bit_in_the_cache_is_noticed(tmp_path: Path) -> None:
    cache = tmp_path / "fingerprints.npz"
    images = manifest(tmp_path, "s", a=picture(1), b=Image.new("L", (9, 9)))
    whole = fingerprints([images], cache, 1)
    good, chance = cache.read_bytes(), random.Random(0)
    for _ in range(600):
        damaged = bytearray(good)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        cache.write_bytes(damaged)
        for sha256, row in fingerprints_module._read_cache(cache).items():
            assert all(np.array_equal(one, other) for one, other in zip(row, whole[sha256], strict=True))


def test_small_images_are_named_as_unproven(tmp_path: Path) -> None:
    source = manifest(tmp_path, "s", **{f"i{n}": picture(n).resize((40, 50)) for n in range(5)})
    proof = check_disjoint([source], [manifest(tmp_path, "t", a=picture(9))])
    assert proof.unproven_images == 5
    assert proof.first_unproven == ", ".join(str(tmp_path / "s" / f"i{n}.png") for n in range(3))


def test_what_was_done_before_a_damaged_image_is_kept(tmp_path: Path, decoded: list[str]) -> None:
    """An interrupted run goes on where it was, data set by data set."""
    cache = tmp_path / "fingerprints.npz"
    good, bad = manifest(tmp_path, "good", a=picture(1)), manifest(tmp_path, "bad", b=picture(2))
    (tmp_path / "bad" / "b.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"b\.png"):
        fingerprints([good, bad], cache, 1)
    decoded.clear()
    fingerprints([good], cache, 1)
    assert decoded == []
