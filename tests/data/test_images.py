"""Images and masks: every kind of file gives the one kind of array, and every bad file one line."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgezsad.data.images import decode_image, decode_mask, measure, prepare
from edgezsad.errors import InputError

RGB = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [200, 100, 50], [255, 255, 255]]], dtype=np.uint8
)
"""2 high, 3 wide: no two pixels are equal, so that every turn and flip shows."""


def save(image: Image.Image | np.ndarray, path: Path, **options) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def one_line(caught: pytest.ExceptionInfo, path: Path) -> str:
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and ";" in message
    return message


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_rgb_comes_back_exactly(tmp_path: Path, ending: str) -> None:
    read = decode_image(save(RGB, tmp_path / f"a.{ending}"))
    np.testing.assert_array_equal(read, RGB)
    read[:] = 0  # the caller may write into it


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], dtype=np.uint8)
    read = decode_image(save(rgba, tmp_path / "a.png"))
    assert read.tolist() == [[[10, 20, 30], [255, 255, 255], [127, 127, 127]]]
    grey = np.array([[[10, 255], [10, 0]]], dtype=np.uint8)
    assert decode_image(save(Image.fromarray(grey, "LA"), tmp_path / "b.png")).tolist() == [[[10] * 3, [255] * 3]]


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([9, 8, 7, 100, 110, 120])
    assert decode_image(save(image, tmp_path / "a.png")).tolist() == [[[9, 8, 7], [100, 110, 120]]]
    assert decode_image(save(image, tmp_path / "b.png", transparency=0)).tolist() == [[[255] * 3, [100, 110, 120]]]


def test_cmyk(tmp_path: Path) -> None:
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[..., 0] = 255  # all cyan
    read = decode_image(save(Image.fromarray(ink, "CMYK"), tmp_path / "a.jpg", quality=100))
    assert np.abs(read.astype(int) - [0, 255, 255]).max() <= 3


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_cut(tmp_path: Path, ending: str) -> None:
    values = np.array([[0, 128, 129, 257 * 100, 65535]], dtype=np.uint16)
    read = decode_image(save(values, tmp_path / f"a.{ending}"))
    assert read[..., 0].tolist() == [[0, 0, 1, 100, 255]]
    assert read.shape == (1, 5, 3)


@pytest.mark.parametrize("values", [np.array([[0.5]], np.float32), np.array([[70000]], np.int32)])
def test_pixels_without_a_range_are_rejected(tmp_path: Path, values: np.ndarray) -> None:
    path = save(values, tmp_path / "a.tif")
    with pytest.raises(InputError) as caught:
        decode_image(path)
    assert "8- or 16-bit" in one_line(caught, path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_exif_rotation(tmp_path: Path, orientation: int, ending: str) -> None:
    """Each stored image is the upright one, turned the other way: the EXIF standard's table, written out here."""
    stored = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, 1),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(RGB, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(np.ascontiguousarray(stored), tmp_path / f"a.{ending}", exif=exif)
    np.testing.assert_array_equal(decode_image(path), RGB)
    assert measure(path)[:2] == (2, 3), "measured as it is decoded"


@pytest.mark.parametrize("read", [decode_image, measure])
def test_missing_folder_empty_and_text(tmp_path: Path, read) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    for name, reason in {
        "missing.png": "no such image",
        "folder.png": "is a folder",
        "empty.png": "empty file",
        "text.png": "not an image",
    }.items():
        with pytest.raises(InputError) as caught:
            read(tmp_path / name)
        assert reason in one_line(caught, tmp_path / name)


def test_reading_leaves_the_warning_filters_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(Image.new("1", (50, 30)), tmp_path / "large.png")
    # Pillow warns above this number.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    before = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert measure(path)[:2] == (30, 50)
    assert warnings.filters == before


def test_any_non_zero_pixel_is_defective(tmp_path: Path) -> None:
    values = np.array([[0, 1, 2], [255, 0, 0]], dtype=np.uint8)
    read = decode_mask(save(values, tmp_path / "a.png"), (2, 3))
    assert read.dtype == bool
    np.testing.assert_array_equal(read, values != 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16", "P"])
def test_every_kind_of_mask_means_the_same(tmp_path: Path, mode: str) -> None:
    """In particular an opaque alpha channel, 255 everywhere, makes nothing defective."""
    truth = np.array([[False, True, False]])
    if mode == "1":
        image = Image.fromarray(truth)
    elif mode == "I;16":
        image = Image.fromarray(truth.astype(np.uint16))
    elif mode == "P":
        image = Image.fromarray(truth.astype(np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 0, 0, 0])  # black on black: the index is what counts
    else:
        image = Image.fromarray(truth.astype(np.uint8)).convert(mode)
    np.testing.assert_array_equal(decode_mask(save(image, tmp_path / "a.png"), (1, 3)), truth)


def test_specks_of_a_jpeg_mask_are_not_defects(tmp_path: Path) -> None:
    truth = np.zeros((64, 64), bool)
    truth[20:45, 13:37] = True
    path = save(truth.astype(np.uint8) * 255, tmp_path / "a.jpg", quality=90)
    assert np.count_nonzero(decode_image(path)[..., 0]) > truth.sum(), "the file has specks"
    np.testing.assert_array_equal(decode_mask(path, (64, 64)), truth)


def test_a_mask_of_another_size_names_both(tmp_path: Path) -> None:
    path = save(np.zeros((4, 6), np.uint8), tmp_path / "a.png")
    for read in (decode_mask, measure):
        with pytest.raises(InputError) as caught:
            read(path, (6, 4))
        message = one_line(caught, path)
        assert "6x4" in message and "4x6" in message


def test_prepare_antialiases() -> None:
    """Lines one pixel wide become grey; without antialiasing they would be all black or all white."""
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = prepare(stripes, 32)[:, 2:-2]
    assert np.abs(inner.astype(int) - 127.5).max() < 3
