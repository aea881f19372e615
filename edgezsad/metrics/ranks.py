"""A summary of scores that keeps their ranks, in memory that does not grow with their number.

A histogram over fixed bins is wrong as soon as scores crowd into few of them (a sigmoid's 0.9999...) or lie far apart
(a logit of 1e30). This one refines itself where the scores are: see `edgezsad.metrics.rank_tree`. The first scores are
sorted instead, so that few scores are kept exactly; scores that repeat, constants and ties are exact at any number,
since a single value has no place below it.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from edgezsad.metrics.rank_tree import Items, RankTree

# The first scores wait and are sorted once: as long as they all fit, the summary is exact.
BUFFERED = 1 << 18

_NONE = np.zeros(0, dtype=np.int64)
_NO_SKIP = np.zeros(0, dtype=np.uint8)
# As a floor: what ranks above a place does not matter.
ANYWHERE = 1 << 62


@dataclass(frozen=True)
class Ranked:
    """Distinct scores with what they hold.

    Attributes:
        key: (K,) uint64, ascending in the order of the scores; `scores_of` turns them back.
        count: (K,) float64, how many scores (a fraction where a place was shared out).
        share: (K,) float64, their second mass; empty if none was given.
    """

    key: np.ndarray
    count: np.ndarray
    share: np.ndarray

    def __add__(self, other: "Ranked") -> "Ranked":
        both = align(self, other)
        return Ranked(both.key, both.first + both.second, both.first_share + both.second_share)


@dataclass(frozen=True)
class Aligned:
    """Two rankings on the union of their keys.

    Attributes:
        key: (K,) uint64, ascending.
        first, second: (K,) float64, counts of either.
        first_share, second_share: (K,) float64, their second masses; empty if neither has one.
    """

    key: np.ndarray
    first: np.ndarray
    second: np.ndarray
    first_share: np.ndarray
    second_share: np.ndarray


def align(first: Ranked, second: Ranked) -> Aligned:
    """Bring two rankings to the union of their keys."""
    return Aligned(*_align(first.key, first.count, first.share, second.key, second.count, second.share))


def keys_of(scores: np.ndarray, out: np.ndarray | None = None) -> np.ndarray | None:
    """Numbers as unsigned integers in the same order, both zeros alike.

    Args:
        scores: any shape; float32 and float64 as they are, other numbers as the float that holds them exactly.
        out: an earlier answer that may be written over.

    Returns:
        (N,) uint32 or uint64; None if a number is not finite.
    """
    scores = as_float(scores)
    raw = np.ascontiguousarray(scores).ravel().view(np.uint32 if scores.dtype == np.float32 else np.uint64)
    key = out if out is not None and out.shape == raw.shape and out.dtype == raw.dtype else np.empty_like(raw)
    return key if (_keys32 if raw.itemsize == 4 else _keys64)(raw, key) else None


def as_float(scores: np.ndarray) -> np.ndarray:
    """The same numbers as float32 or float64, whichever holds each of them exactly."""
    if scores.dtype in (np.float32, np.float64):
        return scores
    return scores.astype(np.float32 if bits_of(scores.dtype) == 32 else np.float64)


def bits_of(dtype: np.dtype) -> int:
    """Bits of the keys of numbers of a type: 32 where a float32 holds each exactly, else 64."""
    return 32 if dtype in (np.float32, np.float16, np.bool_, np.uint8, np.int8, np.uint16, np.int16) else 64


def scores_of(key: np.ndarray, bits: int) -> np.ndarray:
    """Keys back to scores, (K,) float64."""
    if bits == 32:
        raw = np.where(key >= 1 << 31, key ^ np.uint64(1 << 31), np.uint64(0xFFFFFFFF) ^ key)
        return raw.astype(np.uint32).view(np.float32).astype(float)
    return np.where(key >= np.uint64(1 << 63), key ^ np.uint64(1 << 63), ~key).view(np.float64)


def rank_exactly(key: np.ndarray, share: np.ndarray | None = None) -> Ranked:
    """Rank all keys at once, by sorting; `share` is the second mass of each, (N,)."""
    if share is None:
        values, count = np.unique(key, return_counts=True)
        return Ranked(values.astype(np.uint64), count.astype(float), np.zeros(0))
    values, place, count = np.unique(key, return_inverse=True, return_counts=True)
    return Ranked(values.astype(np.uint64), count.astype(float), np.bincount(place, share, len(values)))


class RankSummary:
    """Counts, and a second mass if wanted, by score.

    Args:
        bits: 32 or 64, of the keys that will be added.
        shared: whether scores have a second mass: whole numbers, so that sums do not depend on their order.
    """

    def __init__(self, bits: int, shared: bool = False):
        self.bits = bits
        self.shared = shared
        self._keys = np.empty(BUFFERED, dtype=np.uint64 if bits == 64 else np.uint32)
        self._shares = np.empty(BUFFERED if shared else 0, dtype=np.int64)
        self._waiting = 0
        self._tree: RankTree | None = None

    def add(
        self, keys: np.ndarray, skip: np.ndarray = _NO_SKIP, share: np.ndarray = _NONE, floor: int = ANYWHERE
    ) -> None:
        """Add scores.

        Args:
            keys: (N,) from `keys_of`.
            skip: (N,) uint8, scores where it is not zero are passed over; empty: none is.
            share: (N,) int64, their second mass; given if and only if the summary is `shared`.
            floor: a place of so few scores may stay whole wherever it ranks.
        """
        if self._tree is None:
            if len(skip):
                keys, skip = keys[skip == 0], _NO_SKIP
            # The buffer is filled to the last place, so that the tree begins with as much as it can hold.
            room = len(self._keys) - self._waiting
            there = slice(self._waiting, self._waiting + min(room, len(keys)))
            self._keys[there] = keys[:room]
            if self.shared:
                self._shares[there] = share[:room]
            self._waiting = there.stop
            if len(keys) <= room:
                return
            self._tree = RankTree(self.bits, self._sorted(), floor)
            self._keys = self._shares = _NONE
            keys, share = keys[room:], share[room:]
        self._tree.add(keys, skip, share, floor)

    def ranked(self) -> Ranked:
        """What was added, as distinct scores."""
        items = self._tree.items() if self._tree else self._sorted()
        key, count, share, made = _spread(items.key, items.shift, items.count, items.share)
        return Ranked(key[:made], count[:made], share[:made])

    def _sorted(self) -> Items:
        keys = self._keys[: self._waiting]
        if not self.shared:
            key, count = np.unique(keys, return_counts=True)
            share = _NONE
        else:
            order = np.argsort(keys)
            keys = keys[order]
            start = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
            key, count = keys[start], np.diff(start, append=len(keys))
            share = np.add.reduceat(self._shares[: self._waiting][order], start) if len(start) else _NONE
        return Items(key.astype(np.uint64), np.zeros(len(key), dtype=np.int8), count.astype(np.int64), share)


@njit(cache=True, nogil=True)
def _keys32(raw, key):
    finite = True
    for place in range(len(raw)):
        value = raw[place]
        finite &= (value & np.uint32(0x7F800000)) != np.uint32(0x7F800000)
        value = value if value != np.uint32(0x80000000) else np.uint32(0)
        key[place] = value ^ (np.uint32(np.int32(value) >> 31) | np.uint32(0x80000000))
    return finite


@njit(cache=True, nogil=True)
def _keys64(raw, key):
    finite = True
    top, exponent = np.uint64(0x8000000000000000), np.uint64(0x7FF0000000000000)
    for place in range(len(raw)):
        value = raw[place]
        finite &= (value & exponent) != exponent
        value = value if value != top else np.uint64(0)
        key[place] = value ^ top if value < top else ~value
    return finite


@njit(cache=True, nogil=True)
def _align(key_a, count_a, share_a, key_b, count_b, share_b):
    a = b = union = 0
    while a < len(key_a) or b < len(key_b):
        smallest = _smaller(key_a, a, key_b, b)
        a += a < len(key_a) and key_a[a] == smallest
        b += b < len(key_b) and key_b[b] == smallest
        union += 1
    shared = union if len(share_a) or len(share_b) else 0
    key, first, second = np.empty(union, np.uint64), np.zeros(union), np.zeros(union)
    first_share, second_share = np.zeros(shared), np.zeros(shared)
    a = b = 0
    for place in range(union):
        key[place] = _smaller(key_a, a, key_b, b)
        if a < len(key_a) and key_a[a] == key[place]:
            first[place] = count_a[a]
            if len(share_a):
                first_share[place] = share_a[a]
            a += 1
        if b < len(key_b) and key_b[b] == key[place]:
            second[place] = count_b[b]
            if len(share_b):
                second_share[place] = share_b[b]
            b += 1
    return key, first, second, first_share, second_share


@njit(cache=True, nogil=True, inline="always")
def _smaller(key_a, a, key_b, b):
    """The smaller of two arrays' next keys; one of them may be at its end."""
    if b == len(key_b) or (a < len(key_a) and key_a[a] <= key_b[b]):
        return key_a[a]
    return key_b[b]


