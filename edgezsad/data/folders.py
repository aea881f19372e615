"""Looking into a data set's folders: what counts as an image there, which mask is whose, which links are followed.

Nothing is left out silently that could be an image of the set: what can not be followed or read is told by name.
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from edgezsad.data.manifest import name_problem
from edgezsad.errors import InputError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Endings of images and masks, in any mixture of upper and lower case. Other files are ignored, but see below."""

OTHER_PICTURES = (".webp", ".gif", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".dng", ".tga", ".ppm", ".pgm")
"""Pictures of other kinds among images are refused: without them the counts would be wrong, and nobody would notice."""

HEATMAP = ".heatmap.png"
"""How the names of the heat maps end that `edgezsad predict` and `evaluate` write: beside images they are none."""

GENERATED_RECORD = "generated.json"
"""A folder with this file holds generated images (see `synthetic.sets`)."""

UNPACK = "unpack the data set again"


class Problem(InputError):
    """What is wrong with one file or folder of a data set; `path` says which one it is."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{shown(path)}: {reason}")
        self.path = path


Tell = Callable[[InputError], None]
"""Told of each problem. An index refuses the first one; a check keeps them all and looks on."""


def refuse(problem: InputError) -> None:
    """The strictest `Tell`.

    Raises:
        InputError: always.
    """
    raise problem


def shown(text: str | Path) -> str:
    """Text for one line of a terminal: names may hold line ends, control characters, or bytes that are no text."""
    return str(text) if str(text).isprintable() else ascii(str(text))[1:-1]


def folders(folder: Path, tell: Tell = refuse) -> list[Path]:
    """The folders in `folder`, by name; hidden ones left out, none when it does not exist.

    Told are links that lead nowhere, or back to a folder that they lie in, and a folder that may not be read.
    """
    return sorted(folder / entry.name for entry in _entries(folder, tell) if _followed(entry, tell) and entry.is_dir())


def images(folder: Path, tell: Tell = refuse) -> list[str]:
    """The names of the images in `folder`, in order; none when it does not exist.

    Hidden files are left out: macOS puts a `._NAME.png`, which is no image, beside every NAME.png on foreign disks. So
    are heat maps. Told is what `folders` tells, pictures of a kind that is not read, and folders, pipes and the like
    that are named as an image.
    """
    names = []
    for entry in _entries(folder, tell):
        if entry.name.lower().endswith(OTHER_PICTURES):
            tell(
                Problem(folder / entry.name, "pictures of this kind are not read; save it as PNG, or move it elsewhere")
            )
        elif _is_named_as_image(entry.name) and _followed(entry, tell):
            if entry.is_file():
                names.append(entry.name)
            else:
                tell(Problem(folder / entry.name, "is named as an image, but is no file; rename or remove it"))
    return sorted(names)


def _is_named_as_image(name: str, endings: tuple[str, ...] = IMAGE_ENDINGS) -> bool:
    return name.lower().endswith(endings) and not name.endswith(HEATMAP)


def all_images(folder: Path, tell: Tell = refuse, endings: tuple[str, ...] = IMAGE_ENDINGS) -> set[str]:
    """Whatever has an image's ending, at any depth below `folder`, as paths below it with forward slashes.

    Hidden files and folders and heat maps are left out; folders that are links are not entered; none when `folder` does
    not exist.
    Told are folders that may not be read.
    """

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            tell(unreadable(Path(error.filename), error))

    found = set()
    for place, inner, names in os.walk(folder, onerror=fail):
        inner[:] = [name for name in inner if not name.startswith(".")]
        below_folder = Path(place).relative_to(folder)
        found |= {
            (below_folder / name).as_posix()
            for name in names
            if _is_named_as_image(name, endings) and not name.startswith(".")
        }
    return found


def _entries(folder: Path, tell: Tell) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        tell(unreadable(folder, error))
        return []


def unreadable(path: Path, error: OSError) -> Problem:
    """The problem of a folder or a list that the system does not let us read."""
    return Problem(path, f"can not be read ({error.strerror}); change its permissions")


def _followed(entry: os.DirEntry[str], tell: Tell) -> bool:
    """Whether the entry is no link, or one that can be followed: a link that can not is as a missing file."""
    if not entry.is_symlink():
        return True
    path = Path(entry.path)
    try:
        target = os.path.realpath(path, strict=True)
    except OSError as error:
        reason = "back to itself" if error.errno == errno.ELOOP else f"to nothing ({shown(path.readlink())})"
        tell(Problem(path, f"is a link {reason}; mend or remove it"))
        return False
    if Path(os.path.realpath(path.parent)).is_relative_to(target):
        tell(Problem(path, f"is a link to a folder that it lies in ({shown(target)}); remove it"))
        return False
    return True


def child(folder: Path, name: str, tell: Tell = refuse) -> Path:
    """`folder/name`, or else the one folder whose name differs only in case. Told is when there are several."""
    near = [path for path in folders(folder, tell) if path.name.casefold() == name.casefold()]
    if len(near) > 1:
        others = " and ".join(shown(path.name) for path in near[1:])
        tell(Problem(near[0], f"{others} lies beside it and differs only in case; put the files into one folder"))
    return folder / name if not near or folder / name in near else near[0]


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

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._folder = folder
        self._names: dict[str, list[str]] = {}
        self._found: set[str] = set()
        for name in names:
            self._names.setdefault(folded(stem(name)), []).append(name)

    def find(self, *stems: str, tell: Tell = refuse) -> str | None:
        """The mask with the first of `stems` that there is one for, or None. Told is when there are two."""
        for wanted in stems:
            near = self._names.get(folded(wanted), [])
            chosen = [name for name in near if stem(name) == wanted] or near
            self._found.update(chosen)
            if len(chosen) > 1:
                reason = f"{shown(chosen[1])} could be the mask of the same image; remove one"
                tell(Problem(self._folder / chosen[0], reason))
            if chosen:
                return chosen[0]
        return None

    def without_image(self) -> list[str]:
        """Those that no image was found to have, in order."""
        return sorted(name for names in self._names.values() for name in names if name not in self._found)


def folded(text: str) -> str:
    """A name as it is compared where neither case nor the way an accent is written counts."""
    return unicodedata.normalize("NFC", text).casefold()


def is_file(path: Path) -> bool:
    """Whether there is a file; not if a folder on the way may not be read, or the name is too long for one."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_generated(root: Path) -> bool:
    """Whether a folder holds generated images."""
    return is_file(root / GENERATED_RECORD)


