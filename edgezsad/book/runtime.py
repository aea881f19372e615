"""The runtime of the page "Try it", ONNX Runtime Web: from npm where it is installed, else from a pinned address.

`book/tryit` pins it twice: `package-lock.json` by the hashes of packages, which npm checks, and `runtime.json` by the
hashes of the two files that the page loads, which are checked here and once more in the reader's browser.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgezsad.errors import CheckError
from edgezsad.files import read_json, written_beside

PINS = ("package.json", "package-lock.json", ".npmrc")
LONGEST = 300
"""Seconds that npm may take; without a network it would try for minutes."""


@dataclass(frozen=True)
class Runtime:
    """What the page runs the model with.

    Attributes:
        version: of ONNX Runtime Web.
        address: from where a page loads the files that the book does not hold, with a slash at the end.
        files: by what they are for, `script` and `wasm`: `file` (name), `bytes` (size), `integrity` (SHA-384).
        folder: holds the files; None where npm could not bring them.
    """

    version: str
    address: str
    files: dict[str, dict[str, Any]]
    folder: Path | None = None


def integrity(data: bytes) -> str:
    """The hash by which a browser knows a file: "sha384-" and Base64."""
    return "sha384-" + base64.b64encode(hashlib.sha384(data).digest()).decode()


def find_runtime(pins: Path, folder: Path) -> Runtime:
    """The pinned runtime.

    Args:
        pins: the folder `book/tryit`.
        folder: keeps the files from one build to the next.

    Returns:
        with its files in a folder, or without where there is no npm, or it fails, which is said on standard error.

    Raises:
        CheckError: npm brought files other than those that are pinned.
    """
    pinned = read_json(pins / "runtime.json", "check the repository out again")
    runtime = Runtime(pinned["version"], pinned["address"], pinned["files"])
    kept = folder / runtime.version
    if not _right(runtime, kept) and not _bring(runtime, pinned["package"], pins, kept):
        return runtime
    return Runtime(runtime.version, runtime.address, runtime.files, kept)


def _right(runtime: Runtime, folder: Path) -> bool:
    """Whether a folder holds the pinned files."""
    paths = {folder / file["file"]: file["integrity"] for file in runtime.files.values()}
    return all(path.is_file() and integrity(path.read_bytes()) == hashed for path, hashed in paths.items())


def _bring(runtime: Runtime, package: str, pins: Path, folder: Path) -> bool:
    """Let npm install the package, and take the files that are needed out of it."""
    npm = shutil.which("npm")
    if npm is None:
        _without("npm is not installed")
        return False
    with tempfile.TemporaryDirectory(prefix="edgezsad-npm.") as name:
        for pin in PINS:
            shutil.copy2(pins / pin, name)
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1"]
        try:
            done = subprocess.run(
                [npm, "ci", *quiet], cwd=name, capture_output=True, text=True, check=False, timeout=LONGEST
            )
        except subprocess.TimeoutExpired:
            _without(f"npm took more than {LONGEST} s")
            return False
        if done.returncode:
            _without(f"npm failed: {' '.join(done.stderr.split())[:200]}")
            return False
        dist = Path(name) / "node_modules" / package / "dist"
        if not _right(runtime, dist):
            raise CheckError(
                f"{pins / 'runtime.json'}: names other files than {package} {runtime.version} holds; mend it"
            )
        for file in runtime.files.values():
            with written_beside(folder / file["file"]) as temporary:
                shutil.copyfile(dist / file["file"], temporary)
    return True


def _without(reason: str) -> None:
    print(f"book: {reason}; the page 'Try it' will load its runtime from a pinned address", file=sys.stderr)
