"""Looking into a data set's folders: what counts as an image there, which mask is whose, which links are followed.

Nothing is left out silently that could be an image of the set: what can not be followed or read is refused by name.
"""

import errno
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from edgezsad.data.manifest import name_problem
from edgezsad.errors import InputError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Endings of images and masks, in any mixture of upper and lower case. Other files are ignored, but see below."""

OTHER_PICTURES = (".webp", ".gif", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".dng", ".tga", ".ppm", ".pgm")
"""Pictures of other kinds among images are refused: without them the counts would be wrong, and nobody would notice."""

UNPACK = "unpack the data set again"


def folders(folder: Path) -> list[Path]:
    """The folders in `folder`, by name; hidden ones left out, none when it does not exist.

    Raises:
        InputError: a link leads nowhere, or back to a folder that it lies in.
    """
    return sorted(folder / entry.name for entry in _entries(folder) if _followed(entry).is_dir())


def images(folder: Path) -> list[str]:
    """The names of the images in `folder`, in order; none when it does not exist.

    Hidden files are left out: macOS puts a `._NAME.png`, which is no image, beside every NAME.png on foreign disks.

    Raises:
        InputError: a link leads nowhere, or a picture is of a kind that is not read.
    """
    names = []
    for entry in _entries(folder):
        if entry.name.lower().endswith(IMAGE_ENDINGS) and _followed(entry).is_file():
            names.append(entry.name)
        elif entry.name.lower().endswith(OTHER_PICTURES):
            raise InputError(f"{entry.path}: pictures of this kind are not read; save it as PNG, or move it elsewhere")
    return sorted(names)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _followed(entry: os.DirEntry[str]) -> os.DirEntry[str]:
    """The entry, if it is no link or one that can be followed: a link that can not is as a missing file."""
    if entry.is_symlink():
        try:
            target = os.path.realpath(entry.path, strict=True)
        except OSError as error:
            reason = "back to itself" if error.errno == errno.ELOOP else f"to nothing ({Path(entry.path).readlink()})"
            raise InputError(f"{entry.path}: is a link {reason}; mend or remove it") from None
        if Path(os.path.realpath(Path(entry.path).parent)).is_relative_to(target):
            raise InputError(f"{entry.path}: is a link to a folder that it lies in ({target}); remove it")
    return entry


def child(folder: Path, name: str) -> Path:
    """`folder/name`, or else the one folder whose name differs only in case."""
    if (folder / name).is_dir() or not folder.is_dir():
        return folder / name
    near = [path for path in folders(folder) if path.name.casefold() == name.casefold()]
    return near[0] if len(near) == 1 else folder / name


def below(root: Path, *names: str) -> Path:
    """`root/NAME`, where the archive was unpacked with its own top folder, or else `root`."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def stem(name: str) -> str:
    """A file's name without its ending."""
    return Path(name).stem


class Masks:
    """The masks in one folder, found by the image's stem.

    Case does not count, nor how an accent is written (macOS takes it apart), unless two masks differ only in that.
    """

    def __init__(self, folder: Path, names: Iterable[str] | None = None) -> None:
        self._folder = folder
        self._names: dict[str, list[str]] = {}
        for name in images(folder) if names is None else names:
            self._names.setdefault(_folded(stem(name)), []).append(name)

    def find(self, *stems: str) -> str | None:
        """The mask with the first of `stems` that there is one for, or None.

        Raises:
            InputError: there are two.
        """
        for wanted in stems:
            near = self._names.get(_folded(wanted), [])
            chosen = [name for name in near if stem(name) == wanted] or near
            if len(chosen) > 1:
                raise InputError(
                    f"{self._folder / chosen[0]}: {chosen[1]} could be the mask of the same image; remove one"
                )
            if chosen:
                return chosen[0]
        return None


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def listed(root: Path, path: Any, source: Path) -> str:
    """A path out of a list, below `root`, in normal form.

    Raises:
        InputError: it is no path, or it leaves `root`.
    """
    if not isinstance(path, str) or not path.strip():
        raise InputError(f"{source}: {path!r} is not a path; {UNPACK}")
    pure = PurePosixPath(path)
    if pure.is_absolute() or Path(path).is_absolute() or ".." in Path(path).parts:
        raise InputError(f"{source}: {path!a} leaves the folder {root}; {UNPACK}")
    if problem := name_problem(path):
        raise InputError(f"{source}: the name {path!a} {problem}; {UNPACK}")
    return pure.as_posix()


def refuse_links_out(root: Path, names: Iterable[str]) -> None:
    """Follow the links on the way to every file: none may lead out of `root`, which may itself be a link.

    Raises:
        InputError: one does.
    """
    real = os.path.realpath(root)
    places: dict[Path, bool] = {}
    for name in names:
        path = root / name
        if path.parent not in places:
            places[path.parent] = _inside(path.parent, real)
        if not places[path.parent] or (path.is_symlink() and not _inside(path, real)):
            target = os.path.realpath(path)
            raise InputError(f"{path}: a link leads out of the data set's folder, to {target}; copy the files into it")


def _inside(path: Path, real_root: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(real_root)