def check_list(source: Path) -> None:
    """Fail if a list is no regular file: a pipe, for instance, would be waited for without end.

    Raises:
        InputError: it is there, and is none.
        OSError: it is not there, or may not be read.
    """
    if not stat.S_ISREG(source.stat().st_mode):
        raise Problem(source, f"is no regular file; {UNPACK}")


def listed(root: Path, path: Any, source: Path) -> str:
    """A path out of a list, below `root`, in normal form.

    Raises:
        InputError: it is no path, or it leaves `root`.
    """
    if not isinstance(path, str) or not path.strip():
        raise Problem(source, f"{path!a} is not a path; {UNPACK}")
    pure = PurePosixPath(path)
    if pure.is_absolute() or Path(path).is_absolute() or ".." in Path(path).parts:
        raise Problem(source, f"{path!a} leaves the folder {shown(root)}; {UNPACK}")
    if problem := name_problem(path):
        raise Problem(source, f"the name {path!a} {problem}; {UNPACK}")
    return pure.as_posix()


def refuse_links_out(root: Path, names: Iterable[str], tell: Tell = refuse) -> None:
    """Follow the links on the way to every file: none may lead out of `root`, which may itself be a link.

    Told are the files behind one that does; of those in one folder the first.
    """
    real = os.path.realpath(root)
    places: dict[Path, bool] = {}
    for name in names:
        path = root / name
        known = path.parent in places
        if not known:
            places[path.parent] = _inside(path.parent, real)
        leads_out = not places[path.parent] and not known
        if leads_out or (places[path.parent] and is_file(path) and path.is_symlink() and not _inside(path, real)):
            target = shown(os.path.realpath(path))
            tell(Problem(path, f"a link leads out of the data set's folder, to {target}; copy the files into it"))


def _inside(path: Path, real_root: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(real_root)
