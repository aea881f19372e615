"""Write files atomically, record and verify their hashes, read JSON and YAML, show progress.

A run's folder holds `file-records/NAME.json` for every file `NAME` that a step wrote: its SHA-256, and those of the
run's files that the writing process had read. Readers pass their paths through `verified`; `edgezsad verify` checks all
of them at once.
"""

import csv
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import yaml
from tqdm import tqdm

import edgezsad
from edgezsad.errors import CheckError, InputError, one_line, printable

RECORDS = "file-records"  # the folder in a run's folder; without it nothing is recorded or verified
USED_LOG = "EDGEZSAD_USED"  # environment variable: the file in which kernels list the run's files that they read
_used: dict[Path, str] = {}  # files of a run that this process has read, with their hashes

MAX_YAML = 1_000_000  # characters of a YAML file; more would take minutes
MAX_NODES = 10_000  # keys and values of a YAML file, those of aliases included
MAX_DIGITS = 40  # of a number


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
        record_written(path, temporary)
        temporary.replace(path)
    except OSError as error:
        if error.filename is None or temporary is None or Path(os.fsdecode(error.filename)) == temporary:
            # A second name, that of a failed rename, would stay if only the first were replaced.
            raise OSError(error.errno, error.strerror or str(error), str(path)) from None
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _in_run(path: Path) -> tuple[Path | None, str]:
    """Return the folder of a file's run, None without one whose files are recorded, and the file's name in it."""
    path = path.absolute()
    folder = next((folder for folder in path.parents if (folder / RECORDS).is_dir()), None)
    name = path.relative_to(folder).as_posix() if folder else ""
    # Hidden folders are temporary; caches are checked by what they hold, and change whenever they are used.
    return (None, "") if "/." in f"/{name}" or ".cache." in name else (folder, name)


def start_records(folder: Path | str) -> None:
    """Record the files of a run from now on; a file without a record is rejected."""
    (Path(folder) / RECORDS).mkdir(parents=True, exist_ok=True)


