"""Writing and hashing files: written beside, then renamed, so that a good file is never half overwritten."""

import csv
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import edgezsad
from edgezsad.errors import InputError


@contextmanager
def written_beside(path: Path | str) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` only if the block succeeds.

    The temporary name keeps the suffix, because some writers choose their format by it. On any exception the
    temporary file is removed and whatever stood at `path` before stays as it was. An `OSError` that says no name, such
    as that of a full disk, or the temporary one, is made to say `path`.

    Raises:
        InputError: there can be no file of that name (see `check_may_be_written`).
    """
    path = Path(path)
    check_may_be_written(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes private files; a result is meant to be read by whoever may read its folder.
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if error.filename is None or temporary is None or Path(os.fsdecode(error.filename)) == temporary:
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_may_be_written(path: Path | str) -> None:
    """Refuse what a file can not be renamed to, or must not: a folder, a device, a pipe, a place below a file.

    Raises:
        InputError: `path` is one of these.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is not a regular file; give another name")
    above = next((folder for folder in path.parents if folder.exists()), None)
    if above is not None and not above.is_dir():
        raise InputError(f"{path}: {above} is not a folder; give another name")


def shipped(name: str) -> Path:
    """A folder at the top of the checkout that holds this package, or else the copy that a built package has of it."""
    package = Path(__file__).resolve().parent
    # An installed package has no pyproject.toml beside it: what else lies there belongs to others.
    return package.parent / name if (package.parent / "pyproject.toml").is_file() else package / name


def write_text(path: Path | str, text: str) -> Path:
    """Write UTF-8 `text` to `path` atomically; returns `path`."""
    with written_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: Path | str, value: Any) -> Path:
    """Write `value` as indented JSON with a final newline, atomically. NaN and infinities are refused."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: Path | str, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Path:
    """Write rows as CSV with a header, atomically; None and NaN become empty cells. Returns `path`."""
    # File names may hold bytes that are not text.
    with (
        written_beside(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        # NaN is the only value that differs from itself.
        writer.writerows({name: "" if row[name] != row[name] else row[name] for name in columns} for row in rows)
    return Path(path)


def records(table: Any) -> list[dict[str, object]]:
    """Return the rows of a pandas table for a results file; missing values become null, as JSON has no NaN."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def read_json(path: Path | str, remedy: str) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        remedy: what the reader should do when it is missing or damaged, for instance "run notebook 03".

    Raises:
        InputError: the file is missing or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: missing; {remedy}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); {remedy}") from None


def sha256_of_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def save_tensors(path: Path | str, tensors: Mapping[str, Any], header: dict[str, str] | None = None) -> str:
    """Write PyTorch tensors as a safetensors file, atomically; returns the file's SHA-256.

    Raises:
        InputError: the disk is full, or the folder is not writable.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # The format rejects tensors that share memory; copies do not share.
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with written_beside(path) as temporary:
        try:
            save_file(copies, temporary, metadata=header)
        except SafetensorError as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{path}: cannot be written ({reason}); free disk space and run again") from None
        # Without fsync a power cut could leave the renamed file empty.
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        return sha256_of_file(temporary)


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of Python, this package and `packages`; "absent" if not installed."""
    found = {"python": platform.python_version(), "edgezsad": edgezsad.__version__}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found
