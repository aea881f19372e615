"""The derived list is exact, the same everywhere and true to its masks; its images show what their labels say."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pydantic import ValidationError

from edgezsad.config import Derive, Profile, Randomise
from edgezsad.data.loading import Picture
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import InputError
from edgezsad.files import read_json
from edgezsad.reported import SOURCE_IMAGES
from edgezsad.run import Run
from edgezsad.source.crops import Draws, around_defect, beside_defect
from edgezsad.source.derive import counts, derive_list
from edgezsad.source.grids import Box, Grid, grid_of, read_grids
from edgezsad.source.prepare import prepare_data
from edgezsad.source.randomise import background_of, randomise, turned
from edgezsad.source.render import paste, render
from edgezsad.source.rows import KINDS, DerivedList, read_derived, record_path, write_derived
from edgezsad.source.source_images import JoinedImages, derived_path, source_images, write_derived_lists

STILL = Randomise(chance=0, background=0, turn=False)
"""No randomisation."""
RED, GREY = (200, 30, 30), (120, 120, 120)


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def rectangle(mask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    height, width = mask.shape
    y, x = int(generator.integers(0, height - 2)), int(generator.integers(0, width - 2))
    mask[y : y + int(generator.integers(1, height // 3)), x : x + int(generator.integers(1, width // 3))] = True
    return mask


def entry(name: str, category: str, label: int, size: tuple[int, int], mask: str = "") -> Entry:
    width, height = size
    known = hashed(mask) if mask else ""
    return Entry(name, category, "train", label, "x" if label else "good", mask, width, height, hashed(name), known)


@pytest.fixture(scope="module")
def large() -> tuple[Manifest, dict[str, Grid]]:
    """3,000 entries of 30 categories and five views, a third defective, and their grids; no files."""
    entries, grids = [], {}
    # Defects by arithmetic: what is expected of the list must not depend on NumPy's generators.
    for number in range(3000):
        category, label = f"c{number % 30:02d}", int(number % 7 < 2)
        name = f"{category}/{number:05d}_C{number % 5 + 1}_x.jpg"
        entries.append(entry(name, category, label, (256, 192), f"{name}.png" if label else ""))
        if label:
            top, left = number * 37 % 150, number * 53 % 200
            mask = np.zeros((192, 256), dtype=bool)
            mask[top : top + 1 + number * 11 % 40, left : left + 1 + number * 7 % 50] = True
            grids[hashed(f"{name}.png")] = grid_of(mask)
    return Manifest("big", Path("nowhere"), tuple(sorted(entries, key=lambda one: one.id))), grids


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Grey images with red defects where their masks say so, of several sizes, and one defective without a mask."""
    root = tmp_path_factory.mktemp("derived")
    generator = np.random.default_rng(1)
    entries = []
    for number in range(24):
        category, label = "ab"[number % 2], int(number % 3 == 0)
        size = (150, 110) if number % 4 else (90, 70)
        pixels = np.full((size[1], size[0], 3), GREY, dtype=np.uint8)
        mask = np.zeros((size[1], size[0]), dtype=bool)
        if label:
            pixels[rectangle(mask, generator)] = RED
            cv2.imwrite(str(root / f"{number}_mask.png"), mask.astype(np.uint8))
        cv2.imwrite(str(root / f"{number}.png"), pixels[..., ::-1])
        entries.append(entry(f"{number}.png", category, label, size, f"{number}_mask.png" if label else ""))
    cv2.imwrite(str(root / "z.png"), np.full((70, 90, 3), RED[::-1], dtype=np.uint8))
    entries.append(entry("z.png", "b", 1, (90, 70)))
    return Manifest("small", root, tuple(sorted(entries, key=lambda one: one.id)))


@pytest.fixture(scope="module")
def derived(small: Manifest, tmp_path_factory: pytest.TempPathFactory) -> DerivedList:
    grids = read_grids(small, tmp_path_factory.mktemp("grids") / "masks.npz")
    return derive_list(small, Derive(images=200, randomise=STILL), 5, grids)


def entries_of(manifest: Manifest) -> dict[str, Entry]:
    return {one.id: one for one in manifest.entries}


