"""Reading images and masks: every file becomes the same kind of array, or one line says what is wrong with it.

`load` is the only preprocessing there is. Every runtime (PyTorch, ONNX Runtime, a device) is fed its output, so that a
difference between two runtimes can not come from two ways of reading a photograph.

Colour profiles are ignored: the pixel values are taken as they are stored.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgezsad.errors import InputError
from edgezsad.files import sha256_of_bytes

MAX_PIXELS = 160_000_000
"""Larger images are refused before they fill the memory. The largest industrial sensors have 151 million pixels."""

# Pillow warns at 89 million pixels; here the limit above decides, and a good image of 100 million passes quietly.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What to do with the stored pixels for each EXIF orientation; 1, and whatever is not listed, is upright."""

_LATE_ORIENTATION = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
"""Names under which a PNG may carry an orientation, even behind its pixels."""


def decode_image(path: Path | str) -> np.ndarray:
    """Read an image as RGB.

    EXIF rotation is applied. Grey, palette and CMYK images become RGB; transparent ones are laid over white; 16-bit
    grey is scaled from 0..65535 to 0..255 (also when a camera fills only 12 of the 16 bits). Of several frames the
    first is read.

    Returns:
        uint8 (height, width, 3).

    Raises:
        InputError: the file is missing, is not an image, is cut off or damaged, is larger than `MAX_PIXELS`, or holds
            values that have no fixed range (floating point, 32-bit).
    """
    with _opened(path) as image:
        mode = image.mode
        if mode == "F":
            raise InputError(f"{path}: floating-point pixels have no fixed range; save it as 8- or 16-bit")
        if mode.startswith("I"):
            values = np.asarray(image).astype(np.int64)
            if values.min() < 0 or values.max() > 65535:
                raise InputError(f"{path}: pixels from {values.min()} to {values.max()}; save it as 8- or 16-bit")
            # 257 = 65535 / 255; adding half of it rounds to the nearest.
            grey = ((values + 128) // 257).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return np.array(image.convert("RGB"))


def decode_mask(path: Path | str, shape: tuple[int, int]) -> np.ndarray:
    """Read a mask: any non-zero pixel is defective, because some data sets store small class numbers, not 255.

    In a colour mask any non-zero channel counts; alpha does not. In a palette mask the index counts. A JPEG is lossy
    and has non-zero specks around every edge, so there a pixel is defective from 128 on.

    Args:
        path: the mask.
        shape: (height, width) of the image that it belongs to.

    Returns:
        bool (height, width), True where defective.

    Raises:
        InputError: as for `decode_image`; or the mask has another size than the image; or index 0 of its palette is
            not black, so that "non-zero" could mean either of two things.
    """
    with _opened(path) as image:
        _check_mask_size(path, (image.height, image.width), shape)
        threshold = 128 if image.format == "JPEG" else 1
        if image.mode in ("P", "PA"):
            if any((image.getpalette("RGB") or [0])[:3]):
                raise InputError(f"{path}: colour 0 of the mask's palette is not black; save the mask as 8-bit grey")
            return np.asarray(image.convert("P") if image.mode == "PA" else image) != 0
        if image.mode in ("La", "RGBa"):
            # Colours multiplied by alpha: undo that first, or transparent pixels would count as zero.
            image = image.convert("LA" if image.mode == "La" else "RGBA")
        if image.mode in ("LA", "RGBA"):
            image = image.convert(image.mode.removesuffix("A"))
        elif image.mode not in ("1", "L", "F", "RGB") and not image.mode.startswith("I"):
            image = image.convert("RGB")
        values = np.asarray(image)
        if values.dtype == bool:
            return values.copy()
        defective = values >= threshold if threshold > 1 else values != 0
        return defective.any(axis=2) if defective.ndim == 3 else defective


def prepare(image: np.ndarray, size: int) -> np.ndarray:
    """Resize to a square, with antialiasing (Pillow's bilinear filter, which widens as it reduces).

    Args:
        image: uint8 (height, width, 3).
        size: height and width of the result in pixels.

    Returns:
        uint8 (size, size, 3). The aspect ratio is not kept: nothing is cut off, and a map maps back by plain scaling.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"prepare takes uint8 (height, width, 3), got {image.dtype} {image.shape}")
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(resized)


def load(path: Path | str, size: int) -> np.ndarray:
    """`decode_image`, then `prepare`: uint8 (size, size, 3), RGB. The one preprocessing of every runtime."""
    return prepare(decode_image(path), size)


def measure(path: Path | str) -> tuple[int, int, str]:
    """Size and hash of an image file, without decoding its pixels.

    Returns:
        (height, width, sha256): the size as `decode_image` would return it, that is after EXIF rotation.

    Raises:
        InputError: the file is missing, is not an image, or is larger than `MAX_PIXELS`. A file whose header is good
            but whose pixels are cut off passes here and is found by `decode_image`.
    """
    with _told(path):
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            _check_pixels(path, image)
            width, height = image.size
            # To be sure of a PNG's orientation Pillow decodes the whole file; only do so where there may be one.
            may_turn = image.format != "PNG" or any(name in data for name in _LATE_ORIENTATION)
            if may_turn and _orientation(image) >= 5:
                if image.format == "TIFF":
                    # Pillow turns a TIFF itself as it loads, and versions differ in when its size turns with it.
                    image.load()
                    width, height = image.size
                else:
                    width, height = height, width
    return height, width, sha256_of_bytes(data)


def measure_mask(path: Path | str, shape: tuple[int, int]) -> str:
    """Hash of a mask file, whose size must be `shape`, the (height, width) of its image.

    Raises:
        InputError: as for `measure`; or the mask has another size than the image.
    """
    height, width, sha256 = measure(path)
    _check_mask_size(path, (height, width), shape)
    return sha256


@contextmanager
def _opened(path: Path | str) -> Iterator[Image.Image]:
    """An image with its pixels read and turned upright; every failure becomes an `InputError`."""
    with _told(path), Image.open(path) as image:
        _check_pixels(path, image)
        image.load()
        form = image.format
        turn = _UPRIGHT.get(_orientation(image))
        if turn is not None:
            image = image.transpose(turn)
            image.format = form
        yield image


@contextmanager
def _told(path: Path | str) -> Iterator[None]:
    """Turn whatever goes wrong while reading `path` into one line that names it."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; check the path, or unpack the data set again") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, not an image; give a file") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read; change its permissions") from None
    except UnidentifiedImageError:
        empty = Path(path).is_file() and Path(path).stat().st_size == 0
        what = "is empty" if empty else "is not an image that Pillow can read"
        raise InputError(f"{path}: {what}; remove it or copy it again") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{path}: has more than {MAX_PIXELS:,} pixels; make it smaller or cut it up") from None
    except Exception as error:
        # Pillow's readers raise whatever the damaged bytes led to: OSError, SyntaxError, ValueError, struct.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: damaged or cut off ({reason}); copy it again") from None


def _check_pixels(path: Path | str, image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width}x{image.height}"
        raise InputError(f"{path}: {size} is more than {MAX_PIXELS:,} pixels; make it smaller or cut it up")


def _check_mask_size(path: Path | str, mask: tuple[int, int], image: tuple[int, int]) -> None:
    if tuple(mask) != tuple(image):
        raise InputError(
            f"{path}: the mask is {mask[1]}x{mask[0]} pixels but its image is {image[1]}x{image[0]} (width x height); "
            "save the mask at the image's size"
        )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8. Damaged EXIF does not make a photograph bad: it counts as upright."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
