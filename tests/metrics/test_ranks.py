"""Keys in the order of the scores, exact ranks, and a summary that is exact as long as the buffer lasts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgezsad.metrics import ranks
from edgezsad.metrics.ranks import (
    Ranked,
    RankSummary,
    align,
    as_float,
    bits_of,
    keys_of,
    rank_exactly,
    scores_of,
)

KINDS = {np.float32: np.uint32, np.float64: np.uint64}


@st.composite
def finite(draw: st.DrawFn) -> np.ndarray:
    """Scores with denormals, both zeros, the largest numbers, and neighbours of each."""
    dtype = draw(st.sampled_from(list(KINDS)))
    facts = np.finfo(dtype)
    special = [0.0, -0.0, facts.smallest_subnormal, -facts.smallest_subnormal, facts.tiny, facts.max, facts.min, 1.0]
    special = np.array(special, dtype=dtype)
    inner = special[np.abs(special) < facts.max]
    near = np.concatenate([special, np.nextafter(inner, dtype(9)), np.nextafter(inner, dtype(-9))]).tolist()
    width = np.dtype(dtype).itemsize * 8
    numbers = st.floats(allow_nan=False, allow_infinity=False, width=width)
    return draw(arrays(dtype, st.integers(0, 20), elements=st.one_of(st.sampled_from(near), numbers)))


# Few different keys, so that many are shared, and both ends of their range.
KEYS = st.one_of(st.integers(0, 6), st.sampled_from([1 << 31, (1 << 32) - 1]))


@st.composite
def rankings(draw: st.DrawFn, shared: bool) -> Ranked:
    keys = np.array(sorted(draw(st.sets(KEYS, max_size=6))), dtype=np.uint64)
    counts = draw(arrays(np.float64, len(keys), elements=st.integers(1, 9).map(float)))
    shares = draw(arrays(np.float64, len(keys), elements=st.integers(1, 9).map(float)))
    return Ranked(keys, counts, shares if shared else np.zeros(0))


def tabled(key: np.ndarray, value: np.ndarray) -> dict[int, float]:
    return {int(each): float(mass) for each, mass in zip(key, value, strict=True)}


@given(finite())
def test_keys_are_in_the_order_of_the_scores_and_turn_back_into_them(scores: np.ndarray) -> None:
    keys = keys_of(scores)
    assert keys.dtype == KINDS[scores.dtype.type]
    for first, first_key in zip(scores, keys, strict=True):
        # Equal scores have equal keys, both zeros among them.
        assert np.array_equal(first < scores, first_key < keys)
        assert np.array_equal(first == scores, first_key == keys)
    back = scores_of(keys.astype(np.uint64), keys.itemsize * 8)
    assert back.dtype == np.float64
    assert np.array_equal(back, scores.astype(np.float64))


@pytest.mark.parametrize("dtype", list(KINDS))
def test_neighbouring_numbers_are_neighbouring_keys(dtype: type) -> None:
    facts = np.finfo(dtype)
    for score in (dtype(0), facts.tiny, dtype(1), dtype(-1), facts.smallest_subnormal, dtype(1e30)):
        low, high = keys_of(np.array([score, np.nextafter(score, dtype(np.inf))]))
        assert int(high) - int(low) == 1


@pytest.mark.parametrize("dtype", list(KINDS))
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_there_are_no_keys_of_numbers_that_are_not_finite(dtype: type, bad: float) -> None:
    scores = np.zeros(5, dtype=dtype)
    scores[3] = bad
    assert keys_of(scores) is None
    # A signalling NaN, too.
    scores[3] = 0
    scores.view(KINDS[dtype])[3] = {np.float32: 0x7F800001, np.float64: 0x7FF0000000000001}[dtype]
    assert keys_of(scores) is None


def test_an_earlier_answer_is_written_over_only_if_it_fits() -> None:
    first = keys_of(np.arange(4, dtype=np.float32))
    scores = np.arange(4, 8, dtype=np.float32).reshape(2, 2)
    expected = keys_of(scores).tolist()
    assert keys_of(scores, first) is first
    assert first.tolist() == expected
    for other in (np.zeros(3, dtype=np.uint32), np.zeros(4, dtype=np.uint64)):
        assert keys_of(scores, other).tolist() == expected
        assert not other.any()


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.uint16, np.int16, np.float16, np.float32])
def test_what_float32_holds_has_32_bits(dtype: type) -> None:
    facts = np.finfo(dtype) if dtype in (np.float16, np.float32) else None
    ends = [0, 1] if dtype == np.bool_ else [facts.min, facts.max] if facts else np.iinfo(dtype)
    ends = [ends.min, ends.max] if isinstance(ends, np.iinfo) else ends
    scores = np.array(ends, dtype=dtype)
    assert bits_of(scores.dtype) == 32
    assert as_float(scores).dtype == np.float32
    assert as_float(scores).tolist() == scores.tolist()
    assert scores_of(keys_of(scores).astype(np.uint64), 32).tolist() == scores.tolist()


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.float64, ">f4", ">f8"])
def test_what_float32_does_not_hold_has_64_bits(dtype: type) -> None:
    scores = np.array([(1 << 24) + 1, 3], dtype=dtype)
    assert bits_of(scores.dtype) == 64
    assert as_float(scores).dtype == np.float64
    assert scores_of(keys_of(scores), 64).tolist() == scores.tolist()


@given(st.lists(st.tuples(KEYS, st.integers(1, 9)), max_size=30))
def test_exact_ranks(rows: list[tuple[int, int]]) -> None:
    key = np.array([key for key, _ in rows], dtype=np.uint32)
    share = np.array([share for _, share in rows], dtype=float)
    counts, shares = {}, {}
    for each, mass in rows:
        counts[each] = counts.get(each, 0) + 1
        shares[each] = shares.get(each, 0) + mass
    found = rank_exactly(key, share)
    assert found.key.tolist() == sorted(counts)
    assert tabled(found.key, found.count) == counts
    assert tabled(found.key, found.share) == shares
    without = rank_exactly(key)
    assert tabled(without.key, without.count) == counts
    assert not len(without.share)


@given(rankings(shared=False), rankings(shared=True), st.booleans())
def test_two_rankings_on_the_union_of_their_keys(first: Ranked, second: Ranked, swapped: bool) -> None:
    if swapped:
        first, second = second, first
    both = align(first, second)
    assert both.key.tolist() == sorted({*first.key.tolist(), *second.key.tolist()})
    for whole, parts in ((first, (both.first, both.first_share)), (second, (both.second, both.second_share))):
        assert {key: mass for key, mass in tabled(both.key, parts[0]).items() if mass} == tabled(whole.key, whole.count)
        if len(whole.share):
            held = {key: mass for key, mass in tabled(both.key, parts[1]).items() if mass}
            assert held == tabled(whole.key, whole.share)


@given(rankings(shared=True), rankings(shared=True))
def test_the_sum_of_two_rankings(first: Ranked, second: Ranked) -> None:
    total = first + second
    assert np.all(total.key[1:] > total.key[:-1])
    for name in ("count", "share"):
        expected = tabled(first.key, getattr(first, name))
        for key, mass in tabled(second.key, getattr(second, name)).items():
            expected[key] = expected.get(key, 0) + mass
        assert tabled(total.key, getattr(total, name)) == expected


@st.composite
def parts(draw: st.DrawFn) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Keys, whether each is passed over, and shares, in several portions."""
    sizes = draw(st.lists(st.integers(0, 12), max_size=5))
    return [
        (
            draw(arrays(np.uint32, size, elements=KEYS)),
            draw(arrays(np.uint8, size, elements=st.integers(0, 2))),
            draw(arrays(np.int64, size, elements=st.integers(1, 1 << 40))),
        )
        for size in sizes
    ]


