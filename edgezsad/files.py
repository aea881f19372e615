"""Write files atomically (temporary file, then rename), read JSON, hash files, show progress."""

import csv
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

import edgezsad
from edgezsad.errors import InputError


@contextmanager
def written_beside(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the same folder and rename it to `path` if the block succeeds.

    The temporary name keeps the suffix, by which some writers choose their format. On any exception the temporary file
    is removed and `path` stays as it was. An `OSError` without a file name (a full disk) gets `path` as its name.

    Raises:
        InputError: `path` cannot be a file (see `check_may_be_written`).
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
        # mkstemp makes private files.
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
    """Check that a file of this name can be written.

    Raises:
        InputError: `path` is a folder, a device or a pipe, or lies below a file.
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
    """Return a folder at the top of the checkout that holds this package, or its copy in an installed package."""
    package = Path(__file__).resolve().parent
    # An installed package has no pyproject.toml next to it.
    return package.parent / name if (package.parent / "pyproject.toml").is_file() else package / name


def write_text(path: Path | str, text: str) -> Path:
    """Write UTF-8 `text` to `path` atomically; returns `path`."""
    with written_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: Path | str, value: Any) -> Path:
    """Write `value` as indented JSON with a final newline, atomically. Rejects NaN and infinities."""
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
        remedy: what to do if it is missing or damaged, for instance "run notebook 03".

    Raises:
        InputError: the file is missing or invalid.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: missing; {remedy}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: invalid JSON ({error}); {remedy}") from None


@cache
def reported() -> dict[str, Any]:
    """Return the numbers that the paper and others report: `claims/reported.yaml`, which explains them."""
    import yaml

    path = Path(__file__).with_name("claims") / "reported.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def sha256_of_bytes(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path | str) -> str:
    """Return the hexadecimal SHA-256 of a file."""
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


def progress(
    items: Iterable[Any] | None, what: str, total: int | None = None, unit: str = "image", **options: Any
) -> tqdm:
    """Return a tqdm progress bar on standard error; into a log it writes every few seconds only."""
    seconds = 0.1 if sys.stderr.isatty() else 5
    options |= {"mininterval": seconds, "maxinterval": max(seconds, 10)}
    return tqdm(items, desc=what, total=total, unit=f" {unit}", file=sys.stderr, **options)
