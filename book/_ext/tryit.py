"""Files of the page "Try it": the shipped graphs, ONNX Runtime Web, example images and the heat map's colours.

The page's scripts are in `book/_static/tryit`; `files.json` next to them lists what they load, with size and hash.
ONNX Runtime Web comes from npm (`book/tryit/package-lock.json`); without npm the page loads it from the pinned address
of `book/tryit/runtime.json`. The browser checks its hash in both cases.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
from PIL import Image

from edgezsad import references
from edgezsad.errors import CheckError
from edgezsad.files import read_json, write_json, written_beside
from edgezsad.model import GRAPH, REFERENCES
from edgezsad.show.maps import HEAT_RANGE, heat_colours
from synthetic.image import Address, defective_image, normal_image

PINS = Path("book/tryit")
NPM_SECONDS = 300
"""Longest time for npm; without a network it retries for minutes."""

# (family, index, defective), chosen to show misses and false alarms too.
EXAMPLES = (("button", 0, False), ("button", 0, True), ("wood", 1, True), ("washer", 0, True))
GOOD = tuple(("button", index, False) for index in range(1, 5))
METHOD = ("MAP_WEIGHT", "OWN_WEIGHT", "PEAK_CELLS", "SMALLEST", "GAIN", "OUTLIER", "MOST_PATCHES")


def integrity(data: bytes) -> str:
    """Return a subresource-integrity hash: "sha384-" and Base64."""
    return "sha384-" + base64.b64encode(hashlib.sha384(data).digest()).decode()


def _holds(folder: Path, files: dict[str, dict[str, Any]]) -> bool:
    """Return whether a folder holds files with the pinned hashes."""
    pairs = ((folder / file["file"], file["integrity"]) for file in files.values())
    return all(path.is_file() and integrity(path.read_bytes()) == expected for path, expected in pairs)


def fetch_runtime(pinned: dict[str, Any], folder: Path) -> bool:
    """Copy the pinned runtime from npm to a folder, unless it is there; return whether the folder holds it.

    Raises:
        CheckError: the npm package has other files than `runtime.json` pins.
    """
    if _holds(folder, pinned["files"]):
        return True
    with tempfile.TemporaryDirectory(prefix="edgezsad-npm.") as name:
        for pin in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy2(PINS / pin, name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1"]
        try:
            subprocess.run(command, cwd=name, capture_output=True, check=True, timeout=NPM_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"book: npm: {error}; the page 'Try it' loads its runtime from a pinned address", file=sys.stderr)
            return False
        dist = Path(name) / "node_modules" / pinned["package"] / "dist"
        if not _holds(dist, pinned["files"]):
            raise CheckError(f"{PINS / 'runtime.json'}: hashes differ from {pinned['package']} {pinned['version']}")
        folder.mkdir(parents=True, exist_ok=True)
        for file in pinned["files"].values():
            shutil.copyfile(dist / file["file"], folder / file["file"])
    return True


def stage_files(prose: Path, cache: Path) -> dict[str, Any]:
    """Copy what the page "Try it" loads into a staged book and return the values for its text."""
    pinned = read_json(PINS / "runtime.json", "restore it")
    cache = cache / pinned["version"]
    local = fetch_runtime(pinned, cache)
    folder = prose / "_static" / "tryit"
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for use, path in {"single": GRAPH, "references": REFERENCES}.items():
        model = path.read_bytes()
        shutil.copy2(path, folder)
        files[use] = {"name": "model", "url": path.name, "bytes": len(model), "integrity": integrity(model)}
    for use, file in pinned["files"].items():
        url = file["file"] if local else pinned["address"] + file["file"]
        files[use] = {"name": "runtime", "url": url, "bytes": file["bytes"], "integrity": file["integrity"]}
        if local:
            shutil.copy2(cache / file["file"], folder)
    if local:
        # The licence asks for its text. The npm package has neither file, the Python package of ONNX Runtime both.
        package = Path(metadata.distribution("onnxruntime").locate_file("onnxruntime"))
        for name in ("LICENSE", "ThirdPartyNotices.txt"):
            shutil.copy2(package / name, folder / f"onnxruntime-{name}")
    heat = {"colours": heat_colours().tobytes().hex(), "range": list(HEAT_RANGE)}
    method = {name: getattr(references, name) for name in METHOD}
    write_json(folder / "files.json", {"files": files, "heat": heat, "references": method})
    source = "Both come from this book's own server, and from nowhere else."
    if not local:
        source = f"The model comes from this book's server, the runtime (hash checked) from {pinned['address']}."
    return {
        "megabytes": {use: file["bytes"] / 1e6 for use, file in files.items()},
        "size": onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim[3].dim_value,
        "version": pinned["version"],
        "source": source,
        "examples": [write_example(folder, *example) for example in EXAMPLES],
        "good": [write_example(folder, *example) for example in GOOD],
    }


def write_example(folder: Path, family: str, index: int, defective: bool) -> dict[str, str]:
    """Generate an example as JPEG and return its file and name; the image is the same each time."""
    address = Address(0, "try-it", family, "test", index, (384, 384), False)
    image = defective_image(address)[0] if defective else normal_image(address)
    file = f"{family}-{'defective' if defective else 'normal'}-{index}.jpg"
    with written_beside(folder / file) as temporary:
        Image.fromarray(image).save(temporary, quality=88)
    return {"file": file, "name": f"{family.capitalize()}, {'with' if defective else 'without'} a defect"}
