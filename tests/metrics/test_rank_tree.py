"""The tree: nothing is lost when it splits or is planted anew, no place grows too heavy, and its size has a bound."""

from collections.abc import Callable

import numpy as np
import pytest

from edgezsad.metrics import ranks
from edgezsad.metrics.rank_tree import SHARE, TOP_SHARE, Items, RankTree
from edgezsad.metrics.ranks import ANYWHERE, RankSummary, keys_of, rank_exactly, scores_of

Random = np.random.Generator
NOTHING_SKIPPED = np.zeros(0, dtype=np.uint8)
NO_SHARE = np.zeros(0, dtype=np.int64)

SCORES: dict[str, Callable[[Random, int], np.ndarray]] = {
    "normal": lambda random, size: random.normal(size=size),
    "heavy tail": lambda random, size: np.exp(60 * random.normal(size=size)),
    "all bits": lambda random, size: 10.0 ** random.uniform(-300, 300, size) * random.choice([-1, 1], size),
    "crowded": lambda random, size: 1 + 1e-9 * random.random(size),
    "denormal": lambda random, size: random.integers(0, 1 << 40, size).astype(np.uint64).view(np.float64),
    "few values": lambda random, size: random.integers(0, 50, size) / 7,
    "one value and a few others": lambda random, size: np.where(random.random(size) < 0.01, random.random(size), 0.5),
    "ascending": lambda random, size: np.sort(random.normal(size=size)),
    "descending": lambda random, size: -np.sort(random.normal(size=size)),
}
CASES = [
    ("normal", 32),
    ("normal", 64),
    ("heavy tail", 64),
    ("all bits", 64),
    ("crowded", 64),
    ("denormal", 64),
    ("few values", 32),
    ("one value and a few others", 32),
    ("ascending", 64),
    ("descending", 32),
]
scores = pytest.mark.parametrize(("name", "bits"), CASES)
both_widths = pytest.mark.parametrize("bits", [32, 64])


def made(name: str, bits: int, size: int = 120_000, seed: int = 0) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        found = SCORES[name](np.random.default_rng(seed), size).astype(f"f{bits // 8}")
    largest = np.finfo(found.dtype).max
    keys = keys_of(np.clip(found, -largest, largest))
    assert keys is not None
    return keys


def empty() -> Items:
    return Items(*(np.zeros(0, dtype=dtype) for dtype in (np.uint64, np.int8, np.int64, np.int64)))


def planted(keys: np.ndarray, bits: int, share: np.ndarray | None = None, floor: int = 0) -> RankTree:
    """A tree of the first 60,000 keys, to which the others are added in portions."""
    first = rank_exactly(keys[:60_000], None if share is None else share[:60_000].astype(float))
    shift = np.zeros(len(first.key), dtype=np.int8)
    items = Items(first.key, shift, first.count.astype(np.int64), first.share.astype(np.int64))
    tree = RankTree(bits, items, floor)
    for start in range(60_000, len(keys), 7_001):
        portion = slice(start, start + 7_001)
        tree.add(keys[portion], NOTHING_SKIPPED, NO_SHARE if share is None else share[portion], floor)
    return tree


def exact_masses(items: Items, keys: np.ndarray, share: np.ndarray | None = None) -> None:
    """Every place, together with those within it and before it, holds what the keys up to its end hold."""
    ordered = np.sort(keys).astype(np.uint64)
    last = items.key + ((np.uint64(1) << items.shift.astype(np.uint64)) - np.uint64(1))
    # Places where nothing wider is open: what came before them is complete.
    below = np.concatenate([[0], np.cumsum(items.count)])[:-1]
    widest = np.maximum.accumulate(last)
    alone = np.concatenate([[True], items.key[1:] > widest[:-1]])
    assert np.array_equal(below[alone], np.searchsorted(ordered, items.key[alone]))
    if share is not None:
        masses = np.concatenate([[0], np.cumsum(share[np.argsort(keys, kind="stable")])])
        below = np.concatenate([[0], np.cumsum(items.share)])[:-1]
        assert np.array_equal(below[alone], masses[np.searchsorted(ordered, items.key[alone])])


@scores
def test_every_score_is_counted_once_and_where_it_belongs(name: str, bits: int) -> None:
    keys = made(name, bits)
    tree = planted(keys, bits)
    items = tree.items()
    assert tree.total == items.count.sum() == len(keys)
    assert items.count.min() > 0
    exact_masses(items, keys)
    # Ascending, a wide place before those within it, and none twice.
    order = np.lexsort((-items.shift.astype(int), items.key))
    assert np.array_equal(order, np.arange(len(order)))
    assert len(np.unique(np.stack([items.key, items.shift.astype(np.uint64)]), axis=1).T) == len(items.key)
    # A place begins at a whole multiple of its width.
    assert not (items.key & ((np.uint64(1) << items.shift.astype(np.uint64)) - np.uint64(1))).any()


@scores
def test_shares_are_kept_to_the_last_bit(name: str, bits: int) -> None:
    keys = made(name, bits)
    # Areas of regions from one pixel to a million.
    share = (2.0 ** (40 - np.random.default_rng(1).integers(0, 20, len(keys)))).astype(np.int64)
    items = planted(keys, bits, share, floor=ANYWHERE).items()
    assert items.count.sum() == len(keys)
    assert int(items.share.sum()) == int(share.sum())
    exact_masses(items, keys, share)