@njit(cache=True, nogil=True)
def _spread(key, shift, count, share):
    """Items as scores: the middle of each place; a place that holds finer ones shares its counts out among them."""
    items = len(key)
    shared = len(share) > 0
    sums, share_sums = np.zeros(items + 1), np.zeros(items + 1)
    for place in range(items):
        sums[place + 1] = sums[place] + count[place]
        if shared:
            share_sums[place + 1] = share_sums[place] + share[place]
    out_key, out_count = np.empty(items, dtype=np.uint64), np.empty(items)
    out_share = np.empty(items if shared else 0)
    made = 0
    factor, share_factor = np.ones(65), np.ones(65)
    until = np.zeros(65, dtype=np.int64)
    depth = 0
    for place in range(items):
        while depth and place >= until[depth]:
            depth -= 1
        end = place + 1
        size = np.uint64(1) << np.uint64(shift[place])
        if shift[place] and end < items and key[end] - key[place] < size:
            end = np.searchsorted(key[place:], key[place] + (size - np.uint64(1)), side="right") + place
        if end > place + 1:
            depth += 1
            until[depth] = end
            factor[depth] = factor[depth - 1] * (1 + count[place] / (sums[end] - sums[place + 1]))
            if shared:
                within = share_sums[end] - share_sums[place + 1]
                share_factor[depth] = share_factor[depth - 1] * (1 + share[place] / within)
        else:
            out_key[made] = key[place] + (size >> np.uint64(1))
            out_count[made] = count[place] * factor[depth]
            if shared:
                out_share[made] = share[place] * share_factor[depth]
            made += 1
    return out_key, out_count, out_share, made
