"""Read image and mask files as arrays.

`load` is the only preprocessing: every runtime (PyTorch, ONNX Runtime, a board) gets its output, so that two runtimes
cannot differ in how they read a file. JPEG, PNG, BMP and TIFF are read; colour profiles are ignored.
"""

import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from edgezsad.data.tiff import ASSOCIATED, MAGIC, ORIENTATION, WHITE_IS_ZERO, UncompressedTiff, open_tiff
from edgezsad.errors import InputError, one_line
from edgezsad.files import sha256_of_bytes

MAX_PIXELS = 160_000_000  # the largest industrial sensors have 151 million
MAX_BYTES = 8 * MAX_PIXELS + 64_000_000  # 16 bits in four channels, and metadata
ROWS = 512  # of large images that are scaled or composited at a time
CAMERA_BITS = (8, 10, 12, 14, 16)  # that cameras store in 16-bit files
FULL = 65535  # the largest value of 16 bits

# Pillow's readers; its JPEG reader reports MPO for files with several images, as some phones store.
FORMATS = ("BMP", "JPEG", "PNG")
_PHOTOMETRIC_TAG = 0x0106
# Chunks and keywords of a PNG that may hold an orientation, even after the pixels.
_PNG_ORIENTATION = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_NOT_READ = ("unsupported", "unknown", "cannot handle", "conversion from")  # Pillow's errors with files that are whole
_SAVE = "save it as 8- or 16-bit PNG"

_warnings_lock = Lock()


@dataclass
class Reading:
    """How 16-bit files are read, and what was unusual about all files that were read with this object.

    `bits` are those that the camera uses; None if the user has not stated them: 16.
    """

    bits: int | None = None
    brightest: int = 0  # value in 16-bit files
    unusual: dict[str, list[str]] = field(default_factory=dict)  # files, by what is unusual about them
    _lock: Lock = field(default_factory=Lock, repr=False)

    def scale(self, path: Path | str, values: np.ndarray, white_is_zero: bool, bits: int = 16) -> np.ndarray:
        """Scale unsigned samples (H, W, C) to uint8; `bits` is the number that the file states.

        Raises:
            InputError: pixels without a fixed range, or values above the bits that the user states.
        """
        if values.dtype == np.uint8:
            return 255 - values if white_is_zero else values
        if values.dtype != np.uint16:
            raise InputError(f"{path}: {values.dtype.name} pixels have no fixed range; save it as 8- or 16-bit")
        colours = 1 if values.shape[2] <= 2 else 3
        if bits >= 16:
            self.count_brightest(path, int(values[:, :, :colours].max()))
            bits = self.bits or 16
        scaled = np.empty(values.shape, np.uint8)
        for channel in range(values.shape[2]):
            limit = 2**bits - 1
            if channel >= colours and values[:, :, channel].max() > limit:
                limit = FULL  # alpha may use all bits where colours do not
            table = np.minimum(np.round(np.arange(FULL + 1) * (255 / limit)), 255).astype(np.uint8)
            if white_is_zero and channel < colours:
                table[: limit + 1] = table[limit::-1]
            for top in range(0, len(values), ROWS):
                scaled[top : top + ROWS, :, channel] = table[values[top : top + ROWS, :, channel]]
        return scaled

    def count_brightest(self, path: Path | str, value: int) -> None:
        """Take note of the brightest value of a 16-bit file; an InputError if it exceeds the stated bits."""
        if self.bits is not None and value >= 2**self.bits:
            found = f"its brightest value {value:,} has more than {self.bits} bits"
            raise InputError(f"{path}: {found}; give --bits {_bits_of(value)}")
        with self._lock:
            self.brightest = max(self.brightest, value)

    def note(self, path: Path | str, what: str) -> None:
        """Take note of a file that is unusual."""
        with self._lock:
            self.unusual.setdefault(what, []).append(str(path))

    def notes(self) -> list[str]:
        """Describe what was unusual, one line for each kind."""
        notes = []
        if self.bits is None and 0 < self.brightest < 2 ** CAMERA_BITS[-2]:
            found, bits = f"brightest value is {self.brightest:,} of {FULL:,}", _bits_of(self.brightest)
            notes.append(f"{found}: {bits} bits in a 16-bit file? give --bits {bits}")
        for what, files in self.unusual.items():
            notes.append(f"{min(files)}: {what}" + (f", and {len(files) - 1:,} more" if len(files) > 1 else ""))
        return notes


def _bits_of(value: int) -> int:
    """Return the usual number of bits of a camera whose brightest value this is."""
    return next(bits for bits in CAMERA_BITS if value < 2**bits)


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
                is_tiff, _ = stream.read(4) in MAGIC, stream.seek(0)
                image = open_tiff(path, stream) if is_tiff else Image.open(stream, formats=FORMATS)
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
        raise InputError(f"{path}: {_describe_content(path)}") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path}: more than {MAX_PIXELS:,} pixels or {MAX_BYTES:,} bytes; resize or crop it") from None
    except Exception as error:
        # Damaged bytes make Pillow raise many kinds of errors.
        reason = one_line(error) or type(error).__name__
        if reason.lower().startswith(_NOT_READ):
            raise InputError(f"{path}: of a kind that is not read ({reason}); {_SAVE}") from None
        raise InputError(f"{path}: truncated or damaged ({reason}); copy it again") from None


