"""Manifests with masks, without and with files."""

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edgezsad.config import Derive
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.files import sha256_of_file
from edgezsad.source.derive import count_defects, derive_list, read_defect_grids
from edgezsad.source.render import Row

RED, GREY = (200, 30, 30), (120, 120, 120)


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def entry(name: str, category: str, label: int, size: tuple[int, int], mask: str = "") -> Entry:
    known = hashed(mask) if mask else ""
    return Entry(name, category, "train", label, "x" if label else "good", mask, *size, hashed(name), known)


@pytest.fixture(scope="session")
def large() -> tuple[Manifest, dict[str, np.ndarray]]:
    """3,000 entries of 30 categories and five views, two sevenths defective, and their grids; no files."""
    entries, grids = [], {}
    for number in range(3000):
        category, label = f"c{number % 30:02d}", int(number % 7 < 2)
        name = f"{category}/{number:05d}_C{number % 5 + 1}_x.jpg"
        entries.append(entry(name, category, label, (256, 192), f"{name}.png" if label else ""))
        if label:
            top, left = number * 37 % 150, number * 53 % 200
            mask = np.zeros((192, 256), dtype=bool)
            mask[top : top + 1 + number * 11 % 40, left : left + 1 + number * 7 % 50] = True
            grids[name] = count_defects(mask)
    return Manifest("big", "nowhere", tuple(sorted(entries, key=lambda one: one.id))), grids


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Grey images with red defects where their masks say so, of two sizes, and one defective without a mask."""
    root = tmp_path_factory.mktemp("derived")
    random = np.random.default_rng(1)
    entries = []
    for number in range(24):
        category, label = "ab"[number % 2], int(number % 3 == 0)
        width, height = (150, 110) if number % 4 else (90, 70)
        pixels, mask = np.full((height, width, 3), GREY, dtype=np.uint8), np.zeros((height, width), dtype=np.uint8)
        if label:
            y, x = int(random.integers(0, height - 2)), int(random.integers(0, width - 2))
            mask[y : y + int(random.integers(1, height // 3)), x : x + int(random.integers(1, width // 3))] = 1
            pixels[mask > 0] = RED
            cv2.imwrite(str(root / f"{number}_mask.png"), mask)
        cv2.imwrite(str(root / f"{number}.png"), pixels[..., ::-1])
        entries.append(entry(f"{number}.png", category, label, (width, height), f"{number}_mask.png" if label else ""))
    cv2.imwrite(str(root / "z.png"), np.full((70, 90, 3), RED[::-1], dtype=np.uint8))
    entries.append(entry("z.png", "b", 1, (90, 70)))
    entries = [
        replace(
            one, sha256=sha256_of_file(root / one.id), mask_sha256=sha256_of_file(root / one.mask) if one.mask else ""
        )
        for one in sorted(entries, key=lambda one: one.id)
    ]
    return Manifest("small", root, tuple(entries))


@pytest.fixture(scope="session")
def derived(small: Manifest) -> list[Row]:
    return derive_list(small, Derive(images=200), 5, read_defect_grids(small))
