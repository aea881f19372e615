"""The tree behind `edgezsad.metrics.ranks`: counts by the bits of a score, split where they have become heavy.

It follows the q-digest of Shrivastava, Buragohain, Agrawal and Suri ("Medians and beyond", SenSys 2004), with two
changes: what may stay whole is less at the top, where precision and F1 are decided by few scores; and a second mass (a
region's share) is kept beside the counts.

The loops are compiled by Numba: no library at hand counts into places that split, and NumPy has no such operation.
"""

import mmap
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

# A place may stay whole while it holds at most this share of everything (AUROC errs by at most half of it) ...
SHARE = 2e-5
# ... and at most this share of what ranks above it (F1 and precision err by a small part of it).
TOP_SHARE = 4e-4

_ROOT_BITS = 12
_ROOT = 1 << _ROOT_BITS
# A place that has become too heavy is split into two to the power of this.
_FINE = 3
_ROOM = 1 << 18
_WIDEST = 14


@dataclass(frozen=True)
class Items:
    """What is held in the order of scores: place `key` to `key + 2**shift - 1`, a wide place before those within it.

    Attributes:
        key: (K,) uint64.
        shift: (K,) int8; zero: a single score.
        count: (K,) int64, how many scores lie there.
        share: (K,) int64, their second mass; empty if there is none.
    """

    key: np.ndarray
    shift: np.ndarray
    count: np.ndarray
    share: np.ndarray


class _Slots(NamedTuple):
    """Arrays of the tree.

    Attributes:
        word: of each slot its count, or, negative, where its finer slots lie (see `_refer`).
        share: the second mass of each slot; empty if there is none.
        before: count that came before a block of finer slots was made, at the number of its first slot >> _FINE.
        share_before: their second mass, at the same place.
        limit: the count up to which a place stays whole, for 2**_FINE slots together.
    """

    word: np.ndarray
    share: np.ndarray
    before: np.ndarray
    share_before: np.ndarray
    limit: np.ndarray


class RankTree:
    """Counts by score.

    Args:
        bits: 32 or 64, of the keys.
        items: to begin with.
        floor: a place of so few scores may stay whole wherever it ranks.
    """

    def __init__(self, bits: int, items: Items, floor: int):
        self.bits = bits
        self._plant(items, floor)

    def add(self, keys: np.ndarray, skip: np.ndarray, share: np.ndarray, floor: int) -> None:
        """Add scores; the arguments are those of `edgezsad.metrics.ranks.RankSummary.add`."""
        if self.total >= 2 * self._planted:
            self._plant(self.items(), floor)
        at = 0
        while True:
            at, self._used, added = _insert(
                keys, skip, share, at, self._slots, self._used, self._share_limit, self.bits
            )
            self.total += added
            if at == len(keys):
                return
            self._plant(self.items(), floor)

    def items(self) -> Items:
        """What the tree holds, in the order of the scores."""
        made = _held(self._slots, self._used)
        shares = made if len(self._slots.share) else 0
        items = Items(_zeros(made, np.uint64), _zeros(made, np.int8), _zeros(made), _zeros(shares))
        _walk(self._slots, self._used, self.bits, items.key, items.shift, items.count, items.share)
        return items

    def _plant(self, items: Items, floor: int) -> None:
        """Build the tree anew: what has become light is one place again, and limits fit the present total."""
        self.total = self._planted = int(items.count.sum())
        self._share_limit = int(SHARE * items.share.sum())
        # The items hold everything: the old arrays' memory may serve the new ones.
        self._slots = None
        room = _ROOM
        while room < 2 * len(items.key):
            room *= 2
        while True:
            sizes = {"word": room, "share": room, "before": room >> _FINE, "share_before": room >> _FINE}
            if not len(items.share):
                sizes |= {"share": 0, "share_before": 0}
            sizes["limit"] = room >> _FINE
            self._slots = _Slots(**{name: _zeros(size) for name, size in sizes.items()})
            work = _zeros(room, np.int32), _zeros(room, np.int32), _zeros(room, np.int8)
            self._used = _plant(
                items.key,
                items.shift,
                items.count,
                items.share,
                self._slots,
                self._share_limit,
                self.bits,
                floor,
                *work,
            )
            # A third is left for splits until the next time.
            if self._used and 3 * self._used <= 2 * room:
                return
            room *= 2


def _zeros(size: int, dtype: type = np.int64) -> np.ndarray:
    """(size,) zeros in pages of their own: untouched ones cost nothing, and all go back when the array is forgotten.

    The system's allocator keeps what threads give back, for each thread its own largest need.
    """
    if not size:
        return np.zeros(0, dtype=dtype)
    return np.frombuffer(mmap.mmap(-1, size * np.dtype(dtype).itemsize), dtype=dtype)


@njit(cache=True, nogil=True, inline="always")
def _refer(start, shift, width):
    """The word of a slot that has finer ones: where they start, the shift of their bits, how many bits they take."""
    return -1 - ((start << 12) | (shift << 6) | width)


