"""Images and masks: every kind of file gives the one kind of array, and every bad file one line."""

import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from edgezsad.data.images import Reading, count_pixels, decode_image, decode_mask, load, measure, prepare
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


def gradient(dtype: type, channels: int) -> np.ndarray:
    """20 x 30 pixels whose channels rise in different directions up to the largest value, opaque if there is alpha."""
    y, x = np.mgrid[:20, :30]
    ramps = np.stack([x / 29, y / 19, (x + y) / 48, np.ones_like(x)], axis=-1)
    ramps = ramps[..., [0, 3]] if channels == 2 else ramps[..., :channels]
    return np.round(ramps * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"byteorder": ">"}, {"byteorder": ">", "bigtiff": True}])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_uncompressed_tiffs_of_every_order(tmp_path: Path, dtype: type, channels: int, options: dict, planes: str):
    values = gradient(dtype, channels)
    stored = values if planes == "contig" else values.transpose(2, 0, 1)
    kind = {"photometric": "rgb" if channels > 2 else "minisblack", "planarconfig": planes if channels > 1 else None}
    alpha = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    tifffile.imwrite(tmp_path / "a.tif", stored.squeeze(), metadata=None, rowsperstrip=7, **kind, **alpha, **options)
    colours = values[..., :3] if channels > 2 else values[..., [0, 0, 0]]
    expected = np.round(colours / np.iinfo(dtype).max * 255)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.tif"), expected)
    np.testing.assert_array_equal(decode_mask(tmp_path / "a.tif", (20, 30)), (colours > 0).any(axis=2))
    assert measure(tmp_path / "a.tif")[:2] == (20, 30) and count_pixels(tmp_path / "a.tif") == 600
    np.testing.assert_array_equal(load(tmp_path / "a.tif", 8), prepare(decode_image(tmp_path / "a.tif"), 8))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_and_orientation_of_a_tiff(tmp_path: Path, dtype: type) -> None:
    values, largest = gradient(dtype, 1)[..., 0], np.iinfo(dtype).max
    options = {"photometric": "miniswhite", "metadata": None, "extratags": [(274, 3, 1, 6, True)]}
    tifffile.imwrite(tmp_path / "a.tif", np.rot90(largest - values), **options)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.tif")[..., 0], np.round(values / largest * 255))
    assert measure(tmp_path / "a.tif")[:2] == (20, 30)


