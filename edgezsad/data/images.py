"""Read image and mask files as arrays.

`load` is the only preprocessing: every runtime (PyTorch, ONNX Runtime, a board) gets its output, so that two runtimes
cannot differ in how they read a file. JPEG, PNG, BMP and TIFF are read; colour profiles are ignored.
"""

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from edgezsad.errors import InputError, one_line
from edgezsad.files import sha256_of_bytes

MAX_PIXELS = 160_000_000  # the largest industrial sensors have 151 million
MAX_BYTES = 8 * MAX_PIXELS + 64_000_000  # 16 bits in four channels, and metadata

# Pillow's readers; its JPEG reader reports MPO for files with several images, as some phones store.
FORMATS = ("BMP", "JPEG", "PNG", "TIFF")
_PHOTOMETRIC_TAG, _WHITE_IS_ZERO = 0x0106, 0
_ORIENTATION_TAG = 0x0112
# Chunks and keywords of a PNG that may hold an orientation, even after the pixels.
_PNG_ORIENTATION = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")

_warnings_lock = Lock()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence Pillow's warnings on large images and damaged metadata, in one thread at a time."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def open_image(path: Path | str) -> Iterator[Image.Image]:
    """Open an image file without decoding its pixels; errors, also those of the `with` block, become InputError."""
    try:
        facts = Path(path).stat()
        if not stat.S_ISREG(facts.st_mode):
            kind = "is a folder" if stat.S_ISDIR(facts.st_mode) else "is not a regular file"
            raise InputError(f"{path}: {kind}; give an image file")
        if facts.st_size > MAX_BYTES:
            raise Image.DecompressionBombError
        # A stream instead of the path: Pillow would map some TIFFs into memory and confuse width and height.
        with open(path, "rb") as stream:
            with _without_warnings():
                image = Image.open(stream, formats=FORMATS)
            with image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                yield image
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path}: not enough memory; use fewer workers or a smaller image") from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; check the path or copy the file again") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: {_describe_content(path)}; remove it or copy it again") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path}: more than {MAX_PIXELS:,} pixels or {MAX_BYTES:,} bytes; resize or crop it") from None
    except Exception as error:
        # Damaged bytes make Pillow raise OSError, SyntaxError, ValueError, struct.error and others.
        reason = one_line(error) or type(error).__name__
        raise InputError(f"{path}: truncated or damaged ({reason}); copy it again") from None


def _describe_content(path: Path | str) -> str:
    with open(path, "rb") as stream:
        head = stream.read(512)
    if head and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return "contains text, not an image (a failed download?)"
    return "not an image in a supported format (JPEG, PNG, BMP or TIFF)" if head else "empty file"


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) if it is missing or damaged."""
    try:
        with _without_warnings():
            value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@contextmanager
def _open_upright(path: Path | str) -> Iterator[Image.Image]:
    """Open an image, decode its pixels and apply the EXIF orientation."""
    with open_image(path) as image:
        image.load()
        upright = image if orientation(image) == 1 else ImageOps.exif_transpose(image)
        upright.format = image.format
        yield upright


def decode_image(path: Path | str) -> np.ndarray:
    """Read an image as RGB, uint8 (height, width, 3).

    The EXIF orientation is applied. Grey, palette and CMYK images become RGB; transparent ones are composited over
    white; 16-bit grey is scaled from 0..65535 to 0..255, of 16-bit colour the upper 8 bits are kept. Of several frames
    the first is read. Pixels without a fixed range (floating point, 32-bit) are rejected.
    """
    with _open_upright(path) as image:
        mode = image.mode
        if mode == "F":
            raise InputError(f"{path}: floating-point pixels have no fixed range; save it as 8- or 16-bit")
        if mode.startswith("I"):
            values = _pixels(image)
            if values.min() < 0 or values.max() > 65535:
                raise InputError(f"{path}: pixels from {values.min()} to {values.max()}; save it as 8- or 16-bit")
            # 257 = 65535 / 255; adding half of it rounds to the nearest.
            grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        elif mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
            # Pillow treats every CMYK JPEG as one of Adobe's, in which 0 is full ink.
            image = ImageChops.invert(image)
        # Converting to the same mode would copy.
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def decode_mask(path: Path | str, shape: tuple[int, int]) -> np.ndarray:
    """Read a mask of an image of `shape` (height, width) as bool (height, width), True where defective.

    Every non-zero pixel is defective, because some data sets store class numbers instead of 255. In a colour mask any
    non-zero channel counts, alpha does not; in a palette mask the index counts, and index 0 must be black. In a lossy
    JPEG mask a pixel is defective from 128 on.
    """
    with _open_upright(path) as image:
        _check_mask_size(path, (image.height, image.width), shape)
        threshold = 128 if image.format == "JPEG" else 1
        if image.mode in ("P", "PA"):
            if any((image.getpalette("RGB") or [0])[:3]):
                raise InputError(f"{path}: colour 0 of the mask's palette is not black; save the mask as 8-bit grey")
            return np.asarray(image.convert("P")) != 0
        if image.mode not in ("1", "L", "F", "RGB") and not image.mode.startswith("I"):
            image = image.convert("L" if image.mode == "LA" else "RGB")
        values = _pixels(image)
        defective = values >= threshold if threshold > 1 else values != 0
        return defective.any(axis=2) if defective.ndim == 3 else defective


def _pixels(image: Image.Image) -> np.ndarray:
    """Return the stored pixels, with 0 as black: Pillow inverts white-is-zero TIFFs only at 8 bits."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
        return 65535 - values
    return values


def _check_mask_size(path: Path | str, mask: tuple[int, int], image: tuple[int, int]) -> None:
    if tuple(mask) != tuple(image):
        found, expected = (f"{width}x{height}" for height, width in (mask, image))
        raise InputError(f"{path}: mask of {found} pixels, expected {expected} like its image; save it at that size")


def prepare(image: np.ndarray, size: int) -> np.ndarray:
    """Resize an image, uint8 (height, width, 3), to (size, size, 3) with antialiasing (Pillow's bilinear filter).

    The aspect ratio is not kept, so that nothing is cropped and a map scales back directly.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"prepare expects uint8 (height, width, 3), got {image.dtype} {image.shape}")
    return np.array(Image.fromarray(np.ascontiguousarray(image)).resize((size, size), Image.Resampling.BILINEAR))


def load(path: Path | str, size: int) -> np.ndarray:
    """Read an image and resize it to (size, size, 3), uint8 RGB: the one preprocessing of every runtime."""
    return prepare(decode_image(path), size)


def measure(path: Path | str, shape: tuple[int, int] | None = None) -> tuple[int, int, str]:
    """Return height and width after EXIF rotation, and SHA-256 of an image file, without decoding its pixels.

    A mask must have the (height, width) `shape`. A truncated file with a valid header passes; `decode_image` finds it.
    """
    with open_image(path) as image:
        data = Path(path).read_bytes()
        width, height = image.size
        may_rotate = image.format != "PNG" or any(name in data for name in _PNG_ORIENTATION)
        if may_rotate and orientation(image) >= 5:
            # Pillow rotates a TIFF while loading.
            with _open_upright(path) as upright:
                width, height = upright.size
    if shape is not None:
        _check_mask_size(path, (height, width), shape)
    return height, width, sha256_of_bytes(data)
