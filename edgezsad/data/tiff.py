"""Open TIFF files: tifffile names their kind and reads uncompressed samples, Pillow's libtiff the compressed ones.

Pillow misreads some uncompressed kinds without an error (separate planes of 16 bits), and its errors do not tell a
damaged file from one of a kind that it does not read. What neither reads right is an `InputError` that names the kind.
"""

import ctypes
import logging
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from edgezsad.errors import InputError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ORIENTATION = 0x0112  # of a TIFF tag, and of EXIF
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2  # photometric interpretations
SEPARATE = 2  # planar configuration
# None, CCITT, LZW, JPEG, deflate, PackBits, LZMA, Zstandard: what Pillow's packages decode.
COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32946, 32773, 34925, 50000)
ASSOCIATED, UNASSOCIATED = 1, 2  # extra samples that are alpha
MANY = 64  # pages above which reduced copies among them are not looked for


class UncompressedTiff(Image.Image):
    """Header of a file whose samples tifffile reads: size, format and orientation as Pillow has them."""

    format = "TIFF"

    def __init__(self, tiff: Any) -> None:
        super().__init__()
        self.tiff, self.page = tiff, tiff.pages.first
        self._size = (self.page.imagewidth, self.page.imagelength)
        self.getexif()[ORIENTATION] = self.page.tags.valueof(ORIENTATION, 1)

    def load(self) -> None:
        """Do nothing: the pixels are in `samples`."""

    @property
    def colours(self) -> int:
        return 3 if self.page.photometric == RGB else 1

    @property
    def alpha(self) -> int:
        """`ASSOCIATED` if colours are multiplied by alpha, `UNASSOCIATED` if not, 0 without alpha."""
        first = next(iter(self.page.extrasamples), 0)
        return int(first) if first in (ASSOCIATED, UNASSOCIATED) else 0

    @property
    def white_is_zero(self) -> bool:
        return self.page.photometric == WHITE_IS_ZERO

    def samples(self) -> np.ndarray:
        """Return the stored samples (height, width, channels): grey or RGB, then alpha if the file has it."""
        values = self.page.asarray(maxworkers=1)
        if values.ndim == 2:
            return values[:, :, None]
        values = np.moveaxis(values, 0, -1) if self.page.planarconfig == SEPARATE else values
        return values[:, :, : self.colours + bool(self.alpha)]


@cache
def _library() -> Any:
    """Import tifffile, and silence it and libtiff: both print lines that name no file."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    # Not where Pillow links libtiff statically.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)
    return tifffile


def open_tiff(path: Path | str, stream: IO[bytes]) -> Image.Image:
    """Open the first page of a TIFF without decoding it; the image has the number of `pages`."""
    library = _library()
    try:
        tiff = library.TiffFile(stream)
        page, pages = tiff.pages.first, _count_pages(tiff)
    except Exception:
        raise InputError(f"{path}: truncated or damaged (no TIFF header can be read); copy it again") from None
    if not page.imagewidth * page.imagelength:
        raise InputError(f"{path}: truncated or damaged (a TIFF of 0 pixels); copy it again")
    kind = f"{path}: a TIFF of a kind that is not read ({_kind(page)}); save it as 8- or 16-bit PNG"
    raw, separate = page.compression == 1, page.planarconfig == SEPARATE and page.samplesperpixel > 1
    if raw and page.bitspersample in (8, 16, 32, 64) and page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        image: Image.Image = UncompressedTiff(tiff)
        colours = 3 if page.photometric == RGB else 1
        extra = page.samplesperpixel - colours
        # More than one channel next to grey may be colours or anything else.
        known = extra == len(page.extrasamples) and (colours == 3 or extra <= 1)
        if not known or page.sampleformat not in (1, 2, 3) or page.imagedepth > 1 or page.dtype is None:
            raise InputError(kind)
        _check_complete(path, page, tiff.filehandle.size)
    # Pillow confuses the planes of grey with alpha, and those of more than 8 bits if nothing is compressed.
    elif page.compression not in COMPRESSIONS or (
        separate and (page.samplesperpixel == 2 or (raw and page.bitspersample != 8))
    ):
        raise InputError(kind)
    else:
        stream.seek(0)
        try:
            image = Image.open(stream, formats=("TIFF",))
        except Image.UnidentifiedImageError:
            raise InputError(kind) from None
    image.pages, image.bits = pages, page.bitspersample
    return image


def _count_pages(tiff: Any) -> int:
    """Count the images of a file, without thumbnails and masks; ImageJ stores many behind one header."""
    count = len(tiff.pages)
    if 1 < count <= MANY:
        count = 1 + sum(not page.subfiletype & 5 for page in tiff.pages[1:])
    images = (tiff.imagej_metadata or {}).get("images", 1) if tiff.is_imagej else 1
    return max(count, images if isinstance(images, int) else 1)


def _check_complete(path: Path | str, page: Any, size: int) -> None:
    """Check that the file holds all samples: tifffile fills in zeros for those that are missing."""
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if not all(page.databytecounts) or sum(page.databytecounts) < page.nbytes or max(ends, default=0) > size:
        raise InputError(f"{path}: truncated or damaged (samples are missing); copy it again")


def _kind(page: Any) -> str:
    """Describe the kind of a page in words, for instance "3 x 12 bits, RGB, LZW"."""
    bits = page.bitspersample
    names = [getattr(value, "name", f"code {value}") for value in (page.photometric, page.compression)]
    words = [f"{page.samplesperpixel} x {bits} bits" if isinstance(bits, int) else f"{bits} bits", *names]
    if page.sampleformat not in (None, 1):
        words.append(getattr(page.sampleformat, "name", f"sample format {page.sampleformat}"))
    if page.planarconfig == SEPARATE:
        words.append("separate planes")
    return ", ".join(words).replace("_", " ")