def test_premultiplied_alpha(tmp_path: Path) -> None:
    values = np.array([[[100, 50, 0, 128], [0, 0, 0, 0], [9, 8, 7, 255]]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["assocalpha"], metadata=None)
    expected = [[227, 177, 127], [255, 255, 255], [9, 8, 7]]
    assert np.abs(decode_image(tmp_path / "a.tif")[0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("values", "options", "reason"),
    [
        (gradient(np.uint8, 3), {"photometric": "minisblack", "planarconfig": "contig"}, "3 x 8 bits, MINISBLACK"),
        (gradient(np.uint16, 1)[..., 0], {"photometric": "cfa"}, "1 x 16 bits, CFA"),
        (gradient(np.uint16, 2), {"photometric": "minisblack", "extrasamples": [2], "compression": "zlib"}, "DEFLATE"),
        (gradient(np.uint8, 3).astype(np.float16), {"photometric": "rgb"}, "float16"),
        (gradient(np.uint32, 3), {"photometric": "rgb"}, "uint32"),
        (gradient(np.int16, 1)[..., 0], {}, "int16"),
    ],
)
def test_whole_tiffs_that_are_not_read(tmp_path: Path, values: np.ndarray, options: dict, reason: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, metadata=None, **options)
    with pytest.raises(InputError, match="8- or 16-bit") as caught:
        decode_image(path)
    assert reason in one_line(caught, path) and "copy it again" not in str(caught.value)


def test_whole_bmp_that_is_not_read(tmp_path: Path) -> None:
    path = save(RGB, tmp_path / "a.bmp")
    path.write_bytes(path.read_bytes()[:28] + b"\x02" + path.read_bytes()[29:])  # 2 bits per pixel
    with pytest.raises(InputError, match="save it as 8- or 16-bit PNG"):
        decode_image(path)


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_truncated_tiff(tmp_path: Path, keep: float, planes: str, capfd: pytest.CaptureFixture) -> None:
    path = tmp_path / "a.tif"
    for compression in (None, "zlib"):
        values = np.random.default_rng(0).integers(0, 65535, (20, 30, 3), np.uint16)
        stored = values if planes == "contig" else values.transpose(2, 0, 1)
        options = {"photometric": "rgb", "planarconfig": planes, "compression": compression, "rowsperstrip": 7}
        tifffile.imwrite(path, stored, metadata=None, **options)
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
        with pytest.raises(InputError, match="copy it again"):
            decode_image(path)
    assert capfd.readouterr() == ("", ""), "libtiff and tifffile print nothing"


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["grey.png", "colour.png", "grey.tif", "colour.tif"])
def test_bits_of_a_camera_in_a_file_of_16(tmp_path: Path, bits: int, name: str) -> None:
    """The brightest value names the bits; with them the image is that of 8 bits."""
    values = gradient(np.uint8, 1 if "grey" in name else 3)
    deep = np.round(values / 255 * (2**bits - 1)).astype(np.uint16)
    if name.endswith("png"):
        cv2.imwrite(str(tmp_path / name), deep[..., ::-1])
    else:
        tifffile.imwrite(tmp_path / name, deep.squeeze(), photometric="rgb" if deep.shape[2] > 1 else "minisblack")
    unknown, stated = Reading(), Reading(bits)
    decode_image(tmp_path / name, unknown)
    read = decode_image(tmp_path / name, stated)
    assert np.abs(read.astype(int) - values).max() <= (1 if bits == 8 else 0) and stated.notes() == []
    assert unknown.notes() == ([] if bits == 16 else [
        f"brightest value is {2**bits - 1:,} of 65,535: {bits} bits in a 16-bit file? give --bits {bits}"
    ])  # fmt: skip
    if bits > 8:
        with pytest.raises(InputError, match=f"give --bits {bits}"):
            decode_image(tmp_path / name, Reading(8))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_alpha_that_is_zero_everywhere_is_ignored(tmp_path: Path, name: str) -> None:
    rgba = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    reading = Reading()
    if name == "a.bmp":
        # A BMP with a header of version 4, whose fourth mask is that of alpha.
        masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        header = struct.pack("<IiiHHIIiiII", 108, 3, 2, 1, 32, 3, 24, 0, 0, 0, 0) + masks + bytes(52)
        pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
        (tmp_path / name).write_bytes(b"BM" + struct.pack("<IHHI", 146, 0, 0, 122) + header + pixels)
    else:
        save(rgba, tmp_path / name)
    np.testing.assert_array_equal(decode_image(tmp_path / name, reading), RGB)
    assert reading.notes() == [f"{tmp_path / name}: alpha is 0 everywhere, ignored"]


def test_files_of_several_pages(tmp_path: Path) -> None:
    reading = Reading()
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([RGB[..., 0]] * 3), photometric="minisblack", imagej=True)
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([RGB, RGB]), photometric="rgb", metadata=None)
    save(RGB, tmp_path / "moving.png", save_all=True, append_images=[Image.fromarray(255 - RGB)])
    with tifffile.TiffWriter(tmp_path / "thumbnail.tif") as writer:
        writer.write(RGB, photometric="rgb", metadata=None)
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    for path in sorted(tmp_path.iterdir()):
        decode_image(path, reading)
    assert reading.notes() == [f"{tmp_path / 'moving.png'}: the first of several pages is read, and 2 more"]


def test_a_folder_of_masks_is_their_union(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    first, second = np.zeros((2, 4, 6), np.uint8)
    first[0, 0], second[3, 5] = 255, 200
    for number, mask in enumerate((first, second)):
        save(mask, tmp_path / "masks" / f"{number}.png")
    np.testing.assert_array_equal(decode_mask(tmp_path / "masks", (4, 6)), (first + second) > 0)
    before = measure(tmp_path / "masks", (4, 6))
    assert before[:2] == (4, 6)
    save(second + first, tmp_path / "masks" / "0.png")
    assert measure(tmp_path / "masks", (4, 6)) != before
    with pytest.raises(InputError, match="mask of 6x4 pixels"):
        measure(tmp_path / "masks", (6, 4))