# The list -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [1, 7, 99, 3001])
def test_the_list_has_exactly_as_many_rows_as_wanted(large: tuple[Manifest, dict[str, Grid]], images: int) -> None:
    config = Derive(images=images)
    derived = derive_list(large[0], config, 0, large[1])
    assert len(derived.rows) == images == len({row.id for row in derived.rows})
    assert Counter(row.kind for row in derived.rows) == {kind: n for kind, n in counts(config).items() if n}


def test_the_published_size(large: tuple[Manifest, dict[str, Grid]]) -> None:
    derived = derive_list(large[0], Derive(images=SOURCE_IMAGES), 0, large[1])
    assert len({row.id for row in derived.rows}) == 216_917
    found = Counter(row.kind for row in derived.rows)
    # 55, 20, 10 and 15 percent; .35, .4, .7 and .55 are left by rounding, and two rows to give away.
    assert found == {"whole": 119_304, "defect-crop": 43_383, "normal-crop": 21_692, "paste": 32_538}
    # Every image is taken before any is taken again.
    turns = Counter(row.parent for row in derived.rows if row.kind == "whole")
    assert set(turns) == {one.id for one in large[0].entries}
    assert max(turns.values()) - min(turns.values()) <= 1


def test_the_list_is_known_to_the_byte(large: tuple[Manifest, dict[str, Grid]]) -> None:
    # Not one number of it may depend on the machine or on a library's version.
    derived = derive_list(large[0], Derive(images=500), 3, large[1])
    text = "\n".join(f"{row.id} {row.left} {row.top} {row.donor} {row.donor_left} {row.seed}" for row in derived.rows)
    assert hashed(text)[:16] == "40228f50be56aec5"


@given(st.integers(1, 10**6), st.permutations([50, 30, 13, 5, 2]))
def test_counts_add_up(images: int, shares: list[int]) -> None:
    names = ("whole", "defect_crop", "normal_crop", "paste", "synthetic")
    found = counts(Derive(images=images, **dict(zip(names, shares, strict=True))))
    assert sum(found.values()) == images
    assert all(abs(n - images * share / 100) < 1 for n, share in zip(found.values(), shares, strict=True))


def test_the_order_of_the_manifest_does_not_matter(large: tuple[Manifest, dict[str, Grid]]) -> None:
    manifest, grids = large
    shuffled = list(manifest.entries)
    random.Random(0).shuffle(shuffled)
    other = derive_list(replace(manifest, entries=tuple(shuffled)), Derive(images=2000), 1, grids)
    rows = derive_list(manifest, Derive(images=2000), 1, grids).rows
    assert other.rows == rows
    assert derive_list(manifest, Derive(images=2000), 2, grids).rows != rows


def test_an_image_more_changes_few_rows(large: tuple[Manifest, dict[str, Grid]]) -> None:
    manifest, grids = large
    config = Derive(images=2000)
    before = {row.id: row for row in derive_list(manifest, config, 1, grids).rows}
    new = entry("new/1.jpg", "new", 0, (256, 192))
    more = replace(manifest, entries=(*manifest.entries, new))
    after = {row.id: row for row in derive_list(more, config, 1, grids).rows}
    shared = before.keys() & after.keys()
    # One row a kind may have gone to the new image; all others are what they were.
    assert len(shared) >= 2000 - len(KINDS)
    assert all(before[name] == after[name] for name in shared)
    # A new defective image lends its defect to a few rows of its own category at most.
    grids = grids | {hashed("m"): grid_of(np.eye(192, 256, dtype=bool))}
    more = replace(manifest, entries=(*manifest.entries, entry("c00/0_C1_n.jpg", "c00", 1, (256, 192), "m")))
    after = {row.id: row for row in derive_list(more, config, 1, grids).rows}
    changed = [row for row in before.values() if row.id in after and after[row.id] != row]
    assert {row.group for row in changed} <= {"big/c00"}
    assert len(changed) < 0.5 * sum(row.group == "big/c00" for row in before.values())


def test_a_changed_image_gets_other_rows(large: tuple[Manifest, dict[str, Grid]]) -> None:
    manifest, grids = large
    config = Derive(images=3000, whole=100, defect_crop=0, normal_crop=0, paste=0)
    before = derive_list(manifest, config, 1, grids)
    edited = replace(manifest.entries[7], sha256="f" * 64)
    entries = (*manifest.entries[:7], edited, *manifest.entries[8:])
    after = derive_list(replace(manifest, entries=entries), config, 1, grids)
    assert [row.id for row in before.rows if row not in after.rows] == [f"whole/0/{edited.id}"]
    assert before.sha256 != after.sha256


