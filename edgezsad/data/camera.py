"""How files of cameras with more than 8 bits are scaled, and notes on files that are unusual."""

from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np

from edgezsad.errors import InputError

BITS = (8, 10, 12, 14, 16)  # that cameras store in 16-bit files
FULL = 65535  # the largest value of 16 bits
ROWS = 512  # that are scaled at a time


def bits_of(value: int) -> int:
    """Return the usual number of bits of a camera whose brightest value this is."""
    return next(bits for bits in BITS if value < 2**bits)


@dataclass
class Reading:
    """How 16-bit files are read, and what was unusual about all files that were read with this object.

    `bits` are those that the camera uses; None if the user has not stated them: 16.
    """

    bits: int | None = None
    brightest: int = 0  # value in 16-bit files
    several: dict[str, int] = field(default_factory=dict)  # pages of files with more than one
    transparent: list[str] = field(default_factory=list)  # files whose alpha is 0 everywhere
    _lock: Lock = field(default_factory=Lock, repr=False)

    def scale(self, path: Path | str, values: np.ndarray, white_is_zero: bool, bits: int = 16) -> np.ndarray:
        """Scale unsigned samples (H, W, C) to uint8; `bits` is the number that the file states.

        Raises:
            InputError: pixels without a fixed range, or values above the bits that the user states.
        """
        if values.dtype == np.uint8:
            return 255 - values if white_is_zero else values
        if values.dtype.kind != "u" or values.dtype.itemsize != 2:
            raise InputError(f"{path}: {values.dtype.name} pixels have no fixed range; save it as 8- or 16-bit")
        count = min(3, values.shape[2]) if values.shape[2] != 2 else 1
        brightest = int(values[:, :, :count].max())
        if bits >= 16:
            self._count_brightest(path, brightest)
            bits = self.bits or 16
        # Alpha may use all bits where colours do not.
        limits = [2**bits - 1] * count
        if values.shape[2] > count:
            limits.append(limits[0] if values[:, :, count].max() <= limits[0] else FULL)
        scaled = np.empty(values.shape, np.uint8)
        for channel, limit in enumerate(limits):
            table = np.zeros(FULL + 1, np.uint8)
            table[: limit + 1] = np.round(np.arange(limit + 1) * (255 / limit))
            if white_is_zero and channel < count:
                table[: limit + 1] = table[limit::-1]
            for top in range(0, len(values), ROWS):
                scaled[top : top + ROWS, :, channel] = table[values[top : top + ROWS, :, channel]]
        return scaled

    def check_upper_bits(self, path: Path | str, brightest: int) -> None:
        """Check a 16-bit file of which only the upper 8 bits were read, with this brightest value."""
        if self.bits not in (None, 16):
            raise InputError(f"{path}: only the upper 8 bits of this file can be read; save it as 16-bit PNG")
        self._count_brightest(path, 256 * brightest + 255)

    def _count_brightest(self, path: Path | str, value: int) -> None:
        if self.bits is not None and value >= 2**self.bits:
            remedy = f"give --bits {bits_of(value)}"
            raise InputError(f"{path}: its brightest value {value:,} has more than {self.bits} bits; {remedy}")
        with self._lock:
            self.brightest = max(self.brightest, value)

    def count_pages(self, path: Path | str, pages: int) -> None:
        """Count a file with several pages."""
        if pages > 1:
            self.several[str(path)] = pages

    def count_transparent(self, path: Path | str) -> None:
        """Count a file whose alpha is 0 everywhere."""
        self.transparent.append(str(path))

    def notes(self) -> list[str]:
        """Describe what was unusual, one line for each kind."""
        notes = []
        if self.bits is None and 0 < self.brightest < 2 ** BITS[-2]:
            found, bits = f"brightest value is {self.brightest:,} of {FULL:,}", bits_of(self.brightest)
            notes.append(f"{found}: {bits} bits in a 16-bit file? give --bits {bits}")
        if self.several:
            path = min(self.several)
            notes.append(f"{path}: first of {self.several[path]:,} pages{_others(len(self.several))}")
        if self.transparent:
            notes.append(f"{min(self.transparent)}: alpha is 0 everywhere, ignored{_others(len(self.transparent))}")
        return notes


def _others(count: int) -> str:
    return f", and {count - 1:,} more" if count > 1 else ""
