"""Verify a run: every file is as its step wrote it and made from the present files, every image as it was indexed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgezsad.data.manifest import Manifest, indexed, read_run_manifest
from edgezsad.errors import CheckError, EdgeZSADError, InputError
from edgezsad.files import RECORDS, progress, read_record, sha256_of_bytes, sha256_of_file
from edgezsad.run import Run

MISSING, CHANGED, OUTDATED = "missing", "changed since it was written", "made from another"
REMEDY = "run `make book` to make it again"


@dataclass(frozen=True)
class Verification:
    """What was verified; `fingerprint` is a hash of all recorded hashes: equal for runs with the same files."""

    files: int
    images: int
    problems: list[str]
    fingerprint: str

    def require_intact(self) -> None:
        """Raise CheckError if there is a problem."""
        if self.problems:
            raise CheckError(f"{len(self.problems)} files cannot be trusted (listed above)")


def verify_run(run: Run, workers: int = 8) -> Verification:
    """Hash every recorded file of a run, and every image and mask of its manifests."""
    records = list(_records(run.folder))
    if not records:
        raise InputError(f"{run.folder}: no step of this run has written a file; run `make book`")
    problems: list[str] = []
    with ThreadPoolExecutor(workers) as pool:
        states = pool.map(partial(_problem, run.folder), *zip(*records, strict=True))
        for (name, _), problem in zip(records, progress(states, "files", len(records), "file"), strict=True):
            if problem:
                remedy = f"delete it and {REMEDY}" if problem == CHANGED else REMEDY
                problems.append(f"{run.folder / name}: {problem}; {remedy}")
        images = list(_images(run, problems))
        checks = pool.map(lambda image: _message(partial(indexed, *image)), images)
        problems += filter(None, progress(checks, "images", len(images)))
    lines = "".join(f"{name} {record['sha256']}\n" for name, record in records)
    return Verification(len(records), len(images), problems, sha256_of_bytes(lines.encode()))


def remove_outdated(folder: Path | str) -> list[Path]:
    """Delete the files of a run that were made from other files than the present ones; returns their paths.

    Raises:
        CheckError: a file has changed since it was written, and is not made again without a question.
    """
    found = {}
    for name, record in _records(Path(folder)):
        path = Path(folder) / name
        found[path] = _problem(Path(folder), name, record)
        if found[path] == CHANGED:
            raise CheckError(f"{path}: {CHANGED}; delete it and {REMEDY}")
    outdated = [path for path, problem in found.items() if problem and problem.startswith(OUTDATED)]
    for path in outdated:
        path.unlink()
    return outdated


def _records(folder: Path) -> Iterator[tuple[str, dict]]:
    """Yield the name of every recorded file and its record; a damaged record counts as that of another file."""
    for path in sorted((folder / RECORDS).rglob("*.json")):
        name = path.relative_to(folder / RECORDS).with_suffix("").as_posix()
        yield name, read_record(folder, name) or {"sha256": "", "inputs": {}}


def _problem(folder: Path, name: str, record: dict) -> str:
    """Return what is wrong with a recorded file, empty if nothing is."""
    if not (folder / name).is_file():
        return MISSING
    if (sha256 := sha256_of_file(folder / name)) != record["sha256"]:
        # The writing process ended between the record and the file.
        return f"{OUTDATED} version" if sha256 == record.get("previous") else CHANGED
    for other, used in record["inputs"].items():
        if (read_record(folder, other) or {}).get("sha256") != used:
            return f"{OUTDATED} version of {other}"
    return ""


def _images(run: Run, problems: list[str]) -> Iterator[tuple[Path, str, str]]:
    """Yield folder, name and hash of every image and mask of a run; a manifest that cannot be read is a problem."""
    for item in (*run.profile.data.source, *run.profile.data.targets):
        try:
            manifest: Manifest = read_run_manifest(run, item)
        except EdgeZSADError as error:
            problems.append(str(error))
            continue
        for entry in manifest.entries:
            yield manifest.root, entry.id, entry.sha256
            if entry.mask:
                yield manifest.root, entry.mask, entry.mask_sha256


def _message(check: partial) -> str:
    try:
        path = check()
    except EdgeZSADError as error:
        return str(error)
    return "" if path.is_file() else f"{path}: missing; restore it, or run notebook 01_data again"
