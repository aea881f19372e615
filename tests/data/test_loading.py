"""Loading gives the same batches whatever the workers and ranks, holds few images at a time, and names a bad file."""

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from edgezsad.data.images import load
from edgezsad.data.loading import (
    Batch,
    BatchPlan,
    Sample,
    in_order,
    load_fast,
    read_batches,
    resize_mask,
)
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import CheckError, InputError
from edgezsad.files import sha256_of_file
from edgezsad.source.render import plain_images

SIZE = 8


@dataclass
class Numbered:
    """Images whose pixels are their row's number; later rows are read more quickly, so that threads overtake."""

    label: np.ndarray = field(default_factory=lambda: (np.arange(60) % 3 == 0).astype(np.int64))
    group: np.ndarray = field(default_factory=lambda: np.array(["a", "b", "c"])[np.arange(60) % 10 % 3])
    reads: int = 0

    def read(self, row: int, size: int) -> Sample:
        time.sleep(0.0001 * (60 - row))
        self.reads += 1
        mask = None if row % 5 == 0 else np.full((3, 5), bool(self.label[row]))
        return Sample(np.full((size, size, 3), row, dtype=np.uint8), mask)


def jitter(sample: Sample, generator: np.random.Generator) -> Sample:
    """An augmentation."""
    return Sample(sample.pixels + generator.integers(0, 100, sample.pixels.shape, dtype=np.uint8), sample.mask)


def batches(steps: Iterable[int], **settings: object) -> Iterator[Batch]:
    images = Numbered()
    return read_batches(images, BatchPlan(images.label, images.group, 12, 3), SIZE, steps, **settings)


def merged(parts: list[Batch]) -> Batch:
    """The batch of one process from those of the ranks."""

    def together(name: str) -> torch.Tensor:
        pieces = [torch.as_tensor(getattr(part, name)) for part in parts]
        return torch.stack(pieces, dim=1).flatten(0, 1)

    assert len({part.step for part in parts}) == 1
    names = ("pixels", "label", "mask", "known")
    return Batch(parts[0].step, together("rows").numpy(), **{name: together(name) for name in names})


def same(first: Batch, second: Batch) -> bool:
    names = ("step", "rows", "pixels", "label", "mask", "known")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