def test_lenders_are_kin(large: tuple[Manifest, dict[str, Grid]]) -> None:
    manifest, grids = large
    rows = [row for row in derive_list(manifest, Derive(images=2000), 1, grids).rows if row.kind == "paste"]
    known = entries_of(manifest)
    assert len(rows) == 300
    for row in rows:
        parent, donor = known[row.parent], known[row.donor]
        assert (parent.label, donor.label, row.label) == (0, 1, 1)
        assert parent.category == donor.category
        assert parent.id.split("_")[1] == donor.id.split("_")[1]
        assert abs(row.left - row.donor_left) <= 256 * 6 // 100
        assert abs(row.top - row.donor_top) <= 192 * 6 // 100


def test_crops_say_nothing_about_their_label_by_place_or_scale(large: tuple[Manifest, dict[str, Grid]]) -> None:
    manifest, grids = large
    config = Derive(images=6000, whole=0, defect_crop=50, normal_crop=50, paste=0)
    rows = derive_list(manifest, config, 1, grids).rows
    normal = {one.id for one in manifest.entries if not one.label}
    shares = [
        Counter(row.scale for row in rows if row.kind == kind and (row.label or row.parent in normal))
        for kind in ("normal-crop", "defect-crop")
    ]
    for scale in {*shares[0], *shares[1]}:
        assert abs(shares[0][scale] / shares[0].total() - shares[1][scale] / shares[1].total()) < 0.06


def test_a_source_that_lacks_what_a_kind_needs_is_refused(large: tuple[Manifest, dict[str, Grid]]) -> None:
    manifest, grids = large
    normal = replace(manifest, entries=tuple(one for one in manifest.entries if not one.label))
    with pytest.raises(InputError, match="big: no image from which defect_crop can be made") as caught:
        derive_list(normal, Derive(images=100), 0, grids)
    assert "set derive.defect_crop to 0" in str(caught.value)
    config = Derive(images=100, whole=80, defect_crop=0, normal_crop=20, paste=0)
    assert len(derive_list(normal, config, 0, grids).rows) == 100
    with pytest.raises(InputError, match="no image from which paste"):
        derive_list(normal, Derive(images=100, whole=80, defect_crop=0, normal_crop=0, paste=20), 0, grids)
    with pytest.raises(InputError, match="no image from which whole"):
        derive_list(replace(manifest, entries=()), Derive(images=1), 0, grids)


def test_settings_that_contradict_each_other_are_refused(
    profile_values: Callable[..., dict], make_profile: Callable[..., Profile]
) -> None:
    with pytest.raises(ValidationError, match="add up to 90"):
        Derive(images=10, whole=45)
    data = profile_values()["data"]
    data["targets"][0]["derive"] = {"images": 5}
    with pytest.raises(ValidationError, match="derive is for the source only; take it out of bolts"):
        make_profile(data=data)


# Crops and masks ------------------------------------------------------------------------------------------------------

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=140))


@given(masks, st.integers(0, 10**9))
def test_crops_hold_what_they_must(mask: np.ndarray, seed: int) -> None:
    grid, config = grid_of(mask), Derive(images=1)
    assert grid.total == mask.sum()

    def cut(cells: Box) -> np.ndarray:
        box = grid.pixels(cells)
        assert 0 <= box.left < box.right <= mask.shape[1]
        assert 0 <= box.top < box.bottom <= mask.shape[0]
        assert grid.held(cells) == mask[box.top : box.bottom, box.left : box.right].sum()
        return mask[box.top : box.bottom, box.left : box.right]

    if grid.total:
        held = cut(around_defect(grid, config, Draws(seed))[0])
        assert held.sum() >= 0.5 * mask.sum() or held.mean() >= 0.05
        number = seed % grid.total
        row, column = grid.cell(number)
        assert grid.held(Box(column, row, column + 1, row + 1)) > 0
    beside = beside_defect(grid, config, Draws(seed))
    if beside is not None:
        assert not cut(beside[0]).any()
    assert grid.total or beside is not None


