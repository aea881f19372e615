"""Reading images and masks: every file becomes the same kind of array, or one line says what is wrong with it.

`load` is the only preprocessing there is. Every runtime (PyTorch, ONNX Runtime, a device) is fed its output, so that a
difference between two runtimes can not come from two ways of reading a photograph.

Read are JPEG, PNG, BMP and TIFF, and nothing else: what a file is must agree with what its ending says, and no other of
Pillow's many readers is ever given a file. Colour profiles are ignored: the pixel values are taken as they are stored.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from edgezsad.data.opening import FORMATS, MAX_PIXELS, check_header, check_kind_of_file, opened, orientation, told
from edgezsad.errors import InputError
from edgezsad.files import sha256_of_bytes

__all__ = ["MAX_PIXELS", "decode_image", "decode_mask", "load", "measure", "measure_mask", "prepare"]

_PHOTOMETRIC_TAG = 0x0106
_WHITE_IS_ZERO = 0

_LATE_ORIENTATION = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
"""Names under which a PNG may carry an orientation, even behind its pixels."""


def decode_image(path: Path | str) -> np.ndarray:
    """Read an image as RGB.

    EXIF rotation is applied. Grey, palette and CMYK images become RGB; transparent ones are laid over white; 16-bit
    grey is scaled from 0..65535 to 0..255 (also when a camera fills only 12 of the 16 bits), of 16-bit colour the upper
    8 bits are kept. Of several frames or pages the first is read. A CMYK JPEG is inverted where Adobe's marker says so.

    Returns:
        uint8 (height, width, 3).

    Raises:
        InputError: the file is missing, is not an image, is not what its ending says, is cut off or damaged, is larger
            than `MAX_PIXELS` or than any such image, or holds values that have no fixed range (floating point, 32-bit).
    """
    with opened(path) as image:
        mode = image.mode
        if mode == "F":
            raise InputError(f"{path}: floating-point pixels have no fixed range; save it as 8- or 16-bit")
        if mode.startswith("I"):
            values = _values(image)
            if values.min() < 0 or values.max() > 65535:
                raise InputError(f"{path}: pixels from {values.min()} to {values.max()}; save it as 8- or 16-bit")
            # 257 = 65535 / 255; adding half of it rounds to the nearest.
            grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        elif mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
            # Pillow takes every CMYK JPEG for one of Adobe's, in which 0 is full ink.
            image = ImageChops.invert(image)
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
    with opened(path) as image:
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
        values = _values(image)
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
        InputError: the file is missing, is not an image, or is larger than `MAX_PIXELS` or than any such image. A file
            whose header is good but whose pixels are cut off passes here and is found by `decode_image`.
    """
    with told(path):
        check_kind_of_file(path)
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_header(path, image, len(data))
            width, height = image.size
            # To be sure of a PNG's orientation Pillow decodes the whole file; only do so where there may be one.
            may_turn = image.format != "PNG" or any(name in data for name in _LATE_ORIENTATION)
            if may_turn and orientation(image) >= 5:
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


def _values(image: Image.Image) -> np.ndarray:
    """Pixels as they are stored, except that 0 is black: Pillow turns a TIFF over whose 0 is white only at 8 bits."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
        return 65535 - values
    return values


def _check_mask_size(path: Path | str, mask: tuple[int, int], image: tuple[int, int]) -> None:
    if tuple(mask) != tuple(image):
        raise InputError(
            f"{path}: the mask is {mask[1]}x{mask[0]} pixels but its image is {image[1]}x{image[0]} (width x height); "
            "save the mask at the image's size"
        )
