"""Write files atomically (temporary file, then rename), read JSON, hash files, show progress."""

import csv
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

import edgezsad
from edgezsad.errors import InputError


@contextmanager
def written_beside(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path with the same folder and suffix, and rename it to `path` if the block succeeds.

    Else `path` stays as it was. An `OSError` without a file name (a full disk) gets `path` as its name.
    """
    path, temporary = Path(path), None
    check_may_be_written(path)
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
            # A second name, that of a failed rename, would stay if only the first were replaced.
            raise OSError(error.errno, error.strerror or str(error), str(path)) from None
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_may_be_written(path: Path | str, remedy: str = "give another name") -> None:
    """Check that a file of this name can be written; an existing folder, device or pipe is an `InputError`."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is a folder or not a regular file; {remedy}")
    above = next((folder for folder in path.parents if folder.exists()), Path())
    if not above.is_dir():
        raise InputError(f"{path}: {above} is not a folder; {remedy}")
    if not os.access(above, os.W_OK):
        raise InputError(f"{above}: not writable; {remedy}")


def shipped(name: str) -> Path:
    """Return a folder at the top of the checkout that holds this package, or its copy in an installed package."""
    package = Path(__file__).resolve().parent
    return package.parent / name if (package.parent / "pyproject.toml").is_file() else package / name


def write_text(path: Path | str, text: str) -> Path:
    """Write UTF-8 `text` to `path` atomically; returns `path`."""
    with written_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: Path | str, value: Any) -> Path:
    """Write `value` as indented JSON, atomically; NaN and infinities are a ValueError."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


# Rows are written one by one. File names may hold bytes that are not text.
CSV_FORM = {"mode": "w", "buffering": 1, "newline": "", "encoding": "utf-8", "errors": "backslashreplace"}


def write_csv(path: Path | str, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Path:
    """Write rows as CSV with a header, atomically; None and NaN become empty cells. Returns `path`."""
    with written_beside(path) as temporary, temporary.open(**CSV_FORM) as stream:
        add = _row_writer(stream, columns)
        for row in rows:
            add(row)
    return Path(path)


@contextmanager
def growing_csv(path: Path | str, columns: Sequence[str]) -> Iterator[Callable[[Mapping[str, Any]], object]]:
    """Yield a function that adds a row to `path`.part, which is renamed to `path` if the block succeeds.

    An interrupted command, even a killed one, leaves its rows in that file.
    """
    check_may_be_written(path)
    part = Path(f"{path}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open(**CSV_FORM) as stream:
        try:
            yield _row_writer(stream, columns)
        except BaseException:
            print(f"{part}: incomplete, holds the rows so far", file=sys.stderr)
            raise
    part.replace(path)


def _row_writer(stream: IO[str], columns: Sequence[str]) -> Callable[[Mapping[str, Any]], object]:
    writer = csv.DictWriter(stream, columns)
    writer.writeheader()
    # NaN is the only value that differs from itself.
    return lambda row: writer.writerow({name: "" if row[name] != row[name] else row[name] for name in columns})


def records(table: Any) -> list[dict[str, object]]:
    """Return the rows of a pandas table for a results file; missing values become null, as JSON has no NaN."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def read_json(path: Path | str, remedy: str) -> Any:
    """Read a JSON file; `remedy` says what to do if it is missing or invalid, for instance "run notebook 03"."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: missing; {remedy}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: invalid JSON ({error}); {remedy}") from None


@cache
def reported() -> dict[str, Any]:
    """Return the numbers that the paper and others report: `claims/reported.yaml`, which explains them."""
    import yaml

    return yaml.safe_load((Path(__file__).parent / "claims" / "reported.yaml").read_text(encoding="utf-8"))


def sha256_of_bytes(data: bytes) -> str:
    """Return the SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path | str) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def save_tensors(path: Path | str, tensors: Mapping[str, Any], header: dict[str, str] | None = None) -> None:
    """Write PyTorch tensors as a safetensors file, atomically."""
    from safetensors.torch import save

    # The format rejects tensors that share memory.
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with written_beside(path) as temporary, temporary.open("wb") as stream:
        stream.write(save(copies, header))
        # Without it a power cut could leave the renamed file empty.
        stream.flush()
        os.fsync(stream.fileno())


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
    items: Iterable[Any] | None, what: str, total: int | None = None, unit: str = "image", **more: Any
) -> tqdm:
    """Return a tqdm progress bar on standard error; into a log it writes every few seconds only."""
    seconds = 0.1 if sys.stderr.isatty() else 5
    return tqdm(items, what, total, unit=f" {unit}", file=sys.stderr, mininterval=seconds, **more)