def test_grids_are_read_once(small: Manifest, tmp_path: Path) -> None:
    done = []
    first = read_grids(small, tmp_path / "masks.npz", 2, lambda n, total: done.append((n, total)))
    assert done == [(n, 8) for n in range(1, 9)]
    # Another folder holds no masks: all are known.
    elsewhere = replace(small, root=tmp_path / "nowhere")
    again = read_grids(elsewhere, tmp_path / "masks.npz", 2)
    assert first.keys() == again.keys()
    for name, grid in first.items():
        assert (grid.height, grid.width, grid.total) == (again[name].height, again[name].width, again[name].total)
        assert np.array_equal(grid.cells, again[name].cells)
        assert np.array_equal(grid.counts, again[name].counts)
    good, chance = (tmp_path / "masks.npz").read_bytes(), random.Random(0)
    flipped = [bytearray(good) for _ in range(30)]
    for data in flipped:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    for damaged in (b"PK damaged", good[:-1], good[: len(good) // 2], *flipped):
        (tmp_path / "masks.npz").write_bytes(damaged)
        again = read_grids(small, tmp_path / "masks.npz")
        assert {name: grid.total for name, grid in again.items()} == {name: grid.total for name, grid in first.items()}
    with pytest.raises(InputError, match=r"_mask\.png: no such image"):
        read_grids(elsewhere, tmp_path / "other.npz")


# The file -------------------------------------------------------------------------------------------------------------


def test_a_list_is_read_as_it_was_written(small: Manifest, derived: DerivedList, tmp_path: Path) -> None:
    path = write_derived(derived, tmp_path / "small.derived.csv")
    again = read_derived(path, small, derived.config, 5)
    assert again == derived
    assert again.sha256 == derived.sha256
    record = read_json(record_path(path), "")
    assert (record["images"], record["sha256"]) == (200, derived.sha256)
    assert record["kinds"] == {"whole": 110, "defect-crop": 40, "normal-crop": 20, "paste": 30, "synthetic": 0}


def test_a_list_of_something_else_is_refused(small: Manifest, derived: DerivedList, tmp_path: Path) -> None:
    path = write_derived(derived, tmp_path / "small.derived.csv")

    def refused(words: str, manifest: Manifest = small, config: Derive = derived.config, seed: int = 5) -> None:
        with pytest.raises(InputError, match=words) as caught:
            read_derived(path, manifest, config, seed)
        assert str(path.with_suffix("")) in str(caught.value)
        assert "run notebook 01_data" in str(caught.value)
        assert "\n" not in str(caught.value)

    refused("other settings", seed=6)
    refused("other settings", config=Derive(images=200))
    refused(
        "other images",
        manifest=replace(small, entries=(replace(small.entries[0], sha256="0" * 64), *small.entries[1:])),
    )
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    for damaged, words in (
        ("", "not a derived list"),
        (lines[0], "not the list"),
        ("".join(lines[:-1]), "not the list"),
        (text[:-5] + "\n", "not the list"),
        (text + "a,b\n", "damaged"),
        (text.replace("whole/0/", "whole/0/../", 1), "not the list"),
        (text.replace(",whole,100,0,0,", ",whole,100,0,-1,", 1), "outside its image"),
        (text.replace(",whole,100,0,0,", ",whole,100,0,x,", 1), "damaged"),
        (text.replace(",whole,", ",holes,", 1), "unknown kind"),
        (text.replace(",0.png,", ",../0.png,", 1), "not in the manifest"),
    ):
        assert damaged != text
        path.write_text(damaged)
        refused(words)
    path.unlink()
    refused("no such list")
    record_path(path).unlink()
    refused("missing")


# The images -----------------------------------------------------------------------------------------------------------


def test_images_show_what_their_rows_say(small: Manifest, derived: DerivedList) -> None:
    known = entries_of(small)
    seen = Counter()
    for row in derived.rows:
        picture = render(row, small.root, known, STILL, 64)
        assert picture.pixels.shape == (64, 64, 3)
        red = picture.pixels[..., 0].astype(int) - picture.pixels[..., 1] > 85
        if picture.mask is None:
            assert (row.kind, row.parent) == ("whole", "z.png")
            continue
        assert picture.mask.shape == (64, 64)
        assert picture.mask.any() == bool(row.label)
        seen[row.kind, row.label] += 1
        # Half and more of a pixel red: the mask says so. Deep inside the mask: the pixel is red.
        assert not (red & ~picture.mask).any()
        inside = cv2.erode(picture.mask.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0) > 0
        assert red[inside].all()
        far = cv2.dilate(picture.mask.astype(np.uint8), np.ones((11, 11), np.uint8)) == 0
        assert (picture.pixels[far] == GREY[0]).all()
    # Synthetic defects have tests of their own.
    assert {kind for kind, _ in seen} == set(KINDS) - {"synthetic"}
    assert seen["normal-crop", 0] == 20
    assert min(seen["whole", 0], seen["whole", 1]) > 0


def test_a_row_gives_the_same_image_always(small: Manifest, derived: DerivedList) -> None:
    known, strong = entries_of(small), Randomise(chance=1, background=1)
    pictures = [render(row, small.root, known, strong, 48) for row in derived.rows[:30]]
    for row, picture in zip(reversed(derived.rows[:30]), reversed(pictures), strict=True):
        again = render(row, small.root, known, strong, 48)
        assert np.array_equal(picture.pixels, again.pixels)
        assert (picture.mask is None) == (again.mask is None)
        assert picture.mask is None or np.array_equal(picture.mask, again.mask)
    other = render(replace(derived.rows[0], seed=1), small.root, known, strong, 48)
    assert not np.array_equal(pictures[0].pixels, other.pixels)


def test_a_mask_that_has_changed_is_refused(small: Manifest, derived: DerivedList, tmp_path: Path) -> None:
    row = next(row for row in derived.rows if row.kind == "defect-crop")
    parent = entries_of(small)[row.parent]
    cv2.imwrite(str(tmp_path / parent.id), np.full((parent.height, parent.width, 3), 9, dtype=np.uint8))
    cv2.imwrite(str(tmp_path / parent.mask), np.zeros((parent.height, parent.width), dtype=np.uint8))
    with pytest.raises(InputError, match=f"{parent.id}: .*has no defective pixel: a mask has changed"):
        render(row, tmp_path, entries_of(small), STILL, 32)
    cv2.imwrite(str(tmp_path / parent.id), np.full((8, 8, 3), 9, dtype=np.uint8))
    with pytest.raises(InputError, match=f"{parent.id}: not the size"):
        render(row, tmp_path, entries_of(small), STILL, 32)


def test_paste_by_hand() -> None:
    pixels = np.full((40, 40, 3), 100, dtype=np.uint8)
    donor = np.full((40, 40, 3), 150, dtype=np.uint8)
    defect = np.zeros((40, 40), dtype=bool)
    defect[15:25, 15:25] = True
    donor[defect] = 50
    pasted = paste(pixels, donor, defect)
    # The donor is 50 brighter around the defect: so is the defect, before it is made to match.
    assert (pasted[16:24, 16:24] == 0).all()
    assert (pasted[:10] == 100).all()
    assert (paste(pixels, donor, np.zeros((40, 40), dtype=bool)) == pixels).all()


# Randomisation --------------------------------------------------------------------------------------------------------


@given(arrays(bool, st.integers(1, 12).map(lambda side: (side, side))), st.integers(0, 7))
def test_turns_move_mask_and_pixels_alike(mask: np.ndarray, way: int) -> None:
    pixels = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
    result = turned(Picture(pixels, mask), way)
    assert np.array_equal(result.pixels[..., 0] == 255, result.mask)
    assert result.mask.sum() == mask.sum()


def test_the_eight_turns_differ() -> None:
    picture = Picture(np.arange(27, dtype=np.uint8).reshape(3, 3, 3), None)
    assert len({turned(picture, way).pixels.tobytes() for way in range(8)}) == 8
    assert np.array_equal(turned(picture, 0).pixels, picture.pixels)


@given(st.integers(0, 10**9), st.booleans())
def test_randomised_images_keep_their_defect_and_are_not_blank(seed: int, on_background: bool) -> None:
    pixels = np.random.default_rng(seed).integers(60, 200, (64, 64, 3), dtype=np.uint8)
    if on_background:
        pixels[:12] = pixels[-12:] = pixels[:, :12] = pixels[:, -12:] = 20
    mask = np.zeros((64, 64), dtype=bool)
    mask[8:20, 30:40] = True
    pixels[mask] = (250, 5, 5)
    config = Randomise(chance=1, background=1, gain=0.2, blur=0.5)
    result = randomise(Picture(pixels, mask), config, np.random.default_rng(seed))
    assert result.pixels.dtype == np.uint8
    assert result.mask.sum() == mask.sum()
    values = result.pixels.astype(float)
    excess = values[..., 0] - values[..., 1:].max(axis=2)
    # The defect stays the reddest place, wherever it has gone.
    assert excess[result.mask].mean() > 80
    assert excess[result.mask].mean() > excess[~result.mask].mean() + 80
    assert values.std() > 10


def test_no_randomisation_changes_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    result = randomise(Picture(pixels, None), STILL, np.random.default_rng(0))
    assert np.array_equal(result.pixels, pixels)
    assert result.mask is None


def test_a_background_is_found_only_where_it_is_clear() -> None:
    part, none = np.random.default_rng(0).integers(90, 220, (64, 64, 3), dtype=np.uint8), np.zeros((64, 64), dtype=bool)
    assert background_of(part, none) is None
    plain = np.full((64, 64, 3), 90, dtype=np.uint8)
    assert background_of(plain, none) is None
    part[:14] = part[-14:] = part[:, :14] = part[:, -14:] = 10
    # A hole of the background's colour, closed in by the part, belongs to the part.
    part[30:34, 30:34] = 10
    expected = np.ones((64, 64), dtype=bool)
    expected[14:-14, 14:-14] = False
    assert np.array_equal(background_of(part, none), expected)
    # The stains of a plain surface, or its only defect, are no part that lies before a background.
    defect = none.copy()
    defect[10:40, 10:40] = True
    plain[10:40, 10:40] = 200
    assert background_of(plain, none) is not None
    assert background_of(plain, defect) is None
    plain[10:40, 20:30] = 90
    assert background_of(plain, none) is None


def test_another_background_leaves_part_and_defect_alone() -> None:
    pixels = np.random.default_rng(0).integers(90, 220, (64, 64, 3), dtype=np.uint8)
    pixels[:14] = pixels[-14:] = pixels[:, :14] = pixels[:, -14:] = 10
    mask = np.zeros((64, 64), dtype=bool)
    mask[2:6, 2:6] = True
    config = Randomise(chance=0, background=1, turn=False)
    result = randomise(Picture(pixels, mask), config, np.random.default_rng(4))
    assert np.array_equal(result.pixels[14:-14, 14:-14], pixels[14:-14, 14:-14])
    assert np.array_equal(result.pixels[mask], pixels[mask])
    behind = np.ones((64, 64), dtype=bool)
    behind[12:-12, 12:-12] = behind[:8, :8] = False
    assert (result.pixels[behind] != pixels[behind]).any(axis=1).all()
    # Where a defect may be anywhere, nothing is replaced.
    unknown = randomise(Picture(pixels, None), config, np.random.default_rng(4))
    assert np.array_equal(unknown.pixels, pixels)


# In a run -------------------------------------------------------------------------------------------------------------


def test_a_run_derives_its_source(
    make_profile: Callable[..., Profile], profile_values: Callable, tmp_path: Path
) -> None:
    def images(name: str, count: int) -> None:
        generator = np.random.default_rng(len(name))
        for place in ("train/good", "test/good", "test/cut", "ground_truth/cut"):
            folder = tmp_path / "data" / name / "nut" / place
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                mask = np.zeros((40, 40), dtype=np.uint8)
                mask[5:12, 8:20] = 255
                cv2.imwrite(str(folder / f"{number}.png"), mask if place.startswith("ground") else pixels)

    images("source", 4)
    images("bolts", 1)
    data = profile_values()["data"] | {"root": str(tmp_path / "data")}
    data["source"][0]["derive"] = {"images": 50}
    data["targets"] = data["targets"][:1]
    run = Run(make_profile(tmp_path / "run", data=data))
    manifests = prepare_data(run, 1)
    item = run.profile.data.source[0]
    assert derived_path(run, item) == tmp_path / "run" / "manifests" / "source.derived.csv"
    written = derived_path(run, item).read_bytes()
    images = source_images(run)
    assert isinstance(images, JoinedImages)
    assert len(images) == 50
    assert set(images.group) == {"source/nut"}
    assert set(images.parent) <= {f"source/{one.id}" for one in manifests["source"].entries}
    for row in range(50):
        picture = images.read(row, 32)
        assert picture.mask.any() == bool(images.label[row])
        assert picture.pixels.std() > 10
    write_derived_lists(run, manifests, 2)
    assert derived_path(run, item).read_bytes() == written
    (tmp_path / "run" / "manifests" / "source.csv").rename(tmp_path / "gone.csv")
    with pytest.raises(InputError, match="no such manifest"):
        source_images(run)