@njit(cache=True, nogil=True)
def _insert(keys, skip, shares, at, tree, used, share_limit, bits):
    word, share, before, share_before, limit = tree
    root_shift = bits - _ROOT_BITS
    skipping, shared = len(skip) > 0, len(share) > 0
    added = 0
    for place in range(at, len(keys)):
        if skipping and skip[place]:
            continue
        key = np.uint64(keys[place])
        shift = root_shift
        slot = np.int64(key >> np.uint64(root_shift))
        held = word[slot]
        while True:
            if held < 0:
                held = -1 - held
                shift = (held >> 6) & 63
                slot = (held >> 12) + (np.int64(key >> np.uint64(shift)) & ((1 << (held & 63)) - 1))
                held = word[slot]
            elif shift == 0 or (
                held < limit[slot >> _FINE] and (not shared or share[slot] + shares[place] <= share_limit)
            ):
                word[slot] = held + 1
                if shared:
                    share[slot] += shares[place]
                added += 1
                break
            else:
                if used + (1 << _FINE) > len(word):
                    return place, used, added
                width = min(_FINE, shift)
                before[used >> _FINE] = held
                limit[used >> _FINE] = limit[slot >> _FINE]
                if shared:
                    share_before[used >> _FINE] = share[slot]
                    share[slot] = 0
                held = _refer(used, shift - width, width)
                word[slot] = held
                used += 1 << _FINE
    return len(keys), used, added


@njit(cache=True, nogil=True)
def _plant(key, shift, count, shares, tree, share_limit, bits, floor, first, last, wide):
    """Build the tree from items; returns how many slots it took, zero if there is no room.

    `first`, `last` and `wide` receive, for each slot, which items lie there and how wide it is.
    """
    word, share, before, share_before, limit = tree
    items = len(key)
    shared = len(share) > 0
    sums = np.zeros(items + 1, dtype=np.int64)
    share_sums = np.zeros(items + 1 if shared else 1, dtype=np.int64)
    for place in range(items):
        sums[place + 1] = sums[place] + count[place]
        if shared:
            share_sums[place + 1] = share_sums[place] + shares[place]
    total = sums[items]
    room = len(word)
    root_shift = bits - _ROOT_BITS
    place = 0
    for slot in range(_ROOT):
        first[slot] = place
        while place < items and np.int64(key[place] >> np.uint64(root_shift)) == slot:
            place += 1
        last[slot] = place
        wide[slot] = root_shift
    used = _ROOT
    slot = 0
    while slot < used:
        start, end, own = np.int64(first[slot]), np.int64(last[slot]), np.int64(wide[slot])
        bound = np.int64(min(SHARE * total, max(TOP_SHARE * (total - sums[end]), floor)))
        # Sixteen used share the limit of the highest, the one with the least above it.
        limit[slot >> _FINE] = bound
        here = sums[end] - sums[start]
        excess = here / max(bound, 1)
        whole = here <= bound
        if shared:
            share_here = share_sums[end] - share_sums[start]
            excess = max(excess, share_here / max(share_limit, 1))
            whole = whole and share_here <= share_limit
        if start == end or whole or own == 0 or (end - start == 1 and shift[start] == own):
            word[slot] = here
            if shared:
                share[slot] = share_here
            slot += 1
            continue
        wanted = min(2.0 * excess, 2.0 * (end - start))
        width = min(_FINE, own)
        while (1 << width) < wanted and width < min(_WIDEST, own):
            width += 1
        # A place that was counted whole cannot be taken apart: its slot must not be finer than it.
        for place in range(start, end):
            if shift[place] < own:
                width = min(width, own - shift[place])
        size = max(1 << _FINE, 1 << width)
        if used + size > room:
            return 0
        finer = own - width
        place = start
        for step in range(size):
            # Wide items come first; they stay with the block.
            begin = place
            while place < end and np.int64(key[place] >> np.uint64(finer)) & ((1 << width) - 1) == step:
                if shift[place] > finer:
                    before[used >> _FINE] += count[place]
                    if shared:
                        share_before[used >> _FINE] += shares[place]
                    begin = place + 1
                place += 1
            first[used + step], last[used + step], wide[used + step] = begin, place, finer
        word[slot] = _refer(used, finer, width)
        used += size
        slot += 1
    return used


@njit(cache=True, nogil=True)
def _held(tree, used):
    """How many places hold something."""
    made = 0
    for slot in range(used):
        made += tree.word[slot] > 0
    for block in range(used >> _FINE):
        made += tree.before[block] > 0
    return made


@njit(cache=True, nogil=True)
def _walk(tree, used, bits, key, shift, count, shares):
    """All places that hold something, in ascending order, a wide place before those within it."""
    word, share, before, share_before, _ = tree
    shared = len(share) > 0
    made = 0
    slot_of, end_of, shift_of = np.empty(64, np.int64), np.empty(64, np.int64), np.empty(64, np.int64)
    low_of = np.empty(64, dtype=np.uint64)
    slot_of[0], end_of[0], shift_of[0], low_of[0] = 0, _ROOT, bits - _ROOT_BITS, 0
    depth = 0
    while depth >= 0:
        slot = slot_of[depth]
        if slot == end_of[depth]:
            depth -= 1
            continue
        slot_of[depth] += 1
        held = word[slot]
        low = low_of[depth]
        here = shift_of[depth]
        low_of[depth] += np.uint64(1) << np.uint64(here)
        block = -1
        if held < 0:
            held = -1 - held
            start = held >> 12
            depth += 1
            slot_of[depth], end_of[depth] = start, start + (1 << (held & 63))
            shift_of[depth], low_of[depth] = (held >> 6) & 63, low
            block = start >> _FINE
            held = before[block]
        if held > 0:
            key[made], shift[made], count[made] = low, here, held
            if shared:
                shares[made] = share_before[block] if block >= 0 else share[slot]
            made += 1