def _describe_content(path: Path | str) -> str:
    """Say what a file holds that Pillow does not identify, and what to do."""
    with open(path, "rb") as stream:
        head = stream.read(512)
    if not head:
        return "empty file; remove it or copy it again"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return "contains text, not an image (a failed download?); remove it or copy it again"
    return f"damaged, or not a JPEG, PNG, BMP or TIFF of a kind that is read; copy it again, or {_SAVE}"


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) if it is missing or damaged."""
    try:
        with _without_warnings():
            value = image.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


Convert = Callable[[np.ndarray, bool, int], np.ndarray]


@contextmanager
def _open_upright(path: Path | str, convert: Convert) -> Iterator[Image.Image]:
    """Decode an image in one of Pillow's 8-bit modes and apply the EXIF orientation.

    `convert` makes uint8 of samples (H, W, C) that these modes cannot hold: it gets them, whether 0 is white, and bits.
    """
    with open_image(path) as image:
        upright = image
        if (found := _deep_samples(path, image)) is not None:
            pixels = np.ascontiguousarray(convert(*found, getattr(image, "bits", 16)))
            del found
            mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[pixels.shape[2]]
            # Pillow's name of a mode whose colours are multiplied by alpha.
            raw = mode.replace("A", "a") if getattr(image, "alpha", 0) == ASSOCIATED else mode
            upright = Image.frombuffer(raw, pixels.shape[1::-1], pixels, "raw", raw, 0, 1)
            del pixels
            upright = upright if raw == mode else upright.convert(mode)
            upright.getexif()[ORIENTATION] = orientation(image)
        if orientation(upright) != 1:
            upright = ImageOps.exif_transpose(upright)
        upright.format, upright.pages = image.format, getattr(image, "pages", getattr(image, "n_frames", 1))
        yield upright


def _deep_samples(path: Path | str, image: Image.Image) -> tuple[np.ndarray, bool] | None:
    """Decode an image: samples (H, W, C) and whether 0 is white, or None if the image itself holds all bits."""
    if isinstance(image, UncompressedTiff):
        return image.samples(), image.white_is_zero
    raw_mode = str(image.tile[0].args) if image.tile else ""
    image.load()
    if image.mode == "F" or image.mode.startswith("I"):
        # Pillow inverts white-is-zero TIFFs only at 8 bits.
        return np.asarray(image)[:, :, None], getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == WHITE_IS_ZERO
    if image.format == "PNG" and "16B" in raw_mode and "transparency" not in image.info:
        # Pillow has found the file whole, but keeps the upper 8 bits of colours only.
        values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        return values[:, :, [2, 1, 0, 3][: values.shape[2]]], False
    return None


@contextmanager
def _open_colours(path: Path | str, reading: Reading) -> Iterator[Image.Image]:
    """Decode an image as upright 8-bit grey or RGB."""
    with _open_upright(path, partial(reading.scale, path)) as image:
        if image.pages > 1 and image.format != "MPO":
            reading.note(path, "the first of several pages is read")
        if getattr(image, "bits", 8) == 16:
            if reading.bits not in (None, 16):
                raise InputError(f"{path}: only the upper 8 bits of this file can be read; save it as 16-bit PNG")
            reading.count_brightest(path, 256 * max(high for _, high in image.getextrema()[:3]) + 255)
        if image.has_transparency_data:
            image = _over_white(path, image, reading)
        elif image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
            # Pillow treats every CMYK JPEG as one of Adobe's, in which 0 is full ink.
            image = ImageChops.invert(image)
        yield image if image.mode in ("L", "RGB") else image.convert("RGB")


def _over_white(path: Path | str, image: Image.Image, reading: Reading) -> Image.Image:
    """Composite a transparent image over white; alpha that is 0 everywhere is ignored, as other programs do."""
    image = image if image.mode == "RGBA" else image.convert("RGBA")
    if image.getchannel("A").getextrema()[1] == 0:
        reading.note(path, "alpha is 0 everywhere, ignored")
        return image.convert("RGB")
    result = Image.new("RGB", image.size)
    for top in range(0, image.height, ROWS):
        band = image.crop((0, top, image.width, min(top + ROWS, image.height)))
        result.paste(Image.alpha_composite(Image.new("RGBA", band.size, "white"), band).convert("RGB"), (0, top))
    return result


def decode_image(path: Path | str, reading: Reading | None = None) -> np.ndarray:
    """Read an image as RGB, uint8 (height, width, 3).

    The EXIF orientation is applied. Grey, palette and CMYK images become RGB; transparent ones are composited over
    white; 16 bits are scaled from 0..65535 to 0..255, or by the bits that `reading` states. Of several frames the first
    is read. Pixels without a fixed range (floating point, signed, 32-bit) are rejected.
    """
    with _open_colours(path, reading or Reading()) as image:
        return _as_array(image)


def _as_array(image: Image.Image) -> np.ndarray:
    """Return a grey or RGB image as (height, width, 3), band by band: otherwise Pillow makes copies of all of it."""
    array = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, ROWS):
        band = np.asarray(image.crop((0, top, image.width, min(top + ROWS, image.height))))
        array[top : top + ROWS] = band if band.ndim == 3 else band[:, :, None]
    return array


def decode_mask(path: Path | str, shape: tuple[int, int]) -> np.ndarray:
    """Read a mask of an image of `shape` (height, width) as bool (height, width), True where defective.

    Every non-zero pixel is defective, because some data sets store class numbers instead of 255. In a colour mask any
    non-zero channel counts, alpha does not; in a palette mask the index counts, and index 0 must be black. In a lossy
    JPEG mask a pixel is defective from 128 on. Of a folder of masks, the masks are united.
    """
    united = np.zeros(shape, bool)
    for file in mask_files(path):
        united |= _decode_mask(file, shape)
    return united


def mask_files(path: Path | str) -> list[Path]:
    """Return the mask files of an image: those in the folder `path`, or itself."""
    path = Path(path)
    return sorted(one for one in path.iterdir() if not one.name.startswith(".")) if path.is_dir() else [path]


def _decode_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    with _open_upright(path, _non_zero) as image:
        _check_mask_size(path, (image.height, image.width), shape)
        threshold = 128 if image.format == "JPEG" else 1
        if image.mode in ("P", "PA"):
            if any((image.getpalette("RGB") or [0])[:3]):
                raise InputError(f"{path}: colour 0 of the mask's palette is not black; save the mask as 8-bit grey")
            return np.asarray(image.convert("P")) != 0
        if image.mode not in ("1", "L", "RGB"):
            image = image.convert("L" if image.mode == "LA" else "RGB")
        values = np.asarray(image)
        defective = values >= threshold if threshold > 1 else values != 0
        return defective.any(axis=2) if defective.ndim == 3 else defective


def _non_zero(values: np.ndarray, white_is_zero: bool, bits: int) -> np.ndarray:
    """Return samples of a mask as 0 or 255, without alpha."""
    colours = values[:, :, :3] if values.shape[2] >= 3 else values[:, :, :1]
    return np.uint8(255) * (colours != (2**bits - 1 if white_is_zero else 0)).any(axis=2, keepdims=True)


def _check_mask_size(path: Path | str, mask: tuple[int, int], image: tuple[int, int]) -> None:
    if tuple(mask) != tuple(image):
        found, expected = (f"{width}x{height}" for height, width in (mask, image))
        raise InputError(f"{path}: mask of {found} pixels, expected {expected} like its image; save it at that size")


def prepare(image: np.ndarray, size: int) -> np.ndarray:
    """Resize an image, uint8 (height, width, 3), to (size, size, 3) with antialiasing (Pillow's bilinear filter).

    The aspect ratio is not kept, so that nothing is cropped and a map scales back directly.
    """
    return _resize(Image.fromarray(np.ascontiguousarray(image)), size)


def _resize(image: Image.Image, size: int) -> np.ndarray:
    return np.array(image.resize((size, size), Image.Resampling.BILINEAR).convert("RGB"))


def load(path: Path | str, size: int, reading: Reading | None = None) -> np.ndarray:
    """Read an image and resize it to (size, size, 3), uint8 RGB: the one preprocessing of every runtime.

    The result is `prepare(decode_image(path), size)`; a large image takes half of the memory.
    """
    with _open_colours(path, reading or Reading()) as image:
        return _resize(image, size)


def count_pixels(path: Path | str) -> int:
    """Return the number of pixels by an image's header; 0 if it cannot be read."""
    try:
        with open_image(path) as image:
            return image.width * image.height
    except InputError:
        return 0


def measure(path: Path | str, shape: tuple[int, int] | None = None) -> tuple[int, int, str]:
    """Return height and width after EXIF rotation, and SHA-256 of an image file, without decoding its pixels.

    A mask must have the (height, width) `shape`. A truncated file with a valid header passes; `decode_image` finds it.
    The hash of a folder of masks is that of the hashes of its files.
    """
    if Path(path).is_dir() and shape is not None:
        hashes = [measure(file, shape)[2] for file in mask_files(path)]
        return *shape, sha256_of_bytes("".join(hashes).encode())
    with open_image(path) as image:
        data = Path(path).read_bytes()
        width, height = image.size
        may_rotate = image.format != "PNG" or any(name in data for name in _PNG_ORIENTATION)
        if may_rotate and orientation(image) >= 5:
            # Pillow rotates a TIFF while loading.
            with _open_upright(path, _non_zero) as upright:
                width, height = upright.size
    if shape is not None:
        _check_mask_size(path, (height, width), shape)
    return height, width, sha256_of_bytes(data)