@given(st.integers(0, 10**6), st.integers(0, 50), st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_ranks_share_the_batch_of_one_process(seed: int, step: int, ranks: int) -> None:
    images = Numbered()
    plan = BatchPlan(images.label, images.group, 12, seed)
    whole = plan.rows(step)
    parts = [plan.rows(step, rank, ranks) for rank in range(ranks)]
    assert np.array_equal(np.stack(parts, axis=1).ravel(), whole)
    assert images.label[whole].tolist() == [0] * 6 + [1] * 6
    # A rank has both labels, or its ranking loss would have nothing to compare.
    if ranks <= 6:
        assert all(len(set(images.label[part])) == 2 for part in parts)


def test_sets_are_as_likely_as_their_shares_and_their_groups_equally() -> None:
    images = Numbered()
    group = np.array([{"a": "many/a", "b": "many/b", "c": "one/c"}[name] for name in images.group])
    plan = BatchPlan(images.label, group, 60, 0, {"many": 1.0, "one": 3.0})
    rows = np.concatenate([plan.rows(step) for step in range(100)])
    assert set(rows) == set(range(60))
    for label in (0, 1):
        names = group[rows[images.label[rows] == label]]
        for name, share in (("many/a", 1 / 8), ("many/b", 1 / 8), ("one/c", 3 / 4)):
            # Five standard deviations of 3,000 draws.
            assert abs((names == name).mean() - share) < 5 * np.sqrt(share * (1 - share) / 3000)


def test_what_cannot_be_planned_is_rejected() -> None:
    images = Numbered()
    with pytest.raises(InputError, match="needs normal and defective images"):
        BatchPlan(np.zeros(60, dtype=int), images.group, 4, 0).rows(0)
    plan = BatchPlan(images.label, images.group, 12, 0)
    with pytest.raises(InputError, match="12 images for 5 processes"):
        plan.rows(0, 0, 5)


@pytest.mark.parametrize("change", [None, jitter])
@pytest.mark.parametrize("workers", [2, 5])
def test_workers_and_ranks_do_not_change_the_batches(change: object, workers: int) -> None:
    expected = list(batches(range(4), change=change, workers=1))
    assert [batch.step for batch in expected] == [0, 1, 2, 3]
    found = list(batches(range(4), change=change, workers=workers))
    assert all(same(*pair) for pair in zip(expected, found, strict=True))
    for ranks in (2, 3):
        parts = [batches(range(4), change=change, workers=workers, rank=n, world_size=ranks) for n in range(ranks)]
        found = [merged(list(step)) for step in zip(*parts, strict=True)]
        assert all(same(*pair) for pair in zip(expected, found, strict=True))


def test_a_batch_holds_pixels_from_0_to_255_as_the_backbone_expects() -> None:
    batch = next(batches([7]))
    assert batch.pixels.shape == (12, 3, SIZE, SIZE)
    assert batch.pixels.dtype == torch.float32
    images = Numbered()
    for position, row in enumerate(batch.rows):
        assert (batch.pixels[position] == row).all()
        assert batch.label[position] == images.label[row]
        assert batch.known[position] == (row % 5 != 0)
        assert (batch.mask[position] == bool(images.label[row] and row % 5)).all()


def test_a_bad_file_ends_the_run_with_its_name(tmp_path: Path) -> None:
    entries = []
    for number in range(6):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(tmp_path / f"{number}.jpg")
        facts = ("", 64, 64, sha256_of_file(tmp_path / f"{number}.jpg"), "")
        entries.append(Entry(f"{number}.jpg", "nut", "train", number % 2, "x", *facts))
    data = (tmp_path / "3.jpg").read_bytes()
    images = plain_images([Manifest("nuts", tmp_path, tuple(entries))], fast=True)
    plan = BatchPlan(images.label, images.group, 6, 0)
    assert len(list(read_batches(images, plan, 16, range(5)))) == 5
    for damaged in (data[: len(data) // 2], b"", b"no image"):
        (tmp_path / "3.jpg").write_bytes(damaged)
        before = threading.active_count()
        with pytest.raises(CheckError, match=r"3\.jpg: changed after") as caught:
            list(read_batches(images, plan, 16, range(5)))
        assert "\n" not in str(caught.value)
        assert threading.active_count() == before


@given(st.lists(st.integers(), max_size=20), st.integers(1, 4), st.integers(0, 9))
def test_in_order_is_map(items: list[int], workers: int, ahead: int) -> None:
    assert list(in_order(lambda item: item * 2, items, workers, ahead)) == [item * 2 for item in items]


def smooth(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(float)
    waves = [np.sin(x / 40 + shift) + np.cos(y / 30 - shift) for shift in (0, 1, 2)]
    return (127 + 60 * np.stack(waves, axis=2)).astype(np.uint8)


@pytest.mark.parametrize(("size", "factor"), [(256, 4), (512, 2), (300, 2)])
def test_fast_is_close_to_exact(tmp_path: Path, size: int, factor: int) -> None:
    path = tmp_path / "a.JPG"
    Image.fromarray(smooth(1024, 1100)).save(path, quality=90)
    fast, exact = load_fast(path, size).astype(int), load(path, size).astype(int)
    assert fast.shape == exact.shape == (size, size, 3)
    apart = np.abs(fast - exact)
    assert apart.mean() < 1
    assert apart.max() <= 8


def test_what_cannot_be_reduced_is_loaded_exactly(tmp_path: Path) -> None:
    image = Image.fromarray(smooth(200, 160))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "small.jpg")
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    image.save(tmp_path / "other.png")
    for name, size in (("small.jpg", 100), ("turned.jpg", 40), ("cmyk.jpg", 40), ("other.png", 40)):
        assert np.array_equal(load_fast(tmp_path / name, size), load(tmp_path / name, size))


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)), st.integers(1, 24), st.integers(1, 24))
def test_no_scratch_is_lost_and_none_appears(mask: np.ndarray, height: int, width: int) -> None:
    resized = resize_mask(mask, height, width)
    assert (resized.shape, resized.dtype) == ((height, width), bool)
    rows, columns = (
        # Two pixels overlap where each begins before the other ends; in whole numbers, touching is not overlapping.
        np.array([[y * old < (i + 1) * new and i * new < (y + 1) * old for i in range(old)] for y in range(new)])
        for new, old in zip((height, width), mask.shape, strict=True)
    )
    expected = np.einsum("yi,ij,xj->yx", rows.astype(int), mask.astype(int), columns.astype(int)) > 0
    assert np.array_equal(resized, expected)
