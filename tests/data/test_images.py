"""Images and masks: every kind of file gives the one kind of array, and every bad file one line."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgezsad.data import images
from edgezsad.data.duplicates import thumbnail
from edgezsad.data.images import decode_image, decode_mask, measure, prepare
from edgezsad.data.loading import load_fast
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
    assert str(path) in message
    assert "\n" not in message
    assert ";" in message, "no remedy"
    return message


# Decoding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_rgb_comes_back_exactly(tmp_path: Path, ending: str) -> None:
    read = decode_image(save(RGB, tmp_path / f"a.{ending}"))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, RGB)
    read[:] = 0  # the caller may write into it


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    read = decode_image(save(grey, tmp_path / "a.png"))
    np.testing.assert_array_equal(read, np.stack([grey] * 3, axis=2))


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
def test_pixels_without_a_range_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = save(values, tmp_path / "a.tif")
    with pytest.raises(InputError) as caught:
        decode_image(path)
    assert "8- or 16-bit" in one_line(caught, path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_exif_rotation(tmp_path: Path, orientation: int, ending: str) -> None:
    """Each stored picture is the upright one, turned the other way: the EXIF standard's table, written out here."""
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


def test_exif_rotation_of_a_jpeg(tmp_path: Path) -> None:
    """As a phone stores it: the sensor's rows, and orientation 6."""
    upright = np.repeat(np.repeat(RGB, 16, axis=0), 16, axis=1)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(np.ascontiguousarray(np.rot90(upright, 1)), tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    assert np.abs(decode_image(path).astype(int) - upright).max() <= 4
    assert measure(path)[:2] == (32, 48)


def test_exif_behind_the_pixels_of_a_png_counts_when_measured(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(RGB, 1))).save(data, "png")
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    head, end = data.getvalue()[:-12], data.getvalue()[-12:]
    path = tmp_path / "a.png"
    path.write_bytes(head + chunk + end)
    np.testing.assert_array_equal(decode_image(path), RGB)
    assert measure(path)[:2] == (2, 3)


# Formats that users have ------------------------------------------------------------------------------------------


SMOOTH = np.repeat(np.repeat(RGB, 16, axis=0), 16, axis=1)
"""Large enough that a JPEG keeps its colours."""


# Bad files ------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("read", [decode_image, measure])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html>404 Not Found</html>", "failed download"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "contains text"),
        (b"GIF89a\x01\x00\x01\x00\x80\x00\x00", "JPEG, PNG, BMP or TIFF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "contains text"),
        (b"\xff\xfe\x00\x01", "JPEG, PNG, BMP or TIFF"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(tmp_path: Path, read, content: bytes, reason: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert reason in one_line(caught, path)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
def test_cut_off(tmp_path: Path, ending: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(noise, tmp_path / f"a.{ending}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError) as caught:
        decode_image(path)
    one_line(caught, path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """A PNG of 60,000 x 60,000 (beyond Pillow's own limit) and one of 13,000 x 13,000 (beyond ours only)."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side in (60_000, 13_000):
        path = tmp_path / f"{side}.png"
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
        for read in (decode_image, measure):
            with pytest.raises(InputError) as caught:
                read(path)
            assert "pixels" in one_line(caught, path)


@pytest.mark.parametrize("read", [decode_image, measure, lambda path: load_fast(path, 8), thumbnail])
def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path, read) -> None:
    """A good image before gigabytes of nothing, which takes no room on the disk, and would fill the memory."""
    path = save(RGB, tmp_path / "a.png")
    os.truncate(path, images.MAX_BYTES + 1)
    with pytest.raises(InputError) as caught:
        read(path)
    assert "bytes" in one_line(caught, path)


def _encoded(ending: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (12, 9, 3), dtype=np.uint8)).save(stream, ending)
    return stream.getvalue()


WHOLE = {ending: _encoded(ending) for ending in ("png", "jpeg", "bmp", "tiff")}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged TIFF tags
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_never_ends_in_another_error(tmp_path: Path, data: st.DataObject) -> None:
    ending = data.draw(st.sampled_from(sorted(WHOLE)))
    damaged = bytearray(WHOLE[ending])
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    path = tmp_path / f"a.{ending}"
    path.write_bytes(damaged)
    try:
        read = decode_image(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert read.dtype == np.uint8 and read.ndim == 3 and read.shape[2] == 3


def test_reading_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    path = save(Image.new("1", (11_000, 9_000)), tmp_path / "large.png", optimize=True)
    before = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Pillow warns at 89 million pixels.
        assert measure(path)[:2] == (9_000, 11_000)
    assert warnings.filters == before


# Masks ----------------------------------------------------------------------------------------------------------------


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


def test_a_palette_that_does_not_begin_with_black_is_refused(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    path = save(image, tmp_path / "a.png")
    with pytest.raises(InputError) as caught:
        decode_mask(path, (1, 2))
    assert "palette" in one_line(caught, path)


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


# Preparing ------------------------------------------------------------------------------------------------------------


def test_prepare_leaves_the_right_size_alone() -> None:
    image = np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(prepare(image, 16), image)


def test_prepare_antialiases() -> None:
    """Lines one pixel wide become grey; without antialiasing they would be all black or all white."""
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = prepare(stripes, 32)[:, 2:-2]
    assert np.abs(inner.astype(int) - 127.5).max() < 3


def test_prepare_takes_views_and_refuses_other_arrays() -> None:
    np.testing.assert_array_equal(prepare(RGB[:, ::-1], 4), prepare(RGB[:, ::-1].copy(), 4))
    for wrong in (RGB.astype(float), RGB[..., 0], RGB[..., :2], RGB[:0]):
        with pytest.raises(ValueError, match="prepare expects"):
            prepare(wrong, 4)
