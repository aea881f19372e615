"""All pairs of hashes within a Hamming distance.

Every pair is looked at: 150,000 hashes against 20,000 in eight views take seconds, because the compiler puts the
processor's own instruction for counting bits in place of `_ones`, for several words at a time. An index of parts of the
hash would have to look at most pairs too where thousands of images are alike.
"""

import numpy as np
from numba import njit


def near(codes: np.ndarray, wanted: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs within a Hamming distance.

    Args:
        codes: uint64 (4, N).
        wanted: uint64 (4, M).
        radius: in bits.

    Returns:
        Rows of `codes`, rows of `wanted` and distances, one element of each a pair, in the order of `wanted`.
    """
    codes, wanted = np.ascontiguousarray(codes), np.ascontiguousarray(wanted)
    counts = _count(codes, wanted, radius)
    rows, distances = _fill(codes, wanted, radius, counts)
    return rows, np.repeat(np.arange(wanted.shape[1]), counts), distances


# Numba's functions keep to plain loops.


@njit(cache=True, nogil=True)
def _ones(bits):
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True)
def _count(codes, wanted, radius):
    """(M,) how many of `codes` are within the radius of each of `wanted`."""
    a, b, c, d = codes[0], codes[1], codes[2], codes[3]
    limit = np.uint64(radius)
    counts = np.zeros(wanted.shape[1], dtype=np.int64)
    for column in range(wanted.shape[1]):
        e, f, g, h = wanted[0, column], wanted[1, column], wanted[2, column], wanted[3, column]
        found = np.uint64(0)
        for row in range(codes.shape[1]):
            bits = _ones(a[row] ^ e) + _ones(b[row] ^ f) + _ones(c[row] ^ g) + _ones(d[row] ^ h)
            found += np.uint64(bits <= limit)
        counts[column] = found
    return counts


@njit(cache=True, nogil=True)
def _fill(codes, wanted, radius, counts):
    """The rows that `_count` counted and their distances, in the order of `wanted`."""
    limit = np.uint64(radius)
    rows = np.empty(counts.sum(), dtype=np.int64)
    distances = np.empty(counts.sum(), dtype=np.int64)
    place = 0
    for column in range(wanted.shape[1]):
        if counts[column] == 0:
            continue
        for row in range(codes.shape[1]):
            bits = np.uint64(0)
            for word in range(4):
                bits += _ones(codes[word, row] ^ wanted[word, column])
            if bits <= limit:
                rows[place] = row
                distances[place] = bits
                place += 1
    return rows, distances
