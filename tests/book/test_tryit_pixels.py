"""The page's preprocessing against the library's, in a browser: equal pixels in, equal pixels out."""

import base64
import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from edgezsad.data.images import load
from edgezsad.export.onnx_append import appended
from edgezsad.references import sealed

Prepared = Callable[[bytes, int], np.ndarray]

PREPARED = """async ([base, data, size]) => {
  const { readPhotograph } = await import(`${base}/photograph.js`);
  const { decode, square } = await import(`${base}/preprocess.js`);
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  try {
    const pixels = square(await decode(readPhotograph(bytes)), size);
    return { pixels: btoa(Array.from(pixels, (value) => String.fromCharCode(value)).join('')) };
  } catch (error) {
    return error.message;
  }
}"""


@pytest.fixture(scope="module")
def page(browser: Any, origin: str) -> Iterator[Any]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{origin}/book/try-it.html")
    yield page
    context.close()


@pytest.fixture(scope="module")
def scripts(origin: str) -> str:
    return f"{origin}/_static/tryit"


@pytest.fixture
def prepared(page: Any, scripts: str) -> Prepared:
    """What the page makes of a file, (size, size, 3) uint8."""

    def prepare(data: bytes, size: int) -> np.ndarray:
        found = page.evaluate(PREPARED, [scripts, base64.b64encode(data).decode(), size])
        assert not isinstance(found, str), found
        return np.frombuffer(base64.b64decode(found["pixels"]), np.uint8).reshape(size, size, 3)

    return prepare


def scene(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Edges, ramps and noise: uint8."""
    generator = np.random.default_rng([height, width, channels])
    image = generator.integers(0, 256, (height, width, channels)).astype(np.float32)
    image = 0.5 * image + 0.5 * cv2.GaussianBlur(image, (0, 0), 9).reshape(image.shape)
    image[height // 3 :, width // 4 : width // 2] = (250, 10, 120, 255)[:channels]
    return image.astype(np.uint8)


def as_bytes(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def difference(prepared: Prepared, folder: Path, name: str, data: bytes, size: int = 96) -> np.ndarray:
    """The page's pixels minus the library's, in levels."""
    (folder / name).write_bytes(data)
    return np.abs(prepared(data, size).astype(int) - load(folder / name, size).astype(int))


@pytest.mark.parametrize("shape", [(301, 517), (96, 96), (40, 900), (1, 7), (700, 96)])
def test_resizing_is_the_same_to_the_last_bit(prepared: Prepared, tmp_path: Path, shape: tuple[int, int]) -> None:
    data = as_bytes(Image.fromarray(scene(*shape)), "PNG")
    assert difference(prepared, tmp_path, "a.png", data).max() == 0


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_every_orientation_is_turned_upright(prepared: Prepared, tmp_path: Path, turn: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    image = Image.fromarray(cv2.GaussianBlur(scene(150, 180), (0, 0), 3))
    data = as_bytes(image, form, exif=exif, **({"quality": 95} if form == "jpeg" else {}))
    found = difference(prepared, tmp_path, f"a.{form}", data)
    assert found.max() <= (2 if form == "jpeg" else 0)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 2}])
def test_jpeg_is_decoded_almost_equally(prepared: Prepared, tmp_path: Path, options: dict[str, Any]) -> None:
    image = Image.fromarray(cv2.GaussianBlur(scene(480, 640), (0, 0), 1))
    found = difference(prepared, tmp_path, "a.jpg", as_bytes(image, "JPEG", quality=90, **options))
    assert found.max() <= 3
    assert found.mean() < 0.1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>404</html>", "not a photograph"),
        (b"II*\0" + bytes(40), "TIFF file, which browsers do not show"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "damaged or cut off"),
        (
            b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 20_000, 10_000) + bytes(9),
            "20,000 × 10,000 pixels is too large",
        ),
        (as_bytes(Image.new("CMYK", (8, 8)), "JPEG"), "CMYK"),
    ],
    ids=["text", "tiff", "jpeg", "large", "cmyk"],
)
def test_what_cannot_be_read_is_reported_before_it_is_decoded(page: Any, scripts: str, data: bytes, words: str) -> None:
    found = page.evaluate(PREPARED, [scripts, base64.b64encode(data).decode(), 8])
    assert isinstance(found, str)
    assert words in found
    assert found.endswith(".")


def test_bytes_are_appended_as_the_package_does(page: Any, scripts: str) -> None:
    weights = np.random.default_rng(0).normal(size=(3, 200, 1, 1)).astype(np.float32)
    found = page.evaluate(
        """async ([base, weights]) => {
          const { appended, sealed, toHalf } = await import(`${base}/onnx.js`);
          const tensors = {
            "bank.fp16": {type: "float16", dims: [3, 200, 1, 1], data: toHalf(weights).bits},
            offset: {type: "float32", dims: [3], data: Float32Array.from([1, 2, 3])},
          };
          const more = { tensors, metadata: {calibration: "x".repeat(300)}, outputs: {own: [1, 1, 20, 20]} };
          return Array.from(await sealed(appended(Uint8Array.from([8, 9]), more)));
        }""",
        [scripts, weights.ravel().tolist()],
    )
    tensors = {"bank.fp16": weights.astype(np.float16), "offset": np.array([1, 2, 3], np.float32)}
    expected = sealed(appended(bytes([8, 9]), tensors, {"calibration": "x" * 300}, {"own": (1, 1, 20, 20)}))
    assert bytes(found) == expected


def test_fp16_numbers_are_rounded_as_numpy_does(page: Any, scripts: str) -> None:
    exponents = np.random.default_rng(0).uniform(-30, 15, 4_000)
    values = np.float32(2**exponents * np.random.default_rng(1).choice([-1, 1], 4_000))
    # Ties, zeros and the limits of subnormal numbers.
    values = np.append(values, np.float32([0, 1 + 2**-11, 1 + 3 * 2**-11, 2**-24, 2**-25, 3 * 2**-25, 2**-14]))
    found = page.evaluate(
        """async ([base, values]) => {
          const { bits, rounded } = (await import(`${base}/onnx.js`)).toHalf(Float32Array.from(values));
          return [Array.from(bits), Array.from(rounded)];
        }""",
        [scripts, values.tolist()],
    )
    assert np.array_equal(np.uint16(found[0]).view(np.float16), values.astype(np.float16))
    assert np.array_equal(np.float32(found[1]), values.astype(np.float16).astype(np.float32))


def test_the_map_is_enlarged_as_the_package_does(page: Any, scripts: str) -> None:
    small = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    found = page.evaluate(
        """async ([base, map]) => {
          const { enlarge, highest } = await import(`${base}/heat.js`);
          const values = Float32Array.from(map);
          return [Array.from(enlarge(values, 5, 8, 61, 93)), highest(values, 5, 8).value];
        }""",
        [scripts, small.ravel().tolist()],
    )
    expected = cv2.resize(small, (93, 61), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(np.array(found[0]).reshape(61, 93), expected, atol=1e-5)
    assert found[1] == pytest.approx(small.max())
