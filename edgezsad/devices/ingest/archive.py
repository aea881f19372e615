"""Opening a result that came from elsewhere: only names that a kit's script writes leave the archive.

Links, devices, sparse files, paths that lead out of the folder, names that come twice and sizes beyond any honest
result are refused before anything of them is written. Archives are plain tar, as the boards pack them: what is not
compressed cannot grow.
"""

import re
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from edgezsad.errors import InputError

MEGABYTE = 1 << 20
MOST_BYTES = 4096 * MEGABYTE
MOST_FILES = 500_000

_KNOWN = [
    # name, largest size in bytes
    (re.compile(r"(kit|times|profile)\.json|(images|facts|commands|sessions|engine|time|outputs)\.tsv"), 64 * MEGABYTE),
    (re.compile(r"SHA256SUMS|logs/[a-z]+\.log"), 64 * MEGABYTE),
    (re.compile(r"outputs/[A-Za-z0-9][A-Za-z0-9_.-]*/[^/]+\.json"), 4 * MEGABYTE),
    (re.compile(r"time/(time\.tsv|input_list\.txt|profile\.(csv|txt)|qnn-profiling-data_0\.log)"), 64 * MEGABYTE),
    (re.compile(r"chunks/[0-9]{4,6}/(input_list\.txt|outputs\.tsv)"), 4 * MEGABYTE),
    (re.compile(r"chunks/[0-9]{4,6}/Result_[0-9]+/[^/]+\.raw"), 4 * MEGABYTE),
]


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The result as a folder of plain files, for as long as the block lasts.

    Args:
        path: an archive, or a folder that one was unpacked into.

    Raises:
        InputError: missing, not a tar archive, cut off, or with something in it that no board's script puts there.
    """
    if path.is_dir():
        check_folder(path)
        yield path
        return
    if not path.is_file():
        raise InputError(f"{path}: no such result; give the archive that run.sh packed on the board")
    with tempfile.TemporaryDirectory(prefix="edgezsad-result-") as folder:
        unpack(path, Path(folder))
        yield Path(folder)


def unpack(path: Path, folder: Path) -> None:
    """Write an archive's known files below `folder`, an empty one.

    Raises:
        InputError: as for `opened`.
    """
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: larger than any result ({MOST_BYTES >> 20} MiB); not opened")
    seen: set[str] = set()
    try:
        # "r:" takes no compressed archive.
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isdir():
                    continue
                if problem := _problem(member, name, seen):
                    raise InputError(
                        f"{path}: {member.name!a} {problem}; not a result of run.sh, nothing of it is used"
                    )
                seen.add(name)
                if _largest(name) is None:
                    continue
                stream = archive.extractfile(member)
                data = b"" if stream is None else stream.read()
                if len(data) != member.size:
                    raise InputError(f"{path}: cut off in {name}; copy it from the board again")
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            _check_end(path, archive)
    except (tarfile.TarError, EOFError, UnicodeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not a whole tar archive ({reason}); copy it from the board again") from None


def check_folder(folder: Path) -> None:
    """Refuse a folder with a link or anything but files and folders in it.

    Raises:
        InputError: the first such thing.
    """
    for number, path in enumerate(folder.rglob("*")):
        if number > MOST_FILES:
            raise InputError(f"{folder}: more than {MOST_FILES:,} files; not a result")
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise InputError(f"{path}: is a link or no file; not a result of run.sh")
        largest = None if path.is_dir() else _largest(path.relative_to(folder).as_posix())
        if largest is not None and path.stat().st_size > largest:
            raise InputError(f"{path}: {path.stat().st_size >> 20} MiB; no such file of a result is as large")


def _problem(member: tarfile.TarInfo, name: str, seen: set[str]) -> str | None:
    """Why a member is refused, or None."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or not name.isprintable() or not pure.parts:
        return "leads out of the result's folder"
    # A sparse file may claim any size without having it.
    if not member.isfile() or member.issparse():
        return "is a link, a device or a sparse file"
    if name in seen or pure.as_posix() != name:
        return "is there twice, or under two spellings"
    if len(seen) >= MOST_FILES:
        return f"comes after {MOST_FILES:,} files"
    largest = _largest(name)
    if largest is not None and member.size > largest:
        return f"has {member.size >> 20} MiB"
    return None


def _check_end(path: Path, archive: tarfile.TarFile) -> None:
    """A whole archive ends with zeros; one that was cut off, or whose next header is damaged, does not."""
    with open(path, "rb") as stream:
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise InputError(f"{path}: cut off or damaged; copy it from the board again")


def _largest(name: str) -> int | None:
    """The largest size of a known file; None for a name that no result has."""
    return next((size for pattern, size in _KNOWN if pattern.fullmatch(name)), None)