@given(parts())
def test_as_long_as_the_buffer_lasts_the_summary_is_exact(portions: list[tuple[np.ndarray, ...]]) -> None:
    counts, shares = RankSummary(32), RankSummary(32, shared=True)
    for key, skip, share in portions:
        counts.add(key, skip=skip)
        shares.add(key, share=share)
    key, skip, share = (np.concatenate([each[part] for each in portions] or [np.zeros(0)]) for part in range(3))
    for found, expected in (
        (counts.ranked(), rank_exactly(key[skip == 0].astype(np.uint32))),
        (shares.ranked(), rank_exactly(key.astype(np.uint32), share.astype(float))),
    ):
        for name in ("key", "count", "share"):
            assert getattr(found, name).tolist() == getattr(expected, name).tolist()


@given(parts(), st.integers(1, 20), st.sampled_from([32, 64]))
def test_few_scores_are_exact_beyond_the_buffer_too(
    portions: list[tuple[np.ndarray, ...]], room: int, bits: int
) -> None:
    # Of fewer than 50,000 scores none may share its place with another, nor lie anywhere but at itself: one normal
    # score on the wrong side of one of few defects would change precision by more than is promised.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "BUFFERED", room)
        counts, shares = RankSummary(bits), RankSummary(bits, shared=True)
        for key, skip, share in portions:
            counts.add(key.astype(f"u{bits // 8}"), skip=skip)
            shares.add(key.astype(f"u{bits // 8}"), share=share)
        key, skip, share = (np.concatenate([each[part] for each in portions] or [np.zeros(0)]) for part in range(3))
        for summary, expected in (
            (counts, rank_exactly(key[skip == 0])),
            (shares, rank_exactly(key, share.astype(float))),
        ):
            # Asking again is no different.
            for found in (summary.ranked(), summary.ranked()):
                for name in ("key", "count", "share"):
                    assert getattr(found, name).tolist() == getattr(expected, name).tolist()


def test_the_arrays_given_may_be_filled_again() -> None:
    summary = RankSummary(64, shared=True)
    keys, share = np.arange(5, dtype=np.uint64), np.ones(5, dtype=np.int64)
    summary.add(keys, share=share)
    keys[:], share[:] = 99, 99
    assert summary.ranked().key.tolist() == [0, 1, 2, 3, 4]
    assert summary.ranked().share.tolist() == [1] * 5
