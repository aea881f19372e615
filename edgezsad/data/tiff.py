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
        page = self.page = tiff.pages.first
        self._size = (page.imagewidth, page.imagelength)
        self.colours, self.white_is_zero = 3 if page.photometric == RGB else 1, page.photometric == WHITE_IS_ZERO
        # `ASSOCIATED` if colours are multiplied by alpha, `UNASSOCIATED` if not; 0 is no alpha.
        self.alpha = next((kind for kind in page.extrasamples[:1] if kind in (ASSOCIATED, UNASSOCIATED)), 0)
        self.getexif()[ORIENTATION] = page.tags.valueof(ORIENTATION, 1)

    def load(self) -> None:
        """Do nothing: the pixels are in `samples`."""

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
        extra = page.samplesperpixel - image.colours
        # More than one channel next to grey may be colours or anything else.
        known = extra == len(page.extrasamples) and (image.colours == 3 or extra <= 1)
        if not known or page.sampleformat not in (1, 2, 3) or page.imagedepth > 1 or page.dtype is None:
            raise InputError(kind)
        # tifffile fills in zeros for samples that are missing.
        counts = page.databytecounts
        ends = [offset + count for offset, count in zip(page.dataoffsets, counts, strict=False)]
        if not all(counts) or sum(counts) < page.nbytes or max(ends, default=0) > tiff.filehandle.size:
            raise InputError(f"{path}: truncated or damaged (samples are missing); copy it again")
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
    return max(count, int(((tiff.is_imagej and tiff.imagej_metadata) or {}).get("images", 1)))


def _kind(page: Any) -> str:
    """Describe the kind of a page in words, for instance "3 x 12 bits, RGB, LZW"."""
    names = [getattr(value, "name", f"code {value}") for value in (page.photometric, page.compression)]
    planes = ["separate planes"] if page.planarconfig == SEPARATE else []
    return ", ".join([f"{page.samplesperpixel} x {page.bitspersample} bits", *names, *planes]).replace("_", " ")
