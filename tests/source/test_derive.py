"""Derived lists: exact counts, the same on every machine, crops that agree with the masks."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgezsad.config import Derive, Profile
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_bytes
from edgezsad.run import Run
from edgezsad.source.derive import (
    count_defects,
    count_derived,
    derive_list,
    place_crop,
    prepare_data,
    row_counts,
    write_derived,
)
from edgezsad.source.render import Row, derived_path, read_derived, source_images

Large = tuple[Manifest, dict[str, np.ndarray]]
NONE = {"defect_crop": 0, "normal_crop": 0, "paste": 0}


@pytest.mark.parametrize("images", [1, 7, 99, 3001])
def test_exact_number_of_rows(large: Large, images: int) -> None:
    config = Derive(images=images)
    rows = derive_list(large[0], config, 0, large[1])
    assert len(rows) == images == len({row.id for row in rows})
    assert Counter(row.kind for row in rows) == {kind: n for kind, n in row_counts(config).items() if n}


@pytest.mark.slow
def test_published_number_of_images(large: Large) -> None:
    rows = derive_list(large[0], Derive(images=216_917), 0, large[1])
    assert len({row.id for row in rows}) == 216_917
    found = Counter(row.kind for row in rows)
    # 55, 20, 10 and 15 percent; .35, .4, .7 and .55 are left by rounding, and two rows to give away.
    assert found == {"whole": 119_304, "defect_crop": 43_383, "normal_crop": 21_692, "paste": 32_538}
    # Every image is used before any is used again.
    turns = Counter(row.parent for row in rows if row.kind == "whole")
    assert set(turns) == {one.id for one in large[0].entries}
    assert max(turns.values()) - min(turns.values()) <= 1


def test_same_list_on_every_machine(large: Large) -> None:
    rows = derive_list(large[0], Derive(images=500), 3, large[1])
    assert sha256_of_bytes("\n".join(str(tuple(row)) for row in rows).encode())[:16] == "098f4fe99744c959"


def test_order_of_the_manifest_does_not_matter(large: Large) -> None:
    manifest, grids = large
    shuffled = list(manifest.entries)
    Random(0).shuffle(shuffled)
    other = derive_list(replace(manifest, entries=tuple(shuffled)), Derive(images=2000), 1, grids)
    assert other == derive_list(manifest, Derive(images=2000), 1, grids)


def test_donors_have_the_same_category_and_camera(large: Large) -> None:
    manifest, grids = large
    rows = [row for row in derive_list(manifest, Derive(images=2000), 1, grids) if row.kind == "paste"]
    known = {one.id: one for one in manifest.entries}
    assert len(rows) == 300
    for row in rows:
        parent, donor = known[row.parent], known[row.donor]
        assert (parent.label, donor.label, row.label) == (0, 1, 1)
        assert parent.category == donor.category
        assert parent.id.split("_")[1] == donor.id.split("_")[1]
        assert abs(row.crop.left - row.donor_crop.left) <= 256 * 6 // 100
        assert abs(row.crop.top - row.donor_crop.top) <= 192 * 6 // 100


def test_size_of_a_crop_does_not_reveal_its_label(large: Large) -> None:
    manifest, grids = large
    config = Derive(images=6000, whole=0, defect_crop=50, normal_crop=50, paste=0)
    rows = derive_list(manifest, config, 1, grids)
    normal = {one.id for one in manifest.entries if not one.label}
    sizes = [
        Counter(
            row.crop.right - row.crop.left for row in rows if row.kind == kind and (row.label or row.parent in normal)
        )
        for kind in ("normal_crop", "defect_crop")
    ]
    for size in {*sizes[0], *sizes[1]}:
        assert abs(sizes[0][size] / sizes[0].total() - sizes[1][size] / sizes[1].total()) < 0.06


def test_missing_kinds_of_images(large: Large) -> None:
    manifest, grids = large
    normal = replace(manifest, entries=tuple(one for one in manifest.entries if not one.label))
    for kind in ("defect_crop", "paste"):
        with pytest.raises(InputError, match=f"big: no image serves for {kind} rows"):
            derive_list(normal, Derive(images=100, whole=80, **dict(NONE, **{kind: 20})), 0, grids)
    assert len(derive_list(normal, Derive(images=100, whole=80, **dict(NONE, normal_crop=20)), 0, grids)) == 100


masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=140))


@given(masks, st.integers(0, 10**9))
def test_crops_agree_with_the_mask(mask: np.ndarray, seed: int) -> None:
    grid, parent = count_defects(mask), Entry("a.png", "a", "train", 1, "x", "", *mask.shape[::-1], "", "")
    assert grid.sum() == mask.sum()

    def held(defective: bool) -> np.ndarray | None:
        box = place_crop(parent, grid, (25, 40, 60, 80), Random(seed), defective)
        if box is None:
            return None
        assert 0 <= box.left < box.right <= mask.shape[1]
        assert 0 <= box.top < box.bottom <= mask.shape[0]
        return mask[box.top : box.bottom, box.left : box.right]

    if mask.any():
        assert held(True).sum() >= 0.5 * mask.sum() or held(True).mean() >= 0.05
    clean = held(False)
    assert mask.any() or clean is not None
    assert clean is None or not clean.any()


def test_a_written_list_is_read_back(small: Manifest, derived: list[Row], tmp_path: Path) -> None:
    path, config = tmp_path / "small.csv", Derive(images=200)
    write_derived(derived, path, small, config, 5)
    rows, sha256 = read_derived(path, small, config, 5)
    assert rows == derived
    write_derived(derived[:-1], path, small, config, 5)
    assert read_derived(path, small, config, 5)[1] != sha256


def test_damaged_and_other_lists(small: Manifest, derived: list[Row], tmp_path: Path) -> None:
    path, config = tmp_path / "small.csv", Derive(images=200)
    write_derived(derived, path, small, config, 5)

    def rejected(words: str, manifest: Manifest = small, config: Derive = config, seed: int = 5) -> None:
        with pytest.raises(InputError, match=words) as caught:
            read_derived(path, manifest, config, seed)
        assert "run notebook 01_data" in str(caught.value) and "\n" not in str(caught.value)

    rejected("other images or settings", seed=6)
    rejected("other images or settings", config=Derive(images=201))
    changed = replace(small.entries[0], sha256="0" * 64)
    rejected("other images", manifest=replace(small, entries=(changed, *small.entries[1:])))
    text = path.read_text()
    for damaged in ("", text[:-5] + "\n", text.replace("whole/0/", "whole/1/", 1)):
        path.write_text(damaged)
        rejected("changed")
    path.unlink()
    rejected("missing")


def test_a_run_derives_its_source(
    make_profile: Callable[..., Profile], profile_values: Callable, tmp_path: Path
) -> None:
    def images(name: str, count: int) -> None:
        random = np.random.default_rng(len(name))
        for folder in ("train/good", "test/good", "test/cut", "ground_truth/cut"):
            path = tmp_path / "data" / name / "nut" / folder
            path.mkdir(parents=True)
            for number in range(count):
                mask = np.zeros((40, 40), dtype=np.uint8)
                mask[5:12, 8:20] = 255
                pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                cv2.imwrite(str(path / f"{number}.png"), mask if folder.startswith("ground") else pixels)

    images("source", 4)
    images("bolts", 1)
    data = profile_values()["data"] | {"root": str(tmp_path / "data")}
    data["source"][0]["derive"] = {"images": 50}
    data["targets"] = data["targets"][:1]
    run = Run(make_profile(tmp_path / "run", data=data))
    manifests, _ = prepare_data(run, 1)
    path = derived_path(run, run.profile.data.source[0])
    written = path.read_bytes()
    images = source_images(run)
    assert len(images) == 50 == count_derived(run)
    assert set(images.parent) <= {f"source/{one.id}" for one in manifests["source"].entries}
    for row in range(50):
        sample = images.read(row, 32)
        assert sample.mask.any() == bool(images.label[row])
    prepare_data(run, 2)
    assert path.read_bytes() == written