@pytest.mark.parametrize(("name", "bits", "floor"), [*((*case, 0) for case in CASES), ("normal", 32, 2)])
def test_no_place_is_heavier_than_it_may_be(name: str, bits: int, floor: int) -> None:
    keys = made(name, bits)
    items = planted(keys, bits, floor=floor).items()
    wide = items.shift > 0
    assert (items.count[wide] <= SHARE * len(keys)).all()
    # What ranks above a place: all items from its end on.
    last = items.key + ((np.uint64(1) << items.shift.astype(np.uint64)) - np.uint64(1))
    before = np.concatenate([[0], np.cumsum(items.count)])[np.searchsorted(items.key, last, side="right")]
    allowed = np.maximum(TOP_SHARE * (len(keys) - before), floor)
    assert (items.count <= allowed)[wide].all()


@scores
def test_no_place_has_more_of_a_share_than_it_may(name: str, bits: int) -> None:
    keys = made(name, bits)
    share = np.ones(len(keys), dtype=np.int64)
    share[::1000] = 1 << 20
    items = planted(keys, bits, share, floor=ANYWHERE).items()
    wide = items.shift > 0
    # One score may have any share, and then it stands alone.
    assert (items.share[wide] <= SHARE * share.sum()).all()


@both_widths
def test_skipped_scores_are_passed_over(bits: int) -> None:
    keys = made("normal", bits, 100_000)
    skip = (np.random.default_rng(2).random(len(keys)) < 0.3).astype(np.uint8) * 255
    tree = RankTree(bits, empty(), 0)
    tree.add(keys, skip, NO_SHARE, 0)
    assert tree.total == tree.items().count.sum() == (skip == 0).sum()
    exact_masses(tree.items(), keys[skip == 0])


@both_widths
def test_repeated_scores_are_exact_at_any_number(bits: int) -> None:
    random = np.random.default_rng(3)
    values = np.array([-1e30, -1, -1e-30, 0, 1e-38, 0.3, np.nextafter(np.float32(0.3), 1), 1, 1e30])
    keys = keys_of(random.choice(values, size=300_000, p=np.arange(1, 10) / 45).astype(f"f{bits // 8}"))
    found = planted(keys, bits).items()
    expected = rank_exactly(keys)
    single = found.shift == 0
    assert set(found.key[single].tolist()) == set(expected.key.tolist())
    # Only the few that came before their place was split are not at their own score.
    assert found.count[~single].sum() <= 20 * SHARE * len(keys) * len(values)


@scores
def test_ranked_scores_ascend_and_hold_everything(name: str, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BUFFERED", 60_000)
    keys = made(name, bits)
    share = np.random.default_rng(4).integers(1, 1 << 40, len(keys))
    summary = RankSummary(bits, shared=True)
    for start in range(0, len(keys), 9_000):
        summary.add(keys[start : start + 9_000], share=share[start : start + 9_000])
    found = summary.ranked()
    assert np.all(found.key[1:] > found.key[:-1])
    assert np.isfinite(scores_of(found.key, bits)).all()
    assert found.count.sum() == pytest.approx(len(keys), rel=1e-12)
    assert found.share.sum() == pytest.approx(float(share.sum()), rel=1e-9)
    assert found.count.min() > 0
    assert found.share.min() > 0
    # No rank is far from the true one.
    ordered = np.sort(keys)
    rank = np.cumsum(found.count) - found.count / 2
    true = (np.searchsorted(ordered, found.key, side="left") + np.searchsorted(ordered, found.key, side="right")) / 2
    assert np.abs(rank - true).max() <= max(1, 18 * SHARE * len(keys))


@both_widths
def test_scores_stand_in_the_middle_of_their_places(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # At either end of it all ranks would lean to one side, by half of what a place holds.
    monkeypatch.setattr(ranks, "BUFFERED", 100_000)
    keys = made("normal", bits, 1_000_000)
    summary = RankSummary(bits)
    for start in range(0, len(keys), 50_000):
        summary.add(keys[start : start + 50_000], floor=ANYWHERE)
    found = summary.ranked()
    wide = found.count > 1
    assert wide.sum() > 10_000
    rank = (np.cumsum(found.count) - found.count / 2)[wide]
    true = np.searchsorted(np.sort(keys), found.key[wide])
    assert abs(np.mean(rank - true)) < 0.05 * found.count[wide].mean()


@pytest.mark.parametrize(
    ("name", "step", "size"), [("normal", 0, 60_000), ("all bits", 0, 60_000), ("normal", 8, 60_000)]
)
@both_widths
def test_size_has_a_bound(name: str, step: int, size: int, bits: int) -> None:
    # With a step, no score lies where one was before: each portion ranks above all others.
    tree = RankTree(bits, empty(), 0)
    slots = []
    for portion in range(12):
        scores = scores_of(made(name, bits, size, portion).astype(np.uint64), bits).astype(f"f{bits // 8}")
        tree.add(keys_of(scores + step * portion), NOTHING_SKIPPED, NO_SHARE, 0)
        slots.append(len(tree._slots.word))
    assert tree.total == tree.items().count.sum() == 12 * size
    # Room is doubled; four times as many scores take no more than once again as much.
    assert slots[-1] <= 2 * max(slots[:3])
    assert slots[-1] <= 1 << 22


@both_widths
def test_the_same_scores_make_the_same_tree(bits: int) -> None:
    keys = made("normal", bits)
    first, second = (planted(keys, bits).items() for _ in range(2))
    for name in ("key", "shift", "count"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


@both_widths
def test_keys_at_both_ends_of_the_range(bits: int) -> None:
    largest = np.finfo(f"f{bits // 8}").max
    keys = keys_of(np.array([-largest, largest, 0, largest, -largest] * 20_000, dtype=f"f{bits // 8}"))
    items = planted(keys, bits).items()
    single = items.shift == 0
    back = scores_of(items.key[single], bits).tolist()
    assert back == [-largest, 0, largest]
    assert items.count.sum() == len(keys)
