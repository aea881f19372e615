"""Opening image files: only the formats that are meant, nothing larger than the memory, and one line for what fails."""

import errno
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from edgezsad.errors import InputError

MAX_PIXELS = 160_000_000
"""Of one image, in one thread: larger ones are refused before they fill the memory. The largest industrial sensors have
151 million pixels."""

MAX_BYTES = 8 * MAX_PIXELS + 64_000_000
"""Of one file: more than the largest image takes at 16 bits in four channels, with 64 MB of whatever else a camera
writes. Files are hashed in memory, and a good header may stand before any number of bytes that are no pixels."""

MAX_PIXELS_PER_BYTE = 10_000
"""A file that claims more is refused before its pixels get memory. PNG packs at most 8,256 in a byte, JPEG fewer."""

FORMATS = ("BMP", "JPEG", "PNG", "TIFF")
"""The readers of Pillow that are used. Its JPEG reader says MPO of the several pictures that some phones store."""

_FORMATS_BY_ENDING = {
    ".bmp": ("BMP",),
    ".jpg": ("JPEG", "MPO"),
    ".jpeg": ("JPEG", "MPO"),
    ".png": ("PNG",),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
}
_ENDING = {"BMP": ".bmp", "MPO": ".jpg", "JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif"}

# Pillow warns at 89 million pixels; here the limit above decides, and a good image of 100 million passes quietly.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Damaged tags that Pillow can do without are no news to the user; what it can not do without is an error anyway.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

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


@contextmanager
def opened(path: Path | str) -> Iterator[Image.Image]:
    """An image with its pixels read and turned upright; every failure becomes an `InputError`."""
    with told(path):
        size = check_kind_of_file(path)
        # Not the path: Pillow would then map some TIFFs into memory, and read turned ones with width for height.
        with open(path, "rb") as stream, Image.open(stream, formats=FORMATS) as image:
            check_header(path, image, size)
            image.load()
            yield _upright(image)


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; its format is kept."""
    turn = _UPRIGHT.get(orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.format = image.format
    return turned


@contextmanager
def told(path: Path | str) -> Iterator[None]:
    """Turn whatever goes wrong while reading `path` into one line that names it."""
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path}: larger than the memory left; use fewer workers, or make it smaller") from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; check the path, or unpack the data set again") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, not an image; give a file") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read; change its permissions") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: {_what_it_is(path)}; remove it or copy it again") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{path}: has more than {MAX_PIXELS:,} pixels; make it smaller or cut it up") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            raise InputError(f"{path}: is a link that leads back to itself; remove it") from None
        # Pillow's readers raise whatever the damaged bytes led to: OSError, SyntaxError, ValueError, struct.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: damaged or cut off ({reason}); copy it again") from None


def _what_it_is(path: Path | str) -> str:
    """What a file is that holds none of `FORMATS`."""
    with open(path, "rb") as stream:
        head = stream.read(512)
    if not head:
        return "is empty"
    if head.lstrip()[:1] == b"<":
        return "holds a web page or other text, not an image: perhaps a failed download"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return "holds text, not an image"
    return "is not an image that can be read (JPEG, PNG, BMP or TIFF)"


def check_kind_of_file(path: Path | str) -> int:
    """Size in bytes of a regular file that is not too large; a pipe, for instance, would be waited for without end."""
    facts = Path(path).stat()
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError
    if not stat.S_ISREG(facts.st_mode):
        raise InputError(f"{path}: is not a regular file; remove it")
    if facts.st_size > MAX_BYTES:
        raise InputError(f"{path}: {facts.st_size:,} bytes are more than any image of {MAX_PIXELS:,} pixels; remove it")
    return facts.st_size


def check_header(path: Path | str, image: Image.Image, size: int) -> None:
    """What can be known before any pixel is decoded; `size` is the file's, in bytes."""
    if image.format not in _FORMATS_BY_ENDING.get(Path(path).suffix.lower(), (image.format,)):
        raise InputError(
            f"{path}: holds a {image.format} image, which is not what its name says; rename it to end in "
            f"{_ENDING[image.format]}"
        )
    pixels, shape = image.width * image.height, f"{image.width}x{image.height}"
    if pixels > MAX_PIXELS:
        raise InputError(f"{path}: {shape} is more than {MAX_PIXELS:,} pixels; make it smaller or cut it up")
    if pixels > _most_pixels(image, size):
        raise InputError(f"{path}: {shape} pixels can not come out of {size:,} bytes; copy it again")


def _most_pixels(image: Image.Image, size: int) -> int:
    """How many pixels a file of `size` bytes can hold."""
    compression = image.info.get("compression")
    if compression == "raw" or (image.format == "BMP" and compression == 0):
        return 8 * size
    # Fax coding in a TIFF knows no limit.
    return MAX_PIXELS if image.format == "TIFF" else MAX_PIXELS_PER_BYTE * size


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8. Damaged EXIF does not make a photograph bad: it counts as upright."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
