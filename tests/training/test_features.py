"""The feature cache holds the backbone's features; only a complete cache of the same images is read."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgezsad.data.images import load
from edgezsad.data.manifest import Entry, Manifest
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_file
from edgezsad.source.render import plain_images
from edgezsad.training.features import cache_features, cell_mask_fraction, read_features

SIZE = 32


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """Two sets: a normal image, a masked one, a defective one without a mask; and another normal one."""
    generator = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("images")

    def entry(name: str, label: int, mask: str = "") -> Entry:
        cv2.imwrite(str(root / name), generator.integers(0, 256, (40, 48, 3), dtype=np.uint8))
        hashes = (sha256_of_file(root / name), sha256_of_file(root / mask) if mask else "")
        return Entry(name, "bolt", "test", label, "x", mask, 48, 40, *hashes)

    mask = np.zeros((40, 48), dtype=np.uint8)
    mask[:20, :12] = 1
    cv2.imwrite(str(root / "mask.png"), mask)
    first = Manifest("first", root, (entry("a.png", 0), entry("b.png", 1, "mask.png"), entry("c.png", 1)))
    return [first, Manifest("second", root, (entry("d.png", 0),))]


@pytest.fixture(scope="module")
def feature_cache(sources: list[Manifest], backbone: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    cache_features(plain_images(sources), backbone, SIZE, folder)
    return folder


@pytest.fixture
def folder(feature_cache: Path, tmp_path: Path) -> Path:
    return shutil.copytree(feature_cache, tmp_path / "features")


def test_cache_holds_the_features(sources: list[Manifest], folder: Path, backbone: torch.nn.Module) -> None:
    features = read_features(folder, plain_images(sources))
    assert features.label.tolist() == [0, 1, 1, 0]
    assert features.group.tolist() == ["first/bolt"] * 3 + ["second/bolt"]
    assert features.info.backbone_sha256 == backbone.sha256()
    for row, (manifest, entry) in enumerate([(m, e) for m in sources for e in m.entries]):
        image = torch.from_numpy(load(manifest.path(entry), SIZE)).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            for stored, computed in zip(features.maps, backbone(image), strict=True):
                assert np.array_equal(stored[row], computed[0].numpy().astype(np.float16))
    # Unknown where defective without a mask.
    expected = np.zeros((4, 4), dtype=np.float32)
    expected[:2, 0] = 1
    assert np.array_equal(features.mask_fraction[1], expected)
    assert (features.mask_fraction[[0, 3]] == 0).all()
    assert np.isnan(features.mask_fraction[2]).all()


@pytest.mark.slow
def test_values_beyond_float16_are_rejected(sources: list[Manifest], backbone: torch.nn.Module, tmp_path: Path) -> None:
    loud = copy.deepcopy(backbone)
    with torch.no_grad():
        loud.project[0].mul_(1e6)
    with pytest.raises(InputError, match=r"a\.png: features of small do not fit into float16; use another backbone"):
        cache_features(plain_images(sources), loud, SIZE, tmp_path / "features")
    assert not (tmp_path / "features" / "features.json").exists()


def rejected(folder: Path, sources: list[Manifest], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_features(folder, plain_images(sources))
    assert "run notebook 02_features" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cache_of_other_images_is_rejected(sources: list[Manifest], folder: Path) -> None:
    first, second = sources
    changed = replace(first.entries[0], sha256="f" * 64)
    rejected(folder, [second, first], "made from other source images")
    rejected(folder, [replace(first, entries=(changed, *first.entries[1:])), second], "made from other source images")


@pytest.mark.parametrize("name", ["stride08.npy", "stride16.npy", "mask_fraction.npy", "features.json"])
@pytest.mark.parametrize("share", [None, 0.0, 0.9])
def test_incomplete_cache_is_rejected(sources: list[Manifest], folder: Path, name: str, share: float | None) -> None:
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if share is not None:
        path.write_bytes(data[: int(len(data) * share)])
    rejected(folder, sources, "features")


def test_arrays_of_another_cache_are_rejected(sources: list[Manifest], folder: Path) -> None:
    stored = np.load(folder / "stride16.npy")
    np.save(folder / "stride16.npy", stored[:3])
    rejected(folder, sources, "damaged feature cache")


def naive_mask_fraction(mask: np.ndarray, cells: int) -> np.ndarray:
    """Overlap of every cell with every pixel, as rectangles."""
    mask_fraction = np.zeros((cells, cells))
    height, width = mask.shape[0] / cells, mask.shape[1] / cells
    for row in range(cells):
        for column in range(cells):
            for y, x in np.argwhere(mask):
                tall = max(0, min((row + 1) * height, y + 1) - max(row * height, y))
                wide = max(0, min((column + 1) * width, x + 1) - max(column * width, x))
                mask_fraction[row, column] += tall * wide / (height * width)
    return mask_fraction


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)), st.integers(1, 7))
def test_mask_fraction_is_exact_and_keeps_the_area(mask: np.ndarray, cells: int) -> None:
    mask_fraction = cell_mask_fraction(mask, cells)
    np.testing.assert_allclose(mask_fraction, naive_mask_fraction(mask, cells), atol=1e-6)
    assert mask_fraction.sum() * mask.size / cells**2 == pytest.approx(mask.sum(), abs=1e-4)