def read_record(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the record of a run's file, None without one: "sha256", the "previous" one, "inputs", "package"."""
    try:
        found = json.loads((folder / RECORDS / f"{name}.json").read_text(encoding="utf-8"))
        return found if isinstance(found["inputs"], dict) and found["sha256"] else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def verified(path: Path | str) -> Path:
    """Return `path`, whose file is as a step of its run wrote it; elsewhere than in a run nothing is checked.

    Raises:
        CheckError: no step has written the file, or it has changed since.
    """
    path = Path(path)
    folder, name = _in_run(path)
    if folder is None or not path.is_file():
        return path
    known = read_record(folder, name)
    sha256 = sha256_of_file(path)
    if known is None or known["sha256"] != sha256:
        problem = "changed since it was written" if known else "no step of this run has written it"
        raise CheckError(f"{path}: {problem}; delete it and run `make book`")
    _use(path.absolute(), sha256)
    return path


def _use(path: Path, sha256: str) -> None:
    """Count a file among the inputs of whatever this process writes next."""
    _used[path] = sha256
    if log := os.environ.get(USED_LOG):
        with open(log, "a", encoding="utf-8") as stream:
            stream.write(f"{sha256} {path}\n")


def take_used(log: Path) -> None:
    """Count the files that a kernel has listed in its log as read by this process."""
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        sha256, _, path = line.partition(" ")
        _used[Path(path)] = sha256


def record_written(path: Path, temporary: Path) -> None:
    """Record a file before it is renamed: an interruption in between leaves the "previous" content."""
    folder, name = _in_run(path)
    if folder is None:
        return
    sha256 = sha256_of_file(temporary)
    inputs = {file.relative_to(folder).as_posix(): used for file, used in _used.items() if folder in file.parents}
    known = read_record(folder, name) or {}
    previous = known.get("previous") if known.get("sha256") == sha256 else known.get("sha256")
    inputs.pop(name, None)
    found = {"sha256": sha256, "previous": previous, "inputs": inputs, "package": package_version()}
    target = folder / RECORDS / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    written = target.with_name(f".{target.name}.{os.getpid()}")
    written.write_text(json.dumps(found, indent=1), encoding="utf-8")
    written.replace(target)
    if path.absolute() in _used:
        _used[path.absolute()] = sha256


@cache
def package_version() -> str:
    """Return this package's version and the start of a hash of its source files."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return f"{edgezsad.__version__}+{sha256_of_bytes(b''.join(path.read_bytes() for path in sources))[:12]}"


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
APPENDED = CSV_FORM | {"mode": "a"}


def write_csv(path: Path | str, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Path:
    """Write rows as CSV with a header, atomically; None and NaN become empty cells. Returns `path`."""
    with written_beside(path) as temporary, temporary.open(**CSV_FORM) as stream:
        add = row_writer(stream, columns)
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
            yield row_writer(stream, columns)
        except BaseException:
            print(f"{printable(part)}: incomplete, holds the rows so far", file=sys.stderr)
            raise
    part.replace(path)


def row_writer(stream: IO[str], columns: Sequence[str], header: bool = True) -> Callable[[Mapping[str, Any]], object]:
    """Return a function that writes a row of a CSV file; the columns' names are written at once."""
    writer = csv.DictWriter(stream, columns)
    if header:
        writer.writeheader()
    return lambda row: writer.writerow({name: csv_cell(row[name]) for name in columns})


def csv_cell(value: Any) -> Any:
    """Return a value for a CSV file: NaN becomes empty, text that a spreadsheet would compute begins with `'`."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "'")):
        try:
            float(value)
        except ValueError:
            return f"'{value}"
    # NaN is the only value that differs from itself.
    return "" if value != value else value


def records(table: Any) -> list[dict[str, object]]:
    """Return the rows of a pandas table for a results file; missing values become null, as JSON has no NaN."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def read_json(path: Path | str, remedy: str) -> Any:
    """Read a JSON file; `remedy` says what to do if it is missing or invalid, for instance "run notebook 03"."""
    try:
        return parse_json(verified(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: missing; {remedy}") from None
    except ValueError as error:
        raise InputError(f"{path}: invalid JSON ({one_line(error)}); {remedy}") from None


def parse_json(text: str) -> Any:
    """Parse JSON; invalid, deeply nested text and integers of more than `MAX_DIGITS` digits are a ValueError."""
    try:
        return json.loads(text, parse_int=_integer, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {keys.most_common(1)[0][0]!r} is given twice")
    return found


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


class _YamlLoader(yaml.SafeLoader):
    """Rejects duplicate keys, and what makes a small file large or slow: nesting, nested aliases, long numbers."""

    depth, nodes = 0, 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        mark, alias, before = self.peek_event().start_mark, self.check_event(yaml.AliasEvent), self.nodes
        self.depth += 1
        node = super().compose_node(parent, index) if self.depth <= 20 else None
        self.depth -= 1
        # An alias counts as the nodes that it stands for; inside its own anchor it never ends.
        self.nodes += getattr(node, "size", MAX_NODES) if alias else 1
        if node is None or self.nodes > MAX_NODES:
            raise ValueError(f"more than 20 levels or {MAX_NODES:,} values{mark}")
        node.size = self.nodes - before
        if node.tag.endswith((":int", ":float")) and len(node.value) > MAX_DIGITS:
            raise ValueError(f"a number of {len(node.value)} digits{node.start_mark}")
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if str(key.value) in seen:
                raise ValueError(f"line {key.start_mark.line + 1}: the key {key.value!s:.80} is given twice")
            seen.add(str(key.value))
        return node


def parse_yaml(text: str) -> Any:
    """Parse YAML; invalid text is an `InputError`, as is what `_YamlLoader` rejects."""
    if len(text) > MAX_YAML:
        raise InputError(f"more than {MAX_YAML:,} characters")
    try:
        return yaml.load(text, _YamlLoader)
    # Invalid values of explicit tags raise KeyError, AttributeError and others.
    except Exception as error:
        raise InputError(one_line(error)) from None


@cache
def reported() -> dict[str, Any]:
    """Return the numbers that the paper and others report: `claims/reported.yaml`, which explains them."""
    return parse_yaml((Path(__file__).parent / "claims" / "reported.yaml").read_text(encoding="utf-8"))


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
    return tqdm(items, printable(what), total, unit=f" {unit}", file=sys.stderr, mininterval=seconds, **more)
